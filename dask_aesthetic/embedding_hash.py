"""Hash of each row's embedding, by which exact duplicates are found."""

from __future__ import annotations

from typing import Any

import numpy as np
import pyarrow as pa
import xxhash

from dask_aesthetic.embeddings.arrow import array_runs
from dask_aesthetic.io.xxh3 import hash64_function
from dask_aesthetic.kernels import blocks, get_row_hash
from dask_aesthetic.status import Status

ROWS = 512  # Few enough to stay in the cache.


def hash_embeddings(lists: pa.Array, width: int, status: np.ndarray) -> pa.Array:
    """xxh3_64 of each row's embedding as little-endian float32, in which -0 is 0; null where the status is not OK.

    The same values have the same hash, whether they are float16, float32 or, where float32 can hold them, float64.

    Parameters
    ----------
    lists : pyarrow.Array
        A list of numbers per row.
    width : int
        Numbers of a usable row.
    status : numpy.ndarray, shape (n,), uint8

    Returns
    -------
    pyarrow.Array, shape (n,), uint64

    Examples
    --------
    >>> lists = pa.array([[1.0, -0.0], [1.0, 0.0], None])
    >>> hashes = hash_embeddings(lists, 2, np.uint8([0, 0, 1]))
    >>> hashes[0] == hashes[1], hashes[2].as_py()
    (True, None)
    >>> hashes[0].as_py() == xxhash.xxh3_64_intdigest(np.array([1, 0], "<f4"))
    True
    """
    hashes = np.zeros(len(lists), np.uint64)
    start = 0
    for run in array_runs(lists, width):
        here = hashes[start : start + len(run.status)]
        found = np.zeros(len(run.vectors), np.uint64)
        for at, block in blocks(run.vectors, ROWS):
            found[at] = _hash((block + 0.0).numpy().astype("<f4", copy=False))  # -0 becomes 0.
        if run.present is None:
            here[:] = found
        else:
            here[run.present.numpy()] = found
        start += len(here)
    return pa.array(hashes, mask=status != Status.OK)


def _hash(rows: Any) -> np.ndarray:
    function, compiled = hash64_function(), get_row_hash()
    if function and compiled is not None:
        hashes: np.ndarray = compiled.hash_rows(function, rows)
        return hashes
    return np.array([xxhash.xxh3_64_intdigest(row) for row in rows], np.uint64)
