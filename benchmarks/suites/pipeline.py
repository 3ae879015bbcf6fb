"""From Parquet files to scores, versus two threads that only read the embedding column."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from functools import partial
from pathlib import Path

import dask
import dask.dataframe as dd
import data
import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
from distributed import Client
from harness import Case, Way

from dask_aesthetic import load_predictor, read_and_score, score_dataset
from dask_aesthetic.cluster import local_cluster
from dask_aesthetic.io import parquet
from dask_aesthetic.io.storage import local_file
from dask_aesthetic.score_spec import ScoreSpec
from dask_aesthetic.scoring import score_array

ROWS = data.FILES * data.ROWS


def cases() -> Iterator[Case]:
    """Threads, a cluster, partition sizes, and the share of scoring."""
    yield Case("two threads", _threads, rounds=5, memory=True)
    yield Case("local cluster, two workers of one thread", _cluster, rounds=5)
    yield Case("read_and_score by rows per partition, two threads", _partitions, rounds=3)
    yield Case("read_parquet and the accessor by rows per file, two threads", _files, rounds=3, memory=True)
    for settings, files in data.SETTINGS.items():
        yield Case(f"the README's first lines, {settings}", partial(_first_lines, files), rounds=5)


@contextmanager
def _threads() -> Iterator[list[Way]]:
    files = data.embeddings()
    out = data.FOLDER / "out"
    ways = [
        Way("read the column", partial(_read, files), ROWS),
        Way("read and score, no graph", partial(_bare, files), ROWS),
        Way("read_and_score", partial(_scores, partial(read_and_score, files)), ROWS),
        Way("job", lambda: score_dataset(files, _emptied(out / "threads"), threads=2), ROWS),
        Way("read_parquet, no scoring", partial(_scores, partial(_unscored, files)), ROWS),
        Way("read_parquet and the accessor", partial(_scores, partial(_accessor, files)), ROWS),
    ]
    duckdb = _duckdb(files, out / "duckdb.parquet")
    if duckdb:
        ways.append(Way("DuckDB SQL, into a file as the job", duckdb, ROWS))
    yield ways
    _compare(out)


@contextmanager
def _cluster() -> Iterator[list[Way]]:
    files, out = data.embeddings(), data.FOLDER / "out" / "cluster"
    with (
        local_cluster("cpu", n_workers=2, dashboard_address=":0") as cluster,
        Client(cluster, set_as_default=False) as client,
    ):
        yield [
            Way("read the column, two threads", partial(_read, files), ROWS),
            Way("read_and_score", partial(_scores, partial(read_and_score, files), client), ROWS),
            Way("job", lambda: score_dataset(files, _emptied(out), client=client), ROWS),
            Way("read_parquet, no scoring", partial(_scores, partial(_unscored, files), client), ROWS),
            Way("read_parquet and the accessor", partial(_scores, partial(_accessor, files), client), ROWS),
        ]


@contextmanager
def _partitions() -> Iterator[list[Way]]:
    """A file of many row groups, as more or fewer partitions."""
    file = _grouped()
    ways = [Way("read the column, two threads", partial(_read_groups, file), ROWS)]
    for rows in (5_000, 25_000, 100_000, 250_000):
        frame = partial(read_and_score, file, rows_per_partition=rows)
        ways.append(Way(f"{rows:,} rows", partial(_scores, frame), ROWS))
    yield ways


@contextmanager
def _files() -> Iterator[list[Way]]:
    ways = [Way("read the column, files of 25,000 rows", partial(_read, data.embeddings()), ROWS)]
    for rows in (5_000, 25_000, 100_000):
        files = data.embeddings(ROWS // rows, rows)
        ways.append(Way(f"{rows:,} rows", partial(_scores, partial(_accessor, files)), ROWS))
    yield ways


@contextmanager
def _first_lines(embeddings: Callable[[], Path]) -> Iterator[list[Way]]:
    """From files to files, as the README begins, and the same where embeddings become a column."""
    files, out = embeddings(), data.FOLDER / "out"

    def write(is_fused: bool, folder: Path) -> None:
        with dask.config.set({"aesthetic.fuse-read": is_fused, "scheduler": "threads", "num_workers": 2}):
            ddf = dd.read_parquet(files)
            ddf.aesthetic.score()[["key", "aesthetic_score", "keep"]].to_parquet(_emptied(folder))

    yield [
        Way("read the column", partial(_read, files), ROWS),
        Way("read_parquet, score, to_parquet", partial(write, True, out / "fused"), ROWS),
        Way("the same without aesthetic.fuse-read", partial(write, False, out / "not-fused"), ROWS),
        Way("read_and_score", partial(_scores, partial(read_and_score, files)), ROWS),
        Way("job", lambda: score_dataset(files, _emptied(out / "job"), threads=2), ROWS),
    ]


def _read(files: Path) -> None:
    with ThreadPoolExecutor(2) as threads:
        list(threads.map(data.read, sorted(files.glob("*.parquet"))))


def _bare(files: Path) -> None:
    """The work of the tasks of `read_and_score`, without Dask."""
    spec = ScoreSpec.of("image_embedding", "laion-v2", "standard", "raw", "aesthetic_score", "keep", "null", None)

    def score(path: Path) -> None:
        for batch in parquet.batches(local_file(str(path)), ["image_embedding"]):
            score_array(batch.column(0), spec, "image_embedding", path.name, 0)

    with ThreadPoolExecutor(2) as threads:
        list(threads.map(score, sorted(files.glob("*.parquet"))))


def _grouped() -> Path:
    file = data.FOLDER / f"grouped-{ROWS}.parquet"
    if not file.exists():
        paths = sorted(data.embeddings().glob("*.parquet"))
        with pq.ParquetWriter(file, pq.read_schema(paths[0]), use_dictionary=False, compression="NONE") as writer:
            for path in paths:
                writer.write_table(pq.read_table(path), row_group_size=5_000)
    return file


def _read_groups(file: Path) -> None:
    def some(part: np.ndarray) -> None:
        with pq.ParquetFile(file, pre_buffer=False) as parquet:
            batches = parquet.iter_batches(
                1024, row_groups=part.tolist(), columns=["image_embedding"], use_threads=False
            )
            for _ in batches:
                pass

    with ThreadPoolExecutor(2) as threads:
        list(threads.map(some, np.array_split(np.arange(ROWS // 5_000), 2)))


def _accessor(files: Path) -> dd.DataFrame:
    return dd.read_parquet(files, dtype_backend="pyarrow").aesthetic.score()


def _unscored(files: Path) -> dd.DataFrame:
    """The accessor's graph with a column of zeros in place of scores."""
    frame = dd.read_parquet(files, dtype_backend="pyarrow")
    meta = pd.Series([], dtype="float32", name="aesthetic_score")
    scores = frame["image_embedding"].map_partitions(_zeros, meta=meta)
    return frame.assign(aesthetic_score=scores, keep=scores >= 5)


