"""Import of the package over `import dask.dataframe, torch`, start of its command line over `dask.cli` and click, and
the first score of a process, whose kernel is compiled or read from numba's cache.

Each measurement is the fastest of three starts of a fresh interpreter.
"""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from tempfile import TemporaryDirectory

from harness import Case, Way

STARTS = 3
IMPORTS = {
    "import dask.dataframe, torch": "import dask.dataframe, torch",
    "import dask_aesthetic": "import dask_aesthetic",
    "import dask_aesthetic, and a method's modules": "import dask_aesthetic.frame",
}
COMMAND = "from dask_aesthetic.cli import main; main({})"
COMMANDS = {
    "dask.cli and click": "from dask.cli import cli; import click",
    "dask-aesthetic --help": COMMAND.format(["--help"]),
    "dask-aesthetic --version": COMMAND.format(["--version"]),
    "dask-aesthetic score --help": COMMAND.format(["score", "--help"]),
    "a usage error": COMMAND.format(["score"]),
}
# Dask loads all commands that are installed, distributed's as well.
DASK = """
from importlib.metadata import entry_points
from dask.cli import cli
for point in entry_points(group="dask_cli"):
    if {}:
        cli.add_command(point.load())
cli(["--help"])
"""
DASK_HELP = {
    "dask --help without this package": DASK.format("point.name != 'aesthetic'"),
    "dask --help": DASK.format("True"),
}

SCORE = "import numpy, dask_aesthetic; dask_aesthetic.score_embeddings(numpy.ones((1, 768), 'f4'))"


def cases() -> Iterator[Case]:
    """A case per group of programs."""
    for name, programs in (("imports", IMPORTS), ("command line", COMMANDS), ("dask --help", DASK_HELP)):
        yield Case(name, partial(_ways, programs), rounds=3)
    yield Case("the first score of a process", _first_scores, rounds=3)


@contextmanager
def _ways(programs: dict[str, str]) -> Iterator[list[Way]]:
    yield [Way(name, partial(_seconds, program), 1) for name, program in programs.items()]


@contextmanager
def _first_scores() -> Iterator[list[Way]]:
    with TemporaryDirectory() as warm:

        def empty() -> float:
            with TemporaryDirectory() as folder:
                return _start(SCORE, folder)

        yield [
            Way("import pandas, pyarrow, torch", partial(_seconds, "import pandas, pyarrow, torch"), 1),
            Way("score_embeddings, cached code", partial(_seconds, SCORE, warm), 1),
            Way("score_embeddings, compiled", lambda: min(empty() for _ in range(STARTS)), 1),
        ]


def _seconds(program: str, cache: str | None = None) -> float:
    return min(_start(program, cache) for _ in range(STARTS))


def _start(program: str, cache: str | None = None) -> float:
    env = {**os.environ, **({"NUMBA_CACHE_DIR": cache} if cache else {})}
    begin = time.perf_counter()
    done = subprocess.run(  # noqa: S603
        [sys.executable, "-c", program], capture_output=True, text=True, check=False, env=env
    )
    seconds = time.perf_counter() - begin
    if done.returncode not in (0, 2):  # click ends with 2 after a usage error.
        raise RuntimeError(done.stderr)
    return seconds
