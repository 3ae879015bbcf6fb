"""Memory between two pages that end the process when they are read or written."""

from __future__ import annotations

import ctypes
import mmap

import numpy as np


def between_guards(size: int) -> tuple[mmap.mmap, np.ndarray]:
    """Memory of whole pages, `size` bytes at least, and its bytes. Drop the bytes before the memory is closed."""
    pages = -(-size // mmap.PAGESIZE)
    memory = mmap.mmap(-1, (pages + 2) * mmap.PAGESIZE)
    whole = np.frombuffer(memory, np.uint8)
    for guard in (0, pages + 1):
        address = ctypes.c_void_p(whole.ctypes.data + guard * mmap.PAGESIZE)
        assert ctypes.CDLL(None).mprotect(address, ctypes.c_size_t(mmap.PAGESIZE), 0) == 0
    return memory, whole[mmap.PAGESIZE : -mmap.PAGESIZE]
