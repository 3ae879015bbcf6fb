"""What happens when a device is out of memory."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch


def back_off(run: Callable[[int], Any], rows: int) -> Any:
    """Call ``run(rows)``, halving `rows` for as long as the device runs out of memory."""
    while True:
        try:
            return run(rows)
        except (RuntimeError, MemoryError) as error:
            if rows <= 1 or not is_full(error):
                raise
            rows //= 2
            del error
        if torch.cuda.is_initialized():
            torch.cuda.empty_cache()


def is_full(error: Exception) -> bool:
    """Whether an error means that a device is out of memory: torch's, RMM's, or RMM's as a RuntimeError of torch."""
    messages = ("bad_alloc", "out of memory", "ALLOC_FAILED")  # Of RMM, CUDA and cuBLAS.
    return isinstance(error, torch.OutOfMemoryError | MemoryError) or any(text in str(error) for text in messages)
