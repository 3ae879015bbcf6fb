"""Dask frames whose partitions are row ranges of files, with one running index from 0."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

import dask
import dask.dataframe as dd
import pandas as pd
import pyarrow as pa

from dask_aesthetic.validation import check_integer

Source = TypeVar("Source")
Ranges = list[tuple[int, int]]


@dataclass(frozen=True)
class Span:
    """Contiguous rows of a file that make one partition.

    Attributes
    ----------
    start, stop : int
        Row positions in the file.
    first : int
        Index label of the first row.
    """

    start: int
    stop: int
    first: int

    def __len__(self) -> int:
        return self.stop - self.start


def partition_spans(sources: Sequence[Source], ranges: Iterable[Ranges]) -> tuple[list[Source], list[Span]]:
    """Source and span of each partition, from each source's row ranges; at least one, which may be empty."""
    of_spans, spans, first = [], [], 0
    for source, ranges_of_source in zip(sources, ranges, strict=True):
        for start, stop in ranges_of_source:
            of_spans.append(source)
            spans.append(Span(start, stop, first))
            first += stop - start
    return (of_spans, spans) if spans else ([sources[0]], [Span(0, 0, 0)])


def split_evenly(rows: int, max_rows: int | None) -> Ranges:
    """Split rows into ranges of nearly equal length, at most `max_rows` each; an empty list for no rows."""
    count = -(-rows // max_rows) if max_rows else min(rows, 1)
    return [(rows * at // count, rows * (at + 1) // count) for at in range(count)]


def from_spans(
    read: Callable[..., Any], sources: Sequence[Any], spans: Sequence[Span], meta: Any, **kwargs: Any
) -> dd.DataFrame:
    """Lazy Dask DataFrame with a partition per span.

    Parameters
    ----------
    read : callable
        ``read(source, span, columns, **kwargs)`` returns the partition with those columns alone. Dask projects only if
        the parameter has this name, and no default: with one, Dask omits it where no column is needed.
    sources, spans : sequences of the same length
    meta : DataFrame
        Empty frame with all columns.
    """
    last = spans[-1]
    divisions = (*(span.first for span in spans), max(last.first, last.first + len(last) - 1))
    # from_map would convert Arrow strings to pandas' own.
    with dask.config.set({"dataframe.convert-string": False}):
        return dd.from_map(read, sources, spans, meta=meta, divisions=divisions, **kwargs)


def empty_frame(schema: pa.Schema) -> pd.DataFrame:
    """Empty pandas frame of an Arrow schema, with the dtypes of `to_pandas`: the meta of a Dask frame."""
    return to_pandas(schema.empty_table(), Span(0, 0, 0))


def to_pandas(table: pa.Table | None, span: Span) -> pd.DataFrame:
    """Convert an Arrow table to a pandas frame of Arrow dtypes, without a copy, with the span's index labels."""
    index = pd.RangeIndex(span.first, span.first + len(span))
    if table is None or not table.num_columns:
        return pd.DataFrame(index=index)
    frame: pd.DataFrame = table.to_pandas(types_mapper=pd.ArrowDtype, ignore_metadata=True)
    return frame.set_axis(index)


def check_rows(rows: Any) -> None:
    """Raise ArgumentError unless rows_per_partition is a positive integer or None."""
    if rows is not None:
        check_integer("rows_per_partition", rows, minimum=1, unit="rows", default="None")
