"""A scheduler that raises, to prove laziness."""

from __future__ import annotations

from contextlib import contextmanager

import dask


@contextmanager
def no_compute():
    """Fail if Dask computes anything inside."""

    def refuse(*args, **kwargs):
        raise AssertionError("Dask computed before it was asked to")

    with dask.config.set(scheduler=refuse):
        yield
