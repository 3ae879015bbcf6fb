"""dask-cuDF's reader: without a GPU as far as its graphs go, with pandas in cuDF's place; on a GPU all of it."""

from __future__ import annotations

import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest

from helpers import backends
from helpers.parquet_frames import SCORE, by_partition, is_scored

SOME = ["key", "aesthetic_score", "keep"]


@pytest.mark.rapids
@pytest.mark.skipif(find_spec("dask_cudf") is None, reason="needs RAPIDS")
def test_names_of_dask_cudf_exist_and_partitions_are_those_of_its_fused_reader(folders):
    code = """
import inspect, sys
import pandas as pd, pyarrow as pa
from dask.dataframe.io.parquet.arrow import ArrowDatasetEngine
from dask_cudf._expr import new_collection
from dask_cudf.io.parquet import CudfEngine, CudfFusedIO, CudfReadParquetFSSpec, NoOp

import dask_aesthetic
from dask_aesthetic.fused_read.partition import GpuParts
from dask_aesthetic.fused_read.reader import ReadAestheticColumns, is_reader
from dask_aesthetic.io import cudf
from helpers.parquet_frames import EMBEDDING, SCORE, assert_same, by_partition, is_scored, reads

def read_embeddings(shard):  # cuDF would read them to a GPU.
    table = shard.read(pa.schema([pa.field(shard.column, shard.type)]))
    return pd.Series(pd.arrays.ArrowExtensionArray(table[shard.column]))

cudf.read_embeddings = read_embeddings
assert issubclass(CudfEngine, ArrowDatasetEngine)
assert {"fs", "pieces", "columns", "index"} <= set(inspect.signature(CudfEngine.read_partition).parameters)
source = inspect.getsource(sys.modules["dask_cudf.io.parquet"].read_parquet_expr)
assert "NoOp(\\n            CudfReadParquetFSSpec(" in source

SOME = ["key", "aesthetic_score", "keep"]
for name, blocksize, fused in (("many", "256MiB", True), ("many", None, False), ("plain", "3kB", False),
                               ("indexed", "256MiB", True), ("hive", None, False)):
    reader = CudfReadParquetFSSpec(f"{sys.argv[1]}/{name}", engine=ArrowDatasetEngine, blocksize=blocksize,
                                   kwargs={"dtype_backend": "pyarrow"})
    assert is_reader(reader)
    frame = new_collection(NoOp(reader))
    scored = frame.aesthetic.score(**SCORE)
    with by_partition():
        plain = frame.aesthetic.score(**SCORE)
    assert_same(plain[SOME], scored[SOME])
    assert_same(plain[plain["keep"]][SOME], scored[scored["keep"]][SOME])
    assert is_scored(scored[SOME]) and is_scored(scored[scored["keep"]][SOME])
    (node,) = scored[SOME].optimize(fuse=False).expr.find_operations(ReadAestheticColumns)
    assert isinstance(node.like, CudfFusedIO) == fused
    assert isinstance(node._task(("x", 0), 0).args[0], GpuParts)
    assert not is_scored(scored[["keep"]])  # cuDF counts no rows where it reads no column.

for name, options in (("half", {}), ("plain", {"filters": [("width", ">", 900)]})):
    reader = CudfReadParquetFSSpec(f"{sys.argv[1]}/{name}", engine=ArrowDatasetEngine, blocksize=None, **options)
    assert not is_scored(new_collection(NoOp(reader)).aesthetic.score(**SCORE)[SOME])
"""
    code = f"import sys; sys.path.insert(0, {str(Path(__file__).parents[1])!r})\n{code}"
    done = subprocess.run([sys.executable, "-c", code, str(folders)], capture_output=True, text=True, timeout=240)
    assert done.returncode == 0, done.stderr


@pytest.mark.gpu
@pytest.mark.skipif(not backends.HAS_GPU, reason=backends.NO_GPU)
@pytest.mark.parametrize("name", ["plain", "many", "hive", "indexed"])
@pytest.mark.parametrize("blocksize", ["256MiB", None])
def test_on_a_gpu_frames_equal_those_that_hold_the_embeddings(folders, name, blocksize):
    import dask_cudf

    frame = dask_cudf.read_parquet(str(folders / name), blocksize=blocksize)
    scored = frame.aesthetic.score(**SCORE)
    with by_partition():
        plain = frame.aesthetic.score(**SCORE)
    assert is_scored(scored[SOME])
    for columns in (SOME, ["num", "aesthetic_score"] if "num" in plain.columns else SOME, ["keep"]):
        found, expected = scored[columns].compute().to_pandas(), plain[columns].compute().to_pandas()
        assert found.columns.tolist() == expected.columns.tolist()
        assert found.index.tolist() == expected.index.tolist()
        for column in columns:
            np.testing.assert_array_equal(found[column].to_numpy(), expected[column].to_numpy())
    assert len(scored) == len(plain)
