"""Embeddings of any layout as shards: contiguous rows of a file, read in small batches or all at once."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from functools import partial
from itertools import accumulate
from typing import Any, ClassVar

import numpy as np
import pyarrow as pa
import xxhash

from dask_aesthetic.embeddings.arrow import is_without_values, type_width
from dask_aesthetic.embeddings.packed import check_embedding_dtype, list_type, unpack_array
from dask_aesthetic.errors import ArgumentError, ColumnError, InputError
from dask_aesthetic.io import formats, hive, parquet, split
from dask_aesthetic.io.listing import ListedFile, Source, files_with_suffix, list_files
from dask_aesthetic.io.npy import Matrix, check_matrices, open_matrix
from dask_aesthetic.io.storage import Digests, File, changed_error, combine_digests, local_file
from dask_aesthetic.validation import check_integer

Batches = Iterator[tuple[pa.RecordBatch, Any]]
# Columns of a matrix without metadata: the location of each row.
LOCATION = pa.schema({"shard": pa.string(), "row": pa.int64()})
MATRIX_ROWS = 4096  # Rows of a batch of a matrix, which are not copied.


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
    column : str
        Name of the embedding or image column.
    """

    # Columns that locate a row of the output in the input; they always pass through.
    location_columns: ClassVar[tuple[str, ...]] = ()
    # Whether `batches` can take digests of what it reads; if not, the digest is taken first.
    digests_in_passing: ClassVar[bool] = False

    name: str
    rows: int
    start: int
    schema: pa.Schema = field(repr=False)
    column: str

    def __dask_tokenize__(self) -> tuple[Any, ...]:
        return type(self).__name__, self.name, self.rows, self.start, self.column, self.files

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
    def embedding_fields(self) -> list[pa.Field]:
        """Columns of embeddings that `read` gives."""
        return [pa.field(self.column, self.scored_type)]

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

    def batches(self, columns: Sequence[str], paged: bool = False, digests: Digests | None = None) -> Batches:
        """Iterate over the rows in order, in small batches.

        Parameters
        ----------
        columns : list of str
            Passthrough columns; possibly empty.
        paged : bool
            Read Parquet page by page, for the first rows only.
        digests : dict, optional
            Takes digests of what is read, for `digest`.

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
        for passthrough, values in self._batches(list(columns), paged, digests):
            read += len(values)
            yield passthrough, values
        if read != self.rows:
            raise self.changed(f"{read:,}")

    @abstractmethod
    def read(self, schema: pa.Schema) -> pa.Table:
        """Read all rows at once, with the columns and types of a schema; the embedding or image may be among them.

        Raises
        ------
        InputError
            As of `batches`.
        """

    @abstractmethod
    def digest(self, columns: Sequence[str], known: Digests | None = None) -> str:
        """xxh3_128 content hash, in hexadecimal, of the bytes that ``batches(columns)`` depends on.

        For Parquet, the footer and the chunks of these columns; other columns may change. For a matrix, the shard's
        rows. What is `known` of the embeddings' bytes, from reading them, is not read again.

        Raises
        ------
        InputError
            A file is damaged.
        """

    def local_files(self) -> list[File]:
        """Local files of the shard with the sizes and versions that they have now, on this machine.

        Raises
        ------
        InputError
            One does not exist any more.
        """
        return [local_file(file.path) for file in self.files if file.is_local]

    @abstractmethod
    def _batches(self, columns: list[str], paged: bool, digests: Digests | None) -> Batches: ...

    def changed(self, got: str) -> InputError:
        """InputError for files that have changed since the shard was found."""
        return changed_error(self.files, self.start, self.stop, got)


@dataclass(frozen=True)
class ParquetShard(Shard):
    """Row groups of a Parquet file with a column of embeddings or images.

    Packed embeddings, of an `embedding_dtype`, are read as lists, and `type` is that of the lists.
    """

    digests_in_passing: ClassVar[bool] = True

    file: File
    type: pa.DataType = field(repr=False)
    folders: hive.Partitions = ()
    batch_rows: int = parquet.BATCH_ROWS
    embedding_dtype: str | None = None

    def __dask_tokenize__(self) -> tuple[Any, ...]:
        return (*super().__dask_tokenize__(), self.embedding_dtype)

    @property
    def files(self) -> tuple[File, ...]:
        return (self.file,)

    @property
    def scored_type(self) -> pa.DataType:
        return self.type

    @property
    def partitions(self) -> tuple[str, ...]:
        return tuple(name for name, _ in self.folders)

    def read(self, schema: pa.Schema) -> pa.Table:
        folders = dict(self.folders)
        own = pa.schema([field for field in schema if field.name not in folders])
        table = parquet.read_rows(self.file, own, self.start, self.stop) if own.names else None
        for constant in schema:
            if constant.name in folders:
                values = hive.constant(folders[constant.name], self.rows, constant.type)
                table = (
                    pa.table({constant.name: values}) if table is None else table.append_column(constant.name, values)
                )
        return table.select(schema.names) if table is not None else schema.empty_table()

    def passthrough(self, columns: Sequence[str]) -> Iterator[pa.RecordBatch]:
        """Iterate over the passthrough columns alone, in batches."""
        own = [name for name in columns if name not in self.partitions]
        if own:
            for batch in self._record_batches(own, parquet.TABLE_BATCH_ROWS):
                yield hive.select(batch, columns, self.folders)
            return
        for at in range(0, self.rows, parquet.TABLE_BATCH_ROWS):
            batch = pa.record_batch([pa.nulls(min(parquet.TABLE_BATCH_ROWS, self.rows - at))], [""])
            yield hive.select(batch, columns, self.folders)

    def digest(self, columns: Sequence[str], known: Digests | None = None) -> str:
        content = parquet.digest(self.file, columns, self.start, self.stop, self.column, known)
        return combine_digests(content, *(f"{name}={value}" for name, value in self.folders if name in columns))

    def _batches(self, columns: list[str], paged: bool, digests: Digests | None) -> Batches:  # noqa: ARG002
        own = [*(name for name in columns if name not in self.partitions), self.column]
        for batch in self._record_batches(own, self.batch_rows, paged):
            values = unpack_array(batch.column(self.column), self.embedding_dtype, self.column)
            yield hive.select(batch, columns, self.folders), values

    def _record_batches(self, columns: list[str], batch_rows: int, paged: bool = False) -> Iterator[pa.RecordBatch]:
        for batch in parquet.batches(self.file, columns, self.start, self.stop, batch_rows, paged):
            if not set(columns) <= set(batch.schema.names):
                raise self.changed("other columns")
            yield batch


@dataclass(frozen=True)
class MatrixShard(Shard):
    """Rows of a matrix, and of the Parquet file whose row i describes row i of the matrix, if there is one.

    The embeddings of the rows' texts are one more column, `text_column`, where there are `texts`.
    """

    digests_in_passing: ClassVar[bool] = True

    matrix: Matrix
    metadata: File | None
    matrix_name: str  # Relative to the source, without suffix: the shard's name may be that of a part.
    texts: Matrix | None = None
    text_column: str = ""

    @property
    def files(self) -> tuple[File, ...]:
        texts = [self.texts.file] if self.texts and self.texts.file != self.matrix.file else []
        return (self.matrix.file, *texts, *([self.metadata] if self.metadata else []))

    @property
    def embedding_fields(self) -> list[pa.Field]:
        texts = [pa.field(self.text_column, self.texts.type)] if self.texts else []
        return [*super().embedding_fields, *texts]

    @property
    def scored_type(self) -> pa.DataType:
        return self.matrix.type

    def read(self, schema: pa.Schema) -> pa.Table:
        matrices = {self.column: self.matrix, **({self.text_column: self.texts} if self.texts else {})}
        described = pa.schema([field for field in schema if field.name not in matrices])
        if self.metadata is not None and described.names:
            table = parquet.read_rows(self.metadata, described, self.start, self.stop)
        else:
            table = pa.Table.from_batches([self._location(self.start, self.stop).select(described.names)])
        for name, matrix in matrices.items():
            if name in schema.names:
                table = table.append_column(name, matrix.read(self.start, self.stop))
        return table.select(schema.names)

    def digest(self, columns: Sequence[str], known: Digests | None = None) -> str:
        parts = self._digests(self.matrix, known or {})
        if self.texts is not None and self.text_column in columns:
            parts += self._digests(self.texts, {})
        if self.metadata is not None:
            described = [name for name in columns if name != self.text_column]
            parts.append(parquet.digest(self.metadata, described, self.start, self.stop))
        return combine_digests(*parts)

    def _digests(self, matrix: Matrix, known: Digests) -> list[str]:
        """What tells how a matrix is read, and the digest of its rows."""
        part = matrix.range_of(self.start, self.stop)
        header = f"{matrix.width} {matrix.dtype} {matrix.fortran}"
        return [header, known.get(part) or matrix.file.digest([part])]

    def _batches(self, columns: list[str], paged: bool, digests: Digests | None) -> Batches:  # noqa: ARG002
        hasher = xxhash.xxh3_128() if digests is not None and self.matrix.is_plain else None
        texts = self.texts if self.text_column in columns else None
        described = [name for name in columns if texts is None or name != self.text_column]
        at = self.start
        with ExitStack() as stack:
            read = stack.enter_context(self.matrix.reader(self.start, self.stop))
            read_texts = stack.enter_context(texts.reader(self.start, self.stop)) if texts else None
            for passthrough in self._passthrough(described):
                end = at + len(passthrough)
                lists = read(at, end)
                if hasher is not None:
                    hasher.update(lists.flatten().to_numpy().data)
                if read_texts is not None:
                    held = [*passthrough.columns, read_texts(at, end)]
                    passthrough = pa.RecordBatch.from_arrays(held, [*described, self.text_column]).select(columns)
                yield passthrough, lists
                at = end
        if hasher is not None and digests is not None:
            digests[self.matrix.range_of(self.start, self.stop)] = hasher.hexdigest()

    def _passthrough(self, columns: list[str]) -> Iterator[pa.RecordBatch]:
        if columns and self.metadata is not None:
            for batch in parquet.batches(self.metadata, columns, self.start, self.stop, MATRIX_ROWS):
                if not set(columns) <= set(batch.schema.names):
                    raise self.changed("other columns")
                yield batch.select(columns)
            return
        for at in range(self.start, self.stop, MATRIX_ROWS):
            yield self._location(at, min(at + MATRIX_ROWS, self.stop)).select(columns)

    def _location(self, start: int, stop: int) -> pa.RecordBatch:
        """Location of rows: the name of the matrix and the position in it."""
        name = pa.repeat(pa.scalar(self.matrix_name), stop - start)
        return pa.record_batch([name, pa.array(np.arange(start, stop))], schema=LOCATION)


def find_shards(
    source: Source,
    *,
    format: str = "auto",  # noqa: A002
    embedding_column: str = "image_embedding",
    key: str = "l14_img",
    rows_per_shard: int | None = 1_000_000,
    storage_options: Mapping[str, Any] | None = None,
    found: Sequence[ListedFile] | None = None,
    text_column: str = "",
    text_key: str = "",
    embedding_dtype: str | None = None,
) -> list[Shard]:
    """Find embeddings of any layout, check every header and footer, and split them into shards.

    Parameters
    ----------
    source : str, path, or list of them
        A file, a folder (searched recursively) or a glob; local, or fsspec URLs.
    format : {"auto", "parquet", "clip-retrieval", "datacomp", "npy"}
        The layout; "auto" infers it from the file names.
    embedding_column : str
        Embedding column of Parquet files; of matrices, the name that their shards give to it.
    key : str
        Matrix in DataComp's .npz files.
    rows_per_shard : int or None
        Larger Parquet files are split between row groups into parts of nearly equal size, of at most about this many
        rows; matrices are split between rows; compressed .npz files are not split. None for a shard per file.
    storage_options : mapping, optional
        Options of the fsspec file system.
    found : list of ListedFile, optional
        Result of `list_files(source)`, if it is known already.
    text_column : str
        Name that shards of matrices give to the column of their rows' text embeddings; empty for none.
    text_key : str
        Matrix of the text embeddings in DataComp's .npz files.
    embedding_dtype : str, optional
        Of packed embeddings, bytes in a column of Parquet files, which are read as lists.

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
    if rows_per_shard is not None:
        check_integer("rows_per_shard", rows_per_shard, minimum=1, unit="rows")
    if found is None:
        found = list_files(source, storage_options)
    layout = formats.choose_format(found, source, format)
    if layout == "parquet":
        files = files_with_suffix(found, ".parquet", source)
        into = partial(split.split_row_groups, max_rows=rows_per_shard) if rows_per_shard else _whole
        packed = check_embedding_dtype(embedding_dtype)
        check = partial(parquet.check_embedding, embedding_dtype=packed)
        shards: list[Shard] = [*parquet_shards(files, embedding_column, into, check, embedding_dtype=packed)]
    elif embedding_dtype is not None:
        raise ArgumentError(f"expected embedding_dtype with a column of Parquet files, got it with {layout}")
    else:
        paired = formats.find_matrices(layout, found, source)
        shards = _matrix_shards(paired, embedding_column, key, rows_per_shard, text_column, text_key)
    split.check_names([shard.name for shard in shards])
    return shards


