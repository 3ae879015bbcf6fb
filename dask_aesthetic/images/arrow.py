"""Image columns of pandas, and frames of what comes of them."""

from __future__ import annotations

from typing import Any

import pandas as pd
import pyarrow as pa

# Earlier versions cannot write fixed-size lists with a null to Parquet, or cannot read them back.
FIXED_SIZE = int(pa.__version__.split(".")[0]) >= 26


def arrow_type(column: pd.Series) -> pa.DataType | None:
    """What a column holds, as an Arrow type; None where only the values tell."""
    if isinstance(column.dtype, pd.ArrowDtype):
        return column.dtype.pyarrow_dtype
    return pa.string() if isinstance(column.dtype, pd.StringDtype) else None


def images(column: pd.Series) -> Any:
    """The rows of a column, as values or as an Arrow array, without a copy."""
    return pa.array(column.array) if isinstance(column.dtype, pd.ArrowDtype) else column


def framed(columns: dict[str, Any], index: pd.Index) -> pd.DataFrame:
    """A frame of columns, Arrow arrays or others, with an index."""
    held = {
        name: pd.arrays.ArrowExtensionArray(values) if isinstance(values, pa.Array) else values
        for name, values in columns.items()
    }
    return pd.DataFrame(held, index=index, copy=False)
