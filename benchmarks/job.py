"""Jobs over Parquet files: peak memory, and a long run. The pipeline suite measures their speed.

    python benchmarks/job.py memory [--json FILE]
    python benchmarks/job.py long   [--rows 100000000] [--json FILE]

memory: peak resident memory of the process and of the workers; each number of rows runs in its own processes.

long: one job on two threads; rows per second in its first and last tenth, and the extrapolation to LAION's sets.

Both read the files of the suites (`data.py`), by links where more rows are needed.
"""

from __future__ import annotations

import argparse
import json
import shutil
import subprocess
import sys
import time
from pathlib import Path

from data import FOLDER, ROWS, linked
from distributed import Client
from harness import peak
from machine import machine

from dask_aesthetic import score_dataset
from dask_aesthetic.cluster import local_cluster

SETS = {"LAION-2B-en (2.3 billion rows)": 2.3e9, "LAION-5B (5.85 billion rows)": 5.85e9}


def emptied(folder: Path) -> Path:
    shutil.rmtree(folder, ignore_errors=True)
    return folder


def memory(sizes: tuple[int, ...] = (500_000, 2_000_000, 8_000_000)) -> dict:
    results = {}
    for rows in sizes:
        linked(rows)
        for executor in ("threads", "cluster"):
            command = [sys.executable, __file__, "measure", "--rows", str(rows), "--executor", executor]
            done = subprocess.run(command, capture_output=True, text=True, check=True)  # noqa: S603
            results[f"{executor}, {rows:,} rows"] = json.loads(done.stdout.splitlines()[-1])
            shown = ", ".join(
                f"{who} {size / 2**20:,.0f} MiB" for who, size in results[f"{executor}, {rows:,} rows"].items()
            )
            print(f"  {executor:<8} {rows:>10,} rows  {shown}", flush=True)
    return {"peak_bytes": results}


def measure(rows: int, executor: str) -> None:
    """One run in this process, for `memory`."""
    files, out = linked(rows), emptied(FOLDER / "out" / "measured")
    if executor == "threads":
        score_dataset(files, out, threads=2)
        results = {"process": peak()}
    else:
        with (
            local_cluster("cpu", n_workers=2, dashboard_address=":0") as cluster,
            Client(cluster, set_as_default=False) as client,
        ):
            score_dataset(files, out, client=client)
            workers = list(client.run(peak).values())
        results = {"driver": peak(), "worker 1": workers[0], "worker 2": workers[1]}
    print(json.dumps(results))


def long(rows: int) -> dict:
    files, out = linked(rows), emptied(FOLDER / "out" / "long")
    done: list[tuple[float, int]] = [(time.perf_counter(), 0)]
    summary = score_dataset(
        files, out, threads=2, progress=lambda marker: done.append((time.perf_counter(), done[-1][1] + marker.rows))
    )
    seconds = time.perf_counter() - done[0][0]
    rates = {}
    for name, (low, high) in {"first": (0.0, 0.1), "last": (0.9, 1.0)}.items():
        part = [(at, count) for at, count in done if low * rows <= count <= high * rows]
        rates[name] = (part[-1][1] - part[0][1]) / (part[-1][0] - part[0][0])
    assert summary.rows == rows == summary.scored
    print(f"{rows:,} rows in {rows // ROWS:,} shards: {seconds:,.0f} s, {rows / seconds:,.0f} rows/s")
    print(f"  rows/s in the first tenth {rates['first']:,.0f}, in the last {rates['last']:,.0f}")
    print(f"  peak memory {peak() / 2**20:,.0f} MiB")
    for name, size in SETS.items():
        hours = size / (rows / seconds) / 3600
        print(f"  on paper, at this rate: {name}: {hours:,.1f} h on one such machine, {hours / 10:,.2f} h on ten")
    return {"rows": rows, "seconds": seconds, "rows_per_second": rates, "peak_bytes": peak()}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("part", choices=["memory", "long", "measure"])
    parser.add_argument("--rows", type=int, default=100_000_000)
    parser.add_argument("--executor", default="threads")
    parser.add_argument("--json", type=Path, help="Add the figures to this file.")
    options = parser.parse_args()
    if options.part == "measure":
        measure(options.rows, options.executor)
        return
    print(machine())
    results = memory() if options.part == "memory" else long(options.rows)
    if options.json:
        before = json.loads(options.json.read_text()) if options.json.exists() else {}
        options.json.write_text(
            json.dumps({**before, options.part: {"machine": machine(), **results}}, indent=1) + "\n"
        )


if __name__ == "__main__":
    main()
