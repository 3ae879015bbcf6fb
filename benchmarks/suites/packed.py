"""Packed embeddings beside lists: rows per second of the same float32 rows in Parquet files and in memory."""

from __future__ import annotations

import logging
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path

import data
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from harness import Case, Way

from dask_aesthetic import read_and_score, score_dataset
from dask_aesthetic.io import pages

FILES = 4
ROWS = FILES * data.ROWS
KINDS = {
    "lists": None,
    "binary": pa.binary(),
    "binary(3072)": pa.binary(data.WIDTH * 4),
}


def cases() -> Iterator[Case]:
    """A case per way to score."""
    yield Case("in memory, one thread", _in_memory)
    yield Case("Parquet, read_and_score, one thread", partial(_files, _read))
    yield Case("Parquet, score_dataset, a thread per core", partial(_files, _job))


def packed(matrix: np.ndarray, kind: pa.DataType) -> pa.Array:
    """Arrow array of the bytes of a matrix's rows, without a copy."""
    if kind == pa.binary():
        ends = pa.py_buffer(np.arange(len(matrix) + 1, dtype=np.int32) * (data.WIDTH * 4))
        return pa.Array.from_buffers(kind, len(matrix), [None, ends, pa.py_buffer(matrix)])
    return pa.Array.from_buffers(kind, len(matrix), [None, pa.py_buffer(matrix)])


def _dtype(kind: pa.DataType | None) -> str | None:
    return None if kind is None else "float32"


@contextmanager
def _in_memory() -> Iterator[list[Way]]:
    matrix = data.vectors(data.ROWS)
    ways = []
    for name, kind in KINDS.items():
        column = data.lists(matrix, pa.list_(pa.float32())) if kind is None else packed(matrix, kind)
        frame = data.frame(column)
        ways.append(Way(name, partial(frame.aesthetic.score, embedding_dtype=_dtype(kind)), data.ROWS))
    yield ways


@contextmanager
def _files(score) -> Iterator[list[Way]]:
    pages.COLD_ROWS = 0  # The first row is worth compiling the reader of pages.
    with tempfile.TemporaryDirectory() as folder:
        ways = []
        for at, (name, kind) in enumerate(KINDS.items()):
            source = data.embeddings(FILES) if kind is None else _written(Path(folder) / str(at), kind)
            ways.append(Way(name, partial(score, source, _dtype(kind)), ROWS))
        yield ways


def _written(folder: Path, kind: pa.DataType) -> Path:
    folder.mkdir()
    for number in range(FILES):
        keys = pa.array([f"{number:04d}{row:06d}" for row in range(data.ROWS)])
        table = pa.table({"key": keys, "image_embedding": packed(data.vectors(data.ROWS, number), kind)})
        pq.write_table(table, folder / f"{number:04d}.parquet", use_dictionary=False, compression="NONE")
    return folder


def _read(folder: Path, dtype: str | None) -> None:
    read_and_score(folder, embedding_dtype=dtype)[["aesthetic_score"]].compute(scheduler="synchronous")


def _job(folder: Path, dtype: str | None) -> None:
    logging.getLogger("dask_aesthetic").setLevel(logging.ERROR)  # Random vectors look like no encoder's.
    with tempfile.TemporaryDirectory() as output:
        score_dataset(folder, output, embedding_dtype=dtype)
