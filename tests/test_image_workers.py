"""Images on several GPUs, by stand-ins: a GPU for each worker, whoever starts it."""

from __future__ import annotations

import os
import sys
from types import ModuleType, SimpleNamespace

import pytest
import torch

from dask_aesthetic.cli import job
from dask_aesthetic.cluster import local_cluster, usable_gpus
from dask_aesthetic.errors import ArgumentError, MissingDependencyError
from dask_aesthetic.images import own_gpu as claims
from dask_aesthetic.jobs.image_scoring import ImageSettings
from helpers import stand_in_gpus


@pytest.fixture
def eight(monkeypatch):
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    stand_in_gpus.nvml(monkeypatch)
    return monkeypatch


@pytest.fixture
def machine(monkeypatch):
    """Claims of a process on the GPUs of a machine of its own, which end with the test."""
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    machine = stand_in_gpus.a_machine()
    stand_in_gpus.cuda(machine, monkeypatch)
    claims.own_gpu.cache_clear()
    yield machine
    release()


def release() -> None:
    claims.own_gpu.cache_clear()
    while claims._held:
        claims._held.pop().close()


def worker_gpu(machine: str) -> int:
    """In a worker: the number of the device that it takes."""
    with pytest.MonkeyPatch.context() as patch:
        stand_in_gpus.cuda(machine, patch)
        return claims.own_gpu().index


@pytest.mark.parametrize("installed", [True, False])
@pytest.mark.parametrize(("visible", "count"), [(None, 8), ("3,5", 2), ("", 0)])
def test_images_need_gpus_and_torch_alone(eight, installed, visible, count):
    if visible is not None:
        eight.setenv("CUDA_VISIBLE_DEVICES", visible)
    stand_in_gpus.nvml(eight, installed=installed)
    assert (usable_gpus(embed=True), usable_gpus()) == (count, 0)


def test_the_command_starts_a_worker_per_gpu_for_images_and_further_workers_share_them(eight, capfd):
    eight.setenv("CUDA_VISIBLE_DEVICES", "6,1")
    settings = ImageSettings.__new__(ImageSettings)  # Which kind they are is all that is asked.
    plan = SimpleNamespace(settings=settings, todo=[0])
    with job._client(plan, None, None, None, True) as client:
        assert len(client.cluster.workers) == 2
        client.cluster.scale(3)
        client.wait_for_workers(3)
        visible = client.run(lambda dask_worker: (dask_worker.name, os.getenv("CUDA_VISIBLE_DEVICES")))
        assert dict(visible.values()) == {0: "6", 1: "1", 2: "6"}
        assert set(client.nthreads().values()) == {2}
    assert "local cluster: 2 GPU workers, as NVML sees 2 GPUs (dashboard http" in capfd.readouterr().err
    eight.setenv("CUDA_VISIBLE_DEVICES", "6")
    with job._client(plan, None, None, None, True) as client:
        assert client is None


def test_workers_that_see_all_gpus_take_different_ones(cluster, machine):
    try:
        assert claims.own_gpu() == torch.device("cuda", 0)
        found = cluster.run(worker_gpu, machine)
        assert sorted(found.values()) == [1, 2]
        assert cluster.run(worker_gpu, machine) == found
    finally:
        cluster.run(release)


def test_processes_beyond_the_number_of_gpus_share_them_evenly(machine, monkeypatch):
    def taken() -> int:
        claims.own_gpu.cache_clear()
        return claims.own_gpu().index

    monkeypatch.setattr(torch.cuda, "current_device", lambda: 2)
    order = [2, 3, 4, 5, 6, 7, 0, 1]
    assert [taken() for _ in range(20)] == [*order, *order, *order[:4]]


def test_a_process_that_ends_leaves_its_gpu_to_the_next(machine, interpreter):
    code = f"""
import pytest
from helpers import stand_in_gpus
stand_in_gpus.cuda({machine!r}, pytest.MonkeyPatch())
from dask_aesthetic.images.own_gpu import own_gpu
print(own_gpu())
"""
    env = {**os.environ, "PYTHONPATH": os.pathsep.join(path for path in sys.path if path)}
    done = interpreter.run(code, env=env)
    assert (done.returncode, done.stdout) == (0, "cuda:0\n"), done.stderr
    assert claims.own_gpu() == torch.device("cuda", 0)


def test_where_rapids_manages_the_devices_the_current_one_is_taken(machine, monkeypatch):
    assert claims._take(f"dask-aesthetic-{machine}-0-0")
    monkeypatch.setitem(sys.modules, "dask_cuda", ModuleType("dask_cuda"))
    assert claims.own_gpu() == torch.device("cuda", 0)


def test_a_cluster_on_gpus_for_images_takes_no_rapids_but_gpus(eight):
    with pytest.raises(MissingDependencyError, match=r"dask-aesthetic\[cuda13\]"):
        local_cluster("gpu")
    eight.setenv("CUDA_VISIBLE_DEVICES", "8")
    with pytest.raises(ArgumentError, match="got none that NVML and CUDA_VISIBLE_DEVICES show"):
        local_cluster("gpu", embed=True)
    eight.setenv("CUDA_VISIBLE_DEVICES", "1")
    eight.setattr(torch.version, "cuda", None)
    with pytest.raises(ArgumentError, match="expected a torch built for CUDA"):
        local_cluster("gpu", embed=True)
