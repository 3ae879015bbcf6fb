"""Columns that stand in the names of folders: ``lang=en/part-0.parquet``."""

from __future__ import annotations

from collections.abc import Sequence
from urllib.parse import unquote

import numpy as np
import pyarrow as pa

from dask_aesthetic.inputs.file import File

COMPACT = pa.dictionary(pa.int32(), pa.string())
Partitions = tuple[tuple[str, str | None], ...]
_NULL = "__HIVE_DEFAULT_PARTITION__"


def partitions(name: str) -> Partitions:
    """Columns and values in the folders of a file's name.

    Examples
    --------
    >>> partitions("year=2022/lang=en/part-0")
    (('year', '2022'), ('lang', 'en'))
    """
    pairs = [folder.split("=", 1) for folder in name.split("/")[:-1] if "=" in folder]
    return tuple({unquote(key): None if value == _NULL else unquote(value) for key, value in pairs}.items())


def of_file(found: tuple[File, str], schema: pa.Schema) -> Partitions:
    """Those that the file does not have as columns of its own, which count more."""
    return tuple(pair for pair in partitions(found[1]) if pair[0] not in schema.names)


def extended(schema: pa.Schema, its: Partitions, dtype: pa.DataType) -> pa.Schema:
    """A schema with the partition columns after the file's own."""
    for name, _ in its:
        schema = schema.append(pa.field(name, dtype))
    return schema


def constant(value: str | None, rows: int, dtype: pa.DataType) -> pa.Array:
    """A column that holds one value."""
    if value is None:
        return pa.nulls(rows, dtype)
    if dtype == COMPACT:
        return pa.DictionaryArray.from_arrays(pa.array(np.zeros(rows, np.int32)), pa.array([value]))
    return pa.repeat(pa.scalar(value, dtype), rows)


def select(batch: pa.RecordBatch, columns: Sequence[str], its: Partitions) -> pa.RecordBatch:
    """Columns of a batch and of its file's folders, in this order; possibly none, and still so many rows."""
    values = dict(its)
    for name in columns:
        if name in values:
            batch = batch.append_column(name, constant(values[name], len(batch), COMPACT))
    return batch.select(columns)
