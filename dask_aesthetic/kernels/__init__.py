"""Row-wise arithmetic of vectors: `lanes` defines it, `compiled` runs it on CPUs, `gpu` on GPUs."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import torch

from dask_aesthetic.errors import ArgumentError
from dask_aesthetic.kernels.get_compiled import (
    get_compiled,
    get_jpeg_header,
    get_parquet_pages,
    get_resize,
    get_row_hash,
)
from dask_aesthetic.kernels.lanes import SAFE_NORM, Heads
from dask_aesthetic.kernels.lanes import scores_and_norms as numpy_scores_and_norms
from dask_aesthetic.kernels.memory import back_off
from dask_aesthetic.kernels.scattered import DTYPES, ScatteredRows, Vectors, find_rows

__all__ = [
    "DTYPES",
    "FLOATS",
    "RowScorer",
    "SAFE_NORM",
    "Heads",
    "ScatteredRows",
    "Vectors",
    "back_off",
    "blocks",
    "find_ahead",
    "find_rows",
    "get_jpeg_header",
    "get_parquet_pages",
    "get_resize",
    "get_row_hash",
    "norms",
    "scores_and_norms",
]

FLOATS = (torch.float16, torch.bfloat16, torch.float32, torch.float64)
AHEAD = 8192  # Bytes that are fetched into the cache before their turn.
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
    # Compiled code reads as many values as the heads are wide.
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

    weights, biases = gpu.operands(heads, vectors.device)
    return gpu.finish(*gpu.dots_and_squares(vectors, weights), biases)


def norms(vectors: Vectors, dtype: type[np.floating] = np.float32) -> torch.Tensor:
    """Euclidean norm of every row, shape (n,), in a working precision."""
    width = vectors.shape[1]
    return scores_and_norms(vectors, Heads.of(np.empty((0, width)), np.empty(0), dtype))[1]


class RowScorer:
    """Scores and norms, as of `scores_and_norms`, of rows that begin at addresses, for compiled code to fill in.

    Only where numba runs. Whoever calls it vouches for the addresses: nothing is checked here.

    Attributes
    ----------
    scores : numpy.ndarray, shape (k, n), float32
    norms : numpy.ndarray, shape (n,)
    function, context : int
        Addresses of a C function ``void(context, addresses, rows, first)`` that does what a call does, and of its
        context; 0 where there is none.
    """

    def __init__(self, rows: int, dtype: torch.dtype, heads: Heads) -> None:
        self._compiled, self._dtype, self._heads, self._rows = get_compiled(), dtype, heads, rows
        self.scores = np.empty((len(heads.weights), rows), np.float32)
        self.norms = np.empty(rows, heads.biases.dtype)
        self.function = self.context = 0
        if len(heads.weights) == 1:
            compiled = self._compiled
            self.function = compiled.row_kernel(dtype, heads.working)
            self._words = words = np.empty(compiled.CONTEXT_SIZE, np.int64)
            (weights,), (bias,) = heads.operands
            words[compiled.SCORES], words[compiled.NORMS] = self.scores.ctypes.data, self.norms.ctypes.data
            words[compiled.AHEAD] = find_ahead(heads.width, dtype)
            words[compiled.WIDTH], words[compiled.WEIGHTS] = heads.width, weights
            words.view(np.float64)[compiled.BIAS] = bias
            self.context = words.ctypes.data

    def __call__(self, addresses: np.ndarray, first: int) -> None:
        """Score the rows that begin at addresses, int64, which are the rows from `first` on."""
        place = 0, 0, addresses.ctypes.data
        scores, norms = self.scores[:, first:], self.norms[first:]
        if len(addresses) > len(norms):
            raise ArgumentError(f"expected {len(norms):,} rows at most from row {first:,} on, got {len(addresses):,}")
        _score(
            self._compiled, self._dtype, place, self._heads, len(addresses), scores.ctypes.data, norms.ctypes.data,
            4 * self._rows,
        )  # fmt: skip


def _on_cpu(vectors: Vectors, heads: Heads) -> tuple[torch.Tensor, torch.Tensor]:
    compiled = get_compiled()
    if compiled is None:
        dense = vectors[:] if isinstance(vectors, ScatteredRows) else vectors
        scores, lengths = (torch.from_numpy(found) for found in numpy_scores_and_norms(dense, heads))
        return scores, lengths
    if isinstance(vectors, ScatteredRows):
        found = RowScorer(len(vectors), vectors.dtype, heads)
        found(vectors.addresses, 0)
        return torch.from_numpy(found.scores), torch.from_numpy(found.norms)
    rows = len(vectors)
    # Compiled code writes these types into a CPU's memory, whatever torch's defaults are.
    scores = torch.empty(len(heads.weights), rows, dtype=torch.float32, device="cpu")
    lengths = torch.empty(rows, dtype=heads.working, device="cpu")
    if rows and not vectors.data_ptr():
        raise ArgumentError(f"expected vectors in memory, got a {type(vectors).__name__} without any")
    if vectors.stride(1) == 1 or vectors.shape[1] == 1:
        place = vectors.data_ptr(), vectors.stride(0) * vectors.element_size(), 0
        _score(compiled, vectors.dtype, place, heads, rows, scores.data_ptr(), lengths.data_ptr())
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
    rows: int,
    score: int,
    norm: int,
    score_stride: int | None = None,
) -> None:
    """Put scores and norms where they are to be; `place` is an address and a stride in bytes, or that of addresses."""
    start, stride, addresses = place
    score_stride = 4 * rows if score_stride is None else score_stride
    count, norm_size = len(heads.weights), heads.biases.itemsize
    ahead = find_ahead(heads.width, dtype)
    stored, working = compiled.STORED[dtype], compiled.STORED[heads.working]
    weights, biases = heads.operands
    step = max(rows, 1) if count <= HEADS else HEADS_ROWS
    for row in range(0, rows, step):
        for head in range(0, max(count, 1), HEADS):
            some = slice(head, head + HEADS)
            compiled.score_rows(
                stored, working, min(step, rows - row),
                start + stride * row, stride, addresses + 8 * row if addresses else 0, ahead,
                heads.width, weights[some], biases[some],
                score + score_stride * head + 4 * row, score_stride, norm + norm_size * row, norm_size,
            )  # fmt: skip


def find_ahead(width: int, dtype: torch.dtype) -> int:
    """Rows that are fetched into the cache before their turn."""
    return -(-AHEAD // (width * dtype.itemsize))


def blocks(vectors: Vectors, rows: int, dtype: torch.dtype = torch.float32) -> Iterator[tuple[slice, torch.Tensor]]:
    """Blocks of at most `rows` vectors, converted to `dtype`: views where it is their own."""
    for start in range(0, len(vectors), rows):
        at = slice(start, start + rows)
        yield at, vectors[at].to(dtype)
