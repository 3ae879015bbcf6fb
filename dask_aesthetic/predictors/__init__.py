"""Predictors: vectors to raw scores. `load_predictor` finds one by catalogue name, path or Hugging Face id."""

from __future__ import annotations

import os
from dataclasses import replace
from importlib.resources import as_file, files
from pathlib import Path

from dask_aesthetic.errors import PredictorError
from dask_aesthetic.predictors.affine import AffinePredictor
from dask_aesthetic.predictors.base import Predictor, PredictorInfo, from_header
from dask_aesthetic.predictors.catalogue import BY_NAME, BY_WEIGHTS, DEFAULT, KNOWN
from dask_aesthetic.predictors.checkpoint import SUFFIXES, read_tensors, sha256_of
from dask_aesthetic.predictors.hub import FILE, fetch, is_hub_id
from dask_aesthetic.predictors.layers import find_stack
from dask_aesthetic.predictors.network import NetworkPredictor

__all__ = [
    "DEFAULT",
    "AffinePredictor",
    "NetworkPredictor",
    "Predictor",
    "PredictorInfo",
    "catalogue",
    "load_predictor",
]


def load_predictor(
    predictor: str | os.PathLike[str] | Predictor = DEFAULT,
    *,
    sha256: str | None = None,
    activation: str | None = None,
    input_scale: float | None = None,
) -> Predictor:
    """Load a predictor.

    Parameters
    ----------
    predictor : str, path or Predictor
        A name of the `catalogue`; a checkpoint's path (``.pth`` or ``.safetensors``, or a folder that holds
        ``model.safetensors``); a Hugging Face id ``owner/name@revision`` with 40 hex digits, which
        ``ttj/sac-logos-ava1-l14-linearMSE`` alone may leave out; or a Predictor, which is returned as it is.
    sha256 : str, optional
        What the file's sha256 must be; for a name, that of the published file behind it.
    activation : {"none", "relu"}, optional
        What lies between the layers of a checkpoint that is laid out like no published one.
    input_scale : float, optional
        What the unit vector is multiplied by first; 1 unless the checkpoint is known to differ.

    Returns
    -------
    Predictor
        An `AffinePredictor` if the layers fold to one affine map, else a `NetworkPredictor`.

    Raises
    ------
    PredictorError
        No such name or file, a file that is no predictor, or another sha256.

    Notes
    -----
    Files are read without running code from them (``torch.load(weights_only=True)``, safetensors). Their layers are
    recognised by structure, and a published head by its weights, in whatever file it comes.

    Examples
    --------
    >>> load_predictor("laion-v2").info.encoder
    'ViT-L-14-quickgelu (openai)'
    """
    if isinstance(predictor, Predictor):
        return predictor
    name = os.fspath(predictor)
    if name in BY_NAME:
        return _shipped(name, sha256)
    path = Path(name).expanduser()
    origin = {"name": path.name}
    if not path.exists() and not name.endswith(SUFFIXES) and is_hub_id(name):
        path, repo, revision = fetch(name)
        origin = {"name": repo, "source": f"https://huggingface.co/{repo}", "revision": revision}
    elif not path.exists() and os.sep not in name and not name.endswith(SUFFIXES):
        raise PredictorError(
            f"expected a predictor among {', '.join(catalogue())}, a checkpoint's path or a Hugging Face id, "
            f"got {name!r}"
        )
    path = path / FILE if path.is_dir() else path
    return _from_file(path, origin, sha256, activation, input_scale)


def catalogue() -> dict[str, PredictorInfo]:
    """The predictors that ship with the package, by name.

    Examples
    --------
    >>> list(catalogue())
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
    with as_file(files(__package__) / "folded" / f"{name}.safetensors") as path:
        tensors, _ = read_tensors(path)
    return AffinePredictor(tensors["weight"][0].numpy(), tensors["bias"].item(), known.info)


def _from_file(
    path: Path, origin: dict[str, str], sha256: str | None, activation: str | None, input_scale: float | None
) -> Predictor:
    tensors, header = read_tensors(path)
    digest = sha256_of(path)
    if sha256 is not None and digest != sha256.lower():
        raise PredictorError(f"expected sha256 {sha256} of {path}, got {digest}")
    saved, told = from_header(header)
    scale = told.get("input_scale") if input_scale is None else input_scale
    plain = find_stack(tensors, activation or told.get("activation"), 1.0 if scale is None else scale)
    known = BY_WEIGHTS.get(plain.digest) if scale is None else None
    if known is not None:
        stack, info = replace(plain, input_scale=known.input_scale), known.info
    else:
        stack = find_stack(tensors, plain.activation, scale)
        info = saved or PredictorInfo(width=stack.width, sha256=digest, **origin)
        if info.width != stack.width:
            raise PredictorError(
                f"expected {info.width} floats per embedding, as {path} says of itself, got {stack.width}"
            )
    return AffinePredictor(*stack.fold(), info) if stack.is_affine else NetworkPredictor(stack, info)
