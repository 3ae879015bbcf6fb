"""Matrices of embeddings in .safetensors files: the header says where a tensor lies, and rows are read from there."""

from __future__ import annotations

import json
from math import prod
from typing import Any

from safetensors import SafetensorError, safe_open

from dask_aesthetic.embeddings.axes import flat_shape
from dask_aesthetic.embeddings.stored import stored_dtype
from dask_aesthetic.errors import InputError
from dask_aesthetic.io.matrix import Matrix, choose_key, name_of
from dask_aesthetic.io.storage import File

MOST_HEADER = 100_000_000  # The limit of safetensors itself.
_DTYPES = {
    "F16": "float16",
    "BF16": "bfloat16",
    "F32": "float32",
    "F64": "float64",
    **{f"{sign}{bits}": f"{name}{bits}" for sign, name in (("I", "int"), ("U", "uint")) for bits in (8, 16, 32, 64)},
}


class SafetensorsMatrix(Matrix):
    """A tensor of a .safetensors file."""

    def _find_again(self) -> Matrix:
        return open_safetensors(self.file, self.key)


def open_safetensors(file: File, key: str | None = None) -> SafetensorsMatrix:
    """Header of the matrix of a name in a .safetensors file; without a name, of the only one.

    Raises
    ------
    InputError
        The file is damaged or missing, has no such tensor, or the tensor is no matrix of numbers.
    """
    tensors, data = _read_header(file)
    key = choose_key(sorted(tensors), key, file.path)
    where = name_of(file, key)
    try:
        entry = tensors[key]
        dtype, shape, (begin, end) = (
            entry["dtype"],
            tuple(map(_size, entry["shape"])),
            map(_size, entry["data_offsets"]),
        )
    except (KeyError, TypeError, ValueError) as error:
        raise InputError(f"expected a whole .safetensors file, got {where}: {error!r}") from error
    if dtype not in _DTYPES:
        raise InputError(f"expected floats or integers in {where}, got {dtype}: save it as float32")
    name = _DTYPES[dtype]
    if len(shape) > 2 and len(flat_shape(shape[1:])) == 1:
        shape = (shape[0], *flat_shape(shape[1:]))
    if len(shape) != 2 or not shape[1]:
        raise InputError(f"expected a matrix (rows, width) in {where}, got shape {shape}: reshape it")
    if end - begin != prod(shape) * stored_dtype(name).itemsize or data + end > file.size:
        raise InputError(
            f"expected {shape[0]:,} x {shape[1]} {name} in {where}, got {end - begin:,} bytes: it is damaged"
        )
    return SafetensorsMatrix(file, key, shape[0], shape[1], name, False, data + begin, None)


def _read_header(file: File) -> tuple[dict[str, Any], int]:
    """Tensors by name, as the header describes them, and the position of the data."""
    if file.is_local:  # The library refuses what the header does not say right, such as tensors that overlap.
        file.refuse_pipe()
        try:
            with safe_open(file.path, "np"):
                pass
        except (SafetensorError, OSError) as error:
            raise InputError(f"expected a whole .safetensors file, got {file.path}: {error}") from error
    length = int.from_bytes(file.read(0, min(8, file.size)), "little")
    if not 2 <= length <= min(MOST_HEADER, file.size - 8):
        raise InputError(f"expected a whole .safetensors file, got {file.path}, whose header does not end in it")
    try:
        header = json.loads(file.read(8, length))
    except (ValueError, RecursionError) as error:
        raise InputError(f"expected a .safetensors file with a header of JSON, got {file.path}: {error}") from error
    if not isinstance(header, dict):
        raise InputError(f"expected a .safetensors file with a header of tensors, got {file.path}")
    return {name: entry for name, entry in header.items() if name != "__metadata__"}, 8 + length


def _size(value: Any) -> int:
    if not isinstance(value, int) or isinstance(value, bool) or value < 0:
        raise ValueError(f"{value!r} is no size")
    return value
