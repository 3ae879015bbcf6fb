"""Checks of integer and fraction arguments."""

from __future__ import annotations

from numbers import Integral
from typing import Any

import numpy as np

from dask_aesthetic.errors import ArgumentError


def is_integer(value: Any) -> bool:
    """Whether a value is an integer of Python or NumPy, and no bool."""
    return isinstance(value, Integral) and not isinstance(value, bool)


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


def check_fraction(name: str, value: Any, minimum: float | None = None) -> float:
    """Fraction argument, checked: at most 1, and at least `minimum`, or above 0 if `minimum` is None.

    Raises
    ------
    ArgumentError
        The value is no such number; for a percentage the message suggests the fraction.
    """
    number = isinstance(value, int | float | np.number) and not isinstance(value, bool)
    if number and value <= 1 and (value > 0 if minimum is None else value >= minimum):
        return float(value)
    hint = f": did you mean {value / 100:g}?" if number and 1 < value <= 100 else ""
    raise ArgumentError(f"expected {name} to be a number from 0 to 1, got {value!r}{hint}")
