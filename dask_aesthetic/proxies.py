"""cudf.pandas proxies: methods run on the cuDF or pandas frame inside, and results become proxies again.

Where cudf.pandas is installed after this package has registered its accessor, it finds the accessor on the classes that
it wraps, and hands over the frame inside. Results are proxies then, too, those of frames of cuDF itself included.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Any


def through_proxies(function: Callable[..., Any], frame: Any, *args: Any) -> Any:
    """``function(frame, *args)``, on the cuDF or pandas frame inside where `frame` is or was a cudf.pandas proxy."""
    accelerator = sys.modules.get("cudf.pandas")
    if accelerator is None:
        return function(frame, *args)
    if accelerator.is_proxy_object(frame):
        frame = _unwrap(frame)
    elif not (accelerator.LOADED and _is_unwrapped()):
        return function(frame, *args)
    return accelerator.as_proxy_object(function(frame, *args))


def _is_unwrapped() -> bool:
    """Whether accessors of proxies get the frame inside: the proxies' class wraps that of the class inside."""
    accessor = vars(sys.modules["pandas"].DataFrame).get("aesthetic")
    return accessor is None or type(accessor).__module__.startswith("cudf.")


def _unwrap(frame: Any) -> Any:
    try:
        return frame.as_gpu_object()
    except Exception:  # cuDF cannot hold this frame, or there is no GPU: cudf.pandas itself uses pandas then.
        return frame.as_cpu_object()
