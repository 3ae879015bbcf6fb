"""Predictors: vectors to raw scores. `load_predictor` finds one by catalog name, path or Hugging Face id."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import cache
from importlib.resources import as_file, files
from pathlib import Path
from typing import Any

from dask_aesthetic.choices import Activation, OutputActivation
from dask_aesthetic.defaults import ACTIVATIONS, PREDICTOR
from dask_aesthetic.errors import ArgumentError, ColumnError, PredictorError, did_you_mean
from dask_aesthetic.predictors.affine import AffinePredictor
from dask_aesthetic.predictors.base import Predictor, PredictorInfo, from_header
from dask_aesthetic.predictors.catalog import BY_LAYOUT, BY_NAME, BY_WEIGHTS, KNOWN, Known, Layout
from dask_aesthetic.predictors.checkpoint import SUFFIXES, read_tensors, sha256_of
from dask_aesthetic.predictors.hub import FILE, fetch, is_hub_id
from dask_aesthetic.predictors.layers import Layers, Stack, find_layers
from dask_aesthetic.predictors.network import NetworkPredictor
from dask_aesthetic.predictors.together import Pass, in_order, passes
from dask_aesthetic.validation import check_new_name

OnePredictor = str | os.PathLike[str] | Predictor
Predictors = OnePredictor | Mapping[str, OnePredictor]  # Several, by the columns of their scores.

__all__ = [
    "AffinePredictor",
    "NetworkPredictor",
    "Pass",
    "OnePredictor",
    "Predictor",
    "PredictorInfo",
    "Predictors",
    "in_order",
    "list_predictors",
    "load_predictor",
    "load_predictors",
    "passes",
    "refuse_apart",
]


def load_predictor(
    predictor: str | os.PathLike[str] | Predictor = PREDICTOR,
    *,
    sha256: str | None = None,
    activation: Activation | None = None,
    input_scale: float | None = None,
    output_activation: OutputActivation | None = None,
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
    output_activation : {"none", "sigmoid"}, optional
        Activation after the last layer of an unpublished checkpoint; "none" by default. After a sigmoid the scores are
        probabilities, and thresholds are from 0 to 1.

    Returns
    -------
    Predictor
        An `AffinePredictor` if the layers fold to one affine map, else a `NetworkPredictor`.

    Raises
    ------
    PredictorError
        Unknown name, missing file, file of another kind, another sha256, layers that may have an activation between
        them, or an `activation`, `input_scale` or `output_activation` other than that of a published head or a saved
        file.

    Notes
    -----
    Files are read without running code from them (``torch.load(weights_only=True)``, safetensors). Their layers are
    recognized by structure, and a published head by its weights, in whatever file it comes; aesthetic-predictor-v2-5,
    whose license keeps it out of this package, by the names and shapes of its layers.

    Linear layers may have among them: `BatchNorm1d` in evaluation mode, which is folded; `LayerNorm`, which is run;
    both with torch's default ``eps``; and a standardization of the input, tensors named ``mean`` and ``variance`` or
    ``std``, which is folded. By the numbers of an `nn.Sequential`, a normalization directly after a layer comes before
    the activation, and one directly before a layer after it.

    Examples
    --------
    >>> load_predictor("laion-v2").info.encoder
    'ViT-L-14-quickgelu (openai)'
    """
    requested = {"activation": activation, "input_scale": input_scale, "output_activation": output_activation}
    arguments = {"sha256": sha256, **requested}
    if isinstance(predictor, Predictor):
        _refuse_arguments(arguments, repr(predictor.info.name), "a predictor that has been loaded")
        return predictor
    if not isinstance(predictor, str | os.PathLike) or not os.fspath(predictor):
        raise PredictorError(f"expected a predictor's name, path or a loaded Predictor, got {predictor!r}")
    name = os.fspath(predictor)
    if name in BY_NAME:
        _refuse_arguments({**arguments, "sha256": None}, repr(name), "a published predictor")
        return _shipped(name, sha256)
    path = Path(name).expanduser()
    origin: dict[str, Any] = {"name": path.name or path.resolve().name}  # "." gets the name of its folder.
    if not path.exists() and not name.endswith(SUFFIXES) and is_hub_id(name):
        path, repo, revision = fetch(name)
        origin = {"name": repo, "source": f"https://huggingface.co/{repo}", "revision": revision}
    elif not path.exists() and os.sep not in name and not name.endswith(SUFFIXES):
        raise PredictorError(
            f"expected a predictor among {', '.join(list_predictors())}, a checkpoint's path or a Hugging Face id, "
            f"got {name!r}{did_you_mean(name, BY_NAME, 3)}"
        )
    path = path / FILE if path.is_dir() else path
    return _from_file(path, origin, sha256, requested)


