"""Ctrl-C and SIGTERM before a run can stop in order: one line, and exit status 130 or 143.

Imports and the start of a cluster take seconds. An exception in there would end in a traceback of whatever was being
imported, or be taken for an import that failed; nothing has been written yet, so the process ends at once.
"""

from __future__ import annotations

import os
import signal
import sys
import threading
from types import FrameType


def end_on_signals() -> None:
    """End this process on SIGINT and SIGTERM from now on, if it is the main thread of a program that did not choose."""
    if threading.current_thread() is not threading.main_thread():
        return
    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
        signal.signal(signal.SIGINT, _end)
    if signal.getsignal(signal.SIGTERM) is signal.SIG_DFL:
        signal.signal(signal.SIGTERM, _end)


def _end(number: int, frame: FrameType | None) -> None:  # noqa: ARG001
    os.write(2, f"{signal.Signals(number).name}: stopped\n".encode())
    sys.stdout.flush()
    os._exit(128 + number)
