"""The compiled resize gives the pixels of open_clip's transform, to the bit, and writes nothing beside them."""

from __future__ import annotations

import sys
from functools import partial, reduce

import numpy as np
import pytest

open_clip = pytest.importorskip("open_clip", reason="needs open_clip: pip install 'dask-aesthetic[embed]'")

from PIL import Image

from dask_aesthetic.images import resize
from dask_aesthetic.images.resize import BEFORE_13, FROM_13, Resizer
from dask_aesthetic.kernels import get_resize
from helpers.guarded import between_guards

MARGIN = 64


def transform_of(side, **config):
    *steps, _, _ = open_clip.image_transform(side, is_train=False, **config).transforms
    return lambda image: reduce(lambda done, step: step(done), steps, image)


@pytest.fixture(scope="module")
def resizers() -> dict[int, Resizer]:
    return {side: Resizer(transform_of(side), side, side) for side in (32, 224, 336)}


def pixels_of(rng: np.random.Generator, width: int, height: int) -> np.ndarray:
    """Noise, black and white, stripes, or a constant: (height, width, 4), with noise where alpha would be."""
    kind = rng.integers(4)
    pixels = rng.integers(0, 256, (height, width, 4), np.uint8)
    if kind == 1:
        pixels = (pixels >> 7) * np.uint8(255)
    elif kind == 2:
        pixels[:, :, :3] = ((np.arange(height)[:, None] // rng.integers(1, 9) + np.arange(width)) % 2 * 255)[..., None]
    elif kind == 3:
        pixels[:, :, :3] = pixels[0, 0, :3]
    return pixels


def in_the_middle(array: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """A copy of an array with noise before and behind, and the memory of all three."""
    memory = np.random.default_rng(array.size).integers(0, 256, array.size + 2 * MARGIN, np.uint8)
    inside = memory[MARGIN:-MARGIN].reshape(array.shape)
    inside[:] = array
    return inside, memory


def sizes(rng: np.random.Generator, count: int) -> list[tuple[int, int]]:
    found = [(16, 16), (16, 800), (800, 16), (17, 333), (224, 224), (224, 225), (225, 224), (640, 480), (449, 1345)]
    while len(found) < count:
        short, long = sorted(np.exp(rng.uniform(np.log(16), np.log(900), 2)).astype(int).tolist())
        if long <= 50 * short:
            found.append((short, long) if rng.integers(2) else (long, short))
    return found


@pytest.mark.parametrize("side", [32, 224, 336])
def test_pixels_equal_pillow(resizers, side):
    resizer, rng = resizers[side], np.random.default_rng(side)
    assert resizer.is_compiled
    for width, height in sizes(rng, 120):
        pixels, memory = in_the_middle(pixels_of(rng, width, height))
        out, out_memory = in_the_middle(np.zeros((side, side, 3), np.uint8))
        before, out_before = memory.copy(), out_memory.copy()
        assert resizer.takes(width, height)
        resizer.resize(pixels, out)
        expected = np.asarray(resizer.transform(Image.fromarray(np.ascontiguousarray(pixels[..., :3]))))
        assert np.array_equal(out, expected), (width, height)
        out[:] = 0
        assert np.array_equal(out_memory, out_before)
        assert np.array_equal(memory, before)


@pytest.mark.skipif(sys.platform == "win32", reason="needs mprotect")
def test_nothing_is_read_or_written_outside_the_arrays(resizers):
    rng = np.random.default_rng(7)
    memory, room = between_guards(900 * 900 * 4)
    out_memory, out_room = between_guards(336 * 336 * 3)
    for side in (32, 224, 336):
        for width, height in sizes(rng, 100):
            size, out_size = width * height * 4, side * side * 3
            for at, out_at in ((0, len(out_room) - out_size), (len(room) - size, 0)):
                pixels = room[at : at + size].reshape(height, width, 4)
                resizers[side].resize(pixels, out_room[out_at : out_at + out_size].reshape(side, side, 3))
    del pixels, room, out_room
    memory.close()
    out_memory.close()


def resampled(pixels: np.ndarray, size: int, axis: int) -> np.ndarray:
    """Pillow's pass along one axis, in numpy, from its description: weights of 22 bits, rounded to bytes."""
    old = pixels.shape[axis]
    scale = old / size
    support = 2.0 * max(scale, 1.0)
    moved = np.moveaxis(pixels, axis, 0).astype(np.int64)
    out = np.empty((size, *moved.shape[1:]), np.uint8)
    for at in range(size):
        center = (at + 0.5) * scale
        start, stop = max(int(center - support + 0.5), 0), min(int(center + support + 0.5), old)
        x = np.abs((np.arange(start, stop) - center + 0.5) / max(scale, 1.0))
        near, far = (1.5 * x - 2.5) * x * x + 1, (((x - 5) * x + 8) * x - 4) * -0.5
        weights = np.where(x < 1, near, np.where(x < 2, far, 0.0))
        weights = np.floor(weights / weights.sum() * (1 << 22) + 0.5).astype(np.int64)
        sums = np.tensordot(weights, moved[start:stop], 1) + (1 << 21)
        out[at] = (sums >> 22).clip(0, 255)
    return np.moveaxis(out, 0, axis)


@pytest.mark.parametrize("rule", [BEFORE_13, FROM_13])
def test_both_rules_of_pillow_are_known(resizers, rule, monkeypatch):
    resizer, rng = resizers[32], np.random.default_rng(1)
    monkeypatch.setattr(resizer, "resize_at", partial(get_resize().resize_and_crop, 32, rule == FROM_13))
    order_of = {False: (1, 0), True: (0, 1)}
    orders = set()
    for width, height in ((40, 333), (48, 120), (90, 60), (20, 31), (700, 64), (61, 61), (33, 98), (36, 500)):
        pixels = rng.integers(0, 256, (height, width, 4), np.uint8)
        long = int(32 * max(width, height) / min(width, height))
        new = (long, 32) if height >= width else (32, long)
        rows_first = rule == FROM_13 and height - new[0] > max(0, 2 * (width - new[1]))
        orders.add(rows_first)
        expected = pixels[..., :3]
        for axis in order_of[rows_first]:
            expected = resampled(expected, new[axis], axis)
        top, left = (round((one - 32) / 2) for one in new)
        out = np.empty((32, 32, 3), np.uint8)
        resizer.resize(pixels, out)
        # A sum may lie between two bytes by less than what the order of float additions in the weights can change.
        difference = np.abs(out.astype(int) - expected[top : top + 32, left : left + 32])
        assert difference.max() <= 1
        assert (difference != 0).mean() < 1e-3, (width, height)
    assert orders == ({False, True} if rule == FROM_13 else {False})


def test_the_rule_of_pillow_follows_its_version():
    import PIL

    assert resize.pillow_rule() == (FROM_13 if int(PIL.__version__.split(".")[0]) >= 13 else BEFORE_13)


@pytest.mark.parametrize(
    "config", [{"interpolation": "bilinear"}, {"resize_mode": "squash"}, {"resize_mode": "longest"}]
)
def test_other_transforms_are_left_to_pillow(config):
    transform = transform_of(64, **config)
    resizer = Resizer(transform, 64, 64)
    assert not resizer.is_compiled
    image = Image.fromarray(np.random.default_rng(0).integers(0, 256, (70, 90, 3), np.uint8))
    out = np.empty((64, 64, 3), np.uint8)
    resizer(image, out)
    assert np.array_equal(out, np.asarray(transform(image)))


def test_an_unknown_pillow_is_left_to_itself(monkeypatch):
    monkeypatch.setattr(resize, "pillow_rule", lambda: "99.0")
    assert not Resizer(transform_of(64), 64, 64).is_compiled
    monkeypatch.undo()
    other = FROM_13 if resize.pillow_rule() == BEFORE_13 else BEFORE_13
    monkeypatch.setattr(resize, "pillow_rule", lambda: other)
    assert not Resizer(transform_of(64), 64, 64).is_compiled


def test_arrays_that_do_not_fit_are_refused(resizers):
    resizer = resizers[32]
    pixels, out = np.zeros((40, 50, 4), np.uint8), np.zeros((32, 32, 3), np.uint8)
    read_only = out.copy()
    read_only.flags.writeable = False
    for wrong in (
        pixels[..., :3],
        pixels[::2],
        pixels[:15],
        pixels.astype(np.uint16),
        np.zeros((16, 801, 4), np.uint8),
    ):
        with pytest.raises(ValueError, match="expected"):
            resizer.resize(wrong, out)
    for wrong in (out[:31], out[:, ::-1], out.astype(np.int8), np.zeros((64, 32, 3), np.uint8)[::2], read_only):
        with pytest.raises(ValueError, match="expected"):
            resizer.resize(pixels, wrong)


def test_without_numba_pillow_resizes(resizers, monkeypatch):
    monkeypatch.setattr(resize, "get_resize", lambda: None)
    resizer = Resizer(resizers[32].transform, 32, 32)
    assert not resizer.is_compiled
    image = Image.fromarray(np.random.default_rng(0).integers(0, 256, (70, 90, 3), np.uint8))
    out, compiled = np.empty((2, 32, 32, 3), np.uint8)
    resizer(image, out)
    resizers[32](image, compiled)
    assert np.array_equal(out, compiled)
    assert get_resize() is not None


@pytest.mark.parametrize("size", [(90, 60), (5001, 4003)])
@pytest.mark.parametrize("mode", ["RGB", "L"])
def test_pixels_of_pillow_are_read_from_its_memory(size, mode):
    image = Image.fromarray(np.random.default_rng(0).integers(0, 256, (size[1], size[0]), np.uint8)).convert(mode)
    found = resize.rgbx(image)
    assert found.shape == (size[1], size[0], 4)
    assert np.array_equal(found[..., :3], np.asarray(image.convert("RGB")))
