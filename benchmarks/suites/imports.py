"""Time of `import dask_aesthetic` versus `import dask.dataframe, torch`, in fresh interpreters."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial

from harness import Case, Way

PROGRAM = "import time; start = time.perf_counter(); import {}; print(time.perf_counter() - start)"


def cases() -> Iterator[Case]:
    """A case: each import in a fresh interpreter."""
    yield Case("fresh interpreters", _ways, rounds=7)


@contextmanager
def _ways() -> Iterator[list[Way]]:
    yield [
        Way("import dask.dataframe, torch", partial(_seconds, "dask.dataframe, torch"), 1),
        Way("import dask_aesthetic", partial(_seconds, "dask_aesthetic"), 1),
    ]


def _seconds(names: str) -> float:
    done = subprocess.run([sys.executable, "-c", PROGRAM.format(names)], capture_output=True, text=True, check=True)  # noqa: S603
    return float(done.stdout)
