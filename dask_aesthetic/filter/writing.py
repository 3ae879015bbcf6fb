"""Filtering of tars and folders of images: what is kept is copied into new ones, durably."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import dask.dataframe as dd

from dask_aesthetic.choices import Scale
from dask_aesthetic.defaults import KEEP_COLUMN
from dask_aesthetic.errors import ArgumentError, InputError
from dask_aesthetic.filter.image_plan import plan_images
from dask_aesthetic.filter.output import FilterMarker
from dask_aesthetic.filter.plan import FilterPlan, plan_outputs, split_outputs
from dask_aesthetic.filter.scores import KEY, SHARD, Counts, frame_names, join_scores, score_table
from dask_aesthetic.filter.settings import FilterSettings, ImageFilterSettings
from dask_aesthetic.frame_provenance import find_provenance
from dask_aesthetic.io.image_shards import PATH
from dask_aesthetic.io.listing import Source, find_files, list_files
from dask_aesthetic.io.webdataset import find_tars, metadata_schema
from dask_aesthetic.jobs.pool import Pool
from dask_aesthetic.jobs.runner import run_plan
from dask_aesthetic.jobs.store import Store, refuse_overlap
from dask_aesthetic.provenance import Provenance
from dask_aesthetic.readers import read_scores
from dask_aesthetic.tables import Facts, Shown
from dask_aesthetic.thresholds import Threshold
from dask_aesthetic.validation import check_integer


@dataclass(frozen=True, repr=False)
class FilterSummary(Shown):
    """Counts of a filter job's output.

    Attributes
    ----------
    output : str
    shards : int
        Tars, or folders of images and parts of large ones, each with a Parquet file.
    samples, kept : int
        Samples in the tars that were read, and in the written ones; or image files.
    members, bytes : int
        Members of tars, or image files, that were written, and bytes of the tars, image files and Parquet files.
    unscored : int
        Samples or files without a row, which are not kept.
    missing : int
        Rows to keep without a sample or file.
    left_out : dict of str to int
        Members and samples that cannot be copied, by `sample_status` of `read_webdataset`: ``duplicate_member`` counts
        samples to keep; the others count members outside of samples.
    notes : dict of str to int
        ``json_unchanged``: JSON sidecars that are no object and so take no score;
        ``duplicate_row``: samples with several rows of metadata, whose columns are null.
    unit : {"samples", "images"}
        Whether samples of tars or image files were filtered.
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
    unit: str = "samples"

    @property
    def facts(self) -> Facts:
        """Rows of the printed table, by name."""
        written, missing = ("files", "a file") if self.unit == "images" else ("members", "a sample")
        return {
            "shards": f"{self.shards:,} -> {self.output}",
            self.unit: f"{self.samples:,}",
            "kept": f"{self.kept:,} ({self.kept / max(self.samples, 1):.1%}), {self.members:,} {written}",
            "bytes": f"{self.bytes:,}",
            "unscored": f"{self.unscored:,} {self.unit} without a row, not kept" if self.unscored else "",
            "missing": f"{self.missing:,} rows to keep without {missing}" if self.missing else "",
            "left out": ", ".join(f"{count:,} {reason}" for reason, count in self.left_out.items()),
            "notes": ", ".join(f"{count:,} {note}" for note, count in self.notes.items()),
        }

    def _table(self) -> tuple[str, Facts]:
        return "Summary of a filter job", self.facts


