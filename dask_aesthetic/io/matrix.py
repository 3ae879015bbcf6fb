"""A matrix of embeddings in a file, whatever its format: where its rows lie, and reading them, as lists of floats."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, Self

import numpy as np
import pyarrow as pa

from dask_aesthetic.embeddings.stored import BFLOAT16, check_held, floats_of, stored_dtype, value_type
from dask_aesthetic.errors import ArgumentError, InputError
from dask_aesthetic.io.read_ahead import ReadAhead
from dask_aesthetic.io.storage import File


@dataclass(frozen=True)
class Matrix(ABC):
    """Header of a matrix on disk, one embedding per row.

    Attributes
    ----------
    file : File
    key : str or None
        Name of the matrix in a file that holds several; None where a file is one matrix.
    rows, width : int
    dtype : str
        "float16", "bfloat16", "float32", "float64", or of integers.
    fortran : bool
        Whether the matrix is stored column by column.
    offset : int
        Byte offset of the data in the file, compressed or not.
    compressed_size : int or None
        Bytes of the compressed data; None if the data is not compressed.
    zero_point : int or None
        What is subtracted from 8-bit integers; None where numbers are the values themselves.
    """

    file: File
    key: str | None
    rows: int
    width: int
    dtype: str
    fortran: bool
    offset: int
    compressed_size: int | None
    zero_point: int | None = None

    @property
    def type(self) -> pa.DataType:
        """Arrow type of a column of the rows: a fixed-size list."""
        return pa.list_(value_type(self.dtype, self.zero_point), self.width)

    @property
    def where(self) -> str:
        """Name for error messages."""
        return name_of(self.file, self.key)

    @property
    def has_row_ranges(self) -> bool:
        """Whether a range of rows can be read without the rest."""
        return self.compressed_size is None and (self.file.is_local or not self.fortran)

    @property
    def is_plain(self) -> bool:
        """Whether the bytes of the file are those of the lists, one after another."""
        return self.compressed_size is None and not self.fortran and self.zero_point is None and self.dtype != BFLOAT16

    def range_of(self, start: int, stop: int) -> tuple[int, int]:
        """Byte range, as (begin, length), that rows from `start` to `stop` depend on."""
        if self.compressed_size is not None:
            return self.offset, self.compressed_size
        row = self.width * stored_dtype(self.dtype).itemsize
        first, last = (0, self.rows) if self.fortran else (start, stop)
        return self.offset + first * row, (last - first) * row

    def digest(self, start: int, stop: int) -> str:
        """Content hash, in hexadecimal, of what rows from `start` to `stop` depend on.

        Raises
        ------
        InputError
            The file is damaged.
        """
        return self.file.digest([self.range_of(start, stop)])

    def with_zero_point(self, zero_point: int | None) -> Self:
        """The same matrix with a zero point.

        Raises
        ------
        InputError
            The matrix holds uint8, and there is no zero point.
        ArgumentError
            There is one, and the matrix holds other numbers than 8-bit integers, or such as cannot be it.
        """
        if zero_point is None and self.dtype == "uint8":
            raise InputError(
                f"expected floats in {self.where}, got uint8, which stand for floats by a zero point that the file "
                "does not say: embedding_zero_point=128 (--zero-point 128), or 0 where the numbers are the values "
                "themselves"
            )
        if zero_point is not None and self.dtype not in ("uint8", "int8"):
            raise ArgumentError(
                f"expected embedding_zero_point (--zero-point) with uint8 or int8, got {self.dtype} in {self.where}: "
                "leave it out"
            )
        check_held(self.dtype, zero_point, f" for {self.where}")
        return replace(self, zero_point=zero_point)

    def read(self, start: int, stop: int) -> pa.FixedSizeListArray:
        """Rows from `start` to `stop` as an Arrow array; of a local file without a copy, if it holds plain floats.

        Raises
        ------
        InputError
            The file has changed since it was found.
        """
        with self.reader(start, stop) as read:
            return read(start, stop)

    @contextmanager
    def reader(self, first: int, last: int) -> Iterator[Callable[[int, int], pa.FixedSizeListArray]]:
        """Context manager of a function that reads rows from a start to a stop, in order, from row `first` to `last`.

        The rows of a remote file are fetched ahead.
        """
        found = self._find_again()
        if replace(found, file=self.file, zero_point=self.zero_point) != self:
            raise InputError(
                f"expected {self.rows:,} x {self.width} {self.dtype} in {self.where} as when found, got "
                f"{found.rows:,} x {found.width} {found.dtype}: start again"
            )
        if not self.file.is_local and self.has_row_ranges:
            with ReadAhead(self.file) as stream:
                stream.plan([self.range_of(first, last)])
                yield partial(self._read_stream, stream)
            return
        matrix = self._open()

        def read(start: int, stop: int) -> pa.FixedSizeListArray:
            self.file.check_size()  # Memory that is mapped beyond the end of a file ends the process.
            return self._lists(matrix[start:stop])

        yield read

    def _lists(self, rows: np.ndarray) -> pa.FixedSizeListArray:
        return as_lists(floats_of(rows, self.dtype, self.zero_point))

    def _read_stream(self, stream: ReadAhead, start: int, stop: int) -> pa.FixedSizeListArray:
        begin, length = self.range_of(start, stop)
        stream.seek(begin)
        return self._lists(np.frombuffer(stream.read(length), stored_dtype(self.dtype)).reshape(-1, self.width))

    def _open(self) -> np.ndarray:
        """All rows, as they are stored; of a local file mapped to memory."""
        dtype, shape = stored_dtype(self.dtype), (self.rows, self.width)
        order: Any = "F" if self.fortran else "C"
        if not self.rows:
            return np.empty(shape, dtype)
        if self.file.is_local:
            self.file.check_size()
            return np.asarray(np.memmap(self.file.path, dtype, "r", self.offset, shape, order))
        return np.frombuffer(self.file.read(*self.range_of(0, self.rows)), dtype).reshape(shape, order=order)

    @abstractmethod
    def _find_again(self) -> Matrix:
        """The matrix as the file now has it."""


def as_lists(rows: np.ndarray) -> pa.FixedSizeListArray:
    """Rows as an Arrow array of fixed-size lists, without a copy where possible."""
    # Fortran order and unaligned zip members need a copy.
    aligned = np.require(rows, requirements=["C", "A"])
    return pa.FixedSizeListArray.from_arrays(pa.array(aligned.reshape(-1)), rows.shape[1])


def check_matrices(matrices: Sequence[Matrix]) -> None:
    """Raise InputError unless all matrices have the same width and dtype."""
    first = matrices[0]
    for other in matrices:
        if (other.width, other.dtype) != (first.width, first.dtype):
            raise InputError(
                "expected embeddings of one width and type in all shards, got "
                f"{first.width} {first.dtype} in {first.where} and {other.width} {other.dtype} in {other.where}"
            )


def choose_key(names: Sequence[str], key: str | None, where: str) -> str:
    """Name of the one matrix of a file to read: the requested one, or the only one.

    Raises
    ------
    InputError
        There is none of the name, or there are several and none is requested.
    """
    shown = ", ".join(map(repr, names[:10])) + (f" and {len(names) - 10:,} more" if len(names) > 10 else "")
    if key is None and len(names) == 1:
        return names[0]
    if key is None:
        raise InputError(
            f"expected one tensor in {where}, got {shown or 'none'}: "
            + ("choose one by its name, matrix_key= (--matrix-key)" if names else "save a matrix of embeddings")
        )
    if key not in names:
        raise InputError(f"expected a tensor {key!r} in {where}, got {shown or 'none'}")
    return key


def name_of(file: File, key: str | None) -> str:
    """Name of a matrix for error messages."""
    return file.path if key is None else f"{key!r} of {file.path}"
