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
from dask_aesthetic.embeddings.axes import flat_shape
from dask_aesthetic.embeddings.rows import Run, status_of_lengths
from dask_aesthetic.kernels import DTYPES, ScatteredRows, Vectors, find_rows
from dask_aesthetic.status import Status

__all__ = ["add_columns", "holds_floats", "holds_lists", "runs", "to_categories", "to_series"]

RUN_ROWS = 4096  # Rows that are no arrays become arrays, of 25 MB.
FIRST_VALUES = 100


def holds_lists(column: pd.Series) -> bool:
    """Whether an object column may hold lists of numbers: a first value is one, or all values are missing."""
    if column.dtype != object:
        return False
    values = first_values(column)
    return not values or any(is_list(value) and _row(value) is not _OTHER_TYPE for value in values)


def holds_floats(column: pd.Series) -> bool:  # noqa: ARG001
    """Whether an object column may hold lists of floats: its numbers are not looked at."""
    return True


def first_values(column: pd.Series) -> list[Any]:
    """First values of an object column that are not missing, at most `FIRST_VALUES`."""
    return list(islice((value for value in column.to_numpy() if not is_missing(value)), FIRST_VALUES))


def runs(column: pd.Series, width: int) -> Iterator[Run]:
    """Runs of rows; rows other than contiguous arrays of floats are copied.

    Parameters
    ----------
    column : pandas.Series of object dtype
        Per row an array, list or tuple of numbers, maybe with further axes of length 1, or None / NaN. Among the
        numbers None, pandas.NA and masked values are nulls, as in an Arrow list.
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
    rows = [value if kind >= 0 else _row(value) for value, kind in zip(values, kinds, strict=True)]
    # Matrices count as lists of another width.
    lengths = torch.from_numpy(np.array([-1 if row.ndim != 1 else len(row) for row in rows]))
    status = status_of_lengths(lengths, width)
    status[torch.from_numpy(np.array([row is _OTHER_TYPE for row in rows]))] = Status.WRONG_TYPE
    present = status == Status.OK
    good = [row for row, length in zip(rows, lengths.tolist(), strict=True) if length == width]
    if not good:
        return Run(status, torch.from_numpy(np.empty((0, width), np.float32)), present)
    return Run(status, _vectors(good, width), present if len(good) < len(values) else None)


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


# Values that numpy turns into floats: the text of a number, a complex number's real part, ticks of a clock, a mask.
_NO_NUMBERS = (str, bytes, bool, np.bool_, complex, np.complexfloating, np.datetime64, np.timedelta64)

_MISSING = np.empty(0, dtype=np.float32)
_MATRIX = np.empty((2, 2), dtype=np.float32)
_OTHER_TYPE = np.empty((1, 1), dtype=np.float32)


def _row(value: Any) -> np.ndarray:
    """Vector of a row, with NaN for nulls, or what stands for a row without one."""
    if is_missing(value):
        return _MISSING
    if not is_list(value):
        return _OTHER_TYPE
    try:
        row = _of_values(value) if isinstance(value, list | tuple) else _of_array(value)
    except Exception:  # Foreign objects raise errors of any kind; a row stops no others.
        return _OTHER_TYPE
    if row is _OTHER_TYPE or row.ndim == 1:
        return row
    if not row.ndim:
        return _OTHER_TYPE
    return _MATRIX if len(flat_shape(row.shape)) > 1 else row.reshape(-1)


def _of_array(value: Any) -> np.ndarray:
    """Row of an array of any library."""
    if isinstance(value, np.ma.MaskedArray):
        value = np.ma.asarray(value, np.float64 if value.dtype.kind in "iu" else None).filled(np.nan)
    elif getattr(getattr(value, "dtype", None), "na_value", None) is pd.NA:  # pandas' nullable and Arrow's.
        if value.dtype.kind not in "fiu":
            return _OTHER_TYPE
        value = value.to_numpy(np.float64, na_value=np.nan)
    elif isinstance(value, pa.ListScalar):
        value = value.values
    elif isinstance(value, torch.Tensor):
        value = value.detach().cpu().resolve_neg()
        # numpy has neither bfloat16 nor floats of 8 bits.
        value = value.float() if value.is_floating_point() and value.dtype not in _NUMPY_FLOATS else value
    array = np.asarray(value)
    if array.dtype.kind == "O":
        return _of_values(array)
    if array.dtype.name == _BFLOAT16:
        array = array.astype(np.float32)
    if array.dtype.kind not in "fiu":  # Complex numbers, masks and dates must not become floats.
        return _OTHER_TYPE
    return array if array.dtype.kind == "f" else array.astype(np.float64)


_NUMPY_FLOATS = (torch.float16, torch.float32, torch.float64)
_BFLOAT16 = "bfloat16"  # Of the package ml_dtypes, for numpy, which JAX uses.


def _of_values(values: Any) -> np.ndarray:
    """Row of a list, a tuple or an array of Python numbers."""
    if isinstance(values, np.ndarray):
        values = values.reshape(-1) if len(flat_shape(values.shape)) == 1 else values
    if _holds_lists(values):
        return _of_lists(values)
    if any(issubclass(kind, _NO_NUMBERS) for kind in set(map(type, values))):
        return _OTHER_TYPE
    try:
        return np.asarray(values, dtype=np.float64)  # None becomes NaN.
    except OverflowError:  # An integer that float64 cannot hold is infinite, as such floats are.
        return np.array([_float(value) for value in values])
    except (TypeError, Warning):  # pandas.NA is no number; numpy warns of masked values.
        nulls = [is_null(value) for value in values]
        if not any(nulls):
            return _OTHER_TYPE
        filled = [np.nan if null else value for value, null in zip(values, nulls, strict=True)]
        return np.asarray(filled, dtype=np.float64)


def _holds_lists(values: Any) -> bool:
    """Whether all items of a list, a tuple or an object array are lists themselves."""
    return len(values) > 0 and all(
        is_list(value) and not is_null(value) and getattr(value, "ndim", 1) for value in values
    )


def _of_lists(lists: Any) -> np.ndarray:
    """Row of a list of lists: of the one list in it, or of the one number in each."""
    if len(lists) == 1:
        return _row(lists[0])
    if all(len(value) == 1 for value in lists):
        return _row([value[0] for value in lists])
    return _OTHER_TYPE if _row(lists[0]) is _OTHER_TYPE else _MATRIX


def _float(value: Any) -> float:
    try:
        return np.nan if value is None else float(value)
    except OverflowError:
        return np.inf


def describe(value: Any) -> str:
    """Type of a value of an object column, for messages: "str", "float32", "list of str", "float32 of 2 axes"."""
    dtype = getattr(value, "dtype", None)
    name = type(value).__name__ if dtype is None else str(dtype)
    if dtype is None and isinstance(value, list | tuple) and len(value):
        others = sorted({type(item).__name__ for item in value if issubclass(type(item), (*_NO_NUMBERS, dict, set))})
        return f"{name} of {', '.join(others)}" if others else name
    axes = len(flat_shape(tuple(getattr(value, "shape", ()))))
    return f"{name} of {axes} axes" if axes > 1 else name


def is_list(value: Any) -> bool:
    """Whether a value of an object column is a list or array that may hold numbers."""
    if isinstance(value, np.ndarray):
        return value.dtype.kind in "fiuO" or value.dtype.name == _BFLOAT16
    if isinstance(value, list | tuple):
        return True
    if isinstance(value, str | dict | set | np.generic) or is_bytes(value):
        return False
    return hasattr(value, "__array__") or hasattr(value, "__len__")


def list_length(value: Any) -> int | None:
    """Numbers in a list, maybe with axes of length 1; None for a matrix and anything else."""
    if not is_list(value):
        return None
    shape = getattr(value, "shape", None)
    if shape is None:
        shape = (len(value),) if hasattr(value, "__len__") else np.shape(value)
    is_of_objects = isinstance(value, list | tuple) or (isinstance(value, np.ndarray) and value.dtype == object)
    if is_of_objects and len(shape) == 1 and _holds_lists(value):
        shape = _row(value).shape
    shape = flat_shape(tuple(shape))
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
