"""Images of any kind to pixels, several in a call: what Python does for each of them bounds the images of a process.

Most images are plain JPEGs, whose headers compiled code reads; Pillow's objects for a header would hold the GIL for
longer than all else. Between two images nothing of Python is left in the processor's caches, which decoding has filled,
so all that can be done before is done for several together.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa

from dask_aesthetic.images.decode import decode_image, is_too_large, most_pixels, prepare_pillow
from dask_aesthetic.images.jpeg import KEPT_BYTES, buffer, get_simplejpeg
from dask_aesthetic.images.sources import read_image
from dask_aesthetic.kernels import get_jpeg_header
from dask_aesthetic.status import ImageStatus

if TYPE_CHECKING:
    from dask_aesthetic.images.resize import Resizer


class Decoder:
    """Decodes images and resizes them for a model.

    Parameters
    ----------
    resizer : Resizer
    exif_orientation : bool
        Rotate images by their EXIF orientation.
    options : mapping
        fsspec's storage options, for URLs.
    """

    def __init__(self, resizer: Resizer, exif_orientation: bool, options: Mapping[str, Any]) -> None:
        self._resizer, self._exif_orientation, self._options = resizer, exif_orientation, options
        self._slot = resizer.height, resizer.width, 3
        self._library = get_simplejpeg() if resizer.is_compiled else None
        self._headers = get_jpeg_header()
        prepare_pillow()
        self._most_pixels = min(most_pixels(), KEPT_BYTES // 4)

    def __call__(self, images: Sequence[Any], slots: np.ndarray, places: Sequence[int]) -> list[ImageStatus]:
        """Decode images.

        Parameters
        ----------
        images : sequence
            Of any kind that `read_image` takes.
        slots : numpy.ndarray, shape (n, height, width, 3), uint8, contiguous
            Takes the pixels of images whose status is OK.
        places : sequence of int
            Number of each image's slot.
        """
        if slots.shape[1:] != self._slot or slots.dtype != np.uint8 or not slots.flags.carray:
            raise ValueError(f"expected contiguous uint8 of shape (n, *{self._slot}), got {slots.dtype} {slots.shape}")
        done = self._decode_plain(images, slots, places)
        return [
            ImageStatus.OK if is_done else self._decode_one(image, slots, place)
            for image, place, is_done in zip(images, places, done, strict=True)
        ]

    def _decode_plain(self, images: Sequence[Any], slots: np.ndarray, places: Sequence[int]) -> list[bool]:
        """Decode those images that are bytes of plain JPEGs; whether each has been decoded."""
        done = [False] * len(images)
        if self._library is None:
            return done
        shapes = [self._plain_shape(image) for image in images]
        first, step = slots.ctypes.data, slots.strides[0]
        decode, resize, pixels, pixels_at = (
            self._library.decode_jpeg, self._resizer.resize_at, buffer.pixels, buffer.address
        )  # fmt: skip
        for at, shape in enumerate(shapes):
            if shape is None:
                continue
            try:
                found = decode(images[at], "RGBX", buffer=pixels)
            except Exception:  # noqa: S112 (`decode_image` decides what is wrong with it)
                continue
            if found.shape == shape:
                resize(pixels_at, shape[0], shape[1], first + places[at] * step)
                done[at] = True
        return done

    def _plain_shape(self, image: Any) -> tuple[int, int, int] | None:
        """Shape of the pixels of a JPEG whose header holds nothing that Pillow could refuse; None for all else."""
        if not isinstance(image, bytes | pa.Buffer) or not len(image):
            return None
        encoded = np.frombuffer(image, np.uint8)
        encoded.flags.writeable = False  # Code is compiled for each type.
        found = self._headers.read_jpeg_header(encoded, self._exif_orientation)
        height, width = divmod(found, 1 << self._headers.SIDE_BITS)
        is_plain = found and height * width <= self._most_pixels and self._resizer.takes(width, height)
        return (height, width, 4) if is_plain and not is_too_large(width, height, self._resizer.side) else None

    def _decode_one(self, image: Any, slots: np.ndarray, place: int) -> ImageStatus:
        data = read_image(image, self._options)
        if isinstance(data, ImageStatus):
            return data
        # Those that were bytes before have been tried.
        if data is not image and self._decode_plain([data], slots, [place])[0]:
            return ImageStatus.OK
        return decode_image(data, self._resizer, slots[place], self._exif_orientation)
