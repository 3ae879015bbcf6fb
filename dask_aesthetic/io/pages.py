"""Scores of a column of lists or of packed floats of a Parquet file, computed where the values lie in its pages.

It reads what it can prove, and nothing else: row groups whose rows all have the width, without nulls, in encodings and
codecs that are known here. pyarrow reads the others.
"""

from __future__ import annotations

import io
import sys
import threading
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, Protocol, TypeVar

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import torch

from dask_aesthetic.embeddings.axes import list_storage
from dask_aesthetic.embeddings.packed import is_plain_dtype
from dask_aesthetic.errors import InputError
from dask_aesthetic.io.column_chunks import check_column_chunk
from dask_aesthetic.io.read_ahead import ReadAhead
from dask_aesthetic.io.storage import Digests, File
from dask_aesthetic.io.xxh3 import Xxh3
from dask_aesthetic.kernels import get_parquet_pages

BLOCK = 1 << 22  # Bytes read at a time: they are still in cache when they are scored.
OPENED = 1 << 21  # Bytes of a page; larger ones take memory of their own.
SCRATCH = 1 << 21
ROWS = 1 << 17  # Rows of a page above which it is declined; DuckDB writes 122,880 rows to a page if they are short.
MOST_PAGE = 1 << 27  # Bytes of a page above which it is declined.
COLD_ROWS = 4_000_000  # Rows of a process that pyarrow reads in about the time that compiling takes.


class RowKernel(Protocol):
    """Computes something of rows, which begin at addresses and lie there for the time of the call.

    Attributes
    ----------
    function, context : int
        Addresses of a C function ``void(context, addresses, rows, first)`` that does what a call does, and of its
        context; 0 where there is none.
    """

    function: int
    context: int

    def __call__(self, addresses: np.ndarray, first: int) -> None:
        """Take some next rows, of which `first` have been taken before."""


Kernel = TypeVar("Kernel", bound=RowKernel)
_TYPES = (
    ("FIXED_LEN_BYTE_ARRAY", pa.float16(), torch.float16),
    ("FLOAT", pa.float32(), torch.float32),
    ("DOUBLE", pa.float64(), torch.float64),
)
# What pyarrow raises for damaged files, and files for damaged disks: then its own way says so.
_ERRORS = (OSError, ValueError, pa.ArrowException)


@dataclass(frozen=True)
class _Chunk:
    """Bytes and values of a column chunk, and what decompresses its pages."""

    start: int
    length: int
    values: int
    open_page: Callable[[memoryview, int], Any] | None


@dataclass(frozen=True)
class _Leaf:
    """Position, types and highest definition level of a column's values; a flat column holds a packed row in each."""

    at: int
    physical: str
    dtype: torch.dtype
    level: int
    is_flat: bool = False


