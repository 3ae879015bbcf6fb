"""cuDF columns whose memory is the host's, for tests of the real cuDF without a GPU: none of libcudf's kernels may run.

``use_host_memory(monkeypatch)`` lets cuDF take arrays of the host for those of a device, and the backend CPU tensors.
"""

from __future__ import annotations

import ctypes
from contextlib import nullcontext
from types import SimpleNamespace

import cudf
import numpy as np
import pylibcudf as plc
import pytest
import torch
from cudf.core.buffer import spill_manager, spillable_buffer
from cudf.core.column.column import ColumnBase

from dask_aesthetic.embeddings import cudf as backend
from dask_aesthetic.images import cudf as images

TYPES = {
    "i1": "INT8",
    "u2": "UINT16",
    "i4": "INT32",
    "i8": "INT64",
    "u1": "UINT8",
    "f4": "FLOAT32",
    "f8": "FLOAT64",
    "b1": "BOOL8",
}


class Memory:
    """An array of the host that looks like one of a device."""

    def __init__(self, array: np.ndarray) -> None:
        self.array, self.ptr, self.size = array, array.ctypes.data, array.nbytes
        self.__cuda_array_interface__ = {
            "data": (self.ptr, False),
            "shape": array.shape,
            "strides": None,
            "typestr": array.dtype.str,
            "version": 3,
        }


def column(values: np.ndarray, nulls: int = 0) -> plc.Column:
    """Column of values, of which the first `nulls` are null."""
    dtype = plc.DataType(getattr(plc.TypeId, TYPES[values.dtype.str[1:]]))
    return plc.Column(dtype, values.size, _bytes(values), _mask(values.size, nulls), nulls, 0, [])


def lists(
    values: np.ndarray | plc.Column,
    lengths: np.ndarray,
    rows: slice = slice(None),
    nulls: int = 0,
    null_leaves: int = 0,
) -> plc.Column:
    """Slice of a column of lists, as libcudf makes it: the same children, and an offset; lists of lists by a column."""
    offsets = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int32)
    start, stop, _ = rows.indices(len(lengths))
    leaves = column(values.reshape(-1), null_leaves) if isinstance(values, np.ndarray) else values
    children = [column(offsets), leaves]
    mask = _mask(len(lengths), nulls)
    return plc.Column(plc.DataType(plc.TypeId.LIST), stop - start, None, mask, nulls, start, children)


def use_host_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    """Replace what asks for a device."""
    monkeypatch.setattr(ColumnBase, "from_cuda_array_interface", staticmethod(_from_array))
    monkeypatch.setattr(backend, "_tensor", _tensor)
    monkeypatch.setattr(backend, "_array", lambda values: Memory(values.numpy()))
    monkeypatch.setattr(backend, "stream", nullcontext)
    monkeypatch.setattr(images, "DEVICE", "cpu")
    monkeypatch.setattr(images, "_span", lambda values: _bytes(values.numpy()))
    monkeypatch.setattr(images, "_wait", lambda: None)


def use_spilling(monkeypatch: pytest.MonkeyPatch) -> spill_manager.SpillManager:
    """Let cuDF spill columns that are made from now on; what they leave behind becomes NaN."""
    manager = spill_manager.SpillManager()
    monkeypatch.setattr(spill_manager, "_global_manager", manager)
    monkeypatch.setattr(spill_manager, "_global_manager_uninitialized", False)
    buffers = SimpleNamespace(copy_ptr_to_host=_spill)
    device = SimpleNamespace(to_device=lambda spilled: Memory(np.frombuffer(spilled, np.uint8).copy()))
    rmm = SimpleNamespace(pylibrmm=SimpleNamespace(device_buffer=buffers), DeviceBuffer=device)
    monkeypatch.setattr(spillable_buffer, "rmm", rmm)
    return manager


def _spill(pointer: int, host: memoryview) -> None:
    ctypes.memmove(np.frombuffer(host, np.uint8).ctypes.data, pointer, len(host))
    ctypes.memset(pointer, 0xFF, len(host))


def array_of(series: cudf.Series) -> np.ndarray:
    """Values of a column without nulls."""
    return values_of(series._column.plc_column)


def values_of(column: plc.Column) -> np.ndarray:
    """Values of a column of a fixed-width type, whether null or not."""
    return backend._memory(column).numpy() if column.size() else np.empty(0)


def mask_of(column: plc.Column) -> np.ndarray:
    """Which rows of a column with nulls are not null."""
    mask = column.null_mask()
    assert mask.size % 64 == 0  # As libcudf allocates them.
    bits = np.frombuffer((ctypes.c_char * mask.size).from_address(mask.ptr), np.uint8)
    return np.unpackbits(bits, count=column.size(), bitorder="little").astype(bool)


def _from_array(array: Memory) -> ColumnBase:
    return ColumnBase.create(column(array.array), array.array.dtype)


def _tensor(array: object) -> torch.Tensor:
    interface = array.__cuda_array_interface__
    (size,), dtype = interface["shape"], np.dtype(interface["typestr"])
    memory = (ctypes.c_char * (size * dtype.itemsize)).from_address(interface["data"][0])
    return torch.from_numpy(np.frombuffer(memory, dtype))


def _bytes(values: np.ndarray) -> Memory:
    return Memory(np.ascontiguousarray(values).reshape(-1).view(np.uint8))


def _mask(size: int, nulls: int) -> Memory | None:
    return Memory(np.packbits(np.arange(-(-size // 512) * 512) >= nulls, bitorder="little")) if nulls else None
