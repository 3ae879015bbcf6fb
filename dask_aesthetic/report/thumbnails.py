"""Small pictures for the page, and why there is none where there is none."""

from __future__ import annotations

import os
import stat
from base64 import b64encode
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from io import BytesIO
from numbers import Integral
from typing import TYPE_CHECKING, Any, cast

from dask_aesthetic.errors import first_line
from dask_aesthetic.images.decode import FORMATS

if TYPE_CHECKING:
    from PIL.Image import Image

THREADS = 4
MOST_PIXELS = 50_000_000  # Decoded, 200 MB each.
BUDGET, MOST_BYTES = 1_500_000, 20_000  # Of all pictures of a page, and of one.
TRIES = ((160, 80), (160, 60), (128, 55), (96, 50), (64, 45), (40, 40))  # Longest side in pixels, JPEG quality.


@dataclass(frozen=True)
class Picture:
    """A thumbnail as a ``data:`` URL with its size in pixels, or the reason why there is none."""

    url: str = ""
    width: int = 0
    height: int = 0
    reason: str = ""


def thumbnails(values: Sequence[Any], most_bytes: int = MOST_BYTES) -> list[Picture]:
    """Thumbnails of what an image column holds.

    Parameters
    ----------
    values : sequence of bytes, dict, str or None
        Encoded pictures; ``{"bytes": ..., "path": ...}`` as Hugging Face writes them; local paths. Of a list, the
        first.
    most_bytes : int
        Of one JPEG, as far as a smaller picture can meet it.
    """
    with ThreadPoolExecutor(THREADS) as threads:
        return list(threads.map(lambda value: thumbnail(value, most_bytes), values))


def thumbnail(value: Any, most_bytes: int = MOST_BYTES) -> Picture:
    """The thumbnail of one picture, upright, on white where it is transparent; a reason if it cannot be decoded."""
    try:
        with _opened(value) as image:
            return _encoded(_small(image), most_bytes)
    except _RefusedError as error:
        return Picture(reason=str(error))
    except OSError as error:
        return Picture(reason=f"cannot be read: {error.strerror or first_line(error)[:200]}")
    except Exception as error:  # Whatever a decoder fails with, it is this picture's fault and not the page's.
        return Picture(reason=f"cannot be decoded: {first_line(error)[:200]}")


class _RefusedError(Exception):
    """Not tried, and why."""


def _opened(value: Any) -> Image:
    from PIL import Image, UnidentifiedImageError

    Image.init()
    source = _source(value)
    try:
        image = Image.open(source, formats=[name for name in FORMATS if name in Image.OPEN])
    except UnidentifiedImageError:
        raise _RefusedError("not a picture of a known format") from None
    except (Image.DecompressionBombError, Image.DecompressionBombWarning):
        raise _RefusedError("too many pixels to decode") from None
    image.draft("RGB", (TRIES[0][0], TRIES[0][0]))  # JPEG decoders give a smaller picture at no cost.
    if image.width * image.height > MOST_PIXELS:
        raise _RefusedError(f"{image.width} x {image.height} pixels, too many to decode")
    return image


def _source(value: Any) -> BytesIO | str:
    if isinstance(value, dict):
        value = value.get("bytes") or value.get("path")
    if not isinstance(value, str | bytes) and hasattr(value, "__len__"):
        whole = len(value) and isinstance(value[0], Integral)  # Bytes, as lists or arrays of uint8 hold them.
        value = bytes(value) if whole else value[0] if len(value) else None
    if isinstance(value, bytes | bytearray | memoryview) and len(value):
        return BytesIO(value)
    if not isinstance(value, str) or not value:
        raise _RefusedError("no picture")
    if "://" in value:
        raise _RefusedError("a URL, which is not loaded: give the column as url_column")
    if not stat.S_ISREG(os.stat(value).st_mode):  # A pipe would never end.
        raise _RefusedError("not a file")
    return value


def _small(image: Image) -> Image:
    """Upright, at most 160 pixels, RGB, and without what cameras and editors wrote beside the picture."""
    from PIL import Image as ImageModule
    from PIL import ImageOps

    side = TRIES[0][0]
    if image.mode in ("P", "PA", "LA", "La", "RGBa") or "transparency" in image.info:
        image = image.convert("RGBA")
    elif image.mode.startswith(("I", "F")):
        image = _eight_bits(image)
    image.thumbnail((side, side))
    image = ImageOps.exif_transpose(image)
    clear = image.getchannel("A") if image.mode == "RGBA" else None
    small = ImageModule.new("RGB", image.size, "white")
    small.paste(image.convert("RGB"), mask=clear)
    return small


def _eight_bits(image: Image) -> Image:
    """Sixteen bits and more as eight, from the darkest to the lightest; Pillow itself would cut them off."""
    image = image.convert("F")
    low, high = (float(end) for end in cast("tuple[float, float]", image.getextrema()))
    factor = 255 / max(high - low, 1e-9)
    return image.point(lambda value: value * factor - low * factor).convert("L")


def _encoded(image: Image, most_bytes: int) -> Picture:
    encoded = b""
    for side, quality in TRIES:
        image.thumbnail((side, side))
        file = BytesIO()
        image.save(file, "JPEG", quality=quality, optimize=True)
        encoded = file.getvalue()
        if len(encoded) <= most_bytes:
            break
    return Picture(f"data:image/jpeg;base64,{b64encode(encoded).decode()}", image.width, image.height)
