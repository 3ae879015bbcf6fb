"""Distributions of the groups of a partition, and their sums over partitions."""

from __future__ import annotations

from collections.abc import Hashable
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa

from dask_aesthetic.distribution._bins import on_host
from dask_aesthetic.distribution.distribution import ScoreDistribution
from dask_aesthetic.errors import ColumnError

MOST_GROUPS = 10_000


def count_groups(frame: Any, columns: dict[str, str], known: dict[str, str]) -> dict[Any, ScoreDistribution]:
    """Distribution of each group of a partition; of all its rows, under None, if `columns` has no ``by``."""
    scores = frame[columns["score_column"]]
    status = on_host_labels(frame[columns["status_column"]]) if "status_column" in columns else None
    if "by" not in columns:
        return {None: ScoreDistribution.of(scores, status=status, **known)}
    values = on_host(scores)
    return {
        group: ScoreDistribution.of(values[at], status=None if status is None else status.iloc[at], **known)
        for group, at in rows_by_group(on_host_labels(frame[columns["by"]]), columns["by"])
    }


def rows_by_group(labels: pd.Series, by: str) -> list[tuple[Any, np.ndarray]]:
    """Groups of a partition, None for null, and the positions of each one's rows in order.

    Raises
    ------
    ColumnError
        The labels are lists, or of more than `MOST_GROUPS` groups.
    """
    codes, groups = _factorize(labels, by)
    check_groups(len(groups), by)
    ends = np.cumsum(np.bincount(codes + 1, minlength=len(groups) + 1))[:-1]
    rows = np.split(np.argsort(codes, kind="stable"), ends)
    return [(group, at) for group, at in zip([None, *groups.tolist()], rows, strict=True) if len(at)]


def refuse_nested(dtype: Any, by: str) -> None:
    """Refuse a column of lists, structs or maps, whose values are no groups, where its type says so.

    Raises
    ------
    ColumnError
    """
    if isinstance(dtype, pd.ArrowDtype) and pa.types.is_nested(dtype.pyarrow_dtype):
        raise _nested(dtype, by)


def _factorize(labels: pd.Series, by: str) -> tuple[Any, Any]:
    """Code of each row's group, -1 for null, and the groups."""
    refuse_nested(labels.dtype, by)
    if isinstance(labels.dtype, pd.ArrowDtype) and isinstance(labels.dtype.pyarrow_dtype, pa.BaseExtensionType):
        labels = pa.array(labels).to_pandas()  # Arrow has no dictionary of UUIDs and other extension types.
    try:
        return pd.factorize(labels)
    except TypeError as error:  # Lists or dicts among objects have no hash.
        kinds = sorted({type(value).__name__ for value in labels if not isinstance(value, Hashable)})
        raise _nested(f"{labels.dtype} with {', '.join(kinds) or error}", by) from error


def _nested(dtype: Any, by: str) -> ColumnError:
    return ColumnError(
        f"expected a column of one value per row (text, number, date) as by, got {dtype} in {by!r}: make a column of "
        f"groups, such as frame.assign(group=frame[{by!r}].map(str)), or frame.explode({by!r}) to count a row in each "
        "group of its list"
    )


def add_groups(parts: list[dict[Any, ScoreDistribution]], by: str | None) -> dict[Any, ScoreDistribution]:
    """Distribution of each group over several partitions."""
    total: dict[Any, ScoreDistribution] = {}
    for part in parts:
        for group, distribution in part.items():
            total[group] = total[group] + distribution if group in total else distribution
    check_groups(len(total), by)
    return total


def on_host_labels(column: Any) -> pd.Series:
    """Column of labels as a pandas Series, from a pandas or cuDF one."""
    return column.to_pandas() if hasattr(column, "to_pandas") else column


def check_groups(groups: int, by: str | None) -> None:
    """Refuse more groups than `MOST_GROUPS`."""
    if groups > MOST_GROUPS:
        raise ColumnError(
            f"expected a column of at most {MOST_GROUPS:,} groups as by, got {by!r} with more: each has a histogram of "
            "its own. Group by something coarser"
        )
