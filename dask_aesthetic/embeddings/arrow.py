"""Embeddings in Arrow columns of pandas: list, large_list or fixed_size_list, without a copy."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import torch
from torch.utils.dlpack import from_dlpack

from dask_aesthetic.embeddings.rows import Run, mark_null_leaves, status_of_lengths
from dask_aesthetic.errors import ColumnError
from dask_aesthetic.status import Status

# Rows per run where widths vary: a run with a row of another width is copied, so this bounds the copy.
RUN_ROWS = 32768


def holds_lists(column: pd.Series) -> bool:
    """Whether a column's dtype is a list of floats."""
    return isinstance(column.dtype, pd.ArrowDtype) and is_float_list(column.dtype.pyarrow_dtype)


def is_float_list(dtype: pa.DataType) -> bool:
    """Whether an Arrow type is a list of floats."""
    lists = list_storage(dtype)
    return lists is not None and pa.types.is_floating(lists.value_type)


def list_storage(dtype: pa.DataType) -> pa.DataType | None:
    """List type that an Arrow type is, or is stored as; None for other types."""
    dtype = _storage(dtype)
    is_list = pa.types.is_list(dtype) or pa.types.is_large_list(dtype) or pa.types.is_fixed_size_list(dtype)
    return dtype if is_list else None


def type_width(dtype: pa.DataType) -> int | None:
    """Values per row by an Arrow type; None where the type leaves it open."""
    dtype = _storage(dtype)
    return dtype.list_size if pa.types.is_fixed_size_list(dtype) else None


def runs(column: pd.Series, width: int) -> Iterator[Run]:
    """Runs of rows whose vectors are views of the column's own memory.

    Parameters
    ----------
    column : pandas.Series of an Arrow list dtype
    width : int
        Floats per row that the predictor takes.

    Yields
    ------
    Run
    """
    yield from array_runs(pa.array(column.array), width)


def array_runs(array: pa.Array | pa.ChunkedArray, width: int) -> Iterator[Run]:
    """Runs of rows of an Arrow array or chunked array."""
    for chunk in array.chunks if isinstance(array, pa.ChunkedArray) else [array]:
        lists = chunk.storage if isinstance(chunk, pa.ExtensionArray) else chunk
        if not len(lists):  # It may have no buffers.
            continue
        is_fixed = pa.types.is_fixed_size_list(lists.type)
        leaves = _leaves_of_valid(lists, width, is_fixed)
        if leaves is not None:
            yield Run.of_valid(share_memory(leaves).view(len(lists), width))
            continue
        for start in range(0, len(lists), RUN_ROWS):
            yield (_fixed if is_fixed else _variable)(lists.slice(start, RUN_ROWS), width)


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
        offsets = _offsets(lists)
        first = int(offsets[0])
        is_uniform = bool((offsets[1:] - offsets[:-1] == width).all())
    if not is_uniform:
        return None
    leaves = lists.values.slice(first, len(lists) * width)
    return None if leaves.null_count else leaves


def _variable(lists: Any, width: int) -> Run:
    offsets = _offsets(lists)
    lengths = np.diff(offsets)
    if (lengths < 0).any():
        raise _damaged()
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
        status[present] = mark_null_leaves(status[present], _null_mask(leaves, width))
    return Run(status, share_memory(leaves).view(count, width), present)


def _offsets(lists: Any) -> np.ndarray:
    offsets = lists.offsets.to_numpy()
    if not 0 <= int(offsets[0]) <= int(offsets[-1]) <= len(lists.values):
        raise _damaged()
    return offsets


def _damaged() -> ColumnError:
    return ColumnError("expected Arrow lists whose offsets rise within their values, got damaged ones: validate() them")


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
        status = mark_null_leaves(status, _null_mask(leaves, width))
    return Run(status, share_memory(leaves).view(len(lists), width))


def _null_mask(leaves: pa.Array, width: int) -> torch.Tensor:
    return torch.from_numpy(leaves.is_null().to_numpy(zero_copy_only=False)).view(-1, width)


def _storage(dtype: pa.DataType) -> pa.DataType:
    return dtype.storage_type if isinstance(dtype, pa.BaseExtensionType) else dtype
