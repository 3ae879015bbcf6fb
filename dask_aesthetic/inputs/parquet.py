"""Parquet files with an embedding column, read batch by batch so that the embeddings stay in cache."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

import pyarrow as pa
import pyarrow.parquet as pq

from dask_aesthetic.embeddings.arrow import is_float_list
from dask_aesthetic.errors import ColumnError, InputError
from dask_aesthetic.inputs.file import File, Ranges

# Decoded lists of 1024 rows of 768 floats are 3 MB: they stay in cache and their memory is used again.
BATCH_ROWS = 1024
TABLE_BATCH_ROWS = 1 << 16
_FOOTER = 1 << 16  # Bytes within which most footers lie.
_PAGED = 1 << 20  # Bytes fetched together where few rows are wanted.
ID_COLUMNS = ("key", "uid", "url", "hash", "id", "image_path")


@dataclass(frozen=True)
class Footer:
    """What stands at the end of a Parquet file.

    Attributes
    ----------
    schema : pyarrow.Schema
    metadata : pyarrow.parquet.FileMetaData
    length : int
        Its bytes, up to the end of the file.
    """

    schema: pa.Schema
    metadata: pq.FileMetaData
    length: int

    @property
    def groups(self) -> list[int]:
        """The number of rows in each row group."""
        return [self.metadata.row_group(at).num_rows for at in range(self.metadata.num_row_groups)]


def read_footer(file: File) -> Footer:
    """Look at a Parquet file without reading its rows.

    Raises
    ------
    InputError
        The file is no Parquet file, or is cut off.
    """
    with file.reading("a Parquet file"):
        tail = _tail(file, _FOOTER)
        length = int.from_bytes(tail[-8:-4], "little") + 8
        if tail[-4:] == b"PAR1" and len(tail) < length <= file.size:
            tail = _tail(file, length)
        # The reader needs no more than the footer, so that a file elsewhere is asked once.
        with pq.ParquetFile(pa.BufferReader(tail)) as source:
            return Footer(source.schema_arrow, source.metadata, length)


def common_schema(files: Iterable[tuple[File, pa.Schema]], columns: Sequence[str]) -> pa.Schema:
    """The schema of some columns over several files; one that is null throughout a file takes the others' type.

    Raises
    ------
    ColumnError, InputError
        A column is missing from a file, or has another type there.
    """
    common = pa.schema([])
    for file, schema in files:
        try:
            fields = [schema.field(name).remove_metadata() for name in columns]
            common = pa.unify_schemas([common, pa.schema(fields)])
        except KeyError as error:
            raise ColumnError(
                f"expected columns {', '.join(columns)} in {file.path}, got {', '.join(schema.names)}"
            ) from error
        except (pa.ArrowInvalid, pa.ArrowTypeError) as error:
            raise InputError(f"expected columns of the same types in all files, got {file.path}: {error}") from error
    return common


def check_embedding(schema: pa.Schema, column: str) -> None:
    """Refuse a schema whose embedding column is not there or holds no lists of floats."""
    candidates = [field.name for field in schema if is_float_list(field.type)]
    if column not in schema.names:
        raise ColumnError.missing(column, schema.names, candidates)
    if not is_float_list(schema.field(column).type):
        raise ColumnError.not_lists(column, schema.field(column).type, candidates)


def choose_columns(schema: pa.Schema, asked: str | Sequence[str], embedding_column: str) -> list[str]:
    """The columns to carry over: "ids" (those of `ID_COLUMNS`, in any case), "all" but the embedding, or names.

    Raises
    ------
    ColumnError
        A named column is not there.
    """
    if asked == "all":
        return [name for name in schema.names if name != embedding_column]
    if asked == "ids":
        return [name for name in schema.names if name.lower() in ID_COLUMNS]
    names = [asked] if isinstance(asked, str) else list(asked)
    for name in names:
        if name not in schema.names:
            raise ColumnError(f"expected column {name!r} to carry over, the file has {', '.join(schema.names)}")
    return names


def batches(
    file: File,
    columns: list[str],
    start: int = 0,
    stop: int | None = None,
    batch_rows: int = BATCH_ROWS,
    access: str = "read",
) -> Iterator[pa.RecordBatch]:
    """A file's rows, or those from `start` to `stop`, in small batches.

    Single-threaded: whoever runs several files side by side is faster. Row groups are read from their beginning, so
    a range that begins in the midst of one decodes what stands before it there. Elsewhere a row group's columns are
    fetched together, and the next ones when these are done.

    `access` is "mapped" for a memory map, which is a fifth faster if the file here has just been read; if it has not, a
    map is slower, and a bad disk ends the process in place of raising an error. It is "paged" for whoever wants the
    first rows alone, and not their whole row group fetched.
    """
    with file.reading("a whole Parquet file"), _open(file, access) as source:
        stop = source.metadata.num_rows if stop is None else stop
        groups, position = _row_groups(source.metadata, start, stop)
        for together in [groups] if file.is_local else [[group] for group in groups]:
            for batch in source.iter_batches(batch_rows, row_groups=together, columns=columns, use_threads=False):
                begin, position = position, position + len(batch)
                if begin >= stop:
                    return
                if position > start:
                    at = max(start - begin, 0)
                    yield batch.slice(at, min(position, stop) - begin - at)


def read_rows(file: File, schema: pa.Schema, start: int, stop: int) -> pa.Table:
    """The rows from `start` to `stop` of a file, the schema's columns alone.

    Raises
    ------
    InputError
        The file is damaged, or no longer what it was when the frame was made.
    """
    parts = list(batches(file, schema.names, start, stop, TABLE_BATCH_ROWS))
    rows = sum(map(len, parts))
    if rows != stop - start or any(set(part.schema.names) != set(schema.names) for part in parts):
        raise changed(file, start, stop, rows)
    return pa.Table.from_batches(parts).select(schema.names).cast(schema) if parts else schema.empty_table()


def groups_of(footer: Footer, start: int, stop: int) -> list[int]:
    """The numbers of the row groups that hold rows from `start` to `stop`."""
    return _row_groups(footer.metadata, start, stop)[0]


def digest(file: File, columns: Iterable[str], start: int, stop: int) -> str:
    """xxh3_128 of the footer and of the bytes that reading these columns and rows depends on, in hexadecimal.

    Raises
    ------
    InputError
        The file is damaged.
    """
    footer = read_footer(file)
    chunks = _chunks(footer.metadata, groups_of(footer, start, stop), set(columns))
    return file.digest([*chunks, (file.size - footer.length, footer.length)])


def changed(file: File, start: int, stop: int, rows: int) -> InputError:
    """The error of a file that is no longer what it was when the frame was made."""
    return InputError(
        f"expected rows {start:,} to {stop:,} of {file.path} as when the frame was made, got {rows:,} or other "
        "columns: make the frame again"
    )


def _open(file: File, access: str) -> pq.ParquetFile:
    if access == "paged":
        return pq.ParquetFile(file.path if file.is_local else Ranges(file), buffer_size=_PAGED, pre_buffer=False)
    if file.is_local:
        # Buffered before, all row groups asked for would be held at once.
        return pq.ParquetFile(file.path, memory_map=access == "mapped", pre_buffer=False)
    return pq.ParquetFile(Ranges(file), pre_buffer=True)


def _tail(file: File, length: int) -> bytes:
    length = min(length, file.size)
    return file.read(file.size - length, length)


def _chunks(metadata: pq.FileMetaData, groups: list[int], columns: set[str]) -> list[tuple[int, int]]:
    """Where the chunks of columns lie, as (begin, length); those that follow one another as one."""
    paths = [metadata.schema.column(at).path for at in range(metadata.num_columns)]
    # A list's leaves are called as the column and a dot and more.
    leaves = [at for at, path in enumerate(paths) if any(f"{path}.".startswith(f"{name}.") for name in columns)]
    chunks: list[tuple[int, int]] = []
    for group in groups:
        for leaf in leaves:
            chunk = metadata.row_group(group).column(leaf)
            begin = chunk.data_page_offset
            if chunk.has_dictionary_page:
                begin = min(begin, chunk.dictionary_page_offset)
            if chunks and sum(chunks[-1]) == begin:
                chunks[-1] = (chunks[-1][0], chunks[-1][1] + chunk.total_compressed_size)
            else:
                chunks.append((begin, chunk.total_compressed_size))
    return chunks


def _row_groups(groups: pq.FileMetaData, start: int, stop: int) -> tuple[list[int], int]:
    """The row groups that hold rows from `start` to `stop`, and the position of their first row."""
    chosen: list[int] = []
    position = first = 0
    for at in range(groups.num_row_groups):
        begin, position = position, position + groups.row_group(at).num_rows
        if position > start and begin < stop:
            first = first if chosen else begin
            chosen.append(at)
    return chosen, first