def load_predictors(predictor: Any, score_column: str | None = None, *, together: bool = True) -> dict[str, Predictor]:
    """Predictors of one column of embeddings, by the columns of their scores.

    Parameters
    ----------
    predictor : str, path, Predictor, or mapping of str to one of them
        One predictor; or several, by the columns of their scores.
    score_column : str, optional
        Column of one predictor's scores; by default that of `PredictorInfo.score_column`.
    together : bool
        Refuse predictors that do not take the same embeddings.

    Raises
    ------
    ArgumentError
        There is no predictor, they take other encoders' embeddings, or a `score_column` is given beside a mapping.
    ColumnError
        They take embeddings of several widths.
    PredictorError
        As of `load_predictor`.
    """
    if isinstance(predictor, list | tuple | set):
        raise PredictorError(
            "expected a predictor's name, path or a loaded Predictor, or several by the columns of their scores, as in "
            f"{{'aesthetic_score': 'laion-v2', 'ava_score': 'laion-v2-ava'}}, got {predictor!r}"
        )
    if not isinstance(predictor, Mapping):
        loaded = load_predictor(predictor)
        score_column = loaded.info.score_column if score_column is None else score_column
        check_new_name("score_column", score_column)
        return {score_column: loaded}
    if score_column is not None:
        raise ArgumentError(
            f"expected no score_column beside predictors by column, got {score_column!r}: the columns are "
            f"{', '.join(map(repr, predictor))}"
        )
    if not predictor:
        raise ArgumentError("expected one predictor or more, by the columns of their scores, got an empty mapping")
    for column in predictor:
        check_new_name("a column of predictor", column)
    found = {column: load_predictor(one) for column, one in predictor.items()}
    if together:
        refuse_apart([one.info for one in found.values()])
    return found


def refuse_apart(infos: Sequence[PredictorInfo]) -> None:
    """Refuse predictors that cannot score the same embeddings.

    Raises
    ------
    ArgumentError, ColumnError
        As of `load_predictors`.
    """
    if len({info.width for info in infos}) > 1:
        names = ", ".join(f"{info.name} ({info.width})" for info in infos)
        raise ColumnError(
            f"expected predictors of one width, as they score the same column, got {names}: score each column alone"
        )
    known = [info for info in infos if info.encoder != "unknown"]
    if len({info.encoder for info in known}) > 1:
        names = ", ".join(f"{info.name} of {info.encoder}" for info in known)
        raise ArgumentError(
            f"expected predictors of one encoder's embeddings, as they score the same column, got {names}: score each "
            "column alone"
        )


def list_predictors() -> dict[str, PredictorInfo]:
    """Info of the predictors that ship with the package, by name.

    Examples
    --------
    >>> list(list_predictors())
    ['laion-v2', 'laion-v2-ava', 'laion-v1-l14', 'laion-v1-b32', 'laion-v1-b16', 'simulacra-l14', 'nsfw-l14']
    """
    return {known.info.name: known.info for known in KNOWN if known.folded}


