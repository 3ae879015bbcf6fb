"""Axes of length 1, which are dropped in every kind of column: a row of shape (1, 768) is one of 768 numbers."""

from __future__ import annotations

from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from dask_aesthetic.errors import ColumnError

_ANY = -1  # Length of lists whose type leaves it open.


def flat_shape(shape: tuple[int, ...]) -> tuple[int, ...]:
    """Shape without axes of length 1, which has at least one axis unless `shape` has none.

    Examples
    --------
    >>> flat_shape((1, 768)), flat_shape((2, 384)), flat_shape((1, 1)), flat_shape(())
    ((768,), (2, 384), (1,), ())
    """
    flat = tuple(length for length in shape if length != 1)
    return flat or shape[:1]


def list_storage(dtype: pa.DataType) -> pa.DataType | None:
    """List type that an Arrow type is, or is stored as; None for other types."""
    dtype = dtype.storage_type if isinstance(dtype, pa.BaseExtensionType) else dtype
    is_list = pa.types.is_list(dtype) or pa.types.is_large_list(dtype) or pa.types.is_fixed_size_list(dtype)
    return dtype if is_list else None


def flat_type(dtype: pa.DataType) -> pa.DataType | None:
    """List type of an Arrow type of lists, or of lists of lists, as of `drop_axes`; None where no row can be flat.

    Examples
    --------
    >>> flat_type(pa.list_(pa.list_(pa.float32(), 768), 1))
    FixedSizeListType(fixed_size_list<item: float>[768])
    >>> flat_type(pa.list_(pa.list_(pa.float32(), 384), 2)), flat_type(pa.string())
    (None, None)
    """
    if len(flat_shape(tuple(getattr(dtype, "shape", ())))) > 1:  # Of Arrow's tensors.
        return None
    lists, sizes = list_storage(dtype), []
    while lists is not None:
        sizes.append(lists.list_size if pa.types.is_fixed_size_list(lists) else _ANY)
        inner = list_storage(lists.value_type)
        if inner is None:
            if len(sizes) == 1:
                return lists
            if _ANY in sizes:
                return pa.large_list(lists.value_type)
            shape = flat_shape(tuple(sizes))
            return pa.list_(lists.value_type, shape[0]) if len(shape) == 1 else None
        lists = inner
    return None


def drop_axes(array: pa.Array) -> Any:
    """Lists of an array whose type has a `flat_type`; lists of lists without their axes of length 1.

    A row of another shape, such as 2 lists of 384, becomes a list of one null, which has the width of no predictor.
    """
    lists = array.storage if isinstance(array, pa.ExtensionArray) else array
    while list_storage(lists.type.value_type) is not None:
        lists = _drop_axis(lists)
    return lists


def _drop_axis(lists: Any) -> Any:
    offsets, nulls = find_offsets(lists), _nulls(lists)
    inner = lists.values.storage if isinstance(lists.values, pa.ExtensionArray) else lists.values
    inner_offsets, inner_nulls = find_offsets(inner), _nulls(inner)
    lengths = np.diff(offsets)
    ones = np.concatenate([[0], np.cumsum((np.diff(inner_offsets) == 1) & ~inner_nulls)])
    is_column = ones[offsets[1:]] - ones[offsets[:-1]] == lengths
    is_row = lengths == 1
    # A row with one inner list that is null is null itself.
    missing = nulls | (is_row & inner_nulls[np.minimum(offsets[:-1], len(inner) - 1)]) if len(inner) else nulls
    begins = pa.array(inner_offsets[offsets], pa.int64())
    flat = pa.LargeListArray.from_arrays(begins, inner.values, mask=pa.array(missing))
    others = ~(nulls | is_row | is_column)
    if not others.any():
        return flat
    return pc.if_else(pa.array(others), pa.scalar([None], flat.type), flat)


def find_offsets(lists: Any) -> np.ndarray:
    """Where the values of each list begin in `lists.values`, and where the last one's end.

    Raises
    ------
    ColumnError
        The offsets do not rise within the values.
    """
    if pa.types.is_fixed_size_list(lists.type):
        return (np.arange(len(lists) + 1, dtype=np.int64) + lists.offset) * lists.type.list_size
    offsets: np.ndarray = lists.offsets.to_numpy()
    if not 0 <= int(offsets[0]) <= int(offsets[-1]) <= len(lists.values) or (offsets[1:] < offsets[:-1]).any():
        raise ColumnError(
            "expected Arrow lists whose offsets rise within their values, got damaged ones: validate() them"
        )
    return offsets


def _nulls(lists: Any) -> np.ndarray:
    return np.asarray(lists.is_null().to_numpy(zero_copy_only=False))