def parquet_shards(
    files: Sequence[tuple[File, str]],
    column: str,
    into: Callable[[list[int]], split.Ranges],
    check: Callable[[pa.Schema, str], None],
    batch_rows: int = parquet.BATCH_ROWS,
    partition_type: pa.DataType = hive.PARTITION_TYPE,
    embedding_dtype: str | None = None,
) -> list[ParquetShard]:
    """Shards of Parquet files.

    Parameters
    ----------
    files : sequence of (File, str)
        With their names, without suffix.
    column : str
        Embedding or image column.
    into : callable
        Splits the row counts of a file's row groups into row ranges.
    check : callable
        Raises for a schema without the right column.
    batch_rows : int
    partition_type : pyarrow.DataType
        Of hive partition columns.
    embedding_dtype : str, optional
        As of `find_shards`.
    """
    # Most files have the same columns. Shards that share what describes these are pickled many times as fast.
    schemas: dict[bytes, pa.Schema] = {}
    types: dict[pa.DataType, pa.DataType] = {}

    def to_shards(named_file: tuple[File, str]) -> list[ParquetShard]:
        file, name = named_file
        footer = parquet.read_footer(file)
        try:
            check(footer.schema, column)
            dtype = list_type(footer.schema.field(column).type, embedding_dtype, column)
        except ColumnError as error:
            raise ColumnError(f"{error} (in {file.path})") from None
        folders = hive.partitions_of_file(named_file, footer.schema)
        dtype = types.setdefault(dtype, pa.null() if is_without_values(dtype) else dtype)
        own = pa.schema([field for field in footer.schema if field.name != column])
        schema = hive.add_partition_fields(own, folders, partition_type)
        schema = schemas.setdefault(schema.serialize().to_pybytes(), schema)
        return [
            ParquetShard(part, stop - start, start, schema, column, file, dtype, folders, batch_rows, embedding_dtype)
            for part, start, stop in split.name_parts(name, into(footer.groups))
        ]

    return [shard for shards in formats.inspect_all(files, to_shards) for shard in shards]


