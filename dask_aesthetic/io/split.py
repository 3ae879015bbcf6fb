"""Splitting of files into row ranges, and the names of the shards that they make."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterable
from itertools import accumulate, pairwise

from dask_aesthetic.errors import InputError

Ranges = list[tuple[int, int]]


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


def split_evenly(rows: int, max_rows: int | None) -> Ranges:
    """Split rows into ranges of nearly equal length, at most `max_rows` each; an empty list for no rows."""
    count = -(-rows // max_rows) if max_rows else min(rows, 1)
    return [(rows * at // count, rows * (at + 1) // count) for at in range(count)]


def split_row_groups(groups: list[int], max_rows: int) -> Ranges:
    """Split a Parquet file at the row group boundaries nearest to equal parts of at most `max_rows` rows."""
    edges = list(accumulate(groups, initial=0))
    rows = edges[-1]
    count = -(-rows // max_rows)
    targets = [(bisect_left(edges, rows * at / count), rows * at / count) for at in range(1, count)]
    nearest = {min(edges[at - 1], edges[at], key=lambda edge: abs(edge - target)) for at, target in targets}
    return list(pairwise(sorted({0, rows} | nearest)))


def combine_row_groups(groups: list[int], min_rows: int | None, max_rows: int | None = None) -> Ranges:
    """Combine a Parquet file's row groups into ranges of at least `min_rows` rows, but not more than `max_rows`."""
    edges, rows = [0], 0
    for group in groups:
        if max_rows is not None and rows > edges[-1] and rows + group - edges[-1] > max_rows:
            edges.append(rows)
        rows += group
        if min_rows is not None and rows - edges[-1] >= min_rows:
            edges.append(rows)
    if rows > edges[-1]:
        edges.append(rows)
    return list(pairwise(edges))
