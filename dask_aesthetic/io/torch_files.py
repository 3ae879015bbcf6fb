"""Matrices of embeddings in .pt files: torch maps their tensors to memory and runs no code of the file."""

from __future__ import annotations

import pickle
import warnings
from typing import Any

import numpy as np
import torch
import xxhash

from dask_aesthetic.embeddings.axes import flat_shape
from dask_aesthetic.errors import InputError, first_line
from dask_aesthetic.io.matrix import Matrix, choose_key, name_of
from dask_aesthetic.io.storage import File

SUFFIXES = (".pt", ".pth")
ROWS = 4096  # That are digested at a time.
_DTYPES = {
    getattr(torch, name): name
    for name in ("float16", "bfloat16", "float32", "float64", "int8", "uint8", "int16", "int32", "int64")
}


class TorchMatrix(Matrix):
    """A tensor of a .pt file; where it lies in the file torch does not say, so rows are digested as they are read."""

    @property
    def is_plain(self) -> bool:
        return False

    def digest(self, start: int, stop: int) -> str:
        rows, state = self._open(), xxhash.xxh3_128()
        for at in range(start, stop, ROWS):
            state.update(np.ascontiguousarray(rows[at : min(at + ROWS, stop)]).data)
        return state.hexdigest()

    def _find_again(self) -> Matrix:
        return open_torch(self.file, self.key)

    def _open(self) -> np.ndarray:
        self.file.check_size()
        return _rows(_load(self.file, self.key)[1], self.where)


def open_torch(file: File, key: str | None = None) -> TorchMatrix:
    """Header of the tensor of a .pt file, or of the tensor of a name in its dict of tensors.

    Raises
    ------
    InputError
        The file is damaged, missing or remote, asks to run code, has no such tensor, or the tensor is no matrix.
    """
    key, tensor = _load(file, key)
    rows = _rows(tensor, name_of(file, key))
    return TorchMatrix(file, key, len(rows), rows.shape[1], _DTYPES[tensor.dtype], False, 0, None)


def _load(file: File, key: str | None) -> tuple[str | None, torch.Tensor]:
    if not file.is_local:
        raise InputError(
            f"expected a local .pt file, which torch maps to memory, got {file.path}: copy it, or save the tensor as "
            ".safetensors, which is read by parts"
        )
    file.refuse_pipe()
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # torch warns before it refuses.
            found = torch.load(file.path, map_location="cpu", weights_only=True, mmap=True)
    except pickle.UnpicklingError as error:
        raise InputError(
            f"expected tensors alone in {file.path}, got a file that asks to run code when loaded, or is damaged; it "
            "was not run. Save the tensor by torch.save, or as .safetensors"
        ) from error
    except Exception as error:  # Damaged pickles raise errors of any kind.
        raise InputError(
            f"expected a whole .pt file, as torch.save writes it since torch 1.6, got {file.path}: {first_line(error)}"
        ) from error
    if isinstance(found, torch.Tensor):
        if key is not None:
            raise InputError(f"expected a tensor {key!r} in {file.path}, got one without a name: leave matrix_key out")
        return None, found
    if not isinstance(found, dict):
        raise InputError(f"expected a tensor or a dict of tensors in {file.path}, got {type(found).__name__}")
    tensors = {name: one for name, one in found.items() if isinstance(name, str) and isinstance(one, torch.Tensor)}
    key = choose_key(sorted(tensors), key, file.path)
    return key, tensors[key]


def _rows(tensor: torch.Tensor, where: str) -> np.ndarray:
    """Matrix of the tensor's memory; bfloat16 as its bits."""
    if tensor.layout != torch.strided or tensor.dtype not in _DTYPES or tensor.device.type != "cpu":
        raise InputError(
            f"expected a dense tensor of floats or integers in {where}, got {tensor.dtype}, {tensor.layout} on "
            f"{tensor.device}: save it as float32"
        )
    shape = tuple(tensor.shape)
    if len(shape) > 2 and len(flat_shape(shape[1:])) == 1:
        shape = (shape[0], *flat_shape(shape[1:]))
    if len(shape) != 2 or not shape[1]:
        raise InputError(f"expected a matrix (rows, width) in {where}, got shape {shape}: reshape it")
    if tensor.numel() * tensor.itemsize > tensor.untyped_storage().nbytes():  # As of expand().
        raise InputError(
            f"expected a tensor with memory of its own in {where}, got a view that repeats rows: clone() it"
        )
    tensor = tensor.detach()
    bits: Any = tensor.view(torch.int16) if tensor.dtype == torch.bfloat16 else tensor
    try:
        rows: np.ndarray = bits.numpy().reshape(shape)
    except RuntimeError as error:
        raise InputError(f"expected a dense tensor in {where}, got {first_line(error)}") from error
    return rows.view(np.uint16) if tensor.dtype == torch.bfloat16 else rows
