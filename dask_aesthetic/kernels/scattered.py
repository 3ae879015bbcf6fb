"""Rows that lie apart in a CPU's memory, such as arrays in an object column, as vectors that are not copied."""

from __future__ import annotations

import platform
from functools import cache
from typing import Any

import numpy as np
import torch

from dask_aesthetic.kernels.get_compiled import get_compiled

DTYPES = tuple(np.dtype(name) for name in ("f2", "f4", "f8"))  # Each twice as large as the one before.
HEAD = object.__basicsize__


class ScatteredRows:
    """Vectors of one dtype and width, each an array of its own.

    It has what a tensor of them would have as far as scoring asks; taking rows of it copies these into a tensor.

    Parameters
    ----------
    rows : numpy.ndarray, shape (n,), object
        Contiguous vectors, kept alive.
    dtype : numpy.dtype
        One of `DTYPES`.
    width : int
    addresses : numpy.ndarray, shape (n,), int64
        Where their values begin.
    """

    device = torch.device("cpu")

    def __init__(self, rows: np.ndarray, dtype: np.dtype, width: int, addresses: np.ndarray) -> None:
        self._rows, self._dtype = rows, dtype
        self.addresses = addresses
        self.dtype: torch.dtype = getattr(torch, dtype.name)
        self.shape = len(rows), width

    def __len__(self) -> int:
        return len(self._rows)

    def __getitem__(self, rows: Any) -> torch.Tensor:
        if isinstance(rows, torch.Tensor):
            rows = rows.numpy()
        chosen = self._rows[rows].tolist()
        dense = np.empty((len(chosen), self.shape[1]), self._dtype)
        if chosen:
            np.concatenate(chosen, out=dense.reshape(-1))
        return torch.from_numpy(dense)


Vectors = torch.Tensor | ScatteredRows


def find_rows(objects: np.ndarray, width: int) -> tuple[np.ndarray, np.ndarray] | None:
    """Find the objects that are contiguous vectors of `width` floats and can be scored where they lie.

    Parameters
    ----------
    objects : numpy.ndarray, shape (n,), object
        Of any type. Nothing else may hold this array: it keeps the objects alive.
    width : int

    Returns
    -------
    found : numpy.ndarray, shape (n,), int8
        Position of the vector's dtype in `DTYPES`; -1 for all other objects.
    addresses : numpy.ndarray, shape (n,), int64
        Where the values begin; meaningless for all other objects.

    None where the structure of arrays is not known, or numba is missing.
    """
    if not _knows_arrays():
        return None
    found, addresses = np.empty(len(objects), np.int8), np.empty(len(objects), np.int64)
    _find(objects, width, found, addresses)
    return found, addresses


def _find(objects: np.ndarray, width: int, found: np.ndarray, addresses: np.ndarray) -> None:
    dtypes = np.array([id(dtype) for dtype in DTYPES])
    find = get_compiled().find_arrays
    find(objects.ctypes.data, len(objects), HEAD, id(np.ndarray), dtypes, width, found, addresses)


@cache
def _knows_arrays() -> bool:
    """Whether arrays are structured as in numpy's C ABI of version 2, tried on arrays whose addresses are known."""
    if platform.python_implementation() != "CPython" or np.lib.NumpyVersion(np.__version__) >= "3.0.0":
        return False
    if get_compiled() is None:
        return False
    matrix = np.zeros((4, 3), np.float32)
    vectors: list[Any] = [matrix[2], *(np.zeros(3, dtype) for dtype in DTYPES)]
    vectors.append(np.zeros(3, np.dtype(np.float64, metadata={"one": "of its own"})))
    foreign = [np.zeros(3, dtype) for dtype in (DTYPES[1].newbyteorder(), np.int32, "m8[s]", np.longdouble, object)]
    others = [matrix, matrix[:, 0], matrix[0, ::2], *foreign, np.ma.zeros(3), 1, None]
    objects = np.empty(len(vectors) + len(others), object)
    objects[:] = [*vectors, *others]
    found, addresses = np.empty(len(objects), np.int8), np.empty(len(objects), np.int64)
    _find(objects, 3, found, addresses)
    places = [vector.ctypes.data for vector in vectors]
    return found.tolist() == [1, 0, 1, 2, 2] + [-1] * len(others) and addresses[: len(places)].tolist() == places
