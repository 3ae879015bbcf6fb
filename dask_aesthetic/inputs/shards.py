"""Inputs of every layout cut into shards: parts of a job, each read from front to back in small batches."""

from __future__ import annotations

from abc import ABC, abstractmethod
from bisect import bisect_left
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import accumulate, pairwise
from typing import Any

import pyarrow as pa
import xxhash

from dask_aesthetic.errors import ArgumentError, ColumnError, InputError
from dask_aesthetic.inputs import hive, layouts, parquet
from dask_aesthetic.inputs.file import File
from dask_aesthetic.inputs.files import Source, list_files, with_suffix
from dask_aesthetic.inputs.pairs import Pair, check_matrices, look_at_layout, ranges
from dask_aesthetic.inputs.partitions import Ranges

Batches = Iterator[tuple[pa.RecordBatch, pa.Array]]


@dataclass(frozen=True)
class Shard(ABC):
    """Consecutive rows of an input, of which each has an embedding; small, for going to workers.

    Attributes
    ----------
    name : str
        No other shard has it: the file's name relative to what was named, without suffix; of a part of a file with
        its number and the number of parts.
    rows : int
    start : int
        Position of the first row in the file.
    schema : pyarrow.Schema
        Columns that can be carried over; the embedding is none of them.
    """

    name: str
    rows: int
    start: int
    schema: pa.Schema

    @property
    @abstractmethod
    def files(self) -> tuple[File, ...]:
        """What it is read from."""

    @property
    @abstractmethod
    def embedding_type(self) -> pa.DataType:
        """The type of the embeddings."""

    @property
    def width(self) -> int | None:
        """Floats per row, where the type says it."""
        dtype = self.embedding_type
        storage = dtype.storage_type if isinstance(dtype, pa.BaseExtensionType) else dtype
        return storage.list_size if pa.types.is_fixed_size_list(storage) else None

    @property
    def partitions(self) -> tuple[str, ...]:
        """Those of the columns that stand in the names of folders, not in the file."""
        return ()

    @property
    def stop(self) -> int:
        """Position after the last row in the file."""
        return self.start + self.rows

    def batches(self, columns: Sequence[str], access: str = "read") -> Batches:
        """Its rows in order, at most `parquet.BATCH_ROWS` at a time.

        Parameters
        ----------
        columns : list of str
            What is carried over; possibly nothing.
        access : {"read", "mapped", "paged"}
            How Parquet is read: "mapped" if it has just been read, "paged" if the first rows alone are wanted.

        Yields
        ------
        pyarrow.RecordBatch
            These columns alone, in this order.
        pyarrow.Array
            The embeddings, a list of floats per row.

        Raises
        ------
        InputError
            A file is damaged, or no longer what it was when the shard was found.
        """
        read = 0
        for carried, embeddings in self._batches(list(columns), access):
            read += len(embeddings)
            yield carried, embeddings
        if read != self.rows:
            raise self._changed(f"{read:,}")

    @abstractmethod
    def digest(self, columns: Sequence[str]) -> str:
        """xxh3_128, in hexadecimal, of the content that ``batches(columns)`` depends on.

        Of Parquet the footer and the chunks of these columns; other columns may change. Of a matrix the shard's rows.

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
    """Row groups of a Parquet file with an embedding column."""

    file: File
    embedding_column: str
    type: pa.DataType
    folders: hive.Partitions = ()

    @property
    def files(self) -> tuple[File, ...]:
        return (self.file,)

    @property
    def embedding_type(self) -> pa.DataType:
        return self.type

    @property
    def partitions(self) -> tuple[str, ...]:
        return tuple(name for name, _ in self.folders)

    def digest(self, columns: Sequence[str]) -> str:
        content = parquet.digest(self.file, [*columns, self.embedding_column], self.start, self.stop)
        return _together(content, *(f"{name}={value}" for name, value in self.folders if name in columns))

    def _batches(self, columns: list[str], access: str) -> Batches:
        read = [*(name for name in columns if name not in self.partitions), self.embedding_column]
        for batch in parquet.batches(self.file, read, self.start, self.stop, access=access):
            if not set(read) <= set(batch.schema.names):
                raise self._changed("other columns")
            yield hive.select(batch, columns, self.folders), batch.column(self.embedding_column)


@dataclass(frozen=True)
class MatrixShard(Shard):
    """Rows of a matrix, and of the metadata beside it."""

    pair: Pair

    @property
    def files(self) -> tuple[File, ...]:
        return (self.pair.matrix.file, *([self.pair.metadata] if self.pair.metadata else []))

    @property
    def embedding_type(self) -> pa.DataType:
        return self.pair.matrix.type

    def digest(self, columns: Sequence[str]) -> str:
        matrix, metadata = self.pair.matrix, self.pair.metadata
        told = f"{matrix.width} {matrix.dtype} {matrix.fortran}"
        content = matrix.file.digest(matrix.ranges(self.start, self.stop))
        if metadata is None:
            return _together(told, content)
        return _together(told, content, parquet.digest(metadata, columns, self.start, self.stop))

    def _batches(self, columns: list[str], access: str) -> Batches:  # noqa: ARG002
        read = self.pair.matrix.reader(self.stop)
        at = self.start
        for carried in self.pair.carried(columns, self.start, self.stop):
            yield carried, read(at, at + len(carried))
            at += len(carried)


def find_shards(
    source: Source,
    *,
    format: str = "auto",  # noqa: A002
    embedding_column: str = "image_embedding",
    key: str = "l14_img",
    rows_per_shard: int = 1_000_000,
    storage_options: Mapping[str, Any] | None = None,
) -> list[Shard]:
    """Find embeddings, look at every header and footer, and cut them into shards.

    Parameters
    ----------
    source : str, path, or list of them
        A file, a folder (searched through) or a glob; here, or fsspec URLs.
    format : {"auto", "parquet", "clip-retrieval", "datacomp", "npy"}
        The layout; "auto" tells it by the names of the files.
    embedding_column : str
        Of Parquet.
    key : str
        The matrix in DataComp's .npz files.
    rows_per_shard : int
        Larger Parquet files are cut between row groups into nearly even parts of about so many rows at most, matrices
        between rows; compressed .npz files stay whole.
    storage_options : mapping, optional
        For fsspec.

    Returns
    -------
    list of Shard
        At least one; those of files without rows have none.

    Raises
    ------
    InputError
        There is nothing to read, or files are damaged or do not fit together: every one that does not, at once.
    ColumnError
        A file lacks the embedding column, or it holds no lists of floats.
    ArgumentError
    """
    if isinstance(rows_per_shard, bool) or int(rows_per_shard) != rows_per_shard or rows_per_shard < 1:
        raise ArgumentError(f"expected rows_per_shard to be a whole number of rows, 1 or more, got {rows_per_shard!r}")
    found = list_files(source, storage_options)
    layout = layouts.choose_format(found, source, format)
    if layout == "parquet":
        shards = _parquet(with_suffix(found, ".parquet", source), embedding_column, rows_per_shard)
    else:
        shards = _matrices(look_at_layout(layout, found, source, key), rows_per_shard)
    names = {shard.name for shard in shards}
    if len(names) != len(shards):
        twice = next(name for name in sorted(names) if sum(shard.name == name for shard in shards) > 1)
        raise InputError(f"expected inputs of different names, got two shards {twice!r}: rename a file")
    return shards


def _parquet(files: Sequence[tuple[File, str]], embedding_column: str, most: int) -> list[Shard]:
    def look(found: tuple[File, str]) -> list[Shard]:
        file, name = found
        footer = parquet.read_footer(file)
        try:
            parquet.check_embedding(footer.schema, embedding_column)
        except ColumnError as error:
            raise ColumnError(f"{error} (in {file.path})") from None
        folders = hive.of_file(found, footer.schema)
        embedding = footer.schema.field(embedding_column)
        own = pa.schema([field for field in footer.schema if field.name != embedding_column])
        schema = hive.extended(own, folders, hive.COMPACT)
        return [
            ParquetShard(part, stop - start, start, schema, file, embedding_column, embedding.type, folders)
            for part, start, stop in _parts(name, _between_groups(footer.groups, most))
        ]

    return [shard for shards in layouts.look_at_all(files, look) for shard in shards]


def _matrices(found: Sequence[tuple[Pair, pa.Schema]], most: int) -> list[Shard]:
    check_matrices([pair.matrix for pair, _ in found])
    return [
        MatrixShard(part, stop - start, start, schema, pair)
        for pair, schema in found
        for part, start, stop in _parts(pair.name, ranges(pair.matrix, most))
    ]


def _parts(name: str, cuts: Ranges) -> list[tuple[str, int, int]]:
    """Names and ranges of a file's parts; at least one, which may be empty."""
    if len(cuts) < 2:
        return [(name, *(cuts[0] if cuts else (0, 0)))]
    return [(f"{name}.{at:05d}-of-{len(cuts):05d}", start, stop) for at, (start, stop) in enumerate(cuts)]


def _between_groups(groups: list[int], most: int) -> Ranges:
    """Ranges of whole row groups, as near as they allow to even ones of at most `most` rows."""
    edges = list(accumulate(groups, initial=0))
    rows = edges[-1]
    count = -(-rows // most)
    after = [(bisect_left(edges, rows * at / count), rows * at / count) for at in range(1, count)]
    nearest = {min(edges[at - 1], edges[at], key=lambda edge: abs(edge - even)) for at, even in after}
    return list(pairwise(sorted({0, rows} | nearest)))


def _together(*parts: str) -> str:
    return xxhash.xxh3_128_hexdigest("\n".join(parts).encode())
