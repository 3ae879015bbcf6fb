"""Clause of a rule: a column, an operator and a value, checked and bound to the column's type."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterable
from dataclasses import dataclass
from numbers import Integral, Real
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa

from dask_aesthetic.errors import ArgumentError, ColumnError, did_you_mean
from dask_aesthetic.thresholds import Threshold

ORDERED = (">=", ">", "<=", "<")
MEMBERS = ("in", "not in")
OPERATORS = ("==", "=", "!=", *ORDERED, *MEMBERS)
PLAIN_NAME = re.compile(r"[^\W\d][\w.]*", re.ASCII)
SHOWN = 20  # Names of columns in an error.
EXACT = 2**53  # Whole numbers up to here are the same as float64 and as int.


@dataclass(frozen=True)
class Clause:
    """Condition on a column: ``("unsafe", "<", 0.1)``.

    Parameters
    ----------
    column : str
    operator : str
        One of ==, =, !=, <, >, <=, >=, in and not in.
    value : int, float, str, bool, Threshold, or a list, tuple or set of numbers, texts or bools
        A list for in and not in, and no list for the others.

    Raises
    ------
    ArgumentError
        One of them is something else.

    Examples
    --------
    >>> print(Clause("unsafe", "<", 0.1), Clause("license", "in", ["cc0", "cc-by"]), sep="; ")
    unsafe < 0.1; license in ["cc0", "cc-by"]
    """

    column: str
    operator: str
    value: Any

    def __post_init__(self) -> None:
        if not isinstance(self.column, str) or not self.column:
            raise ArgumentError(f"expected the name of a column in {self._spelled}, got {self.column!r}")
        if self.operator not in OPERATORS:
            raise ArgumentError(
                f"expected one of the operators {', '.join(OPERATORS)} in {self._spelled}, got {self.operator!r}"
            )
        of_many = isinstance(self.value, list | tuple | set | frozenset | np.ndarray)
        if of_many != (self.operator in MEMBERS):
            wanted = "a list of values" if self.operator in MEMBERS else "one value"
            raise ArgumentError(f"expected {wanted} for the operator {self.operator!r} in {self._spelled}")
        if self.operator == "=":
            object.__setattr__(self, "operator", "==")
        object.__setattr__(self, "value", self._members() if of_many else self._plain(self.value))

    @property
    def _spelled(self) -> str:
        return f"({self.column!r}, {self.operator!r}, {self.value!r})"

    def _members(self) -> tuple[Any, ...]:
        values = sorted(self.value, key=repr) if isinstance(self.value, set | frozenset) else self.value
        found = tuple(self._plain(value) for value in values)
        if not found:
            raise ArgumentError(f"expected one or more values in {self._spelled}, got none")
        if len({_kind_of_value(value) for value in found}) > 1 or isinstance(found[0], Threshold):
            raise ArgumentError(f"expected numbers, texts or bools alone in {self._spelled}, got a mixture")
        return found

    def _plain(self, value: Any) -> Any:
        """Value as int, float, str, bool or Threshold; a float that is whole as int, so that 5.0 and 5 are alike."""
        if isinstance(value, str | bool | Threshold):
            return value
        if isinstance(value, np.bool_):
            return bool(value)
        if isinstance(value, Integral):
            return int(value)
        if isinstance(value, Real) and math.isfinite(value):
            number = float(value)
            return int(number) if number.is_integer() and abs(number) <= EXACT else number
        hint = ": a row without a value satisfies no clause" if _is_missing(value) else ""
        raise ArgumentError(f"expected a finite number, a text or a bool in {self._spelled}, got {value!r}{hint}")

    def bind(self, dtype: pa.DataType) -> tuple[str, Any] | bool:
        """Operator and value to compare a column of a type with, or what all its valid rows give.

        The value is a number of the column's own type, so that every library compares alike: the nearest float32 for
        a column of float32, and a bound in whole numbers for a column of these.

        Raises
        ------
        ColumnError
            The column holds no numbers, texts or bools.
        ArgumentError
            The value cannot be compared with the column.
        """
        if pa.types.is_dictionary(dtype):
            dtype = dtype.value_type
        kind = _kind_of_type(dtype)
        if kind == "null":
            return False
        if not kind:
            raise ColumnError(
                f"expected numbers, texts or bools in column {self.column!r} for {self}, got a column of {dtype}"
            )
        values = self.value if isinstance(self.value, tuple) else (self.value,)
        if any(_kind_of_value(value) != kind for value in values):
            hint = ". On the command line double quotes make a text of a number" if kind == "text" else ""
            raise ArgumentError(f"expected {_WANTED[kind]} for column {self.column!r} of {dtype}, got {self}{hint}")
        if kind == "bool" and self.operator in ORDERED:
            raise ArgumentError(f"expected ==, !=, in or not in for column {self.column!r} of {dtype}, got {self}")
        if pa.types.is_floating(dtype):
            nearest = [self._nearest(value, dtype) for value in values]
            return self.operator, nearest if self.operator in MEMBERS else nearest[0]
        if pa.types.is_integer(dtype):
            return self._bind_integers(values, dtype)
        return self.operator, list(values) if self.operator in MEMBERS else values[0]

    def _nearest(self, value: float, dtype: pa.DataType) -> float:
        try:
            with np.errstate(over="ignore"):
                return float(dtype.to_pandas_dtype()(float(value)))
        except OverflowError as error:
            raise ArgumentError(f"expected a number as a {dtype} holds it for {self.column!r}, got {self}") from error

    def _bind_integers(self, values: tuple[Any, ...], dtype: pa.DataType) -> tuple[str, Any] | bool:
        limits = np.iinfo(dtype.to_pandas_dtype())
        if self.operator in ORDERED:
            bound = math.ceil(values[0]) if self.operator in (">=", "<") else math.floor(values[0])
            if limits.min <= bound <= limits.max:
                return self.operator, bound
            return (bound < limits.min) == (self.operator in (">", ">="))
        held = [int(value) for value in values if int(value) == value and limits.min <= value <= limits.max]
        if not held:
            return self.operator in ("!=", "not in")
        return self.operator, held if self.operator in MEMBERS else held[0]

    def to_list(self) -> list[Any]:
        """Column, operator and value, for JSON."""
        return [self.column, self.operator, list(self.value) if isinstance(self.value, tuple) else self.value]

    def __str__(self) -> str:
        column = self.column if PLAIN_NAME.fullmatch(self.column) else json.dumps(self.column, ensure_ascii=False)
        if isinstance(self.value, Threshold):
            return f"{column} {self.operator} {self.value.value:g} ({self.value.scale})"
        value = list(self.value) if isinstance(self.value, tuple) else self.value
        return f"{column} {self.operator} {json.dumps(value, ensure_ascii=False)}"


def missing_column(expected: str, name: str, names: Iterable[str]) -> ColumnError:
    """Error for a column that is not there, with the names that are."""
    held = [str(one) for one in names]
    hint = did_you_mean(name, held)
    more = f" and {len(held) - SHOWN:,} more" if len(held) > SHOWN else ""
    return ColumnError(f"expected {expected}, got columns {', '.join(map(repr, held[:SHOWN]))}{more}{hint}")


_WANTED = {"number": "a number", "text": "a text", "bool": "true or false"}


def _kind_of_type(dtype: pa.DataType) -> str:
    """Kind of a column: number, text, bool, null, or an empty string for others."""
    if pa.types.is_integer(dtype) or pa.types.is_floating(dtype):
        return "number"
    if pa.types.is_string(dtype) or pa.types.is_large_string(dtype) or str(dtype) == "string_view":
        return "text"
    return "bool" if pa.types.is_boolean(dtype) else "null" if pa.types.is_null(dtype) else ""


def _kind_of_value(value: Any) -> str:
    if isinstance(value, Threshold):
        return "threshold"
    return "text" if isinstance(value, str) else "bool" if isinstance(value, bool) else "number"


def _is_missing(value: Any) -> bool:
    return pd.api.types.is_scalar(value) and bool(pd.isna(value))
