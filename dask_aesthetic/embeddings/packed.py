"""Packed embeddings: the bytes of a row's floats, in a column of binary or of objects, as lists of floats.

Bytes do not say what they hold, so the caller states the dtype. Fixed-size binary, and binary rows of whole floats,
become lists without a copy, but for bfloat16, which Arrow does not have, and 8-bit integers, which stand for floats by
a zero point. Checked dtypes are texts: "float32", or "uint8-128" with the zero point 128.
"""

from __future__ import annotations

import re
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc

from dask_aesthetic.defaults import EMBEDDING_DTYPES
from dask_aesthetic.embeddings.objects import first_values, is_bytes
from dask_aesthetic.embeddings.stored import (
    BFLOAT16,
    QUANTIZED,
    check_held,
    check_zero_point,
    floats_of,
    stored_dtype,
    value_type,
)
from dask_aesthetic.errors import ArgumentError, ColumnError

_OTHER_LENGTH = np.empty((2, 2), np.float32)  # A matrix is a row of another width.


def check_embedding_dtype(dtype: Any, zero_point: Any = None) -> str | None:
    """Dtype of packed embeddings, checked, with the zero point of 8-bit integers; None for None.

    Raises
    ------
    ArgumentError
        The dtype is none of `EMBEDDING_DTYPES`; uint8 has no zero point, or another dtype has one.

    Examples
    --------
    >>> check_embedding_dtype("float32"), check_embedding_dtype("uint8", 128), check_embedding_dtype("int8")
    ('float32', 'uint8-128', 'int8-0')
    """
    zero_point = check_zero_point(zero_point)
    if dtype is None:
        if zero_point is not None:
            raise ArgumentError(
                f"expected embedding_zero_point={zero_point} with embedding_dtype='uint8' (--embedding-dtype uint8), "
                "for a column of bytes, or with a matrix of uint8, got neither"
            )
        return None
    name = dtype if isinstance(dtype, str) else getattr(dtype, "__name__", None) or str(dtype).removeprefix("torch.")
    if zero_point is None and _CHECKED.fullmatch(name):
        check_held(*_parts(name))
        return name
    if name not in EMBEDDING_DTYPES:
        raise ArgumentError.choice("embedding_dtype", dtype, EMBEDDING_DTYPES)
    if name not in QUANTIZED:
        if zero_point is not None:
            raise ArgumentError(
                f"expected embedding_zero_point with embedding_dtype 'uint8' or 'int8', got {name!r}: leave it out"
            )
        return name
    if zero_point is None and name == "uint8":
        raise ArgumentError(
            "expected a zero point with embedding_dtype='uint8', which stands for floats by one, got none: "
            "embedding_zero_point=128 (--zero-point 128), or 0 where the numbers are the values themselves"
        )
    check_held(name, zero_point)
    return f"{name}-{zero_point or 0}"


_CHECKED = re.compile(rf"({'|'.join(QUANTIZED)})-(-?\d{{1,3}})")


def _parts(name: str) -> tuple[str, int | None]:
    """Dtype and zero point of a checked dtype."""
    found = _CHECKED.fullmatch(name)
    return (found[1], int(found[2])) if found else (name, None)


def is_packed(dtype: pa.DataType) -> bool:
    """Whether an Arrow type is binary of any kind."""
    return (
        pa.types.is_binary(dtype)
        or pa.types.is_large_binary(dtype)
        or pa.types.is_fixed_size_binary(dtype)
        or pa.types.is_binary_view(dtype)
    )


def is_plain_dtype(embedding_dtype: str) -> bool:
    """Whether the bytes of a checked dtype are those of floats that kernels read."""
    return embedding_dtype != BFLOAT16 and _parts(embedding_dtype)[1] is None


