"""Triton kernel for GPUs: dot product and sum of squares of every row in one pass.

Two passes of torch read everything twice, and both divide the work by the number of rows, so that a row's last bits
depend on its neighbors. This kernel adds up each row in the same order wherever the row stands.
"""

from __future__ import annotations

import threading

import torch
import triton
import triton.language as tl

# Rows of a program, floats of a row that it holds at a time, and warps: a lane loads 16 bytes of float32 at once.
ROWS, CHUNK, WARPS = 8, 128, 4
ALIGNED = 16
COPIED_ROWS = 1 << 17  # 400 MB of float32.

_launching = threading.Lock()  # Dask may have several threads at the first launch, which compiles.


@triton.jit(do_not_specialize=["n"])
def _one_pass(x, weight, dots, squares, n, width: tl.constexpr, rows: tl.constexpr, chunk: tl.constexpr):  # type: ignore[no-untyped-def]
    row = tl.program_id(0).to(tl.int64) * rows + tl.arange(0, rows)
    there = row < n
    working = weight.dtype.element_ty
    dot = tl.zeros((rows, chunk), dtype=working)
    square = tl.zeros((rows, chunk), dtype=working)
    for start in tl.static_range(0, width, chunk):
        at = start + tl.arange(0, chunk)
        inside = at < width
        w = tl.load(weight + at, mask=inside, other=0.0)
        both = there[:, None] & inside[None, :]
        value = tl.load(x + row[:, None] * width + at[None, :], mask=both, other=0.0).to(working)
        dot += value * w[None, :]
        square += value * value
    tl.store(dots + row, tl.sum(dot, axis=1), mask=there)
    tl.store(squares + row, tl.sum(square, axis=1), mask=there)


def dots_and_squares(vectors: torch.Tensor, weight: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Dot product with `weight` and sum of squares of every row, in the precision of `weight`.

    Contiguous vectors that are aligned to 16 bytes are not copied. Others are copied in blocks, since Triton would add
    them up in another order.

    Parameters
    ----------
    vectors : torch.Tensor, shape (n, width), float16, bfloat16, float32 or float64
    weight : torch.Tensor, shape (width,), float32 or float64, on the same device

    Returns
    -------
    tuple of torch.Tensor, shape (n,), dtype of `weight`
    """
    n, width = vectors.shape
    dots, squares = (torch.empty(n, dtype=weight.dtype, device=vectors.device) for _ in range(2))
    aligned = vectors.is_contiguous() and vectors.data_ptr() % ALIGNED == 0
    rows = max(n, 1) if aligned else COPIED_ROWS
    for start in range(0, n, rows):
        at = slice(start, start + rows)
        block = vectors if aligned else vectors[at].clone(memory_format=torch.contiguous_format)
        with _launching:
            _one_pass[(triton.cdiv(len(block), ROWS),)](
                block, weight, dots[at], squares[at], len(block), width, ROWS, CHUNK,
                num_warps=WARPS, enable_fp_fusion=True,
            )  # fmt: skip
    return dots, squares
