"""Parquet files to scores on more and more cores, versus as many threads that only read the embedding column.

The files lie in the page cache: 100,000 rows, linked again and again.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from functools import partial
from pathlib import Path

import data
from dask.system import cpu_count
from distributed import Client
from harness import Case, Way

from dask_aesthetic import read_and_score, score_dataset
from dask_aesthetic.cluster import local_cluster
from dask_aesthetic.io import pages

FILES = 4
ROWS_PER_CORE = 200_000


def cases() -> Iterator[Case]:
    """A case per kind of file, and one of workers."""
    for name in data.SETTINGS:
        yield Case(f"threads, {name}", partial(_threads, name), rounds=3)
    yield Case("job on workers, plain files", _workers, rounds=2)


def _counts() -> list[int]:
    return [1 << power for power in range(cpu_count().bit_length())]


def _files(name: str, cores: int) -> tuple[Path, int]:
    rows = ROWS_PER_CORE * cores
    return data.linked(rows, data.SETTINGS[name](FILES)), rows


@contextmanager
def _threads(name: str) -> Iterator[list[Way]]:
    pages.COLD_ROWS = 0  # The first row is worth compiling the reader of pages.
    ways = []
    for what, run in (("read the column", _read), ("read_and_score", _scored), ("job", _job)):
        for cores in _counts():
            folder, rows = _files(name, cores)
            ways.append(Way(f"{what}, {cores} threads", partial(run, folder, cores), rows))
    yield ways


@contextmanager
def _workers() -> Iterator[list[Way]]:
    cores = cpu_count()
    folder, rows = _files("plain files", cores)
    with (
        local_cluster("cpu", n_workers=cores, dashboard_address=":0") as cluster,
        Client(cluster, set_as_default=False) as client,
    ):
        yield [
            Way(f"{cores} threads", partial(_job, folder, cores), rows),
            Way(f"{cores} workers", partial(_job, folder, None, client), rows),
        ]


def _read(folder: Path, cores: int) -> None:
    with ThreadPoolExecutor(cores) as threads:
        list(threads.map(data.read, sorted(folder.glob("*.parquet"))))


def _scored(folder: Path, cores: int) -> None:
    frame = read_and_score(folder)[["key", "aesthetic_score"]]
    frame.compute(scheduler="threads", num_workers=cores)


def _job(folder: Path, cores: int | None, client: Client | None = None) -> None:
    out = data.FOLDER / "out" / "cores"
    shutil.rmtree(out, ignore_errors=True)
    score_dataset(folder, out, threads=cores, client=client)