def filter_dataset(
    frame: Any,
    output: str | os.PathLike[str],
    where: str | None = None,
    *,
    tars: Source | None = None,
    images: Source | None = None,
    link: bool = False,
    threads: int | None = None,
    progress: Callable[[FilterMarker], None] | None = None,
    threshold: float | str | Threshold | None = None,
    scale: Scale | None = None,
    score_column: str | None = None,
    samples_per_shard: int | None = None,
    score_in_json: bool = False,
    metadata: bool = True,
    allow_unmatched: bool = False,
    allow_unfinished: bool = False,
    skip_empty: bool = False,
    overwrite: bool = False,
    storage_options: Mapping[str, Any] | None = None,
    output_options: Mapping[str, Any] | None = None,
) -> FilterSummary:
    """Copy the samples to keep from tars into new tars, durably; the same call resumes a run that was stopped.

    Image files in folders are copied into another folder, or linked.

    Parameters
    ----------
    frame : dask.dataframe.DataFrame, pandas.DataFrame, cudf.DataFrame, pyarrow.Table, str or path
        Scored rows, or the folder of a job that wrote them, as of `read_scores`: ``key``, the score, `where`, and
        ``shard`` if the tars share keys, as `read_webdataset` gives it.
        For `images`: ``image_path``, as a job over image files writes it, the score and `where`; a path may be relative
        to the working folder or to `images`. Of a Dask frame only these columns are computed and held: about 50 bytes a
        row, and the path.
    output : str or path
        Folder for the tars or image files, or an fsspec URL; created if it is missing.
    where : str, optional
        Column of True and False; null is not kept. By default that of the run of `read_scores`, else ``keep``.
    tars : str, path, or list of them, optional
        As `path` of `read_webdataset`.
    images : str, path, or list of them, optional
        Instead of `tars`: image files that were scored, or folders of them, which are searched recursively. Copies have
        the same names relative to `output`.
    link : bool
        With `images`: hard links instead of copies, which take no space; input and output are then on one disk. A file
        that is changed in one place is changed in the other.
    threshold : float, str or Threshold, optional
        Lowest score to keep, on `scale`; replaces `where`.
    scale : {"raw", "unit"}, optional
        Scale of the scores; by default that of the files of `read_scores`, else "raw".
    score_column : str, optional
        Column of the scores; by default the one of `read_scores`, which is refused if there are several, else
        ``aesthetic_score``.
    samples_per_shard : int, optional
        With `tars`, as the next two: samples per output tar, 00000.tar and so on; by default each tar keeps its name. A
        tar ends early before a sample whose key it already holds.
    score_in_json : bool
        Add the score to each sample's JSON sidecar, which is rewritten; a sample without one gets one.
    metadata : bool
        Pass through the columns of the Parquet files beside the tars.
    allow_unmatched : bool
        Allow rows to keep without a sample or file, and samples or files without a row; both are counted.
    allow_unfinished : bool
        With a folder of scores: as of `read_scores`.
    skip_empty : bool
        With `tars`: write no tar where nothing is kept; webdataset's reader stops at a tar without samples.
    overwrite : bool
        Replace outputs of other settings, and files in the way.
    storage_options, output_options : mapping, optional
        fsspec options of `tars` or `images`, and of `output`; the second defaults to the first.
    threads : int, optional
        Threads of this process that copy; by default one per CPU core.
    progress : callable, optional
        Called with the `FilterMarker` of every output that is done.

    Returns
    -------
    FilterSummary
        Counts of all outputs, those of earlier runs included.

    Raises
    ------
    ColumnError
        A column is missing, or of another type.
    InputError
        Tars are damaged, keys or paths are ambiguous or do not match, names of images collide, the output has files
        that the run would replace, or it is the folder of the scores.
    ThresholdError, ArgumentError
        An argument is not usable. All of these are found before anything is written.
    JobError
        A tar or image has changed meanwhile, the disk is full or takes no hard link. Finished outputs stay.

    Notes
    -----
    Members are copied byte for byte in the order of the tar, with name, time, owner and permissions, and with all
    sidecars of a sample. The score goes into the JSON sidecar only with `score_in_json`. A Parquet file beside each tar
    has a row per sample: ``key``, the columns of the Parquet file beside the source, ``source_shard``, the score and
    ``keep``. An output appears under its name when it is whole and on disk; its marker follows. ``_SUCCESS``, the
    manifest, is written last. The bytes do not depend on threads, or on how often the run was stopped.

    No name in a tar becomes the name of a file. Members with unsafe names, links and devices are only counted.

    Image files are copied with their times; symbolic links are followed. A Parquet file per folder, in
    ``output/_scores``, has a row per copy: ``image_path`` relative to `output`, ``source_path``, the score, ``keep``.
    A run with other scores removes copies that it does not keep.

    Examples
    --------
    >>> from dask_aesthetic import filter_dataset, read_webdataset
    >>> scored = read_webdataset("cc3m/").aesthetic.embed_and_score()  # doctest: +SKIP
    >>> filter_dataset(scored, "kept/", tars="cc3m/", samples_per_shard=10_000)  # doctest: +SKIP
    >>> filter_dataset("scores/", "best/", images="photos/", threshold=6.5)  # doctest: +SKIP
    """
    plan = plan_filter(
        frame,
        output,
        where,
        tars=tars,
        images=images,
        link=link,
        threshold=threshold,
        scale=scale,
        score_column=score_column,
        samples_per_shard=samples_per_shard,
        score_in_json=score_in_json,
        metadata=metadata,
        allow_unmatched=allow_unmatched,
        allow_unfinished=allow_unfinished,
        skip_empty=skip_empty,
        overwrite=overwrite,
        storage_options=storage_options,
        output_options=output_options,
    )
    with Pool(threads=threads) as pool:
        markers = run_plan(plan, pool, progress=progress).markers
    return summary(plan, markers)


def find_source(tars: Source | None, images: Source | None, link: bool) -> Source:
    """What is filtered, tars or images.

    Raises
    ------
    ArgumentError
        Both are given, or neither, or links with tars.
    """
    source = tars if images is None else images
    if source is None or (tars is not None and images is not None):
        raise ArgumentError(
            f"expected tars (--tars) or images (--images), got {'neither' if tars is None else 'both'}: what was scored"
        )
    if link and images is None:
        raise ArgumentError("expected link=True (--link) with images (--images), got tars: leave it out")
    return source