class Pages:
    """A column of lists, or of packed floats, of a Parquet file that is open.

    Parameters
    ----------
    stream : binary stream
        Unbuffered.
    size : int
        Bytes of the file.
    column : str
    width : int
        Floats of a row.
    name : str
        Of the file, for errors.
    digests : dict, optional
        Takes the digest of each column chunk that is read to its end, by its (begin, length) in the file.
    embedding_dtype : str, optional
        Of packed floats in fixed-size binary.
    """

    def __init__(
        self,
        stream: IO[bytes],
        size: int,
        column: str,
        width: int,
        name: str = "a Parquet file",
        digests: Digests | None = None,
        embedding_dtype: str | None = None,
    ) -> None:
        self._stream, self._size, self._column, self._width = stream, size, column, width
        self._name, self._digests = name, digests
        # The same stream: another file may have taken the name since it was opened.
        source = pq.ParquetFile(pa.PythonFile(stream, "r"))
        self._metadata = source.metadata
        self._leaf = (
            _find_leaf(source, column, width)
            if embedding_dtype is None
            else _find_packed(source, column, width, embedding_dtype)
        )
        self._chunks: dict[int, _Chunk | None] = {}

    @property
    def groups(self) -> list[int]:
        """Row count of each row group."""
        return [self._metadata.row_group(at).num_rows for at in range(self._metadata.num_row_groups)]

    @property
    def supported(self) -> int:
        """Number of row groups whose metadata let their pages be scored in place; nulls show only in the pages."""
        return sum(self._chunk(group) is not None for group in range(self._metadata.num_row_groups))

    def read_ahead(self, groups: list[int]) -> None:
        """Fetch the chunks of row groups of a remote file before they are read, in this order."""
        if isinstance(self._stream, ReadAhead):
            chunks = [self._chunk(group) for group in groups]
            self._stream.plan((chunk.start, chunk.length) for chunk in chunks if chunk is not None)

    def map_rows(self, group: int, make: Callable[[int, torch.dtype], Kernel]) -> Kernel | None:
        """Kernel that has taken all rows of a row group; None where pyarrow has to read it.

        Parameters
        ----------
        group : int
        make : callable
            ``make(rows, dtype)`` makes the kernel for rows of `width` floats.

        Raises
        ------
        InputError
            A page does not match its checksum, or the store fails.
        """
        chunk = self._chunk(group)
        if chunk is None or self._leaf is None:
            return None
        hasher = Xxh3() if self._digests is not None else None
        rows = self._metadata.row_group(group).num_rows
        kernel = make(rows, self._leaf.dtype)
        walk = _Walk(self._stream, chunk, self._leaf, self._width, hasher)
        try:
            is_whole = walk.run(kernel)
        except _ChecksumError as error:
            raise InputError(
                f"expected page {walk.pages} of column {self._column!r} in row group {group} of {self._name} to match "
                "its checksum, got other bytes: the file is damaged"
            ) from error
        except InputError:  # Of the store, which has been asked again.
            raise
        except _ERRORS:
            return None
        if not is_whole or walk.rows != rows:
            return None
        if self._digests is not None and hasher is not None:
            self._digests[chunk.start, chunk.length] = hasher.hexdigest()
        return kernel

    def _chunk(self, group: int) -> _Chunk | None:
        """The column's chunk in a row group; None where pyarrow has to read it."""
        if group not in self._chunks:
            try:
                self._chunks[group] = self._find_chunk(group)
            except _ERRORS:
                self._chunks[group] = None
        return self._chunks[group]

    def _find_chunk(self, group: int) -> _Chunk | None:
        if self._leaf is None:
            return None
        check_column_chunk(self._metadata, self._size, group, self._column)
        rows = self._metadata.row_group(group).num_rows
        chunk = self._metadata.row_group(group).column(self._leaf.at)
        open_page = _CODECS.get(chunk.compression)
        start = chunk.data_page_offset
        if chunk.has_dictionary_page and 0 < chunk.dictionary_page_offset < start:
            start = chunk.dictionary_page_offset
        length, values = chunk.total_compressed_size, chunk.num_values
        if (
            (open_page is None and chunk.compression != "UNCOMPRESSED")
            or chunk.file_path
            or chunk.physical_type != self._leaf.physical
            or not 0 < rows < 1 << 31
            or values != (rows if self._leaf.is_flat else rows * self._width)
            or start < len(b"PAR1")
            or not 0 < length <= self._size - start
        ):
            return None
        return _Chunk(start, length, values, open_page)


