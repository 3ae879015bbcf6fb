"""Images of all kinds have the pixels of open_clip's transform and today's statuses, with simplejpeg and without it."""

from __future__ import annotations

import struct
from functools import reduce
from io import BytesIO

import numpy as np
import pytest

open_clip = pytest.importorskip("open_clip", reason="needs open_clip: pip install 'dask-aesthetic[embed]'")

from PIL import Image, ImageFile

from dask_aesthetic.images import decode, decoder, jpeg
from dask_aesthetic.images.decoder import Decoder
from dask_aesthetic.images.pool import decoding
from dask_aesthetic.images.resize import Resizer
from dask_aesthetic.status import ImageStatus
from helpers import image_files

SIDE = 64


@pytest.fixture(scope="module")
def transform():
    *steps, _, _ = open_clip.image_transform(SIDE, is_train=False).transforms
    return lambda image: reduce(lambda done, step: step(done), steps, image)


@pytest.fixture(scope="module")
def resizer(transform) -> Resizer:
    return Resizer(transform, SIDE, SIDE)


@pytest.fixture(params=["simplejpeg", "Pillow alone", "Pillow for everything"])
def way(request, monkeypatch, resizer):
    """Who decodes and resizes."""
    if request.param == "simplejpeg":
        pytest.importorskip("simplejpeg")
        assert jpeg.get_simplejpeg() is not None
    else:
        without_simplejpeg(monkeypatch)
    if request.param == "Pillow for everything":
        monkeypatch.setattr(resizer, "is_compiled", False)
    return request.param


def without_simplejpeg(patch: pytest.MonkeyPatch) -> None:
    for module in (jpeg, decoder):
        patch.setattr(module, "get_simplejpeg", lambda: None)


def decoded(data: bytes, resizer: Resizer, exif_orientation: bool = False) -> tuple[np.ndarray, ImageStatus]:
    """Pixels and status, in the second of three slots."""
    slots = np.full((3, SIDE, SIDE, 3), 7, np.uint8)
    with decoding():
        (status,) = Decoder(resizer, exif_orientation, {})([data], slots, [1])
    assert (slots[::2] == 7).all()
    return slots[1], status


def kinds() -> dict[str, bytes]:
    """Encoded images of all kinds of JPEG, and of other formats, modes and sizes."""
    photo = Image.fromarray(image_files.colors(1, 181, 123))
    gray, cmyk = photo.convert("L"), photo.convert("CMYK")
    noisy = Image.fromarray(np.random.default_rng(1).integers(0, 256, (90, 130, 3), np.uint8))
    exif = Image.Exif()
    exif[0x0112] = 6
    found = {
        f"JPEG {mode} {subsampling} {progressive} {quality}": image_files.encoded(
            image, "JPEG", subsampling=subsampling, progressive=progressive, quality=quality
        )
        for mode, image in (("RGB", photo), ("noise", noisy), ("L", gray))
        for subsampling in ("4:4:4", "4:2:2", "4:2:0")
        for progressive in (False, True)
        for quality in (5, 75, 100)
    }
    plain = image_files.encoded(photo, "JPEG")
    found |= {
        "JPEG CMYK": image_files.encoded(cmyk, "JPEG"),
        "JPEG keep_rgb": image_files.encoded(photo, "JPEG", keep_rgb=True),
        "JPEG optimized": image_files.encoded(photo, "JPEG", optimize=True),
        "JPEG restart markers": image_files.encoded(photo, "JPEG", restart_marker_blocks=3),
        "JPEG EXIF": image_files.encoded(photo, "JPEG", exif=exif),
        "JPEG profile": image_files.encoded(photo, "JPEG", icc_profile=b"x" * 70_000),
        "JPEG comment": image_files.encoded(photo, "JPEG", comment=b"\xff\xd9" * 40),
        "JPEG and junk": plain + b"\xff\xd8\xff" * 500,
        "JPEG twice": plain + plain,
        "MPO": image_files.encoded(photo, "MPO", save_all=True, append_images=[noisy]),
    }
    for width, height in (
        (1, 1),
        (1, 50),
        (50, 1),
        (15, 40),
        (16, 16),
        (16, 800),
        (801, 16),
        (800, 17),
        (31, 1300),
        (999, 64),
    ):
        image = Image.fromarray(image_files.colors(width, width, height))
        found[f"JPEG {width} x {height}"] = image_files.encoded(image, "JPEG")
        found[f"PNG {width} x {height}"] = image_files.encoded(image, "PNG")
    for mode in ("1", "L", "LA", "P", "RGB", "RGBA", "I;16"):
        image = photo.convert("RGBA" if mode in ("LA", "RGBA") else "RGB").convert("L" if mode == "I;16" else mode)
        if mode == "I;16":
            image = Image.fromarray(np.asarray(image).astype(np.uint16) << 8)
        found[f"PNG {mode}"] = image_files.encoded(image, "PNG")
    found["PNG L, a transparent level"] = image_files.encoded(gray, "PNG", transparency=7)
    found["PNG RGB, a transparent color"] = image_files.encoded(photo, "PNG", transparency=(1, 2, 3))
    for kind in ("WEBP", "GIF", "TIFF", "BMP"):
        found[kind] = image_files.encoded(photo, kind)
    return found


