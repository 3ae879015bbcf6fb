"""Jobs over Parquet files: their speed over a pure read of the embeddings, their memory, and a long run.

    python benchmarks/job.py speed  [--rounds 5] [--json FILE]
    python benchmarks/job.py memory [--json FILE]
    python benchmarks/job.py long   [--rows 100000000] [--json FILE]

Each works on 20 files of 25,000 rows of 768 float32 (1.5 GB), made once in `--folder`; more rows are the same files
under more names (symbolic links), so reading comes from the page cache.

speed: the bound is two threads that read the embedding column of the same files in batches of 1024 and do nothing
with it. Measured in turn with it, round by round: the job on two threads, on a local cluster of two workers with one
thread each (as the command starts it), and DuckDB's SQL, two threads, for the same scores into one Parquet file (if
duckdb is installed). What the job does beside: a digest of what it reads, fsync, a marker per shard, a manifest.

memory: peak resident memory of the process and of the workers, each number of rows in processes of its own.

long: one job on two threads; rows per second in its first and last tenth, and what that makes of LAION's sets.
"""

from __future__ import annotations

import argparse
import json
import resource
import shutil
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from statistics import median
from tempfile import gettempdir

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from distributed import Client
from machine import machine

from dask_aesthetic import score_dataset
from dask_aesthetic.cluster import local_cluster
from dask_aesthetic.predictors import load_predictor

FILES, ROWS = 20, 25_000
SETS = {"LAION-2B-en (2.3 billion rows)": 2.3e9, "LAION-5B (5.85 billion rows)": 5.85e9}


def source(folder: Path) -> Path:
    """The files, made once."""
    made = folder / "embeddings"
    if len(list(made.glob("*.parquet"))) < FILES:
        made.mkdir(parents=True, exist_ok=True)
        rng = np.random.default_rng(0)
        kind = pa.list_(pa.field("element", pa.float32(), nullable=False))
        for at in range(FILES):
            leaves = pa.array(rng.standard_normal(ROWS * 768, dtype=np.float32))
            lists = pa.ListArray.from_arrays(pa.array(np.arange(ROWS + 1) * 768, pa.int32()), leaves, type=kind)
            keys = pa.array([f"{at:04d}{row:06d}" for row in range(ROWS)])
            table = pa.table({"key": keys, "image_embedding": lists})
            pq.write_table(table, made / f"{at:04d}.parquet", use_dictionary=False, compression="NONE")
    return made


