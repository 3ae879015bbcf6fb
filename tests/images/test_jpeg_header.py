"""Headers of JPEGs that are read without Pillow say what Pillow says, and leave to it all that it may refuse."""

from __future__ import annotations

import struct
import sys
import warnings
from io import BytesIO

import numpy as np
import pytest

pytest.importorskip("PIL", reason="needs Pillow: pip install 'dask-aesthetic[embed]'")

from PIL import Image

from dask_aesthetic.kernels import get_jpeg_header
from helpers import image_files
from helpers.guarded import between_guards

PREFIXES = (
    b"JFIF\0", b"JFXX\0", b"Exif\0\0", b"Exif\0", b"http://ns.adobe.com/xap/1.0/\0", b"ICC_PROFILE\0", b"MPF\0",
    b"FPXR\0", b"Photoshop 3.0\x008BIM", b"Adobe", b"", b"anything",
)  # fmt: skip
TIFF = b"MM\0*\0\0\0\x08\0\x01\x01\x12\0\x03\0\0\0\x01\0\x06\0\0\0\0\0\0"  # Orientation 6.


def header_of(data: bytes, exif_orientation: bool = False) -> tuple[int, int] | None:
    """Width and height of a plain JPEG; None for others."""
    module = get_jpeg_header()
    found = module.read_jpeg_header(np.frombuffer(data, np.uint8), exif_orientation)
    return (found & (1 << module.SIDE_BITS) - 1, found >> module.SIDE_BITS) if found else None


def by_pillow(data: bytes) -> tuple[tuple[int, int], int] | None:
    """Size and orientation of an RGB or gray JPEG; None for others, and where Pillow refuses it."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            with Image.open(BytesIO(data)) as image:
                if image.format != "JPEG" or image.mode not in ("RGB", "L"):
                    return None
                return image.size, image.getexif().get(0x0112, 1)
        except Exception:
            return None


def segment(marker: int, body: bytes) -> bytes:
    return struct.pack(">BBH", 0xFF, marker, len(body) + 2) + body


def header(rng: np.random.Generator) -> bytes:
    """A JPEG's header with segments of all kinds put in, cut short or repeated, and bytes changed."""
    kind = int(rng.integers(6))
    photo = Image.fromarray(image_files.colors(kind, 70 + kind, 50)).convert(
        ("RGB", "L", "RGB", "RGB", "CMYK", "RGB")[kind]
    )
    data = image_files.encoded(photo, "JPEG", progressive=kind % 2 == 0, optimize=kind == 3)
    segments = [data[:2]]
    at = 2
    while data[at + 1] != 0xDA:
        size = 2 + int.from_bytes(data[at + 2 : at + 4])
        segments.append(data[at : at + size])
        at += size
    for _ in range(rng.integers(0, 4)):
        prefix = PREFIXES[rng.integers(len(PREFIXES))]
        marker = int(rng.choice([0xE0, 0xE1, 0xE2, 0xED, 0xEE, rng.integers(0xC0, 0xFF)]))
        tail = TIFF if prefix.startswith(b"Exif") and rng.integers(2) else rng.bytes(int(rng.integers(0, 20)))
        segments.insert(int(rng.integers(1, len(segments) + 1)), segment(marker, prefix + tail))
    if rng.random() < 0.2:
        segments.insert(int(rng.integers(1, len(segments))), segments[rng.integers(1, len(segments))])
    made = bytearray(b"".join(segments) + data[at:])
    for _ in range(rng.integers(0, 3) if rng.random() < 0.5 else 0):
        made[rng.integers(2, len(made) - len(data) + at)] = rng.integers(256)
    if rng.random() < 0.1:
        del made[rng.integers(1, len(made)) :]
    return bytes(made)


def test_headers_of_all_kinds_are_read_as_pillow_reads_them_or_left_to_it():
    rng = np.random.default_rng(0)
    plain = left = refused = 0
    for _ in range(2500):
        data = header(rng)
        expected = by_pillow(data)
        refused += expected is None
        for exif_orientation in (False, True):
            found = header_of(data, exif_orientation)
            if found is None:
                left += expected is not None
                continue
            plain += 1
            assert expected is not None, data
            assert found == expected[0], data
            assert not exif_orientation or expected[1] == 1, data
    # It would prove nothing if all were left to Pillow, or if Pillow took them all.
    assert plain > 900
    assert refused > 300
    assert left > 200


@pytest.mark.parametrize(
    "options",
    [
        {}, {"progressive": True}, {"subsampling": "4:4:4"}, {"optimize": True}, {"restart_marker_blocks": 3},
        {"comment": b"x" * 300}, {"icc_profile": b"x" * 70_000}, {"dpi": (300, 300)}, {"keep_rgb": True}, {"mode": "L"},
    ],
)  # fmt: skip
def test_ordinary_jpegs_are_plain(options):
    photo = Image.fromarray(image_files.colors(0, 181, 123)).convert(options.pop("mode", "RGB"))
    assert header_of(image_files.encoded(photo, "JPEG", **options), exif_orientation=True) == (181, 123)


def test_exif_data_are_left_to_pillow_where_it_reads_them():
    exif = Image.Exif()
    exif[0x0112] = 6
    photo = Image.fromarray(image_files.colors(0, 181, 123))
    with_dpi = image_files.encoded(photo, "JPEG", exif=exif, dpi=(300, 300))
    assert header_of(with_dpi) == (181, 123)
    assert header_of(with_dpi, exif_orientation=True) is None
    assert header_of(image_files.encoded(photo, "JPEG", exif=exif)) is None


@pytest.mark.skipif(sys.platform == "win32", reason="needs mprotect")
def test_no_byte_behind_a_header_is_read():
    rng = np.random.default_rng(1)
    memory, room = between_guards(1 << 16)
    read = get_jpeg_header().read_jpeg_header
    for _ in range(40):
        data = header(rng)[:4000]
        for end in range(len(data)):
            behind = room[len(room) - end :]
            behind[:] = np.frombuffer(data[:end], np.uint8)
            behind.flags.writeable = False
            found = read(behind, False)
            assert not found or end >= data.index(b"\xff\xda")
    del room, behind
    memory.close()
