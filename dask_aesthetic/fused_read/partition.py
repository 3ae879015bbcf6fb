"""What a task does: it reads the other columns of a partition as Dask does, and scores the embeddings of its files."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any, Protocol

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import torch
from fsspec.implementations.local import LocalFileSystem

from dask_aesthetic import embeddings
from dask_aesthetic.embeddings.arrow import may_hold_embeddings
from dask_aesthetic.errors import InputError
from dask_aesthetic.frame_columns import EmbeddingColumns
from dask_aesthetic.fused_read.private import FusedParquetIO, ReadParquetPyarrowFS, _need_filtering, methods
from dask_aesthetic.io import cudf, parquet
from dask_aesthetic.io.shards import ParquetShard, row_group_shards
from dask_aesthetic.io.storage import File, local_file, remote_file
from dask_aesthetic.score_spec import ScoreSpec
from dask_aesthetic.scoring import first_invalid, score_array, score_runs
from dask_aesthetic.shard_scores import RowScores, row_scores

Scored = tuple[torch.Tensor, torch.Tensor]  # Scores and statuses of a partition's rows.


class Parts(Protocol):
    """Parts of files that make a partition."""

    def read(self, column: str, spec: ScoreSpec, count: Any) -> tuple[Any, Scored]:
        """Frame of the other columns, and its rows' scores and statuses, which are given to `count` as well."""


@dataclass(frozen=True)
class ReadPartition:
    """Function of the tasks of `ReadAestheticColumns`, with its operands, its name and the number of the partition."""

    read_name: str
    embedding_column: str
    columns: Sequence[str]
    computed: EmbeddingColumns
    call: str
    number: int

    def __call__(self, parts: Parts) -> Any:
        """Partition of these parts, with values in place of the embeddings."""
        spec = self.computed.read_spec
        frame, (scores, status) = parts.read(self.read_name, replace(spec, on_invalid="null"), self._count)
        row = first_invalid(status) if spec.on_invalid == "raise" else None
        if row is not None:
            raise spec.invalid(self.embedding_column, self.number, row, frame.index[row], status[row])
        values = self.computed.values(scores, status, frame.index.to_series())
        return frame.assign(**{self.read_name: values})[list(self.columns)]

    def _count(self, lists: Any, status: torch.Tensor) -> None:
        self.computed.count(self.call, lists, self.embedding_column, status)


@dataclass(frozen=True)
class FsspecParts:
    """Parts of `ReadParquetFSSpec`, and what reads them."""

    source: Any
    parts: Sequence[Any]

    def read(self, column: str, spec: ScoreSpec, count: Any) -> tuple[Any, Scored]:
        found = [self._read_part(part, column, spec, count) for part in self.parts]
        frames, scored = zip(*found, strict=True)
        return _concatenate(frames), _joined(scored)

    def _read_part(self, part: Any, column: str, spec: ScoreSpec, count: Any) -> tuple[Any, Scored]:
        with _unchanged(_local_paths(self.source.fs, part)):
            frame = self.source(part)
            rows = [self._scored(*piece, column, spec) for piece in _pieces(part)]
            if any(piece is None for piece in rows):  # As its type in one file makes Dask's column.
                values = self.source.project_columns([column])(part)[column]
                scored = score_runs(embeddings.runs(values, spec.width), spec)
                count(values, scored[1])
            else:
                scored = _counted((row for piece in rows for row in piece or ()), spec, count)
        return _matched(frame, len(scored[1])), scored

    def _scored(self, path: str, groups: list[int] | None, keys: Any, column: str, spec: ScoreSpec) -> Any:
        """Scores of the rows of a piece; None if its file holds no embeddings."""
        options = self.source.common_kwargs
        if _need_filtering(options.get("filters"), keys):
            table = self._filtered(path, groups, keys, column)
            return (
                _score_chunks(table[column].chunks, column, spec) if may_hold_embeddings(table[column].type) else None
            )
        shards = row_group_shards(_file(self.source.fs, path), groups, column)
        return _score_shards(shards, spec) if all(may_hold_embeddings(shard.type) for shard in shards) else None

    def _filtered(self, path: str, groups: list[int] | None, keys: Any, column: str) -> pa.Table:
        """Arrow table of the rows that filters leave, which Dask makes its columns of."""
        options = dict(self.source.common_kwargs)
        schema, filters, partitions = (options.pop(name, None) for name in ("schema", "filters", "partitions"))
        for name in ("categories", "dtype_backend"):
            options.pop(name, None)
        engine, fs = self.source.engine, self.source.fs
        return engine._read_table(
            path, fs, [None] if groups is None else groups, [column], schema, filters, partitions, keys, **options
        )


