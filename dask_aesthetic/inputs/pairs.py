"""Matrices of embeddings paired, row by row, with Parquet files of metadata."""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial

import dask.dataframe as dd
import numpy as np
import pandas as pd
import pyarrow as pa

from dask_aesthetic.errors import AestheticWarning, ColumnError, InputError
from dask_aesthetic.inputs import parquet
from dask_aesthetic.inputs.file import File
from dask_aesthetic.inputs.files import ListedFile, Source, files_with_suffix
from dask_aesthetic.inputs.layouts import (
    PairedFiles,
    check_folder,
    clip_retrieval,
    datacomp,
    inspect_all,
    text_matrices,
)
from dask_aesthetic.inputs.matrices import Matrix, open_matrix
from dask_aesthetic.inputs.partitions import (
    Ranges,
    Span,
    check_rows,
    empty_frame,
    from_spans,
    partition_spans,
    split_evenly,
    to_pandas,
)

# Columns of a matrix without metadata: the location of each row.
LOCATION = pa.schema({"shard": pa.string(), "row": pa.int64()})


@dataclass(frozen=True)
class Pair:
    """A matrix of embeddings and the Parquet file whose row i describes row i of the matrix, if there is one.

    Attributes
    ----------
    name : str
        Relative path, without suffix.
    matrix : Matrix
    metadata : File or None
    """

    name: str
    matrix: Matrix
    metadata: File | None = None

    def passthrough(self, columns: Sequence[str], start: int, stop: int) -> Iterator[pa.RecordBatch]:
        """Passthrough columns of the rows from `start` to `stop`, in small batches."""
        if columns and self.metadata is not None:
            for batch in parquet.batches(self.metadata, list(columns), start, stop):
                if not set(columns) <= set(batch.schema.names):
                    raise parquet.changed_error(self.metadata, start, stop, 0)
                yield batch.select(columns)
            return
        for at in range(start, stop, parquet.BATCH_ROWS):
            yield self.location(at, min(at + parquet.BATCH_ROWS, stop)).select(columns)

    def location(self, start: int, stop: int) -> pa.RecordBatch:
        """Location of rows: the shard and the position in it."""
        shard = pa.repeat(pa.scalar(self.name), stop - start)
        return pa.record_batch([shard, pa.array(np.arange(start, stop))], schema=LOCATION)


def open_pairs(
    layout: str, found: Sequence[ListedFile], source: Source, key: str = "l14_img"
) -> list[tuple[Pair, pa.Schema]]:
    """Open the matrices of a layout, and the schemas of their metadata.

    Raises
    ------
    InputError
        No such files exist, or files have no partner, are damaged, are not matrices of floats, or differ in their row
        counts. The error names each of them.
    """
    if layout == "npy":
        texts = set(text_matrices(found))
        files = files_with_suffix((one for one in found if one not in texts), ".npy", source)
        return inspect_all(files, lambda one: (Pair(one[1], open_matrix(one[0])), LOCATION))
    check_folder(found, source)
    if layout == "clip-retrieval":
        return inspect_all(clip_retrieval(found, source), _open_pair)
    return inspect_all(datacomp(found, source), partial(_open_pair, key=key))


def warn_text_matrices(found: Sequence[ListedFile]) -> None:
    """Warn that matrices of text embeddings are left out, since matrices of image embeddings lie beside them."""
    texts = [one.name for one in text_matrices(found)]
    if texts:
        more = f" and {len(texts) - 3:,} more" if len(texts) > 3 else ""
        warnings.warn(
            f"left out: {', '.join(map(repr, texts[:3]))}{more}, embeddings of texts by their names, beside those of "
            "images. A file that is named itself is read",
            AestheticWarning,
            stacklevel=3,
        )


def _open_pair(files: PairedFiles, key: str | None = None) -> tuple[Pair, pa.Schema]:
    pair = Pair(files.name, open_matrix(files.matrix, key), files.metadata)
    footer = parquet.read_footer(files.metadata)
    if footer.metadata.num_rows != pair.matrix.rows:
        raise InputError(
            f"expected as many rows of metadata as embeddings, got {footer.metadata.num_rows:,} in "
            f"{files.metadata.path} and {pair.matrix.rows:,} in {pair.matrix.where}"
        )
    return pair, footer.schema.remove_metadata()


def read_pairs(
    found: Sequence[tuple[Pair, pa.Schema]],
    embedding_column: str,
    columns: str | Sequence[str] | None,
    rows_per_partition: int | None,
) -> dd.DataFrame:
    """Lazy Dask DataFrame of metadata columns and, last, the embedding column.

    Raises
    ------
    InputError
        Widths or dtypes of the shards differ.
    ColumnError
        A metadata column is missing, or has the name of the embedding column.
    """
    check_rows(rows_per_partition)
    pairs, schemas = [pair for pair, _ in found], [schema for _, schema in found]
    check_matrices([pair.matrix for pair in pairs])
    names = parquet.choose_columns(schemas[0], "all" if columns is None else columns, "")
    if embedding_column in names:
        raise ColumnError(
            f"expected embedding_column={embedding_column!r} to differ from the other columns, which are "
            f"{', '.join(schemas[0].names)}: choose another name for it, or other columns"
        )
    files = [pair.metadata or pair.matrix.file for pair in pairs]
    passthrough = parquet.common_schema(zip(files, schemas, strict=True), names)
    schema = passthrough.append(pa.field(embedding_column, pairs[0].matrix.type))
    sources, spans = partition_spans(pairs, [row_ranges(pair.matrix, rows_per_partition) for pair in pairs])
    return from_spans(_read, sources, spans, empty_frame(schema), passthrough=passthrough)


def check_matrices(matrices: Sequence[Matrix]) -> None:
    """Raise InputError unless all matrices have the same width and dtype."""
    first = matrices[0]
    for other in matrices:
        if (other.width, other.dtype) != (first.width, first.dtype):
            raise InputError(
                "expected embeddings of one width and type in all shards, got "
                f"{first.width} {first.dtype} in {first.where} and {other.width} {other.dtype} in {other.where}"
            )


def row_ranges(matrix: Matrix, max_rows: int | None) -> Ranges:
    """Split a matrix into row ranges of at most `max_rows` rows; one range if it cannot be read in parts."""
    return split_evenly(matrix.rows, max_rows if matrix.has_row_ranges else None)


def _read(pair: Pair, span: Span, columns: list[str], passthrough: pa.Schema) -> pd.DataFrame:
    metadata_columns = pa.schema([field for field in passthrough if field.name in columns])
    table = None
    if metadata_columns.names and pair.metadata is not None:
        table = parquet.read_rows(pair.metadata, metadata_columns, span.start, span.stop)
    elif metadata_columns.names:
        table = pa.Table.from_batches([pair.location(span.start, span.stop).select(metadata_columns.names)])
    rest = [name for name in columns if name not in passthrough.names]
    if rest:
        embedding = pair.matrix.read(span.start, span.stop)
        table = table.append_column(rest[0], embedding) if table is not None else pa.table({rest[0]: embedding})
    return to_pandas(table, span)
