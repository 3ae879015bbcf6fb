"""Ranges of rows of files as the partitions of a Dask frame, numbered through from 0."""

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
    """Consecutive rows of a file, which make one partition.

    Attributes
    ----------
    start, stop : int
        Positions in the file.
    first : int
        Index label of the first one.
    """

    start: int
    stop: int
    first: int

    def __len__(self) -> int:
        return self.stop - self.start


def cut(sources: Sequence[Source], ranges: Iterable[Ranges]) -> tuple[list[Source], list[Span]]:
    """Sources and spans of the partitions, from each source's ranges of rows; at least one, which may be empty."""
    of, spans, first = [], [], 0
    for source, its in zip(sources, ranges, strict=True):
        for start, stop in its:
            of.append(source)
            spans.append(Span(start, stop, first))
            first += stop - start
    return (of, spans) if spans else ([sources[0]], [Span(0, 0, 0)])


def even(rows: int, most: int | None) -> Ranges:
    """Cut rows into ranges of nearly the same length, at most `most`; none where there are no rows."""
    count = -(-rows // most) if most else min(rows, 1)
    return [(rows * at // count, rows * (at + 1) // count) for at in range(count)]


def from_spans(
    read: Callable[..., Any], sources: Sequence[Any], spans: Sequence[Span], meta: Any, **kwargs: Any
) -> dd.DataFrame:
    """A lazy frame, a partition per span.

    Parameters
    ----------
    read : callable
        ``read(source, span, columns, **kwargs)`` gives the partition with those columns alone. The parameter must
        have that name for Dask to project, and no default: with one, Dask leaves it out where no column is needed.
    sources, spans : sequences of the same length
    meta : DataFrame
        All columns, without rows.
    """
    last = spans[-1]
    divisions = (*(span.first for span in spans), max(last.first, last.first + len(last) - 1))
    # Else from_map makes pandas' own strings of Arrow's.
    with dask.config.set({"dataframe.convert-string": False}):
        return dd.from_map(read, sources, spans, meta=meta, divisions=divisions, **kwargs)


def meta_of(schema: pa.Schema) -> pd.DataFrame:
    """Columns without rows, as `to_pandas` makes them."""
    return to_pandas(schema.empty_table(), Span(0, 0, 0))


def to_pandas(table: pa.Table | None, span: Span) -> pd.DataFrame:
    """An Arrow table as Arrow columns of pandas, without a copy, labelled with the span's row numbers."""
    index = pd.RangeIndex(span.first, span.first + len(span))
    if table is None or not table.num_columns:
        return pd.DataFrame(index=index)
    frame: pd.DataFrame = table.to_pandas(types_mapper=pd.ArrowDtype, ignore_metadata=True)
    return frame.set_axis(index)


def check_rows(rows: Any) -> None:
    """Refuse a number of rows per partition that is none."""
    if rows is not None:
        check_integer("rows_per_partition", rows, minimum=1, unit="rows", default="None")
