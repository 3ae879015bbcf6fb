"""Whether torch shares a GPU worker's pool, by the names of memory resources; `test_gpu.py` has a cluster."""

from __future__ import annotations

import pytest

from dask_aesthetic.warn_two_pools import pool_apart

POOL = ["PoolMemoryResource", "CudaMemoryResource"]


@pytest.mark.parametrize(
    ("resources", "backend", "apart"),
    [
        (POOL, "native", "PoolMemoryResource"),
        (POOL, "cudaMallocAsync", "PoolMemoryResource"),
        (["FailureCallbackResourceAdaptor", *POOL], "native", "PoolMemoryResource"),
        (["CudaAsyncMemoryResource"], "native", "CudaAsyncMemoryResource"),
        (POOL, "pluggable", None),
        (["CudaMemoryResource"], "native", None),
        ([], "native", None),
    ],
)
def test_a_pool_that_torch_does_not_share_is_found(resources, backend, apart):
    assert pool_apart(resources, backend) == apart


@pytest.mark.rapids
def test_rmm_has_these_pools():
    mr = pytest.importorskip("rmm.mr", reason="needs RAPIDS")
    from dask_aesthetic.warn_two_pools import POOLS

    assert all(hasattr(mr, name) for name in POOLS)
