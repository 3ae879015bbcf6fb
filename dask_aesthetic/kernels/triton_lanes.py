"""Triton kernel for GPUs: dot products and sum of squares of every row in one pass, in 32 lanes.

The lanes and their tree are written out, so that the bits depend neither on the tile's shape nor on memory's alignment.
"""

from __future__ import annotations

import threading

import torch
import triton
import triton.language as tl

from dask_aesthetic.kernels.lanes import LANES
from dask_aesthetic.kernels.launches import in_launches

# Rows of a program and its warps: the fastest in `benchmarks/triton_shapes.py`. All shapes give the same bits.
WIDE, NARROW = (8, 2), (16, 4)  # Of float32 and float64, of float16 and bfloat16.
OPTIONS = {"enable_fp_fusion": False}  # Every product is rounded before it is added.

UNROLLED = 1536  # Floats of a row that are added up without a loop; more of them take minutes to compile.

_launching = threading.Lock()  # Dask may have several threads at the first launch, which compiles.


@triton.jit
def _weight(weights, at, width: tl.constexpr, rows: tl.constexpr):  # type: ignore[no-untyped-def]
    # In the layout of the rows' own tile: a row of weights that is broadcast later costs an exchange at every step.
    there = tl.broadcast_to((at < width)[None, :], (rows, 32))
    return tl.load(
        tl.broadcast_to((weights + at)[None, :], (rows, 32)), mask=there, other=0.0, eviction_policy="evict_last"
    )


@triton.jit
def _converted(value, dtype: tl.constexpr):  # type: ignore[no-untyped-def]
    if value.dtype == tl.bfloat16:
        # Its bits are a float32's upper half. Triton's interpreter converts subnormal ones to other values.
        value = (value.to(tl.uint16, bitcast=True).to(tl.uint32) << 16).to(tl.float32, bitcast=True)
    return value.to(dtype)


@triton.jit
def _tree(lanes, rows: tl.constexpr):  # type: ignore[no-untyped-def]
    lanes = tl.sum(tl.reshape(lanes, (rows, 2, 16)), axis=1)
    lanes = tl.sum(tl.reshape(lanes, (rows, 2, 8)), axis=1)
    lanes = tl.sum(tl.reshape(lanes, (rows, 2, 4)), axis=1)
    lanes = tl.sum(tl.reshape(lanes, (rows, 2, 2)), axis=1)
    return tl.sum(lanes, axis=1)


@triton.jit(do_not_specialize=["across", "n"])
def _lanes(  # type: ignore[no-untyped-def]
    x, stride, weights, dots, across, squares, n,
    width: tl.constexpr, span: tl.constexpr, heads: tl.constexpr, rows: tl.constexpr,
):  # fmt: skip
    row = tl.program_id(0).to(tl.int64) * rows + tl.arange(0, rows)
    lane = tl.arange(0, 32)
    there = row < n
    working = weights.dtype.element_ty
    square = tl.zeros((rows, 32), dtype=working)
    dot0 = tl.zeros((rows, 32), dtype=working)
    dot1 = tl.zeros((rows, 32), dtype=working)
    dot2 = tl.zeros((rows, 32), dtype=working)
    dot3 = tl.zeros((rows, 32), dtype=working)
    for begin in range(0, width, span):
        for start in tl.static_range(0, span, 32):
            at = begin + start + lane
            both = there[:, None] & (at < width)[None, :]
            place = x + row[:, None] * stride + at[None, :]
            value = _converted(tl.load(place, mask=both, other=0.0, eviction_policy="evict_first"), working)
            square += value * value
            if heads > 0:
                dot0 += value * _weight(weights, at, width, rows)
            if heads > 1:
                dot1 += value * _weight(weights + width, at, width, rows)
            if heads > 2:
                dot2 += value * _weight(weights + 2 * width, at, width, rows)
            if heads > 3:
                dot3 += value * _weight(weights + 3 * width, at, width, rows)
    tl.store(squares + row, _tree(square, rows), mask=there)
    step = tl.cast(across, tl.int64)
    if heads > 0:
        tl.store(dots + row, _tree(dot0, rows), mask=there)
    if heads > 1:
        tl.store(dots + step + row, _tree(dot1, rows), mask=there)
    if heads > 2:
        tl.store(dots + 2 * step + row, _tree(dot2, rows), mask=there)
    if heads > 3:
        tl.store(dots + 3 * step + row, _tree(dot3, rows), mask=there)


def dots_and_squares(vectors: torch.Tensor, weights: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Dot products and sums of squares, as of `gpu.dots_and_squares`, by Triton."""
    return in_launches(_launch, vectors, weights)


def _launch(vectors: torch.Tensor, weights: torch.Tensor, dots: torch.Tensor, squares: torch.Tensor) -> None:
    n, width = vectors.shape
    rows, warps = NARROW if vectors.element_size() == 2 else WIDE
    span = max(min(width, UNROLLED), LANES)
    with _launching:
        _lanes[(triton.cdiv(n, rows),)](
            vectors, vectors.stride(0), weights, dots, dots.stride(0), squares, n, width, span, len(weights), rows,
            num_warps=warps, **OPTIONS,
        )  # fmt: skip
