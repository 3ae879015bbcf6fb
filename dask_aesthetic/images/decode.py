"""Images to pixels of a model's size: Pillow, which is imported on first use, says what is an image and what is not."""

from __future__ import annotations

from io import BytesIO
from typing import TYPE_CHECKING, Any

import numpy as np

from dask_aesthetic.errors import ArgumentError, MissingDependencyError
from dask_aesthetic.images.jpeg import decode_jpeg
from dask_aesthetic.status import ImageStatus

if TYPE_CHECKING:
    from PIL.Image import Image

    from dask_aesthetic.images.resize import Resizer

MAX_IMAGE_PIXELS = 89_478_485  # Pillow's own bound, whatever a process has set it to.
# Formats whose decoder runs no other program and rejects bytes of another kind. HEIF needs pillow-heif registered.
FORMATS = ("JPEG", "PNG", "WEBP", "GIF", "BMP", "TIFF", "MPO", "AVIF", "JPEG2000", "PPM", "QOI", "PSD", "HEIF")
ORIENTATION = 0x0112  # EXIF's tag.


def prepare_pillow() -> None:
    """Load Pillow's decoders; Pillow does not support that from several threads at once.

    Raises
    ------
    MissingDependencyError
        Pillow is not installed.
    ArgumentError
        This process accepts truncated images.
    """
    try:
        from PIL import Image, ImageFile
    except ImportError as error:
        raise MissingDependencyError("Pillow", "embed", "decoding images") from error
    if ImageFile.LOAD_TRUNCATED_IMAGES:
        raise ArgumentError(
            "expected PIL.ImageFile.LOAD_TRUNCATED_IMAGES to be off, got True: truncated images would be "
            "embedded with the missing part gray. Set it to False in every worker"
        )
    Image.init()


def most_pixels() -> int:
    """Pixels beyond which no image is decoded, or fewer where this process has lowered Pillow's bound."""
    from PIL import Image

    bound = Image.MAX_IMAGE_PIXELS
    return MAX_IMAGE_PIXELS if bound is None else min(bound, MAX_IMAGE_PIXELS)


def image_suffixes() -> tuple[str, ...]:
    """File suffixes, in lower case, of the image formats that can be decoded.

    Raises
    ------
    MissingDependencyError, ArgumentError
        As in `prepare_pillow`.

    Examples
    --------
    >>> {".jpg", ".jfif", ".jpe", ".png", ".tif"} <= set(image_suffixes())
    True
    """
    prepare_pillow()
    from PIL import Image

    readable = {name for name in FORMATS if name in Image.OPEN or name == "MPO"}  # The JPEG plugin opens MPO.
    return tuple(sorted(suffix for suffix, name in Image.registered_extensions().items() if name in readable))


def decode_image(data: Any, resizer: Resizer, out: np.ndarray, exif_orientation: bool = False) -> ImageStatus:
    """Decode an image and resize it for a model, as open_clip does.

    Parameters
    ----------
    data : bytes or another buffer of them
        Encoded image in one of the `FORMATS`, recognized by its content.
    resizer : Resizer
    out : numpy.ndarray, shape (height, width, 3), uint8, contiguous
        Takes the pixels, if the status is OK.
    exif_orientation : bool
        Rotate the image by its EXIF orientation.

    Returns
    -------
    ImageStatus
        TOO_LARGE follows from the header, before anything is decoded.
    """
    from PIL import Image, ImageOps

    try:
        with Image.open(BytesIO(data), formats=[name for name in FORMATS if name in Image.OPEN]) as image:
            if is_too_large(*image.size, resizer.side):
                return ImageStatus.TOO_LARGE
            pixels = _decode_jpeg(data, image, resizer, exif_orientation)
            if pixels is not None:
                resizer.resize(pixels, out)
                return ImageStatus.OK
            image.load()
            decoded: Image.Image = _eight_bits(image)
            if exif_orientation:
                decoded = ImageOps.exif_transpose(decoded)
            resizer(decoded, out)
            return ImageStatus.OK
    except (Image.DecompressionBombError, MemoryError):
        return ImageStatus.TOO_LARGE
    except Exception:  # Decoders raise errors of any kind on damaged images.
        return ImageStatus.UNDECODABLE


def _decode_jpeg(data: Any, image: Image, resizer: Resizer, exif_orientation: bool) -> np.ndarray | None:
    """Pixels of an image that Pillow has opened, decoded without the GIL; None where Pillow has to decode it."""
    if image.format != "JPEG" or image.mode not in ("RGB", "L") or not resizer.takes(*image.size):
        return None
    if exif_orientation and image.getexif().get(ORIENTATION, 1) != 1:
        return None
    return decode_jpeg(data, *image.size)


def is_too_large(width: int, height: int, side: int) -> bool:
    """Whether an image has too many pixels, as it is or resized: a line one pixel wide is a decompression bomb too."""
    short, long = sorted((width, height))
    return short * long > MAX_IMAGE_PIXELS or side * side * long > MAX_IMAGE_PIXELS * short


def _eight_bits(image: Image) -> Image:
    """Upper eight bits of 16-bit gray, as Pillow converts 16-bit colors; Pillow itself would clip the gray to white."""
    from PIL import Image as ImageModule

    if image.mode.startswith("I;16") or (image.mode == "I" and image.format == "PNG"):  # Pillow 10 calls it "I".
        gray = ImageModule.fromarray((np.asarray(image) >> 8).astype(np.uint8))
        gray.info = image.info
        return gray
    if image.mode in ("I", "F"):
        raise ValueError("expected a known white level, got gray of 32 bits or floats")
    return image
