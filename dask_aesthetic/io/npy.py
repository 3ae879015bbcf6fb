"""Matrices of embeddings in .npy and .npz files."""

from __future__ import annotations

import io
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from functools import lru_cache
from threading import Lock
from typing import IO

import numpy as np

from dask_aesthetic.embeddings.axes import flat_shape
from dask_aesthetic.errors import InputError
from dask_aesthetic.io.matrix import Matrix, name_of
from dask_aesthetic.io.storage import BLOCK, File

_HEADERS = {(1, 0): np.lib.format.read_array_header_1_0, (2, 0): np.lib.format.read_array_header_2_0}
# zipfile raises RuntimeError for encryption and for unknown compressions.
_DAMAGED = (ValueError, OSError, EOFError, RuntimeError, zipfile.BadZipFile, zlib.error)
_PARSING = Lock()  # numpy parses headers by `ast`, which is not thread-safe before Python 3.12.
_END_RECORD = 22  # Bytes at the end of a zip file before its comment.
_CHECKED = 1 << 20  # Bytes that are compared with a checksum at a time.
_LOCAL_HEADER = 30  # Bytes before the name of a zip member; they end with the lengths of name and extra field.


class NpyMatrix(Matrix):
    """A matrix of an .npy or .npz file."""

    def _find_again(self) -> Matrix:
        return open_matrix(self.file, self.key)

    def _open(self) -> np.ndarray:
        if self.rows and self.compressed_size is not None:
            with (
                _reading(self.where),
                self.file.open(BLOCK) as file,
                zipfile.ZipFile(file) as archive,
                archive.open(f"{self.key}.npy") as stream,
            ):
                matrix: np.ndarray = np.lib.format.read_array(stream, allow_pickle=False)
                return matrix.reshape(self.rows, self.width)
        if self.rows and self.file.is_local and self.key is not None:
            _check_member(self.file, self.key)
        return super()._open()


def open_matrix(file: File, key: str | None = None) -> Matrix:
    """Read the header of an .npy file, or of one matrix of an .npz file.

    Raises
    ------
    InputError
        The file is damaged or missing, or holds no matrix of floats.
    """
    with _reading(name_of(file, key)), file.open() as stream:
        if key is None:
            size = stream.seek(0, io.SEEK_END)
            stream.seek(0)
            return _parse_header(file, None, stream, size, 0, None)
        with zipfile.ZipFile(stream) as archive:
            _check_whole(file, stream, archive)
            names = [name.removesuffix(".npy") for name in archive.namelist() if name.endswith(".npy")]
            if key not in names:
                raise InputError(f"expected a matrix {key!r} in {file.path}, got {', '.join(names) or 'none'}")
            if names.count(key) > 1:
                raise InputError(
                    f"expected one matrix {key!r} in {file.path}, got {names.count(key)} members of that name: write "
                    "each matrix under a name, or into a file, of its own"
                )
            info = archive.getinfo(f"{key}.npy")
            begin = _member_offset(stream, info)
            compressed_size = None if info.compress_type == zipfile.ZIP_STORED else info.compress_size
            with archive.open(info) as member:
                return _parse_header(file, key, member, info.file_size, begin, compressed_size)


def _parse_header(
    file: File, key: str | None, stream: IO[bytes], size: int, begin: int, compressed_size: int | None
) -> Matrix:
    where = name_of(file, key)
    version = np.lib.format.read_magic(stream)
    if version not in _HEADERS:
        raise InputError(f"expected a matrix of floats in {where}, got a structured .npy of version {version}")
    with _PARSING:
        shape, fortran, dtype = _HEADERS[version](stream)
    if dtype.hasobject:
        raise InputError(f"expected floats in {where}, got pickled objects, which are not loaded: save it as float32")
    if dtype.kind not in "fiu" or dtype.itemsize > 8 or not dtype.isnative:
        raise InputError(
            f"expected float16, float32, float64 or integers in {where}, got {dtype}: save it as float32 in the byte "
            "order of this machine, as by numpy.save(path, matrix.astype('float32'))"
        )
    if len(shape) > 2 and len(flat_shape(shape[1:])) == 1:
        shape = (shape[0], *flat_shape(shape[1:]))
    if len(shape) != 2 or not shape[1]:
        raise InputError(
            f"expected a matrix (rows, width) in {where}, got shape {shape}: save it by numpy.save after a reshape"
        )
    head = stream.tell()
    more = size - head - shape[0] * shape[1] * dtype.itemsize
    if more < 0:
        raise InputError(f"expected {shape[0]:,} x {shape[1]} {dtype} in {where}, got a truncated file")
    if more:
        raise InputError(
            f"expected {where} to end after its matrix of {shape[0]:,} x {shape[1]} {dtype}, got {more:,} more bytes, "
            "as several numpy.save into one open file leave: write each matrix into a file of its own"
        )
    offset = begin + head if compressed_size is None else begin
    return NpyMatrix(file, key, shape[0], shape[1], dtype.name, fortran, offset, compressed_size)


@lru_cache(maxsize=1024)
def _check_member(file: File, key: str) -> None:
    """Raise InputError unless a member of a local .npz file matches its checksum; once a process, as it is read whole.

    zipfile compares compressed members as it reads them. Others are mapped to memory, past it.
    """
    with (
        _reading(name_of(file, key)),
        file.open(BLOCK) as stream,
        zipfile.ZipFile(stream) as archive,
        archive.open(f"{key}.npy") as member,
    ):
        while member.read(_CHECKED):
            pass


def _check_whole(file: File, stream: IO[bytes], archive: zipfile.ZipFile) -> None:
    """Raise InputError for bytes before or after an archive, such as a second one, which zipfile skips."""
    begin = min((info.header_offset for info in archive.infolist()), default=0)
    stream.seek(-(_END_RECORD + len(archive.comment)), io.SEEK_END)
    if begin or stream.read(4) != b"PK\x05\x06":
        raise InputError(
            f"expected one .npz file in {file.path}, got more bytes before or after it, as several files one after "
            "another leave: write each into a file of its own"
        )


def _member_offset(stream: IO[bytes], info: zipfile.ZipInfo) -> int:
    stream.seek(info.header_offset)
    header = stream.read(_LOCAL_HEADER)
    name, extra = (int.from_bytes(header[at : at + 2], "little") for at in (26, 28))
    return info.header_offset + _LOCAL_HEADER + name + extra


@contextmanager
def _reading(where: str) -> Iterator[None]:
    try:
        yield
    except InputError:
        raise
    except _DAMAGED as error:
        raise InputError(f"expected a whole .npy or .npz file of floats, got {where}: {error}") from error
