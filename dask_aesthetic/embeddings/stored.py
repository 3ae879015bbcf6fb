"""Numbers as files store them: bfloat16, and 8-bit integers with a zero point, become float32; all else stays."""

from __future__ import annotations

from typing import Any

import numpy as np
import pyarrow as pa

from dask_aesthetic.errors import ArgumentError
from dask_aesthetic.validation import check_integer

BFLOAT16 = "bfloat16"
QUANTIZED = ("uint8", "int8")


def check_zero_point(value: Any) -> int | None:
    """Raise ArgumentError unless the zero point of 8-bit integers is a whole number that they can hold, or None."""
    if value is None:
        return None
    return check_integer("embedding_zero_point", value, minimum=-128, maximum=255, default="None")


def check_held(dtype: str, zero_point: int | None, where: str = "") -> None:
    """Raise ArgumentError for a zero point that an 8-bit dtype cannot hold; `where` follows it in the message."""
    if zero_point is None:
        return
    bounds = np.iinfo(dtype)
    if not bounds.min <= zero_point <= bounds.max:
        hint = ": int8 has the zero point 0 as a rule" if dtype == "int8" else ""
        raise ArgumentError(
            f"expected embedding_zero_point (--zero-point) from {bounds.min} to {bounds.max}, which {dtype} can hold, "
            f"got {zero_point}{where}{hint}"
        )


def stored_dtype(name: str) -> np.dtype[Any]:
    """Numpy dtype of the bytes of a dtype; numpy has no bfloat16."""
    return np.dtype(np.uint16 if name == BFLOAT16 else name)


def value_type(name: str, zero_point: int | None) -> pa.DataType:
    """Arrow type that the numbers of a dtype have after `floats_of`."""
    return pa.float32() if name == BFLOAT16 or zero_point is not None else pa.from_numpy_dtype(np.dtype(name))


def floats_of(numbers: np.ndarray, name: str, zero_point: int | None) -> np.ndarray:
    """Values of numbers of a dtype, with the zero point subtracted; the array itself where they are the values.

    Examples
    --------
    >>> floats_of(np.array([0, 128, 255], np.uint8), "uint8", 128).tolist()
    [-128.0, 0.0, 127.0]
    >>> floats_of(np.array([0x3FC0], np.uint16), "bfloat16", None).tolist()
    [1.5]
    """
    if name == BFLOAT16:  # The upper half of a float32.
        return (numbers.astype(np.uint32) << 16).view(np.float32)
    if zero_point is None:
        return numbers
    values = numbers.astype(np.float32)
    values -= np.float32(zero_point)
    return values
