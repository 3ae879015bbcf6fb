"""Data of a report: counts and sampled rows from a first pass, images and URLs of those rows from a second pass."""

from __future__ import annotations

import warnings
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import dask
import dask.dataframe as dd
import numpy as np
import pandas as pd

from dask_aesthetic import frame as frames
from dask_aesthetic.distribution import ScoreDistribution, add_groups, count_groups
from dask_aesthetic.distribution._bins import on_host
from dask_aesthetic.errors import AestheticWarning, InputError
from dask_aesthetic.images import get_backend, rows_of
from dask_aesthetic.keep_rule import RuleCounts, add_rule_counts
from dask_aesthetic.report.image_source import ImageSource
from dask_aesthetic.report.pairs import PairCounts
from dask_aesthetic.report.sampling import choose, top_rows
from dask_aesthetic.report.spec import ReportSpec
from dask_aesthetic.report.thumbnails import MAX_BYTES, MAX_PAGE_BYTES, Thumbnail, make_thumbnails

Groups = dict[Any, ScoreDistribution]


@dataclass(frozen=True)
class FirstPass:
    """Distributions and sampled rows of one or more partitions.

    Attributes
    ----------
    groups, kept : dict of group to ScoreDistribution
        Of all rows, and of the rows that the threshold keeps; one group None without groups.
    chosen : pandas.DataFrame
        Sampled rows, as `choose` gives them.
    pairs : dict of str to PairCounts
        Of the scores and other scores, by the others' columns.
    rule_counts : RuleCounts or None
        What the clauses of the rule keep; None without a rule.
    mirrored : ScoreDistribution or None
        Of the negated scores, which counts those at or below a threshold exactly; None where high scores are kept.
    """

    groups: Groups
    kept: Groups
    chosen: pd.DataFrame
    pairs: dict[str, PairCounts] = field(default_factory=dict)
    rule_counts: RuleCounts | None = None
    mirrored: ScoreDistribution | None = None


@dataclass(frozen=True)
class ReportSample:
    """Sampled row; `image`, its short name, `url` and `group` are None if they were not asked for."""

    place: int
    score: float
    key: Any
    image: Thumbnail | None = None
    image_name: str | None = None
    url: Any = None
    group: Any = None


@dataclass(frozen=True)
class ReportData:
    """Data of a report.

    Attributes
    ----------
    distribution : ScoreDistribution
    kept : int
        Exact number of rows that the threshold keeps.
    groups : list of (group, ScoreDistribution, kept)
        The largest first; empty without groups.
    samples : list of ReportSample
        By place, and there in random order.
    pairs : dict of str to PairCounts
        Of the scores and other scores, by the others' columns.
    rule_counts : RuleCounts or None
        What the clauses of the rule keep; None without a rule.
    mirrored : ScoreDistribution or None
        As of `FirstPass`.
    """

    distribution: ScoreDistribution
    kept: int
    groups: list[tuple[Any, ScoreDistribution, int]]
    samples: list[ReportSample]
    pairs: dict[str, PairCounts] = field(default_factory=dict)
    rule_counts: RuleCounts | None = None
    mirrored: ScoreDistribution | None = None


def compute_data(frame: Any, spec: ReportSpec, images: ImageSource | None = None) -> ReportData:
    """Compute the data of a report from a pandas, cuDF or Dask frame.

    The first pass reads the scores, the statuses, the groups and the keys. The second pass reads images, URLs and
    groups of the partitions with sampled rows, and holds no more images in memory than tasks run. Images of other files
    are then read here.

    Raises
    ------
    ColumnError
        A column is missing, or the score column holds no floats.
    InputError
        The frame holds other rows in the second pass.
    """
    frames.check_scores(frame._meta if isinstance(frame, dd.DataFrame) else frame, spec.columns)
    first = _compute_first_pass(frame, spec)
    chosen = first.chosen
    shown = _compute_second_pass(frame, chosen, spec) if spec.shown and len(chosen) else [{}] * len(chosen)
    if images is not None and len(chosen):
        _add_images(shown, images)
    by = "by" in spec.counted
    counted = [
        (group, part, first.kept[group].count if group in first.kept else 0) for group, part in first.groups.items()
    ]
    counted.sort(key=lambda item: (-item[1].rows, item[0] is None, str(item[0])))
    total = sum(part for _, part, _ in counted) or ScoreDistribution.of(
        [], **spec.known
    )  # Without rows there is no group.
    names = ("place", "score", "key")
    rows = zip(*(chosen[name].tolist() for name in names), shown, strict=True)
    samples = [ReportSample(place, score, key, **more) for place, score, key, more in rows]
    kept = sum(kept for _, _, kept in counted)
    return ReportData(total, kept, counted if by else [], samples, first.pairs, first.rule_counts, first.mirrored)


def _add_images(shown: list[dict[str, Any]], images: ImageSource) -> None:
    """Replace the ids of the sampled rows' images by thumbnails."""
    ids = [tuple(None if value is None else str(value) for value in row.pop("ids")) for row in shown]
    thumbnails = images.thumbnails(ids, _max_bytes(len(ids)))
    for row, row_ids, thumbnail in zip(shown, ids, thumbnails, strict=True):
        row |= {"image": thumbnail, "image_name": images.short_name(row_ids)}
    if thumbnails and not any(one.url for one in thumbnails):
        warnings.warn(
            f"expected images of the sampled rows in {images.shown}, got none of {len(thumbnails):,}: "
            f"{thumbnails[0].reason}. Name what was scored",
            AestheticWarning,
            stacklevel=4,
        )


