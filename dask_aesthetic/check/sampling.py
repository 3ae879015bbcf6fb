"""Which rows a check looks at: slices spread evenly over the data, the same every time."""

from __future__ import annotations

from typing import Any

from dask_aesthetic.validation import check_integer

SLICES = 32
SLICE_ROWS = 1000


def check_sample(sample: Any) -> int | None:
    """Refuse a sample that is no number of rows."""
    return None if sample is None else check_integer("sample", sample, minimum=1, unit="rows", default="None")


def chosen_parts(parts: int, sample: int | None) -> list[int]:
    """Numbers of the partitions to look into: all, or 32 or one per 1,000 rows asked for, evenly spread.

    Examples
    --------
    >>> chosen_parts(4, 100), chosen_parts(100, 10)[:4], len(chosen_parts(100, 50_000))
    ([0, 1, 2, 3], [0, 3, 6, 9], 50)
    """
    count = parts if sample is None else min(parts, max(SLICES, sample // SLICE_ROWS))
    return [at * parts // count for at in range(count)]


def rows_each(sample: int | None, parts: int) -> int | None:
    """Rows to look at in each of so many parts, from its beginning; None for all."""
    return None if sample is None else -(-sample // parts)


def pieces(column: Any, sample: int | None) -> list[Any]:
    """A column that is held whole as it is, or the beginnings of its equal parts."""
    rows = len(column)
    if sample is None or sample >= rows:
        return [column]
    starts = [part * rows // SLICES for part in chosen_parts(SLICES, sample)]
    ends = [*starts[1:], rows]
    each = rows_each(sample, SLICES) or 0
    return [column.iloc[start : min(start + each, end)] for start, end in zip(starts, ends, strict=True) if start < end]
