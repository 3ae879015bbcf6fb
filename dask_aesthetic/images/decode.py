"""Encoded bytes to the pixels that a model takes; Pillow is imported here, and only when pictures come."""

from __future__ import annotations

from collections.abc import Callable
from io import BytesIO
from typing import TYPE_CHECKING

import numpy as np

from dask_aesthetic.errors import ArgumentError, MissingDependencyError
from dask_aesthetic.status import ImageStatus

if TYPE_CHECKING:
    from PIL.Image import Image

MAX_IMAGE_PIXELS = 89_478_485  # Pillow's own bound, whatever a process has set it to.
# None that runs another program, or takes whatever bytes come for an image. HEIF is there once pillow-heif has been
# registered.
FORMATS = ("JPEG", "PNG", "WEBP", "GIF", "BMP", "TIFF", "MPO", "AVIF", "JPEG2000", "PPM", "QOI", "PSD", "HEIF")


def prepare_pillow() -> None:
    """Load Pillow's decoders, which is not to be done by several threads at once.

    Raises
    ------
    MissingDependencyError
        Pillow is not installed.
    ArgumentError
        This process takes cut off pictures for whole ones.
    """
    try:
        from PIL import Image, ImageFile
    except ImportError as error:
        raise MissingDependencyError("Pillow", "embed", "decoding pictures") from error
    if ImageFile.LOAD_TRUNCATED_IMAGES:
        raise ArgumentError(
            "expected PIL.ImageFile.LOAD_TRUNCATED_IMAGES to be off, got True: pictures that are cut off would be "
            "embedded with the rest of them gray. Set it to False in every worker"
        )
    Image.init()


def image_suffixes() -> tuple[str, ...]:
    """Suffixes, in lower case, that Pillow has registered for formats that are decoded here.

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

    readable = {name for name in FORMATS if name in Image.OPEN or name == "MPO"}  # Which JPEG's plugin opens.
    return tuple(sorted(suffix for suffix, name in Image.registered_extensions().items() if name in readable))


def pixels(
    data: bytes, transform: Callable[[Image], Image], side: int, exif_orientation: bool = False
) -> np.ndarray | ImageStatus:
    """Decode a picture and bring it to a model's size, as open_clip does.

    Parameters
    ----------
    data : bytes
        Of one of the `FORMATS`, told by the content.
    transform : callable
        From a Pillow image of any mode to one of RGB, of the model's size.
    side : int
        What the shorter side becomes on the way there, in pixels.
    exif_orientation : bool
        Turn the picture as its EXIF says.

    Returns
    -------
    numpy.ndarray, shape (height, width, 3), uint8; or ImageStatus
        TOO_LARGE before anything is decoded, by what the header says.
    """
    from PIL import Image, ImageOps

    try:
        with Image.open(BytesIO(data), formats=[name for name in FORMATS if name in Image.OPEN]) as image:
            if _is_too_large(*image.size, side):
                return ImageStatus.TOO_LARGE
            image.load()
            decoded: Image.Image = _eight_bits(image)
            if exif_orientation:
                decoded = ImageOps.exif_transpose(decoded)
            return np.asarray(transform(decoded))
    except (Image.DecompressionBombError, MemoryError):
        return ImageStatus.TOO_LARGE
    except Exception:  # Whatever a decoder fails with, it is this picture's fault.
        return ImageStatus.UNDECODABLE


def _is_too_large(width: int, height: int, side: int) -> bool:
    """Whether there are too many pixels, now or once the shorter side is `side`: a line of one pixel is a bomb too."""
    short, long = sorted((width, height))
    return short * long > MAX_IMAGE_PIXELS or side * side * long > MAX_IMAGE_PIXELS * short


def _eight_bits(image: Image) -> Image:
    """Gray of 16 bits as its upper eight, which is what Pillow makes of such colors; of gray it makes white."""
    from PIL import Image as ImageModule

    if image.mode.startswith("I;16") or (image.mode == "I" and image.format == "PNG"):  # Pillow 10 calls it "I".
        gray = ImageModule.fromarray((np.asarray(image) >> 8).astype(np.uint8))
        gray.info = image.info
        return gray
    if image.mode in ("I", "F"):
        raise ValueError("nothing says which of these numbers is white")
    return image
