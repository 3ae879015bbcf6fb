"""Kept samples out of tars into tars, durably."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import dask.dataframe as dd

from dask_aesthetic.errors import InputError
from dask_aesthetic.filter.copying import Copiers
from dask_aesthetic.filter.plan import FilterMarker, FilterPlan, cut, plan_outputs
from dask_aesthetic.filter.scores import KEY, SHARD, Counts, meet, score_table
from dask_aesthetic.filter.settings import FilterSettings
from dask_aesthetic.inputs.files import Source, list_files
from dask_aesthetic.inputs.tars import find_tars, metadata_schema
from dask_aesthetic.job.mixing import refuse_mixing
from dask_aesthetic.job.running import run_plan
from dask_aesthetic.job.store import Store
from dask_aesthetic.thresholds import Threshold, find_threshold
from dask_aesthetic.validation import check_integer


@dataclass(frozen=True)
class FilterSummary:
    """What a filtering wrote.

    Attributes
    ----------
    output : str
    shards : int
        Tars, each with a Parquet file.
    samples, kept : int
        In all tars that were read, and in those that were written.
    members, bytes : int
        Members that were written, and bytes of the tars and Parquet files.
    unscored : int
        Samples that no row was of, which are not kept.
    missing : int
        Rows to keep that no sample was of.
    left_out : dict of str to int
        What could not be copied, by `sample_status` of `read_webdataset`: ``duplicate_member`` counts samples to keep;
        the others count members that are part of no sample.
    notes : dict of str to int
        ``json_unchanged``: JSON sidecars that are no object, so that they could not take the score;
        ``duplicate_row``: samples with several rows of metadata, whose columns are null.
    """

    output: str
    shards: int
    samples: int
    kept: int
    members: int
    bytes: int
    unscored: int
    missing: int
    left_out: dict[str, int] = field(default_factory=dict)
    notes: dict[str, int] = field(default_factory=dict)


def filter_dataset(
    frame: Any,
    output: str | os.PathLike[str],
    where: str = "keep",
    *,
    tars: Source,
    threads: int | None = None,
    progress: Callable[[FilterMarker], None] | None = None,
    **options: Any,
) -> FilterSummary:
    """Copy the samples to keep out of tars into tars; the same call goes on where an earlier one was stopped.

    Parameters
    ----------
    frame, output, where, tars
        As in `plan_filter`.
    threads : int, optional
        How many threads of this process copy; one per CPU core if not said.
    progress : callable, optional
        Called with the `FilterMarker` of every output that is done.
    **options
        As in `plan_filter`.

    Returns
    -------
    FilterSummary
        Counts of all outputs, those of earlier runs too.

    Raises
    ------
    ColumnError, InputError, ThresholdError, ArgumentError
        As in `plan_filter`, before anything is written.
    JobError
        A tar has changed meanwhile, or the disk is full. What is done stays.

    Notes
    -----
    Members are copied byte for byte in the order of the tar, with name, time, owner and permissions, all sidecars of a
    sample beside it. Into the JSON sidecar goes the score only if asked. Beside each tar lies a Parquet file with a row
    per sample: ``key``, the columns of the Parquet file beside the source, ``source_shard``, the score and ``keep``.
    An output appears under its name when it is whole and on disk; then a marker says that it is done. ``_SUCCESS``, the
    manifest, is written last. The bytes do not depend on threads, or on how often the run was stopped.

    Nothing in a tar becomes the name of a file. What has an unsafe name, or is a link or device, is counted alone.

    Examples
    --------
    >>> from dask_aesthetic import read_webdataset, filter_dataset
    >>> scored = read_webdataset("cc3m/").aesthetic.embed_and_score()  # doctest: +SKIP
    >>> filter_dataset(scored, "kept/", tars="cc3m/", samples_per_shard=10_000)  # doctest: +SKIP
    """
    plan = plan_filter(frame, output, where, tars=tars, **options)
    with Copiers(threads) as executor:
        markers = run_plan(plan, executor, progress=progress)
    return summary(plan, markers)


def plan_filter(
    frame: Any,
    output: str | os.PathLike[str],
    where: str = "keep",
    *,
    tars: Source,
    threshold: float | str | Threshold | None = None,
    scale: str = "raw",
    score_column: str = "aesthetic_score",
    samples_per_shard: int | None = None,
    score_in_json: bool = False,
    metadata: bool = True,
    allow_unmatched: bool = False,
    overwrite: bool = False,
    storage_options: Mapping[str, Any] | None = None,
    output_options: Mapping[str, Any] | None = None,
) -> FilterPlan:
    """Look up which samples of the tars are kept, and refuse what cannot be written; nothing is written.

    Parameters
    ----------
    frame : dask.dataframe.DataFrame, pandas.DataFrame, cudf.DataFrame or pyarrow.Table
        Scored rows: ``key``, the score, `where`, and ``shard`` if the tars share keys, as `read_webdataset` gives it.
        Of a Dask frame these columns alone are computed and held: about 50 bytes a row.
    output : str or path
        Folder for the tars, or an fsspec URL; made if it is not there.
    where : str
        Column of True and False; null is not kept.
    tars : str, path, or list of them
        As `path` of `read_webdataset`.
    threshold : float, str or Threshold, optional
        Keep by the score in place of `where`, on `scale`.
    scale : {"raw", "unit"}
        Of the scores.
    score_column : str
    samples_per_shard : int, optional
        Write tars of so many samples, 00000.tar and on; each tar by its own name if not given. A tar ends early where
        the next sample has a key that it holds already.
    score_in_json : bool
        Put the score into each sample's JSON sidecar, which is written anew; a sample without one gets one.
    metadata : bool
        Carry over the columns of the Parquet files beside the tars.
    allow_unmatched : bool
        Go on where rows to keep have no sample in the tars, or samples no row; both are counted.
    overwrite : bool
        Replace what an earlier run made with other settings, and files in the way.
    storage_options, output_options : mapping, optional
        For fsspec, of `tars` and of `output`; the second is the first if not given.

    Returns
    -------
    FilterPlan

    Raises
    ------
    ColumnError
        A column is not there, or of another type.
    InputError
        Tars are damaged, keys are ambiguous or do not match, or the output has what the run would replace.
    ThresholdError, ArgumentError
    """
    if samples_per_shard is not None:
        check_integer("samples_per_shard", samples_per_shard, minimum=1, unit="samples", default="None")
    cut_at = None if threshold is None else find_threshold(threshold, scale, "unknown")
    table = score_table(_held(frame, where, score_column, cut_at), score_column, where, cut_at.cut if cut_at else None)
    found = find_tars(list_files(tars, storage_options), tars, metadata)
    store = Store.of(output, storage_options if output_options is None else output_options)
    refuse_mixing(tars, [tar.file for tar in found], store)
    settings = FilterSettings(
        f"{where} is true" if cut_at is None else f"{cut_at.scale} {score_column} >= {cut_at.value:g}",
        score_column,
        samples_per_shard,
        score_in_json,
        metadata_schema(found),
    )
    pieces, counts = meet(table, found)
    if not allow_unmatched:
        _refuse_unmatched(counts)
    return plan_outputs(cut(pieces, samples_per_shard), counts, settings, store, overwrite)


def summary(plan: FilterPlan, markers: Mapping[str, FilterMarker]) -> FilterSummary:
    """What the outputs of a plan hold together."""
    done = [markers[part.name] for part in plan.shards]
    notes = {name: sum(marker.notes.get(name, 0) for marker in done) for marker in done for name in marker.notes}
    counts = plan.counts
    return FilterSummary(
        output=plan.store.url,
        shards=len(done),
        samples=counts.samples,
        kept=counts.kept,
        members=sum(marker.members for marker in done),
        bytes=sum(written["bytes"] for marker in done for written in marker.output.values()),
        unscored=counts.unscored,
        missing=counts.missing,
        left_out=counts.left_out,
        notes=notes,
    )


def _held(frame: Any, where: str, score_column: str, cut: Threshold | None) -> Any:
    """The columns that count of a Dask frame, computed."""
    if not isinstance(frame, dd.DataFrame):
        return frame
    names = [name for name in (SHARD, KEY, score_column, *([where] if cut is None else [])) if name in frame.columns]
    return frame[names].compute()


def _refuse_unmatched(counts: Counts) -> None:
    if counts.missing:
        raise InputError(
            f"expected a sample in the tars for each row to keep, got none for {counts.missing:,} rows: name all tars "
            "that were scored; or allow_unmatched=True (--allow-unmatched), which writes those that are there"
        )
    if counts.unscored:
        raise InputError(
            f"expected a scored row for each of {counts.samples:,} samples, got none for {counts.unscored:,}: score "
            "all tars; or allow_unmatched=True (--allow-unmatched), which keeps no sample without a row"
        )
