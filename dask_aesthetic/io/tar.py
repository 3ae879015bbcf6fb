"""Index of a tar, uncompressed or gzip, from its headers, and the bytes of its members.

The tests compare with webdataset's own iteration. It is not used here since it reads all bytes of every member, skips
links and names without a key, stops at a repeated name, and takes a corrupt header for the end of the tar.
"""

from __future__ import annotations

import gzip
import tarfile
import zlib
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import lru_cache
from tarfile import TarInfo
from typing import IO

from dask_aesthetic.errors import AestheticError, InputError, first_line
from dask_aesthetic.io.samples import Fault, Sample, format_name, group
from dask_aesthetic.io.storage import File

_GZIP = b"\x1f\x8b"
_OTHERS = {
    b"BZh": "bzip2",
    b"\xfd7zXZ": "xz",
    b"\x28\xb5\x2f\xfd": "zstd",
    b"PK": "a zip file",
    b"7z\xbc\xaf": "a 7z file",
    b"PAR1": "a Parquet file",
    b"<": "an HTML page, maybe of a failed download",
}
_AHEAD = 1 << 20  # Bytes of one request to a store: cheaper than a request for each header.
_HEADERS = 1 << 20  # Maximum bytes of all headers of one member. A hostile header claims any number.
_TAIL = 1 << 20  # Bytes after the end mark that are read at a time.
_MOST_TAIL = 1 << 30  # Bytes after the end mark of a gzip that are read: few bytes of a gzip may hold any number.
# Errors of tarfile and gzip for damaged bytes.
_DAMAGE = (
    tarfile.TarError,
    gzip.BadGzipFile,
    EOFError,
    zlib.error,
    ValueError,
    LookupError,
    OverflowError,
    RecursionError,
)


@dataclass(frozen=True)
class TarIndex:
    """Samples and damage of a tar. `read_index` caches it, so treat it as immutable.

    Attributes
    ----------
    samples : list of Sample
        In order of first appearance.
    damage : str or None
        Position and kind of damage. All valid members before it are indexed.
    gzipped : bool
    """

    samples: list[Sample]
    damage: str | None
    gzipped: bool


def check_tar(file: File) -> None:
    """Raise InputError unless a file begins as a tar, uncompressed or gzip.

    Raises
    ------
    InputError
    """
    begin = file.read(0, min(file.size, 1 << 16))
    try:
        gzipped = begin.startswith(_GZIP)
        block = zlib.decompressobj(31).decompress(begin, tarfile.BLOCKSIZE) if gzipped else begin[: tarfile.BLOCKSIZE]
        if block != bytes(tarfile.BLOCKSIZE):  # A tar without members begins with its end mark.
            TarInfo.frombuf(block, "utf-8", "surrogateescape")
    except _DAMAGE as error:
        kind = next((kind for magic, kind in _OTHERS.items() if begin.startswith(magic)), None)
        raise _no_tar(file, error, kind) from error


@contextmanager
def open_tar(file: File) -> Iterator[IO[bytes]]:
    """Open a tar as an uncompressed stream; gzip is detected by content."""
    with file.open(_AHEAD) as stream:
        gzipped = stream.read(len(_GZIP)) == _GZIP
        stream.seek(0)
        if not gzipped:
            yield stream
            return
        with gzip.GzipFile(fileobj=stream) as uncompressed:
            yield uncompressed  # type: ignore[misc]


def read_member(stream: IO[bytes], member: TarInfo) -> bytes:
    """Read the bytes of a member.

    Raises
    ------
    InputError
        The tar is shorter than the member.
    """
    stream.seek(member.offset_data)
    data = stream.read(member.size)
    if len(data) != member.size:
        raise InputError(f"expected {member.size:,} bytes of {member.name!r}, got {len(data):,}: the tar has changed")
    return data


def read_image(stream: IO[bytes], sample: Sample, images: Collection[str]) -> bytes | Fault:
    """Bytes of a sample's one image, whose extension is among `images`; or the fault that says why there is none.

    Raises
    ------
    InputError
        As of `read_member`.
    """
    member = sample.only(sample.image(images))
    if sample.fault is not None or member is None:
        return sample.faults(images, ())[0]
    return read_member(stream, member)


