"""Content hashes of integers and of rows, the same on every machine."""

from __future__ import annotations

import numpy as np
import torch

from dask_aesthetic.kernels import Vectors, blocks

CPU_ROWS = 512  # Few enough to stay in the cache.
GPU_ROWS = 1 << 14  # The bits of so many rows, as int64, take 100 MB.


def splitmix64(values: np.ndarray) -> np.ndarray:
    """The finalizer of splitmix64: every bit of the input changes about half of the output's.

    Parameters
    ----------
    values : numpy.ndarray of uint64

    Returns
    -------
    numpy.ndarray of uint64

    References
    ----------
    .. [1] Steele, Lea, Flood: Fast splittable pseudorandom number generators, OOPSLA 2014
    """
    values = (values ^ (values >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    values = (values ^ (values >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return values ^ (values >> np.uint64(31))


def hash_rows(vectors: Vectors, seed: int = 0) -> np.ndarray:
    """Hash of each row of vectors: float32 bits times random odd numbers, summed modulo 2**64 and mixed.

    Parameters
    ----------
    vectors : torch.Tensor, shape (n, width)
        float16, float32 or float64. Rows that are equal as float32 have equal hashes; -0 equals 0.
    seed : int
        Another seed gives other hashes.

    Returns
    -------
    numpy.ndarray, shape (n,), uint64
    """
    start = splitmix64(np.array([seed % 2**64], np.uint64)) if seed else np.zeros(1, np.uint64)
    factors = splitmix64(np.arange(1, vectors.shape[1] + 1, dtype=np.uint64) + start) | np.uint64(1)
    hashes = np.empty(len(vectors), np.uint64)
    on_cpu = vectors.device.type == "cpu"
    for at, block in blocks(vectors, CPU_ROWS if on_cpu else GPU_ROWS):
        block = block + 0.0  # -0 becomes 0.
        hashes[at] = _sum_on_cpu(block, factors) if on_cpu else _sum_on_gpu(block, factors)
    return splitmix64(hashes)


def _sum_on_cpu(block: torch.Tensor, factors: np.ndarray) -> np.ndarray:
    return np.vecdot(block.numpy().view(np.uint32).astype(np.uint64), factors)


def _sum_on_gpu(block: torch.Tensor, factors: np.ndarray) -> np.ndarray:
    bits = block.contiguous().view(torch.int32).to(torch.int64) & 0xFFFFFFFF
    signed = torch.from_numpy(factors.view(np.int64)).to(block.device)
    return (bits * signed).sum(dim=1).cpu().numpy().view(np.uint64)
