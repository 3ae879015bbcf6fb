"""Embeddings in cuDF list columns, on the GPU, without a copy; the same names as the Arrow backend."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager, ExitStack, nullcontext
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import pyarrow as pa
import torch
from torch.utils.dlpack import from_dlpack

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
    if not len(column):
        return
    with ExitStack() as pins:
        pins.enter_context(_pinned(column))
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
            column = column.iloc[_array(present.to(torch.uint8)).astype(bool)]
            pins.enter_context(_pinned(column))
            leaves = column.list.leaves
        has_nulls = leaves.has_nulls
        if has_nulls:
            nulls = _tensor(leaves.isna().values.view("uint8")).view(torch.bool).view(count, width)
            status[present] = mark_null_leaves(status[present], nulls)
            leaves = leaves.fillna(0)
        pins.enter_context(_pinned(leaves))
        vectors = _tensor(_floats(leaves)).view(count, width)
        are_all = count == len(present)
        yield Run(status, vectors, None if are_all else present, all_valid=are_all and not has_nulls)


def stream() -> AbstractContextManager[None]:
    """Context in which torch uses cuDF's stream, so that neither frees memory that the other still uses."""
    if torch.version.cuda is None:
        raise ArgumentError(f"expected a torch built for CUDA for a cuDF column, got {torch.__version__}")
    return torch.cuda.stream(torch.cuda.default_stream())


def to_series(values: torch.Tensor, like: cudf.Series, name: Any) -> cudf.Series:
    """Series of per-row values with the column's index; NaN stays NaN."""
    return type(like)(_array(values), index=like.index, name=name, nan_as_null=False)


def _tensor(array: Any) -> torch.Tensor:
    """Tensor that shares the memory of a CuPy array."""
    try:
        return from_dlpack(array)
    except (BufferError, RuntimeError):  # cudf.pandas uses managed memory, for which torch has no device type.
        return torch.as_tensor(array, device="cuda")


def _array(values: torch.Tensor) -> Any:
    """CuPy array that shares the memory of a tensor."""
    import cupy

    if not values.is_cuda:  # A column without rows has CPU scores.
        return cupy.asarray(values.numpy())
    try:
        return cupy.from_dlpack(values)
    except BufferError:  # torch exports nothing to CuPy's per-thread default stream.
        return cupy.asarray(values)


# Where cuDF spills, a pointer pins its memory on the GPU for good, and frames larger than the GPU could not be spilled
# after their first scoring. cuDF has no public API for a shorter pin.


def _pinned(column: cudf.Series) -> AbstractContextManager[Any]:
    """Context that keeps a column's memory on the GPU."""
    import cudf

    if not cudf.get_option("spill"):
        return nullcontext()
    return column._column.access(mode="read", scope="internal")


def _floats(leaves: cudf.Series) -> Any:
    """CuPy array that shares the memory of a pinned column without nulls."""
    import cudf
    import cupy

    if not cudf.get_option("spill"):
        return leaves.values
    data, dtype = leaves._column.data, leaves.iloc[:0].values.dtype
    memory = cupy.cuda.MemoryPointer(cupy.cuda.UnownedMemory(data.ptr, data.size, data), 0)
    return cupy.ndarray(len(leaves), dtype, memory + leaves._column.offset * dtype.itemsize)
