"""Time ways to do the same work in turn, round by round, and keep every figure as a row.

pytest-benchmark and asv time one function after the other, so on a shared machine, whose speed drifts by a third within
minutes, their ratios drift with it. Here every round runs all ways of a case once, and a ratio is taken within a round.
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
        A run; what it returns in seconds as a float is taken in place of its wall time.
    rows : int
        How many rows a run works on.
    """

    name: str
    run: Run
    rows: int


@dataclass(frozen=True)
class Case:
    """Ways that are measured in turn; the first is what the others are held against.

    Attributes
    ----------
    name : str
    ways : callable
        A context manager that sets up, and gives the ways.
    rounds : int
        Counted ones, after one to warm up.
    memory : bool
        Whether every way's peak memory is measured too, in a process of its own.
    """

    name: str
    ways: Callable[[], AbstractContextManager[list[Way]]]
    rounds: int = 5
    memory: bool = False


def measure(suite: str, case: Case, rounds: int | None = None) -> Iterator[dict[str, Any]]:
    """A row per way and round: seconds, rows, and the time per row over that of the first way in the same round."""
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
    """Seconds that a run takes."""
    start = time.perf_counter()
    told = run()
    return told if isinstance(told, float) else time.perf_counter() - start


def peak() -> int:
    """Peak resident memory of this process, in bytes; what `resource` tells counts the parent's in."""
    status = Path("/proc/self/status").read_text()
    return int(next(line for line in status.splitlines() if line.startswith("VmHWM")).split()[1]) * 1024


def peaks(suite: str, case: Case, program: Path) -> Iterator[dict[str, Any]]:
    """A row per way with the peak memory of a process that runs it once and does nothing else."""
    with case.ways() as ways:
        names = [way.name for way in ways]
    for name in names:
        command = [sys.executable, str(program), "--peak", suite, case.name, name]
        done = subprocess.run(command, capture_output=True, text=True, check=True)  # noqa: S603
        yield {"suite": suite, "case": case.name, "way": name, "peak": json.loads(done.stdout.splitlines()[-1])}


def medians(rows: pd.DataFrame) -> pd.DataFrame:
    """Of each way: rows per second, and the ratio, as medians with what they lie between."""
    rows = rows.dropna(subset=["seconds"]).assign(rate=lambda frame: frame["rows"] / frame["seconds"])
    told = rows.groupby(KEYS, sort=False).agg(
        rows=("rows", "first"),
        rounds=("round", "nunique"),
        seconds=("seconds", "median"),
        rate=("rate", "median"),
        ratio=("ratio", "median"),
        low=("ratio", "min"),
        high=("ratio", "max"),
    )
    return told.reset_index()


def save(path: Path, suite: str, rows: list[dict[str, Any]], machine: str, more: dict[str, Any]) -> None:
    """Put a suite's rows into a file of results, in place of those it had."""
    told = json.loads(path.read_text()) if path.exists() else {}
    told[suite] = {"machine": machine, **more, "rows": rows}
    suites = ",\n".join(f"{json.dumps(name)}: {_lines(value)}" for name, value in sorted(told.items()))
    path.write_text(f"{{\n{suites}\n}}\n")


def _lines(told: dict[str, Any]) -> str:
    """A row to a line, so that files of results can be read and compared line by line."""
    head = [f" {json.dumps(key)}: {json.dumps(value)}" for key, value in told.items() if key != "rows"]
    rows = ",\n".join(f"  {json.dumps(row)}" for row in told["rows"])
    return "{\n" + ",\n".join([*head, f' "rows": [\n{rows}\n ]']) + "\n}"


def load(path: Path) -> dict[str, dict[str, Any]]:
    """A file of results: of each suite the machine and its rows."""
    return json.loads(path.read_text())
