"""Another selection from scores that are there, written as files of scores, durably."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import pyarrow as pa
from dask.system import CPU_COUNT

from dask_aesthetic.choices import Scale
from dask_aesthetic.defaults import KEEP_COLUMN
from dask_aesthetic.errors import ArgumentError, ColumnError
from dask_aesthetic.id_columns import find_id_column
from dask_aesthetic.io.listing import Source
from dask_aesthetic.jobs.pool import Pool
from dask_aesthetic.jobs.runner import run_plan
from dask_aesthetic.jobs.store import Store, refuse_overlap
from dask_aesthetic.ranking import Wanted
from dask_aesthetic.score_files import ScoreFiles, find_scores
from dask_aesthetic.select.ids import read_ids
from dask_aesthetic.select.plan import COUNTS, SelectPlan, plan_outputs
from dask_aesthetic.select.rule import Rule
from dask_aesthetic.select.settings import SelectSettings
from dask_aesthetic.select.shard import SelectMarker, SelectShard
from dask_aesthetic.thresholds import Threshold, find_threshold
from dask_aesthetic.validation import check_integer


@dataclass(frozen=True)
class SelectSummary:
    """Counts of a select job's output.

    Attributes
    ----------
    output : str
    rule : str
        What is kept, for people.
    files, rows, scored, kept : int
        Files of scores; their rows, those with a score, and those that are kept.
    excluded, included : int
        Rows that `exclude` names, and rows that are kept for `include` alone.
    """

    output: str
    rule: str
    files: int
    rows: int
    scored: int
    kept: int
    excluded: int
    included: int


def select_dataset(
    scores: Source,
    output: str | os.PathLike[str],
    *,
    threads: int | None = None,
    progress: Callable[[SelectMarker], None] | None = None,
    threshold: float | str | Threshold | None = None,
    scale: Scale | None = None,
    top: int | None = None,
    keep_fraction: float | None = None,
    by: str | None = None,
    exclude: Source | None = None,
    include: Source | None = None,
    id_column: str | None = None,
    keep_only: bool = False,
    overwrite: bool = False,
    storage_options: Mapping[str, Any] | None = None,
    output_options: Mapping[str, Any] | None = None,
) -> SelectSummary:
    """Select again from scores that are there: the same rows with another ``keep``, in new files, durably.

    Nothing is scored again: a job's output is read and written. The same call resumes a run that was stopped.

    Parameters
    ----------
    scores : str, path, or list of them
        Output folder of a job, a file of it or a glob; a local path or any URL that fsspec knows.
    output : str or path
        Folder for the files, or an fsspec URL; created if it is missing.
    threshold : float, str or Threshold, optional
        Lowest score to keep, on `scale`. Without `top` and `keep_fraction`, that of the job that scored by default.
    scale : {"raw", "unit"}, optional
        Scale of scores whose files do not name it.
    top : int, optional
        Keep just the so many best rows, of those at or above `threshold` where it is given. Of equal scores the lower
        id is kept, rows without an id last, and of equal ids the row that comes first.
    keep_fraction : float, optional
        Keep this share of the scored rows, rounded up; instead of `top`.
    by : str, optional
        Column of groups: `top` or `keep_fraction` of each. At most 10,000 groups; null is one, too.
    exclude, include : str, path, or list of them, optional
        Parquet files with ids of rows to drop in any case, and of rows to keep in any other. They have a column of the
        name of `id_column`, or just one; with ``shard`` beside it, where the scores have that column too, both decide.
        Excluded rows do not count for `top`, and included ones are kept beside it.
    id_column : str, optional
        Column of the scores that identifies a row; if not given, the first that exists of key, uid, url, hash, id and
        image_path, in any case.
    keep_only : bool
        Write only the rows to keep.
    overwrite : bool
        Replace outputs of other settings, and files in the way.
    storage_options, output_options : mapping, optional
        fsspec options of `scores`, `exclude` and `include`, and of `output`; the second defaults to the first.
    threads : int, optional
        Threads of this process; by default one per CPU core.
    progress : callable, optional
        Called with the `SelectMarker` of every file that is done.

    Returns
    -------
    SelectSummary
        Counts of all files, those of earlier runs included.

    Raises
    ------
    InputError
        There are no scores, they are of several predictors, or the output has files that the run would replace.
    ColumnError, ArgumentError, ThresholdError
        An argument is not usable. All of these are found before anything is written.
    JobError
        A file has changed meanwhile, or the disk is full. Finished outputs stay.

    Notes
    -----
    The output is as that of `score_dataset`, with one file per file of scores, under the same name: `read_scores`,
    `filter_dataset` and reports take it. A file appears when it is whole and on disk; its marker follows; ``_SUCCESS``,
    the manifest, is written last. The bytes do not depend on threads, or on how often the run was stopped.

    For `top` and `keep_fraction`, two passes over scores and groups find the last row to keep before the first file is
    written. They hold counts of scores, and the ids of rows that score nearly as the last one.

    Examples
    --------
    >>> import tempfile
    >>> from pathlib import Path
    >>> from dask_aesthetic import score_dataset, select_dataset
    >>> from dask_aesthetic.synthetic import write_demo
    >>> folder = Path(tempfile.mkdtemp())
    >>> _ = score_dataset(write_demo(folder / "embeddings", rows=1000), folder / "scores")
    >>> select_dataset(folder / "scores", folder / "best", top=100).kept
    100
    """
    plan = plan_select(
        scores,
        output,
        threads=threads,
        threshold=threshold,
        scale=scale,
        top=top,
        keep_fraction=keep_fraction,
        by=by,
        exclude=exclude,
        include=include,
        id_column=id_column,
        keep_only=keep_only,
        overwrite=overwrite,
        storage_options=storage_options,
        output_options=output_options,
    )
    with Pool(threads=threads) as pool:
        markers = run_plan(plan, pool, progress=progress)
    return summary(plan, markers)


def plan_select(
    scores: Source,
    output: str | os.PathLike[str],
    *,
    threads: int | None = None,
    threshold: float | str | Threshold | None = None,
    scale: str | None = None,
    top: int | None = None,
    keep_fraction: float | None = None,
    by: str | None = None,
    exclude: Source | None = None,
    include: Source | None = None,
    id_column: str | None = None,
    keep_only: bool = False,
    overwrite: bool = False,
    storage_options: Mapping[str, Any] | None = None,
    output_options: Mapping[str, Any] | None = None,
) -> SelectPlan:
    """Plan of a select job: its files and rule, with the last rows to keep; nothing is written.

    Parameters
    ----------
    scores, output and all others
        As in `select_dataset`.

    Returns
    -------
    SelectPlan

    Raises
    ------
    InputError, ColumnError, ThresholdError, ArgumentError
        As in `select_dataset`.
    """
    wanted = _wanted(top, keep_fraction, by)
    found = find_scores(scores, storage_options)
    names = found.schema.names
    _check_columns(found, by, id_column)
    if not found.provenance.higher_is_better:
        raise ArgumentError(
            f"expected scores of which higher ones are better, got {found.score_column!r} of "
            f"{found.provenance.known['predictor']}: score with a threshold, which keeps the lower ones"
        )
    store = Store.of(output, storage_options if output_options is None else output_options)
    refuse_overlap(scores, [one.file for one in found.files], store)
    id_column = find_id_column(names) if id_column is None else id_column
    lowest = _lowest(found, threshold, scale, wanted)
    excluded, included = (
        None if ids is None else read_ids(ids, storage_options, id_column, names) for ids in (exclude, include)
    )
    rule = Rule(found.score_column, lowest, wanted, id_column, excluded, included)
    rule = rule.with_top(found.files, threads or CPU_COUNT)
    settings = SelectSettings(
        rule,
        found.schema,
        found.provenance.columns.get("keep_column", KEEP_COLUMN),
        keep_only,
        found.provenance,
        found.provenance.find_scale(scale),
    )
    shards = [SelectShard(file, number) for number, file in enumerate(found.files)]
    return plan_outputs(shards, settings, store, overwrite)


def summary(plan: SelectPlan, markers: Mapping[str, SelectMarker]) -> SelectSummary:
    """Summary of all outputs of a plan."""
    done = [markers[shard.name] for shard in plan.shards]
    counts = {name: sum(getattr(marker, name) for marker in done) for name in COUNTS}
    return SelectSummary(output=plan.store.url, rule=str(plan.settings.rule), files=len(done), **counts)


def _wanted(top: int | None, keep_fraction: float | None, by: str | None) -> Wanted | None:
    if top is not None and keep_fraction is not None:
        raise ArgumentError(f"expected top or keep_fraction, got top={top!r} and keep_fraction={keep_fraction!r}")
    if top is None and keep_fraction is None:
        if by is not None:
            raise ArgumentError(f"expected top or keep_fraction with by={by!r}, got neither: a threshold has no groups")
        return None
    if top is not None:
        check_integer("top", top, minimum=1, unit="rows")
    return Wanted(top, keep_fraction, by)


def _lowest(
    found: ScoreFiles, threshold: float | str | Threshold | None, scale: str | None, wanted: Wanted | None
) -> Threshold | None:
    """Threshold on the scale of the scores: the requested one, else that of the run; none for the best rows."""
    known = found.provenance.describe(scale)
    if threshold is None and wanted is not None:
        return None
    if threshold is None and "threshold" not in found.provenance.record:
        raise ArgumentError("expected threshold, top or keep_fraction, got none, and the files name no threshold")
    return find_threshold(
        found.provenance.find_threshold(threshold),
        known["scale"],
        known.get("predictor_scale", "unknown"),
        known.get("predictor", ""),
    )


def _check_columns(found: ScoreFiles, by: str | None, id_column: str | None) -> None:
    names = found.schema.names
    for role, name in (("score column", found.score_column), ("by", by), ("id_column", id_column)):
        if name is not None and name not in names:
            raise ColumnError(f"expected {role} {name!r} in the files of scores, got {', '.join(names)}")
    dtype = found.schema.field(found.score_column).type
    if not pa.types.is_floating(dtype):
        raise ColumnError(f"expected scores, a column of floats, in {found.score_column!r}, got {dtype}")
