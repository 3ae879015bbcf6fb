"""The best rows of a frame by score: lazily on Dask frames, with a partition in memory per task."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

import dask.dataframe as dd
import numpy as np
import pandas as pd

from dask_aesthetic import frame as frames
from dask_aesthetic.distribution import on_host, on_host_labels, refuse_nested, rows_by_group
from dask_aesthetic.id_columns import find_id_column
from dask_aesthetic.ranking import (
    Candidates,
    Counts,
    Groups,
    Top,
    Wanted,
    add_counts,
    count_keys,
    find_candidates,
    merge_candidates,
    score_keys,
)


@dataclass(frozen=True)
class _Ranked:
    """Columns that rank the rows, and the number of rows to take."""

    score_column: str
    id_column: str | None
    wanted: Wanted
    higher_is_better: bool

    def keys(self, part: Any) -> tuple[np.ndarray, Groups]:
        """Keys and groups of the rows of a partition."""
        keys = score_keys(on_host(part[self.score_column]), higher_is_better=self.higher_is_better)
        by = self.wanted.by
        if by is None:
            return keys, [(None, np.arange(len(keys)))]
        return keys, rows_by_group(on_host_labels(part[by]), by)


def top(
    frame: Any, n: int, by: str | None, score_column: str, id_column: str | None, higher_is_better: bool = True
) -> Any:
    """The best rows of a frame, in its order; lazy on Dask frames."""
    wanted = Wanted(n, by=by)
    meta = frame._meta if isinstance(frame, dd.DataFrame) else frame
    id_column = find_id_column(meta.columns) if id_column is None else id_column
    ranked = _Ranked(score_column, id_column, wanted, higher_is_better)
    columns = {"score_column": score_column, "id_column": id_column, "by": by}
    asked = {role: name for role, name in columns.items() if name is not None}
    frames.check_scores(meta, asked)
    if by is not None:
        refuse_nested(meta[by].dtype, by)
    if not isinstance(frame, dd.DataFrame):
        bins = wanted.bins(_count(frame, ranked))
        return _take(frame, ranked, Top.of(bins, _candidates(frame, ranked, bins)))
    names = list(dict.fromkeys(asked.values()))
    counted = frame[list(dict.fromkeys(name for role, name in asked.items() if role != "id_column"))]
    counts = frames.tree_reduce(
        "top-count-sum", _parts("top-count", counted, _count, ranked), partial(add_counts, by=by)
    )
    bins = frames.task("top-bins", wanted.bins, counts)
    narrow = frame[names] if _same_partitions(frame, names) else frame
    candidates = _parts("top-candidates", narrow, _candidates, ranked, bins)
    merged = frames.tree_reduce("top-candidates-sum", candidates, merge_candidates)
    chosen = frames.task("top-choice", Top.of, bins, merged)
    return frame.map_partitions(_take, ranked, chosen, meta=frame._meta, token="top-rows")


def _parts(name: str, frame: dd.DataFrame, run: Callable[..., Any], ranked: _Ranked, *more: Any) -> list[Any]:
    """Delayed results of `run` on every partition.

    Each pass is optimized on its own, so that a partition is read and counted in one task. Were the read a task that
    the next pass uses too, all partitions would stay in memory until then.
    """
    meta = pd.Series([], dtype=object)  # Any: only the delayed results are used.
    results = frame.map_partitions(run, ranked, *more, meta=meta, enforce_metadata=False, token=name)
    parts: list[Any] = results.to_delayed()
    return parts


def _same_partitions(frame: dd.DataFrame, names: list[str]) -> bool:
    """Whether partitions have the same numbers where only some columns are read: Dask joins small ones of Parquet."""
    meta = pd.Series([], dtype=object)
    narrow, whole = (one.map_partitions(len, meta=meta).optimize(fuse=False) for one in (frame[names], frame))
    return bool(narrow.npartitions == whole.npartitions)


def _count(part: Any, ranked: _Ranked) -> Counts:
    return count_keys(*ranked.keys(part))


def _candidates(
    part: Any, ranked: _Ranked, bins: dict[Any, tuple[int, int]], partition_info: dict[str, Any] | None = None
) -> Candidates:
    keys, groups = ranked.keys(part)
    ids = None if ranked.id_column is None else on_host_labels(part[ranked.id_column])
    return find_candidates(keys, groups, ids, _number(partition_info), bins)


def _take(part: Any, ranked: _Ranked, chosen: Top, partition_info: dict[str, Any] | None = None) -> Any:
    keys, groups = ranked.keys(part)
    return part.iloc[np.flatnonzero(chosen.takes(keys, groups, _number(partition_info)))]


def _number(partition_info: dict[str, Any] | None) -> int:
    return int(partition_info["number"]) if partition_info else 0