def list_type(dtype: pa.DataType, embedding_dtype: str | None, column: object) -> pa.DataType:
    """Arrow type of the lists that a packed column becomes; without an `embedding_dtype` the type itself.

    Raises
    ------
    ColumnError
        The type is not binary, or its rows hold a fraction of a float.

    Examples
    --------
    >>> list_type(pa.binary(3072), "float32", "image_embedding")
    FixedSizeListType(fixed_size_list<item: float>[768])
    """
    if embedding_dtype is None or pa.types.is_null(dtype):
        return dtype
    if not is_packed(dtype):
        raise ColumnError(
            f"expected bytes per row in column {column!r} with embedding_dtype={embedding_dtype!r}, got {dtype}: leave "
            "embedding_dtype out"
        )
    value, size = value_type(*_parts(embedding_dtype)), _itemsize(embedding_dtype)
    if not pa.types.is_fixed_size_binary(dtype):
        return pa.list_(value) if pa.types.is_binary(dtype) else pa.large_list(value)
    if dtype.byte_width % size:
        raise ColumnError(
            f"expected rows of whole {_parts(embedding_dtype)[0]} values, of {size} bytes each, in column {column!r}, "
            f"got {dtype}"
        )
    return pa.list_(value, dtype.byte_width // size)


def holds_bytes(column: Any) -> bool:
    """Whether a column is of Arrow binary, or of objects the first of which are bytes."""
    if not isinstance(column, pd.Series):
        return False
    if isinstance(column.dtype, pd.ArrowDtype):
        return is_packed(column.dtype.pyarrow_dtype)
    return column.dtype == object and is_bytes(next(iter(first_values(column)), None))


def unpack(column: Any, embedding_dtype: str | None) -> Any:
    """Column with lists or arrays of floats in place of bytes; without an `embedding_dtype` the column itself.

    Parameters
    ----------
    column : pandas.Series or cudf.Series
        Of Arrow binary, or of objects; among objects, rows that are no bytes stay.
    embedding_dtype : str or None

    Raises
    ------
    ColumnError
        The column holds something else than bytes.
    """
    if embedding_dtype is None:
        return column
    if not isinstance(column, pd.Series):
        raise ColumnError(
            f"expected a pandas column with embedding_dtype={embedding_dtype!r}, got one of cuDF, which has no bytes: "
            "score packed embeddings on CPUs, or read lists of floats"
        )
    if isinstance(column.dtype, pd.ArrowDtype):
        lists = unpack_array(pa.array(column.array), embedding_dtype, column.name)
        values: Any = pd.arrays.ArrowExtensionArray(
            lists if isinstance(lists, pa.ChunkedArray) else pa.chunked_array([lists])
        )
    elif column.dtype == object:
        first = next(iter(first_values(column)), b"")
        if not is_bytes(first):
            raise ColumnError(
                f"expected bytes per row in column {column.name!r} with embedding_dtype={embedding_dtype!r}, got "
                f"objects of {type(first).__name__}: leave embedding_dtype out"
            )
        values = np.empty(len(column), object)
        for at, row in enumerate(column.to_numpy()):
            values[at] = _array(row, embedding_dtype) if is_bytes(row) else row
    else:
        return column  # `check` says why it cannot be scored.
    return type(column)(values, index=column.index, name=column.name, copy=False)


def unpack_array(array: Any, embedding_dtype: str | None, column: object) -> Any:
    """Arrow lists of floats in place of the bytes of an Arrow array or chunked array; null rows stay null.

    Raises
    ------
    ColumnError
        As of `list_type`; or the array is damaged.
    """
    if embedding_dtype is None or pa.types.is_null(array.type):
        return array
    dtype = list_type(array.type, embedding_dtype, column)
    if isinstance(array, pa.ChunkedArray):
        return pa.chunked_array([_lists(chunk, embedding_dtype, dtype) for chunk in array.chunks], dtype)
    return _lists(array, embedding_dtype, dtype)


def _lists(chunk: Any, name: str, dtype: pa.DataType) -> Any:
    if not len(chunk):
        return pa.array([], dtype)
    if pa.types.is_fixed_size_list(dtype):
        return _fixed_lists(chunk, name, dtype)
    if pa.types.is_binary_view(chunk.type):
        chunk = chunk.cast(pa.large_binary())
    size, offsets = _itemsize(name), _offsets(chunk)
    parts = np.diff(offsets) % size != 0
    if parts.any():  # A row that holds a fraction of a float is a list of one null, as of `drop_axes`.
        others = chunk.take(pa.array(np.arange(len(chunk)), mask=parts))
        return pc.if_else(pa.array(parts & _valid(chunk)), pa.scalar([None], dtype), _lists(others, name, dtype))
    first, last = int(offsets[0]), int(offsets[-1])
    values = _values(chunk.buffers()[2], first, last - first, name)
    begins = pa.array((offsets - first) // size, pa.int64() if pa.types.is_large_list(dtype) else pa.int32())
    kind = pa.LargeListArray if pa.types.is_large_list(dtype) else pa.ListArray
    return kind.from_arrays(begins, values, mask=pa.array(~_valid(chunk)) if chunk.null_count else None)


def _fixed_lists(chunk: Any, name: str, dtype: pa.DataType) -> Any:
    row, rows = chunk.type.byte_width, len(chunk)
    values = _values(chunk.buffers()[1], chunk.offset * row, rows * row, name)
    mask = pa.array(~_valid(chunk)) if chunk.null_count else None
    return pa.FixedSizeListArray.from_arrays(values, type=dtype, mask=mask)


def _offsets(chunk: Any) -> Any:
    """Where the bytes of each row begin, and where the last one's end.

    Raises
    ------
    ColumnError
        The offsets do not rise within the bytes.
    """
    kind = np.int64 if pa.types.is_large_binary(chunk.type) else np.int32
    _, offsets, data = chunk.buffers()
    found: Any = np.frombuffer(offsets, kind)[chunk.offset : chunk.offset + len(chunk) + 1]
    held = 0 if data is None else data.size
    if len(found) <= len(chunk) or not 0 <= found[0] <= found[-1] <= held or (found[1:] < found[:-1]).any():
        raise ColumnError("expected Arrow bytes whose offsets rise within them, got damaged ones: validate() them")
    return found


def _values(data: Any, begin: int, length: int, name: str) -> pa.Array:
    """Arrow array of the floats in a range of a buffer, a view of it where it is aligned."""
    if length and (data is None or data.size < begin + length):
        raise ColumnError("expected Arrow bytes as long as their type says, got damaged ones: validate() them")
    size = _itemsize(name)
    part = data.slice(begin, length) if length else pa.py_buffer(b"")
    if length and part.address % size:
        part = pa.py_buffer(np.frombuffer(part, np.uint8).copy())
    if is_plain_dtype(name):
        return pa.Array.from_buffers(value_type(name, None), length // size, [None, part])
    dtype, zero_point = _parts(name)
    return pa.array(floats_of(np.frombuffer(part, stored_dtype(dtype)), dtype, zero_point))


def _array(row: Any, name: str) -> np.ndarray:
    """Array of the floats in a bytes-like object, a view of it but for bfloat16."""
    row = row.tobytes() if isinstance(row, np.void) else row
    with memoryview(row) as view:
        if view.nbytes % _itemsize(name) or not view.c_contiguous:
            return _OTHER_LENGTH
    dtype, zero_point = _parts(name)
    return floats_of(np.frombuffer(row, stored_dtype(dtype)), dtype, zero_point)


def _valid(chunk: Any) -> np.ndarray:
    return np.asarray(chunk.is_valid().to_numpy(zero_copy_only=False))


def _itemsize(name: str) -> int:
    return stored_dtype(_parts(name)[0]).itemsize
