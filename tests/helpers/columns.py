"""Rows as a column of each kind: Arrow lists and objects."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pyarrow as pa

KINDS = ("list", "large_list", "fixed_size_list", "object", "object_lists")
ARROW = KINDS[:3]


def make(rows, kind: str, dtype: str = "float32", name: str = "image_embedding") -> pd.Series:
    """A column of `kind` from an array (n, width), or from rows that are arrays, lists or None."""
    if kind.startswith("object"):
        cast = (
            (lambda row: np.asarray(row, dtype)) if kind == "object" else (lambda row: np.asarray(row, dtype).tolist())
        )
        values = np.empty(len(rows), dtype=object)
        for at, row in enumerate(rows):
            values[at] = None if row is None else cast(row)
        return pd.Series(values, name=name)
    return pd.Series(pd.arrays.ArrowExtensionArray(pa.chunked_array([array(rows, kind, dtype)])), name=name)


def array(rows, kind: str, dtype: str = "float32") -> pa.Array:
    """An Arrow array of `kind`."""
    leaf = pa.from_numpy_dtype(np.dtype(dtype))
    if isinstance(rows, np.ndarray) and rows.ndim == 2:
        flat, width = pa.array(rows.astype(dtype).reshape(-1)), rows.shape[1]
        if kind == "fixed_size_list":
            return pa.FixedSizeListArray.from_arrays(flat, width)
        offsets = np.arange(len(rows) + 1) * width
        if kind == "list":
            return pa.ListArray.from_arrays(pa.array(offsets, pa.int32()), flat)
        return pa.LargeListArray.from_arrays(pa.array(offsets, pa.int64()), flat)
    types = {"list": pa.list_(leaf), "large_list": pa.large_list(leaf), "fixed_size_list": pa.list_(leaf, 768)}
    return pa.array([None if row is None else np.asarray(row, dtype) for row in rows], types[kind])


def frame(rows, kind: str, dtype: str = "float32") -> pd.DataFrame:
    """A frame of keys and embeddings."""
    column = make(rows, kind, dtype)
    return pd.DataFrame({"key": [f"k{at}" for at in range(len(column))], column.name: column})
