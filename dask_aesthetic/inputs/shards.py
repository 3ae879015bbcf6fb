"""Embeddings of any layout as shards: the units of a job, each read sequentially in small batches."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import pyarrow as pa
import xxhash

from dask_aesthetic.embeddings.arrow import type_width
from dask_aesthetic.errors import ColumnError, InputError
from dask_aesthetic.inputs import hive, layouts, parquet, split
from dask_aesthetic.inputs.file import File
from dask_aesthetic.inputs.files import ListedFile, Source, files_with_suffix, list_files
from dask_aesthetic.inputs.pairs import Pair, check_matrices, open_pairs, row_ranges
from dask_aesthetic.inputs.row_scores import row_scores
from dask_aesthetic.scoring import ScoreSpec, score_array

Batches = Iterator[tuple[pa.RecordBatch, Any]]
Scored = tuple[pa.RecordBatch, np.ndarray, np.ndarray]  # Passthrough columns, scores, statuses.


@dataclass(frozen=True)
class Shard(ABC):
    """Contiguous rows of an input, each with an embedding or an image; small to pickle.

    Attributes
    ----------
    name : str
        Unique name: the file's name relative to the source, without suffix; for a part of a file also its number and
        the number of parts.
    rows : int
    start : int
        Position of the first row in the file.
    schema : pyarrow.Schema
        Possible passthrough columns, without the embedding or image column.
    location_columns : tuple of str
        Columns that locate a row of the output in the input; they always pass through.
    """

    location_columns: ClassVar[tuple[str, ...]] = ()

    name: str
    rows: int
    start: int
    schema: pa.Schema

    @property
    @abstractmethod
    def files(self) -> tuple[File, ...]:
        """Files that the shard is read from."""

    @property
    def versions(self) -> list[list[Any]]:
        """Size and version of each file."""
        return [[file.size, file.version] for file in self.files]

    @property
    @abstractmethod
    def scored_type(self) -> pa.DataType:
        """Arrow type of the embedding or image column."""

    @property
    def width(self) -> int | None:
        """Floats per row of a fixed-size list; None if the type does not have it."""
        return type_width(self.scored_type)

    @property
    def partitions(self) -> tuple[str, ...]:
        """Hive partition columns: in folder names, not in the file."""
        return ()

    @property
    def stop(self) -> int:
        """Position after the last row in the file."""
        return self.start + self.rows

    def batches(self, columns: Sequence[str], access: str = "read") -> Batches:
        """Iterate over the rows in order, in small batches.

        Parameters
        ----------
        columns : list of str
            Passthrough columns; possibly empty.
        access : {"read", "mapped", "paged"}
            How Parquet is read: "mapped" if it has just been read, "paged" for the first rows only.

        Yields
        ------
        pyarrow.RecordBatch
            The passthrough columns, in this order.
        pyarrow.Array
            The embeddings, a list of floats per row; for images, the values that `embed_images` takes.

        Raises
        ------
        InputError
            A file is damaged, or has changed since the shard was found.
        """
        read = 0
        for passthrough, values in self._batches(list(columns), access):
            read += len(values)
            yield passthrough, values
        if read != self.rows:
            raise self._changed(f"{read:,}")

    def scored(self, columns: Sequence[str], spec: ScoreSpec, column: str, access: str = "read") -> Iterator[Scored]:
        """Iterate over the rows in order, in small batches of passthrough columns, scores and statuses.

        Parameters
        ----------
        columns, access
            As of `batches`.
        spec : ScoreSpec
        column : str
            Name of the embedding column, for errors.

        Raises
        ------
        InputError
            As of `batches`.
        InvalidEmbeddingError
            A row has no usable embedding and ``spec.on_invalid`` is "raise".
        """
        read = 0
        for passthrough, lists in self.batches(columns, access):
            yield passthrough, *score_array(lists, spec, column, f"shard {self.name}", read)
            read += len(lists)

    @abstractmethod
    def digest(self, columns: Sequence[str]) -> str:
        """xxh3_128 content hash, in hexadecimal, of the bytes that ``batches(columns)`` depends on.

        For Parquet, the footer and the chunks of these columns; other columns may change. For a matrix, the shard's
        rows.

        Raises
        ------
        InputError
            A file is damaged.
        """

    @abstractmethod
    def _batches(self, columns: list[str], access: str) -> Batches: ...

    def _changed(self, got: str) -> InputError:
        files = " and ".join(file.path for file in self.files)
        return InputError(
            f"expected rows {self.start:,} to {self.stop:,} of {files} as when the shard was found, got {got}: start "
            "again"
        )


@dataclass(frozen=True)
class ParquetShard(Shard):
    """Row groups of a Parquet file with a column of embeddings or images."""

    file: File
    column: str
    type: pa.DataType
    folders: hive.Partitions = ()
    batch_rows: int = parquet.BATCH_ROWS

    @property
    def files(self) -> tuple[File, ...]:
        return (self.file,)

    @property
    def scored_type(self) -> pa.DataType:
        return self.type

    @property
    def partitions(self) -> tuple[str, ...]:
        return tuple(name for name, _ in self.folders)

    def digest(self, columns: Sequence[str]) -> str:
        content = parquet.digest(self.file, [*columns, self.column], self.start, self.stop)
        return combine_digests(content, *(f"{name}={value}" for name, value in self.folders if name in columns))

    def _batches(self, columns: list[str], access: str) -> Batches:
        read = [*(name for name in columns if name not in self.partitions), self.column]
        for batch in parquet.batches(self.file, read, self.start, self.stop, self.batch_rows, access):
            if not set(read) <= set(batch.schema.names):
                raise self._changed("other columns")
            yield hive.select(batch, columns, self.folders), batch.column(self.column)

    def scored(
        self,
        columns: Sequence[str],
        spec: ScoreSpec,
        column: str,  # noqa: ARG002
        access: str = "read",
    ) -> Iterator[Scored]:
        place = f"shard {self.name}"
        found = row_scores(self.file, self.column, spec, self.start, self.stop, place, self.start, access)
        scores = status = np.empty(0)
        read = 0
        for passthrough in self._passthrough(list(columns), access):
            rows = len(passthrough)
            # Row groups are scored at once, and passed through in batches.
            while len(scores) < rows:
                more = next(found, None)
                if more is None:
                    raise self._changed(f"{read + len(scores):,} or other columns")
                scores, status = (
                    np.concatenate(pair) if len(pair[0]) else pair[1] for pair in ((scores, more[0]), (status, more[1]))
                )
            yield passthrough, scores[:rows], status[:rows]
            scores, status, read = scores[rows:], status[rows:], read + rows
        if read != self.rows or len(scores) or next(found, None) is not None:
            raise self._changed(f"{read:,}")

    def _passthrough(self, columns: list[str], access: str) -> Iterator[pa.RecordBatch]:
        """Passthrough columns alone, in the batches of `batches`."""
        own = [name for name in columns if name not in self.partitions]
        if own:
            for batch in parquet.batches(self.file, own, self.start, self.stop, self.batch_rows, access):
                if not set(own) <= set(batch.schema.names):
                    raise self._changed("other columns")
                yield hive.select(batch, columns, self.folders)
            return
        for at in range(0, self.rows, self.batch_rows):
            batch = pa.record_batch([pa.nulls(min(self.batch_rows, self.rows - at))], [""])
            yield hive.select(batch, columns, self.folders)


@dataclass(frozen=True)
class MatrixShard(Shard):
    """Rows of a matrix and of its metadata."""

    pair: Pair

    @property
    def files(self) -> tuple[File, ...]:
        return (self.pair.matrix.file, *([self.pair.metadata] if self.pair.metadata else []))

    @property
    def scored_type(self) -> pa.DataType:
        return self.pair.matrix.type

    def digest(self, columns: Sequence[str]) -> str:
        matrix, metadata = self.pair.matrix, self.pair.metadata
        header = f"{matrix.width} {matrix.dtype} {matrix.fortran}"
        content = matrix.file.digest(matrix.ranges(self.start, self.stop))
        if metadata is None:
            return combine_digests(header, content)
        return combine_digests(header, content, parquet.digest(metadata, columns, self.start, self.stop))

    def _batches(self, columns: list[str], access: str) -> Batches:  # noqa: ARG002
        at = self.start
        with self.pair.matrix.reader(self.start, self.stop) as read:
            for passthrough in self.pair.passthrough(columns, self.start, self.stop):
                yield passthrough, read(at, at + len(passthrough))
                at += len(passthrough)


def find_shards(
    source: Source,
    *,
    format: str = "auto",  # noqa: A002
    embedding_column: str = "image_embedding",
    key: str = "l14_img",
    rows_per_shard: int = 1_000_000,
    storage_options: Mapping[str, Any] | None = None,
    found: Sequence[ListedFile] | None = None,
) -> list[Shard]:
    """Find embeddings of any layout, check every header and footer, and split them into shards.

    Parameters
    ----------
    source : str, path, or list of them
        A file, a folder (searched recursively) or a glob; local, or fsspec URLs.
    format : {"auto", "parquet", "clip-retrieval", "datacomp", "npy"}
        The layout; "auto" infers it from the file names.
    embedding_column : str
        Embedding column of Parquet files.
    key : str
        Matrix in DataComp's .npz files.
    rows_per_shard : int
        Larger Parquet files are split between row groups into parts of nearly equal size, of at most about this many
        rows; matrices are split between rows; compressed .npz files are not split.
    storage_options : mapping, optional
        Options of the fsspec file system.
    found : list of ListedFile, optional
        Result of `list_files(source)`, if it is known already.

    Returns
    -------
    list of Shard
        At least one; a file without rows makes a shard without rows.

    Raises
    ------
    InputError
        No files to read exist, or files are damaged or do not fit together; the error names each of them.
    ColumnError
        A file lacks the embedding column, or the column holds no lists of floats.
    ArgumentError
    """
    split.check_rows(rows_per_shard)
    if found is None:
        found = list_files(source, storage_options)
    layout = layouts.choose_format(found, source, format)
    if layout == "parquet":
        files = files_with_suffix(found, ".parquet", source)
        shards = parquet_shards(files, embedding_column, rows_per_shard, parquet.check_embedding)
    else:
        shards = _matrices(open_pairs(layout, found, source, key), rows_per_shard)
    split.check_names([shard.name for shard in shards])
    return shards


def parquet_shards(
    files: Sequence[tuple[File, str]],
    column: str,
    max_rows: int,
    check: Callable[[pa.Schema, str], None],
    batch_rows: int = parquet.BATCH_ROWS,
) -> list[Shard]:
    """Split Parquet files between row groups into shards; `check` raises for a schema without the right column."""

    def to_shards(named_file: tuple[File, str]) -> list[Shard]:
        file, name = named_file
        footer = parquet.read_footer(file)
        try:
            check(footer.schema, column)
        except ColumnError as error:
            raise ColumnError(f"{error} (in {file.path})") from None
        folders = hive.partitions_of_file(named_file, footer.schema)
        dtype = footer.schema.field(column).type
        own = pa.schema([field for field in footer.schema if field.name != column])
        schema = hive.add_partition_fields(own, folders, hive.PARTITION_TYPE)
        return [
            ParquetShard(part, stop - start, start, schema, file, column, dtype, folders, batch_rows)
            for part, start, stop in split.name_parts(name, split.split_row_groups(footer.groups, max_rows))
        ]

    return [shard for shards in layouts.inspect_all(files, to_shards) for shard in shards]


def _matrices(found: Sequence[tuple[Pair, pa.Schema]], max_rows: int) -> list[Shard]:
    check_matrices([pair.matrix for pair, _ in found])
    return [
        MatrixShard(part, stop - start, start, schema, pair)
        for pair, schema in found
        for part, start, stop in split.name_parts(pair.name, row_ranges(pair.matrix, max_rows))
    ]


def combine_digests(*parts: str) -> str:
    """Combine content hashes into one."""
    return xxhash.xxh3_128_hexdigest("\n".join(parts).encode())
