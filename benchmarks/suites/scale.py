"""Scaling of cost with rows, workers and shards."""

from __future__ import annotations

import resource
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path

import data
import pyarrow.parquet as pq
from distributed import Client
from harness import Case, Way

from dask_aesthetic import score_dataset
from dask_aesthetic.cluster import local_cluster

SHARDS, TINY = 4_000, 10
SHARD = f"job, one worker, a shard of {data.ROWS:,} rows"
DRIVER = f"driver, per shard of a job of {SHARDS} shards"
OUT = data.FOLDER / "out" / "scale"


def cases() -> Iterator[Case]:
    """Rows, workers, shards."""
    yield Case("job by rows, two threads", _rows, rounds=1)
    yield Case("job by workers", _workers, rounds=3)
    yield Case("CPU time per shard", _shards, rounds=3)
    for rows in (1_000_000, 10_000_000):
        yield Case(f"CPU time of the processes of {rows:,} rows, with their start", partial(_processes, rows), rounds=3)


@contextmanager
def _rows() -> Iterator[list[Way]]:
    sizes = (100_000, 1_000_000, 10_000_000)
    yield [
        Way("1,000,000 rows, the first time", partial(_job, data.linked(1_000_000), threads=2), 1_000_000),
        Way("10,000 rows in 2 files", partial(_job, data.embeddings(2, 5_000), threads=2), 10_000),
        *(Way(f"{rows:,} rows", partial(_job, data.linked(rows), threads=2), rows) for rows in sizes),
    ]


@contextmanager
def _workers() -> Iterator[list[Way]]:
    files, rows = data.linked(1_000_000), 1_000_000
    with _clients(1) as one, _clients(2) as two:
        yield [
            Way("one worker", partial(_job, files, client=one), rows),
            Way("two workers", partial(_job, files, client=two), rows),
            Way("one thread", partial(_job, files, threads=1), rows),
            Way("two threads", partial(_job, files, threads=2), rows),
        ]


@contextmanager
def _shards() -> Iterator[list[Way]]:
    """CPU time, not wall time, of the process of client and scheduler."""
    files = _tiny()
    with _clients(2) as client:

        def spent(run, *arguments, **more) -> float:
            shutil.rmtree(OUT, ignore_errors=True)
            start = time.process_time()
            run(*arguments, **more)
            return time.process_time() - start

        yield [
            Way("driver, per task that does nothing", partial(spent, _nothing, client), SHARDS),
            Way(DRIVER, partial(spent, score_dataset, files, OUT, client=client), SHARDS),
            Way(SHARD, partial(spent, score_dataset, data.embeddings(), OUT, threads=1), data.FILES),
        ]


@contextmanager
def _processes(rows: int) -> Iterator[list[Way]]:
    """User and system time of the command and of all processes that it started."""
    files = data.linked(rows)
    command = [sys.executable, "-m", "dask_aesthetic", "score", str(files), str(OUT), "--quiet"]

    def spent(*each: list[str]) -> float:
        shutil.rmtree(OUT, ignore_errors=True)
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        running = [subprocess.Popen([*command, *more], stderr=subprocess.DEVNULL) for more in each]  # noqa: S603
        if any(process.wait() for process in running):
            raise RuntimeError(f"expected the jobs to end well: {each}")
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime

    yield [
        Way("two threads", partial(spent, ["--threads", "2"]), rows),
        Way("two workers", partial(spent, ["--workers", "2"]), rows),
        Way("two parts of one thread", partial(spent, *(["--threads", "1", "--part", f"{k}/2"] for k in (1, 2))), rows),
    ]


@contextmanager
def _clients(workers: int) -> Iterator[Client]:
    with (
        local_cluster("cpu", n_workers=workers, dashboard_address=":0") as cluster,
        Client(cluster, set_as_default=False) as client,
    ):
        yield client


def _job(files: Path, **executor) -> float:
    """Seconds of a job, without the removal of earlier output."""
    shutil.rmtree(OUT, ignore_errors=True)
    start = time.perf_counter()
    score_dataset(files, OUT, **executor)
    return time.perf_counter() - start


def _nothing(client: Client) -> None:
    client.gather(client.map(_identity, range(SHARDS), pure=False))


def _identity(value: int) -> int:
    return value


def _tiny() -> Path:
    """Files that have their own rows, so their own statistics in their footers."""
    folder = data.FOLDER / f"tiny-{SHARDS}-of-their-own"
    if not folder.exists():
        table = pq.read_table(data.embeddings() / "0000.parquet")
        folder.mkdir(parents=True)
        for number in range(SHARDS):
            part = table.slice(number * TINY, TINY)
            pq.write_table(part, folder / f"{number:04d}.parquet", use_dictionary=False)
    return folder
