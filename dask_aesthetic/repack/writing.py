"""Rewriting of one Parquet file: other columns as they are, embeddings in another layout, then the marker."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from dask_aesthetic.defaults import PACKED
from dask_aesthetic.embeddings.axes import drop_axes, find_offsets
from dask_aesthetic.embeddings.packed import unpack_array
from dask_aesthetic.errors import InputError, JobStoppedError
from dask_aesthetic.io import parquet
from dask_aesthetic.io.shards import ParquetShard
from dask_aesthetic.jobs.markers import output_name
from dask_aesthetic.jobs.state import Stopped, read_marker, write_marker
from dask_aesthetic.jobs.store import Store
from dask_aesthetic.repack.settings import RepackSettings

ROW_GROUP = 1 << 15  # Rows of a row group, of 100 MB, which is in memory at a time.


@dataclass(frozen=True)
class RepackMarker:
    """Marker of a rewritten file.

    Attributes
    ----------
    shard : str
    settings : str
        Fingerprint of the settings.
    inputs : list of [int, str]
        Size and version of the file it was made from.
    rows : int
    output : dict
        ``bytes`` and ``sha256`` of the output.
    """

    shard: str
    settings: str
    inputs: list[list[Any]]
    rows: int
    output: dict[str, Any]

    @property
    def failed(self) -> dict[str, int]:
        """Empty: every row is written."""
        return {}

    def made_from(self, shard: ParquetShard, settings: RepackSettings) -> bool:
        """Whether settings and file are unchanged."""
        return (self.settings, self.inputs) == (settings.fingerprint, shard.versions)


def repack_shard(
    shard: ParquetShard, stopped: Stopped = None, *, settings: RepackSettings, store: Store
) -> RepackMarker:
    """Marker of a file after its output and the marker itself are written.

    Raises
    ------
    InputError
        The file is damaged, has changed, or holds rows that the layout does not hold.
    JobStoppedError
        `stopped` says so; nothing is left behind.
    """
    marker = read_marker(store, shard.name, RepackMarker)
    if marker is not None and marker.made_from(shard, settings):
        return marker
    before, output = shard.local_files(), output_name(shard.name)
    with store.temporary(output) as path:
        write_rows(path, shard, settings, stopped)
        if before != shard.local_files():
            raise InputError(f"expected {shard.file.path} as it was when its rows were read, got another version")
        written = store.place(path, output)
    marker = RepackMarker(shard.name, settings.fingerprint, shard.versions, shard.rows, written)
    write_marker(store, shard.name, asdict(marker))
    return marker


def write_rows(
    path: Path, shard: ParquetShard, settings: RepackSettings, stopped: Stopped = None, rows: int | None = None
) -> None:
    """Write the rows of a shard, or its first rows, into a Parquet file."""
    source = parquet.read_footer(shard.file).schema
    schema = settings.schema(source)
    stop = shard.stop if rows is None else min(shard.start + rows, shard.stop)
    written = 0
    with pq.ParquetWriter(path, schema, **settings.writer_options(schema)) as writer:
        for batch in parquet.batches(shard.file, source.names, shard.start, stop, ROW_GROUP, paged=rows is not None):
            if stopped is not None and stopped():
                raise JobStoppedError
            if set(batch.schema.names) != set(source.names):
                raise shard.changed("other columns")
            columns = [
                repacked(batch.column(name), settings, f"{shard.name}, from row {shard.start + written:,} on")
                if name == settings.embedding_column
                else batch.column(name)
                for name in source.names
            ]
            writer.write_table(pa.table(columns, schema=schema), ROW_GROUP)
            written += len(batch)
    if written != stop - shard.start:
        raise shard.changed(f"{written:,}")


def repacked(column: pa.Array, settings: RepackSettings, place: str) -> pa.Array:
    """Embeddings in the layout of the settings; a null among the numbers becomes NaN, whose row has the same status.

    Raises
    ------
    InputError
        A row of packed embeddings has another width.
    """
    lists = unpack_array(column, settings.embedding_dtype, settings.embedding_column)
    if pa.types.is_null(lists.type) or pa.types.is_null(lists.type.value_type):
        return pa.nulls(len(lists), settings.type)
    lists = drop_axes(lists)
    offsets, missing = find_offsets(lists), np.asarray(lists.is_null().to_numpy(zero_copy_only=False))
    lengths = np.where(missing, 0, np.diff(offsets))
    if int(lengths.sum()) != int(offsets[-1] - offsets[0]):  # Null rows have values.
        values = lists.flatten()
    else:
        values = lists.values.slice(int(offsets[0]), int(offsets[-1] - offsets[0]))
    if values.null_count:
        values = pc.fill_null(values, float("nan")) if pa.types.is_floating(values.type) else values
    if values.null_count:
        raise InputError(f"expected integers without nulls in {place}, got some: leave such rows out")
    if settings.layout == PACKED:
        return _packed(values, lengths, settings, place)
    ends = pa.array(np.concatenate([[0], np.cumsum(lengths)]), pa.int32())
    nulls = pa.array(missing) if missing.any() else None
    return pa.ListArray.from_arrays(ends, values, type=settings.type, mask=nulls)


def _packed(values: pa.Array, lengths: np.ndarray, settings: RepackSettings, place: str) -> pa.Array:
    present = lengths > 0
    others = np.flatnonzero(present & (lengths != settings.width))
    if len(others):
        raise InputError(
            f"expected rows of {settings.width:,} floats in {place}, got one of {lengths[others[0]]:,}, which the "
            'layout "packed" does not hold: choose the layout "lists" (--layout lists)'
        )
    size, row = values.type.bit_width // 8, settings.type.byte_width
    data = values.buffers()[1].slice(values.offset * size, len(values) * size) if len(values) else pa.py_buffer(b"")
    rows = pa.Array.from_buffers(settings.type, len(data) // row if len(values) else 0, [None, data])
    if present.all():
        return rows
    return rows.take(pa.array(np.cumsum(present) - 1, mask=~present))
