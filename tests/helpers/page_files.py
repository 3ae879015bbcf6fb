"""Parquet files of lists as many writers would write them, and how pyarrow's way scores them."""

from __future__ import annotations

import io
from functools import partial
from tempfile import TemporaryFile
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import torch

from dask_aesthetic.io.pages import Pages
from dask_aesthetic.kernels import Heads, RowScorer, scores_and_norms

COLUMN = "image_embedding"
CODECS = ("none", "snappy", "zstd", "lz4", "gzip", "brotli")
TYPES = {2: pa.float16(), 4: pa.float32(), 8: pa.float64()}
Found = tuple[bytes, bytes] | None  # Scores and norms of a row group.


def heads(width: int, count: int = 1, dtype: type = np.float32) -> Heads:
    random = np.random.default_rng(width)
    return Heads.of(random.standard_normal((count, width)), random.standard_normal(count), dtype)


def random_rows(random: np.random.Generator, count: int, width: int, size: int = 4, distinct: int = 0) -> np.ndarray:
    """Rows of floats of a size in bytes; of a few distinct values, if a number is given."""
    rows = random.standard_normal((count, width))
    if distinct:
        rows = random.choice(random.standard_normal(distinct), (count, width))
    return rows.astype(f"f{size}")


def table(rows: np.ndarray | list, kind: str = "list", nullable: bool = True, size: int = 4) -> pa.Table:
    """Keys and a column of lists: of an array (n, width), or of rows that may be None and hold None."""
    leaf = pa.field("element", TYPES[size if isinstance(rows, list) else rows.itemsize], nullable=nullable)
    width = 0 if isinstance(rows, list) else rows.shape[1]
    dtype = {"list": pa.list_(leaf), "large_list": pa.large_list(leaf), "fixed_size_list": pa.list_(leaf, width)}[kind]
    lists = pa.array(rows if isinstance(rows, list) else list(rows), dtype)
    return pa.table({"key": [f"k{at}" for at in range(len(rows))], COLUMN: lists})


def packed_table(rows: np.ndarray | list, nullable: bool = True, size: int = 4, width: int = 0) -> pa.Table:
    """Keys and a column of fixed-size binary: of an array (n, width), or of rows that may be None."""
    if not isinstance(rows, list):
        size, width = rows.itemsize, rows.shape[1]
    data = [None if row is None else np.asarray(row, f"f{size}").tobytes() for row in rows]
    schema = pa.schema([pa.field("key", pa.string()), pa.field(COLUMN, pa.binary(width * size), nullable)])
    return pa.table([[f"k{at}" for at in range(len(rows))], pa.array(data, schema.field(1).type)], schema=schema)


def written(content: pa.Table, **options: Any) -> bytes:
    sink = io.BytesIO()
    pq.write_table(content, sink, **options)
    return sink.getvalue()


def random_options(random: np.random.Generator) -> dict[str, Any]:
    """Options of a writer, drawn."""

    def draw(*values: Any) -> Any:
        return values[random.integers(len(values))]

    options: dict[str, Any] = {
        "compression": draw(*CODECS),
        "data_page_version": draw("1.0", "2.0"),
        "use_dictionary": draw(True, False),
        "data_page_size": draw(1 << 10, 1 << 12, 1 << 20),
        "write_batch_size": draw(1, 7, 1024),
        "dictionary_pagesize_limit": draw(1 << 8, 1 << 12, 1 << 20),
        "row_group_size": draw(11, 64, 1000),
        "write_statistics": draw(True, False),
        "write_page_index": draw(True, False),
        "write_page_checksum": draw(True, False),
        "store_schema": draw(True, False),
    }
    if not options["use_dictionary"] and draw(True, False):
        options["column_encoding"] = {COLUMN: "BYTE_STREAM_SPLIT"}
    return options


def in_place(content: bytes, heads: Heads, column: str = COLUMN, embedding_dtype: str | None = None) -> list[Found]:
    """What the page reader finds in each row group of a file; with an `embedding_dtype`, of packed rows."""
    with TemporaryFile(buffering=0) as stream:
        stream.write(content)
        pages = Pages(stream, len(content), column, heads.width, embedding_dtype=embedding_dtype)
        found = [pages.map_rows(group, partial(RowScorer, heads=heads)) for group in range(len(pages.groups))]
    return [None if one is None else (one.scores.tobytes(), one.norms.tobytes()) for one in found]


def by_pyarrow(
    content: bytes, heads: Heads, group: int, column: str = COLUMN, embedding_dtype: str | None = None
) -> Found:
    """The same by pyarrow; None where a row of the row group has another width, or a null."""
    with pq.ParquetFile(pa.BufferReader(content)) as source:
        batches = list(source.iter_batches(1024, [group], [column], use_threads=False))
    lists = pa.concat_arrays([batch.column(0) for batch in batches])
    if embedding_dtype is not None:
        if lists.null_count or lists.type.byte_width != heads.width * np.dtype(embedding_dtype).itemsize:
            return None
        data = b"".join(lists.to_pylist())
        scores, norms = scores_and_norms(
            torch.from_numpy(np.frombuffer(data, embedding_dtype).reshape(-1, heads.width).copy()), heads
        )
        return scores.numpy().tobytes(), norms.numpy().tobytes()
    if lists.null_count or lists.flatten().null_count or (lists.value_lengths().to_numpy() != heads.width).any():
        return None
    rows = lists.flatten().to_numpy().reshape(-1, heads.width)
    scores, norms = scores_and_norms(torch.from_numpy(rows.copy()), heads)
    return scores.numpy().tobytes(), norms.numpy().tobytes()
