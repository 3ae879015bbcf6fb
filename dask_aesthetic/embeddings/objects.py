"""Embeddings in object columns of pandas, an array or list per row; arrays are scored where they lie."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import islice
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import torch

from dask_aesthetic.embeddings.arrow import add_columns, to_categories, to_series
from dask_aesthetic.embeddings.rows import Run, mark_null_leaves, status_of_lengths
from dask_aesthetic.kernels import DTYPES, ScatteredRows, Vectors, find_rows
from dask_aesthetic.status import Status

__all__ = ["add_columns", "holds_lists", "runs", "to_categories", "to_series"]

RUN_ROWS = 4096  # Rows that are no arrays become arrays, of 25 MB.
FIRST_VALUES = 100


def holds_lists(column: pd.Series) -> bool:
    """Whether an object column may hold lists of floats: a first value is one, or all values are missing."""
    if column.dtype != object:
        return False
    values = first_values(column)
    return not values or any(is_list(value) for value in values)


def first_values(column: pd.Series) -> list[Any]:
    """First values of an object column that are not missing, at most `FIRST_VALUES`."""
    return list(islice((value for value in column.to_numpy() if not is_missing(value)), FIRST_VALUES))


def runs(column: pd.Series, width: int) -> Iterator[Run]:
    """Runs of rows; rows other than contiguous arrays of floats are copied.

    Parameters
    ----------
    column : pandas.Series of object dtype
        Per row an array, list or tuple of floats, or None / NaN. Among the floats None, pandas.NA and masked values
        are nulls, as in an Arrow list; NaN is not.
    width : int
        Floats per row that the predictor takes.

    Yields
    ------
    Run
        A row that is no list gets a status and stops nothing.
    """
    values = column.to_numpy()
    for start in range(0, len(values), RUN_ROWS):
        # A copy of the references keeps the rows alive, whatever becomes of the column.
        yield _run(values[start : start + RUN_ROWS].copy(), width)


def _run(values: np.ndarray, width: int) -> Run:
    found = find_rows(values, width)
    kinds = np.full(len(values), -1, np.int8) if found is None else found[0]
    if found is not None and kinds[0] >= 0 and (kinds == kinds[0]).all():
        return Run.of_valid(ScatteredRows(values, DTYPES[kinds[0]], width, found[1]))
    rows = [(value, None) if kind >= 0 else _row(value) for value, kind in zip(values, kinds, strict=True)]
    # Values that are no flat list, such as a matrix, count as lists of another width.
    lengths = torch.from_numpy(np.array([-1 if vector.ndim != 1 else len(vector) for vector, _ in rows]))
    status = status_of_lengths(lengths, width)
    present = status == Status.OK
    good = [row for row, length in zip(rows, lengths.tolist(), strict=True) if length == width]
    if not good:
        return Run(status, torch.from_numpy(np.empty((0, width), np.float32)), present)
    if any(nulls is not None for _, nulls in good):
        masks = np.stack([np.zeros(width, dtype=bool) if nulls is None else nulls for _, nulls in good])
        status[present] = mark_null_leaves(status[present], torch.from_numpy(masks))
    return Run(status, _vectors([vector for vector, _ in good], width), present if len(good) < len(values) else None)


def _vectors(rows: list[np.ndarray], width: int) -> Vectors:
    """Vectors of one dtype, the largest of theirs, copied where they have another one or are not contiguous."""
    largest = max((row.dtype for row in rows), key=lambda dtype: dtype.itemsize)
    dtype = np.dtype(f"f{min(largest.itemsize, 8)}")
    with np.errstate(over="ignore"):  # What float64 cannot hold becomes infinite, which has a status.
        vectors = np.fromiter((np.ascontiguousarray(row, dtype) for row in rows), object, len(rows))
    found = find_rows(vectors, width)
    if found is None or (found[0] != DTYPES.index(dtype)).any():
        return torch.from_numpy(np.stack(vectors.tolist()))
    return ScatteredRows(vectors, dtype, width, found[1])


# Values that numpy turns into floats: the text of a number, a complex number's real part, ticks of a clock.
_NO_FLOATS = (str, bytes, complex, np.complexfloating, np.datetime64, np.timedelta64)
_NOTHING = np.empty(0, dtype=np.float32)
_NO_VECTOR = np.empty((1, 1), dtype=np.float32)

Row = tuple[np.ndarray, np.ndarray | None]  # The vector, and a mask of its nulls where there may be any.


def _row(value: Any) -> Row:
    if is_missing(value):
        return _NOTHING, None
    if not is_list(value):
        return _NO_VECTOR, None
    try:
        return _of_values(value) if isinstance(value, list | tuple) else _of_array(value)
    except Exception:  # Foreign objects raise errors of any kind; a row stops no others.
        return _NO_VECTOR, None


def _of_array(value: Any) -> Row:
    """Row of an array of any library."""
    nulls = None
    if isinstance(value, np.ma.MaskedArray):
        nulls = np.ma.getmaskarray(value)
        value = value.filled(np.nan)
    elif getattr(getattr(value, "dtype", None), "na_value", None) is pd.NA:  # pandas' nullable and Arrow's.
        nulls = np.asarray(value.isna())
        value = value.to_numpy(np.float64, na_value=np.nan)
    elif isinstance(value, pa.ListScalar):
        value = value.values
    elif isinstance(value, torch.Tensor):
        value = value.detach().cpu().resolve_neg()
        value = value.float() if value.dtype == torch.bfloat16 else value  # numpy has none.
    if isinstance(value, pa.Array | pa.ChunkedArray):
        nulls = np.asarray(value.is_null())
    array = np.asarray(value)
    if array.dtype.kind == "O":
        vector, others = _of_values(array)
        return vector, others if nulls is None else nulls
    if array.dtype.kind not in "fiub":  # Complex numbers and dates must not become floats.
        return _NO_VECTOR, None
    return array if array.dtype.kind == "f" else array.astype(np.float64), nulls


def _of_values(values: Any) -> Row:
    """Row of a list, a tuple or an array of Python floats."""
    if any(issubclass(kind, _NO_FLOATS) for kind in set(map(type, values))):
        return _NO_VECTOR, None
    try:
        # None becomes NaN, so only a row of NaN alone needs a search for nulls.
        vector = np.asarray(values, dtype=np.float64)
    except (TypeError, Warning):  # pandas.NA is no number; numpy warns of masked values.
        nulls = [is_null(value) for value in values]
        if not any(nulls):
            return _NO_VECTOR, None
        filled = [np.nan if null else value for value, null in zip(values, nulls, strict=True)]
        return np.asarray(filled, dtype=np.float64), np.array(nulls)
    if vector.ndim == 1 and len(vector) and vector[0] != vector[0] and np.isnan(vector).all():
        return vector, np.array([is_null(value) for value in values])
    return vector, None


def is_list(value: Any) -> bool:
    """Whether a value of an object column is a list or array that may hold floats."""
    if isinstance(value, np.ndarray):
        return value.dtype.kind in "fO"
    if isinstance(value, list | tuple):
        return True
    if isinstance(value, str | dict | set | np.generic) or is_bytes(value):
        return False
    return hasattr(value, "__array__") or hasattr(value, "__len__")


def list_length(value: Any) -> int | None:
    """Length of a flat list, None for anything else."""
    if not is_list(value):
        return None
    shape = getattr(value, "shape", None)
    if shape is None:
        shape = (len(value),) if hasattr(value, "__len__") else np.shape(value)
    return int(shape[0]) if len(shape) == 1 else None


def is_bytes(value: Any) -> bool:
    """Whether a value is a bytes-like object: bytearray, memoryview, mmap, numpy.void; an ndarray is an array."""
    if isinstance(value, bytes | bytearray):
        return True
    if isinstance(value, np.void):
        return value.dtype.names is None
    if isinstance(value, np.ndarray):
        return False
    try:
        with memoryview(value) as view:
            return view.itemsize == 1  # array.array("f") and memoryviews of floats have larger items.
    except (TypeError, ValueError, BufferError):
        return False


def is_missing(value: Any) -> bool:
    """Whether a value of an object column is null or NaN."""
    return is_null(value) or (isinstance(value, float | np.floating) and value != value)


def is_null(value: Any) -> bool:
    """Whether a value is None, pandas.NA, masked or a null Arrow scalar; NaN is not null."""
    return (
        value is None
        or value is pd.NA
        or value is np.ma.masked
        or (isinstance(value, pa.Scalar) and not value.is_valid)
    )
