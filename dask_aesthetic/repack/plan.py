"""Repack jobs: Parquet files are rewritten file by file, durably."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pyarrow.compute as pc

from dask_aesthetic.choices import EmbeddingDtype, Layout
from dask_aesthetic.defaults import EMBEDDING_COLUMN, LAYOUTS, PACKED
from dask_aesthetic.embeddings.axes import drop_axes, flat_type
from dask_aesthetic.embeddings.packed import check_embedding_dtype
from dask_aesthetic.errors import ArgumentError, ColumnError, InputError
from dask_aesthetic.io.listing import Source, list_files
from dask_aesthetic.io.shards import ParquetShard, find_shards
from dask_aesthetic.jobs.markers import output_name
from dask_aesthetic.jobs.pool import Pool, check_client
from dask_aesthetic.jobs.runner import run_plan
from dask_aesthetic.jobs.state import JobPlan, PreviousRun, Stopped
from dask_aesthetic.jobs.store import Store, refuse_overlap
from dask_aesthetic.repack.settings import SCHEMA_VERSION, RepackSettings
from dask_aesthetic.repack.writing import RepackMarker, repack_shard
from dask_aesthetic.tables import Facts, Shown
from dask_aesthetic.validation import check_column_name

if TYPE_CHECKING:
    from distributed import Client


@dataclass(frozen=True, repr=False)
class RepackSummary(Shown):
    """Counts of a repack job's output.

    Attributes
    ----------
    output : str
    layout : str
    files, rows : int
    bytes_before, bytes : int
        Of the files that were read, and of the written ones.
    how_to_read : str
        Argument and option that readers of the output need; empty for lists.
    """

    output: str
    layout: str
    files: int
    rows: int
    bytes_before: int
    bytes: int
    how_to_read: str = ""

    @property
    def facts(self) -> Facts:
        """Rows of the printed table, by name."""
        return {
            "files": f"{self.files:,} -> {self.output}",
            "rows": f"{self.rows:,}",
            "bytes": f"{self.bytes:,}, from {self.bytes_before:,}",
            "layout": self.layout + (f": readers need {self.how_to_read}" if self.how_to_read else ""),
        }

    def _table(self) -> tuple[str, Facts]:
        return "Summary of a repack job", self.facts


@dataclass(frozen=True)
class RepackPlan(JobPlan[RepackMarker]):
    """A repack job that can start."""

    @property
    def work(self) -> Callable[[ParquetShard, Stopped], RepackMarker]:
        return partial(repack_shard, settings=self.settings, store=self.store)

    @property
    def task_name(self) -> str:
        return "repack-shard"

    @staticmethod
    def outputs(shard: str) -> tuple[str, ...]:
        return (output_name(shard),)

    def manifest(self, done: Sequence[RepackMarker]) -> dict[str, Any]:
        return {
            "schema_version": SCHEMA_VERSION,
            "settings": self.settings.as_config(),
            "rows": sum(marker.rows for marker in done),
            "shards": [{"name": output_name(marker.shard), "rows": marker.rows, **marker.output} for marker in done],
        }

    def table(self) -> str:
        return self.listed(f"{len(self.shards):,} files, {self.rows:,} rows; to write: {len(self.why):,} files")


def repack_dataset(
    source: Source,
    output: str | os.PathLike[str],
    embedding_column: str = EMBEDDING_COLUMN,
    *,
    layout: Layout = PACKED,
    embedding_dtype: EmbeddingDtype | None = None,
    embedding_zero_point: int | None = None,
    client: Client | None = None,
    threads: int | None = None,
    progress: Callable[[RepackMarker], None] | None = None,
    overwrite: bool = False,
    storage_options: Mapping[str, Any] | None = None,
    output_options: Mapping[str, Any] | None = None,
) -> RepackSummary:
    """Rewrite Parquet files so that their embeddings read fastest, durably; the same call resumes a stopped run.

    Parameters
    ----------
    source : str, path, or list of them
        A Parquet file, a folder of them (searched recursively) or a glob; local, or an fsspec URL.
    output : str or path
        Folder for the files, of the same names, or an fsspec URL; created if it is missing.
    embedding_column : str
        Column with a list of numbers per row.
    layout : {"packed", "lists", "small"}
        "packed": fixed-size binary, the bytes of a row's floats, which reads fastest and needs `embedding_dtype` from
        then on; "lists": plain lists without dictionaries, which are scored where they lie in Parquet pages; "small":
        lists with byte stream split and zstd, for who pays for bytes.
    embedding_dtype, embedding_zero_point
        The column holds packed numbers of this dtype, as in ``.aesthetic.score``; 8-bit integers become floats.
    client, threads, progress, overwrite, storage_options, output_options
        As in `score_dataset`; `progress` gets a `RepackMarker`.

    Returns
    -------
    RepackSummary

    Raises
    ------
    InputError
        Files are damaged, their embeddings have several dtypes, or the output has files that the run would replace; for
        "packed" also rows of several widths.
    ColumnError, ArgumentError
        An argument is not usable; found before anything is written.
    JobError
        A file has changed meanwhile, or the disk is full. Finished files stay.

    Notes
    -----
    Rows keep their order, other columns their values and types (but that views of strings become strings), and rows
    that are null stay null. A null among a row's numbers becomes NaN, and "packed" makes an empty row null: their
    status stays the same, as every score does.

    Examples
    --------
    >>> import tempfile
    >>> from pathlib import Path
    >>> from dask_aesthetic import read_and_score, repack_dataset
    >>> from dask_aesthetic.synthetic import synthetic_embeddings
    >>> import pandas as pd
    >>> folder = Path(tempfile.mkdtemp())
    >>> frame = pd.DataFrame({"key": ["a", "b"], "image_embedding": list(synthetic_embeddings(2))})
    >>> frame.to_parquet(folder / "0.parquet")
    >>> done = repack_dataset(folder / "0.parquet", folder / "packed")
    >>> done.rows, done.how_to_read
    (2, 'embedding_dtype="float32" (--embedding-dtype float32)')
    >>> packed = read_and_score(folder / "packed", embedding_dtype="float32").compute()
    >>> packed.equals(read_and_score(folder / "0.parquet").compute())
    True
    """
    plan = plan_repack(
        source,
        output,
        embedding_column,
        layout=layout,
        embedding_dtype=embedding_dtype,
        embedding_zero_point=embedding_zero_point,
        overwrite=overwrite,
        storage_options=storage_options,
        output_options=output_options,
    )
    check_client(client)
    with Pool(client, threads) as pool:
        markers = run_plan(plan, pool, progress=progress).markers
    return summary(plan, markers)


def plan_repack(
    source: Source,
    output: str | os.PathLike[str],
    embedding_column: str = EMBEDDING_COLUMN,
    *,
    layout: Layout = PACKED,
    embedding_dtype: EmbeddingDtype | None = None,
    embedding_zero_point: int | None = None,
    overwrite: bool = False,
    storage_options: Mapping[str, Any] | None = None,
    output_options: Mapping[str, Any] | None = None,
) -> RepackPlan:
    """Plan of a repack job; nothing is written. Arguments and errors as of `repack_dataset`."""
    check_column_name("embedding_column", embedding_column)
    packed = check_embedding_dtype(embedding_dtype, embedding_zero_point)
    found = list_files(source, storage_options)
    shards: list[Any] = find_shards(
        source,
        format="parquet",
        embedding_column=embedding_column,
        rows_per_shard=None,
        found=found,
        embedding_dtype=packed,
    )
    settings = repack_settings(shards, embedding_column, layout, packed)
    store = Store.of(output, storage_options if output_options is None else output_options)
    refuse_overlap(source, [shard.file for shard in shards], store)
    left = PreviousRun.of(store, RepackMarker)
    if not overwrite:
        left.refuse(settings, shards, RepackPlan.outputs)
    why, done = left.compare(
        shards, settings, lambda _, marker: left.why_write({output_name(marker.shard): marker.output})
    )
    return RepackPlan(settings, store, shards, done, why, left.beside(shards))


def repack_settings(
    shards: Sequence[ParquetShard], column: str, layout: str, embedding_dtype: str | None
) -> RepackSettings:
    """Settings for the embeddings of some files.

    Raises
    ------
    ArgumentError, ColumnError, InputError
        As of `repack_dataset`.
    """
    if layout not in LAYOUTS:
        raise ArgumentError.choice("layout", layout, LAYOUTS)
    lists = {shard.name: flat_type(shard.type) for shard in shards if not pa.types.is_null(shard.type)}
    types = {str(one.value_type): name for name, one in lists.items() if one is not None}
    if not types:
        raise ColumnError(f"expected embeddings in column {column!r}, got nulls alone")
    if len(types) > 1:
        named = ", ".join(f"{dtype} in {name}" for dtype, name in types.items())
        raise InputError(f"expected embeddings of one dtype, got {named}: repack them one by one")
    (dtype,) = types
    if layout == PACKED and dtype not in ("halffloat", "float", "double"):
        raise ColumnError(f'expected floats in column {column!r} for the layout "packed", got {dtype}: choose "lists"')
    width = _width(shards) if layout == PACKED else 0
    return RepackSettings(column, layout, dtype, width, embedding_dtype)


def _width(shards: Sequence[ParquetShard]) -> int:
    """Floats per row, by a type or by the first row that has some.

    Raises
    ------
    InputError
        There is no such row.
    """
    for shard in shards:
        if shard.width:
            return shard.width
        if not shard.rows or pa.types.is_null(shard.type):
            continue
        for _, lists in shard.batches([], paged=True):
            lengths = pc.list_value_length(drop_axes(lists)).drop_null()
            widths = lengths.filter(pc.greater(lengths, 0))
            if len(widths):
                return int(widths[0].as_py())
    raise InputError("expected a row with an embedding, got none")


def summary(plan: RepackPlan, markers: Mapping[str, RepackMarker]) -> RepackSummary:
    """Summary of all outputs of a plan."""
    done = [markers[shard.name] for shard in plan.shards]
    return RepackSummary(
        output=plan.store.url,
        layout=plan.settings.layout,
        files=len(done),
        rows=sum(marker.rows for marker in done),
        bytes_before=sum(shard.file.size for shard in plan.shards),
        bytes=sum(marker.output["bytes"] for marker in done),
        how_to_read=plan.settings.how_to_read,
    )
