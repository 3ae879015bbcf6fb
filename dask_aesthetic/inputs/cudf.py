"""Parquet files as cuDF partitions of scores: embeddings are read to the GPU, scored there and dropped."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import dask.dataframe as dd
import pyarrow as pa

from dask_aesthetic.errors import ColumnError, InputError, InvalidEmbeddingError
from dask_aesthetic.inputs import hive, parquet
from dask_aesthetic.inputs.partitions import Span, from_spans
from dask_aesthetic.scoring import ScoreSpec, score_column

if TYPE_CHECKING:
    import cudf


def check_type(dtype: pa.DataType, column: str) -> None:
    """Refuse embeddings that cuDF has no type for."""
    storage = dtype.storage_type if isinstance(dtype, pa.BaseExtensionType) else dtype
    if storage.value_type == pa.float16():
        raise ColumnError(
            f"expected float32 or float64 in column {column!r} for cuDF, which has no float16, got {dtype}: read it "
            "under dask.config.set({'dataframe.backend': 'pandas'}), which scores on the CPU"
        )


def most_rows(width: int) -> int:
    """How many rows of so many floats a cuDF column holds."""
    return (2**31 - 1) // width


def check_spans(tables: Sequence[Any], spans: Sequence[Span], width: int) -> None:
    """Refuse row groups of more rows than a cuDF column holds."""
    for table, span in zip(tables, spans, strict=True):
        if len(span) > most_rows(width):
            raise InputError(
                f"expected row groups of at most {most_rows(width):,} rows in {table.file.name} for cuDF, whose "
                f"columns hold at most 2,147,483,647 floats, got one of {len(span):,}: write smaller ones, or read it "
                "under dask.config.set({'dataframe.backend': 'pandas'}), which scores on the CPU"
            )


def read_spans(
    tables: Sequence[Any], spans: Sequence[Span], carried: pa.Schema, embedding_column: str, spec: ScoreSpec
) -> dd.DataFrame:
    """A lazy frame of cuDF partitions: the carried columns, the score and ``keep``."""
    return from_spans(
        read, tables, spans, _empty(carried, spec), carried=carried, embedding_column=embedding_column, spec=spec
    )


def read(
    table: Any, span: Span, columns: list[str], carried: pa.Schema, embedding_column: str, spec: ScoreSpec
) -> cudf.DataFrame:
    """One partition, with these columns alone; the embeddings are read where a score is asked for."""
    import cudf

    if not len(span):
        return _empty(carried, spec)[columns]
    folders = dict(table.folders)
    scored = bool({spec.score_column, spec.keep_column} & set(columns))
    own = [name for name in columns if name in carried.names and name not in folders]
    frame = cudf.DataFrame(index=cudf.RangeIndex(span.first, span.first + len(span)))
    if own or scored:
        groups = parquet.groups_of(parquet.read_footer(table.file), span.start, span.stop)
        found = cudf.read_parquet(
            table.file.path,
            columns=[*own, embedding_column] if scored else own,
            row_groups=[groups],
            storage_options=None if table.file.is_local else dict(table.file.options),
            use_pandas_metadata=False,
        )
        if len(found) != len(span) or not {*own, *([embedding_column] if scored else [])} <= set(found.columns):
            raise parquet.changed(table.file, span.start, span.stop, len(found))
        found.index = frame.index
        for name in own:
            # A column that is null throughout this file takes the others' type.
            like = cudf.Series.from_arrow(pa.array([], carried.field(name).type)).dtype
            frame[name] = found[name] if found[name].dtype == like else found[name].astype(like)
    for name in folders.keys() & set(columns):
        values = cudf.Series.from_arrow(hive.constant(folders[name], len(span), pa.string()))
        values.index = frame.index
        frame[name] = values
    if scored:
        frame[spec.score_column] = _score(found[embedding_column], table.file.name, span, spec)
        frame[spec.keep_column] = frame[spec.score_column] >= spec.threshold.cut
    return frame[columns]


def _empty(carried: pa.Schema, spec: ScoreSpec) -> cudf.DataFrame:
    import cudf

    fields = [*carried, pa.field(spec.score_column, pa.float32()), pa.field(spec.keep_column, pa.bool_())]
    return cudf.DataFrame.from_arrow(pa.schema(fields).empty_table())


def _score(column: cudf.Series, file: str, span: Span, spec: ScoreSpec) -> cudf.Series:
    try:
        return score_column(column, spec)
    except InvalidEmbeddingError as error:
        row = span.start + error.row
        raise InvalidEmbeddingError(error.column, file, row, None, error.reason, error.width) from None