def row_group_shards(
    file: File, groups: Sequence[int] | None, column: str, max_rows: int | None = None
) -> list[ParquetShard]:
    """Shards of some row groups of a Parquet file, in this order; row groups that follow one another make one.

    Parameters
    ----------
    file : File
    groups : sequence of int or None
        None for all.
    column : str
        Whose type the file may choose.
    max_rows : int, optional
        Row groups are combined up to about this many rows.

    Raises
    ------
    InputError
        The file is damaged, or has no such row group any more.
    ColumnError
        The file lacks the column.
    """
    footer = parquet.read_footer(file)
    if column not in footer.schema.names:
        raise ColumnError.missing(column, footer.schema.names, [])
    edges = list(accumulate(footer.groups, initial=0))
    ranges: split.Ranges = []
    for group in range(len(footer.groups)) if groups is None else groups:
        if not 0 <= group < len(footer.groups):
            raise changed_error([file], 0, edges[-1], f"no row group {group}")
        begin, end = edges[group], edges[group + 1]
        follows = ranges and ranges[-1][1] == begin
        if follows and (max_rows is None or end - ranges[-1][0] <= max_rows):
            ranges[-1] = ranges[-1][0], end
        else:
            ranges.append((begin, end))
    dtype, schema = footer.schema.field(column).type, pa.schema([])
    return [ParquetShard(file.name, end - begin, begin, schema, column, file, dtype) for begin, end in ranges]


