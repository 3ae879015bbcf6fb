"""A local file or an fsspec URL: open it, read byte ranges, digest its content, know its version."""

from __future__ import annotations

import io
import os
import stat
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from threading import Event
from typing import IO, Any
from uuid import uuid4

import fsspec
import pyarrow as pa
import xxhash

from dask_aesthetic.errors import AestheticError, InputError, first_line
from dask_aesthetic.io.retries import BACKOFF

BLOCK = 1 << 24  # Bytes of one request to a store.
_CACHED = 1 << 18  # Bytes of a local file that are read together: they are still in cache when they are digested.
# Keys by which stores report the version of a file: its content if they can, else its time of modification.
_VERSION_KEYS = (
    *(
        "ETag",
        "etag",
        "md5Hash",
        "content_md5",
        "Content-MD5",
        "md5",
        "checksum",
        "crc32c",
        "CRC",
        "Digest",
        "generation",
        "blob_id",
    ),
    *("LastModified", "last_modified", "Last-Modified", "mtime", "updated", "modified", "created"),
)


Digests = dict[tuple[int, int], str]  # Of byte ranges of a file, as (begin, length), that have been read.


@dataclass(frozen=True)
class File:
    """A file to read: a local path or an fsspec URL.

    Attributes
    ----------
    path : str
        Absolute local path, or the URL with its protocol.
    size : int
        In bytes.
    version : str
        Changes when the file is rewritten. The mtime in nanoseconds of a local file; of a URL the store's etag or
        checksum, or its time of modification if the store reports neither.
    options : mapping
        fsspec's storage options. They may hold secrets, so comparisons, repr and Dask tokens leave them out.
    """

    path: str
    size: int
    version: str
    options: Mapping[str, Any] = field(default_factory=dict, compare=False, repr=False)

    def __dask_tokenize__(self) -> tuple[str, int, str]:
        return self.path, self.size, self.version

    @property
    def is_local(self) -> bool:
        """Whether the path is local, not a URL."""
        return not is_url(self.path)

    @property
    def name(self) -> str:
        """File name without its folder."""
        return self.path.partition("::")[0].rpartition("/")[2] if not self.is_local else Path(self.path).name

    @property
    def stem(self) -> str:
        """File name without its folder and suffix."""
        return Path(self.name).stem

    def open(self, ahead: int = 1 << 16) -> IO[bytes]:
        """Open as a seekable binary stream; a URL is read ahead by `ahead` bytes."""
        if self.is_local:
            with self.reading("a file"):
                self.refuse_pipe()
                return Path(self.path).open("rb")
        return io.BufferedReader(RemoteStream(self), ahead)

    def read(self, begin: int, length: int, closing: Event | None = None, store: Any = None) -> bytes:
        """Read `length` bytes from `begin` on; of a URL, again if its store throttles or fails in passing.

        Parameters
        ----------
        begin, length : int
        closing : threading.Event, optional
            Ends the waiting for another try, with the last error.
        store : optional
            As of `shared_store`.

        Raises
        ------
        InputError
            The file cannot be read, or is shorter.
        """
        if not length:
            return b""
        with self.reading("a file"):
            if self.is_local:
                with Path(self.path).open("rb") as stream:
                    stream.seek(begin)
                    data = stream.read(length)
            else:
                data = BACKOFF.call(lambda: self._request(begin, length, store), closing)
        if len(data) != length:
            raise InputError(
                f"expected {length:,} bytes from {begin:,} on in {self.path}, got {len(data):,}: it has changed since "
                "it was found, or its server does not give parts of files"
            )
        return data

    def shared_store(self) -> tuple[Any, str] | None:
        """File system of a URL and the path in it, for threads to use together; None if each needs its own."""
        with self.reading("a file"):
            store: tuple[Any, str] = fsspec.core.url_to_fs(self.path, **self.options)
        # Earlier versions of fsspec make file systems per thread, asynchronous ones too, and each connects on its own.
        return store if store[0].async_impl else None

    def digest(self, ranges: Sequence[tuple[int, int]] | None = None) -> str:
        """xxh3_128 content hash, in hexadecimal, of the whole file or of (begin, length) ranges one after another.

        Raises
        ------
        InputError
            The file cannot be read, or is shorter.
        """
        parts = [(0, self.size)] if ranges is None else ranges
        state = xxhash.xxh3_128()
        for data in self._read_local(parts) if self.is_local else self._fetch(parts):
            state.update(data)
        return state.hexdigest()

    def check_size(self) -> None:
        """Raise InputError if a local file has another size than when it was found: rows may have been added."""
        size = Path(self.path).stat().st_size if self.is_local else self.size
        if size != self.size:
            raise self._changed(size)

    def refuse_pipe(self) -> None:
        """Raise InputError if a local path is a pipe or device, which may never end."""
        with self.reading("a file"):
            if self.is_local and not stat.S_ISREG(os.stat(self.path).st_mode):
                raise InputError(f"expected a file in {self.path}, got a pipe or device: write a file first")

    @contextmanager
    def reading(self, what: str) -> Iterator[None]:
        """Context manager that turns errors of damaged files and of stores into an InputError that names the file."""
        try:
            yield
        except (AestheticError, MemoryError):
            raise
        except Exception as error:
            # Stores raise whatever their libraries raise. Of a local file, any other error is a bug of this package.
            # Names that are no UTF-8 are damaged, too.
            if self.is_local and not isinstance(error, (OSError, EOFError, UnicodeDecodeError, pa.ArrowException)):
                raise
            is_damage = isinstance(error, pa.ArrowException | ValueError | EOFError)
            size = self._find_size() if is_damage and not self.is_local else None
            if size is not None and size != self.size:
                raise self._changed(size) from error
            raise InputError(f"expected {what}, got {self.path}: {first_line(error)}") from error

    def _changed(self, size: int) -> InputError:
        return InputError(
            f"expected {self.size:,} bytes in {self.path} as when found, got {size:,}: it has changed, start again"
        )

    def _find_size(self) -> int | None:
        """Size that the store has now; None if it does not say."""
        try:
            system, path = fsspec.core.url_to_fs(self.path, **self.options)
            system.invalidate_cache()
            size = system.info(path).get("size")
            return None if size is None else int(size)
        except Exception:  # Stores raise whatever their libraries raise; the first error is the one to tell.
            return None

    def _request(self, begin: int, length: int, store: Any) -> bytes:
        system, path = store or fsspec.core.url_to_fs(self.path, **self.options)
        # Hugging Face's file system would read 5 MB more with each request.
        exact = {"cache_type": "none"} if self.path.startswith("hf://") else {}
        data: bytes = system.cat_file(path, start=begin, end=begin + length, **exact)
        return data

    def _read_local(self, ranges: Sequence[tuple[int, int]]) -> Iterator[memoryview]:
        buffer = memoryview(bytearray(_CACHED))
        with self.reading("a file"), Path(self.path).open("rb", buffering=0) as stream:
            for begin, length in ranges:
                stream.seek(begin)
                left = length
                while left:
                    count = stream.readinto(buffer[: min(left, _CACHED)])
                    if not count:
                        raise InputError(
                            f"expected {begin + length:,} bytes or more in {self.path}, got {begin + length - left:,}: "
                            "it has changed since it was found"
                        )
                    yield buffer[:count]
                    left -= count

    def _fetch(self, ranges: Sequence[tuple[int, int]]) -> Iterator[bytes]:
        for begin, length in ranges:
            for at in range(begin, begin + length, BLOCK):
                yield self.read(at, min(BLOCK, begin + length - at))


