"""Local Dask clusters: workers on GPUs where there are any, on CPU cores elsewhere; detection never touches CUDA."""

from __future__ import annotations

import importlib.util
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any

import dask
import torch
from dask.system import cpu_count
from distributed import LocalCluster, Nanny

from dask_aesthetic.choices import Device
from dask_aesthetic.defaults import SHARDS_PER_GPU
from dask_aesthetic.errors import ArgumentError, MissingDependencyError

DEVICES = ("auto", "gpu", "cpu")
# Workers read measurably slower with Dask's profiler, and where freed memory is given back only to be faulted in again.
# Where the first of the two thresholds is set, as Dask does, the second no longer grows with what is allocated.
TUNED = {
    "distributed.worker.profile.enabled": False,
    "distributed.nanny.pre-spawn-environ.MALLOC_TRIM_THRESHOLD_": 1 << 27,
    "distributed.nanny.pre-spawn-environ.MALLOC_MMAP_THRESHOLD_": 1 << 25,
}
RAPIDS = ("cudf", "dask_cudf", "dask_cuda", "cupy")


def local_cluster(
    device: Device = "auto",
    *,
    n_workers: int | None = None,
    embed: bool = False,
    rmm_pool_size: float | str | None = 0.8,
    spill: bool = False,
    **options: Any,
) -> LocalCluster:
    """Cluster on this machine: a worker per GPU or per CPU core, announced in one line on standard error.

    Parameters
    ----------
    device : {"auto", "gpu", "cpu"}
        "auto" takes the GPUs if there are any and RAPIDS is installed. "gpu" fails where "auto" would take CPUs.
    n_workers : int, optional
        Worker processes: one per visible GPU, or one per CPU core that this process may use, if not given.
    embed : bool
        For images, which need GPUs and torch, but not RAPIDS. Each worker sees its GPU first, by
        ``CUDA_VISIBLE_DEVICES``, has two threads, so that its GPU is at work while one of them writes results, and no
        pool of RMM.
    rmm_pool_size : float, str or None
        GPU memory pool that RMM holds on each GPU and torch shares; a fraction, or bytes as Dask writes them.
        None means no pool. Two pools side by side run out of memory, so torch gets none of its own.
    spill : bool
        Let cuDF move columns to host memory when a GPU is full.
    **options
        For `dask_cuda.LocalCUDACluster` or `distributed.LocalCluster`.

    Returns
    -------
    distributed.LocalCluster
        Close it, or use it in a ``with`` statement.

    Raises
    ------
    MissingDependencyError
        ``device="gpu"`` without RAPIDS, unless for images.
    ArgumentError
        ``device="gpu"`` without a GPU, or with a torch that cannot use it.

    Notes
    -----
    The GPUs are counted by NVML and ``CUDA_VISIBLE_DEVICES``: a CUDA context made here would put every worker's
    memory on GPU 0. Dask's statistical profiler is off, since it slows workers down.

    Examples
    --------
    >>> from dask_aesthetic.cluster import local_cluster
    >>> with local_cluster("cpu", n_workers=1) as cluster:  # doctest: +SKIP
    ...     client = cluster.get_client()
    """
    if device not in DEVICES:
        raise ArgumentError.choice("device", device, DEVICES)
    missing = [] if embed else missing_rapids()
    gpus = 0 if device == "cpu" else usable_gpus(embed)
    if gpus:
        workers = gpus if n_workers is None else n_workers
        if embed:
            cluster = _image_cluster(workers, options)
        else:
            cluster = _rapids_cluster(n_workers, rmm_pool_size, spill, options)
        _say(f"{len(cluster.workers)} GPU workers, as NVML sees {gpus} GPUs", cluster)
        return cluster
    if device == "gpu" and missing:
        raise MissingDependencyError(", ".join(missing), "cuda13", "a cluster on GPUs")
    if device == "gpu" and visible_gpus():
        raise ArgumentError(f"expected a torch built for CUDA for device='gpu', got {torch.__version__}")
    if device == "gpu":
        raise ArgumentError("expected a GPU for device='gpu', got none that NVML and CUDA_VISIBLE_DEVICES show")
    workers = cpu_count() if n_workers is None else n_workers
    with dask.config.set(TUNED):
        cluster = LocalCluster(n_workers=workers, **{"threads_per_worker": 1, **options})
    _say(f"{workers} CPU workers: {'as asked' if device == 'cpu' else _why_no_gpus(missing)}", cluster)
    return cluster


