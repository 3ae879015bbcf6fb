"""Preload of Dask workers that ignores SIGINT: the command that owns them closes them in order after Ctrl-C."""

from __future__ import annotations

import signal
from typing import Any


def dask_setup(worker: Any) -> None:  # noqa: ARG001
    """Ignore SIGINT; Dask calls this in each worker process."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