def plan_filter(
    frame: Any,
    output: str | os.PathLike[str],
    where: str | None = None,
    *,
    tars: Source | None = None,
    images: Source | None = None,
    link: bool = False,
    threshold: float | str | Threshold | None = None,
    scale: Scale | None = None,
    score_column: str | None = None,
    samples_per_shard: int | None = None,
    score_in_json: bool = False,
    metadata: bool = True,
    allow_unmatched: bool = False,
    allow_unfinished: bool = False,
    skip_empty: bool = False,
    overwrite: bool = False,
    storage_options: Mapping[str, Any] | None = None,
    output_options: Mapping[str, Any] | None = None,
) -> FilterPlan:
    """Plan of a filter job: the samples or image files to keep; nothing is written.

    Parameters
    ----------
    frame, output, where, tars and all others
        As in `filter_dataset`.

    Returns
    -------
    FilterPlan

    Raises
    ------
    ColumnError, InputError, ThresholdError, ArgumentError
        As in `filter_dataset`.
    """
    source = find_source(tars, images, link)
    store = Store.of(output, storage_options if output_options is None else output_options)
    if isinstance(frame, str | os.PathLike):
        refuse_overlap(frame, [file for file, _ in find_files(frame, ".parquet")], store)
        frame = read_scores(frame, allow_unfinished=allow_unfinished)
    elif allow_unfinished:
        raise ArgumentError("expected allow_unfinished=True with a folder of scores, got a frame: leave it out")
    if images is not None:
        only_tars = {
            "samples_per_shard": samples_per_shard is not None,
            "score_in_json": score_in_json,
            "metadata": not metadata,
            "skip_empty": skip_empty,
        }
        said = ", ".join(name for name, given in only_tars.items() if given)
        if said:
            raise ArgumentError(f"expected {said} with tars (--tars), got images: leave it out")
    if samples_per_shard is not None:
        samples_per_shard = check_integer(
            "samples_per_shard", samples_per_shard, minimum=1, unit="samples", default="None"
        )
    score_column = Provenance.only_score(frame) if score_column is None else score_column
    if where is None:
        where = Provenance.of_frame(frame, Provenance.first_score(frame)).columns.get("keep_column", KEEP_COLUMN)
    lowest = None
    if threshold is not None:
        lowest = find_provenance(frame, score_column).on_scores(threshold, scale)
    ids = [PATH] if images is not None else [SHARD, KEY] if SHARD in frame_names(frame) else [KEY]
    table = score_table(_computed(frame, where, score_column, lowest, ids), score_column, where, lowest, ids)
    selection = f"{where} is true" if lowest is None else lowest.condition(score_column)
    if images is not None:
        linked = ImageFilterSettings(selection, score_column, link)
        return plan_images(table, source, store, linked, storage_options, allow_unmatched, overwrite)
    found = find_tars(list_files(source, storage_options), source, metadata)
    refuse_overlap(source, [tar.file for tar in found], store)
    settings = FilterSettings(
        selection,
        score_column,
        samples_per_shard,
        score_in_json,
        metadata_schema(found),
        skip_empty,
    )
    kept_samples, counts = join_scores(table, found)
    if not allow_unmatched:
        _refuse_unmatched(counts)
    if skip_empty:
        kept_samples = [kept for kept in kept_samples if len(kept)]
    return plan_outputs(split_outputs(kept_samples, samples_per_shard), counts, settings, store, overwrite)


def summary(plan: FilterPlan, markers: Mapping[str, FilterMarker]) -> FilterSummary:
    """Summary of all outputs of a plan."""
    done = [markers[shard.name] for shard in plan.shards]
    notes = {name: sum(marker.notes.get(name, 0) for marker in done) for marker in done for name in marker.notes}
    counts = plan.counts
    return FilterSummary(
        output=plan.store.url,
        shards=len(done),
        samples=counts.samples,
        kept=counts.kept,
        members=sum(marker.members for marker in done),
        bytes=plan.total_bytes(done),
        unscored=counts.unscored,
        missing=counts.missing,
        left_out=counts.left_out,
        notes=notes,
        unit=plan.unit,
    )


def _computed(frame: Any, where: str, score_column: str, threshold: Threshold | None, ids: Sequence[str]) -> Any:
    """Needed columns of a Dask frame, computed; another frame as it is."""
    if not isinstance(frame, dd.DataFrame):
        return frame
    asked = dict.fromkeys((*ids, score_column, *([where] if threshold is None else [])))
    names = [name for name in asked if name in frame.columns]
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
