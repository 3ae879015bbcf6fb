"""Thumbnails of images as ``data:`` URLs, or the reason why an image has no thumbnail."""

from __future__ import annotations

import os
import stat
from base64 import b64encode
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from io import BytesIO
from typing import TYPE_CHECKING, Any, cast

from dask_aesthetic.errors import first_line
from dask_aesthetic.images.decode import FORMATS
from dask_aesthetic.images.sources import images_of, parse_image

if TYPE_CHECKING:
    from PIL.Image import Image

THREADS = 4
MAX_PIXELS = 50_000_000  # 200 MB each, decoded.
MAX_PAGE_BYTES, MAX_BYTES = 1_500_000, 20_000  # Of all thumbnails of a page, and of one thumbnail.
SIZES = ((160, 80), (160, 60), (128, 55), (96, 50), (64, 45), (40, 40))  # Longest side in pixels, JPEG quality.


@dataclass(frozen=True)
class Thumbnail:
    """Thumbnail as a ``data:`` URL with its size in pixels, or the reason why there is no thumbnail."""

    url: str = ""
    width: int = 0
    height: int = 0
    reason: str = ""


def make_thumbnails(values: Sequence[Any], max_bytes: int = MAX_BYTES) -> list[Thumbnail]:
    """Thumbnails of the values of an image column.

    Parameters
    ----------
    values : sequence of bytes, dict, str or None
        Encoded images; ``{"bytes": ..., "path": ...}`` as Hugging Face writes them; local paths. The first image of a
        list.
    max_bytes : int
        Maximum size of one JPEG, if the smallest size can meet it.
    """
    load_decoders()
    with ThreadPoolExecutor(THREADS) as threads:
        return list(threads.map(lambda value: make_thumbnail(value, max_bytes), values))


def load_decoders() -> None:
    """Load Pillow's decoders, before threads need them: Pillow does not support that from several at once."""
    from PIL import Image

    Image.init()


def make_thumbnail(value: Any, max_bytes: int = MAX_BYTES) -> Thumbnail:
    """Thumbnail of one image, upright, with a white background; the reason if it cannot be decoded."""
    try:
        with _open(value) as image:
            return _encode(_downscale(image), max_bytes)
    except _RefusedError as error:
        return Thumbnail(reason=str(error))
    except OSError as error:
        return Thumbnail(reason=f"cannot be read: {error.strerror or first_line(error)[:200]}")
    except Exception as error:  # Decoders fail with any error; the page goes without this image.
        return Thumbnail(reason=f"cannot be decoded: {first_line(error)[:200]}")


class _RefusedError(Exception):
    """Image that is not decoded; the message is the reason."""


def _open(value: Any) -> Image:
    from PIL import Image, UnidentifiedImageError

    Image.init()
    source = _source(value)
    try:
        image = Image.open(source, formats=[name for name in FORMATS if name in Image.OPEN])
    except UnidentifiedImageError:
        raise _RefusedError("not an image of a known format") from None
    except (Image.DecompressionBombError, Image.DecompressionBombWarning):
        raise _RefusedError("too many pixels to decode") from None
    image.draft("RGB", (SIZES[0][0], SIZES[0][0]))  # JPEG decoders can downscale at no cost.
    if image.width * image.height > MAX_PIXELS:
        raise _RefusedError(f"{image.width} x {image.height} pixels, too many to decode")
    return image


def _source(value: Any) -> BytesIO | str:
    source = parse_image(images_of(value, "first")[0])
    if isinstance(source, bytes) and source:
        return BytesIO(source)
    if not isinstance(source, str):
        raise _RefusedError("no image")
    if "://" in source:
        raise _RefusedError("a URL, which is not loaded: give the column as url_column")
    if not stat.S_ISREG(os.stat(source).st_mode):  # A pipe may never end.
        raise _RefusedError("not a file")
    return source


def _downscale(image: Image) -> Image:
    """RGB image of at most 160 pixels, upright and without metadata."""
    from PIL import Image as ImageModule
    from PIL import ImageOps

    side = SIZES[0][0]
    if image.mode in ("P", "PA", "LA", "La", "RGBa") or "transparency" in image.info:
        image = image.convert("RGBA")
    elif image.mode.startswith(("I", "F")):
        image = _to_eight_bits(image)
    image.thumbnail((side, side))
    image = ImageOps.exif_transpose(image)
    alpha = image.getchannel("A") if image.mode == "RGBA" else None
    small = ImageModule.new("RGB", image.size, "white")
    small.paste(image.convert("RGB"), mask=alpha)
    return small


def _to_eight_bits(image: Image) -> Image:
    """Image of 16 bits or more as 8 bits, scaled from darkest to lightest; Pillow itself would clip the values."""
    image = image.convert("F")
    low, high = (float(end) for end in cast("tuple[float, float]", image.getextrema()))
    factor = 255 / max(high - low, 1e-9)
    return image.point(lambda value: value * factor - low * factor).convert("L")


def _encode(image: Image, max_bytes: int) -> Thumbnail:
    encoded = b""
    for side, quality in SIZES:
        image.thumbnail((side, side))
        file = BytesIO()
        image.save(file, "JPEG", quality=quality, optimize=True)
        encoded = file.getvalue()
        if len(encoded) <= max_bytes:
            break
    return Thumbnail(f"data:image/jpeg;base64,{b64encode(encoded).decode()}", image.width, image.height)
