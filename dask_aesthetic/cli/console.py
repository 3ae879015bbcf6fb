"""Errors, signals and exit status of a run from the command line, and runs of plans in threads."""

from __future__ import annotations

import json
import os
import re
import signal
import sys
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict
from types import FrameType
from typing import Any

import click

from dask_aesthetic.cli.progress import Counts, Progress
from dask_aesthetic.errors import (
    AestheticError,
    AestheticWarning,
    ArgumentError,
    ColumnError,
    EncoderError,
    InputError,
    JobStoppedError,
    MissingDependencyError,
    PredictorError,
    ThresholdError,
)
from dask_aesthetic.escape import escape_lines
from dask_aesthetic.jobs.state import JobPlan
from dask_aesthetic.tables import format_facts

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
def usage_errors() -> Iterator[None]:
    """Exit status 2 for errors found before the first row is read: bad usage."""
    try:
        yield
    except _USAGE as error:
        raise click.UsageError(describe(error)) from error
    except OSError as error:
        raise click.ClickException(describe(error)) from error


@contextmanager
def cautions() -> Iterator[None]:
    """Print this package's warnings on stderr, a line each, on a quiet run too."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always", AestheticWarning)
        yield
    for warning in caught:
        click.echo(f"caution: {escape_lines(str(warning.message))}", err=True)


@contextmanager
def run_errors() -> Iterator[None]:
    """Exit status 1 for errors of the run."""
    try:
        yield
    except (AestheticError, OSError) as error:
        raise click.ClickException(describe(error)) from error


def describe(error: Exception) -> str:
    """Message of an error, in one form for all errors of the operating system: what failed, and the file.

    Names of files may hold control characters, which a terminal would obey.
    """
    if isinstance(error, OSError) and error.strerror and error.filename is not None:
        return escape_lines(f"{error.strerror}: {error.filename}")
    return _by_options(escape_lines(str(error))) or type(error).__name__


def _by_options(text: str) -> str:
    """Text in which arguments, such as batch_size, are called as the command's options are, --batch-size."""
    context = click.get_current_context(silent=True)
    for parameter in context.command.params if context is not None else []:
        option = max(parameter.opts, key=len)
        if "_" in (parameter.name or "") and option.startswith("--") and option not in text:
            name = rf"(?<![\w'\"./-]){parameter.name}(?![\w'\"./-])"
            text = re.sub(name, option, re.sub(f"{name}=", f"{option} ", text))
    return text


def run_or_list(
    plan: JobPlan[Any],
    summarize: Callable[[Any, Mapping[str, Any]], Any],
    *,
    command: str,
    threads: int | None,
    dry_run: bool,
    as_json: bool,
    progress: str,
    quiet: bool,
) -> None:
    """Run a plan in threads and print its summary; or print the plan alone."""
    from dask_aesthetic.jobs.pool import Pool
    from dask_aesthetic.jobs.runner import run_plan

    if dry_run:
        click.echo(json.dumps(plan.to_dict()) if as_json else plan.table())
        return
    with (
        run_errors(),
        Pool(threads=threads) as pool,
        Progress(Counts.of(command, plan), progress, quiet) as shown,
        stop_on_signal(shown) as stop,
    ):
        markers = run_plan(plan, pool, progress=shown.done, stop=stop).markers
    with cautions():
        done = summarize(plan, markers)
    if as_json:
        click.echo(json.dumps(asdict(done)))
    elif not quiet:
        click.echo(format_facts(done.facts, 10))


@contextmanager
def stop_on_signal(progress: Progress) -> Iterator[Callable[[], bool]]:
    """Function that says whether a signal requests an orderly stop, and keeps `progress` up to date meanwhile.

    A second signal ends the run at once.
    """
    received: list[int] = []
    said: list[int] = []

    def handle(number: int, frame: FrameType | None) -> None:  # noqa: ARG001
        if received:
            raise SystemExit(128 + received[0])
        received.append(number)  # Printed by `stop`: this may interrupt another line.

    def stop() -> bool:
        progress.tick()
        if received and not said:
            said.append(received[0])
            progress.print(f"{signal.Signals(received[0]).name}: stopping; once more to stop at once")
        return bool(received)

    before = {number: signal.signal(number, handle) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield stop
    except JobStoppedError as error:
        progress.print(f"Error: {error}", "error")
        sys.exit(128 + received[0])
    except SystemExit as ended:
        progress.print(f"{signal.Signals(received[0]).name}: stopped at once. The same call resumes the run")
        # Python would end around threads that still compute, which it may take for ended: the process would abort.
        progress.__exit__(SystemExit, ended, None)
        sys.stdout.flush()
        os._exit(128 + received[0])
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
