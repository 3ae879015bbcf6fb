"""Embeddings in cuDF list columns, on the GPU, without a copy; the same names as the Arrow backend."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager, nullcontext
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import pyarrow as pa
import torch

from dask_aesthetic.embeddings.rows import Guess, Run, mark_nulls, status_of_lengths
from dask_aesthetic.errors import ArgumentError
from dask_aesthetic.status import Status

if TYPE_CHECKING:
    import cudf

CONVERTED_ROWS = 65536  # Rows of integers that become float64 at a time, of 400 MB.


def holds_lists(column: cudf.Series) -> bool:
    """Whether a column's dtype is a list of numbers."""
    if column.dtype == object:  # dask-cuDF's meta of lists.
        return not len(column)
    leaf = leaf_dtype(column)
    return leaf is not None and leaf.kind in "fiu"


def is_flat(column: cudf.Series) -> bool:
    """Whether a column's rows are lists of floats, not of integers or of lists."""
    dtype = column.dtype
    value = dtype.pyarrow_dtype.value_type if isinstance(dtype, pd.ArrowDtype) else dtype.element_type
    is_nested = pa.types.is_list(value) if isinstance(value, pa.DataType) else type(value).__name__ == "ListDtype"
    return not is_nested and holds_floats(column)


def holds_floats(column: cudf.Series) -> bool:
    """Whether a column's dtype is a list of floats, or dask-cuDF's meta of lists."""
    leaf = leaf_dtype(column)
    return leaf is None or leaf.kind == "f"


