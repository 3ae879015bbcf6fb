"""Parquet files with an embedding column, read batch by batch so that the embeddings stay in cache."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from glob import glob, has_magic
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from dask_aesthetic.embeddings.arrow import is_float_list
from dask_aesthetic.errors import ColumnError, InputError

# Decoded lists of 1024 rows of 768 floats are 3 MB: they stay in cache and their memory is used again.
BATCH_ROWS = 1024
ID_COLUMNS = ("key", "uid", "url", "hash", "id", "image_path")


def find_files(path: str) -> list[Path]:
    """The Parquet files that a file's path, a folder or a glob names, in order.

    Raises
    ------
    InputError
        There are none, or two have the same stem in different folders.
    """
    if has_magic(path):
        files = [Path(name) for name in glob(path, recursive=True)]
    elif Path(path).is_dir():
        files = [file for file in Path(path).rglob("*.parquet") if not file.name.startswith((".", "_"))]
    elif Path(path).exists():
        files = [Path(path)]
    else:
        raise InputError(f"expected a Parquet file, a folder or a glob, got {path!r}, which does not exist")
    if not files:
        raise InputError(f"expected Parquet files (*.parquet) in {path!r}, got none")
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
    try:
        with pq.ParquetFile(file) as source:
            return source.schema_arrow, source.metadata.num_rows
    except (pa.ArrowInvalid, OSError) as error:
        raise InputError(f"expected a Parquet file, got {file}: {str(error).splitlines()[0]}") from error


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


def batches(file: Path, columns: list[str]) -> Iterator[pa.RecordBatch]:
    """The rows of a file in small batches, single-threaded: whoever runs several files side by side is faster."""
    try:
        with pq.ParquetFile(file) as source:
            yield from source.iter_batches(BATCH_ROWS, columns=columns, use_threads=False)
    except (pa.ArrowInvalid, OSError) as error:
        raise InputError(f"expected a whole Parquet file, got {file}: {str(error).splitlines()[0]}") from error
