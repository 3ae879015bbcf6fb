"""Stacks of Linear layers in a state dict, found by structure and folded to an affine map where possible."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from math import inf, sqrt

import numpy as np
import torch

from dask_aesthetic.defaults import ACTIVATIONS, OUTPUT_ACTIVATIONS
from dask_aesthetic.errors import PredictorError
from dask_aesthetic.predictors.norms import (
    LayerNorm,
    Linear,
    Scaling,
    add_products,
    find_places,
    is_layer_norm,
    is_scaling,
)
from dask_aesthetic.validation import is_number

# Positions of the Linear layers in the published Sequential models, and what stands between them.
PUBLISHED_STACKS: dict[tuple[int, ...], str] = {(0, 2, 4, 6, 7): "none", (0, 3, 6, 9, 11): "relu"}
_COUNT = "num_batches_tracked"
_KINDS = ("weight", "bias", "running_mean", "running_var", _COUNT, "mean", "variance", "std")


@dataclass(frozen=True)
class Stack:
    """Linear layers, applied to the unit vector times `input_scale`, with `activation` between them.

    Attributes
    ----------
    layers : tuple of (weight, bias)
        numpy arrays, shapes (out, in) and (out,).
    activation : str
        "none" or "relu".
    input_scale : float
    norms : tuple of LayerNorm
    output_activation : str
        "none" or "sigmoid", applied to the last layer's value.
    """

    layers: tuple[Linear, ...]
    activation: str = "none"
    input_scale: float = 1.0
    norms: tuple[LayerNorm, ...] = ()
    output_activation: str = "none"

    @property
    def width(self) -> int:
        """Floats per embedding."""
        return int(self.layers[0][0].shape[1])

    @property
    def is_affine(self) -> bool:
        """Whether the stack is one affine map, but for the output's activation."""
        return not self.norms and (self.activation == "none" or len(self.layers) == 1)

    @property
    def digest(self) -> str:
        """sha256 of weights, activations and input scale, whatever the file or its key names."""
        digest = hashlib.sha256(f"{self.activation} {self.input_scale!r}".encode())
        arrays = [array for layer in self.layers for array in layer]
        for norm in self.norms:
            digest.update(f"layer norm {norm.layer} {norm.activated}".encode())
            arrays += [norm.weight, norm.bias]
        for array in arrays:
            digest.update(f"{array.dtype.str}{array.shape}".encode() + np.ascontiguousarray(array).tobytes())
        if self.output_activation != "none":
            digest.update(self.output_activation.encode())
        return digest.hexdigest()

    def norms_at(self, layer: int, activated: bool) -> list[LayerNorm]:
        """Layer norms after so many Linear layers, before or after the activation."""
        return [norm for norm in self.norms if (norm.layer, norm.activated) == (layer, activated)]

    def fold(self) -> tuple[np.ndarray, float]:
        """Weight vector, shape (width,), and bias of an affine stack, in float64, before the output's activation.

        ``W2 (W1 x + b1) + b2 = (W2 W1) x + (W2 b1 + b2)``, checked on random unit vectors against the layers. Products
        are added one after the other, from the last layer to the first, so that every machine folds to the same bits.

        Raises
        ------
        PredictorError
            The folded map differs from the layers by more than 1e-9.
        """
        weight, bias = np.ones(1), 0.0
        for w, b in reversed(self.layers):
            bias += add_products(weight, b.astype(np.float64)[:, None])[0]
            weight = add_products(weight, w.astype(np.float64))
        weight = weight * self.input_scale
        probe = np.random.default_rng(0).standard_normal((8, self.width))
        probe /= np.linalg.norm(probe, axis=1, keepdims=True)
        error = float(np.abs(probe @ weight + bias - self.last_layer(probe)).max())
        if not error <= 1e-9:
            raise PredictorError(f"expected the folded predictor to equal its layers, got a difference of {error:g}")
        return weight, float(bias)

    def __call__(self, units: np.ndarray) -> np.ndarray:
        """Scores of unit vectors, layer by layer in float64: the slow reference of all other implementations."""
        x = self.last_layer(units)
        if self.output_activation == "none":
            return x
        with np.errstate(over="ignore"):
            return 1 / (1 + np.exp(-x))

    def last_layer(self, units: np.ndarray) -> np.ndarray:
        """Values that the output's activation takes, in float64."""
        x = units.astype(np.float64) * self.input_scale
        for at, (w, b) in enumerate(self.layers):
            if at and self.activation == "relu":
                x = np.maximum(x, 0)
            for norm in self.norms_at(at, activated=True):
                x = norm(x)
            x = x @ w.astype(np.float64).T + b
            for norm in self.norms_at(at + 1, activated=False):
                x = norm(x)
        return x[:, 0]


