"""Dask frames whose partitions are shards, with one running index from 0."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import accumulate
from typing import Any

import dask
import dask.dataframe as dd
import pandas as pd
import pyarrow as pa

from dask_aesthetic.io.empty_table import empty_table
from dask_aesthetic.validation import check_integer


def check_rows_per_partition(rows: Any) -> None:
    """Raise ArgumentError unless rows_per_partition is a positive integer or None."""
    if rows is not None:
        check_integer("rows_per_partition", rows, minimum=1, unit="rows", default="None")


def with_rows(shards: Sequence[Any]) -> list[Any]:
    """Shards that have rows; at least one, which may be empty."""
    return [shard for shard in shards if shard.rows] or [shards[0]]


def from_shards(name: str, read: Callable[..., Any], shards: Sequence[Any], meta: Any, **kwargs: Any) -> dd.DataFrame:
    """Lazy Dask DataFrame with a partition per shard.

    Parameters
    ----------
    name : str
        Name of the tasks on Dask's dashboard.
    read : callable
        ``read(shard, first, columns, **kwargs)`` returns the partition with those columns alone, whose index labels
        begin with `first`. Dask projects only if the parameter has this name, and no default: with one, Dask omits it
        where no column is needed.
    shards : sequence of Shard
        Each has a number of rows.
    meta : DataFrame
        Empty frame with all columns.
    """
    *firsts, rows = accumulate((shard.rows for shard in shards), initial=0)
    divisions = (*firsts, max(firsts[-1], rows - 1))
    # from_map would convert Arrow strings to pandas' own.
    with dask.config.set({"dataframe.convert-string": False}):
        return dd.from_map(read, shards, firsts, meta=meta, divisions=divisions, label=name, **kwargs)


def empty_frame(schema: pa.Schema) -> pd.DataFrame:
    """Empty pandas frame of an Arrow schema, with the dtypes of `to_pandas`: the meta of a Dask frame."""
    return to_pandas(empty_table(schema), 0, 0)


def to_pandas(table: pa.Table, first: int, rows: int) -> pd.DataFrame:
    """Convert an Arrow table to a pandas frame of Arrow dtypes, without a copy, with index labels from `first` on."""
    index = pd.RangeIndex(first, first + rows)
    if not table.num_columns:
        return pd.DataFrame(index=index)
    frame: pd.DataFrame = table.to_pandas(types_mapper=pd.ArrowDtype, ignore_metadata=True)
    return frame.set_axis(index)
