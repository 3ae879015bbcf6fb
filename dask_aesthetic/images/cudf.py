"""Image columns of cuDF: strings, or lists of uint8, since it has no type for bytes. They are decoded on the host."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pyarrow as pa

if TYPE_CHECKING:
    import cudf

FIXED_SIZE = False


def arrow_type(column: cudf.Series) -> pa.DataType | None:
    """What a column holds, as an Arrow type."""
    return column.iloc[:0].to_arrow().type


def images(column: cudf.Series) -> Any:
    """The rows of a column as an Arrow array in host memory."""
    return column.to_arrow()


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
