"""cudf.pandas frames look like pandas; the frame inside is worked on, and what comes out is put back into a proxy.

cudf.pandas has to be installed before pandas is imported, so before this package. Installed later it hands over the
frame inside by itself: the figures are the same, but no proxy comes out.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Any


def through_proxies(verb: Callable[..., Any], frame: Any, *args: Any) -> Any:
    """``verb(frame, *args)``, on the cuDF or pandas frame inside where `frame` is a cudf.pandas proxy."""
    accelerator = sys.modules.get("cudf.pandas")
    if accelerator is None or not accelerator.is_proxy_object(frame):
        return verb(frame, *args)
    return accelerator.as_proxy_object(verb(_inside(frame), *args))


def _inside(frame: Any) -> Any:
    try:
        return frame.as_gpu_object()
    except Exception:  # cuDF cannot hold this frame, or there is no GPU: cudf.pandas itself takes pandas then.
        return frame.as_cpu_object()
