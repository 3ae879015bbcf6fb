"""Embeddings in cuDF list columns, on the GPU, without a copy; the same names as the Arrow backend."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, ExitStack, nullcontext
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import pyarrow as pa
import torch

from dask_aesthetic.embeddings.rows import Run, mark_null_leaves, status_of_lengths
from dask_aesthetic.errors import ArgumentError
from dask_aesthetic.status import Status

if TYPE_CHECKING:
    import cudf


def holds_lists(column: cudf.Series) -> bool:
    """Whether a column's dtype is a list of floats."""
    if column.dtype == object:  # dask-cuDF's meta of lists.
        return not len(column)
    leaf = leaf_dtype(column)
    return leaf is not None and leaf.kind == "f"


def leaf_dtype(column: cudf.Series) -> np.dtype | None:
    """Dtype of the values in a column's lists; None for other columns and for lists of no numbers."""
    dtype = column.dtype
    if isinstance(dtype, pd.ArrowDtype):  # Columns from pandas keep it.
        arrow = dtype.pyarrow_dtype
        return np.dtype(arrow.value_type.to_pandas_dtype()) if pa.types.is_list(arrow) else None
    leaf = dtype.element_type if type(dtype).__name__ == "ListDtype" else None
    leaf = getattr(leaf, "numpy_dtype", leaf)  # pandas' nullable dtypes and Arrow's.
    return leaf if isinstance(leaf, np.dtype) else None


def runs(column: cudf.Series, width: int) -> Iterator[Run]:
    """Runs of rows whose vectors are views of the column's own device memory.

    Parameters
    ----------
    column : cudf.Series of a list dtype
    width : int
        Floats per row that the predictor takes.

    Yields
    ------
    Run
        One run for the whole column: libcudf's sizes are int32, so it has at most 2**31 leaves.
    """
    import cupy

    if not len(column):
        return
    with ExitStack() as pins:
        pins.enter_context(_pinned(column))
        vectors = _uniform(column, width)
        if vectors is not None:
            yield Run.of_valid(vectors)
            return
        lengths = column.list.len()
        lengths = _tensor((lengths.fillna(0) if lengths.has_nulls else lengths).values)
        status = status_of_lengths(lengths, width)
        present = status == Status.OK
        count = int(present.sum())
        if not count:
            yield Run(status, torch.empty(0, width, device=status.device), present)
            return
        leaves = column.list.leaves
        if len(leaves) != count * width:
            column = column.iloc[cupy.asarray(present)]
            pins.enter_context(_pinned(column))
            leaves = column.list.leaves
        if leaves.has_nulls:
            nulls = _tensor(leaves.isna().values).view(count, width)
            status[present] = mark_null_leaves(status[present], nulls)
            leaves = leaves.fillna(0)
        pins.enter_context(_pinned(leaves))
        vectors = _memory(leaves._column.plc_column).view(count, width)
        yield Run(status, vectors, None if count == len(present) else present)


def _uniform(column: cudf.Series, width: int) -> torch.Tensor | None:
    """Vectors of a pinned column whose rows all have `width` floats without nulls, the common case; else None.

    Offsets and floats are read where libcudf has them, and the device answers once: each step of ``column.list`` makes
    columns, and its `leaves` wait for the device.
    """
    lists = column._column.plc_column
    offsets, leaves = lists.list_view().offsets(), lists.list_view().child()
    if lists.null_count() or leaves.null_count():
        return None
    rows, first = lists.size(), lists.offset()
    ends = _memory(offsets)[first : first + rows + 1]
    start, others = torch.stack([ends[0], (ends.diff() != width).sum(dtype=ends.dtype)]).tolist()
    return None if others else _memory(leaves)[start : start + rows * width].view(rows, width)


def stream() -> AbstractContextManager[None]:
    """Context in which torch uses cuDF's stream, so that neither frees memory that the other still uses."""
    if torch.version.cuda is None:
        raise ArgumentError(f"expected a torch built for CUDA for a cuDF column, got {torch.__version__}")
    return torch.cuda.stream(torch.cuda.default_stream())


def to_series(values: torch.Tensor, like: cudf.Series, name: Any) -> cudf.Series:
    """Series of per-row values with the column's index; NaN stays NaN."""
    return type(like)(_array(values), index=like.index, name=name, nan_as_null=False)


def add_columns(frame: cudf.DataFrame, like: cudf.Series, columns: Mapping[str, torch.Tensor]) -> cudf.DataFrame:
    """Frame with columns of per-row values added; NaN stays NaN."""
    added, held = frame.copy(deep=False), frame.columns
    position = len(held)
    for name, values in columns.items():
        if name in held:
            added[name] = to_series(values, like, name)
        else:  # `assign` would copy the values, compare two indexes, and turn an array's NaN into nulls.
            added.insert(position, name, _array(values), nan_as_null=False)
            position += 1
    return added


def _array(values: torch.Tensor) -> Any:
    """CUDA array that shares a tensor's memory."""
    if values.is_cuda:
        return values
    import cupy

    return cupy.asarray(values.numpy())  # The scores of a column without rows are on the CPU.


def _tensor(array: Any) -> torch.Tensor:
    """Tensor that shares the memory of a CUDA array; DLPack has no managed memory, which cudf.pandas uses."""
    return torch.as_tensor(array, device="cuda")


# Where cuDF spills, a pointer pins its memory on the GPU for good, and frames larger than the GPU could not be spilled
# after their first scoring. cuDF has no public API for a shorter pin.


def _pinned(column: cudf.Series) -> AbstractContextManager[Any]:
    """Context that keeps a column's memory on the GPU."""
    import cudf

    if not cudf.get_option("spill"):
        return nullcontext()
    return column._column.access(mode="read", scope="internal")


class _Memory:
    """The values of a pinned pylibcudf column of a fixed-width type, nulls included, as a CUDA array."""

    def __init__(self, column: Any) -> None:
        self._data, dtype = column.data(), np.dtype(column.type().typestr)
        self.__cuda_array_interface__ = {
            "data": (self._data.ptr + column.offset() * dtype.itemsize, False),
            "shape": (column.size(),),
            "strides": None,
            "typestr": dtype.str,
            "version": 3,
        }


def _memory(column: Any) -> torch.Tensor:
    """Tensor that shares the memory of a pinned pylibcudf column."""
    return _tensor(_Memory(column))
