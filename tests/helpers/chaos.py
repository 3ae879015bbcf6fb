"""Chaos tests of jobs: runs that are killed and resumed, and the invariants afterwards.

Run as a script, it does so at full size: ``python -m helpers.chaos`` in tests/, or ``make chaos``.
"""

from __future__ import annotations

import json
import multiprocessing
import os
import random
import re
import signal
import sys
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from tempfile import TemporaryDirectory
from threading import Event

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from distributed import Client, LocalCluster

from dask_aesthetic.cli import main as main_command
from dask_aesthetic.cluster import closed_in_time
from dask_aesthetic.jobs import JobSummary, plan_dataset, score_dataset
from dask_aesthetic.synthetic import synthetic_embeddings

Score = Callable[..., JobSummary]  # As `score_dataset`.
LOCK = re.compile(r"lock(-\d+-of-\d+)?")  # Holds nothing, and may stay behind.


def write_shards(folder: Path, shards: int, rows: int, seed: int = 0) -> Path:
    """Files of synthetic embeddings in which every fifth has an unusable row."""
    folder.mkdir(parents=True)
    vectors, offsets = synthetic_embeddings(rows, seed), pa.array(np.arange(rows + 1) * 768, pa.int32())
    for at in range(shards):
        leaves = pa.array(np.roll(vectors, at, axis=0).reshape(-1))
        lists = pa.ListArray.from_arrays(offsets, leaves)
        if at % 5 == 0:
            lists = lists.take(pa.array([None if row == at % rows else row for row in range(rows)], pa.int64()))
        keys = [f"{at:04d}-{row}" for row in range(rows)]
        table = pa.table({"key": keys, "image_embedding": lists})
        pq.write_table(table, folder / f"part-{at:04d}.parquet", use_dictionary=False, compression="NONE")
    return folder


def content(folder: Path) -> dict[str, bytes]:
    """All that a job has written, by name."""
    files = sorted(path for path in folder.rglob("*") if path.is_file() and not LOCK.fullmatch(path.name))
    return {str(path.relative_to(folder)): path.read_bytes() for path in files}


def committed(folder: Path) -> dict[str, tuple[int, int]]:
    """Identity of the output of every shard that has a marker: a file that is written again has another."""
    markers = folder / "_dask_aesthetic/markers"
    found = {}
    for marker in markers.rglob("*.json") if markers.exists() else []:
        shard = marker.relative_to(markers).with_suffix("").as_posix()
        with suppress(FileNotFoundError):
            stat = (folder / f"{shard}.parquet").stat()
            found[shard] = (stat.st_ino, stat.st_mtime_ns)
    return found


def check(output: Path, calm: dict[str, bytes], rows: int, summary: JobSummary) -> None:
    """Invariants after any failure and a resume."""
    got = content(output)
    assert got.keys() == calm.keys(), got.keys() ^ calm.keys()
    assert [name for name in calm if got[name] != calm[name]] == []
    assert summary.rows == rows == summary.scored + sum(summary.failed.values())


def die(at: int, after: bool) -> None:
    """Kill this process just before or after the file number `at` is renamed into place."""
    replace, placed = os.replace, 0

    def counted(*arguments: object) -> None:
        nonlocal placed
        if str(arguments[1]).endswith((".nbi", ".nbc")):  # Compiled code, which numba puts into its cache.
            replace(*arguments)  # type: ignore[arg-type]
            return
        placed += 1
        if placed == at and not after:
            os.kill(os.getpid(), signal.SIGKILL)
        replace(*arguments)  # type: ignore[arg-type]
        if placed == at:
            os.kill(os.getpid(), signal.SIGKILL)

    os.replace = counted  # type: ignore[assignment]


def score_and_die(score: Score, source: Path, output: Path, at: int, after: bool) -> None:
    """Score in one thread, and be killed at a commit."""
    die(at, after)
    score(source, output, threads=1)


def killed_at_every_commit(source: Path, calm: Path, folder: Path, every: int = 1, score: Score = score_dataset) -> int:
    """Number of kills of the driver, before and after each rename of a file; each is resumed and checked."""
    processes = fork_server()
    expected, boundaries = content(calm), 0
    # Settings, then per shard the list of failures if it has any, the output and the marker; then the manifest.
    total = len(expected)
    for at in range(1, total + 1, every):
        for after in (False, True):
            output = folder / f"{at}-{after}"
            process = processes.Process(target=score_and_die, args=(score, source, output, at, after))
            process.start()
            process.join(120)
            assert process.exitcode == -signal.SIGKILL, process.exitcode
            _resume_and_check(score, source, output, expected)
            boundaries += 1
    return boundaries


def killed_at_random(source: Path, calm: Path, folder: Path, times: int, seed: int) -> int:
    """Number of random kills that found the driver running; each is resumed and checked."""
    processes, moments = fork_server(), random.Random(seed)  # noqa: S311
    expected, hit = content(calm), 0
    seconds = 0.5
    for at in range(times):
        output = folder / f"random-{at}"
        process = processes.Process(target=score_dataset, args=(source, output), kwargs={"threads": 2})
        begin = time.monotonic()
        process.start()
        process.join(moments.uniform(0, seconds))
        process.kill()
        process.join()
        if process.exitcode == 0:
            seconds = min(seconds, time.monotonic() - begin)
        hit += process.exitcode == -signal.SIGKILL
        _resume_and_check(score_dataset, source, output, expected)
    return hit


