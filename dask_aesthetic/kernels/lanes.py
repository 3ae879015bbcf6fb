"""The arithmetic of a score: one order of all additions, for every processor, GPU, batch and file format.

A row `x` of `width` values is added up in 32 lanes. Lane k takes the values k, k + 32, k + 64, ... in this order:

    dot[k]    = dot[k]    + x[j + k] * weight[j + k]        for j = 0, 32, 64, ...
    square[k] = square[k] + x[j + k] * x[j + k]

A row whose width is no multiple of 32 ends in zeros. Then the lanes are added as a tree of halves: lane k and lane
k + 16, then k and k + 8, k + 4, k + 2, k + 1. At last, in this order,

    norm  = sqrt(square)
    score = dot / norm + bias

Every product, sum, square root and quotient is rounded to the working precision on its own (IEEE 754, to nearest, ties
to even): there is no fused multiply-add, and nothing may be added in another order. The working precision is float32,
or float64 where a predictor or a row needs it (`predictors.affine`, `scoring`); a float64 result is rounded to float32
last. A score on the unit scale is the float32 score divided by 10 and rounded. float16, bfloat16 and float32 values
become working values exactly, and float64 values are rounded to float32 where that is the working precision.

So the 32 bits of a score depend on the values of the row and on the predictor alone. `compiled` does this on CPUs,
`triton_lanes` and `cuda_lanes` on GPUs, and `scores_and_norms` of this module in numpy, where numba is missing.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import torch

LANES = 32
NUMPY_ROWS = 512  # Rows in work at a time; their lanes and values stay in a processor's cache.

# Between these norms no square of an entry underflows or overflows so far that a float32 sum loses digits.
SAFE_NORM = (1e-15, 1e15)


@dataclass(frozen=True)
class Heads:
    """Weight vectors and biases of affine predictors that score the same rows.

    Attributes
    ----------
    weights : numpy.ndarray, shape (k, padded), float32 or float64
        In the working precision; zeros fill the last of the 32 lanes up.
    biases : numpy.ndarray, shape (k,), of the same dtype
    width : int
        Values of a row.
    """

    weights: np.ndarray
    biases: np.ndarray
    width: int

    @classmethod
    def of(cls, weights: np.ndarray, biases: np.ndarray, dtype: type[np.floating]) -> Heads:
        """Heads of weights, shape (k, width), and biases, shape (k,), in a working precision."""
        count, width = weights.shape
        padded = np.zeros((count, width + -width % LANES), dtype)
        padded[:, :width] = weights
        return cls(padded, np.asarray(biases).astype(dtype), width)

    def __getstate__(self) -> dict[str, Any]:
        return {"weights": self.weights, "biases": self.biases, "width": self.width}  # Addresses change.

    @cached_property
    def operands(self) -> tuple[tuple[int, ...], tuple[np.floating, ...]]:
        """Address of each weight vector in this process, and the biases as scalars."""
        start, stride = self.weights.ctypes.data, self.weights.strides[0]
        return tuple(start + stride * head for head in range(len(self.weights))), tuple(self.biases)

    @cached_property
    def packed(self) -> np.ndarray:
        """Each weight vector and, after it, its bias, shape (k, width + 1): a GPU takes them in one copy."""
        return np.concatenate([self.weights[:, : self.width], self.biases[:, None]], axis=1)

    @cached_property
    def copies(self) -> dict[tuple[torch.device, int], tuple[torch.Tensor, torch.Tensor]]:
        """Weights and biases in the memory of GPUs, as `gpu.operands` keeps them."""
        return {}

    @cached_property
    def working(self) -> torch.dtype:
        """Working precision."""
        return torch.from_numpy(self.biases).dtype


def scores_and_norms(vectors: torch.Tensor, heads: Heads) -> tuple[np.ndarray, np.ndarray]:
    """Scores, shape (k, n), float32, and norms, shape (n,), of the heads' dtype, of vectors in a CPU's memory."""
    scores = np.empty((len(heads.weights), len(vectors)), np.float32)
    norms = np.empty(len(vectors), heads.weights.dtype)
    working = getattr(torch, norms.dtype.name)
    # Rows that overflow or hold NaN are found by their norms.
    with np.errstate(all="ignore"):
        for start in range(0, len(vectors), NUMPY_ROWS):
            at = slice(start, start + NUMPY_ROWS)
            block = vectors[at].to(working).numpy()
            np.sqrt(_add_up(block, block), out=norms[at])
            for head, (weight, bias) in enumerate(zip(heads.weights, heads.biases, strict=True)):
                dots = _add_up(block, np.broadcast_to(weight, (len(block), len(weight))))
                scores[head, at] = dots / norms[at] + bias
    return scores, norms


def _add_up(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Sum of ``a * b`` in every row, shape (n,), lane by lane; zeros behind a row would change no lane."""
    lanes = np.zeros((len(a), LANES), a.dtype)
    for start in range(0, a.shape[1], LANES):
        part = a[:, start : start + LANES]
        lanes[:, : part.shape[1]] += part * b[:, start : start + part.shape[1]]
    half = LANES // 2
    while half:
        lanes = lanes[:, :half] + lanes[:, half:]
        half //= 2
    return lanes[:, 0]
