"""Warning, once per worker, if RMM holds a pool of GPU memory that torch does not allocate from."""

from __future__ import annotations

import sys
from functools import cache
from typing import Any

import torch

from dask_aesthetic.errors import AestheticWarning

POOLS = ("PoolMemoryResource", "ArenaMemoryResource", "CudaAsyncMemoryResource")


@cache
def warn_of_two_pools() -> None:
    """Warn this worker's client, the first time, if torch does not share the worker's pool."""
    pool = pool_apart(_resources(), torch.cuda.get_allocator_backend())
    if pool is None:
        return
    from distributed import warn

    warn(
        f"RMM holds GPU memory of this worker in a {pool} that torch does not allocate from, so either may run out of "
        "memory that the other holds: start workers with `dask cuda worker --set-rmm-allocator-for-libs torch`, or "
        "LocalCUDACluster(rmm_allocator_external_lib_list=['torch']), as local_cluster() does",
        AestheticWarning,
    )


def pool_apart(resources: list[str], backend: str) -> str | None:
    """Pool among a chain of memory resources that torch, by the name of its allocator's backend, does not share."""
    return None if backend == "pluggable" else next((name for name in resources if name in POOLS), None)


def _resources() -> list[str]:
    """Names of the types of RMM's memory resources on the current device, from the outermost on."""
    if "rmm" not in sys.modules:
        return []
    import rmm.mr

    resource: Any = rmm.mr.get_current_device_resource()
    names = []
    while resource is not None:
        names.append(type(resource).__name__)
        resource = getattr(resource, "get_upstream", lambda: None)()
    return names
