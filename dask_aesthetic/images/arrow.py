"""Image columns of pandas, and pandas frames of results."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import torch

# Earlier versions cannot write fixed-size lists with a null to Parquet, or cannot read them back.
FIXED_SIZE = int(pa.__version__.split(".")[0]) >= 26


def arrow_type(column: pd.Series) -> pa.DataType | None:
    """Arrow type of a column's values; None where only the values show it."""
    if isinstance(column.dtype, pd.ArrowDtype):
        return column.dtype.pyarrow_dtype
    return pa.string() if isinstance(column.dtype, pd.StringDtype) else None


def images(column: pd.Series) -> Any:
    """Rows of a column, as values or as an Arrow array, without a copy."""
    return pa.array(column.array) if isinstance(column.dtype, pd.ArrowDtype) else column


def lists(embeddings: torch.Tensor, ok: torch.Tensor, dtype: str, fixed_size: bool = FIXED_SIZE) -> pa.Array:
    """Arrow lists of embeddings, shape (n, width), as floats of a dtype; null where a row is not ok."""
    rows, width, present = embeddings.cpu().numpy().astype(dtype), embeddings.shape[1], ok.numpy()
    if fixed_size:
        return pa.FixedSizeListArray.from_arrays(pa.array(rows.reshape(-1)), width, mask=pa.array(~present))
    # Parquet accepts no null list with elements.
    offsets = pa.array(np.concatenate([[0], np.cumsum(present * width)]), pa.int32())
    return pa.ListArray.from_arrays(offsets, pa.array(rows[present].reshape(-1)), mask=pa.array(~present))


def categories(codes: torch.Tensor, names: Sequence[str]) -> Any:
    """Categorical of the names that codes stand for."""
    return pd.Categorical.from_codes(codes.numpy(), dtype=pd.CategoricalDtype(list(names)))


def to_frame(columns: dict[str, Any], index: pd.Index) -> pd.DataFrame:
    """DataFrame of columns, Arrow arrays or others, with an index."""
    series = {
        name: pd.arrays.ArrowExtensionArray(values) if isinstance(values, pa.Array) else values
        for name, values in columns.items()
    }
    return pd.DataFrame(series, index=index, copy=False)
