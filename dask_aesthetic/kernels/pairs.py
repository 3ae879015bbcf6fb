"""Cosines of the vectors in the same rows of two matrices, by the arithmetic of `lanes`.

The dot product of two rows is added up in the 32 lanes of `lanes`, as that of a row and a weight is; the norms are
those of `lanes`, too. Then, each step rounded to the working precision,

    cosine = dot / norm of the first / norm of the second

limited to -1..1, beyond which rounding may lead. `compiled` does this on CPUs, and torch on GPUs, where numba is
missing, and in float64.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch

from dask_aesthetic.errors import ArgumentError
from dask_aesthetic.kernels import ScatteredRows, Vectors, find_ahead, norms
from dask_aesthetic.kernels.get_compiled import get_compiled
from dask_aesthetic.kernels.lanes import LANES
from dask_aesthetic.kernels.one_thread import one_thread

CPU_ROWS, GPU_ROWS = 1 << 10, 1 << 16  # Rows that are copied, or multiplied by torch, at a time.


def cosines(
    a: Vectors, b: Vectors, dtype: type[np.floating] = np.float32
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Cosine of each row of `a` with the same row of `b`, and the norms of both.

    Parameters
    ----------
    a, b : torch.Tensor, shape (n, width), or ScatteredRows
        float16, bfloat16, float32 or float64, on one device. Read only.
    dtype : {numpy.float32, numpy.float64}
        Working precision.

    Returns
    -------
    cosines : torch.Tensor, shape (n,), float32
        Meaningless where a norm is outside `SAFE_NORM`.
    norms of a, norms of b : torch.Tensor, shape (n,), of `dtype`

    Raises
    ------
    ArgumentError
        The shapes differ.
    """
    if tuple(a.shape) != tuple(b.shape):
        raise ArgumentError(f"expected as many vectors of the same width, got {tuple(a.shape)} and {tuple(b.shape)}")
    compiled = get_compiled() if a.device.type == "cpu" and dtype is np.float32 else None
    with one_thread(a.device):
        others = norms(b, dtype)
        if compiled is None:
            lengths = norms(a, dtype)
            quotients = _dots(a, b, lengths.dtype) / lengths + 0.0  # No negative zero, as of a score without bias.
        else:
            quotients, lengths = _by_numba(compiled, a, b)
        return (quotients / others).to(torch.float32).clamp(-1, 1), lengths, others


def _by_numba(compiled: Any, a: Vectors, b: Vectors) -> tuple[torch.Tensor, torch.Tensor]:
    """Dot products divided by the norms of `a`, and these norms."""
    rows, width = a.shape
    quotients, lengths = (torch.from_numpy(np.empty(rows, np.float32)) for _ in range(2))
    if not isinstance(a, ScatteredRows):
        a = a.resolve_neg()
        a = a if a.stride(1) == 1 or width == 1 else a.contiguous()
    held = b if isinstance(b, torch.Tensor) and _is_padded(b) else None
    padded = torch.from_numpy(np.zeros((CPU_ROWS if held is None else 0, width + -width % LANES), np.float32))
    step = CPU_ROWS if held is None else max(rows, 1)
    for start in range(0, rows, step):
        count = min(step, rows - start)
        if held is None:
            padded[:count, :width] = b[start : start + count]
        others = padded if held is None else held
        if isinstance(a, ScatteredRows):
            place = 0, 0, a.addresses[start:].ctypes.data
        else:
            place = a[start:].data_ptr(), a.stride(0) * a.element_size(), 0
        compiled.score_pairs(
            compiled.STORED[a.dtype], compiled.STORED[torch.float32], count, *place, find_ahead(width, a.dtype), width,
            others.data_ptr(), others.stride(0) * 4, quotients[start:].data_ptr(), lengths[start:].data_ptr(), 4,
        )  # fmt: skip
    return quotients, lengths


def _is_padded(b: torch.Tensor) -> bool:
    """Whether compiled code can take the rows for weights, as they lie."""
    is_float32 = b.dtype == torch.float32 and b.data_ptr() % 4 == 0 and not b.is_neg()
    return is_float32 and b.stride(1) == 1 and b.shape[1] % LANES == 0


def _dots(a: Vectors, b: Vectors, working: torch.dtype) -> torch.Tensor:
    """Dot products of rows, lane by lane."""
    found = torch.empty(len(a), dtype=working, device=a.device)
    step = CPU_ROWS if a.device.type == "cpu" else GPU_ROWS
    for start in range(0, len(a), step):
        at = slice(start, start + step)
        x, y = a[at].to(working), b[at].to(working)
        lanes = torch.zeros(len(x), LANES, dtype=working, device=x.device)
        for j in range(0, x.shape[1], LANES):
            product = x[:, j : j + LANES] * y[:, j : j + LANES]  # Rounded before it is added.
            lanes[:, : product.shape[1]] += product
        half = LANES // 2
        while half:
            lanes = lanes[:, :half] + lanes[:, half:]
            half //= 2
        found[at] = lanes[:, 0]
    return found
