"""Batches of pixels for an encoder: threads decode images into reused memory while the encoder computes."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Generator, Iterator
from concurrent.futures import Future
from itertools import islice
from typing import Any

import numpy as np
import torch

from dask_aesthetic.images.pool import decoding
from dask_aesthetic.status import ImageStatus

BATCHES = 3  # In memory: threads fill two while one waits for the encoder.
TASKS = 32  # Of a batch: a task for each image would cost as much of the GIL as its header.
IN_FLIGHT = 2  # Batches that a GPU has been given: the next one is there when it has done one.

Decode = Callable[[list[Any], np.ndarray, list[int]], list[ImageStatus]]


def decode_ahead(
    images: Iterator[Any], decode: Decode, shape: tuple[int, int, int, int], device: torch.device, codes: list[int]
) -> Generator[tuple[torch.Tensor, list[int]], None, None]:
    """Batches of decoded images on a device, in order.

    Parameters
    ----------
    images : iterator
        Read in the thread of the caller.
    decode : callable
        Writes the pixels of some images into places of an array, and returns statuses. Called in other threads.
    shape : tuple of int
        (batch, height, width, 3). A batch is smaller at the end, or where few of many images can be decoded.
    device : torch.device
    codes : list of int
        Takes the `ImageStatus` of each image.

    Yields
    ------
    pixels : torch.Tensor, shape (n, height, width, 3), uint8
        Images whose status is OK. Work on a GPU is to be queued before the next batch is asked for; then the memory is
        used again.
    rows : list of int
        Their numbers among all images.
    """
    memory = _Pinned(shape, device) if device.type == "cuda" else _Memory(shape)
    slots = memory.pixels.numpy()
    size, together = shape[0], max(shape[0] // TASKS, 1)
    pending: deque[Future[list[ImageStatus]]] = deque()
    rows: list[int] = []  # Decoded, and in no batch yet.
    read = free = 0  # Images read, and images whose slots may be filled again.
    ended = False

    def decode_some(some: list[Any], first: int) -> list[ImageStatus]:
        return decode(some, slots, [at % len(slots) for at in range(first, first + len(some))])

    with decoding() as threads:
        try:
            while pending or rows or not ended:
                room = len(slots) - (read - free)
                if room and not ended:
                    some = list(islice(images, min(together, room)))
                    ended = not some
                    if some:
                        pending.append(threads.submit(decode_some, some, read))
                        read += len(some)
                waits = ended or read - free == len(slots)
                if waits and pending:
                    # Once for a batch: a thread that wakes this one may lose its core while it holds the GIL.
                    missing = -(-(size - len(rows)) // together)
                    pending[min(missing, len(pending)) - 1].exception()
                while pending and len(rows) < size and (waits or pending[0].done()):
                    for status in pending.popleft().result():
                        if status == ImageStatus.OK:
                            rows.append(len(codes))
                        codes.append(status)
                if len(rows) >= size or (rows and waits and not pending):
                    yield memory.batch([row % len(slots) for row in rows[:size]]), rows[:size]
                    memory.release()
                    rows = rows[size:]
                free = rows[0] if rows else len(codes)
        finally:
            for future in pending:
                future.cancel()


class _Memory:
    """Slots for the pixels of images, in the memory of the encoder.

    Parameters
    ----------
    shape : tuple of int
        Of a batch.
    """

    def __init__(self, shape: tuple[int, int, int, int], *, pinned: bool = False) -> None:
        size, *image = shape
        self.pixels = torch.empty((BATCHES * size, *image), dtype=torch.uint8, device="cpu", pin_memory=pinned)

    def batch(self, slots: list[int]) -> torch.Tensor:
        """The images in some slots."""
        parts = self._parts(slots)
        return parts[0] if len(parts) == 1 else torch.cat(parts)

    def release(self) -> None:
        """Return when slots of the last batch may be filled again."""

    def _parts(self, slots: list[int]) -> list[torch.Tensor]:
        """Slots that follow each other, as views."""
        ends = [at for at in range(1, len(slots)) if slots[at] != slots[at - 1] + 1]
        starts = [0, *ends]
        return [self.pixels[slots[a] : slots[b - 1] + 1] for a, b in zip(starts, [*ends, len(slots)], strict=True)]


class _Pinned(_Memory):
    """Slots that a GPU reads while it computes: batches are copied to it on a stream of their own."""

    def __init__(self, shape: tuple[int, int, int, int], device: torch.device) -> None:
        super().__init__(shape, pinned=True)
        self._there = [torch.empty(shape, dtype=torch.uint8, device=device) for _ in range(IN_FLIGHT)]
        self._computes = torch.cuda.current_stream(device)
        self._copies = torch.cuda.Stream(device)
        self._copies.wait_stream(self._computes)  # Which may be at work in the memory that the batches are copied to.
        self._copied = torch.cuda.Event(blocking=True)
        self._done: deque[torch.cuda.Event] = deque()

    def batch(self, slots: list[int]) -> torch.Tensor:
        if len(self._done) == IN_FLIGHT:
            self._done.popleft().synchronize()
        there = self._there[0]
        self._there = [*self._there[1:], there]
        at = 0
        with torch.cuda.stream(self._copies):
            for part in self._parts(slots):
                there[at : at + len(part)].copy_(part, non_blocking=True)
                at += len(part)
            self._copied.record()
        self._computes.wait_event(self._copied)
        return there[:at]

    def release(self) -> None:
        done = torch.cuda.Event(blocking=True)
        done.record(self._computes)
        self._done.append(done)
        self._copied.synchronize()
