"""Another selection from scores that are there, written as files of scores, durably."""

from __future__ import annotations

import os
import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

import pyarrow as pa
from dask.system import CPU_COUNT

from dask_aesthetic.choices import Scale
from dask_aesthetic.defaults import KEEP_COLUMN
from dask_aesthetic.errors import PASSTHROUGH, AestheticWarning, ArgumentError, ColumnError, did_you_mean
from dask_aesthetic.id_columns import find_id_column
from dask_aesthetic.io.listing import Source
from dask_aesthetic.jobs.pool import Pool
from dask_aesthetic.jobs.runner import run_plan
from dask_aesthetic.jobs.store import Store, refuse_overlap
from dask_aesthetic.keep_rule import Keep, KeepRule, RuleCounts, both_error, check_override
from dask_aesthetic.ranking import Wanted
from dask_aesthetic.score_files import ScoreFiles, find_scores
from dask_aesthetic.select.duplicates import check_hashes
from dask_aesthetic.select.ids import read_ids
from dask_aesthetic.select.plan import SelectPlan, plan_outputs, sum_rule_counts
from dask_aesthetic.select.rule import Rule
from dask_aesthetic.select.settings import SelectSettings
from dask_aesthetic.select.shard import COUNTS, SelectMarker, SelectShard
from dask_aesthetic.tables import Facts, Shown
from dask_aesthetic.thresholds import Threshold
from dask_aesthetic.validation import check_integer


@dataclass(frozen=True, repr=False)
class SelectSummary(Shown):
    """Counts of a select job's output.

    Attributes
    ----------
    output : str
    rule : str
        What is kept, for people.
    files, rows, scored, kept : int
        Files of scores; their rows, scored rows, and kept rows.
    excluded, included : int
        Rows that `exclude` names, and rows that are kept for `include` alone.
    include_matches : int
        Rows that `include` names.
    duplicates : int
        Rows that `drop_duplicates` drops.
    files_before : int
        Files that earlier runs had done.
    rule_counts : RuleCounts or None
        Rows that each clause of `keep` keeps alone, and all together, and rows that `override_column` alone keeps or
        drops; None without both.
    """

    output: str
    rule: str
    files: int
    rows: int
    scored: int
    kept: int
    excluded: int
    included: int
    include_matches: int
    duplicates: int
    files_before: int
    rule_counts: RuleCounts | None = None

    @property
    def facts(self) -> Facts:
        """Rows of the printed table, by name."""
        return {
            "files": f"{self.files:,} -> {self.output}",
            "before": f"{self.files_before:,} files done by earlier runs" if self.files_before else "",
            "rows": f"{self.rows:,}",
            "scored": f"{self.scored:,}",
            "kept": f"{self.kept:,} ({self.kept / max(self.scored, 1):.1%} of the scored): {self.rule}",
            "rule": [] if self.rule_counts is None else self.rule_counts.lines,
            "excluded": f"{self.excluded:,} rows by id" if self.excluded else "",
            "duplicates": f"{self.duplicates:,} rows dropped for their hash" if self.duplicates else "",
            "included": f"{self.included:,} rows kept by id alone" if self.included else "",
        }

    def _table(self) -> tuple[str, Facts]:
        return "Summary of a select job", self.facts


