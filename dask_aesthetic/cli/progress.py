"""Progress of a run on standard error: a bar, lines of text, or lines of JSON for whoever collects metrics."""

from __future__ import annotations

import json
import logging
import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from types import TracebackType
from typing import Any

from tqdm import tqdm

from dask_aesthetic.escape import escape_lines
from dask_aesthetic.jobs.state import JobPlan

SCHEMA_VERSION = 1  # Of the lines of JSON: docs/job-files.md.


@dataclass
class Counts:
    """Shards and rows of a run: all of them, and those that are done by this run and earlier ones.

    Attributes
    ----------
    command, output : str
    shards, rows : int
    shards_done, rows_done, failed_rows : int
    """

    command: str
    output: str
    shards: int
    rows: int
    shards_done: int = 0
    rows_done: int = 0
    failed_rows: int = 0
    _begin: float = field(default_factory=time.monotonic)
    _rows_before: int = field(init=False)

    def __post_init__(self) -> None:
        self._rows_before = self.rows_done

    @classmethod
    def of(cls, command: str, plan: JobPlan[Any]) -> Counts:
        """Counts of a plan, before it runs."""
        failed = sum(sum(marker.failed.values()) for marker in plan.done.values())
        return cls(command, plan.store.url, len(plan.shards), plan.rows, len(plan.done), plan.rows_done, failed)

    @property
    def seconds(self) -> float:
        """Seconds since the run began."""
        return time.monotonic() - self._begin

    @property
    def rate(self) -> float | None:
        """Rows of this run per second; None before it has done some."""
        rows = self.rows_done - self._rows_before
        return rows / max(self.seconds, 1e-9) if rows else None

    @property
    def seconds_left(self) -> float | None:
        """Seconds that the other rows take at this rate; None without one."""
        rate = self.rate
        return None if rate is None else (self.rows - self.rows_done) / rate


class Silent:
    """Nothing but messages."""

    def __init__(self, counts: Counts) -> None:
        self.counts = counts

    def start(self) -> None:
        """Begin."""

    def advance(self, rows: int) -> None:
        """Show that rows are done, which are counted."""

    def shard(self, name: str, rows: int, failed: Mapping[str, int]) -> None:
        """Show a finished shard, which is counted."""

    def periodic(self) -> None:
        """Show counts; called every ten seconds."""

    def message(self, level: str, text: str) -> None:  # noqa: ARG002
        """Show a message."""
        tqdm.write(text, file=sys.stderr)
        sys.stderr.flush()  # A pipe shows the line at once.

    def finish(self, status: str, error: str | None) -> None:
        """End: done, failed or stopped."""


class Text(Silent):
    """A line every ten seconds."""

    def periodic(self) -> None:
        counts = self.counts
        left = "?" if counts.seconds_left is None else timedelta(seconds=round(counts.seconds_left))
        self.message(
            "info",
            f"{time.strftime('%H:%M:%S')} {counts.shards_done:,} of {counts.shards:,} shards, {counts.rows_done:,} of "
            f"{counts.rows:,} rows ({counts.rows_done / max(counts.rows, 1):.0%}), {counts.rate or 0:,.0f} rows/s, "
            f"{left} left",
        )


class Bar(Silent):
    """A bar on a terminal, with messages above it."""

    def start(self) -> None:
        counts = self.counts
        self._bar = tqdm(
            total=counts.rows, initial=counts.rows_done, unit="row", unit_scale=True, postfix=self._postfix()
        )

    def advance(self, rows: int) -> None:
        self._bar.update(rows)

    def shard(self, name: str, rows: int, failed: Mapping[str, int]) -> None:  # noqa: ARG002
        self._bar.set_postfix(self._postfix(), refresh=False)

    def finish(self, status: str, error: str | None) -> None:  # noqa: ARG002
        self._bar.close()

    def _postfix(self) -> dict[str, str]:
        return {"shards": f"{self.counts.shards_done:,}/{self.counts.shards:,}"}


class Json(Silent):
    """An object a line."""

    def start(self) -> None:
        self._write("start")

    def shard(self, name: str, rows: int, failed: Mapping[str, int]) -> None:
        self._write("shard", shard=name, rows=rows, failed=dict(failed))

    def periodic(self) -> None:
        self._write("progress")

    def message(self, level: str, text: str) -> None:
        self._write("message", level=level, message=text)

    def finish(self, status: str, error: str | None) -> None:
        self._write("finish", status=status, error=error)

    def _write(self, event: str, **more: Any) -> None:
        counts = self.counts
        rate, left = counts.rate, counts.seconds_left
        line = {
            "schema_version": SCHEMA_VERSION,
            "event": event,
            "time": datetime.now(UTC).isoformat(timespec="milliseconds"),
            "command": counts.command,
            "output": counts.output,
            "seconds": round(counts.seconds, 3),
            "shards_done": counts.shards_done,
            "shards_total": counts.shards,
            "rows_done": counts.rows_done,
            "rows_total": counts.rows,
            "rows_per_second": None if rate is None else round(rate, 1),
            "seconds_left": None if left is None else round(left, 1),
            "failed_rows": counts.failed_rows,
            **more,
        }
        print(json.dumps(line), file=sys.stderr, flush=True)


class Progress(logging.Handler):
    """Progress of a run, and the job's warnings between.

    Parameters
    ----------
    counts : Counts
    mode : {"auto", "text", "json", "none"}
        "auto" is a bar on a terminal, lines of text elsewhere, and nothing on a quiet run.
    quiet : bool
    every : float
        Seconds between lines.
    """

    def __init__(self, counts: Counts, mode: str, quiet: bool, every: float = 10.0) -> None:
        super().__init__(logging.WARNING)
        if mode == "auto":
            mode = "none" if quiet else "bar" if sys.stderr.isatty() else "text"
        kinds = {"bar": Bar, "text": Text, "json": Json, "none": Silent}
        self.counts = counts
        self._shown = kinds[mode](counts)
        self._every, self._printed = every, time.monotonic()

    def done(self, marker: Any) -> None:
        """Count a finished shard and its rows."""
        self.counts.failed_rows += sum(marker.failed.values())
        self.advance(marker.rows)
        self.shard(marker.shard, marker.rows, marker.failed)

    def advance(self, rows: int) -> None:
        """Count rows."""
        self.counts.rows_done += rows
        self._shown.advance(rows)
        self.tick()

    def shard(self, name: str, rows: int, failed: Mapping[str, int]) -> None:
        """Count a finished shard, whose rows are counted."""
        self.counts.shards_done += 1
        self._shown.shard(name, rows, failed)

    def tick(self) -> None:
        """Show counts if it is time to; called often."""
        now = time.monotonic()
        if now - self._printed >= self._every:
            self._printed = now
            self._shown.periodic()

    def print(self, text: str, level: str = "info") -> None:
        """Print a line above the bar."""
        self._shown.message(level, text)

    def emit(self, record: logging.LogRecord) -> None:
        """Print a warning of the job, on a quiet run too."""
        level = record.levelname.lower()
        text = record.getMessage()
        self.print(text if isinstance(self._shown, Json) else f"{level}: {escape_lines(text)}", level)

    def __enter__(self) -> Progress:
        logging.getLogger("dask_aesthetic").addHandler(self)
        self._shown.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        logging.getLogger("dask_aesthetic").removeHandler(self)
        if error is None:
            self._shown.finish("done", None)
        elif isinstance(error, Exception):
            self._shown.finish("failed", str(error) or type(error).__name__)
        else:  # Ctrl-C, SIGTERM
            self._shown.finish("stopped", None)