def linked(folder: Path, rows: int) -> Path:
    """The same files under so many names that they have so many rows."""
    made, links = source(folder), folder / f"links-{rows}"
    if not links.exists():
        links.mkdir()
        files = sorted(made.glob("*.parquet"))
        for at in range(rows // ROWS):
            (links / f"{at:06d}.parquet").symlink_to(files[at % FILES])
    return links


def read(file: Path) -> None:
    """The embeddings of a file, read and dropped."""
    with pq.ParquetFile(file) as parquet:
        for _ in parquet.iter_batches(1024, columns=["image_embedding"], use_threads=False):
            pass


def emptied(folder: Path) -> Path:
    shutil.rmtree(folder, ignore_errors=True)
    return folder


def duckdb_way(files: Path, out: Path):
    """DuckDB's own way to the same scores, None where it is not installed."""
    try:
        import duckdb
    except ImportError:
        return None
    predictor = load_predictor()
    weight = f"{predictor.weight.astype(np.float32).tolist()}::FLOAT[]"
    score = (
        f"list_dot_product(image_embedding, {weight}) "
        f"/ sqrt(list_dot_product(image_embedding, image_embedding)) + {predictor.bias!r}"
    )

    def run() -> None:
        with duckdb.connect(config={"threads": 2}) as connection:
            scored = connection.read_parquet(f"{files}/*.parquet").project(f"key, ({score})::FLOAT AS aesthetic_score")
            scored.write_parquet(str(out))

    return run


def speed(folder: Path, rounds: int) -> dict:
    files = source(folder)
    paths = sorted(files.glob("*.parquet"))

    def bound() -> None:
        with ThreadPoolExecutor(2) as threads:
            list(threads.map(read, paths))

    with (
        local_cluster("cpu", n_workers=2, dashboard_address=":0") as cluster,
        Client(cluster, set_as_default=False) as client,
    ):
        ways = {
            "bound: two threads read the column": bound,
            "job, two threads": lambda: score_dataset(files, emptied(folder / "threads"), threads=2),
            "job, LocalCluster 2 x 1": lambda: score_dataset(files, emptied(folder / "cluster"), client=client),
            "DuckDB SQL, two threads": duckdb_way(files, folder / "duckdb.parquet"),
        }
        ways = {name: way for name, way in ways.items() if way}
        for way in ways.values():
            way()
        seconds: dict[str, list[float]] = {name: [] for name in ways}
        for _ in range(rounds):
            for name, way in ways.items():
                start = time.perf_counter()
                way()
                seconds[name].append(time.perf_counter() - start)
    _compare(folder)
    first = next(iter(seconds.values()))
    print(f"{FILES * ROWS:,} rows in {FILES} files, {rounds} rounds: median (min..max)")
    ratios = {}
    for name, values in seconds.items():
        ratios[name] = [a / b for a, b in zip(values, first, strict=True)]
        print(
            f"  {name:<36} {median(values):6.2f} s ({min(values):.2f}..{max(values):.2f})  over the bound "
            f"{median(ratios[name]):.2f} ({min(ratios[name]):.2f}..{max(ratios[name]):.2f})"
        )
    return {"rows": FILES * ROWS, "seconds": seconds, "over_the_bound": ratios}


def _compare(folder: Path) -> None:
    """The ways must have come to the same scores before their time counts."""
    ours = pq.read_table(folder / "threads").sort_by("key")
    if (folder / "duckdb.parquet").exists():
        theirs = pq.read_table(folder / "duckdb.parquet").sort_by("key")
        difference = np.abs(ours["aesthetic_score"].to_numpy() - theirs["aesthetic_score"].to_numpy()).max()
        print(f"largest difference from DuckDB's scores: {difference:.1e}")
        assert difference < 1e-4


def peak() -> int:
    """Peak resident memory of this process, in bytes."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def memory(folder: Path, sizes: tuple[int, ...] = (500_000, 2_000_000, 8_000_000)) -> dict:
    told = {}
    for rows in sizes:
        linked(folder, rows)
        for crew in ("threads", "cluster"):
            command = [
                sys.executable,
                __file__,
                "measure",
                "--folder",
                str(folder),
                "--rows",
                str(rows),
                "--crew",
                crew,
            ]
            done = subprocess.run(command, capture_output=True, text=True, check=True)  # noqa: S603
            told[f"{crew}, {rows:,} rows"] = json.loads(done.stdout.splitlines()[-1])
            shown = ", ".join(f"{who} {size / 2**20:,.0f} MiB" for who, size in told[f"{crew}, {rows:,} rows"].items())
            print(f"  {crew:<8} {rows:>10,} rows  {shown}", flush=True)
    return {"peak_bytes": told}


def measure(folder: Path, rows: int, crew: str) -> None:
    """One run in this process, for `memory`."""
    files, out = linked(folder, rows), emptied(folder / "measured")
    if crew == "threads":
        score_dataset(files, out, threads=2)
        told = {"process": peak()}
    else:
        with (
            local_cluster("cpu", n_workers=2, dashboard_address=":0") as cluster,
            Client(cluster, set_as_default=False) as client,
        ):
            score_dataset(files, out, client=client)
            workers = list(client.run(peak).values())
        told = {"driver": peak(), "worker 1": workers[0], "worker 2": workers[1]}
    print(json.dumps(told))


def long(folder: Path, rows: int) -> dict:
    files, out = linked(folder, rows), emptied(folder / "long")
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
    parser.add_argument("part", choices=["speed", "memory", "long", "measure"])
    parser.add_argument("--folder", type=Path, default=Path(gettempdir()) / "dask-aesthetic-benchmark")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--rows", type=int, default=100_000_000)
    parser.add_argument("--crew", default="threads")
    parser.add_argument("--json", type=Path, help="Add the figures to this file.")
    options = parser.parse_args()
    if options.part == "measure":
        measure(options.folder, options.rows, options.crew)
        return
    print(machine())
    if options.part == "speed":
        told = speed(options.folder, options.rounds)
    elif options.part == "memory":
        told = memory(options.folder)
    else:
        told = long(options.folder, options.rows)
    if options.json:
        before = json.loads(options.json.read_text()) if options.json.exists() else {}
        options.json.write_text(json.dumps({**before, options.part: {"machine": machine(), **told}}, indent=1) + "\n")


if __name__ == "__main__":
    main()