def select_dataset(
    scores: Source,
    output: str | os.PathLike[str],
    *,
    threads: int | None = None,
    progress: Callable[[SelectMarker], None] | None = None,
    threshold: float | str | Threshold | None = None,
    scale: Scale | None = None,
    keep: Keep | None = None,
    override_column: str | None = None,
    top: int | None = None,
    keep_fraction: float | None = None,
    by: str | None = None,
    exclude: Source | None = None,
    include: Source | None = None,
    id_column: str | None = None,
    drop_duplicates: bool = False,
    keep_only: bool = False,
    allow_unfinished: bool = False,
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
        Lowest score to keep, on `scale`. Without `keep`, `top` and `keep_fraction`, that of the job that scored, or
        its `keep`.
    scale : {"raw", "unit"}, optional
        Scale of scores whose files do not name it.
    keep : list of tuples, or of lists of them, optional
        Rule over the scores and other columns of their files, instead of `threshold`, spelled as ``filters`` of
        ``dask.dataframe.read_parquet``: ``[("aesthetic_score", ">=", 5.5), ("width", ">=", 512)]`` keeps rows that
        satisfy both, and a list of such lists rows that satisfy one of them. A null or NaN satisfies no clause. Bounds
        of the score may be a preset or `Threshold`. Numbers are compared in the type of the column.
    override_column : str, optional
        Column of bool or null: true rows are kept and false ones are not, whatever `keep`, `threshold` or `top` say.
        `exclude` and `include` win over it.
    top : int, optional
        Keep just the so many best rows, among rows that satisfy `keep` or `threshold` where one is given. Of equal
        scores the lower id is kept, rows without an id last, and of equal ids the row that comes first.
    keep_fraction : float, optional
        Keep this share of the scored rows, rounded up; instead of `top`.
    by : str, optional
        Column of groups: `top` or `keep_fraction` of each. At most 10,000 groups; null is one, too.
    exclude, include : str, path, or list of them, optional
        Parquet files with ids of rows to drop in any case, and of rows to keep in any other, in a column of the name of
        `id_column`; with ``shard`` beside it, where the scores have that column too, both decide. Integers match texts
        such as "7", but no "007". Excluded rows do not count for `top`, and included ones are kept beside it.
    drop_duplicates : bool
        Of rows with the same ``embedding_hash``, which `score_dataset` adds if asked, keep at most one: the lowest id,
        rows without an id last, and of equal ids the row that comes first. Rows that are excluded, or do not satisfy
        `keep`, do not count.
    id_column : str, optional
        Column of the scores that identifies a row; if not given, the first that exists of key, uid, url, hash, id and
        image_path, in any case.
    keep_only : bool
        Write only the rows to keep.
    allow_unfinished : bool
        Take the files that are there of a job that is not finished, with a warning; otherwise it is an error.
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
        There are no scores, they are of several predictors, the job that writes them is not finished, or the output has
        files that the run would replace, or is part of another job's output.
    ColumnError, ArgumentError, ThresholdError
        An argument is not usable. All of these are found before anything is written.
    JobError
        A file has changed meanwhile, or the disk is full. Finished outputs stay.

    Notes
    -----
    The output is as that of `score_dataset`, with one file per file of scores, under the same name: `read_scores`,
    `filter_dataset` and reports take it. A file appears when it is whole and on disk; its marker follows; ``_SUCCESS``,
    the manifest, is written last. The bytes do not depend on threads, or on how often the run was stopped.

    A later run writes again what has changed: files of scores by size and time stamp (of URLs by etag, checksum or
    time), and outputs by size. Where the scores have grown, so may have what is best: then `top`, `keep_fraction` and
    `drop_duplicates` select otherwise, and need ``overwrite=True``.

    For `top` and `keep_fraction`, two passes over scores and groups find the last row to keep before the first file is
    written. They hold counts of scores, and the ids of rows that score nearly as the last one.
    `drop_duplicates` reads the hashes before, twice for every 67 million rows, and holds so many, the ids of rows whose
    hash repeats, and a bit per row.

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
        keep=keep,
        override_column=override_column,
        top=top,
        keep_fraction=keep_fraction,
        by=by,
        exclude=exclude,
        include=include,
        id_column=id_column,
        drop_duplicates=drop_duplicates,
        keep_only=keep_only,
        allow_unfinished=allow_unfinished,
        overwrite=overwrite,
        storage_options=storage_options,
        output_options=output_options,
    )
    with Pool(threads=threads) as pool:
        markers = run_plan(plan, pool, progress=progress).markers
    return summary(plan, markers)


