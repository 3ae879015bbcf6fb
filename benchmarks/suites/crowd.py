"""The driver of a large cluster, with stand-ins for its workers.

Plan, tasks, markers, manifest, Dask's client and scheduler are real, and files are listed and their footers read. The
workers are threads of two processes, which sleep as long as one worker takes to score as many rows, and give the marker
of a file that was scored. So there may be a thousand on two cores, and what they wait for is the driver.
"""

from __future__ import annotations

import os
import shutil
import threading
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from copy import copy
from dataclasses import dataclass
from functools import cache, partial
from pathlib import Path

import dask
import data
import pandas as pd
from distributed import Client, LocalCluster
from harness import Case, Way

from dask_aesthetic import ScoreDistribution, score_dataset
from dask_aesthetic.cluster import TUNED
from dask_aesthetic.jobs.markers import ShardMarker
from dask_aesthetic.jobs.pool import Pool
from dask_aesthetic.jobs.score import plan_dataset, run
from dask_aesthetic.jobs.score_plan import ScorePlan
from dask_aesthetic.jobs.summary import JobSummary

ROWS = 2_500_000_000  # Somewhat more than LAION-2B-en.
SIZES = (25_000, 100_000, 1_000_000)
WORKERS = (100, 1_000)
OUT = data.FOLDER / "out" / "crowd"
# Each real worker has one thread, and one more task that waits.
SETTINGS = {**TUNED, "distributed.scheduler.worker-saturation": 2.0}
SHARD = "one worker, a file of 25,000 rows"
PLAN = "plan, CPU time of the driver, files of {:,} rows"
RUN = "{:,} workers, files of {:,} rows"


def cases() -> Iterator[Case]:
    """Workers, and rows per file."""
    yield Case("Larger clusters, workers that sleep", _crowds, rounds=1)


@contextmanager
def _crowds() -> Iterator[list[Way]]:
    seconds = min(_score() for _ in range(3))
    ways = [Way(SHARD, lambda: seconds, data.ROWS)]
    for size in SIZES:
        plans: list[ScorePlan] = []
        ways.append(Way(PLAN.format(size), partial(_plan, _links(ROWS // size), plans), ROWS))
        each = seconds * size / data.ROWS
        ways += [Way(RUN.format(workers, size), partial(_run, plans, workers, each), ROWS) for workers in WORKERS]
    yield ways


def _score() -> float:
    """Seconds per file of a job on one thread, of enough files that its beginning does not count."""
    shutil.rmtree(OUT, ignore_errors=True)
    files = data.linked(5_000_000)
    start = time.perf_counter()
    score_dataset(files, OUT, threads=1)
    return (time.perf_counter() - start) * data.ROWS / 5_000_000


def _links(files: int) -> Path:
    """Folder of names of one file; a file may have some 60,000."""
    folder = data.FOLDER / f"names-{files}"
    if not folder.exists():
        folder.mkdir()
        first = sorted(data.embeddings().glob("*.parquet"))[0]
        for number in range(files):
            path = folder / f"{number:06d}.parquet"
            if number % 50_000:
                os.link(folder / f"{number - number % 50_000:06d}.parquet", path)
            else:
                shutil.copy(first, path)
    return folder


def _plan(files: Path, plans: list[ScorePlan]) -> float:
    """CPU time of a plan in the process of client and scheduler; two workers read the footers."""
    shutil.rmtree(OUT, ignore_errors=True)
    with _client(2) as client:
        start = time.process_time()
        plans[:] = [plan_dataset(files, OUT, client=client)]
        return time.process_time() - start


def _run(plans: list[ScorePlan], workers: int, seconds: float) -> float:
    """Wall time of a run, its manifest included."""
    shutil.rmtree(OUT, ignore_errors=True)
    plan = _StandIns(**vars(plans[0]), marker=_marker(), seconds=seconds)
    with _client(workers) as client, Pool(client) as pool:
        start = time.perf_counter()
        run(plan, pool)
        return time.perf_counter() - start


@contextmanager
def _client(workers: int) -> Iterator[Client]:
    with (
        dask.config.set(SETTINGS),
        LocalCluster(n_workers=2, threads_per_worker=workers // 2, dashboard_address=":0") as cluster,
        Client(cluster, set_as_default=False) as client,
    ):
        client.run(_add, JobSummary(), 1)  # Imports.
        yield client


@dataclass(frozen=True)
class _StandIns(ScorePlan):
    marker: ShardMarker | None = None
    seconds: float = 0.0

    @property
    def work(self):
        return partial(_stand_in, marker=self.marker, seconds=self.seconds)

    @staticmethod
    def summarize(markers: Iterable[ShardMarker]) -> JobSummary:
        """Summary of the task's shards, after the time that they take; to sleep once costs no CPU time."""
        count = len(list(markers))
        if count:
            time.sleep(_task.seconds * count)
        return _add(_task.summary, count) if count else JobSummary()


_task = threading.local()


def _stand_in(shard, stopped, marker: ShardMarker, seconds: float) -> ShardMarker:  # noqa: ARG001
    _task.seconds, _task.summary = seconds, JobSummary(marker.kept, 1, _parsed(marker.distribution))
    found = copy(marker)  # Takes a tenth of what `replace` takes.
    vars(found).update(shard=shard.name, inputs=shard.versions)
    return found


@cache
def _parsed(distribution: str) -> ScoreDistribution:
    return ScoreDistribution.from_json(distribution)


def _add(summary: JobSummary, count: int) -> JobSummary:
    if count < 2:
        return summary
    half = _add(summary, count // 2)
    return half + half + summary if count % 2 else half + half


@cache
def _marker() -> ShardMarker:
    """Marker of a file that was scored."""
    folder = data.FOLDER / "out" / "crowd-marker"
    shutil.rmtree(folder, ignore_errors=True)
    found: list[ShardMarker] = []
    score_dataset(sorted(data.embeddings().glob("*.parquet"))[0], folder, progress=found.append)
    return found[0]


def more(summary: pd.DataFrame) -> dict[str, object]:
    """Share of the time for which workers are at work."""
    seconds = summary.set_index("way")["seconds"]
    runs = []
    for workers in WORKERS:
        for size in SIZES:
            scoring = seconds[SHARD] * ROWS / data.ROWS / workers
            running, planning = seconds[RUN.format(workers, size)], seconds[PLAN.format(size)]
            runs.append(
                {
                    "workers": workers,
                    "rows_per_file": size,
                    "running": round(scoring / running, 3),
                    "with_plan": round(scoring / (running + planning), 3),
                    "rows_per_second": round(ROWS / running),
                }
            )
    return {"crowd": {"shard": round(seconds[SHARD], 5), "runs": runs}}
