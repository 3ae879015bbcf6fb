"""Import of the package over `import dask.dataframe, torch`, and start of its command line over `dask.cli` and click.

Each measurement is the fastest of three starts of a fresh interpreter.
"""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial

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


def cases() -> Iterator[Case]:
    """A case per group of programs."""
    for name, programs in (("imports", IMPORTS), ("command line", COMMANDS), ("dask --help", DASK_HELP)):
        yield Case(name, partial(_ways, programs), rounds=3)


@contextmanager
def _ways(programs: dict[str, str]) -> Iterator[list[Way]]:
    yield [Way(name, partial(_seconds, program), 1) for name, program in programs.items()]


def _seconds(program: str) -> float:
    return min(_start(program) for _ in range(STARTS))


def _start(program: str) -> float:
    begin = time.perf_counter()
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)  # noqa: S603
    seconds = time.perf_counter() - begin
    if done.returncode not in (0, 2):  # click ends with 2 after a usage error.
        raise RuntimeError(done.stderr)
    return seconds
