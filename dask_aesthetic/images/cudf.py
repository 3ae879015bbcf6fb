"""Image columns of cuDF, and cuDF frames of results. cuDF has no type for bytes: it uses strings or lists of uint8."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pandas as pd
import pyarrow as pa

if TYPE_CHECKING:
    import cudf

FIXED_SIZE = False


def arrow_type(column: cudf.Series) -> pa.DataType | None:
    """Arrow type of a column's values; None where the dtype cannot hold images."""
    dtype = column.dtype
    if isinstance(dtype, pd.ArrowDtype):
        return dtype.pyarrow_dtype
    if isinstance(dtype, pd.StringDtype):
        return pa.string()
    if column.dtype == object:  # dask-cuDF's meta of lists and structs.
        return pa.null()
    # `to_arrow` of an empty column would turn its lists and structs into nulls.
    return dtype.to_arrow() if type(dtype).__name__ in ("ListDtype", "StructDtype") else None


def images(column: cudf.Series) -> Any:
    """Rows of a column in host memory, as an Arrow array or as values."""
    array = column.to_arrow()
    binary = _as_binary(array.type)
    return array if binary == array.type else (_text_or_bytes(row.as_py()) for row in array.cast(binary))


def _as_binary(dtype: pa.DataType) -> pa.DataType:
    """Arrow type with binary in place of string: cuDF stores bytes as strings, whether they are text or not."""
    if pa.types.is_string(dtype) or pa.types.is_large_string(dtype):
        return pa.binary() if pa.types.is_string(dtype) else pa.large_binary()
    if pa.types.is_list(dtype):
        return pa.list_(dtype.value_field.with_type(_as_binary(dtype.value_type)))
    if pa.types.is_struct(dtype):
        return pa.struct([field.with_type(_as_binary(field.type)) for field in dtype])
    return dtype


def _text_or_bytes(value: Any) -> Any:
    """Paths as str, encoded images as bytes: no image format is UTF-8 text without a NUL."""
    if isinstance(value, bytes):
        try:
            text = value.decode()
        except UnicodeDecodeError:
            return value
        return value if "\0" in text else text
    if isinstance(value, dict):
        return {name: _text_or_bytes(part) for name, part in value.items()}
    return [_text_or_bytes(part) for part in value] if isinstance(value, list) else value


def to_frame(columns: dict[str, Any], index: cudf.Index) -> cudf.DataFrame:
    """DataFrame of columns, Arrow arrays or others, with an index."""
    import cudf

    series = {}
    for name, values in columns.items():
        if isinstance(values, pa.Array):
            # cuDF has no float16.
            values = cudf.Series.from_arrow(values.cast(pa.list_(pa.float32())))
        series[name] = cudf.Series(values, nan_as_null=False)
    frame = cudf.DataFrame(series)
    frame.index = index
    return frame
