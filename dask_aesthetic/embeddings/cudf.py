"""Embeddings in a cuDF list column, on the GPU, without a copy. What the Arrow room does, name for name."""

from __future__ import annotations

from collections.abc import Iterator
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
        holes = from_dlpack(leaves.isna().values.view("uint8")).view(count, width)
        status[present] = mark_null_leaves(status[present], holes)
        leaves = leaves.fillna(0)
    vectors = from_dlpack(leaves.values).view(count, width)
    yield Run(status, vectors, present if count < len(present) else None)


def labelled(values: torch.Tensor, like: cudf.Series, name: Any) -> cudf.Series:
    """Per-row values as a Series with the column's index, NaN left as NaN."""
    import cupy

    array = cupy.from_dlpack(values) if values.is_cuda else cupy.asarray(values.numpy())
    return type(like)(array, index=like.index, name=name, nan_as_null=False)