class _Warmup:
    """When the walk is worth its compilation, which takes some ten seconds, once per machine if it can be cached."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._rows = 0
        self._has_begun = False

    def is_over(self, rows: int) -> bool:
        """Whether to read `rows` by the walk. The first thread beyond `COLD_ROWS` compiles, others go on by pyarrow."""
        compiled = get_parquet_pages()
        if compiled is None or compiled.run.is_ready:
            return compiled is not None
        with self._lock:
            self._rows += rows
            begins = self._rows >= COLD_ROWS and not self._has_begun
            self._has_begun |= begins
        return begins


@contextmanager
def open_pages(
    file: File,
    column: str,
    width: int,
    rows: int,
    digests: Digests | None = None,
    embedding_dtype: str | None = None,
) -> Iterator[Pages | None]:
    """Context manager of the pages of a column, to read `rows`; None where pyarrow is to read the file."""
    # The values of Parquet are little-endian.
    if sys.byteorder != "little" or not _warmup.is_over(rows):
        yield None
        return
    with _open(file, column, width, digests, embedding_dtype) as pages:
        yield pages


def count_supported(file: File, column: str, width: int, embedding_dtype: str | None = None) -> tuple[int, int]:
    """Number of a file's row groups whose metadata let their pages be scored in place, and of all."""
    with _open(file, column, width, None, embedding_dtype) as pages:
        return (pages.supported, len(pages.groups)) if pages is not None else (0, 0)


@contextmanager
def _open(
    file: File, column: str, width: int, digests: Digests | None, embedding_dtype: str | None
) -> Iterator[Pages | None]:
    try:
        stream: Any = Path(file.path).open("rb", buffering=0) if file.is_local else ReadAhead(file)  # noqa: SIM115
    except OSError:
        yield None
        return
    with stream:
        try:
            size = stream.seek(0, 2)
            options = (file.path, digests, embedding_dtype)
            pages = Pages(stream, size, column, width, *options) if size == file.size else None
        except InputError:
            raise
        except _ERRORS:
            pages = None
        yield pages


def _find_leaf(source: pq.ParquetFile, column: str, width: int) -> _Leaf | None:
    schema, arrow = source.schema, source.schema_arrow
    at = arrow.get_field_index(column)  # -1 for several of the name, too.
    leaves = [k for k in range(len(schema)) if f"{schema.column(k).path}.".startswith(f"{column}.")]
    if at < 0 or len(leaves) != 1:
        return None
    lists, leaf = list_storage(arrow.field(at).type), schema.column(leaves[0])
    if lists is None or (pa.types.is_fixed_size_list(lists) and lists.list_size != width):
        return None
    for physical, value_type, dtype in _TYPES:
        if leaf.physical_type != physical or lists.value_type != value_type:
            continue
        if dtype == torch.float16 and (leaf.length != 2 or leaf.logical_type.type != "FLOAT16"):
            continue
        if leaf.max_repetition_level == 1 and 1 <= leaf.max_definition_level <= 3:
            return _Leaf(leaves[0], physical, dtype, leaf.max_definition_level)
    return None


def _find_packed(source: pq.ParquetFile, column: str, width: int, embedding_dtype: str) -> _Leaf | None:
    schema, arrow = source.schema, source.schema_arrow
    at = arrow.get_field_index(column)  # -1 for several of the name, too.
    leaves = [k for k in range(len(schema)) if schema.column(k).path == column]
    if at < 0 or len(leaves) != 1 or not is_plain_dtype(embedding_dtype):
        return None
    leaf, dtype = schema.column(leaves[0]), getattr(torch, embedding_dtype)
    if (
        arrow.field(at).type != pa.binary(width * dtype.itemsize)
        or leaf.physical_type != "FIXED_LEN_BYTE_ARRAY"
        or leaf.length != width * dtype.itemsize
        or leaf.max_repetition_level != 0
        or leaf.max_definition_level > 1
    ):
        return None
    return _Leaf(leaves[0], leaf.physical_type, dtype, leaf.max_definition_level, is_flat=True)


