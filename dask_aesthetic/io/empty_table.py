"""Arrow tables without rows."""

from __future__ import annotations

import pyarrow as pa


def empty_table(schema: pa.Schema) -> pa.Table:
    """Table of a schema without rows; `Schema.empty_table` refuses tensors, the extension type of Arrow.

    Examples
    --------
    >>> empty_table(pa.schema({"a": pa.int8(), "b": pa.struct({"c": pa.fixed_shape_tensor(pa.int8(), [2])})})).num_rows
    0
    """
    return pa.Table.from_arrays([pa.nulls(0, field.type) for field in schema], schema=schema)
