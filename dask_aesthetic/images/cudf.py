"""Image columns of cuDF, which has no type for bytes: they are strings there, or lists of uint8."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pandas as pd
import pyarrow as pa

if TYPE_CHECKING:
    import cudf

FIXED_SIZE = False


def arrow_type(column: cudf.Series) -> pa.DataType | None:
    """What a column holds, as an Arrow type; None where that is no type of pictures."""
    dtype = column.dtype
    if isinstance(dtype, pd.ArrowDtype):
        return dtype.pyarrow_dtype
    if isinstance(dtype, pd.StringDtype):
        return pa.string()
    if column.dtype == object:  # dask-cuDF's meta of lists and structs.
        return pa.null()
    # Not by `to_arrow` of the column: where that is empty, its lists and structs become nulls.
    return dtype.to_arrow() if type(dtype).__name__ in ("ListDtype", "StructDtype") else None


def images(column: cudf.Series) -> Any:
    """The rows of a column in host memory, as an Arrow array or as values."""
    array = column.to_arrow()
    binary = _binary(array.type)
    return array if binary == array.type else (_told(row.as_py()) for row in array.cast(binary))


def _binary(dtype: pa.DataType) -> pa.DataType:
    """A type with bytes in place of strings, which cuDF makes of bytes without asking whether they are text."""
    if pa.types.is_string(dtype) or pa.types.is_large_string(dtype):
        return pa.binary() if pa.types.is_string(dtype) else pa.large_binary()
    if pa.types.is_list(dtype):
        return pa.list_(dtype.value_field.with_type(_binary(dtype.value_type)))
    if pa.types.is_struct(dtype):
        return pa.struct([field.with_type(_binary(field.type)) for field in dtype])
    return dtype


def _told(value: Any) -> Any:
    """Bytes as the text that they are, a path, or as they are: no picture's format is text to its end."""
    if isinstance(value, bytes):
        try:
            text = value.decode()
        except UnicodeDecodeError:
            return value
        return value if "\0" in text else text
    if isinstance(value, dict):
        return {name: _told(part) for name, part in value.items()}
    return [_told(part) for part in value] if isinstance(value, list) else value


def framed(columns: dict[str, Any], index: cudf.Index) -> cudf.DataFrame:
    """A frame of columns, Arrow arrays or others, with an index."""
    import cudf

    made = {}
    for name, values in columns.items():
        if isinstance(values, pa.Array):
            # cuDF has no float16.
            values = cudf.Series.from_arrow(values.cast(pa.list_(pa.float32())))
        made[name] = cudf.Series(values, nan_as_null=False)
    frame = cudf.DataFrame(made)
    frame.index = index
    return frame
