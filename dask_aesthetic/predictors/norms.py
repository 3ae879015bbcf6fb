"""Normalizations among the Linear layers of a state dict: folded into a layer where they are affine, else run.

A `BatchNorm1d` in evaluation mode, and a standardization of the input, multiply and shift each value, so that a Linear
layer beside them takes them over, in float64. A `LayerNorm` depends on the row, and is run.
"""

from __future__ import annotations

from bisect import bisect
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch

from dask_aesthetic.errors import PredictorError

EPSILON = 1e-5  # Of torch's BatchNorm1d and LayerNorm by default; state dicts do not hold it.
Linear = tuple[np.ndarray, np.ndarray]


class Place(NamedTuple):
    """Place of a normalization: its number, the Linear layers before it, and whether it follows the activation.

    `is_unclear` says that the activation may as well be on its other side.
    """

    number: int
    layer: int
    activated: bool
    is_unclear: bool


@dataclass(frozen=True)
class LayerNorm:
    """A `torch.nn.LayerNorm` between Linear layers.

    Attributes
    ----------
    weight, bias : numpy.ndarray, shape (n,)
    layer : int
        Number of Linear layers before it.
    activated : bool
        Whether it takes what the activation gives, or what the activation takes.
    """

    weight: np.ndarray
    bias: np.ndarray
    layer: int
    activated: bool

    @classmethod
    def of(cls, arrays: Mapping[str, np.ndarray], layer: int, activated: bool, layers: Sequence[Linear]) -> LayerNorm:
        """Layer norm of its tensors, which must fit the layers beside it.

        Raises
        ------
        PredictorError
        """
        _check_size(arrays, layer, layers)
        if layer == len(layers):
            raise PredictorError("expected no LayerNorm after the last layer, whose only value it would erase, got one")
        return cls(arrays["weight"], arrays["bias"], layer, activated)

    def __call__(self, x: np.ndarray) -> np.ndarray:
        """Normalized rows, shape (rows, n), in float64."""
        centered = x - x.mean(axis=1, keepdims=True)
        variance = (centered**2).mean(axis=1, keepdims=True)
        scaled: np.ndarray = centered / np.sqrt(variance + EPSILON) * self.weight + self.bias
        return scaled


@dataclass(frozen=True)
class Scaling:
    """Factor and shift of each value: a BatchNorm in evaluation mode, or a standardization.

    Attributes
    ----------
    factor, shift : numpy.ndarray, shape (n,), float64
    layer, activated : int, bool
        As of `LayerNorm`.
    """

    factor: np.ndarray
    shift: np.ndarray
    layer: int
    activated: bool

    @classmethod
    def of(cls, arrays: Mapping[str, np.ndarray], layer: int, activated: bool, layers: Sequence[Linear]) -> Scaling:
        """Scaling of the tensors of a `BatchNorm1d`, or of "mean" and "variance" or "std".

        Raises
        ------
        PredictorError
            A variance is not positive, or the tensors do not fit the layers beside it.
        """
        _check_size(arrays, layer, layers)
        values = {name: array.astype(np.float64) for name, array in arrays.items()}
        with np.errstate(invalid="ignore"):
            if "running_mean" in values:
                mean, deviation = values["running_mean"], np.sqrt(values["running_var"] + EPSILON)
            else:
                mean, deviation = values["mean"], values["std"] if "std" in values else np.sqrt(values["variance"])
        if not (deviation > 0).all():
            raise PredictorError("expected a positive variance of every value that is standardized, got zero or less")
        factor = values.get("weight", 1.0) / deviation
        return cls(factor, values.get("bias", 0.0) - mean * factor, layer, activated)

    def fold_after(self, linear: Linear) -> Linear:
        """Linear layer that does what `linear` and then this does."""
        weight, bias = linear
        return weight * self.factor[:, None], bias * self.factor + self.shift

    def fold_before(self, linear: Linear) -> Linear:
        """Linear layer that does what this and then `linear` does."""
        weight, bias = (array.astype(np.float64) for array in linear)
        return weight * self.factor, bias + add_products(self.shift, weight.T)


def _check_size(arrays: Mapping[str, np.ndarray], layer: int, layers: Sequence[Linear]) -> None:
    width = layers[layer][0].shape[1] if layer < len(layers) else len(layers[-1][1])
    shapes = sorted({array.shape for array in arrays.values()})
    if shapes != [(width,)]:
        raise PredictorError(f"expected a normalization of {width} values after {layer} layers, got shapes {shapes}")
    if not all(np.isfinite(array).all() for array in arrays.values()):
        raise PredictorError("expected finite weights, got NaN or infinity among them")


def find_places(positions: Sequence[int], norms: Sequence[int]) -> list[Place]:
    """Places of normalizations, by the sorted numbers of the Linear layers in an `nn.Sequential` and their own.

    One that follows a Linear layer directly is before the activation, and one that a Linear layer follows directly is
    after it. Elsewhere, and where no number between two Linear layers is left for an activation, the place is unclear.

    Raises
    ------
    PredictorError
        Several are between two layers, other than one at each end, so that their order is unknown.
    """
    places: dict[tuple[int, bool], Place] = {}
    order = sorted(norms)
    for index in order:
        layer = bisect(positions, index)
        follows = layer > 0 and index == positions[layer - 1] + 1
        precedes = layer < len(positions) and index + 1 == positions[layer]
        activated = layer == 0 or (precedes and not follows)
        is_placed = follows or precedes
        if 0 < layer < len(positions):
            before, after = positions[layer - 1], positions[layer]
            is_full = bisect(order, after) - bisect(order, before) == after - before - 1
        else:
            is_full = False
        is_second = (layer, not activated) in places and not is_placed
        if (layer, activated) in places or is_second or (layer == len(positions) and not follows):
            raise PredictorError(
                f"expected a normalization directly before or after a Linear layer, got the numbers {order[:6]} "
                f"among layers {tuple(positions)}"
            )
        places[layer, activated] = Place(index, layer, activated, is_full or not is_placed)
    return list(places.values())


def add_products(factors: np.ndarray, rows: np.ndarray) -> np.ndarray:
    """Vector times matrix, added row by row; a BLAS adds in another order on another processor."""
    total = np.zeros(rows.shape[1])
    for factor, row in zip(factors, rows, strict=True):
        total += factor * row
    return total


def is_scaling(tensors: Mapping[str, torch.Tensor]) -> bool:
    """Whether tensors of one name are those of a BatchNorm or a standardization."""
    names = set(tensors) - {"weight", "bias"}
    if "running_mean" in names:
        return names == {"running_mean", "running_var"} and ("weight" in tensors) == ("bias" in tensors)
    return names in ({"mean", "variance"}, {"mean", "std"}) and len(tensors) == 2


def is_layer_norm(tensors: Mapping[str, torch.Tensor]) -> bool:
    """Whether tensors of one name are a weight and a bias of one axis, as of a LayerNorm."""
    return set(tensors) == {"weight", "bias"} and all(tensor.ndim == 1 for tensor in tensors.values())
