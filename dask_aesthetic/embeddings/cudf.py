"""Embeddings in a cuDF list column, on the GPU, without a copy. What the Arrow room does, name for name."""

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
    if column.dtype == object:  # As dask-cuDF's meta has it for lists; partitions tell.
        return not len(column)
    leaf = leaf_dtype(column)
    return leaf is not None and leaf.kind == "f"


def leaf_dtype(column: cudf.Series) -> np.dtype | None:
    """The dtype of what is in a column's lists; None where that are no numbers, or the column is no lists."""
    dtype = column.dtype
    if isinstance(dtype, pd.ArrowDtype):  # cuDF keeps it where the column came from pandas.
        arrow = dtype.pyarrow_dtype
        return np.dtype(arrow.value_type.to_pandas_dtype()) if pa.types.is_list(arrow) else None
    leaf = dtype.element_type if type(dtype).__name__ == "ListDtype" else None
    leaf = getattr(leaf, "numpy_dtype", leaf)  # pandas' nullable and Arrow's.
    return leaf if isinstance(leaf, np.dtype) else None


def runs(column: cudf.Series, width: int) -> Iterator[Run]:
    """Cut a column into runs of rows whose vectors are views of the column's own device memory.

    Parameters
    ----------
    column : cudf.Series of a list dtype
    width : int
        Floats per row that the predictor takes.

    Yields
    ------
    Run
        One for the whole column: libcudf's sizes are int32, so it has at most 2**31 leaves.
    """
    if not len(column):
        return
    with ExitStack() as held:
        held.enter_context(_held(column))
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
            held.enter_context(_held(column))
            leaves = column.list.leaves
        if leaves.has_nulls:
            holes = _tensor(leaves.isna().values.view("uint8")).view(torch.bool).view(count, width)
            status[present] = mark_null_leaves(status[present], holes)
            leaves = leaves.fillna(0)
        held.enter_context(_held(leaves))
        vectors = _tensor(_floats(leaves)).view(count, width)
        yield Run(status, vectors, present if count < len(present) else None)


def stream() -> AbstractContextManager[None]:
    """Torch at work on the stream that cuDF works on: neither gives memory away that the other still uses."""
    if torch.version.cuda is None:
        raise ArgumentError(f"expected a torch built for CUDA for a cuDF column, got {torch.__version__}")
    return torch.cuda.stream(torch.cuda.default_stream())


def labelled(values: torch.Tensor, like: cudf.Series, name: Any) -> cudf.Series:
    """Per-row values as a Series with the column's index, NaN left as NaN."""
    return type(like)(_array(values), index=like.index, name=name, nan_as_null=False)


def _tensor(array: Any) -> torch.Tensor:
    """The memory of a CuPy array."""
    try:
        return from_dlpack(array)
    except (BufferError, RuntimeError):  # Managed memory, as cudf.pandas takes: torch has no device of that type.
        return torch.as_tensor(array, device="cuda")


def _array(values: torch.Tensor) -> Any:
    """The memory of a tensor as a CuPy array."""
    import cupy

    if not values.is_cuda:  # The scores of no run.
        return cupy.asarray(values.numpy())
    try:
        return cupy.from_dlpack(values)
    except BufferError:  # torch hands over to no per-thread default stream, which CuPy can be set to.
        return cupy.asarray(values)


# Where cuDF spills, whoever asks for a pointer keeps its memory on the GPU for good, and frames larger than the GPU
# could be scored once and no more be spilled. cuDF has no public way to ask for less.


def _held(column: cudf.Series) -> AbstractContextManager[Any]:
    """A column's memory on the GPU, until this is left."""
    import cudf

    if not cudf.get_option("spill"):
        return nullcontext()
    return column._column.access(mode="read", scope="internal")


def _floats(leaves: cudf.Series) -> Any:
    """The floats of a held column, without nulls, as a CuPy array of the same memory."""
    import cudf
    import cupy

    if not cudf.get_option("spill"):
        return leaves.values
    data, dtype = leaves._column.data, leaves.iloc[:0].values.dtype
    memory = cupy.cuda.MemoryPointer(cupy.cuda.UnownedMemory(data.ptr, data.size, data), 0)
    return cupy.ndarray(len(leaves), dtype, memory + leaves._column.offset * dtype.itemsize)
