"""Embeddings in an object column of pandas: an array or a list per row. They are copied, block by block."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import islice
from typing import Any

import numpy as np
import pandas as pd
import torch

from dask_aesthetic.embeddings.arrow import labelled
from dask_aesthetic.embeddings.rows import Run, Status, status_of_lengths
from dask_aesthetic.kernels import CPU_ROWS

__all__ = ["holds_lists", "labelled", "runs"]

PIECE_ROWS = CPU_ROWS
LOOK_AT = 100


def holds_lists(column: pd.Series) -> bool:
    """Whether an object column may hold lists of floats: one of its first values does, or it has none."""
    if column.dtype != object:
        return False
    values = first_values(column)
    return not values or any(_is_list(value) for value in values)


def first_values(column: pd.Series) -> list[Any]:
    """The first few values that are not missing; they tell what an object column holds."""
    return list(islice((value for value in column.to_numpy() if not is_missing(value)), LOOK_AT))


def runs(column: pd.Series, width: int) -> Iterator[Run]:
    """Cut a column into runs of rows, each stacked into a matrix of its own.

    Parameters
    ----------
    column : pandas.Series of object dtype
        Per row an array, list or tuple of floats, or None / NaN.
    width : int
        Floats per row that the predictor takes.

    Yields
    ------
    Run
        A row that is no list only gets a status: one bad row stops nothing.
    """
    values = column.to_numpy()
    for start in range(0, len(values), PIECE_ROWS):
        yield _run(values[start : start + PIECE_ROWS], width)


def _run(values: np.ndarray, width: int) -> Run:
    matrix = _plain(values, width)
    if matrix is not None:
        return Run(torch.zeros(len(values), dtype=torch.uint8), torch.from_numpy(matrix))
    vectors = [value if type(value) is np.ndarray and value.dtype.kind == "f" else _vector(value) for value in values]
    # Whatever is not a flat list, a matrix say, counts as one of another width.
    lengths = torch.tensor([-1 if vector.ndim != 1 else len(vector) for vector in vectors])
    status = status_of_lengths(lengths, width)
    present = status == Status.OK
    good = [vector for vector, length in zip(vectors, lengths.tolist(), strict=True) if length == width]
    if not good:
        return Run(status, torch.empty(0, width, dtype=torch.float32), present)
    dtype = max({vector.dtype for vector in good}, key=lambda dtype: dtype.itemsize)
    matrix = np.empty((len(good), width), dtype=f"f{min(dtype.itemsize, 8)}")
    np.stack(good, out=matrix)
    return Run(status, torch.from_numpy(matrix), present if len(good) < len(values) else None)


def _plain(values: np.ndarray, width: int) -> np.ndarray | None:
    """What `_run` stacks, at a fraction of its calls; None unless all rows are arrays of one dtype and this width."""
    first = values[0]
    if type(first) is not np.ndarray or first.ndim != 1 or first.dtype.str not in _DTYPES:
        return None
    try:
        if set(map(len, values)) != {width}:
            return None
        # Anything of another dtype or shape is refused here.
        return np.concatenate(values, out=np.empty(len(values) * width, first.dtype), casting="no").reshape(-1, width)
    except (TypeError, ValueError):
        return None


_DTYPES = [np.dtype(name).str for name in ("f2", "f4", "f8")]
_NOTHING = np.empty(0, dtype=np.float32)
_NO_VECTOR = np.empty((1, 1), dtype=np.float32)


def _vector(value: Any) -> np.ndarray:
    if is_missing(value):
        return _NOTHING
    if not _is_list(value):
        return _NO_VECTOR
    try:
        # None in a list becomes NaN here, as a null leaf does in Arrow.
        return np.asarray(value, dtype=np.float64)
    except (TypeError, ValueError):
        return _NO_VECTOR


def _is_list(value: Any) -> bool:
    if isinstance(value, np.ndarray):
        return value.dtype.kind in "fO"
    return not isinstance(value, str | bytes | dict | set) and (
        hasattr(value, "__array__") or hasattr(value, "__len__")
    )


def is_missing(value: Any) -> bool:
    """Whether a value of an object column stands for none."""
    return value is None or value is pd.NA or (isinstance(value, float) and value != value)
