"""GPU of this process: processes of a machine that all see all of its GPUs take different ones."""

from __future__ import annotations

import socket
import sys
from functools import cache

import torch

MOST_PER_GPU = 64  # Processes that are counted on a GPU.
_held: list[socket.socket] = []


@cache
def own_gpu() -> torch.device:
    """GPU on which this process embeds for as long as it runs.

    It is the current one if no other is visible, or if RAPIDS manages the devices. Else it is the one that the fewest
    processes of this machine have taken here, the current one first: the workers of a plain Dask cluster, and processes
    that share a job by ``--part``, all see all GPUs. Not for several threads at a time.
    """
    current, count = torch.cuda.current_device(), torch.cuda.device_count()
    if count > 1 and not {"dask_cuda", "cudf"} & set(sys.modules):
        in_order = [(current + step) % count for step in range(count)]
        names = {device: torch.cuda.get_device_properties(device).uuid for device in in_order}
        for turn in range(MOST_PER_GPU):
            for device in in_order:
                if _take(f"dask-aesthetic-{names[device]}-{turn}"):
                    return torch.device("cuda", device)
    return torch.device("cuda", current)


def _take(name: str) -> bool:
    """Whether this process is the only one of its machine to hold a name; it does until it ends, however it ends."""
    if sys.platform != "linux":
        return False
    holder = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    try:
        holder.bind(f"\0{name}")  # In Linux's abstract namespace: no file is made, and none is left behind.
    except OSError:
        holder.close()
        return False
    _held.append(holder)
    return True
