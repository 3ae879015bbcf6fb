"""Plain JPEGs to pixels of a model's size, in a few steps of Python: what it takes of the GIL bounds a process.

Compiled code reads their headers, of which Pillow's objects would hold the GIL for longer than all else does. What an
image costs beside is the GIL's time when nothing of Python is in the processor's caches, which decoding has filled: so
all that can be done before is done for several images together.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa

from dask_aesthetic.images.decode import is_too_large
from dask_aesthetic.images.jpeg import KEPT_BYTES, buffer, get_simplejpeg
from dask_aesthetic.kernels import get_jpeg_header

if TYPE_CHECKING:
    from dask_aesthetic.images.resize import Resizer


class PlainJpegs:
    """Decodes and resizes those of several images that are plain JPEGs; `decode_image` takes the others, and decides.

    Plain are JPEGs in whose header nothing is that Pillow could refuse, of the sizes that most images have.

    Parameters
    ----------
    resizer : Resizer
    exif_orientation : bool
        Whether images are rotated by their EXIF orientation.
    """

    def __init__(self, resizer: Resizer, exif_orientation: bool = False) -> None:
        from PIL import Image

        self._resizer, self._exif_orientation = resizer, exif_orientation
        self._library = get_simplejpeg() if resizer.is_compiled else None
        self._headers = get_jpeg_header()
        most = Image.MAX_IMAGE_PIXELS  # Where this process has lowered it, Pillow refuses images itself.
        self._most_pixels = KEPT_BYTES // 4 if most is None else min(KEPT_BYTES // 4, most)

    def __call__(self, images: Sequence[Any], outs: Sequence[np.ndarray]) -> list[bool]:
        """Decode images.

        Parameters
        ----------
        images : sequence
            Encoded images, as bytes or pyarrow.Buffer; anything else is left alone.
        outs : sequence of numpy.ndarray, shape (height, width, 3), uint8, contiguous
            Take the pixels.

        Returns
        -------
        list of bool
            Whether each has been decoded.
        """
        done = [False] * len(images)
        if self._library is None:
            return done
        shapes = [self._shape(image) if isinstance(image, bytes | pa.Buffer) else None for image in images]
        addresses = [out.ctypes.data for out in outs]
        decode, resize, pixels, pixels_at = self._library.decode_jpeg, self._resizer.resize_at, buffer.pixels, buffer.address
        for at, shape in enumerate(shapes):
            if shape is not None:
                try:
                    found = decode(images[at], "RGBX", buffer=pixels)
                except ValueError:  # As of `jpeg.decode_jpeg`.
                    continue
                if found.shape == shape:
                    resize(pixels_at, shape[0], shape[1], addresses[at])
                    done[at] = True
        return done

    def _shape(self, data: bytes | pa.Buffer) -> tuple[int, int, int] | None:
        """Shape of the pixels of a plain JPEG; None for other images."""
        if not len(data):
            return None
        found = self._headers.read_jpeg_header(np.frombuffer(data, np.uint8), self._exif_orientation)
        height, width = divmod(found, 1 << self._headers.SIDE_BITS)
        is_plain = found and height * width <= self._most_pixels and self._resizer.takes(width, height)
        return (height, width, 4) if is_plain and not is_too_large(width, height, self._resizer.side) else None
