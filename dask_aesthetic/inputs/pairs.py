"""Matrices of embeddings that stand beside Parquet files of metadata, row by row."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import dask.dataframe as dd
import pandas as pd
import pyarrow as pa

from dask_aesthetic.errors import ColumnError, InputError
from dask_aesthetic.inputs import parquet
from dask_aesthetic.inputs.matrices import Matrix
from dask_aesthetic.inputs.partitions import Ranges, Span, check_rows, cut, even, from_spans, to_pandas


@dataclass(frozen=True)
class Pair:
    """A shard: row i of the matrix belongs to row i of the Parquet file."""

    matrix: Matrix
    metadata: Path


def read_pairs(
    pairs: Sequence[Pair], embedding_column: str, columns: str | Sequence[str] | None, rows_per_partition: int | None
) -> dd.DataFrame:
    """A lazy frame of metadata columns and, last, the embedding.

    Raises
    ------
    InputError
        A pair's numbers of rows differ, or the shards' widths or types do.
    ColumnError
        A metadata column is not there, or is called as the embedding is.
    """
    check_rows(rows_per_partition)
    check_matrices([pair.matrix for pair in pairs])
    schemas = [(pair.metadata, _checked_schema(pair)) for pair in pairs]
    names = parquet.choose_columns(schemas[0][1], "all" if columns is None else columns, "")
    if embedding_column in names:
        raise ColumnError(
            f"expected embedding_column={embedding_column!r} to differ from the metadata's columns, which are "
            f"{', '.join(schemas[0][1].names)}: choose another name for it, or other columns"
        )
    metadata = parquet.common_schema(schemas, names)
    schema = metadata.append(pa.field(embedding_column, pairs[0].matrix.type))
    sources, spans = cut(pairs, [ranges(pair.matrix, rows_per_partition) for pair in pairs])
    return from_spans(_read, sources, spans, schema, metadata=metadata)


def check_matrices(matrices: Sequence[Matrix]) -> None:
    """Refuse shards that cannot stand in one column."""
    first = matrices[0]
    for other in matrices:
        if (other.width, other.dtype) != (first.width, first.dtype):
            raise InputError(
                "expected embeddings of one width and type in all shards, got "
                f"{first.width} {first.dtype} in {first.where} and {other.width} {other.dtype} in {other.where}"
            )


def ranges(matrix: Matrix, most: int | None) -> Ranges:
    """A shard's partitions. A compressed matrix can only be read as a whole, so it stays in one."""
    return even(matrix.rows, most if matrix.offset is not None else None)


def pair_up(matrices: dict[str, Path], tables: dict[str, Path], folder: Path, layout: str) -> list[tuple[Path, Path]]:
    """Files of the same number or stem, in the order of `matrices`.

    Raises
    ------
    InputError
        There are none, or one lacks its partner.
    """
    if not matrices and not tables:
        raise InputError(f"expected {layout} in {folder}, got neither")
    alone = [file for key, file in [*matrices.items(), *tables.items()] if key not in matrices or key not in tables]
    if alone:
        names = ", ".join(str(file.relative_to(folder)) for file in alone[:3])
        more = f" and {len(alone) - 3} more" if len(alone) > 3 else ""
        raise InputError(f"expected {layout} in {folder}, got {names}{more} without its partner")
    return [(file, tables[key]) for key, file in matrices.items()]


def existing_folder(folder: str | Path) -> Path:
    """The folder's absolute path, since workers may run elsewhere."""
    path = Path(folder).absolute()
    if not path.is_dir():
        raise InputError(
            f"expected a folder, got {str(folder)!r}, which is {'a file' if path.exists() else 'not there'}"
        )
    return path


def _checked_schema(pair: Pair) -> pa.Schema:
    schema, rows = parquet.read_footer(pair.metadata)
    if rows != pair.matrix.rows:
        raise InputError(
            f"expected as many rows of metadata as embeddings, got {rows:,} in {pair.metadata} and "
            f"{pair.matrix.rows:,} in {pair.matrix.where}"
        )
    return schema


def _read(pair: Pair, span: Span, columns: list[str], metadata: pa.Schema) -> pd.DataFrame:
    wanted = pa.schema([field for field in metadata if field.name in columns])
    table = parquet.read_rows(pair.metadata, wanted, span.start, span.stop) if wanted.names else None
    rest = [name for name in columns if name not in metadata.names]
    if rest:
        embedding = pair.matrix.read(span.start, span.stop)
        table = table.append_column(rest[0], embedding) if table is not None else pa.table({rest[0]: embedding})
    return to_pandas(table, span)
