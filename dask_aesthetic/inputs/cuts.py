"""How large files are cut into shards, and what these are called."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterable
from itertools import accumulate, pairwise
from typing import Any

from dask_aesthetic.errors import InputError
from dask_aesthetic.inputs.partitions import Ranges
from dask_aesthetic.validation import check_integer


def check_rows(rows_per_shard: Any) -> None:
    """Refuse a number of rows per shard that is none."""
    check_integer("rows_per_shard", rows_per_shard, minimum=1, unit="rows")


def check_names(names: Iterable[str]) -> None:
    """Refuse shards of the same name, whose outputs would be one."""
    seen: set[str] = set()
    for name in names:
        if name in seen:
            raise InputError(f"expected inputs of different names, got two shards {name!r}: rename a file")
        seen.add(name)


def parts(name: str, cuts: Ranges) -> list[tuple[str, int, int]]:
    """Names and ranges of a file's parts; at least one, which may be empty."""
    if len(cuts) < 2:
        return [(name, *(cuts[0] if cuts else (0, 0)))]
    return [(f"{name}.{at:05d}-of-{len(cuts):05d}", start, stop) for at, (start, stop) in enumerate(cuts)]


def between_groups(groups: list[int], most: int) -> Ranges:
    """Ranges of whole row groups, as near as they allow to even ones of at most `most` rows."""
    edges = list(accumulate(groups, initial=0))
    rows = edges[-1]
    count = -(-rows // most)
    after = [(bisect_left(edges, rows * at / count), rows * at / count) for at in range(1, count)]
    nearest = {min(edges[at - 1], edges[at], key=lambda edge: abs(edge - even)) for at, even in after}
    return list(pairwise(sorted({0, rows} | nearest)))