@dataclass(frozen=True)
class Layers:
    """Linear layers of a state dict, which does not contain the activation between them.

    Attributes
    ----------
    layers : tuple of (weight, bias)
        As in `Stack`; with what was folded into them.
    positions : tuple of int
        Numbers in the names of the layers.
    prefix : str
        Part of the names before the numbers.
    norms : tuple of LayerNorm
    unclear : tuple of int
        Numbers of normalizations that may be before or after the activation.
    """

    layers: tuple[Linear, ...]
    positions: tuple[int, ...]
    prefix: str
    norms: tuple[LayerNorm, ...] = ()
    unclear: tuple[int, ...] = ()

    def with_norm(self, norm: Scaling | LayerNorm) -> Layers:
        """Layers with a normalization, whose place among them is known: folded into a layer, or to be run."""
        if isinstance(norm, LayerNorm):
            return replace(self, norms=(*self.norms, norm))
        layers = list(self.layers)
        at = norm.layer if norm.activated else norm.layer - 1
        layers[at] = norm.fold_before(layers[at]) if norm.activated else norm.fold_after(layers[at])
        return replace(self, layers=tuple(layers))

    def stack(
        self,
        activation: str | None,
        input_scale: float | None,
        origin: str = "path",
        output_activation: str | None = None,
    ) -> Stack:
        """Stack of these layers; positions and prefix give a missing activation and input scale where they are known.

        The published five-layer heads (Linear layers at 0, 2, 4, 6, 7: no activation; at 0, 3, 6, 9, 11: ReLU) and a
        single Linear are known. Other layers may have an activation, in a gap between their numbers or in ``forward``
        only, so they need `activation`. A head named ``linear``, such as Simulacra's, may scale its input, so it needs
        `input_scale`.

        Raises
        ------
        PredictorError
            An activation or the input scale is unknown or invalid.
        """
        if output_activation not in (None, *OUTPUT_ACTIVATIONS):
            raise PredictorError(
                f"expected output_activation to be one of {', '.join(OUTPUT_ACTIVATIONS)}, got {output_activation!r}"
            )
        if activation is None:
            activation = "none" if len(self.layers) == 1 else PUBLISHED_STACKS.get(self.positions)
        if activation not in ACTIVATIONS:
            got = "weights, which do not say it" if activation is None else repr(activation)
            call = f"load_predictor({origin!r}, activation='relu')"
            raise PredictorError(
                f"expected to know what lies between the layers {self.positions}, got {got}: say "
                f"predictor={call}, or activation='none' there; on the command line, --activation relu or none. "
                f"{call}.save('head.safetensors') writes a file that remembers it"
            )
        if self.unclear and activation != "none":
            raise PredictorError(
                f"expected a normalization directly after a Linear layer, before the {activation}, or directly before "
                f"one, after it, got the numbers {self.unclear} among layers {self.positions}: merge it into a layer"
            )
        if input_scale is None:
            if len(self.layers) == 1 and self.prefix.rpartition(".")[2] == "linear":
                scale = f"{sqrt(self.layers[0][0].shape[1]):.4f}"
                raise PredictorError(
                    f"expected to know the input's scale of a head named 'linear' (Simulacra's heads take the unit "
                    f"vector times sqrt(width) = {scale}): say predictor=load_predictor({origin!r}, "
                    f"input_scale={scale}), or input_scale=1 there; on the command line, --input-scale {scale} or 1"
                )
            input_scale = 1.0
        if not is_number(input_scale) or not 0 < input_scale < inf:
            raise PredictorError(f"expected input_scale to be a positive, finite number, got {input_scale!r}")
        return Stack(self.layers, activation, float(input_scale), self.norms, output_activation or "none")