def _shipped(name: str, sha256: str | None) -> Predictor:
    known = BY_NAME[name]
    if sha256 is not None and known.info.sha256 != sha256.lower():
        raise PredictorError(f"expected sha256 {sha256} of {known.file}, got {known.info.sha256}")
    if known.left_out:
        raise PredictorError(
            f"expected a checkpoint for {name!r}, {known.left_out}: "
            f"give the path of {known.file} from {known.info.source}"
        )
    return _read_folded(name)


@cache
def _read_folded(name: str) -> Predictor:
    """Predictor of a folded file in the package, which is read once per process."""
    with as_file(files(__package__) / "folded" / f"{name}.safetensors") as path:
        tensors, header = read_tensors(path)
    _, values = from_header(header)
    stack = _saved_stack(find_layers(tensors), values, {}, name)
    return _made(stack, BY_NAME[name].info)


def _from_file(path: Path, origin: dict[str, Any], sha256: str | None, requested: Mapping[str, Any]) -> Predictor:
    tensors, header = read_tensors(path)
    digest = sha256_of(path)
    if sha256 is not None and digest != sha256.lower():
        raise PredictorError(f"expected sha256 {sha256} of {path}, got {digest}")
    activation = requested["activation"]
    if activation is not None and activation not in ACTIVATIONS:
        raise PredictorError(f"expected activation to be one of {', '.join(ACTIVATIONS)}, got {activation!r}")
    saved, values = from_header(header)
    layers = find_layers(tensors)
    if saved is not None:
        stack, info = _saved_stack(layers, values, requested, str(path)), saved
    elif (published := _published(layers)) is not None:
        known, stack = published
        info = known.info if known.weights else replace(known.info, sha256=digest)
        own = {name: getattr(stack, name) for name in requested}
        what = "whose weights are those" if known.weights else "whose layers are named and shaped as those"
        _refuse_contradiction(layers, own, requested, f"{path}, {what} of {info.name}")
    else:
        stack = layers.stack(origin=str(path), **requested)
        is_probability = stack.output_activation == "sigmoid"
        info = PredictorInfo(width=stack.width, sha256=digest, is_probability=is_probability, **origin)
    if info.width != stack.width:
        raise PredictorError(f"expected {info.width} floats per embedding, as {path} says of itself, got {stack.width}")
    return _made(stack, info)


def _made(stack: Stack, info: PredictorInfo) -> Predictor:
    if stack.is_affine:
        return AffinePredictor(*stack.fold(), info, stack.output_activation)
    return NetworkPredictor(stack, info)


def _saved_stack(layers: Layers, values: Mapping[str, Any], requested: Mapping[str, Any], origin: str) -> Stack:
    """Stack of a file that a predictor's `save` wrote, by the values of its header."""
    own = {
        "activation": values.get("activation"),
        "input_scale": values.get("input_scale", 1.0),
        "output_activation": values.get("output_activation", "none"),
    }
    _refuse_contradiction(layers, own, requested, f"{origin}, as it says of itself")
    return layers.stack(origin=origin, **{**own, "activation": own["activation"] or requested.get("activation")})


def _published(layers: Layers) -> tuple[Known, Stack] | None:
    """Published head with these weights, or this layout, and its stack; None if unknown."""
    for activation in ACTIVATIONS:
        stack = Stack(layers.layers, activation, norms=layers.norms)
        known = BY_WEIGHTS.get(stack.digest)
        if known is not None:
            return known, replace(stack, input_scale=known.input_scale, output_activation=known.output_activation)
    widths = (layers.layers[0][0].shape[1], *(len(bias) for _, bias in layers.layers))
    known = BY_LAYOUT.get(Layout(layers.prefix.rpartition(".")[2], layers.positions, widths))
    return None if known is None or layers.norms else (known, Stack(layers.layers))


def _refuse_contradiction(layers: Layers, own: Mapping[str, Any], requested: Mapping[str, Any], where: str) -> None:
    """Refuse an activation or input scale other than the file's own; a single layer has no activation between."""
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
