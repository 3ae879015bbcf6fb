"""Row-wise arithmetic on blocks of vectors: the result of a row never depends on its block.

CPUs use `numpy.vecdot`: it takes one BLAS dot per row, so a row's result is the same bytes in any block, it never
starts BLAS threads, and it releases the GIL for blocks of more than 500 rows. GPUs use one pass of `fused`.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator
from functools import cache
from typing import Any

import numpy as np
import torch

CPU_ROWS = 512  # Just above the 500 loop iterations below which numpy holds the GIL; 1.5 MB stays in cache.
GPU_ROWS = 1 << 17  # 400 MB of float32: enough to fill a device, small beside its memory.

# Between these norms no square of an entry underflows or overflows so far that a float32 sum loses digits.
SAFE_NORM = (1e-15, 1e15)


def blocks(vectors: torch.Tensor, rows: int, dtype: torch.dtype = torch.float32) -> Iterator[tuple[slice, Any]]:
    """Blocks of at most `rows` vectors: views where `dtype` is their own, else one reused buffer.

    Blocks are numpy arrays on a CPU, where slicing a tensor would cost as much as a tenth of the arithmetic.
    """
    spans = (slice(start, start + rows) for start in range(0, len(vectors), rows))
    if vectors.dtype == dtype:
        views = native(vectors)
        yield from ((span, views[span]) for span in spans)
        return
    # torch converts float16 several times faster than numpy does, and without overflow warnings.
    buffer = torch.empty(min(rows, len(vectors)), vectors.shape[1], dtype=dtype, device=vectors.device)
    filled = native(buffer)
    for span in spans:
        part = vectors[span]
        buffer[: len(part)].copy_(part)
        yield span, filled[: len(part)]


def native(tensor: torch.Tensor) -> Any:
    """NumPy array of a CPU tensor, or the tensor itself elsewhere; the same memory."""
    return tensor.numpy() if tensor.device.type == "cpu" else tensor


def dots_and_norms(
    vectors: torch.Tensor, weight: torch.Tensor, batch_size: int | None = None
) -> tuple[torch.Tensor, torch.Tensor]:
    """Dot product of every row with `weight`, and every row's Euclidean norm, in the precision of `weight`.

    Parameters
    ----------
    vectors : torch.Tensor, shape (n, width), float16, float32 or float64
    weight : torch.Tensor, shape (width,), float32 or float64, on the same device
    batch_size : int, optional
        Most rows held as a converted copy at a time.

    Returns
    -------
    tuple of torch.Tensor, shape (n,), dtype of `weight`
    """
    if one_pass := _one_pass(vectors.device):
        with torch.cuda.device(vectors.device):
            dots, squares = one_pass(vectors, weight)
        return dots, squares.sqrt_()
    dots, lengths = (torch.empty(len(vectors), dtype=weight.dtype, device=vectors.device) for _ in range(2))
    w, d, s = native(weight), native(dots), native(lengths)

    def work(at: slice, block: Any) -> None:
        _dots(block, w, d[at])
        _norms(block, s[at])

    _each_block(work, vectors, batch_size, weight.dtype)
    return dots, lengths


def contiguous_dots_and_norms(vectors: np.ndarray, weight: np.ndarray) -> tuple[np.ndarray, np.ndarray] | None:
    """`dots_and_norms` of float32 arrays on a CPU, the same bytes in fewer calls; None where a norm is not safe."""
    dots, lengths = np.empty(len(vectors), np.float32), np.empty(len(vectors), np.float32)
    with np.errstate(all="ignore"):
        for start in range(0, len(vectors), CPU_ROWS):
            block, at = vectors[start : start + CPU_ROWS], slice(start, start + CPU_ROWS)
            _dots(block, weight, dots[at])
            _norms(block, lengths[at])
    low, high = SAFE_NORM
    safe = len(lengths) and lengths.min() >= low and lengths.max() <= high  # Both are NaN where one norm is.
    return (dots, lengths) if safe else None


def norms(vectors: torch.Tensor, batch_size: int | None = None) -> torch.Tensor:
    """Euclidean norm of every row, shape (n,), float32."""
    if _one_pass(vectors.device):
        return dots_and_norms(vectors, torch.zeros(vectors.shape[1], device=vectors.device))[1]
    lengths = torch.empty(len(vectors), dtype=torch.float32, device=vectors.device)
    s = native(lengths)
    _each_block(lambda at, block: _norms(block, s[at]), vectors, batch_size, torch.float32)
    return lengths


@cache
def _one_pass(device: torch.device) -> Callable[..., tuple[torch.Tensor, torch.Tensor]] | None:
    """`fused.dots_and_squares`; None on CPUs and where Triton is missing or finds no C compiler."""
    if device.type != "cuda":
        return None
    try:
        from dask_aesthetic.kernels.fused import dots_and_squares

        with torch.cuda.device(device):
            dots_and_squares(torch.ones(1, 16, device=device), torch.ones(16, device=device))
    except Exception as error:  # Compilers raise errors of any kind.
        if _is_full(error):
            raise
        warnings.warn(
            f"embeddings on {device} are read twice per score, which is slower: Triton does not run here "
            f"({type(error).__name__}: {error})",
            RuntimeWarning,
            stacklevel=2,
        )
        return None
    return dots_and_squares


def _each_block(
    work: Callable[[slice, Any], None], vectors: torch.Tensor, batch_size: int | None, dtype: torch.dtype
) -> None:
    def run(rows: int) -> None:
        for at, block in blocks(vectors, rows, dtype):
            work(at, block)

    most = CPU_ROWS if vectors.device.type == "cpu" else GPU_ROWS
    # `embeddings.rows.unit_vectors` rechecks rows that overflow or hold NaN.
    with np.errstate(all="ignore"):
        back_off(run, min(batch_size or most, most))


def _dots(block: Any, weight: Any, out: Any) -> None:
    if isinstance(block, np.ndarray):
        np.vecdot(block, weight, out=out)
    else:
        torch.mv(block, weight, out=out)


def _norms(block: Any, out: Any) -> None:
    if isinstance(block, np.ndarray):
        np.vecdot(block, block, out=out)
        np.sqrt(out, out=out)
    else:
        torch.linalg.vector_norm(block, dim=1, out=out)


def row_dots(a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
    """Row-wise dot products, shape (n,), of (n, width) with (n, width) or (width,), in their own dtype."""
    if a.device.type == "cpu":
        return torch.from_numpy(np.vecdot(a.numpy(), b.numpy()))
    return (a * b).sum(dim=1)


def back_off(run: Callable[[int], Any], rows: int) -> Any:
    """Call ``run(rows)``, halving `rows` for as long as the device runs out of memory."""
    while True:
        try:
            return run(rows)
        except (RuntimeError, MemoryError) as error:
            if rows <= 1 or not _is_full(error):
                raise
            rows //= 2
            del error
        if torch.cuda.is_initialized():
            torch.cuda.empty_cache()


def _is_full(error: Exception) -> bool:
    """Whether an error means that a device is out of memory: torch's, RMM's, or RMM's as a RuntimeError of torch."""
    messages = ("bad_alloc", "out of memory", "ALLOC_FAILED")  # Of RMM, CUDA and cuBLAS.
    return isinstance(error, torch.OutOfMemoryError | MemoryError) or any(text in str(error) for text in messages)