class _Walk:
    """The walk over one column chunk: Python reads, decompresses and calls compiled code."""

    def __init__(self, stream: IO[bytes], chunk: _Chunk, leaf: _Leaf, width: int, hasher: Xxh3 | None = None) -> None:
        self._stream, self._start, self._length = stream, chunk.start, chunk.length
        self._open_page, self._hasher = chunk.open_page, hasher
        self._compiled = get_parquet_pages()
        self._state = state = np.zeros(self._compiled.STATE_SIZE, np.int64)
        state[self._compiled.TOTAL] = chunk.values
        size = leaf.dtype.itemsize
        state[self._compiled.WIDTH], state[self._compiled.SIZE] = (1, width * size) if leaf.is_flat else (width, size)
        state[self._compiled.IS_FLAT] = leaf.is_flat
        state[self._compiled.PRESENT], state[self._compiled.COMPRESSED] = leaf.level, chunk.open_page is not None
        state[self._compiled.WORD_COUNT], state[self._compiled.MOST_PAGE] = -1, MOST_PAGE
        is_read_here = self._compiled.CAN_READ and isinstance(stream, io.FileIO)
        state[self._compiled.FILE] = stream.fileno() if is_read_here else -1
        state[self._compiled.START], state[self._compiled.LENGTH] = chunk.start, chunk.length
        state[self._compiled.BLOCK] = BLOCK
        state[self._compiled.IS_SNAPPY] = chunk.open_page is _snappy
        state[self._compiled.HASHED] = -1 if hasher is None else 0

    def run(self, kernel: RowKernel) -> bool:
        """Hand all rows to the kernel; false where a page is declined."""
        compiled, state, memory = self._compiled, self._state, _memory
        header = np.empty(compiled.HEADER_SIZE, np.int64)
        buffer, opened, scratch, addresses = memory.buffer, memory.opened, memory.scratch, memory.addresses
        body, words, places = _EMPTY, np.empty(0, np.uint8), np.empty(0, np.int64)
        update, hash_state = (self._hasher.function, self._hasher.state) if self._hasher is not None else (0, 0)
        while True:
            code = compiled.run(
                buffer.memory, buffer.data, opened.memory, opened.data, body, words, places, scratch, addresses, header,
                state, kernel.function, kernel.context, update, hash_state,
            )  # fmt: skip
            begin, filled = int(state[compiled.BEGIN]), int(state[compiled.FILLED])
            if code == compiled.DECLINED:
                return False
            if code == compiled.DONE:
                return begin + int(state[compiled.POSITION]) == self._length and state[compiled.HAVE] == 0
            if code == compiled.SCORE:
                rows = int(state[compiled.ROWS])
                kernel(addresses[:rows], self.rows)
                state[compiled.PASSED] += rows
                state[compiled.ROWS] = 0
            elif code == compiled.MORE:
                if buffer.fill(self._stream, self._start + begin, filled) != filled:  # The file has become shorter.
                    return False
            elif code == compiled.OPEN:
                found = self._open(buffer.bytes, header)
                if found is None:
                    return False
                body = found
                state[compiled.GIVEN] = 1
            elif code == compiled.DICTIONARY:
                source = buffer.data
                if state[compiled.IS_PACKED]:
                    is_opened_there = state[compiled.IS_SNAPPY] and header[compiled.CRC] == compiled.ABSENT
                    source = opened.data if is_opened_there else body
                at = int(state[compiled.FROM])
                size = int(state[compiled.SIZE])
                words = source[at : at + int(state[compiled.WORD_COUNT]) * size].copy()
                if state[compiled.IS_FLAT]:
                    places = np.int64(words.ctypes.data) + np.arange(len(words) // size, dtype=np.int64) * size
            elif code == compiled.GROW:
                have = int(state[compiled.HAVE])
                grown = np.empty(-(-int(state[compiled.NEED]) // 8) * 8, np.uint8)
                grown[:have] = scratch[:have]
                scratch = grown
            elif code == compiled.GROW_DATA:
                buffer = buffer.grown(int(state[compiled.NEED]), filled)
            elif code == compiled.GROW_OPENED:
                opened = _Buffer(int(state[compiled.NEED]))
            hashed = int(state[compiled.HASHED])
            if self._hasher is not None and code in (compiled.HASH, compiled.MORE) and begin + filled > hashed:
                self._hasher.update(buffer.bytes[hashed - begin : filled])
                state[compiled.HASHED] = begin + filled

    @property
    def rows(self) -> int:
        """Rows that the kernel has had."""
        return int(self._state[self._compiled.PASSED])

    @property
    def pages(self) -> int:
        """Pages opened; a file with checksums has one for each page."""
        return int(self._state[self._compiled.OPENED])

    def _open(self, data: memoryview, header: np.ndarray) -> np.ndarray | None:
        """Values of a page, decompressed where they are compressed; None if its size is wrong."""
        compiled, state = self._compiled, self._state
        at = int(state[compiled.BODY])
        end = at + int(header[compiled.PACKED])
        checksum = int(header[compiled.CRC])
        if checksum != compiled.ABSENT and zlib.crc32(data[at:end]) != checksum & 0xFFFFFFFF:
            raise _ChecksumError
        state[compiled.OPENED] += 1
        if not state[compiled.IS_PACKED]:
            return _EMPTY
        levels = int(state[compiled.LEVELS])
        size = int(header[compiled.UNPACKED]) - levels
        try:
            opened = self._open_page(data[at + levels : end], size) if self._open_page and size else None
        except (*_ERRORS, zlib.error):
            return None
        return None if opened is None or len(opened) != size else np.frombuffer(opened, np.uint8)


class _ChecksumError(Exception):
    """A page does not match its checksum."""


class _Buffer:
    """Memory that is written to; compiled code reads rows from `data`, which is read-only like what codecs return."""

    def __init__(self, size: int) -> None:
        self.memory = np.empty(size, np.uint8)
        memory: Any = self.memory
        self.bytes = memoryview(memory)
        self.data = memory.view()
        self.data.flags.writeable = False

    def grown(self, size: int, filled: int) -> _Buffer:
        """Larger memory with the first bytes of this one."""
        larger = _Buffer(size)
        larger.memory[:filled] = self.memory[:filled]
        return larger

    def fill(self, stream: Any, at: int, most: int) -> int:
        """Read up to `most` bytes of a stream; returns their number, less at its end."""
        stream.seek(at)
        filled = 0
        while filled < most:
            count = stream.readinto(self.bytes[filled:most])
            if not count:
                break
            filled += count
        return filled


class _Memory(threading.local):
    """Buffers of a thread, used again by the next row group: fresh memory costs page faults."""

    def __init__(self) -> None:
        self.buffer, self.opened = _Buffer(BLOCK), _Buffer(OPENED)
        self.scratch = np.empty(SCRATCH, np.uint8)
        self.addresses = np.empty(ROWS, np.int64)


# pyarrow's codecs fill up what a page lacks with memory as it is, so each size is proven in another way.


def _snappy(page: memoryview, size: int) -> Any:
    held = shift = 0
    for byte in page[:5]:
        held |= (byte & 127) << shift
        if byte < 128:
            return pa.Codec("snappy").decompress(page, size) if held == size else None
        shift += 7
    return None


def _zstd(page: memoryview, size: int) -> Any:
    return pa.Codec("zstd").decompress(page, size)  # It refuses other sizes.


def _lz4(page: memoryview, size: int) -> Any:
    held = get_parquet_pages().lz4_size(np.frombuffer(page, np.uint8))
    return pa.Codec("lz4_raw").decompress(page, size) if held == size else None


def _gzip(page: memoryview, size: int) -> Any:
    stream = zlib.decompressobj(31)
    opened = stream.decompress(page, size + 1)
    return opened if stream.eof and not stream.unused_data else None


def _brotli(page: memoryview, size: int) -> Any:
    codec = pa.Codec("brotli")
    opened = codec.decompress(page, size)
    try:
        codec.decompress(page, size - 1)
    except (OSError, pa.ArrowException):
        return opened
    return None


_CODECS: dict[str, Callable[[memoryview, int], Any]] = {
    "SNAPPY": _snappy,
    "ZSTD": _zstd,
    "LZ4": _lz4,
    "GZIP": _gzip,
    "BROTLI": _brotli,
}
_EMPTY = np.frombuffer(b"", np.uint8)
_memory = _Memory()
_warmup = _Warmup()
