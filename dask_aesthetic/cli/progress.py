"""How a run is getting on: a bar on a terminal, a line now and then elsewhere."""

from __future__ import annotations

import logging
import sys
import time
from datetime import timedelta
from typing import Any

from tqdm import tqdm

from dask_aesthetic.job.work import JobPlan

EVERY = 10.0  # Seconds between lines where there is no terminal.


class Progress(logging.Handler):
    """Rows done, rows per second and the time left, on standard error; what the job warns of between them."""

    def __init__(self, plan: JobPlan[Any], quiet: bool) -> None:
        super().__init__(logging.WARNING)
        self._plan, self._quiet = plan, quiet
        self._shards, self._rows = len(plan.done), plan.rows_done
        self._begin, self._first = time.monotonic(), self._rows
        self._said = self._begin
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
        """Take in a shard."""
        self._shards += 1
        self._rows += marker.rows
        self._bar.set_postfix(self._postfix(), refresh=False)
        self._bar.update(marker.rows)
        now = time.monotonic()
        if self._lines and now - self._said >= EVERY:
            self._said = now
            self.say(self._line(now))

    def say(self, text: str) -> None:
        """Tell something without spoiling the bar."""
        tqdm.write(text, file=sys.stderr)

    def emit(self, record: logging.LogRecord) -> None:
        """Tell what the job warns of, on a quiet run too."""
        self.say(f"{record.levelname.lower()}: {record.getMessage()}")

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