def _zeros(column: pd.Series) -> pd.Series:
    return pd.Series(np.zeros(len(column), np.float32), index=column.index, name="aesthetic_score")


def _scores(frame, client: Client | None = None) -> None:
    """Compute keys and scores of all rows in this process."""
    found = frame()[["key", "aesthetic_score", "keep"]]
    done = client.compute(found).result() if client else found.compute(scheduler="threads", num_workers=2)
    assert len(done) == ROWS


def _emptied(folder: Path) -> Path:
    shutil.rmtree(folder, ignore_errors=True)
    return folder


def _duckdb(files: Path, out: Path):
    """Run that computes the same scores in DuckDB SQL; None if DuckDB is not installed."""
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
        out.parent.mkdir(parents=True, exist_ok=True)
        with duckdb.connect(config={"threads": 2}) as connection:
            scored = connection.read_parquet(f"{files}/*.parquet").project(f"key, ({score})::FLOAT AS aesthetic_score")
            scored.write_parquet(str(out))

    return run


def _compare(out: Path) -> None:
    """Check that all ways computed the same scores."""
    if not ((out / "threads").exists() and (out / "duckdb.parquet").exists()):
        return  # A process that measured the memory of one way.
    ours, theirs = (pq.read_table(out / name).sort_by("key") for name in ("threads", "duckdb.parquet"))
    assert ours["key"].equals(theirs["key"].cast(pa.string()))
    difference = np.abs(ours["aesthetic_score"].to_numpy() - theirs["aesthetic_score"].to_numpy()).max()
    assert difference < 1e-4, difference
