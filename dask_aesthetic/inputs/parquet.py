"""Parquet files with an embedding column, read batch by batch so that the embeddings stay in cache."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from glob import glob, has_magic
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from dask_aesthetic.embeddings.arrow import is_float_list
from dask_aesthetic.errors import ColumnError, InputError

# Decoded lists of 1024 rows of 768 floats are 3 MB: they stay in cache and their memory is used again.
BATCH_ROWS = 1024
TABLE_BATCH_ROWS = 1 << 16
ID_COLUMNS = ("key", "uid", "url", "hash", "id", "image_path")


def find_files(path: str, kind: str = "Parquet") -> list[Path]:
    """The files that a file's path, a folder or a glob names, in order: Parquet files, or those of another kind.

    Raises
    ------
    InputError
        There are none, or two have the same stem in different folders.
    """
    suffix = f".{kind.lower()}"
    if has_magic(path):
        files = [Path(name) for name in glob(path, recursive=True)]
    elif Path(path).is_dir():
        files = [file for file in Path(path).rglob(f"*{suffix}") if not file.name.startswith((".", "_"))]
    elif Path(path).exists():
        files = [Path(path)]
    else:
        raise InputError(f"expected a {kind} file, a folder or a glob, got {path!r}, which does not exist")
    if not files:
        raise InputError(f"expected {kind} files (*{suffix}) in {path!r}, got none")
    by_stem: dict[str, Path] = {}
    for file in sorted(files):
        if file.stem in by_stem:
            raise InputError(f"expected files of different names, got {by_stem[file.stem]} and {file}")
        by_stem[file.stem] = file
    return list(by_stem.values())


def read_footer(file: Path) -> tuple[pa.Schema, int]:
    """A Parquet file's Arrow schema and number of rows.

    Raises
    ------
    InputError
        The file is no Parquet file, or is cut off.
    """
    schema, groups = read_row_groups(file)
    return schema, sum(groups)


def read_row_groups(file: Path) -> tuple[pa.Schema, list[int]]:
    """A Parquet file's Arrow schema and the number of rows in each row group; raises as `read_footer`."""
    try:
        with pq.ParquetFile(file) as source:
            groups = source.metadata
            return source.schema_arrow, [groups.row_group(at).num_rows for at in range(groups.num_row_groups)]
    except (pa.ArrowInvalid, OSError) as error:
        raise InputError(f"expected a Parquet file, got {file}: {str(error).splitlines()[0]}") from error


def common_schema(files: Iterable[tuple[Path, pa.Schema]], columns: Sequence[str]) -> pa.Schema:
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
                f"expected columns {', '.join(columns)} in {file}, got {', '.join(schema.names)}"
            ) from error
        except (pa.ArrowInvalid, pa.ArrowTypeError) as error:
            raise InputError(f"expected columns of the same types in all files, got {file}: {error}") from error
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
    file: Path, columns: list[str], start: int = 0, stop: int | None = None, batch_rows: int = BATCH_ROWS
) -> Iterator[pa.RecordBatch]:
    """A file's rows, or those from `start` to `stop`, in small batches.

    Single-threaded: whoever runs several files side by side is faster. Row groups are read from their beginning, so
    a range that begins in the midst of one decodes what stands before it there.
    """
    try:
        with pq.ParquetFile(file) as source:
            stop = source.metadata.num_rows if stop is None else stop
            groups, position = _row_groups(source.metadata, start, stop)
            for batch in source.iter_batches(batch_rows, row_groups=groups, columns=columns, use_threads=False):
                begin, position = position, position + len(batch)
                if begin >= stop:
                    return
                if position > start:
                    at = max(start - begin, 0)
                    yield batch.slice(at, min(position, stop) - begin - at)
    except (pa.ArrowInvalid, OSError) as error:
        raise InputError(f"expected a whole Parquet file, got {file}: {str(error).splitlines()[0]}") from error


def read_rows(file: Path, schema: pa.Schema, start: int, stop: int) -> pa.Table:
    """The rows from `start` to `stop` of a file, the schema's columns alone.

    Raises
    ------
    InputError
        The file is damaged, or no longer what it was when the frame was made.
    """
    parts = list(batches(file, schema.names, start, stop, TABLE_BATCH_ROWS))
    rows = sum(map(len, parts))
    if rows != stop - start or any(part.schema.names != schema.names for part in parts):
        raise changed(file, start, stop, rows)
    return pa.Table.from_batches(parts).cast(schema) if parts else schema.empty_table()


def changed(file: Path, start: int, stop: int, rows: int) -> InputError:
    """The error of a file that is no longer what it was when the frame was made."""
    return InputError(
        f"expected rows {start:,} to {stop:,} of {file} as when the frame was made, got {rows:,} or other columns: "
        "make the frame again"
    )


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
