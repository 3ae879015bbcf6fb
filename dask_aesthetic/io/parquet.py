"""Parquet footers, schemas, columns and rows; rows are read in small batches so that embeddings stay in cache."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import NamedTuple
from weakref import WeakValueDictionary

import pyarrow as pa
import pyarrow.parquet as pq

from dask_aesthetic.embeddings.arrow import is_float_list, may_hold_embeddings
from dask_aesthetic.embeddings.packed import list_type
from dask_aesthetic.errors import ArgumentError, ColumnError, InputError, did_you_mean
from dask_aesthetic.id_columns import ID_COLUMNS
from dask_aesthetic.io.column_chunks import check_column_chunks
from dask_aesthetic.io.empty_table import empty_table
from dask_aesthetic.io.level_count import LevelCount
from dask_aesthetic.io.plain_types import as_plain, without_views
from dask_aesthetic.io.read_ahead import ReadAhead
from dask_aesthetic.io.storage import Digests, File, RemoteStream, changed_error, combine_digests

# Decoded lists of 1024 rows of 768 floats are 3 MB: they stay in cache, and their memory is reused.
BATCH_ROWS = 1024
TABLE_BATCH_ROWS = 1 << 16
_FOOTER = 1 << 16  # Bytes that hold most footers.
_PAGED = 1 << 20  # Bytes of one request where only the first rows are needed.


@dataclass(frozen=True)
class Footer:
    """Schema and metadata from the footer of a Parquet file.

    Attributes
    ----------
    schema : pyarrow.Schema
        Views are strings and bytes in it, as in the rows that `batches` reads.
    metadata : pyarrow.parquet.FileMetaData
    length : int
        Bytes from the beginning of the footer to the end of the file.
    """

    schema: pa.Schema
    metadata: pq.FileMetaData
    length: int

    @property
    def groups(self) -> list[int]:
        """Row count of each row group."""
        return [self.metadata.row_group(at).num_rows for at in range(self.metadata.num_row_groups)]


def read_footer(file: File) -> Footer:
    """Read the footer of a Parquet file.

    Raises
    ------
    InputError
        The file is not a Parquet file, is truncated, or has damaged metadata.
    """
    what = "a Parquet file"
    if not file.name.lower().endswith(".parquet"):
        what = "a Parquet file, or embeddings by numpy.save in a file called .npy"
    with file.reading(what):
        tail = _tail(file, _FOOTER)
        length = int.from_bytes(tail[-8:-4], "little") + 8
        if tail[-4:] == b"PAR1" and len(tail) < length <= file.size:
            tail = _tail(file, length)
        # The reader needs only the footer, so one request suffices for a remote file.
        with pq.ParquetFile(pa.BufferReader(tail)) as source:
            footer = Footer(without_views(source.schema_arrow), source.metadata, length)
        check_column_chunks(footer.metadata, file.size)
        _check_single(file, footer)
        return footer


class Header(NamedTuple):
    """What shards are made of: schema, and row count of each row group, of a Parquet file; small to pickle."""

    schema: pa.Schema
    groups: list[int]


def read_header(file: File) -> Header:
    """Read the footer of a Parquet file for its schema and its rows; errors as of `read_footer`.

    Files of the same columns share a schema, so that their headers, pickled together, hold it once.
    """
    footer = read_footer(file)
    return Header(_schemas.setdefault(footer.schema.serialize().to_pybytes(), footer.schema), footer.groups)


_schemas: WeakValueDictionary[bytes, pa.Schema] = WeakValueDictionary()


def _check_single(file: File, footer: Footer) -> None:
    """Raise InputError for concatenated files: the last footer's offsets would point into the first file."""
    groups, columns = footer.metadata.num_row_groups, footer.metadata.num_columns
    last = footer.metadata.row_group(groups - 1) if groups else None
    chunks = [last.column(at) for at in range(columns)] if last is not None else []
    end = max((_chunk_start(chunk) + chunk.total_compressed_size for chunk in chunks), default=len(b"PAR1"))
    before = file.size - footer.length - end
    # Some writers repeat metadata or write indexes after the data, so the last file begins somewhat earlier.
    begin = max(before - _FOOTER, 0)
    if before >= 12 and b"PAR1PAR1" in file.read(begin, before + 4 - begin):
        raise InputError(
            f"expected one Parquet file in {file.path}, got several, one after another, but only the last one's "
            "rows would count: write each into a file of its own"
        )


def _chunk_start(chunk: pq.ColumnChunkMetaData) -> int:
    """Position of a column chunk: of its dictionary page if it has one, else of its first data page."""
    if chunk.has_dictionary_page:
        return min(chunk.data_page_offset, chunk.dictionary_page_offset)
    return int(chunk.data_page_offset)


