"""Checks of arguments: integers, fractions, column names."""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from numbers import Integral, Real
from typing import Any

from dask_aesthetic.errors import ArgumentError


def is_integer(value: Any) -> bool:
    """Whether a value is an integer of Python or NumPy, and no bool."""
    return isinstance(value, Integral) and not isinstance(value, bool)


def is_number(value: Any) -> bool:
    """Whether a value is a real number of Python or NumPy, and no bool."""
    return isinstance(value, Real) and not isinstance(value, bool)


def check_integer(
    name: str, value: Any, *, minimum: int | None = None, maximum: int | None = None, unit: str = "", default: str = ""
) -> int:
    """Integer argument, checked for its type and bounds.

    Parameters
    ----------
    name : str
        Name of the argument.
    value : object
    minimum, maximum : int, optional
        Bounds, inclusive.
    unit : str
        Plural of what is counted, for the error: "rows".
    default : str
        Other value that the argument accepts, for the error: "None".

    Raises
    ------
    ArgumentError
        The value is no integer, or outside its bounds.

    Examples
    --------
    >>> check_integer("sample", 10, minimum=1, unit="rows", default="None")
    10
    """
    fits = is_integer(value) and (minimum is None or value >= minimum) and (maximum is None or value <= maximum)
    if not fits:
        of = f" of {unit}" if unit else ""
        bounds = ""
        if minimum is not None:
            bounds = f", {minimum} or more" if maximum is None else f" from {minimum:,} to {maximum:,}"
        other = f", or {default}" if default else ""
        raise ArgumentError(f"expected {name} to be a whole number{of}{bounds}{other}, got {value!r}")
    return int(value)


def check_batch_size(value: Any, unit: str = "rows") -> int | None:
    """Argument batch_size, checked; None for None and for -1, NeMo Curator's default.

    Raises
    ------
    ArgumentError
    """
    if value is None or (is_integer(value) and value == -1):
        return None
    return check_integer("batch_size", value, minimum=1, unit=unit, default="-1 for the default")


def check_column_name(role: str, value: Any) -> None:
    """Refuse an argument that is no single column's name, such as a list with one.

    Raises
    ------
    ArgumentError
    """
    if value is None or not isinstance(value, Hashable):
        hint = f": {role}={value[0]!r}" if isinstance(value, list) and len(value) == 1 else ""
        raise ArgumentError(f"expected {role} to be the name of one column, got {value!r}{hint}")


def check_options(name: str, value: Any) -> None:
    """Refuse storage options that are no mapping.

    Raises
    ------
    ArgumentError
    """
    if value is not None and not isinstance(value, Mapping):
        raise ArgumentError(f"expected {name} to be a dict of fsspec's options, got {value!r}")


def check_new_name(role: str, value: Any) -> None:
    """Refuse an argument that cannot name an added column: anything but a text that is not empty.

    Raises
    ------
    ArgumentError
    """
    if not isinstance(value, str) or not value:
        raise ArgumentError(f"expected {role} to be the name of one column, got {value!r}")


def check_fraction(name: str, value: Any, minimum: float | None = None) -> float:
    """Fraction argument, checked: at most 1, and at least `minimum`, or above 0 if `minimum` is None.

    Raises
    ------
    ArgumentError
        The value is no such number; for a percentage the message suggests the fraction.
    """
    number = is_number(value)
    if number and value <= 1 and (value > 0 if minimum is None else value >= minimum):
        return float(value)
    hint = f": did you mean {value / 100:g}?" if number and 1 < value <= 100 else ""
    bounds = "above 0, up to 1" if minimum is None else "from 0 to 1"
    raise ArgumentError(f"expected {name} to be a number {bounds}, got {value!r}{hint}")
