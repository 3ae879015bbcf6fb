"""Stacks of Linear layers in a state dict, found by structure and folded to an affine map where possible."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import pairwise
from math import inf, sqrt
from numbers import Real

import numpy as np
import torch

from dask_aesthetic.defaults import ACTIVATIONS
from dask_aesthetic.errors import PredictorError

# Positions of the Linear layers in the published Sequential models, and what stands between them.
PUBLISHED_STACKS: dict[tuple[int, ...], str] = {(0, 2, 4, 6, 7): "none", (0, 3, 6, 9, 11): "relu"}


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
    """

    layers: tuple[tuple[np.ndarray, np.ndarray], ...]
    activation: str = "none"
    input_scale: float = 1.0

    @property
    def width(self) -> int:
        """Floats per embedding."""
        return int(self.layers[0][0].shape[1])

    @property
    def is_affine(self) -> bool:
        """Whether the stack is one affine map."""
        return self.activation == "none" or len(self.layers) == 1

    @property
    def digest(self) -> str:
        """sha256 of weights, activation and input scale, whatever the file or its key names."""
        digest = hashlib.sha256(f"{self.activation} {self.input_scale!r}".encode())
        for array in (array for layer in self.layers for array in layer):
            digest.update(f"{array.dtype.str}{array.shape}".encode() + np.ascontiguousarray(array).tobytes())
        return digest.hexdigest()

    def fold(self) -> tuple[np.ndarray, float]:
        """Weight vector, shape (width,), and bias of an affine stack, in float64.

        ``W2 (W1 x + b1) + b2 = (W2 W1) x + (W2 b1 + b2)``, checked on random unit vectors against the layers. Products
        are added one after the other, from the last layer to the first, so that every machine folds to the same bits.

        Raises
        ------
        PredictorError
            The folded map differs from the layers by more than 1e-9.
        """
        weight, bias = np.ones(1), 0.0
        for w, b in reversed(self.layers):
            bias += _add_products(weight, b.astype(np.float64)[:, None])[0]
            weight = _add_products(weight, w.astype(np.float64))
        weight = weight * self.input_scale
        probe = np.random.default_rng(0).standard_normal((8, self.width))
        probe /= np.linalg.norm(probe, axis=1, keepdims=True)
        error = float(np.abs(probe @ weight + bias - self(probe)).max())
        if not error <= 1e-9:
            raise PredictorError(f"expected the folded predictor to equal its layers, got a difference of {error:g}")
        return weight, float(bias)

    def __call__(self, units: np.ndarray) -> np.ndarray:
        """Scores of unit vectors, layer by layer in float64: the slow reference of all other implementations."""
        x = units.astype(np.float64) * self.input_scale
        for at, (w, b) in enumerate(self.layers):
            x = x @ w.astype(np.float64).T + b
            if self.activation == "relu" and at < len(self.layers) - 1:
                x = np.maximum(x, 0)
        return x[:, 0]


@dataclass(frozen=True)
class Layers:
    """Linear layers of a state dict, which does not contain the activation between them.

    Attributes
    ----------
    layers : tuple of (weight, bias)
        As in `Stack`.
    positions : tuple of int
        Numbers in the names of the layers.
    prefix : str
        Part of the names before the numbers.
    """

    layers: tuple[tuple[np.ndarray, np.ndarray], ...]
    positions: tuple[int, ...]
    prefix: str

    def stack(self, activation: str | None, input_scale: float | None, origin: str = "path") -> Stack:
        """Stack of these layers; positions and prefix give a missing activation and input scale where they are known.

        The published five-layer heads (Linear layers at 0, 2, 4, 6, 7: no activation; at 0, 3, 6, 9, 11: ReLU) and a
        single Linear are known. Other layers may have an activation, in a gap between their numbers or in ``forward``
        only, so they need `activation`. A head named ``linear``, such as Simulacra's, may scale its input, so it needs
        `input_scale`.

        Raises
        ------
        PredictorError
            The activation or the input scale is unknown or invalid.
        """
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
        if input_scale is None:
            if len(self.layers) == 1 and self.prefix.rpartition(".")[2] == "linear":
                scale = f"{sqrt(self.layers[0][0].shape[1]):.4f}"
                raise PredictorError(
                    f"expected to know the input's scale of a head named 'linear' (Simulacra's heads take the unit "
                    f"vector times sqrt(width) = {scale}): say predictor=load_predictor({origin!r}, "
                    f"input_scale={scale}), or input_scale=1 there; on the command line, --input-scale {scale} or 1"
                )
            input_scale = 1.0
        if isinstance(input_scale, bool) or not isinstance(input_scale, Real) or not 0 < input_scale < inf:
            raise PredictorError(f"expected input_scale to be a positive, finite number, got {input_scale!r}")
        return Stack(self.layers, activation, float(input_scale))


def _add_products(factors: np.ndarray, rows: np.ndarray) -> np.ndarray:
    """Vector times matrix, added row by row; a BLAS adds in another order on another processor."""
    total = np.zeros(rows.shape[1])
    for factor, row in zip(factors, rows, strict=True):
        total += factor * row
    return total


def find_layers(tensors: Mapping[str, torch.Tensor]) -> Layers:
    """Linear layers of a state dict, found by its structure.

    Raises
    ------
    PredictorError
        The tensors are no stack of Linear layers with one output.
    """
    found: dict[tuple[str, int], dict[str, torch.Tensor]] = {}
    for key, tensor in tensors.items():
        match = re.fullmatch(r"(?:(.*?)\.?(\d+)\.|(.*)\.)?(weight|bias)", str(key))
        if match is None or not _is_plain(tensor):
            is_other = isinstance(tensor, torch.Tensor) and not tensor.is_floating_point()
            kind = f" ({tensor.dtype})" if is_other else ""
            raise PredictorError(
                f"expected weights and biases of Linear layers alone, got {key!r}{kind} among {_names(tensors)}"
            )
        prefix, index = match[1] or match[3] or "", int(match[2] or 0)
        found.setdefault((prefix, index), {})[match[4]] = tensor
    prefixes = {prefix for prefix, _ in found}
    whole = all(set(layer) == {"weight", "bias"} for layer in found.values()) and len(tensors) == 2 * len(found)
    if len(prefixes) != 1 or not whole:
        raise PredictorError(f"expected one stack of Linear layers, each with weight and bias, got {_names(tensors)}")
    order = sorted(found)
    layers = tuple((_array(found[at]["weight"]), _array(found[at]["bias"])) for at in order)
    _check_shapes(layers)
    return Layers(layers, tuple(index for _, index in order), prefixes.pop())


def _check_shapes(layers: tuple[tuple[np.ndarray, np.ndarray], ...]) -> None:
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