def common_schema(files: Iterable[tuple[File, pa.Schema]], columns: Sequence[str]) -> pa.Schema:
    """Common schema of columns over several files.

    A column that is all null in one file takes the type of the others. Strings of 32-bit and of 64-bit offsets, as
    pyarrow and polars write, have the latter in common, integers the wider type.

    Raises
    ------
    ColumnError, InputError
        A column is missing from a file, or has another type there.
    """
    common = pa.schema([])
    for file, schema in files:
        try:
            for name in columns:
                refuse_repeated_name(schema, name)
            fields = [schema.field(name).remove_metadata() for name in columns]
            _refuse_types(fields)
            common = _unify(common, pa.schema(fields))
        except ColumnError as error:
            raise ColumnError(f"{error} (in {file.path})") from None
        except KeyError as error:
            raise ColumnError(
                f"expected columns {', '.join(columns)} in {file.path}, got {', '.join(schema.names)}"
            ) from error
        except (pa.ArrowInvalid, pa.ArrowTypeError) as error:
            raise InputError(f"expected columns of the same types in all files, got {file.path}: {error}") from error
    return common


def _unify(common: pa.Schema, schema: pa.Schema) -> pa.Schema:
    """Schema that holds the values of both, unchanged."""
    if len(common):
        alike = [_hold_alike(common.field(field.name).type, field.type) for field in schema]
        wider = pa.schema([field for field, is_alike in zip(schema, alike, strict=True) if is_alike])
        common = pa.unify_schemas([common, wider], promote_options="permissive")
        schema = pa.schema([field for field, is_alike in zip(schema, alike, strict=True) if not is_alike])
    return pa.unify_schemas([common, schema])


def _hold_alike(one: pa.DataType, other: pa.DataType) -> bool:
    """Whether values of both types fit the wider of them."""
    if pa.types.is_integer(one) and pa.types.is_integer(other):
        signs = {pa.types.is_signed_integer(dtype) for dtype in (one, other)}
        return len(signs) == 1 or pa.uint64() not in (one, other)
    kinds = ({pa.string(), pa.large_string()}, {pa.binary(), pa.large_binary()})
    return any({one, other} <= kind for kind in kinds)


def _refuse_types(fields: Iterable[pa.Field]) -> None:
    """Raise ColumnError for columns of Arrow streams that Parquet has no type for."""
    for field in fields:
        if pa.types.is_run_end_encoded(field.type) or pa.types.is_interval(field.type):
            raise ColumnError(
                f"expected passthrough columns that Parquet has a type for, got {field.type} in {field.name!r}: leave "
                "it out by columns= (--columns), or cast it"
            )


def check_embedding(schema: pa.Schema, column: str, embedding_dtype: str | None = None) -> None:
    """Raise ColumnError unless the embedding column exists and holds lists of floats, packed ones with a dtype."""
    candidates = [field.name for field in schema if is_float_list(field.type)]
    if column not in schema.names:
        raise ColumnError.missing(column, schema.names, candidates)
    refuse_repeated_name(schema, column)
    if not may_hold_embeddings(list_type(schema.field(column).type, embedding_dtype, column)):
        raise ColumnError.not_lists(column, schema.field(column).type, candidates)


def refuse_repeated_name(schema: pa.Schema, column: str) -> None:
    """Raise ColumnError if a column's name occurs more than once."""
    if schema.names.count(column) > 1:
        raise ColumnError.repeated(column)


def choose_columns(schema: pa.Schema, requested: str | Sequence[str], embedding_column: str) -> list[str]:
    """Choose passthrough columns: "ids" (`ID_COLUMNS`, in any case), "all" but the embedding column, or names.

    Raises
    ------
    ColumnError
        A named column is missing.
    """
    if requested == "all":
        return [name for name in schema.names if name != embedding_column]
    if requested == "ids":
        return [name for name in schema.names if name.lower() in ID_COLUMNS]
    if not isinstance(requested, Iterable):
        raise ArgumentError(f"expected columns to be a list of names, 'ids' or 'all', got {requested!r}")
    names = [requested] if isinstance(requested, str) else list(requested)
    for name in names:
        if name not in schema.names:
            close = did_you_mean(name, schema.names)
            held = ", ".join(schema.names)
            raise ColumnError(f"expected column {name!r} to pass through, the file has {held}{close}")
    return names


