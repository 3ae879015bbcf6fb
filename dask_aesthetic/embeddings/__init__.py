"""Columns of embeddings as runs of vectors and row statuses: one backend per kind of column, the same names in each."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from types import ModuleType
from typing import Any

import pandas as pd
import torch

from dask_aesthetic.embeddings import arrow, objects
from dask_aesthetic.embeddings.objects import describe
from dask_aesthetic.embeddings.packed import check_embedding_dtype, holds_bytes, unpack
from dask_aesthetic.embeddings.rows import Guess, Run, scale_rows, suspicious, unit_vectors
from dask_aesthetic.errors import ColumnError

__all__ = [
    "Guess",
    "Run",
    "add_columns",
    "candidates",
    "check",
    "check_embedding_dtype",
    "describe",
    "get_backend",
    "guess",
    "holds_bytes",
    "runs",
    "scale_rows",
    "stream",
    "suspicious",
    "to_categories",
    "to_series",
    "unit_vectors",
    "unpack",
    "width",
]


def runs(column: Any, width: int) -> Iterator[Run]:
    """Runs of rows of a pandas or cuDF column of embeddings.

    Raises
    ------
    ColumnError
        The column holds no lists of numbers.
    """
    backend = get_backend(column)
    # Invalid values in an object column become statuses, even where they fill a whole partition.
    if column.dtype != object or backend is not objects:
        check(column)
    return backend.runs(column, width)


def guess(column: Any, width: int) -> AbstractContextManager[Guess | None]:
    """Context with a guess of a column's vectors that a GPU confirms after it has begun to use them, or None."""
    backend = get_backend(column)
    if backend in (arrow, objects):
        return nullcontext()
    check(column)
    found: AbstractContextManager[Guess | None] = backend.guess(column, width)
    return found


def stream(column: Any) -> AbstractContextManager[None]:
    """Context in which torch uses the CUDA stream of the column's library; it does nothing on CPUs."""
    backend = get_backend(column)
    return nullcontext() if backend in (arrow, objects) else backend.stream()


def to_series(values: torch.Tensor, like: Any, name: Any) -> Any:
    """Series of per-row values, of the library and with the index of a column."""
    return get_backend(like).to_series(values, like, name)


def to_categories(codes: torch.Tensor, names: Sequence[str], like: Any, name: Any) -> Any:
    """Categorical Series of the names that per-row codes, uint8, stand for; library and index as of a column."""
    return get_backend(like).to_categories(codes, names, like, name)


def add_columns(frame: Any, like: Any, columns: Mapping[str, torch.Tensor]) -> Any:
    """Frame with columns of per-row values added, or replaced; `like` is a column of the frame."""
    return get_backend(like).add_columns(frame, like, columns)


def check(column: Any, columns: Any = None) -> None:
    """Refuse a column that holds no lists of floats, by its dtype and first values.

    Parameters
    ----------
    column : pandas.Series or cudf.Series
        Empty columns pass where the dtype does not decide, as Dask's meta has to.
    columns : DataFrame, optional
        Frame to search for columns that would do.
    """
    if get_backend(column).holds_lists(column):
        return
    names = candidates(columns) if columns is not None else []
    of_objects = column.dtype == object and get_backend(column) is objects
    first = next(iter(objects.first_values(column)), None) if of_objects else None
    if objects.is_bytes(first):
        raise ColumnError.packed(column.name, f"objects of {type(first).__name__}", names)
    if isinstance(first, str) or isinstance(column.dtype, pd.StringDtype) or str(column.dtype) == "string":
        raise ColumnError.strings(column.name, column.dtype, names)
    kind = str(column.dtype) if first is None else f"objects of {objects.describe(first)}"
    kind = repr(column.dtype) if kind == "list" else kind  # cuDF's name for every list dtype.
    raise ColumnError.not_lists(column.name, kind, names)


def width(column: Any) -> int | None:
    """Floats per row by a column's type; None where the type leaves it open."""
    return arrow.type_width(column.dtype.pyarrow_dtype) if isinstance(column.dtype, pd.ArrowDtype) else None


def candidates(frame: Any) -> list[str]:
    """Names of the columns that hold or may hold lists of floats; lists of integers are as a rule something else."""
    columns = [frame.iloc[:, at] for at in range(len(frame.columns))]
    return [
        str(column.name)
        for column in columns
        if get_backend(column).holds_lists(column) and get_backend(column).holds_floats(column)
    ]


def get_backend(column: Any) -> ModuleType:
    """Backend module for a column: `embeddings.cudf`, `embeddings.arrow` or `embeddings.objects`."""
    if type(column).__module__.partition(".")[0] == "cudf":
        from dask_aesthetic.embeddings import cudf

        return cudf
    return arrow if isinstance(column.dtype, pd.ArrowDtype) else objects