KINDS = kinds()


@pytest.mark.parametrize("exif_orientation", [False, True])
def test_pixels_of_every_kind_equal_open_clip(way, resizer, transform, exif_orientation):
    from PIL import ImageOps

    from dask_aesthetic.images.decode import _eight_bits

    for name, data in KINDS.items():
        got, status = decoded(data, resizer, exif_orientation=exif_orientation)
        assert status == ImageStatus.OK, name
        with Image.open(BytesIO(data)) as image:
            image.load()
            image = _eight_bits(image)
            expected = np.asarray(transform(ImageOps.exif_transpose(image) if exif_orientation else image))
        assert np.array_equal(got, expected), name


def test_plain_jpegs_are_decoded_by_simplejpeg_and_no_others(monkeypatch, resizer):
    pytest.importorskip("simplejpeg")
    seen = []
    load = ImageFile.ImageFile.load
    monkeypatch.setattr(ImageFile.ImageFile, "load", lambda self: seen.append(self.format) or load(self))
    for name, data in KINDS.items():
        seen.clear()
        decoded(data, resizer, exif_orientation=True)
        by_pillow = not name.startswith("JPEG") or name in (
            "JPEG CMYK", "JPEG EXIF", "JPEG 1 x 1", "JPEG 1 x 50", "JPEG 50 x 1", "JPEG 15 x 40", "JPEG 801 x 16"
        )  # fmt: skip
        assert bool(seen) == by_pillow, name


def test_statuses_of_invalid_images(way, resizer):
    for name, (data, expected) in image_files.invalid_images().items():
        assert decoded(data, resizer)[1] == ImageStatus[expected.upper()], name


def damaged(seed: int) -> bytes:
    """A JPEG with some bytes changed, cut out, put in, or cut off."""
    rng = np.random.default_rng(seed)
    options = {"progressive": bool(rng.integers(2)), "subsampling": int(rng.integers(3))}
    data = bytearray(image_files.encoded(Image.fromarray(image_files.colors(seed, 70, 50)), "JPEG", **options))
    for _ in range(rng.integers(1, 4)):
        at, how = int(rng.integers(2, len(data))), rng.integers(4)
        if how == 0:
            data[at] ^= 1 << int(rng.integers(8))
        elif how == 1:
            del data[at : at + int(rng.integers(1, 40))]
        elif how == 2:
            data[at:at] = rng.integers(0, 256, int(rng.integers(1, 40)), np.uint8).tobytes()
        else:
            del data[max(at, len(data) - 400) :]
    return bytes(data)


