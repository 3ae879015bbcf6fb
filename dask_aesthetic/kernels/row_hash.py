"""Hashes of rows by a C function, row after row without the GIL."""

from __future__ import annotations

from typing import Any

import numpy as np

from dask_aesthetic.kernels.c_calls import call_hash
from dask_aesthetic.kernels.cached_jit import cached_jit


def hash_rows(function: int, rows: np.ndarray) -> np.ndarray:
    """What the C function ``uint64(memory, size)`` at an address returns for each row of a contiguous matrix."""
    if not rows.flags.c_contiguous:
        raise ValueError("expected a contiguous matrix")
    hashes = np.empty(len(rows), np.uint64)
    _hash(function, rows.ctypes.data, rows.shape[1] * rows.itemsize, hashes)
    return hashes


@cached_jit
def _hash(function: Any, address: Any, size: Any, hashes: Any) -> None:
    for row in range(len(hashes)):
        hashes[row] = call_hash(function, address + row * size, size)
