"""String views and binary views of Arrow as plain strings and bytes: few functions of pyarrow and pandas take views."""

from __future__ import annotations

from typing import Any

import pyarrow as pa


def without_views(schema: pa.Schema) -> pa.Schema:
    """The schema, with the plain type in place of each view.

    Examples
    --------
    >>> without_views(pa.schema({"a": pa.string_view(), "b": pa.list_(pa.string_view()), "c": pa.int8()}))
    a: string
    b: list<item: string>
      child 0, item: string
    c: int8
    """
    for at, field in enumerate(schema):
        plain = _plain(field.type)
        if plain != field.type:
            schema = schema.set(at, field.with_type(plain))
    return schema


def as_plain(batch: pa.RecordBatch) -> pa.RecordBatch:
    """The batch with the types of `without_views`; the batch itself where it has no views."""
    schema = without_views(batch.schema)
    if schema == batch.schema:
        return batch
    columns = [_cast(column, field.type) for column, field in zip(batch.columns, schema, strict=True)]
    return pa.RecordBatch.from_arrays(columns, schema=schema)


def _plain(dtype: pa.DataType) -> pa.DataType:
    if pa.types.is_string_view(dtype):
        return pa.string()
    if pa.types.is_binary_view(dtype):
        return pa.binary()
    if pa.types.is_list(dtype) or pa.types.is_large_list(dtype):
        values = dtype.value_field
        plain = _plain(values.type)
        make = pa.list_ if pa.types.is_list(dtype) else pa.large_list
        return dtype if plain == values.type else make(values.with_type(plain))
    if pa.types.is_struct(dtype):
        fields = [dtype.field(at) for at in range(dtype.num_fields)]
        plain = [field.with_type(_plain(field.type)) for field in fields]
        return dtype if plain == fields else pa.struct(plain)
    return dtype


def _cast(column: Any, dtype: pa.DataType) -> Any:
    if column.type == dtype:
        return column
    try:
        return column.cast(dtype)
    except pa.ArrowNotImplementedError:  # Of earlier versions.
        return pa.array(column.to_pylist(), dtype)
