"""Where an encoder's weights come from: a tag of open_clip, a file, or a Hugging Face repository at a revision."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from difflib import get_close_matches
from pathlib import Path
from types import ModuleType
from typing import Any

from dask_aesthetic.errors import EncoderError, MissingDependencyError, PredictorError
from dask_aesthetic.predictors.checkpoint import SUFFIXES, look_at
from dask_aesthetic.predictors.hub import fetch, is_hub_id, parse_id

WEIGHTS, CONFIG = "open_clip_model.safetensors", "open_clip_config.json"
_PREPROCESS = ("mean", "std", "interpolation", "resize_mode")


def import_open_clip() -> ModuleType:
    """open_clip, imported when it is needed: it takes seconds.

    Raises
    ------
    MissingDependencyError
        It is not installed.
    EncoderError
        It does not load, as beside a torchvision that was built for another torch.
    """
    try:
        import open_clip
    except ModuleNotFoundError as error:
        raise MissingDependencyError("open_clip", "embed", "embedding pictures") from error
    except Exception as error:
        raise EncoderError(
            f"expected an open_clip that can be imported, got {type(error).__name__}: {error}. It needs torch and "
            "torchvision of the same build: pip install --force-reinstall torch torchvision"
        ) from error
    return open_clip


def architecture_of(model: str) -> dict[str, Any]:
    """The configuration of a model of open_clip.

    Raises
    ------
    EncoderError
        There is no such model.
    """
    open_clip = import_open_clip()
    known = open_clip.list_models()
    if model not in known:  # Asked for more, open_clip would download the configuration of a repository.
        near = ", ".join(map(repr, get_close_matches(str(model), known, 4, 0.5)))
        raise EncoderError(
            f"expected a model of open_clip, got {model!r}. "
            + (f"Did you mean {near}?" if near else "")
            + " open_clip.list_models() lists all; open_clip.add_model_config adds one, in every worker"
        )
    architecture: dict[str, Any] = open_clip.get_model_config(model)
    return architecture


def find_pretrained(model: str, pretrained: str | os.PathLike[str]) -> tuple[str, str]:
    """What kind of place `pretrained` names, and its full name. Nothing is downloaded.

    Returns
    -------
    kind : str
        "tag", "file" or "hub".
    name : str
        The tag as open_clip writes it, the absolute path, or ``owner/name@revision``.

    Raises
    ------
    EncoderError
        There is no such thing, no full revision, or the tag's weights want another model.
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
            look_at(path)
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
    """The file of the weights, downloaded if need be, and how its model is given pictures, as open_clip calls it.

    Raises
    ------
    EncoderError
        It cannot be had, or nothing says how the model is given pictures.
    """
    open_clip = import_open_clip()
    if kind == "hub":
        with as_encoder_errors():
            path = fetch(name, WEIGHTS, look_at)[0]
            return path, _way_told(model, fetch(name, CONFIG, _told)[0])
    if kind == "tag":
        tag = open_clip.get_pretrained_cfg(model, name)
        try:
            path = Path(open_clip.download_pretrained(tag))
        except Exception as error:  # Whatever the libraries of the network raise.
            raise EncoderError(
                f"expected to download the weights {name!r} of {model}, got: {error}. Without a network, set HF_HOME "
                "to a cache that holds them or give the path of a local file as pretrained"
            ) from error
        with as_encoder_errors():
            look_at(path)
        return path, _way(tag)
    path = Path(name)
    beside = path.parent / CONFIG
    if beside.is_file():
        with as_encoder_errors():
            return path, _way_told(model, beside)
    ways = _ways(open_clip, model)
    if len(ways) > 1:
        raise EncoderError(
            f"expected {CONFIG} beside {path}, got none: weights of {model} are published with several mean colors, "
            "and the file does not say which are its own"
        )
    return path, ways[0] if ways else {}


def tag_told(model: str, tag: str) -> str:
    """A tag of open_clip, and where that has its weights from; the address of many holds their hash."""
    told = import_open_clip().get_pretrained_cfg(model, tag)
    return " ".join([tag, *(told[place] for place in ("hf_hub", "url") if told.get(place))])


@contextmanager
def as_encoder_errors() -> Iterator[None]:
    """Tell of an encoder what the code for checkpoints and the hub tells of predictors."""
    try:
        yield
    except PredictorError as error:
        raise EncoderError(str(error)) from error


def _ways(open_clip: ModuleType, model: str) -> list[dict[str, Any]]:
    """The different ways in which the published weights of a model are given pictures."""
    ways: list[dict[str, Any]] = []
    for name in open_clip.list_pretrained_tags_by_model(model):
        tag = open_clip.get_pretrained_cfg(model, name)
        way = _way(tag)
        if way not in ways:
            ways.append(way)
    return ways


def _way_told(model: str, path: Path) -> dict[str, Any]:
    told = _told(path)
    _check_activation(model, str(path.parent), told["model_cfg"])
    return _way(told["preprocess_cfg"])


def _way(told: Mapping[str, Any]) -> dict[str, Any]:
    return {key: told[key] for key in _PREPROCESS if key in told}


def _told(path: Path) -> dict[str, dict[str, Any]]:
    try:
        told = json.loads(path.read_text())
        return {key: dict(told[key]) for key in ("model_cfg", "preprocess_cfg")}
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise PredictorError(f"expected open_clip's configuration of a model and its pictures in {path}") from error


def _check_activation(model: str, weights: str, told: Mapping[str, Any]) -> None:
    if told.get("quick_gelu") and not architecture_of(model).get("quick_gelu"):
        raise EncoderError(
            f"expected model={model + '-quickgelu'!r} for the weights {weights!r}, which were trained with QuickGELU, "
            f"got {model!r}, which computes another activation: its embeddings would be wrong"
        )
