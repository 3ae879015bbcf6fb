"""Matrices of embeddings in .npy and .npz files: looked at by their headers, read by mapping them into memory."""

from __future__ import annotations

import zipfile
import zlib
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any

import numpy as np
import pyarrow as pa

from dask_aesthetic.errors import InputError

_HEADERS = {(1, 0): np.lib.format.read_array_header_1_0, (2, 0): np.lib.format.read_array_header_2_0}
# zipfile raises RuntimeError for encryption and for compressions it does not know.
_DAMAGED = (ValueError, OSError, EOFError, RuntimeError, zipfile.BadZipFile, zlib.error)
_LOCAL_HEADER = 30  # Bytes before the name of a zip member; the lengths of name and extra field are its last two.


@dataclass(frozen=True)
class Matrix:
    """A float matrix on disk, one embedding per row, as its header tells.

    Attributes
    ----------
    file : str
    key : str or None
        Its name in an .npz file; None for an .npy file.
    rows, width : int
    dtype : str
        "float16", "float32" or "float64".
    fortran : bool
        Whether it is stored column by column.
    offset : int or None
        Where its numbers begin in the file; None if they are compressed.
    modified : int
        The file's time stamp: a file that is written again gets other names in the graph.
    """

    file: str
    key: str | None
    rows: int
    width: int
    dtype: str
    fortran: bool
    offset: int | None
    modified: int = field(compare=False)

    @property
    def type(self) -> pa.DataType:
        """The Arrow type of a column of its rows."""
        return pa.list_(pa.from_numpy_dtype(np.dtype(self.dtype)), self.width)

    @property
    def where(self) -> str:
        """What to call it in an error."""
        return _where(self.file, self.key)

    def read(self, start: int, stop: int) -> pa.FixedSizeListArray:
        """Some of its rows as an Arrow array; they stay in the mapped file unless they are compressed.

        Raises
        ------
        InputError
            The file is no longer what it was when the frame was made.
        """
        found = open_matrix(self.file, self.key)
        if found != self:
            raise InputError(
                f"expected {self.rows:,} x {self.width} {self.dtype} in {self.where} as when the frame was made, "
                f"got {found.rows:,} x {found.width} {found.dtype}: make the frame again"
            )
        # Copies only what Arrow cannot take as it lies: Fortran order, or a zip member at an odd address.
        rows = np.require(self._open()[start:stop], requirements=["C", "A"])
        return pa.FixedSizeListArray.from_arrays(pa.array(rows.reshape(-1)), self.width)

    def _open(self) -> np.ndarray:
        if not self.rows:
            return np.empty((0, self.width), self.dtype)
        if self.offset is None:
            try:
                with zipfile.ZipFile(self.file) as archive, archive.open(f"{self.key}.npy") as stream:
                    matrix: np.ndarray = np.lib.format.read_array(stream, allow_pickle=False)
                    return matrix
            except _DAMAGED as error:
                raise _damaged(self.where, error) from error
        order: Any = "F" if self.fortran else "C"
        mapped = np.memmap(self.file, self.dtype, "r", self.offset, (self.rows, self.width), order)
        return np.asarray(mapped)


def open_matrix(file: str, key: str | None = None) -> Matrix:
    """Look at an .npy file, or at one matrix of an .npz file, without reading its numbers.

    Raises
    ------
    InputError
        It is damaged, not there, or no matrix of floats.
    """
    try:
        with Path(file).open("rb") as stream:
            if key is None:
                size = Path(file).stat().st_size
                return _described(file, None, stream, 0, size)
            with zipfile.ZipFile(stream) as archive:
                names = [name.removesuffix(".npy") for name in archive.namelist() if name.endswith(".npy")]
                if key not in names:
                    raise InputError(f"expected a matrix {key!r} in {file}, got {', '.join(names) or 'none'}")
                info = archive.getinfo(f"{key}.npy")
                begin = _stored_at(stream, info) if info.compress_type == zipfile.ZIP_STORED else None
                with archive.open(info) as member:
                    return _described(file, key, member, begin, info.file_size)
    except InputError:
        raise
    except _DAMAGED as error:
        raise _damaged(_where(file, key), error) from error


def _described(file: str, key: str | None, stream: IO[bytes], begin: int | None, size: int) -> Matrix:
    where = _where(file, key)
    version = np.lib.format.read_magic(stream)
    if version not in _HEADERS:
        raise InputError(f"expected a matrix of floats in {where}, got a structured .npy of version {version}")
    shape, fortran, dtype = _HEADERS[version](stream)
    if dtype.hasobject:
        raise InputError(f"expected floats in {where}, got pickled objects, which are not loaded: save it as float32")
    if dtype.kind != "f" or dtype.itemsize > 8 or not dtype.isnative:
        raise InputError(f"expected float16, float32 or float64 in {where}, got {dtype}")
    if len(shape) != 2 or not shape[1]:
        raise InputError(f"expected a matrix (rows, width) in {where}, got shape {shape}")
    head = stream.tell()
    if size - head < shape[0] * shape[1] * dtype.itemsize:
        raise InputError(f"expected {shape[0]:,} x {shape[1]} {dtype} in {where}, got a file that is cut off")
    offset = None if begin is None else begin + head
    return Matrix(file, key, shape[0], shape[1], dtype.name, fortran, offset, Path(file).stat().st_mtime_ns)


def _stored_at(stream: IO[bytes], info: zipfile.ZipInfo) -> int:
    stream.seek(info.header_offset)
    header = stream.read(_LOCAL_HEADER)
    name, extra = (int.from_bytes(header[at : at + 2], "little") for at in (26, 28))
    return info.header_offset + _LOCAL_HEADER + name + extra


def _damaged(where: str, error: Exception) -> InputError:
    return InputError(f"expected a whole .npy or .npz file of floats, got {where}: {error}")


def _where(file: str, key: str | None) -> str:
    return file if key is None else f"{key!r} of {file}"