def _max_bytes(count: int) -> int:
    """Maximum size of each of so many thumbnails of a page."""
    return min(MAX_BYTES, MAX_PAGE_BYTES // max(count, 1))


def first_pass(part: Any, number: int, spec: ReportSpec) -> FirstPass:
    """Distributions and sampled rows of one partition."""
    score_column = spec.columns["score_column"]
    scores = on_host(part[score_column])
    keeps = spec.threshold.keeps(scores)
    groups = count_groups(part, spec.counted, spec.known)
    kept = count_groups(part[keeps], spec.counted, spec.known)
    pairs = {
        name: PairCounts.of(scores, on_host(part[name]), (spec.cells[score_column], spec.cells[name]))
        for name in spec.others
    }
    rule_counts = None if spec.keep is None else spec.keep.evaluate(part)[1]
    high = spec.threshold.higher_is_better
    mirrored = None if high else ScoreDistribution.of(-scores, scale=spec.threshold.scale)
    return FirstPass(groups, kept, choose(part, spec, number), pairs, rule_counts, mirrored)


def add_first_passes(parts: list[FirstPass], spec: ReportSpec) -> FirstPass:
    """Distributions and sampled rows of two or more partitions together."""
    by = spec.columns.get("by")
    groups, kept = (add_groups([getattr(part, name) for part in parts], by) for name in ("groups", "kept"))
    first, *rest = (part.pairs for part in parts)
    pairs = {name: sum((other[name] for other in rest), counts) for name, counts in first.items()}
    rule_counts = add_rule_counts(part.rule_counts for part in parts)
    mirrored = sum(part.mirrored for part in parts if part.mirrored is not None) or None
    chosen = top_rows([part.chosen for part in parts], spec.samples)
    return FirstPass(groups, kept, chosen, pairs, rule_counts, mirrored)


def _compute_first_pass(frame: Any, spec: ReportSpec) -> FirstPass:
    names = [name for role, name in spec.columns.items() if role in spec.counted or role == "key_column"]
    frame = frame[list(dict.fromkeys([*names, *spec.others, *(spec.keep.columns if spec.keep is not None else [])]))]
    if not isinstance(frame, dd.DataFrame):
        return first_pass(frame, 0, spec)
    name = "report-first-pass"
    parts = [frames.task(name, first_pass, part, number, spec) for number, part in enumerate(_partitions(frame))]
    return frames.tree_reduce(f"{name}-sum", parts, partial(add_first_passes, spec=spec)).compute()


def _compute_second_pass(frame: Any, chosen: pd.DataFrame, spec: ReportSpec) -> list[dict[str, Any]]:
    """Image, URL and group of the sampled rows, in their order, as far as asked for."""
    names = [*spec.shown.values(), *([spec.columns["key_column"]] if "key_column" in spec.columns else [])]
    frame = frame[list(dict.fromkeys(names))]
    found: dict[int, dict[str, Any]] = {}
    by_partition = [
        (number, chosen[chosen["partition"] == number]) for number in sorted(set(chosen["partition"].tolist()))
    ]
    max_bytes = _max_bytes(len(chosen))
    if isinstance(frame, dd.DataFrame):
        parts = _partitions(frame)
        if by_partition[-1][0] >= len(parts):
            raise _changed()
        tasks = [
            frames.task("report-second-pass", _second_pass, parts[number], rows, spec, max_bytes)
            for number, rows in by_partition
        ]
        computed = dask.compute(*tasks)
    else:
        computed = tuple(_second_pass(frame, rows, spec, max_bytes) for _, rows in by_partition)
    for (_, rows), shown in zip(by_partition, computed, strict=True):
        found.update(zip(rows.index.tolist(), shown, strict=True))
    return [found[at] for at in chosen.index]


def _second_pass(part: Any, chosen: pd.DataFrame, spec: ReportSpec, max_bytes: int) -> list[dict[str, Any]]:
    if len(part) != int(chosen["rows"].iloc[0]):
        raise _changed()
    rows = part.iloc[chosen["row"].to_numpy()]
    if "key_column" in spec.columns:
        keys = _values(rows[spec.columns["key_column"]])
        if list(map(str, keys)) != list(map(str, chosen["key"])):
            raise _changed()
    columns: dict[str, list[Any]] = {
        name: _values(rows[spec.shown[role]])
        for role, name in (("url_column", "url"), ("by", "group"))
        if role in spec.shown
    }
    if spec.image_ids:
        columns["ids"] = list(zip(*(_values(rows[name]) for name in spec.image_ids), strict=True))
    if "image_column" in spec.shown:
        column = rows[spec.shown["image_column"]]
        images = rows_of(get_backend(column).images(column))
        columns["image"] = make_thumbnails([None if _null(value) else value for value in images], max_bytes)
    return [dict(zip(columns, values, strict=True)) for values in zip(*columns.values(), strict=True)]


def _values(column: Any) -> list[Any]:
    """Values of a pandas or cuDF column, None for null."""
    column = column.to_pandas() if hasattr(column, "to_pandas") else column
    return [None if _null(value) else value for value in column.tolist()]


def _partitions(frame: dd.DataFrame) -> list[Any]:
    """Partitions, the same ones for all columns: `optimize` would join small partitions if few columns are read."""
    return frame.simplify().to_delayed(optimize_graph=False)


def _null(value: Any) -> bool:
    return value is None or value is pd.NA or value is pd.NaT or (isinstance(value, float) and np.isnan(value))


def _changed() -> InputError:
    return InputError(
        "expected the frame to hold the same rows, in the same order, whenever it is computed, got others in the "
        "second pass: call persist() on it or write it to files first"
    )
