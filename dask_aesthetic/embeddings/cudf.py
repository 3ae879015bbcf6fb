"""Embeddings in a cuDF list column, on the GPU, without a copy. What the Arrow room does, name for name."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import TYPE_CHECKING, Any

import pandas as pd
import pyarrow as pa
import torch
from torch.utils.dlpack import from_dlpack

from dask_aesthetic.embeddings.rows import Run, Status, mark_null_leaves, status_of_lengths

if TYPE_CHECKING:
    import cudf


def holds_lists(column: cudf.Series) -> bool:
    """Whether a column's dtype is a list of floats."""
    dtype = column.dtype
    if isinstance(dtype, pd.ArrowDtype):  # cuDF keeps it where the column came from pandas.
        arrow = dtype.pyarrow_dtype
        return pa.types.is_list(arrow) and pa.types.is_floating(arrow.value_type)
    return type(dtype).__name__ == "ListDtype" and getattr(dtype.element_type, "kind", "") == "f"


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
    lengths = column.list.len()
    lengths = from_dlpack((lengths.fillna(0) if lengths.has_nulls else lengths).values)
    status = status_of_lengths(lengths, width)
    present = status == Status.OK
    count = int(present.sum())
    leaves = column.list.leaves
    if len(leaves) != count * width:
        import cupy

        leaves = column[cupy.from_dlpack(present.to(torch.uint8)).astype(bool)].list.leaves
    if leaves.has_nulls:
        holes = from_dlpack(leaves.isna().values.view("uint8")).view(torch.bool).view(count, width)
        status[present] = mark_null_leaves(status[present], holes)
        leaves = leaves.fillna(0)
    with _in_place(leaves) as floats:
        yield Run(status, from_dlpack(floats).view(count, width), present if count < len(present) else None)


@contextmanager
def _in_place(leaves: cudf.Series) -> Iterator[Any]:
    """The floats of a column without nulls as a CuPy array of the same memory, which stays on the GPU meanwhile.

    Where cuDF spills, `values` would keep the memory on the GPU for good, so that frames larger than it could be
    scored once and then no more be spilled. cuDF has no public way to ask for less.
    """
    import cudf
    import cupy

    data = leaves._column.data if len(leaves) and cudf.get_option("spill") else None
    if data is None:
        yield leaves.values
        return
    with data.access(mode="read", scope="internal"):
        dtype = leaves.iloc[:0].values.dtype
        memory = cupy.cuda.MemoryPointer(cupy.cuda.UnownedMemory(data.ptr, data.size, data), 0)
        yield cupy.ndarray(len(leaves), dtype, memory + leaves._column.offset * dtype.itemsize)


def stream() -> AbstractContextManager[None]:
    """Torch at work on the stream that cuDF works on: neither gives memory away that the other still uses."""
    return torch.cuda.stream(torch.cuda.default_stream())


def labelled(values: torch.Tensor, like: cudf.Series, name: Any) -> cudf.Series:
    """Per-row values as a Series with the column's index, NaN left as NaN."""
    import cupy

    array = cupy.from_dlpack(values) if values.is_cuda else cupy.asarray(values.numpy())
    return type(like)(array, index=like.index, name=name, nan_as_null=False)