@lru_cache(maxsize=4)  # Several partitions or outputs read the same tar.
def read_index(file: File) -> TarIndex:
    """Index a tar by reading its headers; a gzip is decompressed as a whole.

    Raises
    ------
    InputError
        The file is not a tar, or cannot be read.
    """
    with file.reading("a tar"), open_tar(file) as stream:
        walk = _MemberIterator(file, stream)
        samples = group(walk)
        if walk.damage is not None:
            fault = Fault("damaged", walk.damage)
            last = max((sample for sample in samples if sample.members), key=_begin_of_last, default=None)
            if last is not None:
                last.fault = fault  # Its members may be incomplete.
            samples.append(Sample(None, fault=fault))
        return TarIndex(samples, walk.damage, isinstance(stream, gzip.GzipFile))


def _begin_of_last(sample: Sample) -> int:
    return max(member.offset for member in sample.members.values())


class _MemberIterator:
    """Iterator over the valid members of a tar; `damage` describes what ended it early."""

    def __init__(self, file: File, stream: IO[bytes]) -> None:
        self.damage: str | None = None
        self._stream, self._headers = stream, _Headers(stream)
        self._size = None if isinstance(stream, gzip.GzipFile) else file.size
        try:
            self._tar = tarfile.TarFile(fileobj=self._headers, encoding="utf-8", errors="surrogateescape")  # type: ignore[arg-type]
        except _DAMAGE as error:
            if isinstance(error, AestheticError):
                raise
            raise _no_tar(file, error) from error

    def __iter__(self) -> Iterator[TarInfo]:
        while True:
            at = self._tar.offset
            try:
                member = self._next()
            except _DAMAGE as error:
                if isinstance(error, AestheticError):
                    raise
                self.damage = f"at byte {at:,}: {first_line(error)}"
                return
            if member is None:
                self.damage = self._wrong_end(at)
                return
            yield member

    def _next(self) -> TarInfo | None:
        self._headers.left = _HEADERS
        member = self._tar.next()
        if member is None:
            return None
        stop = self._tar.offset
        if stop <= member.offset or member.size < 0:
            raise tarfile.ReadError(f"a member of {member.size:,} bytes")
        if self._size is not None and stop > self._size:
            raise tarfile.ReadError(f"{format_name(member.name)} extends to byte {stop:,} of {self._size:,}")
        if self._stream.tell() != stop:
            self._stream.seek(stop - 1)
            if not self._stream.read(1):
                raise tarfile.ReadError(f"{format_name(member.name)} is truncated")
        member.pax_headers = {}
        return member

    def _wrong_end(self, at: int) -> str | None:
        block = self._headers.last
        if len(block) < tarfile.BLOCKSIZE:
            return f"at byte {at:,}: the end mark is missing, as if the tar were truncated"
        if any(block):
            return f"at byte {at:,}: not a valid header"
        left = _MOST_TAIL if self._size is None else self._size
        try:
            while left > 0 and (rest := self._stream.read(_TAIL)):
                if rest.strip(b"\0"):
                    return f"after its end mark at byte {at:,} more data follows"
                left -= len(rest)
        except _DAMAGE as error:
            if isinstance(error, AestheticError):
                raise
            return f"after byte {at:,}: {first_line(error)}"
        return None if left > 0 else f"after its end mark at byte {at:,} more than {_MOST_TAIL:,} bytes follow"


class _Headers:
    """Stream for tarfile's header reads, with a limit on the bytes per member."""

    def __init__(self, stream: IO[bytes]) -> None:
        self._stream = stream
        self.left, self.last = _HEADERS, b""
        self.tell = stream.tell

    def seek(self, position: int) -> int:
        return self._stream.seek(position)

    def read(self, size: int) -> bytes:
        if not 0 <= size <= self.left:
            raise tarfile.ReadError(f"headers of more than {_HEADERS:,} bytes")
        self.left -= size
        self.last = self._stream.read(size)
        return self.last


def _no_tar(file: File, error: Exception, kind: str | None = None) -> InputError:
    what = f"{kind}: write it as a tar, uncompressed or gzip" if kind else first_line(error)
    return InputError(f"expected a tar, uncompressed or gzip, got {file.path}: {what}")
