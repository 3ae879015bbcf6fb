"""Headers of plain JPEGs, read as Pillow reads them but without its objects; all others are left to Pillow.

Plain are those of which nothing in the header can make Pillow refuse them, or find another format, mode or size. EXIF
data counts as plain only where Pillow does not look for a resolution in it.
"""

from __future__ import annotations

import numpy as np

from dask_aesthetic.kernels.cached_jit import cached_jit, inner

SIDE_BITS = 16  # Of the result: a JPEG's sides are smaller than 65,536.
_SCAN, _TABLES, _RESTARTS, _COMMENT, _QUANTIZATION = 0xDA, 0xC4, 0xDD, 0xFE, 0xDB


@inner
def _word(data, at):  # type: ignore[no-untyped-def]
    return np.int64(data[at]) << 8 | np.int64(data[at + 1])


@inner
def _begins(data, start, stop, text):  # type: ignore[no-untyped-def]
    if stop - start < len(text):
        return False
    for at in range(len(text)):  # noqa: SIM110 (numba compiles no generators)
        if data[start + at] != text[at]:
            return False
    return True


@inner
def _has_whole_tables(data, start, stop):  # type: ignore[no-untyped-def]
    """Whether a segment of quantization tables ends with one of them."""
    while start < stop:
        start += 1 + 64 * (1 if data[start] < 16 else 2)
    return start == stop


@inner
def _is_plain(data, start, stop, marker, has_dpi, exif_orientation):  # type: ignore[no-untyped-def]
    """Whether Pillow makes nothing of an application's segment that matters here, nor fails in it."""
    size = stop - start
    if marker == 0xE0:
        return size >= 7 or not _begins(data, start, stop, b"JFIF")
    if marker == 0xE1:
        return not exif_orientation and (has_dpi or not _begins(data, start, stop, b"Exif\0"))
    if marker == 0xE2:
        return not _begins(data, start, stop, b"MPF\0") and (
            size >= 14 or not _begins(data, start, stop, b"ICC_PROFILE\0")
        )
    if marker == 0xED:
        return not _begins(data, start, stop, b"Photoshop 3.0\0")
    return marker != 0xEE or size >= 7 or not _begins(data, start, stop, b"Adobe")


@inner
def _has_dpi(data, start, stop):  # type: ignore[no-untyped-def]
    return stop - start >= 12 and _begins(data, start, stop, b"JFIF") and 1 <= data[start + 7] <= 2


@cached_jit
def read_jpeg_header(data, exif_orientation):  # type: ignore[no-untyped-def]
    """Size of a plain RGB or gray JPEG.

    Parameters
    ----------
    data : numpy.ndarray of uint8
        The encoded image.
    exif_orientation : bool
        Whether an orientation in the header matters: then no image that may have one is plain.

    Returns
    -------
    int
        ``height << SIDE_BITS | width``; 0 for all other images.
    """
    end, at, size, has_dpi = len(data), 2, 0, False
    if end < 4 or data[0] != 0xFF or data[1] != 0xD8:
        return 0
    while at + 4 <= end and data[at] == 0xFF:
        marker = data[at + 1]
        start, stop = at + 4, at + 2 + _word(data, at + 2)
        if stop < start or stop > end:
            return 0
        if marker == _SCAN:
            return size
        if 0xC0 <= marker <= 0xC2:  # A frame: baseline, extended or progressive, coded by Huffman.
            if size or stop - start < 6:
                return 0
            bits, layers = data[start], data[start + 5]
            if bits != 8 or not (layers == 1 or layers == 3) or stop - start != 6 + 3 * layers:
                return 0
            height, width = _word(data, start + 1), _word(data, start + 3)
            if not height or not width:
                return 0
            size = height << SIDE_BITS | width
        elif marker == _QUANTIZATION:
            if not _has_whole_tables(data, start, stop):
                return 0
        elif 0xE0 <= marker <= 0xEF:
            if not _is_plain(data, start, stop, marker, has_dpi, exif_orientation):
                return 0
            has_dpi = has_dpi or (marker == 0xE0 and _has_dpi(data, start, stop))
        elif marker != _TABLES and marker != _RESTARTS and marker != _COMMENT:
            return 0
        at = stop
    return 0
