"""Byte ranges of a remote file, fetched ahead of their reader by several requests, within one bound on memory."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from threading import Event, Lock
from typing import Any

from dask_aesthetic.io.storage import File, RemoteStream

PIECE = 1 << 23  # Bytes of a request, at most.
SMALL_PIECE = 1 << 16  # Bytes of a request where very many readers share the memory.
REQUESTS = 8  # Requests in flight of a reader.
MEMORY = 1 << 27  # Bytes that all readers of a process hold ahead.


class Budget:
    """Bytes that readers may hold ahead, all together; each may hold an equal share of them."""

    def __init__(self, size: int) -> None:
        self.size = size
        self.lock = Lock()
        self.used = self.readers = 0


class ReadAhead(RemoteStream):
    """Unbuffered stream of a remote file that fetches planned ranges before they are read.

    Planned ranges are to be read in their order. What is read otherwise, or cannot be fetched ahead because other
    readers hold the memory, is one request for exactly the bytes that are returned, as in a `RemoteStream`. Errors of
    the store are raised where the bytes are read. One thread reads, and closes the stream in the end: then no request
    and no thread is left.
    """

    def __init__(self, file: File, budget: Budget | None = None) -> None:
        super().__init__(file)
        self._share = _Share(budget or _budget)
        self._closing = Event()
        self._store = file.shared_store()
        self._planned: deque[tuple[int, int]] = deque()  # As (begin, end), not yet requested.
        self._pieces: deque[_Piece] = deque()  # Requested, in the order of the plan.
        self._threads: ThreadPoolExecutor | None = None
        self._needed = 0  # Bytes before the last position that was sought are not read again.

    def plan(self, ranges: Iterable[tuple[int, int]]) -> None:
        """Add (begin, length) ranges that will be read; contiguous ones are fetched together."""
        for begin, length in ranges:
            if self._planned and self._planned[-1][1] == begin:
                self._planned[-1] = (self._planned[-1][0], begin + length)
            elif length:
                self._planned.append((begin, begin + length))
        self._request()

    def seek(self, offset: int, whence: int = 0, /) -> int:
        self._needed = super().seek(offset, whence)
        return self._needed

    def read(self, size: int = -1, /) -> Any:
        """Read as other streams do, into a bytearray, since it is filled piece by piece."""
        left = max(self._size - self._at, 0)
        buffer = bytearray(left if size < 0 else min(size, left))
        view, filled = memoryview(buffer), 0
        while filled < len(buffer):
            filled += self.readinto(view[filled:])
        return buffer

    def readinto(self, buffer: Any, /) -> int:
        if self._closing.is_set():
            raise ValueError("expected an open stream, got a closed one")
        view = memoryview(buffer).cast("B")
        size = min(len(view), max(self._size - self._at, 0))
        if not size:
            return 0
        data = self._ahead(size)
        view[: len(data)] = data
        self._at += len(data)
        return len(data)

    def close(self) -> None:
        if not self.closed:
            self._closing.set()
            self._planned.clear()
            self._drop(len(self._pieces))
            if self._threads is not None:
                self._threads.shutdown(cancel_futures=True)
            self._share.leave()
        super().close()

    def _ahead(self, size: int) -> memoryview:
        """Bytes at the position, up to `size`."""
        piece = self._find()
        if piece is not None:
            return memoryview(piece.data.result())[self._at - piece.begin :][:size]
        if self._planned and self._planned[0][0] == self._at:  # No memory is left.
            begin, end = self._planned.popleft()
            size = min(size, end - begin)
            if begin + size < end:
                self._planned.appendleft((begin + size, end))
        return memoryview(_fetch(self._file, self._at, size, self._closing, self._store))

    def _find(self) -> _Piece | None:
        """The piece with the byte at the position; None if there is none. Pieces and ranges before it are dropped."""
        for at, piece in enumerate(self._pieces):
            if piece.begin <= self._at < piece.end:
                # The page reader goes back to where the last page began.
                keep = at and self._pieces[at - 1].end > self._needed
                self._drop(at - 1 if keep else at)
                self._request()
                return piece
        for at, (begin, end) in enumerate(self._planned):
            if begin <= self._at < end:
                self._drop(len(self._pieces))
                for _ in range(at + 1):
                    self._planned.popleft()
                self._planned.appendleft((self._at, end))
                self._request()
                return self._pieces[0] if self._pieces else None
        return None

    def _request(self) -> None:
        """Request the next planned bytes, as many as the share of the memory allows."""
        while self._planned:
            begin, end = self._planned[0]
            size = self._share.take(end - begin)
            if not size:
                return
            self._planned.popleft()
            if begin + size < end:
                self._planned.appendleft((begin + size, end))
            if self._threads is None:
                self._threads = ThreadPoolExecutor(REQUESTS, "read-ahead")
            # The thread must not hold the stream: it would have to end itself where nobody closes the stream.
            data = self._threads.submit(_fetch, self._file, begin, size, self._closing, self._store)
            self._pieces.append(_Piece(begin, begin + size, data))

    def _drop(self, count: int) -> None:
        share = self._share
        for _ in range(count):
            piece = self._pieces.popleft()
            piece.data.cancel()
            piece.data.add_done_callback(partial(share.give, piece.end - piece.begin))


@dataclass(frozen=True)
class _Piece:
    """Bytes from `begin` to `end` of a file, of one request."""

    begin: int
    end: int
    data: Future[bytes]


class _Share:
    """A reader's share of a budget, from its first bytes on."""

    def __init__(self, budget: Budget) -> None:
        self._budget, self._held, self._joined = budget, 0, 0

    def take(self, most: int) -> int:
        """Take up to `most` bytes for a request; returns their number, 0 if the share or the budget is used up."""
        budget = self._budget
        with budget.lock:
            budget.readers += 1 - self._joined
            self._joined = 1
            share = budget.size // budget.readers
            # At least four pieces: one that is read, one before it, and two in flight.
            size = min(most, PIECE, max(share // 4, SMALL_PIECE))
            if self._held + size > share or budget.used + size > budget.size:
                return 0
            self._held += size
            budget.used += size
            return size

    def give(self, size: int, _: object = None) -> None:
        with self._budget.lock:
            self._held -= size
            self._budget.used -= size

    def leave(self) -> None:
        with self._budget.lock:
            self._budget.readers -= self._joined
            self._joined = 0


def _fetch(file: File, begin: int, length: int, closing: Event, store: Any) -> bytes:
    if closing.is_set():
        raise ValueError("expected an open stream, got a closed one")
    return file.read(begin, length, closing, store)


_budget = Budget(MEMORY)
