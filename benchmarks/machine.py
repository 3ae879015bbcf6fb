"""Description of the machine and libraries of a benchmark."""

from __future__ import annotations

import os
import platform
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import torch

import dask_aesthetic


def cpu_name() -> str:
    """The processor as Linux names it."""
    info = Path("/proc/cpuinfo")
    names = (
        [line.split(":")[1].strip() for line in info.read_text().splitlines() if "model name" in line]
        if info.exists()
        else []
    )
    return names[0] if names else platform.processor()


def machine() -> str:
    """The machine and the libraries, on one line."""
    libraries = ", ".join(f"{module.__name__} {module.__version__}" for module in (np, pd, pa, torch, dask_aesthetic))
    where = f"{cpu_name()}, {os.cpu_count()} CPUs, {platform.system()}"
    if torch.cuda.is_available():
        gpu = torch.cuda.get_device_properties(0)
        where += f", {gpu.name} of {gpu.total_memory / 2**30:.0f} GiB with CUDA {torch.version.cuda}"
    return f"{where}; Python {platform.python_version()}, {libraries}"
