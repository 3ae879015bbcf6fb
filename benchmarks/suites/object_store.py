"""Parquet files of stores that take 50 ms to answer, versus pyarrow, which reads them through fsspec.

The server is a process of its own on the same machine, so it takes part of its processors. It answers s3fs, too. moto
would measure itself: it copies the whole object for each range of it, 80 ms for 77 MB.
"""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import data
import fsspec
import pyarrow.parquet as pq
from harness import Case, Way

from dask_aesthetic import read_and_score
from dask_aesthetic.io.listing import find_files
from dask_aesthetic.io.storage import File, RemoteStream
from dask_aesthetic.score_spec import ScoreSpec
from dask_aesthetic.scoring import score_array

SECONDS = "0.05"
FILES, ROWS = 8, data.ROWS
TESTS = Path(__file__).parents[2] / "tests"


def cases() -> Iterator[Case]:
    """Two threads each."""
    yield Case("HTTP, 50 ms a request, two threads", _http, memory=True)
    yield Case("HTTP, 50 ms a request, row groups of 2,500 rows, two threads", partial(_http, 2_500), rounds=3)
    yield Case("S3, 50 ms a request, two threads", _s3, rounds=3)


@contextmanager
def _http(group: int = ROWS) -> Iterator[list[Way]]:
    folder = _files(group)
    with _server(folder) as url:
        yield _ways(url, folder, {})


@contextmanager
def _s3() -> Iterator[list[Way]]:
    folder = _files(ROWS)
    with _server(folder.parent) as url:  # The folder is a bucket.
        options = {"key": "nobody", "secret": "nothing", "endpoint_url": url}
        yield _ways(f"s3://{folder.name}", folder, options | {"config_kwargs": {"s3": {"addressing_style": "path"}}})


@contextmanager
def _server(folder: Path) -> Iterator[str]:
    command = [sys.executable, "-m", "helpers.range_server", str(folder), SECONDS]
    with subprocess.Popen(command, cwd=TESTS, stdout=subprocess.PIPE, text=True) as process:  # noqa: S603
        try:
            yield f"http://127.0.0.1:{int(process.stdout.readline())}"
        finally:
            process.terminate()


def _ways(url: str, folder: Path, options: dict[str, Any]) -> list[Way]:
    source, rows = [f"{url}/{file.name}" for file in sorted(folder.glob("*.parquet"))], FILES * ROWS
    files = [file for file, _ in find_files(source, ".parquet", options)]
    return [
        Way("pyarrow, a request per row group", partial(_by_pyarrow, files, _stream), rows),
        Way("pyarrow, fsspec's own read-ahead", partial(_by_pyarrow, files, _fsspec_file), rows),
        Way("read_and_score", partial(_scores, source, options), rows),
    ]


def _scores(source: list[str], options: dict[str, Any]) -> None:
    frame = read_and_score(source, ["key"], storage_options=options)
    done = frame[["aesthetic_score"]].compute(scheduler="threads", num_workers=2)
    assert len(done) == FILES * ROWS


def _by_pyarrow(files: list[File], open_file: Callable[[File], Any]) -> None:
    """Score the lists that pyarrow reads, a row group at a time."""
    spec = ScoreSpec.of("image_embedding", "laion-v2", "standard", "raw", "aesthetic_score", "keep", "null", None)

    def score(file: File) -> None:
        with open_file(file) as stream, pq.ParquetFile(stream, pre_buffer=True) as source:
            for group in range(source.num_row_groups):
                for batch in source.iter_batches(1024, [group], ["image_embedding"], use_threads=False):
                    score_array(batch.column(0), spec, "image_embedding", file.name, 0)

    with ThreadPoolExecutor(2) as threads:
        list(threads.map(score, files))


def _stream(file: File) -> RemoteStream:
    return RemoteStream(file)


def _fsspec_file(file: File) -> Any:
    system, path = fsspec.core.url_to_fs(file.path, **file.options)
    return system.open(path, "rb")


def _files(group: int) -> Path:
    made = data.embeddings(FILES)
    if group >= ROWS:
        return made
    folder = made.with_name(f"{made.name}-groups-{group}")
    folder.mkdir(exist_ok=True)
    for file in made.glob("*.parquet"):
        if not (folder / file.name).exists():
            pq.write_table(
                pq.read_table(file), folder / file.name, row_group_size=group, use_dictionary=False, compression="NONE"
            )
    return folder
