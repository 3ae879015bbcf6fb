"""Thumbnails of a report: every kind of image column, size, orientation, metadata, and reasons for their absence."""

from __future__ import annotations

import io
import os
import zlib
from base64 import b64decode

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest

from helpers.report_page import Page, encoded

pytest.importorskip("jinja2", reason="needs pip install 'dask-aesthetic[report]'")
Image = pytest.importorskip("PIL.Image", reason="needs pip install 'dask-aesthetic[report]'")

from dask_aesthetic.report import thumbnails


def write(frame, tmp_path, **options) -> Page:
    return Page(frame.aesthetic.report(tmp_path / "report.html", **options))


def test_thumbnails_of_noise_keep_to_their_budget(tmp_path):
    rng = np.random.default_rng(0)
    noise = io.BytesIO()
    Image.fromarray(rng.integers(0, 256, (200, 200, 3), dtype=np.uint8)).save(noise, "PNG")
    scores = np.repeat(np.arange(-14.9, 24.9, 0.5), 4).astype("f4")  # More half points than any predictor fills.
    frame = pd.DataFrame(
        {"key": np.arange(len(scores)), "aesthetic_score": scores, "image": [noise.getvalue()] * len(scores)}
    )
    path = frame.aesthetic.report(tmp_path / "page.html", image_column="image", samples=4)
    assert path.stat().st_size < 3_000_000
    few = frame.iloc[::4].aesthetic.report(tmp_path / "few.html", image_column="image")
    assert few.stat().st_size < 3_000_000


IMAGES = {
    "bytes": lambda path: path.read_bytes(),
    "path": str,
    "huggingface bytes": lambda path: {"bytes": path.read_bytes(), "path": None},
    "huggingface path": lambda path: {"bytes": None, "path": str(path)},
    "list": lambda path: [path.read_bytes()],
    "array of uint8": lambda path: np.frombuffer(path.read_bytes(), np.uint8),
    "struct of lists": lambda path: {"bytes": list(path.read_bytes()), "path": None},
}


@pytest.mark.parametrize("kind", IMAGES)
def test_images_of_every_kind_of_column(tmp_path, kind):
    file = tmp_path / "a.png"
    file.write_bytes(encoded("red"))
    value = IMAGES[kind](file)
    plain_frame = pd.DataFrame({"aesthetic_score": [5.5], "image": pd.Series([value], dtype=object)})
    arrow = pa.table({"aesthetic_score": pa.array([5.5], pa.float32()), "image": pa.array([value])})
    for frame in (plain_frame, arrow.to_pandas(types_mapper=pd.ArrowDtype)):
        page = write(frame, tmp_path, image_column="image")
        assert len(page.all("img")) == 2  # In its half point, and nearest to the threshold.
        assert {(one["width"], one["height"]) for one in page.all("img")} == {("160", "107")}


def opened(thumbnail) -> Image.Image:
    head, data = thumbnail.url.split(",")
    assert head == "data:image/jpeg;base64"
    return Image.open(io.BytesIO(b64decode(data)))


def test_thumbnails_are_upright_on_white_and_without_metadata(shared):
    images = shared / "data/images"
    upright, turned = (
        thumbnails.make_thumbnail(str(images / name)) for name in ("hopper.jpg", "hopper_orientation_6.jpg")
    )
    assert opened(turned).getexif() == {}
    assert (turned.width, turned.height) in ((upright.width, upright.height), (upright.height, upright.width))
    for name in ("pil_sample_cmyk.jpg", "p_trns_single.png", "hopper.webp", "transparent.png"):
        small = opened(thumbnails.make_thumbnail(str(images / name)))
        assert (small.mode, max(small.size) <= 160) == ("RGB", True)
    clear = io.BytesIO()
    Image.new("RGBA", (50, 50), (0, 0, 0, 0)).save(clear, "PNG")
    assert opened(thumbnails.make_thumbnail(clear.getvalue())).getpixel((25, 25)) == (255, 255, 255)
    deep = io.BytesIO()
    Image.fromarray(np.linspace(0, 65535, 10_000).reshape(100, 100).astype(np.uint16)).save(deep, "PNG")
    levels = np.asarray(opened(thumbnails.make_thumbnail(deep.getvalue())))[:, :, 0]
    assert levels.min() < 10
    assert levels.max() > 245


def test_exif_orientation_is_applied():
    exif = Image.Exif()
    exif[0x0112], exif[0x010F] = 6, "a camera"
    turned = thumbnails.make_thumbnail(encoded(size=(300, 100), kind="JPEG", exif=exif))
    assert (turned.width, turned.height) == (53, 160)
    assert b"a camera" not in opened(turned).fp.getvalue()


def test_images_without_a_thumbnail_give_the_reason(tmp_path):
    (tmp_path / "text.jpg").write_text("no image")
    whole = encoded(kind="JPEG", size=(900, 900))
    fifo = tmp_path / "pipe"
    os.mkfifo(fifo)
    head = b"IHDR" + (60_000).to_bytes(4, "big") * 2 + encoded()[24:29]
    bomb = encoded()[:12] + head + zlib.crc32(head).to_bytes(4, "big") + encoded()[33:]
    cases = {
        None: "no image",
        b"": "no image",
        b"junk": "not an image of a known format",
        whole[:2000]: "cannot be read: image file is truncated",
        bomb: "too many pixels to decode",
        str(tmp_path / "text.jpg"): "not an image of a known format",
        str(tmp_path / "absent.jpg"): "cannot be read: No such file or directory",
        str(fifo): "not a file",
        "nul\0": "cannot be decoded: embedded null byte",
        "https://example.com/a.jpg": "a URL, which is not loaded",
        b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n": "not an image of a known format",
        5: "no image",
    }
    for value, reason in cases.items():
        assert thumbnails.make_thumbnail(value).reason.startswith(reason)
    wide = io.BytesIO()
    Image.new("1", (8000, 7000)).save(wide, "PNG", compress_level=1)
    assert thumbnails.make_thumbnail(wide.getvalue()).reason == "8000 x 7000 pixels, too many to decode"
    frame = pd.DataFrame({"aesthetic_score": np.float32(5), "image": pd.Series(list(cases), dtype=object)})
    page = write(frame, tmp_path, image_column="image", samples=24)
    assert "No image: a URL, which is not loaded: give the column as url_column" in page.text
