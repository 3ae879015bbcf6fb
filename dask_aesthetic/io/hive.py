"""Hive partition columns in folder names: ``lang=en/part-0.parquet``."""

from __future__ import annotations

from collections.abc import Sequence
from urllib.parse import unquote

import numpy as np
import pyarrow as pa

from dask_aesthetic.io.storage import File

PARTITION_TYPE = pa.dictionary(pa.int32(), pa.string())
Partitions = tuple[tuple[str, str | None], ...]
_NULL = "__HIVE_DEFAULT_PARTITION__"


def parse_partitions(name: str) -> Partitions:
    """Hive partition columns and values in a file's path.

    Examples
    --------
    >>> parse_partitions("year=2022/lang=en/part-0")
    (('year', '2022'), ('lang', 'en'))
    """
    pairs = [folder.split("=", 1) for folder in name.split("/")[:-1] if "=" in folder]
    return tuple({unquote(key): None if value == _NULL else unquote(value) for key, value in pairs}.items())


def partitions_of_file(named_file: tuple[File, str], schema: pa.Schema) -> Partitions:
    """Hive partition columns of a file; a column of the file itself takes precedence over one of the same name."""
    _, name = named_file
    return tuple(pair for pair in parse_partitions(name) if pair[0] not in schema.names)


def add_partition_fields(schema: pa.Schema, partitions: Partitions, dtype: pa.DataType) -> pa.Schema:
    """Schema with the partition columns after the file's own."""
    for name, _ in partitions:
        schema = schema.append(pa.field(name, dtype))
    return schema


def constant(value: str | None, rows: int, dtype: pa.DataType) -> pa.Array:
    """Arrow array that repeats one value."""
    if value is None:
        return pa.nulls(rows, dtype)
    if dtype == PARTITION_TYPE:
        return pa.DictionaryArray.from_arrays(pa.array(np.zeros(rows, np.int32)), pa.array([value]))
    return pa.repeat(pa.scalar(value, dtype), rows)


def select(batch: pa.RecordBatch, columns: Sequence[str], partitions: Partitions) -> pa.RecordBatch:
    """Select columns of a batch and of its hive partitions, in this order; the row count stays without columns."""
    values = dict(partitions)
    for name in columns:
        if name in values:
            batch = batch.append_column(name, constant(values[name], len(batch), PARTITION_TYPE))
    return batch.select(columns)