def _whole(groups: list[int]) -> split.Ranges:
    return split.combine_row_groups(groups, None)


def _matrix_shards(
    files: Sequence[formats.PairedFiles],
    column: str,
    key: str,
    max_rows: int | None,
    text_column: str,
    text_key: str,
) -> list[Shard]:
    opened = formats.inspect_all(files, partial(_open_matrix, key=key))
    check_matrices([matrix for matrix, _ in opened])
    texts: list[Matrix | None] = [None] * len(files)
    if text_column:
        pairs = list(zip(files, (matrix for matrix, _ in opened), strict=True))
        held = formats.inspect_all(pairs, partial(_open_texts, key=text_key))
        check_matrices(held)
        texts = [*held]
    return [
        MatrixShard(part, stop - start, start, schema, column, matrix, one.metadata, one.name, text, text_column)
        for one, (matrix, schema), text in zip(files, opened, texts, strict=True)
        for part, start, stop in split.name_parts(
            one.name, split.split_evenly(matrix.rows, max_rows if _has_row_ranges(matrix, text) else None)
        )
    ]


def _has_row_ranges(matrix: Matrix, texts: Matrix | None) -> bool:
    return matrix.has_row_ranges and (texts is None or texts.has_row_ranges)


def _open_texts(pair: tuple[formats.PairedFiles, Matrix], key: str) -> Matrix:
    """Header of the matrix with the text embeddings of the rows of another matrix."""
    files, images = pair
    if files.texts is None:
        raise InputError(
            f"expected a matrix of text embeddings beside {images.where}, text_emb/text_emb_N.npy, got none"
        )
    texts = open_matrix(files.texts, key if files.texts.name.lower().endswith(".npz") else None)
    if texts.rows != images.rows:
        raise InputError(
            f"expected as many text embeddings as image embeddings, got {texts.rows:,} in {texts.where} and "
            f"{images.rows:,} in {images.where}"
        )
    return texts


def _open_matrix(files: formats.PairedFiles, key: str) -> tuple[Matrix, pa.Schema]:
    """Header of a matrix, and the schema of its metadata."""
    matrix = open_matrix(files.matrix, key if files.matrix.name.lower().endswith(".npz") else None)
    if files.metadata is None:
        return matrix, LOCATION
    footer = parquet.read_footer(files.metadata)
    if footer.metadata.num_rows != matrix.rows:
        raise InputError(
            f"expected as many rows of metadata as embeddings, got {footer.metadata.num_rows:,} in "
            f"{files.metadata.path} and {matrix.rows:,} in {matrix.where}"
        )
    return matrix, footer.schema.remove_metadata()
