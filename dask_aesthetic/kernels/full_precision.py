"""Float32 arithmetic in full: torch's shortcuts for float32 products are off while a model runs."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

import torch

# torch has these settings per process, not per thread, so a caller that restored them would change what another one
# computes: the first of several callers turns the shortcuts off, and the last restores them. In between, other threads'
# float32 products are exact too, and what they set is undone.
_lock = threading.Lock()
_callers = 0
_before = ExitStack()


@contextmanager
def full_precision() -> Iterator[None]:
    """Compute float32 products and convolutions in float32, without TF32 on GPUs or bfloat16 on CPUs.

    By default torch lets cuDNN take TF32, which keeps 10 of 23 bits; users may allow it elsewhere.
    """
    global _callers, _before
    with _lock:
        if not _callers:
            with ExitStack() as undo:
                _turn_off(undo)
                _before = undo.pop_all()
        _callers += 1
    try:
        yield
    finally:
        with _lock:
            _callers -= 1
            if not _callers:
                _before.close()


def _turn_off(undo: ExitStack) -> None:
    backends: Any = torch.backends
    if not hasattr(backends, "fp32_precision"):  # torch before 2.9.
        undo.callback(torch.set_float32_matmul_precision, torch.get_float32_matmul_precision())
        undo.callback(setattr, backends.cudnn, "allow_tf32", backends.cudnn.allow_tf32)
        torch.set_float32_matmul_precision("highest")
        backends.cudnn.allow_tf32 = False
        return
    _turn_off_older(undo, backends)
    # Later ones inherit from earlier ones. What is not "ieee" below an "ieee" was set on its own, and that alone is set
    # again: the others go on inheriting. torch computes by these settings.
    for part in (
        backends,
        backends.cudnn,
        backends.mkldnn,
        backends.cuda.matmul,
        backends.cudnn.conv,
        backends.mkldnn.matmul,
        backends.mkldnn.conv,
    ):
        if part.fp32_precision != "ieee":
            undo.callback(setattr, part, "fp32_precision", part.fp32_precision)
            part.fp32_precision = "ieee"


def _turn_off_older(undo: ExitStack, backends: Any) -> None:
    """Turn off TF32 where it was allowed by `allow_tf32` or `set_float32_matmul_precision`.

    Products on a GPU are an error where these and the newer settings differ.
    """
    try:
        precision = torch.get_float32_matmul_precision()
    except RuntimeError:  # Newer settings alone.
        return
    if precision != "highest":
        # The older setting sets this as well, which `allow_tf32` does not.
        undo.callback(setattr, backends.mkldnn.matmul, "fp32_precision", backends.mkldnn.matmul.fp32_precision)
        undo.callback(torch.set_float32_matmul_precision, precision)
        torch.set_float32_matmul_precision("highest")
