"""Thread pool for image decoding: one per process, alive only while images are embedded."""

from __future__ import annotations

import os
import threading
import warnings
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager

from dask_aesthetic.images.decode import prepare_pillow

MOST_THREADS = 32


class _Pool:
    """Reference-counted thread pool: Dask may embed several partitions in one process at a time."""

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.users = 0
        self.stack = ExitStack()
        self.threads: ThreadPoolExecutor | None = None

    def enter(self) -> ThreadPoolExecutor:
        with self.lock:
            if self.threads is None:
                prepare_pillow()
                # Pillow warns of single images. Warning filters belong to the process, so threads cannot set them.
                self.stack.enter_context(warnings.catch_warnings())
                warnings.filterwarnings("ignore", module=r"PIL\.")
                self.threads = self.stack.enter_context(ThreadPoolExecutor(thread_count(), "dask-aesthetic-decode"))
            self.users += 1
            return self.threads

    def leave(self) -> None:
        with self.lock:
            self.users -= 1
            if not self.users:
                self.threads = None
                self.stack.close()


_pool = _Pool()


@contextmanager
def decoding() -> Iterator[ThreadPoolExecutor]:
    """Thread pool of this process, with Pillow loaded and its warnings silenced."""
    pool = _pool
    threads = pool.enter()
    try:
        yield threads
    finally:
        pool.leave()


def thread_count() -> int:
    """Number of decoding threads: the CPU cores of this process, at most `MOST_THREADS`."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return min(cores, MOST_THREADS)


def _forget() -> None:
    global _pool
    _pool = _Pool()


if hasattr(os, "register_at_fork"):  # A fork has no threads.
    os.register_at_fork(after_in_child=_forget)