@dataclass(frozen=True)
class Fragments:
    """Fragments of `ReadParquetPyarrowFS`, as arguments of its functions."""

    tables: Sequence[dict[str, Any]]
    to_pandas: dict[str, Any]
    is_fused: bool

    def read(self, column: str, spec: ScoreSpec, count: Any) -> tuple[Any, Scored]:
        with _unchanged([_fragment(table).path for table in self.tables]):
            frame = self._frame()
            found = (row for table in self.tables for row in self._scored(table, column, spec))
            scored = _counted(found, spec, count)
        return _matched(frame, len(scored[1])), scored

    def _frame(self) -> Any:
        first = self.tables[0]
        if not self.is_fused:
            return ReadParquetPyarrowFS._table_to_pandas(
                ReadParquetPyarrowFS._fragment_to_table(**first), **self.to_pandas
            )
        pairs = [(table["fragment_wrapper"], table["filters"]) for table in self.tables]
        return FusedParquetIO._load_multiple_files(pairs, first["columns"], first["schema"], **self.to_pandas)

    def _scored(self, table: dict[str, Any], column: str, spec: ScoreSpec) -> Iterator[RowScores]:
        fragment, schema, filters = _fragment(table), table["schema"], table["filters"]
        if filters is None:
            groups = [group.id for group in fragment.row_groups]
            shards = row_group_shards(local_file(fragment.path), groups, column)
            if all(shard.type == schema.field(column).type for shard in shards):
                return _score_shards(shards, spec)
        rows = pq.filters_to_expression(filters) if isinstance(filters, list) else filters
        batches = fragment.to_batches(
            schema=schema, columns=[column], filter=rows, batch_size=parquet.BATCH_ROWS, batch_readahead=1
        )
        return _score_chunks((batch.column(0) for batch in batches), column, spec)


@dataclass(frozen=True)
class GpuParts:
    """Parts of dask-cuDF's reader, and what reads them."""

    source: Any
    parts: Sequence[Any]

    def read(self, column: str, spec: ScoreSpec, count: Any) -> tuple[Any, Scored]:
        pieces = [one for part in self.parts for one in (part if isinstance(part, list) else [part])]
        with _unchanged(_local_paths(self.source.fs, pieces)):
            if self.source.common_kwargs.get("partitions"):  # As dask-cuDF does.
                frame = _concatenate([self.source(part) for part in self.parts])
            else:
                frame = self.source(pieces)
            found = [
                scored
                for path, groups, _ in _pieces(pieces)
                for scored in self._scored(path, groups, column, spec, count)
            ]
        if not found:
            return _matched(frame, 0), _counted([], spec, count)
        scores, status = (torch.cat(every, dim=-1) for every in zip(*found, strict=True))
        return _matched(frame, len(status)), (scores, status)

    def _scored(
        self, path: str, groups: list[int] | None, column: str, spec: ScoreSpec, count: Any
    ) -> Iterator[Scored]:
        width = spec.width
        for shard in row_group_shards(_file(self.source.fs, path), groups, column, cudf.max_rows(width)):
            values = cudf.read_embeddings(shard)
            with embeddings.stream(values):
                scored = score_runs(embeddings.runs(values, width), spec)
                count(values, scored[1])
            yield scored


def _pieces(part: Any) -> Iterator[tuple[str, list[int] | None, Any]]:
    """Path, row groups and partition keys of each piece of a part."""
    for one in part if isinstance(part, list) else [part]:
        path, groups, keys = one["piece"]
        yield path, None if groups is None or groups == [None] else np.atleast_1d(groups).tolist(), keys


def _local_paths(fs: Any, part: Any) -> list[str]:
    return [path for path, _, _ in _pieces(part)] if type(fs) is LocalFileSystem else []


def _file(fs: Any, path: str) -> File:
    if type(fs) is LocalFileSystem:
        return local_file(path)
    return remote_file(fs.unstrip_protocol(path), fs.info(path), fs.storage_options)


def _fragment(table: dict[str, Any]) -> Any:
    return getattr(table["fragment_wrapper"], "fragment", table["fragment_wrapper"])


@contextmanager
def _unchanged(paths: Iterable[str]) -> Iterator[None]:
    """Refuse local files that are rewritten meanwhile: columns and scores would be of different rows."""
    before = [local_file(path) for path in dict.fromkeys(paths)]
    yield
    for file in before:
        if local_file(file.path) != file:
            raise InputError(f"expected {file.path} as it was when its columns were read, got another version")


def _score_shards(shards: Iterable[ParquetShard], spec: ScoreSpec) -> Iterator[RowScores]:
    for shard in shards:
        yield from row_scores(shard, spec, shard.file.name, shard.start)


def _score_chunks(chunks: Iterable[pa.Array], column: str, spec: ScoreSpec) -> Iterator[RowScores]:
    for chunk in chunks:
        yield *score_array(chunk, spec, column, "", 0), chunk


def _counted(rows: Iterable[RowScores], spec: ScoreSpec, count: Any) -> Scored:
    scores, status = [np.empty((len(spec.predictors), 0), np.float32)], [np.empty(0, np.uint8)]
    for some, codes, lists in rows:
        count(lists, torch.from_numpy(codes))
        scores.append(some)
        status.append(codes)
    return torch.from_numpy(np.concatenate(scores, axis=1)), torch.from_numpy(np.concatenate(status))


def _joined(scored: Sequence[Scored]) -> Scored:
    if len(scored) == 1:
        return scored[0]
    # numpy's: torch's own would wake its threads, for which cores may be busy.
    scores, status = (np.concatenate([one.numpy() for one in every], axis=-1) for every in zip(*scored, strict=True))
    return torch.from_numpy(scores), torch.from_numpy(status)


def _concatenate(frames: Sequence[Any]) -> Any:
    return frames[0] if len(frames) == 1 else methods.concat(list(frames))


def _matched(frame: Any, rows: int) -> Any:
    """The frame, whose rows are checked to be as many as scores are."""
    if not len(frame) and not len(frame.columns) and frame.index.names == [None]:
        return frame.reindex(pd.RangeIndex(rows))  # Arrow forgets the rows of joined tables without columns.
    if len(frame) != rows:
        raise InputError(f"expected as many rows as embeddings, got {len(frame):,} and {rows:,}: a file has changed")
    return frame