def plan_select(
    scores: Source,
    output: str | os.PathLike[str],
    *,
    threads: int | None = None,
    threshold: float | str | Threshold | None = None,
    scale: Scale | None = None,
    keep: Keep | None = None,
    override_column: str | None = None,
    top: int | None = None,
    keep_fraction: float | None = None,
    by: str | None = None,
    exclude: Source | None = None,
    include: Source | None = None,
    id_column: str | None = None,
    drop_duplicates: bool = False,
    keep_only: bool = False,
    allow_unfinished: bool = False,
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
    found = find_scores(scores, storage_options, allow_unfinished=allow_unfinished)
    names = found.schema.names
    _check_columns(found, by, id_column)
    if drop_duplicates:
        check_hashes(found)
    record = found.provenance.record
    if keep is None and threshold is None and wanted is None:  # Those of the run.
        keep = KeepRule.from_dict(record["keep"]) if "keep" in record else None
        override_column = record.get("override_column") if override_column is None else override_column
    store = Store.of(output, storage_options if output_options is None else output_options)
    refuse_overlap(scores, [one.file for one in found.files], store)
    id_column = find_id_column(names) if id_column is None else id_column
    types = dict(zip(names, found.schema.types, strict=True))
    keep_rule = None if keep is None else _keep_rule(found, keep, types, threshold, scale)
    lowest = _lowest(found, threshold, scale, wanted) if keep_rule is None else None
    check_override(override_column, types)
    excluded, included = (
        None if ids is None else read_ids(ids, storage_options, id_column, found) for ids in (exclude, include)
    )
    rule = Rule(
        found.score_column,
        lowest,
        keep_rule,
        override_column,
        wanted,
        id_column,
        excluded,
        included,
        drop_duplicates,
        higher_is_better=found.provenance.higher_is_better,
    )
    rule = rule.prepared(found.files, threads or CPU_COUNT)
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
    """Summary of all outputs of a plan; it warns of lists whose ids no row has."""
    done = [markers[shard.name] for shard in plan.shards]
    counts = {name: sum(getattr(marker, name) for marker in done) for name in COUNTS}
    rule = plan.settings.rule
    for role, ids, matches in (
        ("exclude", rule.exclude, counts["excluded"]),
        ("include", rule.include, counts["include_matches"]),
    ):
        if ids is not None and len(ids.texts) and not matches:
            warnings.warn(
                f"none of the {len(ids.texts):,} ids of {role}, such as {ids.texts[0]!r}, is in column "
                f"{ids.columns[-1]!r} of the scores: compare how both are written",
                AestheticWarning,
                stacklevel=3,
            )
    return SelectSummary(
        output=plan.store.url,
        rule=str(rule),
        files=len(done),
        files_before=len(plan.done),
        **counts,
        rule_counts=sum_rule_counts(done) if rule.is_counted else None,
    )


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
    if threshold is None and wanted is not None:
        return None
    if threshold is None and "threshold" not in found.provenance.record:
        raise ArgumentError("expected threshold, keep, top or keep_fraction, got none, and the files name no threshold")
    return found.provenance.on_scores(found.provenance.find_threshold(threshold), scale)


def _keep_rule(
    found: ScoreFiles,
    keep: Keep,
    types: Mapping[str, pa.DataType],
    threshold: float | str | Threshold | None,
    scale: str | None,
) -> KeepRule:
    """Rule over columns of the files, with bounds of scores as numbers on their scale."""
    if threshold is not None:
        raise both_error(threshold, found.score_column)
    scale = None if "scale" in found.provenance.record else scale  # Probabilities have another one.
    names = found.provenance.score_columns or [found.score_column]
    names += [name for name in [found.provenance.similarity_column] if name]
    find = {name: partial(found.provenance.of_score(name).on_scores, scale=scale) for name in names}
    rule = KeepRule.of(keep).with_thresholds(find)
    rule.check(types)
    return rule


def _check_columns(found: ScoreFiles, by: str | None, id_column: str | None) -> None:
    names = found.schema.names
    for role, name in (("score column", found.score_column), ("by", by), ("id_column", id_column)):
        if name is not None and name not in names:
            raise ColumnError(
                f"expected {role} {name!r} in the files of scores, got {', '.join(names)}{did_you_mean(name, names)}: "
                f"{PASSTHROUGH}"
            )
    dtype = found.schema.field(found.score_column).type
    if not pa.types.is_floating(dtype):
        raise ColumnError(f"expected scores, a column of floats, in {found.score_column!r}, got {dtype}")
