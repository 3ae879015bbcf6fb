"""Matrices of embeddings, and the Parquet files of metadata that stand beside them, row by row."""

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
from dask_aesthetic.inputs.files import Found, Source, with_suffix
from dask_aesthetic.inputs.layouts import Partners, check_folder, clip_retrieval, datacomp, look_at_all, of_texts
from dask_aesthetic.inputs.matrices import Matrix, open_matrix
from dask_aesthetic.inputs.partitions import Ranges, Span, check_rows, cut, even, from_spans, meta_of, to_pandas

# What a bare matrix has in place of metadata.
PLACE = pa.schema({"shard": pa.string(), "row": pa.int64()})


@dataclass(frozen=True)
class Pair:
    """Row i of the matrix belongs to row i of the Parquet file, if there is one.

    Attributes
    ----------
    name : str
        Relative, without suffix.
    matrix : Matrix
    metadata : File or None
    """

    name: str
    matrix: Matrix
    metadata: File | None = None

    def carried(self, columns: Sequence[str], start: int, stop: int) -> Iterator[pa.RecordBatch]:
        """Columns of the rows from `start` to `stop`, in small batches."""
        if columns and self.metadata is not None:
            for batch in parquet.batches(self.metadata, list(columns), start, stop):
                if not set(columns) <= set(batch.schema.names):
                    raise parquet.changed(self.metadata, start, stop, 0)
                yield batch.select(columns)
            return
        for at in range(start, stop, parquet.BATCH_ROWS):
            yield self.place(at, min(at + parquet.BATCH_ROWS, stop)).select(columns)

    def place(self, start: int, stop: int) -> pa.RecordBatch:
        """Where rows lie: the shard and the position in it."""
        shard = pa.repeat(pa.scalar(self.name), stop - start)
        return pa.record_batch([shard, pa.array(np.arange(start, stop))], schema=PLACE)


def look_at_layout(
    layout: str, found: Sequence[Found], source: Source, key: str = "l14_img"
) -> list[tuple[Pair, pa.Schema]]:
    """The pairs of a layout of matrices and the schemas of their metadata.

    Raises
    ------
    InputError
        There are none, a file lacks its partner, is damaged or no matrix of floats, or a pair's numbers of rows differ:
        every one that does.
    """
    if layout == "npy":
        texts = set(of_texts(found))
        files = with_suffix((one for one in found if one not in texts), ".npy", source)
        return look_at_all(files, lambda one: (Pair(one[1], open_matrix(one[0])), PLACE))
    check_folder(found, source)
    if layout == "clip-retrieval":
        return look_at_all(clip_retrieval(found, source), _look)
    return look_at_all(datacomp(found, source), partial(_look, key=key))


def warn_of_texts(found: Sequence[Found]) -> None:
    """Warn of matrices that are left out since they hold embeddings of texts, beside those of images."""
    texts = [one.name for one in of_texts(found)]
    if texts:
        more = f" and {len(texts) - 3:,} more" if len(texts) > 3 else ""
        warnings.warn(
            f"left out: {', '.join(map(repr, texts[:3]))}{more}, embeddings of texts by their names, beside those of "
            "images. A file that is named itself is read",
            AestheticWarning,
            stacklevel=3,
        )


def _look(partners: Partners, key: str | None = None) -> tuple[Pair, pa.Schema]:
    pair = Pair(partners.name, open_matrix(partners.matrix, key), partners.metadata)
    footer = parquet.read_footer(partners.metadata)
    if footer.metadata.num_rows != pair.matrix.rows:
        raise InputError(
            f"expected as many rows of metadata as embeddings, got {footer.metadata.num_rows:,} in "
            f"{partners.metadata.path} and {pair.matrix.rows:,} in {pair.matrix.where}"
        )
    return pair, footer.schema.remove_metadata()


def read_pairs(
    found: Sequence[tuple[Pair, pa.Schema]],
    embedding_column: str,
    columns: str | Sequence[str] | None,
    rows_per_partition: int | None,
) -> dd.DataFrame:
    """A lazy frame of metadata columns and, last, the embedding.

    Raises
    ------
    InputError
        The shards' widths or types differ.
    ColumnError
        A metadata column is not there, or is called as the embedding is.
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
    carried = parquet.common_schema(zip(files, schemas, strict=True), names)
    schema = carried.append(pa.field(embedding_column, pairs[0].matrix.type))
    sources, spans = cut(pairs, [ranges(pair.matrix, rows_per_partition) for pair in pairs])
    return from_spans(_read, sources, spans, meta_of(schema), carried=carried)


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
    """Ranges of rows that can be read on their own, at most so many where the matrix can be read in parts."""
    return even(matrix.rows, most if matrix.by_rows else None)


def _read(pair: Pair, span: Span, columns: list[str], carried: pa.Schema) -> pd.DataFrame:
    wanted = pa.schema([field for field in carried if field.name in columns])
    table = None
    if wanted.names and pair.metadata is not None:
        table = parquet.read_rows(pair.metadata, wanted, span.start, span.stop)
    elif wanted.names:
        table = pa.Table.from_batches([pair.place(span.start, span.stop).select(wanted.names)])
    rest = [name for name in columns if name not in carried.names]
    if rest:
        embedding = pair.matrix.read(span.start, span.stop)
        table = table.append_column(rest[0], embedding) if table is not None else pa.table({rest[0]: embedding})
    return to_pandas(table, span)
