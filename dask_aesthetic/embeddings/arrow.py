"""Embeddings in Arrow columns of pandas: list, large_list or fixed_size_list; lists of floats without a copy."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import torch
from torch.utils.dlpack import from_dlpack

from dask_aesthetic.embeddings.axes import drop_axes, find_offsets, flat_type
from dask_aesthetic.embeddings.rows import Run, mark_nulls, status_of_lengths
from dask_aesthetic.status import Status

# Rows per run where widths vary: a run with a row of another width is copied, so this bounds the copy.
RUN_ROWS = 32768
CONVERTED_ROWS = 4096  # Rows of integers that become float64 at a time, of 25 MB.


def holds_lists(column: pd.Series) -> bool:
    """Whether a column's dtype may hold embeddings, as of `may_hold_embeddings`."""
    return isinstance(column.dtype, pd.ArrowDtype) and may_hold_embeddings(column.dtype.pyarrow_dtype)


def holds_floats(column: pd.Series) -> bool:
    """Whether a column's dtype is a list of floats."""
    return isinstance(column.dtype, pd.ArrowDtype) and is_float_list(column.dtype.pyarrow_dtype)


def may_hold_embeddings(dtype: pa.DataType) -> bool:
    """Whether an Arrow type is a list of numbers, or of nulls alone, or is null: a file of failures alone has these."""
    if pa.types.is_null(dtype):
        return True
    lists = flat_type(dtype)
    if lists is None:
        return False
    value = lists.value_type
    return pa.types.is_floating(value) or pa.types.is_integer(value) or pa.types.is_null(value)


def is_float_list(dtype: pa.DataType) -> bool:
    """Whether an Arrow type is a list of floats."""
    lists = flat_type(dtype)
    return lists is not None and pa.types.is_floating(lists.value_type)


def is_without_values(dtype: pa.DataType) -> bool:
    """Whether an Arrow type is null or a list of nulls alone."""
    lists = flat_type(dtype)
    return pa.types.is_null(dtype) or (lists is not None and pa.types.is_null(lists.value_type))


def type_width(dtype: pa.DataType) -> int | None:
    """Values per row by an Arrow type; None where the type leaves it open."""
    lists = flat_type(dtype)
    return lists.list_size if lists is not None and pa.types.is_fixed_size_list(lists) else None


def runs(column: pd.Series, width: int) -> Iterator[Run]:
    """Runs of rows whose vectors are views of the column's own memory.

    Parameters
    ----------
    column : pandas.Series of an Arrow dtype
        As of `may_hold_embeddings`.
    width : int
        Floats per row that the predictor takes.

    Yields
    ------
    Run
    """
    yield from array_runs(pa.array(column.array), width)


def array_runs(array: pa.Array | pa.ChunkedArray, width: int) -> Iterator[Run]:
    """Runs of rows of an Arrow array or chunked array of a type as of `may_hold_embeddings`."""
    for chunk in array.chunks if isinstance(array, pa.ChunkedArray) else [array]:
        if not len(chunk):  # It may have no buffers.
            continue
        if pa.types.is_null(chunk.type):
            yield Run.of_missing(len(chunk), width)
            continue
        lists = drop_axes(chunk)
        is_fixed = pa.types.is_fixed_size_list(lists.type)
        is_float = pa.types.is_floating(lists.type.value_type)
        leaves = _leaves_of_valid(lists, width, is_fixed) if is_float else None
        if leaves is not None:
            yield Run.of_valid(share_memory(leaves).view(len(lists), width))
            continue
        rows = RUN_ROWS if is_float else CONVERTED_ROWS
        for start in range(0, len(lists), rows):
            yield (_fixed if is_fixed else _variable)(lists.slice(start, rows), width)


def to_series(values: torch.Tensor, like: pd.Series, name: Any) -> pd.Series:
    """Series of per-row values with the column's index."""
    return type(like)(values.numpy(), index=like.index, name=name, copy=False)


def to_categories(codes: torch.Tensor, names: Sequence[str], like: pd.Series, name: Any) -> pd.Series:
    """Categorical Series of the names that per-row codes stand for, with the column's index."""
    labels = pd.Categorical.from_codes(codes.numpy(), dtype=pd.CategoricalDtype(list(names)))
    return type(like)(labels, index=like.index, name=name)


def add_columns(frame: pd.DataFrame, like: pd.Series, columns: Mapping[str, torch.Tensor]) -> pd.DataFrame:
    """Frame with columns of per-row values added."""
    return frame.assign(**{name: to_series(values, like, name) for name, values in columns.items()})


def share_memory(leaves: pa.Array) -> torch.Tensor:
    """Tensor that shares the memory of the leaves; values under nulls are arbitrary."""
    dtype, data = leaves.type, leaves.buffers()[1]
    if not len(leaves):
        return torch.empty(0, dtype=getattr(torch, f"float{dtype.bit_width}"), device="cpu")
    return from_dlpack(pa.Array.from_buffers(dtype, len(leaves), [None, data], offset=leaves.offset))


def _leaves_of_valid(lists: Any, width: int, is_fixed: bool) -> Any:
    """Leaves of lists that all have `width` floats without nulls, the common case; else None."""
    if lists.null_count:
        return None
    if is_fixed:
        first = lists.offset * width
        is_uniform = lists.type.list_size == width
    else:
        offsets = find_offsets(lists)
        first = int(offsets[0])
        is_uniform = bool((offsets[1:] - offsets[:-1] == width).all())
    if not is_uniform:
        return None
    leaves = lists.values.slice(first, len(lists) * width)
    return None if leaves.null_count else leaves


def _variable(lists: Any, width: int) -> Run:
    offsets = find_offsets(lists)
    lengths = np.diff(offsets)
    if lists.null_count:
        lengths[lists.is_null().to_numpy(zero_copy_only=False)] = 0
    status = status_of_lengths(torch.from_numpy(lengths), width)
    present = status == Status.OK
    count = int(present.sum())
    if int(offsets[-1] - offsets[0]) == count * width:
        # The leaves belong to the valid rows alone: all rows between them are empty.
        leaves = lists.values.slice(int(offsets[0]), count * width)
    else:
        leaves = lists.filter(pa.array(present.numpy())).flatten()
    if leaves.null_count:
        status[present] = mark_nulls(status[present], _has_nulls(leaves, width))
    return Run(status, share_memory(_floats(leaves)).view(count, width), present)


def _fixed(lists: Any, width: int) -> Run:
    lengths = torch.from_numpy(np.full(len(lists), lists.type.list_size))
    if lists.null_count:
        lengths[torch.from_numpy(lists.is_null().to_numpy(zero_copy_only=False))] = 0
    status = status_of_lengths(lengths, width)
    if lists.type.list_size != width:
        empty = torch.from_numpy(np.empty((0, width), np.float32))
        return Run(status, empty, torch.from_numpy(np.zeros(len(lists), bool)))
    leaves = lists.values.slice(lists.offset * width, len(lists) * width)
    if leaves.null_count:
        status = mark_nulls(status, _has_nulls(leaves, width))
    return Run(status, share_memory(_floats(leaves)).view(len(lists), width))


def _floats(leaves: pa.Array) -> pa.Array:
    """Floats, with integers as float64, which every row of integers becomes in any kind of column."""
    # Unsafe: integers beyond 2**53 are rounded.
    return leaves if pa.types.is_floating(leaves.type) else leaves.cast(pa.float64(), safe=False)


def _has_nulls(leaves: pa.Array, width: int) -> torch.Tensor:
    return torch.from_numpy(leaves.is_null().to_numpy(zero_copy_only=False).reshape(-1, width).any(axis=1))
