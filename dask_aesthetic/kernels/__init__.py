"""Row-wise arithmetic of vectors: `lanes` defines it, `compiled` runs it on CPUs, `gpu` on GPUs."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import torch

from dask_aesthetic.errors import ArgumentError
from dask_aesthetic.kernels.get_compiled import get_compiled
from dask_aesthetic.kernels.lanes import SAFE_NORM, Heads
from dask_aesthetic.kernels.lanes import scores_and_norms as numpy_scores_and_norms
from dask_aesthetic.kernels.memory import back_off
from dask_aesthetic.kernels.scattered import DTYPES, ScatteredRows, Vectors, find_rows

__all__ = [
    "DTYPES",
    "FLOATS",
    "SAFE_NORM",
    "Heads",
    "ScatteredRows",
    "Vectors",
    "back_off",
    "blocks",
    "find_rows",
    "norms",
    "scores_and_norms",
]

FLOATS = (torch.float16, torch.bfloat16, torch.float32, torch.float64)
AHEAD = 4096  # Bytes that are fetched into the cache before their turn.
HEADS = 8  # Weights in one pass: more sums than that do not fit into a processor's registers.
HEADS_ROWS = 256  # Rows between two passes with other weights, which find them in the cache.
COPIED_ROWS = 4096  # Rows of a copy, where a row's values do not lie one after the other.


def scores_and_norms(vectors: Vectors, heads: Heads) -> tuple[torch.Tensor, torch.Tensor]:
    """Scores of every row under every head, and every row's Euclidean norm, by the arithmetic of `lanes`.

    Parameters
    ----------
    vectors : torch.Tensor, shape (n, width), or ScatteredRows
        float16, bfloat16, float32 or float64, at any address, with any stride. Read only.
    heads : Heads
        None of them (k = 0) gives norms alone.

    Returns
    -------
    scores : torch.Tensor, shape (k, n), float32
        Meaningless where the norm is outside `SAFE_NORM`.
    norms : torch.Tensor, shape (n,), of the heads' dtype

    Raises
    ------
    ArgumentError
        The vectors have another width than the heads, or are no floats.
    """
    # Compiled code reads as many values as it is told to.
    if len(vectors.shape) != 2 or vectors.shape[1] != heads.width or vectors.dtype not in FLOATS:
        raise ArgumentError(
            f"expected vectors of shape (n, {heads.width}) of {', '.join(map(str, FLOATS))}, got "
            f"{tuple(vectors.shape)} of {vectors.dtype}"
        )
    if isinstance(vectors, ScatteredRows):
        return _on_cpu(vectors, heads)
    vectors = vectors.resolve_neg()  # Its memory may hold the values with another sign.
    if vectors.device.type == "cpu":
        return _on_cpu(vectors, heads)
    from dask_aesthetic.kernels import gpu

    weights, biases = (torch.from_numpy(part).to(vectors.device) for part in (heads.weights, heads.biases))
    dots, squares = gpu.dots_and_squares(vectors, weights[:, : heads.width])
    return gpu.finish(dots, squares, biases)


def norms(vectors: Vectors, dtype: type[np.floating] = np.float32) -> torch.Tensor:
    """Euclidean norm of every row, shape (n,), in a working precision."""
    width = vectors.shape[1]
    return scores_and_norms(vectors, Heads.of(np.empty((0, width)), np.empty(0), dtype))[1]


def _on_cpu(vectors: Vectors, heads: Heads) -> tuple[torch.Tensor, torch.Tensor]:
    compiled = get_compiled()
    if compiled is None:
        dense = vectors[:] if isinstance(vectors, ScatteredRows) else vectors
        scores, lengths = (torch.from_numpy(found) for found in numpy_scores_and_norms(dense, heads))
        return scores, lengths
    rows = len(vectors)
    # Not as torch's defaults have it: compiled code writes as many bytes as it is told to.
    scores = torch.empty(len(heads.weights), rows, dtype=torch.float32, device="cpu")
    lengths = torch.empty(rows, dtype=heads.working, device="cpu")
    if isinstance(vectors, ScatteredRows):
        _score(compiled, vectors.dtype, (0, 0, vectors.addresses.ctypes.data), heads, scores, lengths)
    elif rows and not vectors.data_ptr():
        raise ArgumentError(f"expected vectors in memory, got a {type(vectors).__name__} without any")
    elif vectors.stride(1) == 1 or vectors.shape[1] == 1:
        place = vectors.data_ptr(), vectors.stride(0) * vectors.element_size(), 0
        _score(compiled, vectors.dtype, place, heads, scores, lengths)
    else:
        for start in range(0, rows, COPIED_ROWS):
            at = slice(start, start + COPIED_ROWS)
            scores[:, at], lengths[at] = _on_cpu(vectors[at].contiguous(), heads)
    return scores, lengths


def _score(
    compiled: Any,
    dtype: torch.dtype,
    place: tuple[int, int, int],
    heads: Heads,
    scores: torch.Tensor,
    lengths: torch.Tensor,
) -> None:
    """Fill `scores` and `lengths`; `place` is an address and a stride in bytes, or the address of addresses."""
    start, stride, addresses = place
    (count, rows), norm_size = scores.shape, lengths.element_size()
    ahead = -(-AHEAD // (heads.width * dtype.itemsize))
    stored, working = compiled.STORED[dtype], compiled.STORED[heads.working]
    weights, biases = heads.operands
    score, norm = scores.data_ptr(), lengths.data_ptr()
    step = max(rows, 1) if count <= HEADS else HEADS_ROWS
    for row in range(0, rows, step):
        for head in range(0, max(count, 1), HEADS):
            some = slice(head, head + HEADS)
            compiled.score_rows(
                stored, working, min(step, rows - row),
                start + stride * row, stride, addresses + 8 * row if addresses else 0, ahead,
                heads.width, weights[some], biases[some],
                score + 4 * (head * rows + row), 4 * rows, norm + norm_size * row, norm_size,
            )  # fmt: skip


def blocks(vectors: Vectors, rows: int, dtype: torch.dtype = torch.float32) -> Iterator[tuple[slice, torch.Tensor]]:
    """Blocks of at most `rows` vectors, converted to `dtype`: views where it is their own."""
    for start in range(0, len(vectors), rows):
        at = slice(start, start + rows)
        yield at, vectors[at].to(dtype)
