"""One table as a frame of each library, and results as pandas. GPU libraries are two more names."""

from __future__ import annotations

import os
from importlib.util import find_spec
from typing import Any

import dask.dataframe as dd
import pandas as pd
import pyarrow as pa
import pytest

from dask_aesthetic.cluster import visible_gpus
from dask_aesthetic.io import cudf
from dask_aesthetic.readers import partitions

NO_GPU = "needs RAPIDS and an NVIDIA GPU"
HAS_GPU = find_spec("cudf") is not None and find_spec("dask_cudf") is not None and visible_gpus() > 0
if os.environ.get("DASK_AESTHETIC_NEED_RAPIDS") and not HAS_GPU:
    raise RuntimeError(f"expected RAPIDS and an NVIDIA GPU, got {visible_gpus()} GPUs")
on_gpu = [pytest.mark.gpu, pytest.mark.skipif(not HAS_GPU, reason=NO_GPU)]
ALL = [
    "pandas",
    "dask",
    pytest.param("cudf", marks=on_gpu),
    pytest.param("dask_cudf", marks=on_gpu),
]


def frame_of(table: pa.Table, backend: str, partitions: int = 3) -> Any:
    """The table as a frame of `backend`."""
    if backend in ("pandas", "dask"):
        frame = table.to_pandas(types_mapper=pd.ArrowDtype)
        return dd.from_pandas(frame, npartitions=partitions) if backend == "dask" else frame
    import cudf as library

    frame = library.DataFrame.from_arrow(table)
    if backend == "cudf":
        return frame
    import dask_cudf

    return dask_cudf.from_cudf(frame, npartitions=partitions)


def to_pandas(collection: Any) -> Any:
    """A computed result in host memory."""
    computed = collection.compute() if hasattr(collection, "compute") else collection
    return computed.to_pandas() if hasattr(computed, "to_pandas") else computed


def use_pandas_as_cudf(patch: pytest.MonkeyPatch) -> None:
    """Let pandas make the frames that cuDF would make on a GPU."""

    def read_embeddings(shard: Any) -> pd.Series:
        table = shard.read(pa.schema([pa.field(shard.column, shard.type)]))
        return pd.Series(pd.arrays.ArrowExtensionArray(table[shard.column]))

    patch.setattr(cudf, "require", lambda: None)
    patch.setattr(cudf, "to_cudf", partitions.to_pandas)
    patch.setattr(cudf, "read_embeddings", read_embeddings)
