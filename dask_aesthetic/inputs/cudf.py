"""Parquet files as cuDF partitions of scores: embeddings are read to the GPU, scored there, and dropped."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import dask.dataframe as dd
import pyarrow as pa

from dask_aesthetic.errors import ColumnError, InputError, InvalidEmbeddingError
from dask_aesthetic.inputs import hive, parquet
from dask_aesthetic.inputs.file import File
from dask_aesthetic.inputs.partitions import Span, from_spans
from dask_aesthetic.scoring import ScoreSpec, score_column

if TYPE_CHECKING:
    import cudf


def check_type(dtype: pa.DataType, column: str) -> None:
    """Raise ColumnError for float16 embeddings, since cuDF has no float16."""
    storage = dtype.storage_type if isinstance(dtype, pa.BaseExtensionType) else dtype
    if storage.value_type == pa.float16():
        raise ColumnError(
            f"expected float32 or float64 in column {column!r} for cuDF, which has no float16, got {dtype}: read it "
            "under dask.config.set({'dataframe.backend': 'pandas'}), which scores on the CPU"
        )


def max_rows(width: int) -> int:
    """Maximum rows of a cuDF column of lists of `width` floats."""
    return (2**31 - 1) // width


def check_spans(tables: Sequence[Any], spans: Sequence[Span], width: int) -> None:
    """Raise InputError for row groups of more rows than a cuDF column can hold."""
    for table, span in zip(tables, spans, strict=True):
        if len(span) > max_rows(width):
            raise InputError(
                f"expected row groups of at most {max_rows(width):,} rows in {table.file.name} for cuDF, whose "
                f"columns hold at most 2,147,483,647 floats, got one of {len(span):,}: write smaller ones, or read it "
                "under dask.config.set({'dataframe.backend': 'pandas'}), which scores on the CPU"
            )


def read_spans(
    tables: Sequence[Any], spans: Sequence[Span], passthrough: pa.Schema, embedding_column: str, spec: ScoreSpec
) -> dd.DataFrame:
    """Lazy Dask DataFrame of cuDF partitions: passthrough columns, score and ``keep``."""
    columns = cudf_schema(passthrough)
    return from_spans(
        read, tables, spans, _empty(columns, spec), passthrough=columns, embedding_column=embedding_column, spec=spec
    )


def read(
    table: Any, span: Span, columns: list[str], passthrough: pa.Schema, embedding_column: str, spec: ScoreSpec
) -> cudf.DataFrame:
    """Read one cuDF partition with these columns; embeddings are read only if a score column is among them."""
    import cudf

    if not len(span):
        return _empty(passthrough, spec)[columns]
    folders = dict(table.folders)
    own = pa.schema([field for field in passthrough if field.name in columns and field.name not in folders])
    # Passthrough columns are read by pyarrow: cuDF would turn some into an index, and change types.
    arrays = {name: hive.constant(folders[name], len(span), pa.string()) for name in columns if name in folders}
    if own.names:
        table_rows = parquet.read_rows(table.file, own, span.start, span.stop)
        arrays.update(zip(own.names, table_rows.columns, strict=True))
    frame = cudf.DataFrame(index=cudf.RangeIndex(span.first, span.first + len(span)))
    if arrays:
        index, frame = frame.index, cudf.DataFrame.from_arrow(pa.table(arrays))
        frame.index = index
    if {spec.score_column, spec.keep_column} & set(columns):
        embeddings = _embeddings(table.file, span, embedding_column)
        embeddings.index = frame.index
        frame[spec.score_column] = _score(embeddings, table.file.name, span, spec)
        frame[spec.keep_column] = frame[spec.score_column] >= spec.threshold.cut
    return frame[columns]


def _embeddings(file: File, span: Span, column: str) -> cudf.Series:
    import cudf

    footer = parquet.read_footer(file)
    # cuDF would fetch a whole remote file for every partition, and misreads RangeIndex metadata with a step.
    if not file.is_local or _has_steps(footer.schema):
        schema = pa.schema([pa.field(column, pa.list_(footer.schema.field(column).type.value_type))])
        return cudf.Series.from_arrow(parquet.read_rows(file, schema, span.start, span.stop)[column])
    frame = cudf.read_parquet(
        file.path,
        columns=[column],
        row_groups=[parquet.row_groups_of(footer, span.start, span.stop)],
        use_pandas_metadata=False,
        dataset_kwargs={"partitioning": None},  # Hive partition columns would replace the file's own.
    )
    if len(frame) != len(span) or column not in frame.columns:
        raise parquet.changed_error(file, span.start, span.stop, len(frame))
    return frame[column]


def _has_steps(schema: pa.Schema) -> bool:
    """Whether pandas wrote the file with a RangeIndex whose step is not 1."""
    index = (schema.pandas_metadata or {}).get("index_columns", [])
    return any(isinstance(one, dict) and one.get("step", 1) != 1 for one in index)


def cudf_schema(schema: pa.Schema) -> pa.Schema:
    """Schema of passthrough columns with the types that cuDF has for them.

    Raises
    ------
    ColumnError
        cuDF has no type for a column.
    """
    return pa.schema([pa.field(field.name, _cudf_type(field.type, field.name)) for field in schema])


def _cudf_type(dtype: pa.DataType, name: str) -> pa.DataType:
    types = pa.types
    if types.is_dictionary(dtype):
        return _cudf_type(dtype.value_type, name)
    if types.is_large_string(dtype) or types.is_string_view(dtype) or types.is_null(dtype):
        return pa.string()
    if types.is_list(dtype) or types.is_large_list(dtype) or types.is_fixed_size_list(dtype):
        return pa.list_(_cudf_type(dtype.value_type, name))
    if types.is_struct(dtype):
        return pa.struct([pa.field(field.name, _cudf_type(field.type, name)) for field in dtype])
    if types.is_float16(dtype):
        return pa.float32()
    if types.is_date(dtype):
        return pa.timestamp("s")
    simple = types.is_integer(dtype) or types.is_floating(dtype) or types.is_boolean(dtype) or types.is_string(dtype)
    known_zone = types.is_timestamp(dtype) and not (dtype.tz or "").startswith(("+", "-"))  # cuDF has no fixed offsets.
    if simple or known_zone or types.is_decimal128(dtype) or types.is_duration(dtype):
        return dtype
    raise ColumnError(
        f"expected passthrough columns that cuDF has a type for, got {dtype} in {name!r}: leave it out by "
        "columns=[...], or read it under dask.config.set({'dataframe.backend': 'pandas'}), which scores on the CPU"
    )


def _empty(passthrough: pa.Schema, spec: ScoreSpec) -> cudf.DataFrame:
    import cudf

    fields = [*passthrough, pa.field(spec.score_column, pa.float32()), pa.field(spec.keep_column, pa.bool_())]
    return cudf.DataFrame.from_arrow(pa.schema(fields).empty_table())


def _score(column: cudf.Series, file: str, span: Span, spec: ScoreSpec) -> cudf.Series:
    try:
        return score_column(column, spec)
    except InvalidEmbeddingError as error:
        row = span.start + error.row
        raise InvalidEmbeddingError(error.column, file, row, None, error.reason, error.width) from None
