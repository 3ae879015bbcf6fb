"""Parquet files to scores from the disk, versus reading the same files in large blocks; not from the page cache.

Before each run the files are dropped from the page cache, which is checked. The disk of a virtual machine may have a
cache of its host's, which nobody can drop from within; then the first way shows its speed.
"""

from __future__ import annotations

import ctypes
import mmap
import os
import shutil
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from functools import partial
from pathlib import Path

import data
import numpy as np
import pandas as pd
from harness import Case, Way

from dask_aesthetic import read_and_score, score_dataset
from dask_aesthetic.io import pages

ROWS = data.FILES * data.ROWS
BLOCK = 16 << 20
OUT = data.FOLDER / "out" / "cold"
PREFIX = "from the disk, two threads, "


def cases() -> Iterator[Case]:
    """A case per kind of file."""
    for name in data.SETTINGS:
        yield Case(f"{PREFIX}{name}", partial(_ways, name), rounds=5)


@contextmanager
def _ways(name: str) -> Iterator[list[Way]]:
    folder = data.SETTINGS[name]()
    files = sorted(folder.glob("*.parquet"))
    pages.COLD_ROWS = 0  # The first row is worth compiling the reader of pages.
    ways = {
        "read in blocks of 16 MB, one thread": lambda: _read(files, 1),
        "read in blocks of 16 MB, two threads": lambda: _read(files, 2),
        "read_and_score": lambda: _scored(folder),
        "job": lambda: score_dataset(folder, _emptied(OUT), threads=2),
    }
    yield [Way(way, partial(_cold, files, run), ROWS) for way, run in ways.items()]


def _cold(files: list[Path], run: Callable[[], object]) -> float:
    """Seconds of a run for which no file is in the page cache."""
    os.sync()  # What the last run wrote, so that the disk is idle.
    for file in files:
        with file.open("rb") as raw:
            os.posix_fadvise(raw.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
    cached = sum(map(_cached, files)) / sum(file.stat().st_size for file in files)
    if cached > 0.01:
        raise RuntimeError(f"expected files that can be dropped from the page cache, got {cached:.0%} still there")
    start = time.perf_counter()
    run()
    return time.perf_counter() - start


def _cached(file: Path) -> int:
    """Bytes of a file in the page cache."""
    with file.open("rb") as raw, mmap.mmap(raw.fileno(), 0, access=mmap.ACCESS_COPY) as memory:
        found = np.zeros(-(-len(memory) // mmap.PAGESIZE), np.uint8)
        first = ctypes.c_char.from_buffer(memory)
        address, size = ctypes.c_void_p(ctypes.addressof(first)), ctypes.c_size_t(len(memory))
        status = ctypes.CDLL(None, use_errno=True).mincore(address, size, ctypes.c_void_p(found.ctypes.data))
        del first  # It keeps the map open.
        if status:
            raise OSError(ctypes.get_errno(), "mincore")
        return int((found & 1).sum()) * mmap.PAGESIZE


def _read(files: list[Path], threads: int) -> None:
    def read(file: Path) -> None:
        block = memoryview(bytearray(BLOCK))
        with file.open("rb", buffering=0) as raw:
            while raw.readinto(block):
                pass

    with ThreadPoolExecutor(threads) as pool:
        list(pool.map(read, files))


def _scored(folder: Path) -> None:
    found = read_and_score(folder)[["key", "aesthetic_score"]].compute(scheduler="threads", num_workers=2)
    assert len(found) == ROWS


def _emptied(folder: Path) -> Path:
    shutil.rmtree(folder, ignore_errors=True)
    return folder


def more(summary: pd.DataFrame) -> dict[str, object]:
    """Bytes of the files per second of each way."""
    rows = []
    for one in summary.itertuples():
        size = sum(file.stat().st_size for file in data.SETTINGS[one.case.removeprefix(PREFIX)]().glob("*.parquet"))
        rows.append({"case": one.case, "way": one.way, "bytes_per_second": round(size / one.seconds)})
        print(f"{one.case}, {one.way}: {size / one.seconds / 1e6:,.0f} MB/s", flush=True)
    return {"bytes": rows}
