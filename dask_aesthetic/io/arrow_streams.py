"""Arrow streams: where the record batches of a file lie, found without reading them, and their columns."""

from __future__ import annotations

import struct
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import IO, Any

import numpy as np
import pyarrow as pa

from dask_aesthetic.errors import InputError
from dask_aesthetic.io.read_ahead import ReadAhead
from dask_aesthetic.io.storage import File

_CONTINUATION = b"\xff\xff\xff\xff"  # Before the length of each message.
_SCHEMA, _RECORD_BATCH = 1, 3  # Kinds of messages.
_HEADER = 1 << 12  # Bytes that hold most headers of messages.
_MOST_METADATA = 1 << 26
_WHAT = "a whole Arrow stream, as Dataset.save_to_disk writes it,"


@dataclass(frozen=True)
class Stream:
    """Schema of an Arrow stream, extension types as what they are stored as, and its record batches.

    Attributes
    ----------
    schema : pyarrow.Schema
    begin : int
        Position of the first batch in the file.
    batches : list of (int, int)
        Bytes and rows of each batch; they follow one another.
    """

    schema: pa.Schema
    begin: int
    batches: list[tuple[int, int]]

    @property
    def groups(self) -> list[int]:
        """Row count of each batch."""
        return [rows for _, rows in self.batches]


def open_stream(file: File) -> Stream:
    """Schema and batches of an Arrow stream, by the headers of its messages.

    Raises
    ------
    InputError
        The file is damaged, truncated or no Arrow stream, or has compressed or dictionary-encoded columns.
    """
    with file.reading(_WHAT), file.open(_HEADER) as source:
        schema, at = _read_schema(file, source), source.tell()
        begin, batches = at, []
        while (metadata := _next_metadata(file, source)) is not None:
            body, rows = _record_batch(file, metadata)
            end = source.tell() + body
            if end > file.size:
                raise _damaged(file, "a truncated one")
            batches.append((end - at, rows))
            at = source.seek(end)
        if source.read(1):
            raise _damaged(file, "one with bytes after its end")
        return Stream(schema, begin, batches)


def read_batches(
    file: File, schema: pa.Schema, begin: int, batches: Sequence[tuple[int, int]], columns: Sequence[str]
) -> Iterator[pa.RecordBatch]:
    """Columns of record batches that follow one another in a file, from a position on; local ones are mapped to memory.

    Raises
    ------
    InputError
        The file is damaged, or has changed since it was found.
    """
    with file.reading(_WHAT):
        for data, (_, rows) in zip(_messages(file, begin, batches), batches, strict=True):
            file.check_size()  # Memory that is mapped beyond the end of a file ends the process.
            batch = pa.ipc.read_record_batch(data, schema)
            if len(batch) != rows:
                raise _damaged(file, f"{len(batch):,} rows in place of {rows:,}")
            chosen = batch.select(list(columns))
            for column in chosen.columns:
                column.validate(full=True)
            yield chosen


def buffers_of(batch: pa.RecordBatch) -> Iterable[Any]:
    """Memory of a batch's columns, as a digest takes it."""
    return (buffer for column in batch.columns for buffer in column.buffers() if buffer is not None)


def _messages(file: File, begin: int, batches: Sequence[tuple[int, int]]) -> Iterator[pa.Buffer]:
    if not batches:
        return
    if file.is_local:
        file.check_size()
        mapped = pa.py_buffer(np.memmap(file.path, np.uint8, "r"))
        for size, _ in batches:
            yield mapped.slice(begin, size)
            begin += size
        return
    with ReadAhead(file) as stream:
        stream.plan([(begin, sum(size for size, _ in batches))])
        stream.seek(begin)
        for size, _ in batches:
            yield pa.py_buffer(stream.read(size))


def _read_schema(file: File, source: IO[bytes]) -> pa.Schema:
    metadata = _next_metadata(file, source)
    if metadata is None:
        raise _damaged(file, "one without a schema")
    with _parsing(file):
        table = _Table.root(metadata)
        kind, body = table.number(1, "B"), table.number(3, "q")
    if kind != _SCHEMA or body:
        raise _damaged(file, "one that does not begin with a schema")
    schema = pa.ipc.read_schema(pa.py_buffer(_CONTINUATION + struct.pack("<i", len(metadata)) + metadata))
    encoded = [one.name for one in schema if pa.types.is_dictionary(one.type)]
    if encoded:
        raise InputError(f"expected columns without dictionaries in {file.path}, got {', '.join(encoded)}: cast them")
    # Processes that have imported the package datasets know its extension types; others read what these are stored as.
    return pa.schema([pa.field(one.name, _storage(one.type), one.nullable) for one in schema])


def _storage(dtype: pa.DataType) -> pa.DataType:
    return dtype.storage_type if isinstance(dtype, pa.BaseExtensionType) else dtype


def _record_batch(file: File, metadata: bytes) -> tuple[int, int]:
    """Bytes of the body of a record batch, and its rows."""
    with _parsing(file):
        message = _Table.root(metadata)
        header = message.table(2)
        kind, body, rows = message.number(1, "B"), message.number(3, "q"), header.number(0, "q")
        is_compressed = header.field(3) is not None
    if kind != _RECORD_BATCH or body < 0 or not 0 <= rows <= 8 * body:  # A row has a bit at the least.
        raise _damaged(file, f"a message of kind {kind}, {body:,} bytes and {rows:,} rows among its batches")
    if is_compressed:
        raise InputError(f"expected {file.path} without compression, got compressed record batches: write it without")
    return body, rows


def _next_metadata(file: File, source: IO[bytes]) -> bytes | None:
    """Header of the next message; None at the mark of the stream's end."""
    prefix = source.read(8)
    if len(prefix) < 8 or prefix[:4] != _CONTINUATION:
        raise _damaged(file, "a truncated or foreign one")
    length = int.from_bytes(prefix[4:], "little")
    if not length:
        return None
    if length > _MOST_METADATA:
        raise _damaged(file, f"a header of {length:,} bytes")
    metadata = source.read(length)
    if len(metadata) < length:
        raise _damaged(file, "a truncated one")
    return metadata


@contextmanager
def _parsing(file: File) -> Iterator[None]:
    try:
        yield
    except (struct.error, IndexError) as error:
        raise _damaged(file, "one with damaged headers") from error


def _damaged(file: File, got: str) -> InputError:
    return InputError(f"expected {_WHAT} in {file.path}, got {got}")


@dataclass(frozen=True)
class _Table:
    """Table of a flatbuffer, whose fields are found by its vtable."""

    data: bytes
    at: int

    @classmethod
    def root(cls, data: bytes) -> _Table:
        return cls(data, _unpack("I", data, 0))

    def field(self, number: int) -> int | None:
        """Position of a field; None where it is absent."""
        vtable = self.at - _unpack("i", self.data, self.at)
        entry = 4 + 2 * number
        if entry + 2 > _unpack("H", self.data, vtable):
            return None
        offset = _unpack("H", self.data, vtable + entry)
        return self.at + offset if offset else None

    def number(self, number: int, kind: str) -> int:
        at = self.field(number)
        return 0 if at is None else _unpack(kind, self.data, at)

    def table(self, number: int) -> _Table:
        at = self.field(number)
        if at is None:
            raise IndexError(number)
        return _Table(self.data, at + _unpack("I", self.data, at))


def _unpack(kind: str, data: bytes, at: int) -> int:
    if at < 0:  # struct would count from the end.
        raise IndexError(at)
    return int(struct.unpack_from(f"<{kind}", data, at)[0])
