"""Parquet writer options and readers for a column of embeddings, with the same vectors in each file."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path

import dask.dataframe as dd
import data
import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
from harness import Case, Way

from dask_aesthetic import read_and_score

ROWS = 50_000
HALF = pa.field("element", pa.float16(), nullable=False)
PLAIN = {"use_dictionary": False, "compression": "NONE"}
# pyarrow's defaults are snappy, dictionaries and nullable elements.
KINDS = {
    "list, not null elements, plain": (pa.list_(data.ELEMENT), PLAIN),
    "list, plain": (pa.list_(pa.float32()), PLAIN),
    "list, pyarrow's defaults": (pa.list_(pa.float32()), {}),
    "fixed-size list, plain": (pa.list_(pa.float32(), data.WIDTH), PLAIN),
    "fixed-size list, pyarrow's defaults": (pa.list_(pa.float32(), data.WIDTH), {}),
    "list, not null elements, snappy": (pa.list_(data.ELEMENT), {"use_dictionary": False, "compression": "snappy"}),
    "list, not null elements, zstd": (pa.list_(data.ELEMENT), {"use_dictionary": False, "compression": "zstd"}),
    "list of float16, not null elements, plain": (pa.list_(HALF), PLAIN),
    "list of float16, pyarrow's defaults": (pa.list_(pa.float16()), {}),
}


def cases() -> Iterator[Case]:
    """A case of all kinds of file with one reader, and a case of all readers per kind of file."""
    yield Case("read_and_score, by kind of file", _kinds, rounds=5)
    for kind in ("list, not null elements, plain", "list, pyarrow's defaults", "fixed-size list, plain"):
        yield Case(f"{kind}, by reader", partial(_readers, kind), rounds=5)


@contextmanager
def _kinds() -> Iterator[list[Way]]:
    yield [Way(kind, partial(_scored, written(kind)), ROWS) for kind in KINDS]


@contextmanager
def _readers(kind: str) -> Iterator[list[Way]]:
    file = written(kind)
    yield [
        Way("pyarrow, batches of 1024, dropped", partial(data.read, file), ROWS),
        Way("pyarrow, batches of 65,536, dropped", partial(_batches, file, 1 << 16), ROWS),
        Way("pyarrow, whole table, one thread", lambda: pq.read_table(file, use_threads=False), ROWS),
        Way("pandas, Arrow columns", lambda: pd.read_parquet(file, dtype_backend="pyarrow"), ROWS),
        Way("pandas, objects", lambda: pd.read_parquet(file), ROWS),
        Way("read_and_score", partial(_scored, file), ROWS),
        Way("dask.dataframe, Arrow columns, and score", partial(_accessor, file), ROWS),
    ]


def written(kind: str) -> Path:
    """File of a kind with one row group; made once."""
    arrow, options = KINDS[kind]
    file = data.FOLDER / "columns" / f"{list(KINDS).index(kind)}-{ROWS}.parquet"
    if not file.exists():
        file.parent.mkdir(parents=True, exist_ok=True)
        matrix = data.vectors(ROWS)
        if arrow.value_type == pa.float16():
            matrix = matrix.astype(np.float16)
        table = pa.table({"key": pa.array(range(ROWS)), "image_embedding": data.lists(matrix, arrow)})
        pq.write_table(table, file, **options)
    return file


def _batches(file: Path, rows: int) -> None:
    with pq.ParquetFile(file, pre_buffer=False) as parquet:
        for _ in parquet.iter_batches(rows, columns=["image_embedding"], use_threads=False):
            pass


def _scored(file: Path) -> None:
    read_and_score(file)["aesthetic_score"].compute(scheduler="synchronous")


def _accessor(file: Path) -> None:
    dd.read_parquet(file, dtype_backend="pyarrow").aesthetic.score()["aesthetic_score"].compute(scheduler="synchronous")