def parts_killed(source: Path, calm: Path, folder: Path, times: int, seed: int, parts: int = 3) -> int:
    """Number of random kills that found a part running beside the others; the parts run again, then the whole job."""
    processes, moments = fork_server(), random.Random(seed)  # noqa: S311
    expected, hit = content(calm), 0
    for at in range(times):
        output = folder / f"parts-{at}"
        for killed in (True, False):
            running = [
                processes.Process(
                    target=score_dataset, args=(source, output), kwargs={"threads": 1, "part": (part + 1, parts)}
                )
                for part in range(parts)
            ]
            before = committed(output)
            for process in running:
                process.start()
            for process in running if killed else ():
                process.join(moments.uniform(0, 0.3))
                process.kill()
            for process in running:
                process.join()
            hit += killed and sum(process.exitcode == -signal.SIGKILL for process in running)
            assert killed or all(process.exitcode == 0 for process in running)
            after = committed(output)
            assert {shard: after[shard] for shard in before} == before, "a committed shard was written again"
        _resume_and_check(score_dataset, source, output, expected)
    return hit


def workers_killed(source: Path, calm: Path, output: Path, kills: int, seed: int) -> int:
    """Number of kills of a random worker of two, at random counts of finished shards."""
    expected = content(calm)
    shards = len(list(source.iterdir()))
    moments = random.Random(seed)  # noqa: S311
    marks = sorted(moments.sample(range(shards * 9 // 10), kills))
    seen: dict[str, tuple[int, int]] = {}
    done, killed = Event(), 0

    def look() -> None:
        for shard, identity in committed(output).items():
            if seen.setdefault(shard, identity) != identity:  # Dask ran its task on two workers at once.
                assert (output / f"{shard}.parquet").read_bytes() == expected[f"{shard}.parquet"]

    def kill(cluster: LocalCluster) -> int:
        count = 0
        while not done.is_set():
            look()
            if count < kills and len(seen) >= marks[count]:
                time.sleep(moments.uniform(0, 0.02))
                pids = [nanny.pid for nanny in cluster.workers.values() if nanny.pid]
                if pids:
                    with suppress(ProcessLookupError):
                        os.kill(moments.choice(pids), signal.SIGKILL)
                        count += 1
            time.sleep(0.005)
        return count

    with (
        closed_in_time(
            LocalCluster(n_workers=2, threads_per_worker=1, dashboard_address=":0", silence_logs=50)
        ) as cluster,
        Client(cluster, set_as_default=False) as client,
        ThreadPoolExecutor(1) as executioner,
    ):
        future = executioner.submit(kill, cluster)
        try:
            summary = score_dataset(source, output, client=client)
        finally:
            done.set()
        killed = future.result()
    look()
    check(output, expected, plan_dataset(source, output).rows, summary)
    return killed


def _resume_and_check(score: Score, source: Path, output: Path, expected: dict[str, bytes]) -> None:
    before = committed(output)
    summary = score(source, output, threads=2)
    after = committed(output)
    assert {shard: after[shard] for shard in before} == before, "a committed shard was written again"
    check(output, expected, json.loads(expected["_SUCCESS"])["rows"], summary)


def run_command(arguments: list[str], out: Path, err: Path) -> None:
    """Run ``dask-aesthetic`` in a session of its own, with its output in files; target of a process."""
    os.setsid()
    for path, stream in ((out, sys.stdout), (err, sys.stderr)):
        os.dup2(os.open(path, os.O_WRONLY | os.O_CREAT, 0o600), stream.fileno())
    main_command(arguments)


def fork_server() -> multiprocessing.context.ForkServerContext:
    """Processes that have the package imported from the start."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["dask_aesthetic.jobs", "dask_aesthetic.synthetic", "distributed", "open_clip"])
    return context


def main(seeds: int = 10, shards: int = 200, kills: int = 20, moments: int = 50) -> None:
    """Everything, at full size."""
    begin = time.monotonic()

    def report(text: str) -> None:
        print(f"{time.monotonic() - begin:6.0f} s  {text}", flush=True)

    with TemporaryDirectory(prefix="chaos-") as temporary:
        folder = Path(temporary)
        source, calm = write_shards(folder / "in", shards, 4000), folder / "calm"
        report(f"calm run: {score_dataset(source, calm).rows:,} rows in {shards} shards")
        for seed in range(seeds):
            killed = workers_killed(source, calm, folder / f"workers-{seed}", kills, seed)
            report(f"seed {seed}: {killed} workers killed, output as of the calm run at every moment")
        few, quiet = write_shards(folder / "few", 20, 2000), folder / "quiet"
        score_dataset(few, quiet, threads=1)
        report(f"driver killed at {killed_at_every_commit(few, quiet, folder / 'commits')} commit boundaries, resumed")
        hit = killed_at_random(few, quiet, folder / "moments", moments, seed=0)
        report(f"driver killed at {moments} random moments, {hit} times at work, resumed")
        hit = parts_killed(few, quiet, folder / "parts", moments, seed=0)
        report(f"three parts side by side, each killed at {moments} random moments, {hit} times at work, resumed")


if __name__ == "__main__":
    main()
