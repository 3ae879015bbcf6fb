"""The command as users run it, but inside this process: another one takes seconds to start."""

from __future__ import annotations

import inspect
from typing import NamedTuple

from click.testing import CliRunner

from dask_aesthetic.cli import main

# Before click 8.2 the two outputs are one unless this says otherwise.
_APART = {"mix_stderr": False} if "mix_stderr" in inspect.signature(CliRunner).parameters else {}


class Ended(NamedTuple):
    """Exit status, standard output and standard error."""

    status: int
    out: str
    err: str


def run(*arguments: object) -> Ended:
    """Run ``dask-aesthetic`` with these arguments; it ends by a status, not by another exception."""
    done = CliRunner(**_APART).invoke(main, [str(argument) for argument in arguments])
    assert done.exception is None or isinstance(done.exception, SystemExit), done.exc_info
    return Ended(done.exit_code, done.stdout, done.stderr)


def printed(*arguments: object) -> str:
    """Standard output of a command that ends with status 0."""
    ended = run(*arguments)
    assert ended.status == 0, ended
    return ended.out