def _rapids_cluster(
    n_workers: int | None, rmm_pool_size: float | str | None, spill: bool, options: dict[str, Any]
) -> LocalCluster:
    from dask_cuda import LocalCUDACluster

    options = {"enable_cudf_spill": spill, "n_workers": n_workers, **options}
    if options.get("rmm_async"):  # CUDA's own pool, beside which RMM takes no other.
        rmm_pool_size = None
    if rmm_pool_size is not None or options.get("rmm_async"):
        options = {"rmm_pool_size": rmm_pool_size, "rmm_allocator_external_lib_list": ["torch"], **options}
    with dask.config.set(TUNED):
        return LocalCUDACluster(**options)


def _image_cluster(n_workers: int, options: dict[str, Any]) -> LocalCluster:
    devices = visible_devices()
    options = {"n_workers": n_workers, "threads_per_worker": SHARDS_PER_GPU, **options}
    with dask.config.set(TUNED):
        # dask-cuda also takes the CPU cores that are near a GPU, but puts no second worker on it.
        if n_workers <= len(devices) and importlib.util.find_spec("dask_cuda") is not None:
            from dask_cuda import LocalCUDACluster

            return LocalCUDACluster(**options)
        return LocalCluster(worker_class=GPUNanny, devices=devices, **options)


class GPUNanny(Nanny):
    """Nanny whose worker sees one GPU.

    Parameters
    ----------
    name : int
        Number of the worker.
    devices : list of str
        Entries of ``CUDA_VISIBLE_DEVICES``, of which worker after worker takes the next.
    """

    def __init__(self, *args: Any, name: int, devices: list[str], env: dict[str, str] | None = None, **options: Any):
        env = {**(env or {}), "CUDA_VISIBLE_DEVICES": devices[name % len(devices)]}
        super().__init__(*args, name=name, env=env, **options)


def _why_no_gpus(missing: list[str]) -> str:
    if missing:
        return f"{', '.join(missing)} not installed"
    return "torch is built without CUDA" if visible_gpus() else "no visible NVIDIA GPU"


@contextmanager
def closed_in_time(cluster: LocalCluster, seconds: float = 20.0) -> Iterator[LocalCluster]:
    """Context of a cluster that closes at the end, in bounded time.

    Dask before 2026.8 can wait for ever for a worker that was killed while it started.
    """
    try:
        yield cluster
    finally:
        with suppress(TimeoutError):
            cluster.close(timeout=seconds)


def usable_gpus(embed: bool = False) -> int:
    """Number of GPUs that a local cluster uses: the visible ones, 0 without a torch for CUDA and what else it takes.

    Parameters
    ----------
    embed : bool
        For images, which take no RAPIDS.
    """
    missing = [] if embed else missing_rapids()
    return 0 if missing or torch.version.cuda is None else visible_gpus()


def missing_rapids() -> list[str]:
    """Names of the RAPIDS packages that are not installed."""
    return [name for name in RAPIDS if importlib.util.find_spec(name) is None]


def visible_gpus() -> int:
    """Number of GPUs that CUDA would show, by NVML and ``CUDA_VISIBLE_DEVICES``."""
    return len(visible_devices())


def visible_devices() -> list[str]:
    """GPUs that CUDA would show, by NVML: entries of ``CUDA_VISIBLE_DEVICES``, or their numbers if it is not set."""
    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    if importlib.util.find_spec("pynvml") is None:
        # It asks NVML, too, if it is built for CUDA, and has read the variable.
        count = torch.cuda.device_count()
        return shown_of(count, None) if visible is None else visible.split(",")[:count]
    import pynvml

    try:
        pynvml.nvmlInit()
        return shown_of(int(pynvml.nvmlDeviceGetCount()), visible)
    except pynvml.NVMLError:
        return []


def shown_of(count: int, visible: str | None) -> list[str]:
    """Entries of a value of ``CUDA_VISIBLE_DEVICES`` that show one of `count` GPUs each; all of these if it is None."""
    if visible is None:
        return [str(number) for number in range(count)]
    shown = []
    for entry in visible.split(","):  # CUDA stops at the first one that is not there.
        name = entry.strip()
        if not (name.startswith(("GPU-", "MIG-")) or (name.isdigit() and int(name) < count)):
            break
        shown.append(name)
    return shown


def _say(what: str, cluster: Any) -> None:
    print(f"local cluster: {what} (dashboard {cluster.dashboard_link})", file=sys.stderr)