def test_damaged_jpegs_have_the_pixels_and_statuses_of_pillow(monkeypatch, resizer):
    pytest.importorskip("simplejpeg")
    damage = [damaged(seed) for seed in range(400)]
    found = [decoded(data, resizer) for data in damage]
    without_simplejpeg(monkeypatch)
    monkeypatch.setattr(resizer, "is_compiled", False)
    statuses = set()
    for data, (pixels, status) in zip(damage, found, strict=True):
        expected, expected_status = decoded(data, resizer)
        assert status == expected_status
        assert status != ImageStatus.OK or np.array_equal(pixels, expected)
        statuses.add(status)
    assert statuses >= {ImageStatus.OK, ImageStatus.UNDECODABLE}


def test_headers_that_promise_too_much_are_refused_before_decoding(monkeypatch, resizer):
    monkeypatch.setattr(decode, "decode_jpeg", lambda *_: pytest.fail("decoded"))
    data = bytearray(image_files.image(0))
    frame = data.index(b"\xff\xc0")
    for height, width in ((60_000, 60_000), (30_000, 3_000), (9_000, 10_000), (1, 65_000)):
        data[frame + 5 : frame + 9] = struct.pack(">HH", height, width)
        assert decoded(bytes(data), resizer)[1] == ImageStatus.TOO_LARGE


def test_a_size_that_differs_between_the_decoders_is_left_to_pillow():
    pytest.importorskip("simplejpeg")
    data = image_files.image(0)
    assert jpeg.decode_jpeg(data, 90, 60) is not None
    for width, height in ((89, 60), (90, 59), (60, 90), (100, 100)):
        assert jpeg.decode_jpeg(data, width, height) is None


def test_a_large_image_has_memory_of_its_own(monkeypatch):
    pytest.importorskip("simplejpeg")
    monkeypatch.setattr(jpeg, "KEPT_BYTES", 1 << 20)
    small = jpeg.decode_jpeg(image_files.image(0), 90, 60)
    assert np.shares_memory(small, jpeg.buffer.pixels)
    before = small.copy()
    large = jpeg.decode_jpeg(image_files.encoded(Image.fromarray(image_files.colors(0, 900, 700)), "JPEG"), 900, 700)
    assert large.shape == (700, 900, 4)
    assert np.array_equal(small, before)


def test_a_bound_that_a_process_has_lowered_holds_for_all_decoders(monkeypatch, way, resizer):
    data = image_files.image(0)
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 90 * 60 // 2)
    assert decoded(data, resizer)[1] == ImageStatus.OK
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 90 * 60 // 2 - 1)
    assert decoded(data, resizer)[1] == ImageStatus.TOO_LARGE


def test_pillow_opens_no_plain_jpeg(monkeypatch, resizer):
    pytest.importorskip("simplejpeg")
    opened = []
    real = Image.open
    monkeypatch.setattr(Image, "open", lambda *given, **named: opened.append(1) or real(*given, **named))
    for name, data in KINDS.items():
        opened.clear()
        decoded(data, resizer)
        plain = name.startswith("JPEG") and name not in (
            "JPEG CMYK", "JPEG EXIF", "JPEG 1 x 1", "JPEG 1 x 50", "JPEG 50 x 1", "JPEG 15 x 40", "JPEG 801 x 16"
        )  # fmt: skip
        assert bool(opened) != plain, name


def test_slots_that_do_not_fit_are_refused(resizer):
    slots = np.zeros((3, SIDE, SIDE, 3), np.uint8)
    read_only = slots.copy()
    read_only.flags.writeable = False
    for wrong in (slots[0], slots[:, 1:], slots[..., ::-1], slots.astype(np.int16), read_only):
        with pytest.raises(ValueError, match="expected contiguous"):
            Decoder(resizer, False, {})([image_files.image(0)], wrong, [0])


def test_a_simplejpeg_with_other_pixels_is_not_used(monkeypatch):
    simplejpeg = pytest.importorskip("simplejpeg")
    jpeg.get_simplejpeg.cache_clear()
    real = simplejpeg.decode_jpeg
    monkeypatch.setattr(simplejpeg, "decode_jpeg", lambda *given, **named: real(*given, **named, fastdct=True))
    assert jpeg.get_simplejpeg() is None
    monkeypatch.undo()
    jpeg.get_simplejpeg.cache_clear()
    assert jpeg.get_simplejpeg() is simplejpeg
