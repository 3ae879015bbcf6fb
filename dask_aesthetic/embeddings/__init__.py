"""A column of embeddings as runs of vectors and row statuses: one room per kind of column, the same names in each."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager, nullcontext
from types import ModuleType
from typing import Any

import pandas as pd
import torch

from dask_aesthetic.embeddings import arrow, objects
from dask_aesthetic.embeddings.rows import Run, suspicious, unit_vectors
from dask_aesthetic.errors import ColumnError

__all__ = [
    "Run",
    "candidates",
    "check",
    "labelled",
    "runs",
    "stream",
    "suspicious",
    "unit_vectors",
    "width",
]


def runs(column: Any, width: int) -> Iterator[Run]:
    """Cut a pandas or cuDF column of embeddings into runs of rows.

    Raises
    ------
    ColumnError
        The column holds no lists of floats.
    """
    room = _backend(column)
    # A few rows that are no lists must not stop a run because they happen to be all that a partition holds.
    if column.dtype != object or room is not objects:
        check(column)
    return room.runs(column, width)


def stream(column: Any) -> AbstractContextManager[None]:
    """Where torch works on a column's `runs`: on a GPU, on the stream of the column's library."""
    room = _backend(column)
    return nullcontext() if room in (arrow, objects) else room.stream()


def labelled(values: torch.Tensor, like: Any, name: Any) -> Any:
    """Per-row values as a Series of the column's own library, with its index."""
    return _backend(like).labelled(values, like, name)


def check(column: Any, columns: Any = None) -> None:
    """Refuse a column that holds no lists of floats, as far as its dtype and first values tell.

    Parameters
    ----------
    column : pandas.Series or cudf.Series
        May be empty, as Dask's meta is.
    columns : DataFrame, optional
        Where to look for columns that would do.
    """
    if _backend(column).holds_lists(column):
        return
    names = candidates(columns) if columns is not None else []
    of_objects = column.dtype == object and _backend(column) is objects
    first = next(iter(objects.first_values(column)), None) if of_objects else None
    if objects.is_bytes(first):
        raise ColumnError.packed(column.name, f"objects of {type(first).__name__}", names)
    if isinstance(first, str) or isinstance(column.dtype, pd.StringDtype) or str(column.dtype) == "string":
        raise ColumnError.strings(column.name, column.dtype, names)
    kind = str(column.dtype) if first is None else f"objects of {getattr(first, 'dtype', type(first).__name__)}"
    kind = repr(column.dtype) if kind == "list" else kind  # cuDF's name for a list of anything.
    raise ColumnError.not_lists(column.name, kind, names)


def width(column: Any) -> int | None:
    """Floats per row, where the type of a column says it; None elsewhere."""
    return arrow.type_width(column.dtype.pyarrow_dtype) if isinstance(column.dtype, pd.ArrowDtype) else None


def candidates(frame: Any) -> list[str]:
    """Names of the columns that hold, or may hold, lists of floats."""
    columns = (frame.iloc[:, at] for at in range(len(frame.columns)))
    return [str(column.name) for column in columns if _backend(column).holds_lists(column)]


def _backend(column: Any) -> ModuleType:
    if type(column).__module__.partition(".")[0] == "cudf":
        from dask_aesthetic.embeddings import cudf

        return cudf
    return arrow if isinstance(column.dtype, pd.ArrowDtype) else objects
