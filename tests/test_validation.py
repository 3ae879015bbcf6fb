"""Checks of integer and fraction arguments: accepted types, bounds and messages."""

from __future__ import annotations

import numpy as np
import pytest

from dask_aesthetic import ArgumentError
from dask_aesthetic.validation import check_fraction, check_integer, is_integer


def test_integers_of_python_and_numpy_are_accepted():
    for value in (3, np.int8(3), np.uint64(3)):
        assert is_integer(value)
        assert check_integer("n", value) == 3
        assert type(check_integer("n", value)) is int
    for value in (True, np.bool_(True), 3.0, np.float32(3), "3", None):
        assert not is_integer(value)
        with pytest.raises(ArgumentError, match="expected n to be a whole number, got"):
            check_integer("n", value)


@pytest.mark.parametrize(
    ("value", "bounds", "message"),
    [
        (0, {"minimum": 1}, "expected n to be a whole number, 1 or more, got 0"),
        (0, {"minimum": 1, "unit": "rows", "default": "None"}, "a whole number of rows, 1 or more, or None, got 0"),
        (2001, {"minimum": 1, "maximum": 2000}, "a whole number from 1 to 2,000, got 2001"),
    ],
)
def test_integers_outside_their_bounds_are_refused(value, bounds, message):
    with pytest.raises(ArgumentError, match=message):
        check_integer("n", value, **bounds)
    assert check_integer("n", bounds["minimum"], **bounds) == bounds["minimum"]
    assert check_integer("n", 2000, **bounds) == 2000


def test_fractions():
    assert check_fraction("share", 1) == check_fraction("share", np.float32(1)) == 1.0
    assert check_fraction("share", 0.25) == 0.25
    assert check_fraction("q", 0, minimum=0.0) == 0.0
    for value in (0, -0.1, 1.01, float("nan"), True, "0.5", None):
        with pytest.raises(ArgumentError, match="expected share to be a number above 0, up to 1, got"):
            check_fraction("share", value)
    with pytest.raises(ArgumentError, match=r"got 20: did you mean 0\.2\?"):
        check_fraction("share", 20)
