"""Predictors: vectors to raw scores. `load_predictor` finds one by catalog name, path or Hugging Face id."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import replace
from functools import cache
from importlib.resources import as_file, files
from pathlib import Path
from typing import Any

from dask_aesthetic.choices import Activation
from dask_aesthetic.defaults import ACTIVATIONS, PREDICTOR
from dask_aesthetic.errors import PredictorError
from dask_aesthetic.predictors.affine import AffinePredictor
from dask_aesthetic.predictors.base import Predictor, PredictorInfo, from_header
from dask_aesthetic.predictors.catalog import BY_NAME, BY_WEIGHTS, KNOWN, Known
from dask_aesthetic.predictors.checkpoint import SUFFIXES, read_tensors, sha256_of
from dask_aesthetic.predictors.hub import FILE, fetch, is_hub_id
from dask_aesthetic.predictors.layers import Layers, Stack, find_layers
from dask_aesthetic.predictors.network import NetworkPredictor

__all__ = [
    "AffinePredictor",
    "NetworkPredictor",
    "Predictor",
    "PredictorInfo",
    "list_predictors",
    "load_predictor",
]


def load_predictor(
    predictor: str | os.PathLike[str] | Predictor = PREDICTOR,
    *,
    sha256: str | None = None,
    activation: Activation | None = None,
    input_scale: float | None = None,
) -> Predictor:
    """Load a predictor by catalog name, checkpoint path or Hugging Face id.

    Parameters
    ----------
    predictor : str, path or Predictor
        A name of the `catalog`; a checkpoint's path (``.pth`` or ``.safetensors``, or a folder that holds
        ``model.safetensors``); a Hugging Face id ``owner/name@revision`` with 40 hex digits, which
        ``ttj/sac-logos-ava1-l14-linearMSE`` alone may leave out; or a Predictor, which is returned unchanged.
    sha256 : str, optional
        Expected sha256 of the file; for a name, that of the published file behind it.
    activation : {"none", "relu"}, optional
        Activation between the layers of an unpublished checkpoint; the weights do not contain it.
    input_scale : float, optional
        Factor of the unit vector; 1 unless the checkpoint is known to differ.

    Returns
    -------
    Predictor
        An `AffinePredictor` if the layers fold to one affine map, else a `NetworkPredictor`.

    Raises
    ------
    PredictorError
        Unknown name, missing file, file of another kind, another sha256, layers that may have an activation between
        them, or an `activation` or `input_scale` other than that of a published head or a saved file.

    Notes
    -----
    Files are read without running code from them (``torch.load(weights_only=True)``, safetensors). Their layers are
    recognized by structure, and a published head by its weights, in whatever file it comes.

    Examples
    --------
    >>> load_predictor("laion-v2").info.encoder
    'ViT-L-14-quickgelu (openai)'
    """
    arguments = {"sha256": sha256, "activation": activation, "input_scale": input_scale}
    if isinstance(predictor, Predictor):
        _refuse_arguments(arguments, repr(predictor.info.name), "a predictor that has been loaded")
        return predictor
    if not isinstance(predictor, str | os.PathLike):
        raise PredictorError(f"expected a predictor's name, path or a loaded Predictor, got {predictor!r}")
    name = os.fspath(predictor)
    if name in BY_NAME:
        _refuse_arguments({**arguments, "sha256": None}, repr(name), "a published predictor")
        return _shipped(name, sha256)
    path = Path(name).expanduser()
    origin = {"name": path.name or path.resolve().name}  # "." gets the name of its folder.
    if not path.exists() and not name.endswith(SUFFIXES) and is_hub_id(name):
        path, repo, revision = fetch(name)
        origin = {"name": repo, "source": f"https://huggingface.co/{repo}", "revision": revision}
    elif not path.exists() and os.sep not in name and not name.endswith(SUFFIXES):
        raise PredictorError(
            f"expected a predictor among {', '.join(list_predictors())}, a checkpoint's path or a Hugging Face id, "
            f"got {name!r}"
        )
    path = path / FILE if path.is_dir() else path
    return _from_file(path, origin, sha256, activation, input_scale)


def list_predictors() -> dict[str, PredictorInfo]:
    """Info of the predictors that ship with the package, by name.

    Examples
    --------
    >>> list(list_predictors())
    ['laion-v2', 'laion-v2-ava', 'laion-v1-l14', 'laion-v1-b32', 'laion-v1-b16', 'simulacra-l14']
    """
    return {known.info.name: known.info for known in KNOWN if known.folded}


def _shipped(name: str, sha256: str | None) -> Predictor:
    known = BY_NAME[name]
    if sha256 is not None and known.info.sha256 != sha256.lower():
        raise PredictorError(f"expected sha256 {sha256} of {known.file}, got {known.info.sha256}")
    if not known.folded:
        raise PredictorError(
            f"expected a checkpoint for {name!r}, whose ReLU layers do not fold and so do not ship with the package: "
            f"give the path of {known.file} from {known.info.source}"
        )
    return _read_folded(name)


@cache
def _read_folded(name: str) -> AffinePredictor:
    """Predictor of a folded file in the package, which is read once per process."""
    with as_file(files(__package__) / "folded" / f"{name}.safetensors") as path:
        tensors, _ = read_tensors(path)
    return AffinePredictor(tensors["weight"][0].numpy(), tensors["bias"].item(), BY_NAME[name].info)


def _from_file(
    path: Path, origin: dict[str, str], sha256: str | None, activation: str | None, input_scale: float | None
) -> Predictor:
    tensors, header = read_tensors(path)
    digest = sha256_of(path)
    if sha256 is not None and digest != sha256.lower():
        raise PredictorError(f"expected sha256 {sha256} of {path}, got {digest}")
    if activation is not None and activation not in ACTIVATIONS:
        raise PredictorError(f"expected activation to be one of {', '.join(ACTIVATIONS)}, got {activation!r}")
    saved, values = from_header(header)
    layers = find_layers(tensors)
    requested = {"activation": activation, "input_scale": input_scale}
    if saved is not None:
        own = {"activation": values.get("activation"), "input_scale": values.get("input_scale", 1.0)}
        _refuse_contradiction(layers, own, requested, f"{path}, as it says of itself")
        stack = layers.stack(own["activation"] or activation, own["input_scale"], str(path))
        info = saved
    elif (published := _published(layers)) is not None:
        known, stack = published
        info = known.info
        own = {"activation": stack.activation, "input_scale": stack.input_scale}
        _refuse_contradiction(layers, own, requested, f"{path}, whose weights are those of {info.name}")
    else:
        stack = layers.stack(activation, input_scale, str(path))
        info = PredictorInfo(width=stack.width, sha256=digest, **origin)
    if info.width != stack.width:
        raise PredictorError(f"expected {info.width} floats per embedding, as {path} says of itself, got {stack.width}")
    return AffinePredictor(*stack.fold(), info) if stack.is_affine else NetworkPredictor(stack, info)


def _published(layers: Layers) -> tuple[Known, Stack] | None:
    """Published head with these weights, whatever the names of its layers, and its stack; None if unknown."""
    for activation in ACTIVATIONS:
        stack = Stack(layers.layers, activation)
        known = BY_WEIGHTS.get(stack.digest)
        if known is not None:
            return known, replace(stack, input_scale=known.input_scale)
    return None


def _refuse_contradiction(layers: Layers, own: Mapping[str, Any], requested: Mapping[str, Any], where: str) -> None:
    """Refuse an activation or input scale other than the file's own; a single layer has no activation."""
    for name, value in requested.items():
        is_fixed = own[name] is not None and (name != "activation" or len(layers.layers) > 1)
        if is_fixed and value is not None and value != own[name]:
            raise PredictorError(f"expected {name}={own[name]!r} for {where}, got {value!r}: leave it out")


def _refuse_arguments(arguments: dict[str, str | float | None], name: str, what: str) -> None:
    given = [f"{argument}={value!r}" for argument, value in arguments.items() if value is not None]
    if given:
        raise PredictorError(
            f"expected no other arguments with {name}, {what}, got {', '.join(given)}: give the path of a checkpoint"
        )
