"""What a page shows of a frame: counts and picks in one pass, and a second look at the picked rows alone."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import dask
import dask.dataframe as dd
import numpy as np
import pandas as pd

from dask_aesthetic import frame as frames
from dask_aesthetic.distribution import ScoreDistribution, add_groups, count_groups
from dask_aesthetic.distribution._bins import on_host
from dask_aesthetic.errors import InputError
from dask_aesthetic.images import get_backend, rows_of
from dask_aesthetic.report.samples import best, pick
from dask_aesthetic.report.spec import ReportSpec
from dask_aesthetic.report.thumbnails import BUDGET, MOST_BYTES, Picture, thumbnails

Groups = dict[Any, ScoreDistribution]


@dataclass(frozen=True)
class Look:
    """What one partition, or several, say.

    Attributes
    ----------
    groups, kept : dict of group to ScoreDistribution
        Of all rows, and of those at or above the threshold; of the group None where there are no groups.
    picks : pandas.DataFrame
        As `pick` gives them.
    """

    groups: Groups
    kept: Groups
    picks: pd.DataFrame


@dataclass(frozen=True)
class Sample:
    """A row to show; `picture`, `url` and `group` are None where they were not asked for."""

    place: int
    score: float
    key: Any
    picture: Picture | None = None
    url: Any = None
    group: Any = None


@dataclass(frozen=True)
class Facts:
    """What a page shows.

    Attributes
    ----------
    distribution : ScoreDistribution
    kept : int
        Rows at or above the threshold, exactly.
    groups : list of (group, ScoreDistribution, kept)
        The largest first; empty without groups.
    samples : list of Sample
        By place, and there in the order of the draw.
    """

    distribution: ScoreDistribution
    kept: int
    groups: list[tuple[Any, ScoreDistribution, int]]
    samples: list[Sample]


def gather(frame: Any, spec: ReportSpec) -> Facts:
    """Compute what a page shows of a pandas, cuDF or Dask frame.

    The first pass reads the scores, the statuses, the groups and the keys. The second reads pictures, URLs and groups
    of the partitions that picked rows stand in, and holds no more pictures at a time than are worked on.

    Raises
    ------
    ColumnError
        A column is not there, or the score column holds no floats.
    InputError
        The frame holds other rows at the second look.
    """
    frames.check_scores(frame._meta if isinstance(frame, dd.DataFrame) else frame, spec.columns)
    look = _first(frame, spec)
    shown = _second(frame, look.picks, spec) if spec.shown and len(look.picks) else [{}] * len(look.picks)
    by = "by" in spec.counted
    counted = [
        (group, part, look.kept[group].count if group in look.kept else 0) for group, part in look.groups.items()
    ]
    counted.sort(key=lambda item: (-item[1].rows, item[0] is None, str(item[0])))
    # No rows make no group.
    whole = sum(part for _, part, _ in counted) or ScoreDistribution.of([], **spec.known)
    names = ("place", "score", "key")
    rows = zip(*(look.picks[name].tolist() for name in names), shown, strict=True)
    samples = [Sample(place, score, key, **more) for place, score, key, more in rows]
    return Facts(whole, sum(kept for _, _, kept in counted), counted if by else [], samples)


def look_at(part: Any, number: int, spec: ReportSpec) -> Look:
    """What one partition says."""
    at_least = on_host(part[spec.columns["score_column"]]) >= np.float32(spec.threshold.cut)
    groups = count_groups(part, spec.counted, spec.known)
    kept = count_groups(part[at_least], spec.counted, spec.known)
    return Look(groups, kept, pick(part, spec, number))


def add_looks(looks: list[Look], spec: ReportSpec) -> Look:
    """What several partitions say."""
    by = spec.columns.get("by")
    groups, kept = (add_groups([getattr(look, name) for look in looks], by) for name in ("groups", "kept"))
    return Look(groups, kept, best([look.picks for look in looks], spec.samples))


def _first(frame: Any, spec: ReportSpec) -> Look:
    names = [name for role, name in spec.columns.items() if role in spec.counted or role == "key_column"]
    frame = frame[list(dict.fromkeys(names))]
    if not isinstance(frame, dd.DataFrame):
        return look_at(frame, 0, spec)
    looks = [dask.delayed(look_at)(part, number, spec) for number, part in enumerate(_partitions(frame))]
    while len(looks) > 1:
        looks = [
            dask.delayed(add_looks)(looks[at : at + frames.FAN_IN], spec) for at in range(0, len(looks), frames.FAN_IN)
        ]
    return looks[0].compute()


def _second(frame: Any, picks: pd.DataFrame, spec: ReportSpec) -> list[dict[str, Any]]:
    """What is shown of the picked rows beside score and key, in their order."""
    names = [*spec.shown.values(), *([spec.columns["key_column"]] if "key_column" in spec.columns else [])]
    frame = frame[list(dict.fromkeys(names))]
    found: dict[int, dict[str, Any]] = {}
    by_partition = [
        (number, picks[picks["partition"] == number]) for number in sorted(set(picks["partition"].tolist()))
    ]
    most_bytes = min(MOST_BYTES, BUDGET // len(picks))
    if isinstance(frame, dd.DataFrame):
        parts = _partitions(frame)
        if by_partition[-1][0] >= len(parts):
            raise _changed()
        tasks = [dask.delayed(_shown)(parts[number], rows, spec, most_bytes) for number, rows in by_partition]
        looked = dask.compute(*tasks)
    else:
        looked = tuple(_shown(frame, rows, spec, most_bytes) for _, rows in by_partition)
    for (_, rows), shown in zip(by_partition, looked, strict=True):
        found.update(zip(rows.index.tolist(), shown, strict=True))
    return [found[at] for at in picks.index]


def _shown(part: Any, picks: pd.DataFrame, spec: ReportSpec, most_bytes: int) -> list[dict[str, Any]]:
    if len(part) != int(picks["rows"].iloc[0]):
        raise _changed()
    rows = part.iloc[picks["row"].to_numpy()]
    if "key_column" in spec.columns:
        keys = _values(rows[spec.columns["key_column"]])
        if list(map(str, keys)) != list(map(str, picks["key"])):
            raise _changed()
    columns: dict[str, list[Any]] = {
        name: _values(rows[spec.shown[role]])
        for role, name in (("url_column", "url"), ("by", "group"))
        if role in spec.shown
    }
    if "image_column" in spec.shown:
        column = rows[spec.shown["image_column"]]
        pictures = rows_of(get_backend(column).images(column))
        columns["picture"] = thumbnails([None if _null(value) else value for value in pictures], most_bytes)
    return [dict(zip(columns, values, strict=True)) for values in zip(*columns.values(), strict=True)]


def _values(column: Any) -> list[Any]:
    """The values of a pandas or cuDF column, None for null."""
    column = column.to_pandas() if hasattr(column, "to_pandas") else column
    return [None if _null(value) else value for value in column.tolist()]


def _partitions(frame: dd.DataFrame) -> list[Any]:
    """The partitions as they are cut, whatever columns are read: `optimize` joins those of few columns."""
    return frame.simplify().to_delayed(optimize_graph=False)


def _null(value: Any) -> bool:
    return value is None or value is pd.NA or value is pd.NaT or (isinstance(value, float) and np.isnan(value))


def _changed() -> InputError:
    return InputError(
        "expected the frame to hold the same rows, in the same order, whenever it is computed, got others at a second "
        "look: call persist() on it or write it to files first"
    )
