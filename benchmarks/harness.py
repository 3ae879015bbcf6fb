"""Benchmark harness: time ways to do the same work in turn, round by round, and save every time as a row.

pytest-benchmark and asv time one function after another, so on a shared machine, whose speed drifts by a third within
minutes, their ratios drift, too. Here every round runs all ways of a case once, and ratios are taken within a round.
"""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

Run = Callable[[], object]
KEYS = ["suite", "case", "way"]


@dataclass(frozen=True)
class Way:
    """One way to do a case's work.

    Attributes
    ----------
    name : str
    run : callable
        One run; a float that it returns replaces the wall time in seconds.
    rows : int
        Rows of one run.
    """

    name: str
    run: Run
    rows: int


@dataclass(frozen=True)
class Case:
    """Ways that are measured in turn; the first is the reference of the ratios.

    Attributes
    ----------
    name : str
    ways : callable
        Context manager that sets up and yields the ways.
    rounds : int
        Measured rounds, after one warm-up round.
    memory : bool
        Whether to measure the peak memory of every way, each in a process of its own.
    """

    name: str
    ways: Callable[[], AbstractContextManager[list[Way]]]
    rounds: int = 5
    memory: bool = False


def measure(suite: str, case: Case, rounds: int | None = None) -> Iterator[dict[str, Any]]:
    """Measure a case: a row per way and round with seconds, rows, and the time per row relative to the first way."""
    with case.ways() as ways:
        for way in ways:
            way.run()
        for number in range(rounds or case.rounds):
            first = None
            for way in ways:
                seconds = timed(way.run)
                first = first or seconds / way.rows
                yield {
                    "suite": suite,
                    "case": case.name,
                    "way": way.name,
                    "round": number,
                    "rows": way.rows,
                    "seconds": round(seconds, 6),
                    "ratio": round(seconds / way.rows / first, 4),
                }


def timed(run: Run) -> float:
    """Wall time of a run in seconds."""
    start = time.perf_counter()
    seconds = run()
    return seconds if isinstance(seconds, float) else time.perf_counter() - start


def peak() -> int:
    """Peak resident memory of this process in bytes; `resource` would include that of the parent."""
    status = Path("/proc/self/status").read_text()
    return int(next(line for line in status.splitlines() if line.startswith("VmHWM")).split()[1]) * 1024


def peaks(suite: str, case: Case, program: Path) -> Iterator[dict[str, Any]]:
    """Measure peak memory: a row per way, from a process that runs it once."""
    with case.ways() as ways:
        names = [way.name for way in ways]
    for name in names:
        command = [sys.executable, str(program), "--peak", suite, case.name, name]
        done = subprocess.run(command, capture_output=True, text=True, check=True)  # noqa: S603
        yield {"suite": suite, "case": case.name, "way": name, "peak": json.loads(done.stdout.splitlines()[-1])}


def medians(rows: pd.DataFrame) -> pd.DataFrame:
    """Median rows per second and median, minimum and maximum ratio of each way."""
    rows = rows.dropna(subset=["seconds"]).assign(rate=lambda frame: frame["rows"] / frame["seconds"])
    summary = rows.groupby(KEYS, sort=False).agg(
        rows=("rows", "first"),
        rounds=("round", "nunique"),
        seconds=("seconds", "median"),
        rate=("rate", "median"),
        ratio=("ratio", "median"),
        low=("ratio", "min"),
        high=("ratio", "max"),
    )
    return summary.reset_index()


def save(path: Path, suite: str, rows: list[dict[str, Any]], machine: str, more: dict[str, Any]) -> None:
    """Save a suite's rows in a result file, replacing its earlier rows."""
    results = json.loads(path.read_text()) if path.exists() else {}
    results[suite] = {"machine": machine, **more, "rows": rows}
    suites = ",\n".join(f"{json.dumps(name)}: {_lines(value)}" for name, value in sorted(results.items()))
    path.write_text(f"{{\n{suites}\n}}\n")


def _lines(suite: dict[str, Any]) -> str:
    """JSON of a suite with a line per row, for line-by-line diffs."""
    head = [f" {json.dumps(key)}: {json.dumps(value)}" for key, value in suite.items() if key != "rows"]
    rows = ",\n".join(f"  {json.dumps(row)}" for row in suite["rows"])
    return "{\n" + ",\n".join([*head, f' "rows": [\n{rows}\n ]']) + "\n}"


def load(path: Path) -> dict[str, dict[str, Any]]:
    """Load a result file: machine and rows of each suite."""
    return json.loads(path.read_text())
