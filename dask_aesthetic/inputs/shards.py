"""Inputs of every layout cut into shards: parts of a job, each read from front to back in small batches."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import pyarrow as pa
import xxhash

from dask_aesthetic.embeddings.arrow import type_width
from dask_aesthetic.errors import ColumnError, InputError
from dask_aesthetic.inputs import cuts, hive, layouts, parquet
from dask_aesthetic.inputs.file import File
from dask_aesthetic.inputs.files import Found, Source, list_files, with_suffix
from dask_aesthetic.inputs.pairs import Pair, check_matrices, look_at_layout, ranges

Batches = Iterator[tuple[pa.RecordBatch, Any]]


@dataclass(frozen=True)
class Shard(ABC):
    """Consecutive rows of an input, of which each has an embedding or a picture; small, for going to workers.

    Attributes
    ----------
    name : str
        No other shard has it: the file's name relative to what was named, without suffix; of a part of a file with
        its number and the number of parts.
    rows : int
    start : int
        Position of the first row in the file.
    schema : pyarrow.Schema
        Columns that can be carried over; what is scored is none of them.
    place : tuple of str
        Those of them by which readers of the output find a row again: always carried over.
    """

    place: ClassVar[tuple[str, ...]] = ()

    name: str
    rows: int
    start: int
    schema: pa.Schema

    @property
    @abstractmethod
    def files(self) -> tuple[File, ...]:
        """What it is read from."""

    @property
    def stamps(self) -> list[list[Any]]:
        """Size and time stamp, or what stands for it, of each file."""
        return [[file.size, file.stamp] for file in self.files]

    @property
    @abstractmethod
    def scored_type(self) -> pa.DataType:
        """The type of what is scored, embeddings or pictures."""

    @property
    def width(self) -> int | None:
        """Floats per row, where the type says it."""
        return type_width(self.scored_type)

    @property
    def partitions(self) -> tuple[str, ...]:
        """Those of the columns that stand in the names of folders, not in the file."""
        return ()

    @property
    def stop(self) -> int:
        """Position after the last row in the file."""
        return self.start + self.rows

    def batches(self, columns: Sequence[str], access: str = "read") -> Batches:
        """Its rows in order, few at a time.

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
            The embeddings, a list of floats per row; of pictures what `embed_images` takes.

        Raises
        ------
        InputError
            A file is damaged, or no longer what it was when the shard was found.
        """
        read = 0
        for carried, values in self._batches(list(columns), access):
            read += len(values)
            yield carried, values
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
    """Row groups of a Parquet file with a column of embeddings, or pictures."""

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
        return together(content, *(f"{name}={value}" for name, value in self.folders if name in columns))

    def _batches(self, columns: list[str], access: str) -> Batches:
        read = [*(name for name in columns if name not in self.partitions), self.column]
        for batch in parquet.batches(self.file, read, self.start, self.stop, self.batch_rows, access):
            if not set(read) <= set(batch.schema.names):
                raise self._changed("other columns")
            yield hive.select(batch, columns, self.folders), batch.column(self.column)


@dataclass(frozen=True)
class MatrixShard(Shard):
    """Rows of a matrix, and of the metadata beside it."""

    pair: Pair

    @property
    def files(self) -> tuple[File, ...]:
        return (self.pair.matrix.file, *([self.pair.metadata] if self.pair.metadata else []))

    @property
    def scored_type(self) -> pa.DataType:
        return self.pair.matrix.type

    def digest(self, columns: Sequence[str]) -> str:
        matrix, metadata = self.pair.matrix, self.pair.metadata
        told = f"{matrix.width} {matrix.dtype} {matrix.fortran}"
        content = matrix.file.digest(matrix.ranges(self.start, self.stop))
        if metadata is None:
            return together(told, content)
        return together(told, content, parquet.digest(metadata, columns, self.start, self.stop))

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
    found: Sequence[Found] | None = None,
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
    found : list of Found, optional
        The files of `source`, as `list_files` gives them, if they have been listed.

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
    cuts.check_rows(rows_per_shard)
    if found is None:
        found = list_files(source, storage_options)
    layout = layouts.choose_format(found, source, format)
    if layout == "parquet":
        files = with_suffix(found, ".parquet", source)
        shards = parquet_shards(files, embedding_column, rows_per_shard, parquet.check_embedding)
    else:
        shards = _matrices(look_at_layout(layout, found, source, key), rows_per_shard)
    cuts.check_names([shard.name for shard in shards])
    return shards


def parquet_shards(
    files: Sequence[tuple[File, str]],
    column: str,
    most: int,
    check: Callable[[pa.Schema, str], None],
    batch_rows: int = parquet.BATCH_ROWS,
) -> list[Shard]:
    """Parquet files cut between row groups; `check` refuses a schema whose column does not hold what is scored."""

    def look(found: tuple[File, str]) -> list[Shard]:
        file, name = found
        footer = parquet.read_footer(file)
        try:
            check(footer.schema, column)
        except ColumnError as error:
            raise ColumnError(f"{error} (in {file.path})") from None
        folders = hive.of_file(found, footer.schema)
        dtype = footer.schema.field(column).type
        own = pa.schema([field for field in footer.schema if field.name != column])
        schema = hive.extended(own, folders, hive.COMPACT)
        return [
            ParquetShard(part, stop - start, start, schema, file, column, dtype, folders, batch_rows)
            for part, start, stop in cuts.parts(name, cuts.between_groups(footer.groups, most))
        ]

    return [shard for shards in layouts.look_at_all(files, look) for shard in shards]


def _matrices(found: Sequence[tuple[Pair, pa.Schema]], most: int) -> list[Shard]:
    check_matrices([pair.matrix for pair, _ in found])
    return [
        MatrixShard(part, stop - start, start, schema, pair)
        for pair, schema in found
        for part, start, stop in cuts.parts(pair.name, ranges(pair.matrix, most))
    ]


def together(*parts: str) -> str:
    """One digest of several."""
    return xxhash.xxh3_128_hexdigest("\n".join(parts).encode())