class SizedStream(io.RawIOBase):
    """Unbuffered, seekable stream of a known size; subclasses read."""

    def __init__(self, size: int) -> None:
        self._size, self._at = size, 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def tell(self) -> int:
        return self._at

    def seek(self, offset: int, whence: int = io.SEEK_SET, /) -> int:
        self._at = offset + {io.SEEK_SET: 0, io.SEEK_CUR: self._at, io.SEEK_END: self._size}[whence]
        return self._at


class RemoteStream(SizedStream):
    """Stream of a remote file: each read is one request for exactly the bytes that it returns."""

    def __init__(self, file: File) -> None:
        super().__init__(file.size)
        self._file = file

    def read(self, size: int = -1, /) -> bytes:
        left = max(self._size - self._at, 0)
        data = self._file.read(self._at, left if size < 0 else min(size, left))
        self._at += len(data)
        return data

    def readinto(self, buffer: Any, /) -> int:
        data = self.read(len(buffer))
        buffer[: len(data)] = data
        return len(data)


def is_url(path: str) -> bool:
    """Whether a path is a URL for fsspec."""
    return "://" in path


def is_utf8(path: str) -> bool:
    """Whether a path is valid UTF-8; Python keeps other bytes of file names as surrogates."""
    return path.isascii() or not any("\ud800" <= character <= "\udfff" for character in path)


def escape_undecodable(path: str) -> str:
    """Path as valid UTF-8, with other bytes escaped."""
    return path.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")


def local_file(path: str) -> File:
    """File of a local path; symbolic links are followed.

    Raises
    ------
    InputError
        The file does not exist.
    """
    try:
        status = os.stat(path)
    except OSError as error:
        raise InputError(f"expected a file, got {path}: {first_line(error)}") from error
    return File(os.path.abspath(path), status.st_size, str(status.st_mtime_ns))


def combine_digests(*parts: str) -> str:
    """Combine content hashes into one."""
    return xxhash.xxh3_128_hexdigest("\n".join(parts).encode())


def changed_error(files: Iterable[File], start: int, stop: int, got: str) -> InputError:
    """InputError for files that have changed since they were found, by what was got of their rows."""
    names = " and ".join(file.path for file in files)
    return InputError(f"expected rows {start:,} to {stop:,} of {names} as when found, got {got}: start again")


def remote_file(url: str, info: Mapping[str, Any], options: Mapping[str, Any]) -> File:
    """File of a URL, from the info that its fsspec file system reports."""
    if info.get("size") is None:
        raise InputError(f"expected the size of {url} from its server, got none: copy the file first")
    # Without any of these keys, assume a new version each time.
    version = next((info[name] for name in _VERSION_KEYS if info.get(name) is not None), uuid4().hex)
    text = repr(version.timestamp()) if isinstance(version, datetime) else str(version).strip('"')
    return File(url, int(info["size"]), text, options)