def leaf_dtype(column: cudf.Series) -> np.dtype | None:
    """Dtype of the values in a column's lists, of lists or not; None for other columns and for lists of no numbers."""
    dtype = column.dtype
    if isinstance(dtype, pd.ArrowDtype):  # Columns from pandas keep it.
        arrow = dtype.pyarrow_dtype
        while pa.types.is_list(arrow) and pa.types.is_list(arrow.value_type):
            arrow = arrow.value_type
        return np.dtype(arrow.value_type.to_pandas_dtype()) if pa.types.is_list(arrow) else None
    leaf: Any = dtype.element_type if type(dtype).__name__ == "ListDtype" else None
    while type(leaf).__name__ == "ListDtype":
        leaf = leaf.element_type
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
        One run for the whole column: libcudf's sizes are int32, so it has at most 2**31 leaves. Integers, which become
        float64, and lists of lists are copied, in several.
    """
    import cupy

    if not len(column):
        return
    with ExitStack() as pins:
        pins.enter_context(_pinned(column))
        lists = column._column.plc_column
        if not is_flat(column):
            yield from _copied_runs(lists, width)
            return
        begin, end = lists.offset(), lists.offset() + lists.size()
        ends, floats = _memory(lists.list_view().offsets())[begin : end + 1], lists.list_view().child()
        status = status_of_lengths(_lengths(ends, lists), width)
        present = status == Status.OK
        count, first, last = torch.stack([present.sum(dtype=ends.dtype), ends[0], ends[-1]]).tolist()
        if not count:
            yield Run(status, torch.empty(0, width, device=status.device), present)
            return
        are_all = count == len(present)
        if last - first == count * width and not floats.null_count():
            vectors = _memory(floats)[first:last].view(count, width)
            yield Run(status, vectors, None if are_all else present, all_valid=are_all)
            return
        if last - first != count * width:
            column = column.iloc[cupy.asarray(present)]
            pins.enter_context(_pinned(column))
        leaves = column.list.leaves
        has_nulls = leaves.has_nulls
        if has_nulls:
            nulls = _tensor(leaves.isna().values).view(count, width)
            status[present] = mark_nulls(status[present], nulls.any(dim=1))
            leaves = leaves.fillna(0)
        pins.enter_context(_pinned(leaves))
        vectors = _memory(leaves._column.plc_column).view(count, width)
        yield Run(status, vectors, None if are_all else present, all_valid=are_all and not has_nulls)


def _copied_runs(lists: Any, width: int) -> Iterator[Run]:
    """Runs of copied rows of a pinned pylibcudf column of numbers in lists, or in lists of lists, some at a time."""
    begins, lengths, leaves = _drop_axes(lists)
    values, valid = _memory(leaves), _valid(leaves, begins.device)
    for start in range(0, len(begins), CONVERTED_ROWS):
        status = status_of_lengths(lengths[start : start + CONVERTED_ROWS], width)
        present = status == Status.OK
        at = begins[start : start + CONVERTED_ROWS][present].long()[:, None]
        at = at + torch.arange(width, device=at.device)
        if valid is not None:
            status[present] = mark_nulls(status[present], ~valid[at].all(dim=1))
        vectors = values[at]
        yield Run(status, vectors if vectors.is_floating_point() else vectors.double(), present)


def _drop_axes(lists: Any) -> tuple[torch.Tensor, torch.Tensor, Any]:
    """Where each row's numbers begin among the leaves of a pinned pylibcudf column, their number, and the leaves.

    As of `axes.drop_axes`: axes of length 1 are dropped. The number is 0 for null rows, and -1 for matrices.
    """
    begin, rows = lists.offset(), lists.size()
    ends, child = _memory(lists.list_view().offsets())[begin : begin + rows + 1], lists.list_view().child()
    begins, lengths = ends[:-1], _lengths(ends, lists)
    while child.type().id().name == "LIST":
        inner = _memory(child.list_view().offsets())[child.offset() : child.offset() + child.size() + 1]
        inner_lengths = _lengths(inner, child)
        ones = torch.nn.functional.pad((inner_lengths == 1).cumsum(0), (1, 0))
        is_column = ones[(begins + lengths.clamp(min=0)).long()] - ones[begins.long()] == lengths
        first = inner_lengths[begins.long().clamp(max=len(inner_lengths) - 1)]
        others = torch.where(is_column, lengths, -1)
        begins, lengths = inner[begins.long()], torch.where(lengths == 1, first, others)
        child = child.list_view().child()
    return begins, lengths, child


def _lengths(ends: torch.Tensor, lists: Any) -> torch.Tensor:
    """Length of each row of a pinned pylibcudf column of lists, by the ends of its rows; 0 for null rows."""
    lengths, valid = ends.diff(), _valid(lists, ends.device)
    return lengths if valid is None else lengths * valid


def _valid(column: Any, device: torch.device) -> torch.Tensor | None:
    """Which rows of a pinned pylibcudf column are not null; None where all are not."""
    if not column.null_count():
        return None
    mask, rows = column.null_mask(), torch.arange(column.offset(), column.offset() + column.size(), device=device)
    bits = _tensor(_Memory(mask, np.dtype(np.uint8), mask.ptr, mask.size))
    return ((bits[rows >> 3] >> (rows & 7)) & 1).bool()


@contextmanager
def guess(column: cudf.Series, width: int) -> Iterator[Guess | None]:
    """Context in which a column's vectors may be read as if all rows had `width` floats, and those before it, too.

    Nothing here waits for the device: `Guess.holds` does, when the work has been started.

    Yields
    ------
    Guess or None
        None where it is known to be wrong, or the column has no rows.
    """
    # libcudf may give a column without rows neither offsets nor leaves.
    if not len(column) or not is_flat(column):
        yield None
        return
    with _pinned(column):
        lists = column._column.plc_column
        offsets, leaves = lists.list_view().offsets(), lists.list_view().child()
        first, rows = lists.offset(), lists.size()
        last = first + rows
        if lists.null_count() or leaves.null_count() or leaves.size() < last * width:
            yield None
        else:
            vectors = _memory(leaves)[first * width : last * width].view(rows, width)
            yield Guess(vectors, _memory(offsets)[first : last + 1], first * width)


def stream() -> AbstractContextManager[None]:
    """Context in which torch uses cuDF's stream, so that neither frees memory that the other still uses."""
    if torch.version.cuda is None:
        raise ArgumentError(f"expected a torch built for CUDA for a cuDF column, got {torch.__version__}")
    return torch.cuda.stream(torch.cuda.default_stream())


def to_series(values: torch.Tensor, like: cudf.Series, name: Any) -> cudf.Series:
    """Series of per-row values with the column's index; NaN stays NaN."""
    return type(like)(_array(values), index=like.index, name=name, nan_as_null=False)


def to_categories(codes: torch.Tensor, names: Sequence[str], like: cudf.Series, name: Any) -> cudf.Series:
    """Categorical Series of the names that per-row codes stand for, with the column's index."""
    # Arrow's: under cudf.pandas, pandas' own is a proxy that cuDF does not take.
    labels = pa.DictionaryArray.from_arrays(pa.array(codes.cpu().numpy()), pa.array(names, pa.string()))
    return type(like)(labels, index=like.index, name=name)


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
    """Device memory of a pinned buffer as a CUDA array."""

    def __init__(self, buffer: Any, dtype: np.dtype, pointer: int, size: int) -> None:
        self._buffer = buffer
        self.__cuda_array_interface__ = {
            "data": (pointer, False),
            "shape": (size,),
            "strides": None,
            "typestr": dtype.str,
            "version": 3,
        }


def _memory(column: Any) -> torch.Tensor:
    """Values of a pinned pylibcudf column of a fixed-width type, whether null or not, in its own memory."""
    data, dtype = column.data(), np.dtype(column.type().typestr)
    return _tensor(_Memory(data, dtype, data.ptr + column.offset() * dtype.itemsize, column.size()))