def find_layers(tensors: Mapping[str, torch.Tensor]) -> Layers:
    """Linear layers of a state dict and the normalizations among them, found by its structure.

    Raises
    ------
    PredictorError
        The tensors are no stack of Linear layers with one output, or a normalization's place is unknown.
    """
    groups = _by_name(tensors)
    scalings = {name: group for name, group in groups.items() if is_scaling(group)}
    norms = {name: group for name, group in groups.items() if is_layer_norm(group)} if len(groups) > 1 else {}
    linears = {name: group for name, group in groups.items() if name not in scalings and name not in norms}
    inputs = [name for name in scalings if "mean" in scalings[name]]
    placed = {_place(name): name for name in groups if name not in inputs}
    whole = all(set(group) == {"weight", "bias"} for group in linears.values())
    is_one = len({prefix for prefix, _ in placed}) == 1 and len(placed) == len(groups) - len(inputs)
    if not (linears and is_one and whole) or len(inputs) > 1:
        raise PredictorError(f"expected one stack of Linear layers, each with weight and bias, got {_names(tensors)}")
    order = sorted(place for place, name in placed.items() if name in linears)
    layers = [(_array(linears[placed[at]]["weight"]), _array(linears[placed[at]]["bias"])) for at in order]
    _check_shapes(layers)
    positions = tuple(index for _, index in order)
    found = Layers(tuple(layers), positions, order[0][0])
    others = {index: groups[name] for (_, index), name in placed.items() if name not in linears}
    places = find_places(positions, list(others))
    for place in places:
        arrays = {key: _array(tensor) for key, tensor in others[place.number].items()}
        made = Scaling.of if is_scaling(others[place.number]) else LayerNorm.of
        found = found.with_norm(made(arrays, place.layer, place.activated, layers))
    for name in inputs:  # The input is standardized before all else.
        arrays = {key: _array(tensor) for key, tensor in groups[name].items()}
        if any(norm.layer == 0 for norm in found.norms):
            raise PredictorError(f"expected {name!r} before the first layer alone, got a LayerNorm there as well")
        found = found.with_norm(Scaling.of(arrays, 0, True, layers))
    _check_shapes(found.layers)
    return replace(found, unclear=tuple(place.number for place in places if place.is_unclear))


def _by_name(tensors: Mapping[str, torch.Tensor]) -> dict[str, dict[str, torch.Tensor]]:
    """Tensors of each layer by their kinds; numbers of batches, which change no score, are left out."""
    groups: dict[str, dict[str, torch.Tensor]] = {}
    for key, tensor in tensors.items():
        match = re.fullmatch(rf"(?:(.*)\.)?({'|'.join(_KINDS)})", str(key))
        if match is None or not (match[2] == _COUNT or _is_plain(tensor)):
            is_other = isinstance(tensor, torch.Tensor) and not tensor.is_floating_point()
            kind = f" ({tensor.dtype})" if is_other else ""
            raise PredictorError(
                f"expected weights and biases of Linear layers alone, got {key!r}{kind} among {_names(tensors)}"
            )
        if match[2] != _COUNT:
            groups.setdefault(match[1] or "", {})[match[2]] = tensor
    return groups


def _place(name: str) -> tuple[str, int]:
    """Prefix and number of a layer's name."""
    match = re.fullmatch(r"(.*?)\.?(\d+)", name)
    return (match[1], int(match[2])) if match else (name, 0)


def _check_shapes(layers: Sequence[Linear]) -> None:
    shapes = [weight.shape for weight, _ in layers]
    fits = all(len(w.shape) == 2 and w.size and b.shape == w.shape[:1] for w, b in layers)
    fits = fits and all(a[0] == b[1] for a, b in pairwise(shapes)) and shapes[-1][0] == 1
    if not fits:
        raise PredictorError(f"expected Linear layers that follow each other and end in one score, got shapes {shapes}")
    if not all(np.isfinite(array).all() for layer in layers for array in layer):
        raise PredictorError("expected finite weights, got NaN or infinity among them")


def _is_plain(tensor: object) -> bool:
    return (
        isinstance(tensor, torch.Tensor)
        and tensor.is_floating_point()
        and tensor.layout == torch.strided
        and not tensor.is_meta
    )


def _array(tensor: torch.Tensor) -> np.ndarray:
    dtype = torch.float64 if tensor.dtype == torch.float64 else torch.float32
    # A copy, since safetensors may map the file itself, which another run may write anew.
    return tensor.detach().to("cpu", dtype, copy=True).numpy()


def _names(tensors: Mapping[str, torch.Tensor]) -> str:
    names = sorted(map(str, tensors))
    if not names:
        return "no tensors"
    return ", ".join(names[:6]) + (f" and {len(names) - 6} more" if len(names) > 6 else "")
