"""Splitting of large files into shards, and the names of the shards."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterable
from itertools import accumulate, pairwise
from typing import Any

from dask_aesthetic.errors import InputError
from dask_aesthetic.inputs.partitions import Ranges
from dask_aesthetic.validation import check_integer


def check_rows(rows_per_shard: Any) -> None:
    """Raise ArgumentError unless rows_per_shard is a positive integer."""
    check_integer("rows_per_shard", rows_per_shard, minimum=1, unit="rows")


def check_names(names: Iterable[str]) -> None:
    """Raise InputError if two shards have the same name, since their outputs would have the same path."""
    seen: set[str] = set()
    for name in names:
        if name in seen:
            raise InputError(f"expected inputs of different names, got two shards {name!r}: rename a file")
        seen.add(name)


def name_parts(name: str, ranges: Ranges) -> list[tuple[str, int, int]]:
    """Names and row ranges of a file's parts; at least one, which may be empty."""
    if len(ranges) < 2:
        return [(name, *(ranges[0] if ranges else (0, 0)))]
    return [(f"{name}.{at:05d}-of-{len(ranges):05d}", start, stop) for at, (start, stop) in enumerate(ranges)]


def split_row_groups(groups: list[int], max_rows: int) -> Ranges:
    """Split a Parquet file at the row group boundaries nearest to equal parts of at most `max_rows` rows."""
    edges = list(accumulate(groups, initial=0))
    rows = edges[-1]
    count = -(-rows // max_rows)
    targets = [(bisect_left(edges, rows * at / count), rows * at / count) for at in range(1, count)]
    nearest = {min(edges[at - 1], edges[at], key=lambda edge: abs(edge - target)) for at, target in targets}
    return list(pairwise(sorted({0, rows} | nearest)))
