"""Progress, signals and exit status of a run from the command line."""

from __future__ import annotations

import json
import logging
import signal
import sys
import time
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict
from datetime import timedelta
from types import FrameType
from typing import Any

import click
from tqdm import tqdm

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
from dask_aesthetic.jobs.state import JobPlan
from dask_aesthetic.tables import format_facts

EVERY = 10.0  # Seconds between lines where there is no terminal.
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
        raise click.UsageError(str(error)) from error
    except OSError as error:
        raise click.ClickException(describe(error)) from error


@contextmanager
def cautions() -> Iterator[None]:
    """Print this package's warnings on stderr, a line each, on a quiet run too."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always", AestheticWarning)
        yield
    for warning in caught:
        click.echo(f"caution: {warning.message}", err=True)


@contextmanager
def run_errors() -> Iterator[None]:
    """Exit status 1 for errors of the run."""
    try:
        yield
    except (AestheticError, OSError) as error:
        raise click.ClickException(describe(error)) from error


def describe(error: Exception) -> str:
    """Message of an error, in one form for all errors of the operating system: what failed, and the file."""
    if isinstance(error, OSError) and error.strerror and error.filename is not None:
        return f"{error.strerror}: {error.filename}"
    return str(error) or type(error).__name__


class Progress(logging.Handler):
    """Progress bar on a terminal, a line every ten seconds elsewhere, and the job's warnings between, on stderr."""

    def __init__(self, plan: JobPlan[Any], quiet: bool) -> None:
        super().__init__(logging.WARNING)
        self._plan, self._quiet = plan, quiet
        self._shards, self._rows = len(plan.done), plan.rows_done
        self._begin, self._first = time.monotonic(), self._rows
        self._printed = self._begin
        self._lines = not quiet and not sys.stderr.isatty()
        self._bar = tqdm(
            total=plan.rows,
            initial=plan.rows_done,
            unit="row",
            unit_scale=True,
            disable=quiet or self._lines,
            postfix=self._postfix(),
        )

    def done(self, marker: Any) -> None:
        """Count a finished shard."""
        self._shards += 1
        self._rows += marker.rows
        self._bar.set_postfix(self._postfix(), refresh=False)
        self._bar.update(marker.rows)
        now = time.monotonic()
        if self._lines and now - self._printed >= EVERY:
            self._printed = now
            self.print(self._line(now))

    def print(self, text: str) -> None:
        """Print a line above the bar."""
        tqdm.write(text, file=sys.stderr)
        sys.stderr.flush()  # A pipe shows the line at once.

    def emit(self, record: logging.LogRecord) -> None:
        """Print a warning of the job, on a quiet run too."""
        self.print(f"{record.levelname.lower()}: {record.getMessage()}")

    def __enter__(self) -> Progress:
        logging.getLogger("dask_aesthetic").addHandler(self)
        return self

    def __exit__(self, *error: object) -> None:
        logging.getLogger("dask_aesthetic").removeHandler(self)
        self._bar.close()

    def _postfix(self) -> dict[str, str]:
        return {"shards": f"{self._shards:,}/{len(self._plan.shards):,}"}

    def _line(self, now: float) -> str:
        rate = (self._rows - self._first) / max(now - self._begin, 1e-9)
        left = timedelta(seconds=round((self._plan.rows - self._rows) / rate)) if rate else "?"
        return (
            f"{time.strftime('%H:%M:%S')} {self._shards:,} of {len(self._plan.shards):,} shards, {self._rows:,} of "
            f"{self._plan.rows:,} rows ({self._rows / max(self._plan.rows, 1):.0%}), {rate:,.0f} rows/s, {left} left"
        )


def run_or_list(
    plan: JobPlan[Any],
    summarize: Callable[[Any, Mapping[str, Any]], Any],
    *,
    threads: int | None,
    dry_run: bool,
    as_json: bool,
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
        Progress(plan, quiet) as progress,
        stop_on_signal(progress) as signals,
    ):
        markers = run_plan(plan, pool, progress=progress.done, stop=lambda: bool(signals))
    with cautions():
        done = summarize(plan, markers)
    if as_json:
        click.echo(json.dumps(asdict(done)))
    elif not quiet:
        click.echo(format_facts(done.facts, 10))


@contextmanager
def stop_on_signal(progress: Progress) -> Iterator[list[int]]:
    """Signals received so far: the first requests an orderly stop, the second ends the run at once."""
    received: list[int] = []

    def handle(number: int, frame: FrameType | None) -> None:  # noqa: ARG001
        if received:
            raise SystemExit(128 + received[0])
        received.append(number)
        progress.print(f"{signal.Signals(number).name}: stopping; once more to stop at once")

    before = {number: signal.signal(number, handle) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield received
    except JobStoppedError as error:
        progress.print(f"Error: {error}")
        sys.exit(128 + received[0])
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
