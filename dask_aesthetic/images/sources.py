"""Image sources: rows of bytes, structs, paths, URLs or lists of these, and the bytes that they stand for."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator, Mapping, Sequence
from numbers import Number
from pathlib import Path
from types import ModuleType
from typing import Any

import fsspec
import numpy as np
import pyarrow as pa

from dask_aesthetic.embeddings.objects import first_values, is_missing
from dask_aesthetic.errors import ArgumentError, ColumnError
from dask_aesthetic.images import arrow
from dask_aesthetic.images.decode import MAX_IMAGE_PIXELS
from dask_aesthetic.status import ImageStatus

MOST_BYTES = 8 * MAX_IMAGE_PIXELS  # An image of the most pixels needs no more.
_REPRS = ("b'", 'b"', "[b'", '[b"', "{'bytes':", "[{'bytes':")  # Beginnings of the repr of bytes and structs.


def check_images(column: Any, pooling: str | None) -> None:
    """Refuse a column that holds no images, or lists of images without `pooling`.

    The check uses the dtype and the first values of an object column. Empty columns pass, as Dask's meta has to.

    Raises
    ------
    ColumnError, ArgumentError
    """
    arrow_type = get_backend(column).arrow_type(column)
    if arrow_type is not None:
        holds, lists = holds_images(arrow_type), _is_list(arrow_type) and not _is_bytes_list(arrow_type)
    else:
        values = first_values(column) if column.dtype == object else [0]
        lists = any(_is_image_list(value) for value in values)
        holds = lists or not values or any(isinstance(value, _IMAGES) or _is_bytes(value) for value in values)
    if not holds:
        raise ColumnError.no_images(column.name, column.dtype)
    if lists and pooling is None:
        raise ArgumentError(
            f"expected pooling='first', 'mean' or 'max' for the lists of images in {column.name!r}, got None: "
            "say whether the first image or the mean or maximum of all stands for a row"
        )


def get_backend(column: Any) -> ModuleType:
    """Backend module for a column's library: `images.cudf` or `images.arrow`."""
    if type(column).__module__.partition(".")[0] == "cudf":
        from dask_aesthetic.images import cudf

        return cudf
    return arrow


def rows_of(images: Any) -> Iterator[Any]:
    """Iterator over the rows of an Arrow array, whose bytes are not copied, or of another iterable."""
    if isinstance(images, pa.Array | pa.ChunkedArray):
        if _is_bytes_list(images.type):
            return (row.values.to_numpy() if row.is_valid else None for row in images)
        if _is_binary(images.type):
            return (row.as_buffer() if row.is_valid else None for row in images)
        return (row.as_py() for row in images)
    return iter(images)


def images_of(row: Any, pooling: str | None) -> Sequence[Any]:
    """Images of a row, one at least, which may be None.

    Raises
    ------
    ArgumentError
        The row has a list of images, and `pooling` is None.
    """
    if not _is_image_list(row):
        return [row]
    if not len(row):
        return [None]
    if pooling is None:
        raise ArgumentError(
            f"expected an image per row, got a list of {len(row)}: say pooling='first', 'mean' or 'max'"
        )
    return row[:1] if pooling == "first" else row


def parse_image(image: Any) -> bytes | str | ImageStatus:
    """Encoded bytes of an image, or its path or URL, or the status that says why it has neither.

    Parameters
    ----------
    image : bytes, pyarrow.Buffer, struct of bytes and path, str, path or None
    """
    if isinstance(image, dict):
        data = image.get("bytes")
        image = image.get("path") if is_missing(data) else data
    if is_missing(image) or (isinstance(image, str) and not image):
        return ImageStatus.MISSING
    if isinstance(image, str | os.PathLike):
        return os.fspath(image)
    if _is_bytes(image) or isinstance(image, list):  # Lists of uint8 in a struct.
        try:
            return bytes(image)
        except (TypeError, ValueError):
            return ImageStatus.UNREADABLE
    return ImageStatus.UNREADABLE


def read_image(image: Any, options: Mapping[str, Any]) -> bytes | pa.Buffer | ImageStatus:
    """Encoded bytes of an image, or the status that says why there are no bytes.

    Parameters
    ----------
    image : bytes, pyarrow.Buffer, dict, str, path or None
    options : mapping
        fsspec's storage options, for URLs.
    """
    if isinstance(image, bytes | pa.Buffer):
        return image
    source = parse_image(image)
    return _read(source, options) if isinstance(source, str) else source


def _read(place: str, options: Mapping[str, Any]) -> bytes | ImageStatus:
    """Bytes of a local file or a URL."""
    if place.startswith(_REPRS):
        raise ColumnError.image_reprs(place)
    try:
        if "://" not in place:
            info = os.stat(place)
            is_file, size = stat.S_ISREG(info.st_mode), info.st_size  # A pipe would never end.
        else:
            system, path = fsspec.core.url_to_fs(place, **options)
            details = system.info(path)
            is_file, size = details["type"] == "file", details.get("size") or 0
        if not is_file:
            return ImageStatus.UNREADABLE
        if size > MOST_BYTES:
            return ImageStatus.TOO_LARGE
        return Path(place).read_bytes() if "://" not in place else system.cat_file(path)
    except ImportError:  # fsspec lacks the library of this protocol, for every row alike.
        raise
    except Exception:  # Stores raise errors of their own libraries.
        return ImageStatus.UNREADABLE


_IMAGES = (str, dict, os.PathLike)


def _is_bytes(value: Any) -> bool:
    if isinstance(value, np.ndarray):  # Some readers return bytes as arrays.
        return value.dtype == np.uint8 and value.ndim == 1
    return isinstance(value, bytes | bytearray | memoryview | pa.Buffer)


def _is_image_list(value: Any) -> bool:
    if isinstance(value, np.ndarray):
        return value.dtype == object
    return isinstance(value, list | tuple) and not (len(value) and isinstance(value[0], Number))


def holds_images(dtype: pa.DataType) -> bool:
    """Whether an Arrow type can hold an image per row, or a list of images."""
    types = pa.types
    if types.is_struct(dtype):
        return dtype.get_field_index("bytes") >= 0 or dtype.get_field_index("path") >= 0
    if _is_list(dtype):
        return _is_bytes_list(dtype) or (not _is_list(dtype.value_type) and holds_images(dtype.value_type))
    string = types.is_string(dtype) or types.is_large_string(dtype) or types.is_string_view(dtype)
    return _is_binary(dtype) or string or types.is_null(dtype)


def _is_binary(dtype: pa.DataType) -> bool:
    return pa.types.is_binary(dtype) or pa.types.is_large_binary(dtype) or pa.types.is_binary_view(dtype)


def _is_list(dtype: pa.DataType) -> bool:
    return pa.types.is_list(dtype) or pa.types.is_large_list(dtype) or pa.types.is_fixed_size_list(dtype)


def _is_bytes_list(dtype: pa.DataType) -> bool:
    return _is_list(dtype) and pa.types.is_uint8(dtype.value_type)
