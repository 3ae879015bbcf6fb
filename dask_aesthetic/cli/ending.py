"""How a run from the command line ends: by a signal, or with what its errors mean to a shell."""

from __future__ import annotations

import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

import click

from dask_aesthetic.cli.progress import Progress
from dask_aesthetic.errors import (
    AestheticError,
    ArgumentError,
    ColumnError,
    EncoderError,
    InputError,
    JobStoppedError,
    MissingDependencyError,
    PredictorError,
    ThresholdError,
)

# What is found before the first row is read is bad usage: exit 2. What happens later is a failure: exit 1.
_USAGE = (
    ArgumentError,
    ColumnError,
    EncoderError,
    InputError,
    MissingDependencyError,
    PredictorError,
    ThresholdError,
)


@contextmanager
def planning() -> Iterator[None]:
    """What is found here is bad usage."""
    try:
        yield
    except _USAGE as error:
        raise click.UsageError(str(error)) from error
    except OSError as error:
        raise click.ClickException(f"{type(error).__name__}: {error}") from error


@contextmanager
def working() -> Iterator[None]:
    """What happens here is a failure."""
    try:
        yield
    except (AestheticError, OSError) as error:
        raise click.ClickException(str(error)) from error


@contextmanager
def stopping(progress: Progress) -> Iterator[list[int]]:
    """The signals that have come: the first asks for an orderly stop, the second ends the run at once."""
    came: list[int] = []

    def handle(number: int, frame: FrameType | None) -> None:  # noqa: ARG001
        if came:
            raise KeyboardInterrupt
        came.append(number)
        progress.say(f"{signal.Signals(number).name}: stopping; once more to stop at once")

    before = {number: signal.signal(number, handle) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield came
    except JobStoppedError as error:
        progress.say(f"Error: {error}")
        sys.exit(128 + came[0])
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
