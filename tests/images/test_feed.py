"""Batches for the encoder: all images in order, whoever decodes them and however many cannot be decoded."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator

import numpy as np
import pytest
import torch

pytest.importorskip("PIL", reason="needs Pillow: pip install 'dask-aesthetic[embed]'")

from dask_aesthetic.images import feed, pool
from dask_aesthetic.status import ImageStatus

CPU = torch.device("cpu")


def number_of(image: int, out: np.ndarray) -> ImageStatus:
    """Decode a number to pixels that hold it; a negative one cannot be decoded."""
    if image < 0:
        out[:] = 255
        return ImageStatus.UNDECODABLE
    out[:] = np.frombuffer(image.to_bytes(3, "little"), np.uint8)
    return ImageStatus.OK


def each(decode):
    """Decode some images one by one."""
    return lambda some, slots, places: [decode(one, slots[place]) for one, place in zip(some, places, strict=True)]


def numbers_in(pixels: torch.Tensor) -> list[int]:
    whole = pixels.numpy().reshape(len(pixels), -1, 3)
    assert (whole == whole[:, :1]).all()
    return [int.from_bytes(one.tobytes(), "little") for one in whole[:, 0]]


def feed_all(images, size, decode=number_of):
    codes: list[int] = []
    batches = [
        (numbers_in(pixels), rows)
        for pixels, rows in feed.decode_ahead(iter(images), each(decode), (size, 2, 2, 3), CPU, codes)
    ]
    return batches, codes


@pytest.mark.parametrize("threads", [1, 3])
@pytest.mark.parametrize(("size", "failing"), [(1, 0.3), (4, 0), (4, 0.2), (4, 0.97), (64, 0), (100, 0.5)])
def test_every_image_is_in_one_batch_in_order(monkeypatch, threads, size, failing):
    monkeypatch.setattr(pool, "thread_count", lambda: threads)
    rng = np.random.default_rng(size)
    for count in (0, 1, size, 7 * size, 500):
        images = np.where(rng.random(count) < failing, -1, np.arange(count)).tolist()
        batches, codes = feed_all(images, size)
        good = [image for image in images if image >= 0]
        assert [number for numbers, _ in batches for number in numbers] == good
        assert [row for _, rows in batches for row in rows] == good
        assert codes == [ImageStatus.UNDECODABLE if image < 0 else ImageStatus.OK for image in images]
        assert all(0 < len(rows) <= size for _, rows in batches)
        if failing <= 0.2:
            assert all(len(rows) == size for _, rows in batches[:-1])


def test_a_slow_image_keeps_no_other_from_being_decoded():
    size, decoded, others = 4, [], threading.Event()

    def decode(image: int, out: np.ndarray) -> ImageStatus:
        if image == 0:
            assert others.wait(30)
        else:
            decoded.append(image)
            if len(decoded) == feed.BATCHES * size - 1:
                others.set()
        return number_of(image, out)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(pool, "thread_count", lambda: 2)
        batches, _ = feed_all(range(40), size, decode)
    assert [row for _, rows in batches for row in rows] == list(range(40))


def test_images_are_read_as_they_are_decoded_and_no_further_than_the_memory():
    size, read, seen = 8, [], []

    def images() -> Iterator[int]:
        for image in range(200):
            read.append(image)
            yield image

    for pixels, rows in feed.decode_ahead(images(), each(number_of), (size, 2, 2, 3), CPU, []):
        seen += rows
        assert len(read) <= rows[0] + feed.BATCHES * size
        assert numbers_in(pixels) == rows
    assert seen == list(range(200))


def test_an_error_of_decoding_or_reading_ends_the_feed_and_its_threads():
    def broken(image: int, out: np.ndarray) -> ImageStatus:
        if image == 20:
            raise ImportError("no library for this protocol")
        return number_of(image, out)

    def images() -> Iterator[int]:
        yield from range(20)
        raise OSError("the disk is gone")

    before = set(threading.enumerate())
    with pytest.raises(ImportError, match="no library"):
        feed_all(range(100), 4, broken)
    with pytest.raises(OSError, match="disk is gone"):
        feed_all(images(), 4)
    batches = feed.decode_ahead(iter(range(1000)), each(number_of), (4, 2, 2, 3), CPU, [])
    next(batches)
    batches.close()
    deadline = time.monotonic() + 10
    while set(threading.enumerate()) - before and time.monotonic() < deadline:
        time.sleep(0.01)
    assert set(threading.enumerate()) <= before


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs an NVIDIA GPU")
def test_memory_is_filled_again_only_after_a_slow_gpu_has_read_it():
    images = [-1 if image % 7 == 3 else image for image in range(5000)]
    codes: list[int] = []
    busy = torch.randn(4096, 4096, device="cuda")
    batches = []
    for pixels, rows in feed.decode_ahead(iter(images), each(number_of), (64, 32, 32, 3), torch.device("cuda"), codes):
        for _ in range(10):
            busy = torch.nn.functional.normalize(busy @ busy)
        batches.append((pixels.clone(), rows))
    assert [row for _, rows in batches for row in rows] == [image for image in images if image >= 0]
    for pixels, rows in batches:
        assert numbers_in(pixels.cpu()) == rows