def batches(
    file: File,
    columns: list[str],
    start: int = 0,
    stop: int | None = None,
    batch_rows: int = BATCH_ROWS,
    paged: bool = False,
) -> Iterator[pa.RecordBatch]:
    """Read the rows of a Parquet file from `start` to `stop` in small record batches.

    Reading is single-threaded: several files in parallel are faster. Row groups are decoded from their beginning, so a
    range that begins inside one decodes the rows before it, too. Of a remote file, the chunks of the columns are
    fetched ahead.

    `paged` reads the first rows without fetching their whole row group. A page that does not match its checksum is an
    error.
    """
    with file.reading("a whole Parquet file"), _open(file, paged) as (source, stream):
        stop = source.metadata.num_rows if stop is None else stop
        groups, position = _row_groups(source.metadata, start, stop)
        check_column_chunks(source.metadata, file.size)  # It may be another file than when it was found.
        if stream is not None:
            stream.plan(_chunks(source.metadata, groups, set(columns)))
        is_whole = start == position and stop == position + sum(source.metadata.row_group(at).num_rows for at in groups)
        count = LevelCount(source, groups, columns) if is_whole else None
        # pyarrow reads the chunks of one row group in the order of its columns, those of several in no fixed order.
        for chunk in [groups] if file.is_local else [[group] for group in groups]:
            for batch in source.iter_batches(batch_rows, row_groups=chunk, columns=columns, use_threads=False):
                begin, position = position, position + len(batch)
                if begin >= stop:
                    return
                if count is not None:
                    count.add(batch)
                if position > start:
                    at = max(start - begin, 0)
                    yield as_plain(batch.slice(at, min(position, stop) - begin - at))
        if count is not None:
            count.check(file.path)


def read_rows(file: File, schema: pa.Schema, start: int, stop: int) -> pa.Table:
    """Read the rows from `start` to `stop` of a Parquet file, with the columns and types of a schema.

    Raises
    ------
    InputError
        The file is damaged, or has changed since it was found.
    """
    parts = list(batches(file, schema.names, start, stop, TABLE_BATCH_ROWS))
    rows = sum(map(len, parts))
    if rows != stop - start or any(set(part.schema.names) != set(schema.names) for part in parts):
        raise changed_error([file], start, stop, f"{rows:,} or other columns")
    return pa.Table.from_batches(parts).select(schema.names).cast(schema) if parts else empty_table(schema)


def row_groups_of(footer: Footer, start: int, stop: int) -> list[int]:
    """Indices of the row groups that hold rows from `start` to `stop`."""
    return _row_groups(footer.metadata, start, stop)[0]


def digest(
    file: File, columns: Iterable[str], start: int, stop: int, large: str | None = None, known: Digests | None = None
) -> str:
    """xxh3_128 content hash, in hexadecimal, of the footer and of the chunks of some columns and rows.

    Parameters
    ----------
    file : File
    columns : iterable of str
    start, stop : int
    large : str, optional
        One more column, whose chunks have digests of their own.
    known : dict, optional
        Digests of chunks of that column; the others are read.

    Raises
    ------
    InputError
        The file is damaged.
    """
    footer = read_footer(file)
    groups = row_groups_of(footer, start, stop)
    chunks = _chunks(footer.metadata, groups, set(columns))
    content = file.digest([*chunks, (file.size - footer.length, footer.length)])
    if large is None:
        return content
    apart = [chunk for group in groups for chunk in _chunks(footer.metadata, [group], {large})]
    return combine_digests(content, *((known or {}).get(chunk) or file.digest([chunk]) for chunk in apart))


@contextmanager
def _open(file: File, paged: bool) -> Iterator[tuple[pq.ParquetFile, ReadAhead | None]]:
    """Context manager of a Parquet file, and of the stream that fetches its chunks ahead, if it is one."""
    file.check_size()
    options = {
        "buffer_size": _PAGED if paged else 0,
        "pre_buffer": False,  # With it, all requested row groups would be in memory at once.
        "page_checksum_verification": True,
    }
    if file.is_local:
        with pq.ParquetFile(file.path, **options) as source:
            yield source, None
        return
    with (RemoteStream if paged else ReadAhead)(file) as stream, pq.ParquetFile(stream, **options) as source:
        yield source, stream if isinstance(stream, ReadAhead) else None


def _tail(file: File, length: int) -> bytes:
    length = min(length, file.size)
    return file.read(file.size - length, length)


def _chunks(metadata: pq.FileMetaData, groups: list[int], columns: set[str]) -> list[tuple[int, int]]:
    """Byte ranges, as (begin, length), of the chunks of columns; contiguous chunks are merged."""
    paths = [metadata.schema.column(at).path for at in range(metadata.num_columns)]
    # The path of a list's leaf is the column's name, a dot, and more.
    leaves = [at for at, path in enumerate(paths) if any(f"{path}.".startswith(f"{name}.") for name in columns)]
    chunks: list[tuple[int, int]] = []
    for group in groups:
        for leaf in leaves:
            chunk = metadata.row_group(group).column(leaf)
            begin = _chunk_start(chunk)
            if chunks and sum(chunks[-1]) == begin:
                chunks[-1] = (chunks[-1][0], chunks[-1][1] + chunk.total_compressed_size)
            else:
                chunks.append((begin, chunk.total_compressed_size))
    return chunks


def _row_groups(groups: pq.FileMetaData, start: int, stop: int) -> tuple[list[int], int]:
    """Indices of the row groups that hold rows from `start` to `stop`, and the position of their first row."""
    chosen: list[int] = []
    position = first = 0
    for at in range(groups.num_row_groups):
        begin, position = position, position + groups.row_group(at).num_rows
        if position > start and begin < stop:
            first = first if chosen else begin
            chosen.append(at)
    return chosen, first
