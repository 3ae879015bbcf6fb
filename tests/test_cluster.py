"""Local clusters of CPU workers, and the detection of GPUs."""

from __future__ import annotations

import importlib.util
import os
import subprocess
import sys
from pathlib import Path

import dask.dataframe as dd
import numpy as np
import pytest

from dask_aesthetic.cluster import local_cluster, shown_of, visible_gpus
from dask_aesthetic.errors import ArgumentError, MissingDependencyError
from helpers import columns

RAPIDS = importlib.util.find_spec("dask_cuda") is not None
NO_GPU = pytest.mark.skipif(Path("/dev/nvidiactl").exists(), reason="there is an NVIDIA GPU")


@pytest.fixture
def fresh(interpreter):
    """Run code in a fresh interpreter that takes warnings for errors."""

    def run(code: str) -> subprocess.CompletedProcess[str]:
        done = interpreter.run(code)
        assert done.returncode == 0, done.stderr
        return done

    return run


def test_cpu_workers_start_and_close_and_one_line_says_what_and_why(capfd):
    with local_cluster("cpu", n_workers=1, dashboard_address=":0") as cluster:
        link = cluster.dashboard_link
        assert len(cluster.workers) == 1
        assert cluster.get_client().submit(sum, [20, 22]).result(timeout=60) == 42
    assert cluster.status.name == "closed"
    printed = capfd.readouterr()
    assert printed.err == f"local cluster: 1 CPU workers: as asked (dashboard {link})\n"
    assert printed.out == ""


@pytest.mark.skipif(not hasattr(os, "sched_setaffinity"), reason="CPU affinity is Linux's")
def test_one_cpu_worker_for_each_core_that_the_process_may_use(fresh):
    printed = fresh("""
import os
os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
from dask_aesthetic.cluster import local_cluster
with local_cluster("cpu", dashboard_address=":0") as cluster:
    print(len(cluster.workers))
""")
    assert printed.stdout == "1\n"


@NO_GPU
def test_without_a_gpu_the_reason_for_cpu_workers_is_reported(fresh):
    printed = fresh("""
from dask_aesthetic.cluster import local_cluster
cluster = local_cluster(n_workers=1, dashboard_address=":0")
print(cluster.dashboard_link)
cluster.close()
""")
    why = "no visible NVIDIA GPU" if RAPIDS else "cudf, dask_cudf, dask_cuda, cupy not installed"
    assert printed.stderr == f"local cluster: 1 CPU workers: {why} (dashboard {printed.stdout.strip()})\n"


def test_an_unknown_device_is_refused():
    with pytest.raises(ArgumentError, match=r"expected device to be one of 'auto', 'gpu', 'cpu', got 'cuda'"):
        local_cluster("cuda")


@pytest.mark.skipif(RAPIDS, reason="RAPIDS is installed")
def test_gpu_without_rapids_names_the_extra_to_install():
    with pytest.raises(MissingDependencyError, match=r"dask_cuda.*dask-aesthetic\[cuda13\]"):
        local_cluster("gpu")


@NO_GPU
@pytest.mark.parametrize("visible", [None, "", "0", "0,1", "GPU-8932f937-d72c-4106-c12f-20bd9faed9f6", "-1", "all"])
def test_no_gpu_is_visible_where_none_is_whatever_cuda_visible_devices_says(monkeypatch, visible):
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    if visible is not None:
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", visible)
    assert visible_gpus() == 0


@pytest.mark.parametrize(
    ("visible", "shown"),
    [
        (None, 4),
        ("", 0),
        ("0", 1),
        ("3,1", 2),
        (" 0, 2 ", 2),
        ("4", 0),
        ("0,4,1", 1),
        ("-1", 0),
        ("1,-1,2", 1),
        ("none", 0),
        ("GPU-8932f937-d72c-4106-c12f-20bd9faed9f6", 1),
        ("MIG-8932f937-d72c-4106-c12f-20bd9faed9f6,GPU-8932f937", 2),
    ],
)
def test_gpus_are_shown_up_to_the_first_entry_that_is_none(visible, shown):
    assert len(shown_of(4, visible)) == shown


def test_a_cluster_scores_as_pandas_does_byte_for_byte(vectors, capfd):
    frame = columns.frame(vectors[:200], "list")
    expected = frame.aesthetic.score(threshold=5.0)
    assert 0 < expected["keep"].sum() < 200
    with local_cluster("cpu", n_workers=1, dashboard_address=":0") as cluster, cluster.get_client():
        partitioned = dd.from_pandas(frame, npartitions=5)
        assert partitioned.npartitions == 5
        scored, kept = (
            lazy.compute() for lazy in (partitioned.aesthetic.score(), partitioned.aesthetic.filter(threshold=5.0))
        )
    assert scored["aesthetic_score"].dtype == np.float32
    assert scored["aesthetic_score"].to_numpy().tobytes() == expected["aesthetic_score"].to_numpy().tobytes()
    assert scored["keep"].tolist() == expected["keep"].tolist()
    assert scored["key"].tolist() == frame["key"].tolist()
    assert kept["key"].tolist() == frame["key"][expected["keep"]].tolist()
    assert len(capfd.readouterr().err.splitlines()) == 1


def test_a_worker_that_is_killed_while_it_starts_does_not_keep_a_run_from_ending(fresh):
    fresh("""
import os
import signal
import time
from distributed import LocalCluster
from dask_aesthetic.cluster import closed_in_time

if __name__ == "__main__":
    cluster = LocalCluster(n_workers=1, threads_per_worker=1, dashboard_address=":0", silence_logs=50)
    with closed_in_time(cluster, 2.0):
        nanny = cluster.workers[0]
        first = nanny.pid
        os.kill(first, signal.SIGKILL)
        while nanny.pid in (None, first):
            time.sleep(0.001)
        time.sleep(0.5)
        os.kill(nanny.pid, signal.SIGKILL)
        time.sleep(3)
        began = time.monotonic()
    assert time.monotonic() - began < 30
""")


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_detecting_gpus_starts_no_cuda_and_loads_no_driver(fresh):
    fresh("""
import pathlib
import torch
import dask.dataframe  # where cupy is installed Dask takes it in, and that may load the driver

def driver():
    return "libcuda.so" in pathlib.Path("/proc/self/maps").read_text()

before = driver()
import dask_aesthetic
from dask_aesthetic.cluster import local_cluster, visible_gpus
visible_gpus()
local_cluster("cpu", n_workers=0, dashboard_address=":0").close()
assert driver() == before
assert not torch.cuda.is_initialized()
""")
