"""Stand-ins for the GPUs of a machine: what NVML and torch say of them, without any."""

from __future__ import annotations

import os
import sys
from importlib.machinery import ModuleSpec
from types import ModuleType, SimpleNamespace
from uuid import uuid4

import pytest
import torch

COUNT = 8


def nvml(patch: pytest.MonkeyPatch, *, installed: bool = True) -> None:
    """Let NVML, by its package or by torch alone, count the GPUs in this process. RAPIDS is not installed."""
    module = ModuleType("pynvml")
    module.__spec__ = ModuleSpec("pynvml", None)
    module.NVMLError = RuntimeError
    module.nvmlInit = lambda: None
    module.nvmlDeviceGetCount = lambda: COUNT
    patch.setitem(sys.modules, "pynvml", module if installed else None)
    for name in ("cudf", "dask_cudf", "dask_cuda", "cupy"):
        patch.setitem(sys.modules, name, None)
    patch.setattr(torch.version, "cuda", "13.0")
    patch.setattr(torch.cuda, "device_count", lambda: len(visible()))


def visible() -> list[str]:
    """GPUs that CUDA shows, by their numbers."""
    shown = os.environ.get("CUDA_VISIBLE_DEVICES", ",".join(map(str, range(COUNT))))
    return shown.split(",") if shown else []


def cuda(machine: str, patch: pytest.MonkeyPatch) -> None:
    """Let torch see GPUs in this process; those of another `machine` have other UUIDs."""
    patch.setattr(torch.cuda, "device_count", lambda: len(visible()))
    patch.setattr(torch.cuda, "current_device", lambda: 0)
    patch.setattr(torch.cuda, "get_device_properties", lambda at: SimpleNamespace(uuid=f"{machine}-{visible()[at]}"))


def a_machine() -> str:
    return uuid4().hex
