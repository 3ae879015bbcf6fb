"""What only a GPU can show: the column's own memory, how much is used, and a cluster of GPU workers."""

from __future__ import annotations

import backends
import columns
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

pytestmark = [pytest.mark.gpu, pytest.mark.skipif(not backends.HAS_GPU, reason=backends.NO_GPU)]


def series_of(rows):
    import cudf

    return cudf.Series.from_arrow(columns.array(rows, "list"))


def span_of(column) -> tuple[int, int]:
    """First and last byte of the device buffer that holds a list column's floats."""
    leaves = column.list.leaves.values
    return leaves.data.mem.ptr, leaves.data.mem.ptr + leaves.data.mem.size


@pytest.mark.parametrize("rows", ["whole", "slice", "nulls"])
def test_the_tensor_lies_in_the_columns_own_memory(vectors, rows):
    from dask_aesthetic import embeddings

    given = [None if rows == "nulls" and at % 7 == 3 else row for at, row in enumerate(vectors)]
    column = series_of(given if rows == "nulls" else vectors)
    column = column.iloc[17:200] if rows == "slice" else column
    leaves = column.list.leaves.values
    (run,) = embeddings.runs(column, 768)
    assert run.vectors.is_cuda
    assert run.vectors.data_ptr() == leaves.data.ptr
    first, last = span_of(column)
    assert first <= run.vectors.data_ptr() < last


def test_scoring_takes_no_more_memory_than_the_scores_and_a_block():
    import cudf
    import cupy
    import torch

    from dask_aesthetic.kernels import GPU_ROWS

    n = 1_000_000
    flat = cupy.random.default_rng(0).standard_normal(n * 768, dtype=cupy.float32)
    offsets = cudf.Series(cupy.arange(n + 1, dtype=cupy.int32) * 768)
    column = cudf.Series.from_arrow(pa.ListArray.from_arrays(offsets.to_arrow(), pa.array(cupy.asnumpy(flat))))
    del flat
    frame = cudf.DataFrame({"image_embedding": column})
    frame.aesthetic.score()
    torch.cuda.synchronize()
    free_before = torch.cuda.mem_get_info()[0]
    scored = frame.aesthetic.score()
    torch.cuda.synchronize()
    assert free_before - torch.cuda.mem_get_info()[0] <= 16 * n + GPU_ROWS * 768 * 4
    assert len(scored) == n


def test_cpu_and_gpu_agree_on_a_million_rows(record_property):
    import cudf
    import pandas as pd

    flips = 0
    for seed in range(10):
        z = np.random.default_rng(seed).standard_normal((100_000, 768), dtype=np.float32)
        array = columns.array(z, "list")
        cpu = pd.DataFrame({"image_embedding": pd.Series(pd.arrays.ArrowExtensionArray(pa.chunked_array([array])))})
        gpu = cudf.DataFrame({"image_embedding": cudf.Series.from_arrow(array)})
        a, b = cpu.aesthetic.score(), gpu.aesthetic.score().to_pandas()
        assert np.abs(a["aesthetic_score"] - b["aesthetic_score"]).max() <= 5e-6
        flips += int((a["keep"].to_numpy() != b["keep"].to_numpy()).sum())
    record_property("keep flips per million rows", flips)
    assert flips <= 20


@pytest.mark.parametrize("spill", [False, True])
def test_a_cluster_of_gpu_workers_reads_scores_and_writes(vectors, tmp_path, spill):
    import dask_cudf

    from dask_aesthetic.cluster import local_cluster

    for number in range(4):
        keys = [f"{number}-{at}" for at in range(len(vectors))]
        table = pa.table({"key": keys, "image_embedding": columns.array(vectors, "list")})
        pq.write_table(table, tmp_path / f"{number}.parquet")
    expected = columns.frame(vectors, "list").aesthetic.score()["aesthetic_score"].to_numpy()
    with local_cluster("gpu", spill=spill, rmm_pool_size=None if spill else 0.5) as cluster, cluster.get_client():
        ddf = dask_cudf.read_parquet(str(tmp_path / "*.parquet"))
        ddf.aesthetic.score()[["key", "aesthetic_score", "keep"]].to_parquet(str(tmp_path / "out"))
    scores = pq.read_table(tmp_path / "out")["aesthetic_score"].to_numpy()
    np.testing.assert_allclose(scores, np.tile(expected, 4), rtol=0, atol=5e-6)


def test_the_selftest_passes_on_every_device():
    from dask_aesthetic.selftest import selftest

    checks = selftest()
    assert any(check.device.startswith("cuda") for check in checks)
    assert all(check.passed for check in checks)
