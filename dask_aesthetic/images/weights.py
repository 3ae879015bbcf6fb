"""Weights of an encoder and their preprocess config: an open_clip tag, a file, or a Hugging Face repository."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, nullcontext
from pathlib import Path
from types import ModuleType
from typing import Any

from dask_aesthetic.errors import EncoderError, MissingDependencyError, PredictorError, did_you_mean
from dask_aesthetic.predictors.checkpoint import SUFFIXES, read_head
from dask_aesthetic.predictors.hub import cache_alone, fetch, is_hub_id, parse_id, why_offline

WEIGHTS, CONFIG = "open_clip_model.safetensors", "open_clip_config.json"
_PREPROCESS = ("mean", "std", "interpolation", "resize_mode")


def import_open_clip() -> ModuleType:
    """Import open_clip on first use, since the import takes seconds.

    Raises
    ------
    MissingDependencyError
        open_clip is not installed.
    EncoderError
        open_clip does not load, as beside a torchvision that was built for another torch.
    """
    try:
        import open_clip
    except ModuleNotFoundError as error:
        raise MissingDependencyError("open_clip", "embed", "embedding images") from error
    except Exception as error:
        raise EncoderError(
            f"expected an open_clip that can be imported, got {type(error).__name__}: {error}. It needs torch and "
            "torchvision of the same build: pip install --force-reinstall torch torchvision"
        ) from error
    return open_clip


def architecture_of(model: str) -> dict[str, Any]:
    """Architecture config of an open_clip model.

    Raises
    ------
    EncoderError
        open_clip has no such model.
    """
    open_clip = import_open_clip()
    known = open_clip.list_models()
    if model not in known:  # For other names open_clip would download the config of a repository.
        raise EncoderError(
            f"expected a model of open_clip, got {model!r}{did_you_mean(model, known, 4) or '.'} "
            "open_clip.list_models() lists all; open_clip.add_model_config adds one, in every worker"
        )
    architecture: dict[str, Any] = open_clip.get_model_config(model)
    return architecture


def find_pretrained(model: str, pretrained: str | os.PathLike[str]) -> tuple[str, str]:
    """Kind and full name of the weights that `pretrained` names; nothing is downloaded.

    Returns
    -------
    kind : str
        "tag", "file" or "hub".
    name : str
        The tag as open_clip writes it, the absolute path, or ``owner/name@revision``.

    Raises
    ------
    EncoderError
        No weights of that name, a revision that is not full, or a tag whose weights need another model.
    """
    open_clip = import_open_clip()
    name = os.fspath(pretrained) if pretrained else ""
    tag = open_clip.get_pretrained_cfg(model, name)
    if tag:
        _check_activation(model, name, tag)
        return "tag", name.lower().replace("-", "_")
    path = Path(name).expanduser()
    if name and (path.is_file() or name.endswith(SUFFIXES)):
        with as_encoder_errors():
            read_head(path)
        return "file", os.path.abspath(path)
    if is_hub_id(name) and not path.exists():
        with as_encoder_errors():
            repo, revision = parse_id(name)
        return "hub", f"{repo}@{revision}"
    tags = ", ".join(map(repr, open_clip.list_pretrained_tags_by_model(model))) or "none"
    raise EncoderError(
        f"expected weights for {model!r}: a tag of open_clip ({tags}), a checkpoint's path, or a Hugging Face id "
        f"owner/name@<40 hex digits>, got {name!r}"
    )


def fetch_weights(model: str, kind: str, name: str) -> tuple[Path, dict[str, Any]]:
    """Weights file, downloaded if need be, and the preprocess config of its model in open_clip's keys.

    Raises
    ------
    EncoderError
        The file cannot be fetched, or its preprocess config is unknown.
    """
    open_clip = import_open_clip()
    if kind == "hub":
        with as_encoder_errors():
            path = fetch(name, WEIGHTS, read_head)[0]
            return path, _read_preprocess(model, fetch(name, CONFIG, _read_config)[0])
    if kind == "tag":
        tag = open_clip.get_pretrained_cfg(model, name)
        offline = why_offline() if tag.get("hf_hub") else ""
        try:
            with cache_alone() if offline else nullcontext():
                path = Path(open_clip.download_pretrained(tag))
        except Exception as error:  # Network libraries raise errors of any kind.
            raise EncoderError(
                f"expected to download the weights {name!r} of {model}, got: {offline or error}. Without a network, "
                "set HF_HOME to a cache that holds them or give the path of a local file as pretrained"
            ) from error
        with as_encoder_errors():
            read_head(path)
        return path, _preprocess(tag)
    path = Path(name)
    beside = path.parent / CONFIG
    if beside.is_file():
        with as_encoder_errors():
            return path, _read_preprocess(model, beside)
    configs = _published_preprocess(open_clip, model)
    if len(configs) > 1:
        raise EncoderError(
            f"expected {CONFIG} beside {path}, got none: weights of {model} are published with several mean colors, "
            "and the file does not say which are its own"
        )
    return path, configs[0] if configs else {}


def describe_tag(model: str, tag: str) -> str:
    """Tag of open_clip and the source of its weights; the URL of many holds their hash."""
    config = import_open_clip().get_pretrained_cfg(model, tag)
    return " ".join([tag, *(config[key] for key in ("hf_hub", "url") if config.get(key))])


@contextmanager
def as_encoder_errors() -> Iterator[None]:
    """Raise the `PredictorError` of the checkpoint and hub code as an `EncoderError`."""
    try:
        yield
    except PredictorError as error:
        raise EncoderError(str(error)) from error


def _published_preprocess(open_clip: ModuleType, model: str) -> list[dict[str, Any]]:
    """Distinct preprocess configs of a model's published weights."""
    configs: list[dict[str, Any]] = []
    for name in open_clip.list_pretrained_tags_by_model(model):
        config = _preprocess(open_clip.get_pretrained_cfg(model, name))
        if config not in configs:
            configs.append(config)
    return configs


def _read_preprocess(model: str, path: Path) -> dict[str, Any]:
    config = _read_config(path)
    _check_activation(model, str(path.parent), config["model_cfg"])
    return _preprocess(config["preprocess_cfg"])


def _preprocess(config: Mapping[str, Any]) -> dict[str, Any]:
    return {key: config[key] for key in _PREPROCESS if key in config}


def _read_config(path: Path) -> dict[str, dict[str, Any]]:
    try:
        config = json.loads(path.read_text())
        return {key: dict(config[key]) for key in ("model_cfg", "preprocess_cfg")}
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise PredictorError(f"expected open_clip's model_cfg and preprocess_cfg in {path}") from error


def _check_activation(model: str, weights: str, config: Mapping[str, Any]) -> None:
    if config.get("quick_gelu") and not architecture_of(model).get("quick_gelu"):
        raise EncoderError(
            f"expected model={model + '-quickgelu'!r} for the weights {weights!r}, which were trained with QuickGELU, "
            f"got {model!r}, which computes another activation: its embeddings would be wrong"
        )
