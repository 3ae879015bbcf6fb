"""Embeddings of any layout as shards: contiguous rows of a file, read in small batches or all at once."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from itertools import accumulate
from typing import Any, ClassVar

import pyarrow as pa

from dask_aesthetic.defaults import TEXT_KEY
from dask_aesthetic.embeddings.arrow import is_without_values
from dask_aesthetic.embeddings.packed import check_embedding_dtype, list_type, unpack_array
from dask_aesthetic.embeddings.stored import check_zero_point
from dask_aesthetic.errors import ArgumentError, ColumnError
from dask_aesthetic.in_threads import MapAll, map_in_threads
from dask_aesthetic.io import formats, hive, parquet, split
from dask_aesthetic.io.empty_table import empty_table
from dask_aesthetic.io.listing import ListedFile, Source, files_with_suffix, list_files
from dask_aesthetic.io.matrix_shards import LOCATION, MatrixShard, Opening, matrix_shards
from dask_aesthetic.io.saved_datasets import find_saved
from dask_aesthetic.io.shard import Batches, Shard
from dask_aesthetic.io.storage import Digests, File, changed_error, combine_digests
from dask_aesthetic.io.stream_shards import stream_shards
from dask_aesthetic.validation import check_integer

__all__ = [
    "Batches",
    "LOCATION",
    "MatrixShard",
    "ParquetShard",
    "Shard",
    "find_shards",
    "parquet_shards",
    "row_group_shards",
]


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
        return table.select(schema.names) if table is not None else empty_table(schema)

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


def find_shards(
    source: Source,
    *,
    format: str = "auto",  # noqa: A002
    embedding_column: str = "image_embedding",
    key: str | None = None,
    rows_per_shard: int | None = 1_000_000,
    storage_options: Mapping[str, Any] | None = None,
    found: Sequence[ListedFile] | None = None,
    text_column: str = "",
    text_key: str = "",
    embedding_dtype: str | None = None,
    zero_point: int | None = None,
    into: Callable[[list[int]], split.Ranges] | None = None,
    check: Callable[[pa.Schema, str], None] | None = None,
    partition_type: pa.DataType = hive.PARTITION_TYPE,
    map_all: MapAll = map_in_threads,
) -> list[Shard]:
    """Find embeddings of any layout, check every header and footer, and split them into shards.

    Parameters
    ----------
    source : str, path, or list of them
        A file, a folder (searched recursively) or a glob; local, or fsspec URLs.
    format : {"auto", "parquet", "clip-retrieval", "datacomp", "npy", "safetensors", "torch", "hf-dataset"}
        The layout; "auto" infers it from the file names.
    embedding_column : str
        Embedding column of Parquet files and saved data sets; of matrices, the name that their shards give to it.
    key : str, optional
        Matrix in DataComp's .npz files, by default "l14_img"; tensor in .safetensors and .pt files, by default the
        only one.
    rows_per_shard : int or None
        Larger Parquet files are split between row groups, and saved data sets between record batches, into parts of
        nearly equal size, of at most about this many rows; matrices are split between rows; compressed .npz files are
        not split. None for a shard per file.
    storage_options : mapping, optional
        Options of the fsspec file system.
    found : list of ListedFile, optional
        Result of `list_files(source)`, if it is known already.
    text_column : str
        Name that shards of matrices give to the column of their rows' text embeddings; empty for none.
    text_key : str
        Matrix of the text embeddings in DataComp's .npz files.
    embedding_dtype : str, optional
        Of packed embeddings, bytes in a column, which are read as lists.
    zero_point : int, optional
        Of matrices of 8-bit integers, or of an `embedding_dtype` of these.
    into : callable, optional
        Splits the row counts of a file's row groups, or record batches, into row ranges; by `rows_per_shard` unless
        given.
    check : callable, optional
        Raises for a schema without the right column; by default for one without lists of numbers.
    partition_type : pyarrow.DataType
        Of hive partition columns.
    map_all : callable
        Reads the footers of Parquet files, as of `formats.inspect_all`.

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
    _check_keys(layout, key, text_key)
    if layout in formats.BY_COLUMN:
        packed = check_embedding_dtype(embedding_dtype, zero_point)
        if into is None:
            into = partial(split.split_row_groups, max_rows=rows_per_shard) if rows_per_shard else _whole
        check = partial(parquet.check_embedding, embedding_dtype=packed) if check is None else check
        if layout == "parquet":
            files = files_with_suffix(found, ".parquet", source)
            shards: list[Shard] = [
                *parquet_shards(
                    files,
                    embedding_column,
                    into,
                    check,
                    partition_type=partition_type,
                    embedding_dtype=packed,
                    map_all=map_all,
                )
            ]
        else:
            saved = find_saved(found, source)
            shards = [*stream_shards(saved, embedding_column, into, check, packed)]
    elif embedding_dtype is not None:
        raise ArgumentError(
            f"expected embedding_dtype with a column of Parquet files or of a saved data set, got it with {layout}"
        )
    else:
        paired = formats.find_matrices(layout, found, source)
        options = Opening(layout, key, check_zero_point(zero_point))
        shards = matrix_shards(paired, embedding_column, options, rows_per_shard, text_column, text_key)
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
    map_all: MapAll = map_in_threads,
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
    embedding_dtype, map_all
        As of `find_shards`.
    """
    headers = formats.inspect_all([file for file, _ in files], parquet.read_header, map_all)
    # Most files have the same columns. Shards that share what describes these are made and pickled many times as fast.
    schemas: dict[bytes, pa.Schema] = {}
    types: dict[pa.DataType, pa.DataType] = {}
    known: dict[tuple[int, tuple[str, ...]], tuple[pa.Schema, pa.DataType]] = {}

    def describe(file: File, schema: pa.Schema, folders: hive.Partitions) -> tuple[pa.Schema, pa.DataType]:
        key = id(schema), tuple(name for name, _ in folders)
        if key not in known:
            try:
                check(schema, column)
                dtype = list_type(schema.field(column).type, embedding_dtype, column)
            except ColumnError as error:
                raise ColumnError(f"{error} (in {file.path})") from None
            own = pa.schema([field for field in schema if field.name != column])
            own = hive.add_partition_fields(own, folders, partition_type)
            dtype = types.setdefault(dtype, pa.null() if is_without_values(dtype) else dtype)
            known[key] = schemas.setdefault(own.serialize().to_pybytes(), own), dtype
        return known[key]

    shards = []
    for named_file, header in zip(files, headers, strict=True):
        file, name = named_file
        folders = hive.partitions_of_file(named_file, header.schema)
        schema, dtype = describe(file, header.schema, folders)
        shards += [
            ParquetShard(part, stop - start, start, schema, column, file, dtype, folders, batch_rows, embedding_dtype)
            for part, start, stop in split.name_parts(name, into(header.groups))
        ]
    return shards


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


def _check_keys(layout: str, key: str | None, text_key: str) -> None:
    """Refuse names of matrices where files do not hold them by name."""
    by_layout = {
        f"matrix_key={key!r} (--matrix-key)": (key is not None, ("datacomp", *formats.TENSORS)),
        f"text_key={text_key!r} (--text-key)": (text_key not in ("", TEXT_KEY), ("datacomp",)),
    }
    for said, (given, layouts) in by_layout.items():
        if given and layout not in layouts:
            raise ArgumentError(f"expected {said} with {' or '.join(layouts)}, got it with {layout}: leave it out")


def _whole(groups: list[int]) -> split.Ranges:
    return split.combine_row_groups(groups, None)
