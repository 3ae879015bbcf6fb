"""Rows of a column that satisfy a clause: Arrow and pandas columns on the CPU, cuDF columns where they lie."""

from __future__ import annotations

import operator
from collections.abc import Callable
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc

from dask_aesthetic.errors import ColumnError, first_line
from dask_aesthetic.keep_rule.clause import MEMBERS, Clause

Mask = Any  # numpy.ndarray of bool, or a cudf.Series of it.
COMPARE: dict[str, Callable[[Any, Any], Any]] = {
    "==": operator.eq,
    "!=": operator.ne,
    ">=": operator.ge,
    ">": operator.gt,
    "<=": operator.le,
    "<": operator.lt,
}
COMPARE_TEXTS = {
    "==": pc.equal,
    "!=": pc.not_equal,
    ">=": pc.greater_equal,
    ">": pc.greater,
    "<=": pc.less_equal,
    "<": pc.less,
}


def clause_mask(clause: Clause, column: Any) -> tuple[Mask, Mask]:
    """Rows of a column that satisfy a clause, and rows that have a value.

    Parameters
    ----------
    clause : Clause
    column : pyarrow.Array, pyarrow.ChunkedArray, numpy.ndarray, pandas.Series or cudf.Series
        Null and NaN are no values, and satisfy nothing.

    Raises
    ------
    ColumnError, ArgumentError
        As of `Clause.bind`.
    """
    if is_cudf(column):
        return _cudf_mask(clause, column)
    values = to_arrow(column, clause.column)
    bound = clause.bind(values.type)
    # Floats with nulls become NaN here, and numpy compares float16 too, which Arrow does not.
    numbers = values.to_numpy(zero_copy_only=False) if pa.types.is_floating(values.type) else None
    valid = values.is_valid().to_numpy(zero_copy_only=False) if numbers is None else ~np.isnan(numbers)
    if isinstance(bound, bool):
        return valid & bound, valid
    name, value = bound
    if numbers is None and not pa.types.is_string(values.type) and not pa.types.is_large_string(values.type):
        numbers = pc.fill_null(values, False if pa.types.is_boolean(values.type) else 0).to_numpy(zero_copy_only=False)
    if numbers is None:
        found = _compare_texts(values, name, value)
    elif name in MEMBERS:
        found = np.isin(numbers, np.asarray(value, numbers.dtype), invert=name == "not in")
    else:
        found = COMPARE[name](numbers, value)
    return found & valid, valid


def type_of(column: Any, name: str) -> pa.DataType:
    """Arrow type of a column without rows, as of a Dask frame's meta; null where only the rows can tell."""
    if not is_cudf(column):
        return to_arrow(column, name).type
    dtype = column.dtype
    if isinstance(dtype, np.dtype) and dtype.kind in "biuf":
        return pa.from_numpy_dtype(dtype)
    if str(dtype) in ("object", "str", "string"):
        return pa.string()
    return column.to_arrow().type  # Of categories, and types that no clause takes.


def to_arrow(column: Any, name: str) -> pa.Array:
    """Arrow array, without dictionary, of an Arrow, numpy or pandas column.

    Raises
    ------
    ColumnError
        The rows are objects of several types.
    """
    if isinstance(column, pd.Series):
        try:
            column = pa.array(column, from_pandas=True)
        except (pa.ArrowException, TypeError, ValueError) as error:
            raise ColumnError(
                f"expected numbers, texts or bools in column {name!r}, got others: {first_line(error)}"
            ) from error
    elif isinstance(column, np.ndarray):
        column = pa.array(column)
    if isinstance(column, pa.ChunkedArray):
        column = column.combine_chunks()
    if pa.types.is_dictionary(column.type):
        column = column.dictionary_decode()
    return column.cast(pa.large_string()) if str(column.type) == "string_view" else column


def mask_of(mask: Mask, like: Any) -> Any:
    """Mask as a bool Series with the index of a pandas or cuDF column."""
    return pd.Series(mask, index=like.index, dtype=bool) if isinstance(mask, np.ndarray) else mask


def count(mask: Mask) -> int:
    """Number of true rows."""
    return int(mask.sum())


def _compare_texts(values: pa.Array, name: str, value: Any) -> np.ndarray:
    if name in MEMBERS:
        found = pc.is_in(values, value_set=pa.array(value, values.type))
        return found.to_numpy(zero_copy_only=False) != (name == "not in")
    found = COMPARE_TEXTS[name](values, pa.scalar(value, values.type))
    return pc.fill_null(found, False).to_numpy(zero_copy_only=False)


def is_cudf(column: Any) -> bool:
    """Whether a column is of cuDF."""
    return type(column).__module__.partition(".")[0] == "cudf"


def _cudf_mask(clause: Clause, column: Any) -> tuple[Mask, Mask]:
    return series_mask(clause, column, type_of(column.iloc[:0], clause.column))


def series_mask(clause: Clause, column: Any, dtype: pa.DataType) -> tuple[Mask, Mask]:
    """`clause_mask` by the methods that a cuDF Series has, and a pandas Series of a nullable type."""
    if pa.types.is_dictionary(dtype):
        column = column.astype(column.dtype.categories.dtype)
    bound = clause.bind(dtype)
    valid = (column == column).fillna(False).astype(bool)
    if isinstance(bound, bool):
        return (valid if bound else ~valid & valid), valid
    name, value = bound
    if name in MEMBERS:
        found = column.isin(value)
        return (~found if name == "not in" else found) & valid, valid
    return COMPARE[name](column, value).fillna(False).astype(bool) & valid, valid
