"""Columns of ratings and labels as float64 arrays on the host."""

from __future__ import annotations

import math
from numbers import Real
from typing import Any

import numpy as np
import pandas as pd

from dask_aesthetic.errors import ColumnError


def as_numbers(column: Any, role: str, hint: str) -> np.ndarray:
    """Pandas or cuDF column as a float64 array, NaN for null.

    Raises
    ------
    ColumnError
        The column holds values that are no numbers.
    """
    if hasattr(column, "to_pandas"):  # cuDF's to_numpy does not convert nulls to NaN.
        column = column.to_pandas()
    if column.dtype == object:
        return np.array([_number(value, column.name, role, hint) for value in column], np.float64)
    if getattr(column.dtype, "kind", "") not in tuple("fiub"):
        raise _no_numbers(column.name, role, hint, column.dtype)
    return np.asarray(column.to_numpy(dtype="float64", na_value=np.nan))


def _number(value: Any, name: Any, role: str, hint: str) -> float:
    if value is None or value is pd.NA or value is pd.NaT:
        return math.nan
    if isinstance(value, Real | np.bool_):
        return float(value)
    raise _no_numbers(name, role, hint, repr(value))


def _no_numbers(name: Any, role: str, hint: str, got: Any) -> ColumnError:
    return ColumnError(f"expected numbers in {role}={name!r}, got {got}: {hint}")
