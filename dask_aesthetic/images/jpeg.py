"""JPEGs decoded by simplejpeg, with the pixels of Pillow and hardly any time in the GIL, where it is installed."""

from __future__ import annotations

import threading
from functools import cache
from io import BytesIO
from typing import Any

import numpy as np

KEPT_BYTES = 16 << 20  # Of a thread's buffer; larger images have one of their own.


class _Buffer(threading.local):
    """Memory for a thread's last image: new memory for each image would cost as much as resizing it."""

    def __init__(self) -> None:
        self.pixels = np.empty(KEPT_BYTES, np.uint8)
        self.address = self.pixels.ctypes.data


buffer = _Buffer()


def decode_jpeg(data: Any, width: int, height: int) -> np.ndarray | None:
    """Pixels of an RGB or gray JPEG, valid until this thread decodes the next one.

    Parameters
    ----------
    data : bytes or another buffer of them
    width, height : int
        As Pillow reads them from the header.

    Returns
    -------
    numpy.ndarray, shape (height, width, 4), uint8; or None
        None if Pillow is to decode it: simplejpeg is not there, or refuses what Pillow may take.
    """
    library = get_simplejpeg()
    return None if library is None else _decode(library, data, width, height)


def _decode(library: Any, data: Any, width: int, height: int) -> np.ndarray | None:
    size = width * height * 4
    pixels = buffer.pixels if size <= KEPT_BYTES else np.empty(size, np.uint8)
    try:
        found: np.ndarray = library.decode_jpeg(data, "RGBX", buffer=pixels)
    except ValueError:  # Warnings of libjpeg are errors to it.
        return None
    return found if found.shape == (height, width, 4) and found.ctypes.data == pixels.ctypes.data else None


@cache
def get_simplejpeg() -> Any:
    """Module simplejpeg; None if it is not installed, or gives other pixels than Pillow, whose libjpeg may differ."""
    try:
        import simplejpeg
    except ImportError:
        return None
    from PIL import Image

    rng = np.random.default_rng(0)
    smooth = Image.fromarray(rng.integers(0, 256, (9, 12, 3), np.uint8)).resize((93, 61))
    for mode in ("RGB", "L"):
        for subsampling in (0, 1, 2):
            for progressive in (False, True):
                file = BytesIO()
                smooth.convert(mode).save(file, "JPEG", subsampling=subsampling, progressive=progressive)
                found = _decode(simplejpeg, file.getvalue(), *smooth.size)
                if found is None or not np.array_equal(found[..., :3], np.asarray(Image.open(file).convert("RGB"))):
                    return None
    return simplejpeg
