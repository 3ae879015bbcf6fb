"""Numbers that users give, looked at."""

from __future__ import annotations

from typing import Any

import numpy as np

from dask_aesthetic.errors import ArgumentError


def share_of_one(name: str, value: Any, lowest: float | None = None) -> float:
    """A number up to 1, and above 0 or at least `lowest`."""
    number = isinstance(value, int | float | np.number) and not isinstance(value, bool)
    if number and value <= 1 and (value > 0 if lowest is None else value >= lowest):
        return float(value)
    hint = f": did you mean {value / 100:g}?" if number and 1 < value <= 100 else ""
    raise ArgumentError(f"expected {name} to be a number from 0 to 1, got {value!r}{hint}")


def is_whole(value: Any) -> bool:
    """Whether a value is an integer, and no bool."""
    return isinstance(value, int | np.integer) and not isinstance(value, bool)
