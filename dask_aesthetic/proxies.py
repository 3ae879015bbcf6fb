"""cudf.pandas proxies: methods run on the cuDF or pandas frame inside, and results become proxies again.

cudf.pandas has to be installed before pandas is imported. Installed later it unwraps proxies by itself: the scores are
the same, but the result is no proxy.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Any


def through_proxies(function: Callable[..., Any], frame: Any, *args: Any) -> Any:
    """``function(frame, *args)``, on the cuDF or pandas frame inside where `frame` is a cudf.pandas proxy."""
    accelerator = sys.modules.get("cudf.pandas")
    if accelerator is None or not accelerator.is_proxy_object(frame):
        return function(frame, *args)
    return accelerator.as_proxy_object(function(_unwrap(frame), *args))


def _unwrap(frame: Any) -> Any:
    try:
        return frame.as_gpu_object()
    except Exception:  # cuDF cannot hold this frame, or there is no GPU: cudf.pandas itself uses pandas then.
        return frame.as_cpu_object()
