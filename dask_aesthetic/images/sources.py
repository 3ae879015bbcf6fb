"""What a row of an image column holds, and the bytes behind it."""

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

MOST_BYTES = 8 * MAX_IMAGE_PIXELS  # No picture of so many pixels needs more.
_REPRS = ("b'", 'b"', "[b'", '[b"', "{'bytes':", "[{'bytes':")  # How Python writes bytes, and structs of them.


def check_images(column: Any, pooling: str | None) -> None:
    """Refuse a column that holds no pictures, or lists of them without a word on which to take.

    Its dtype is looked at, and of an object column the first values; it may be empty, as Dask's meta is.

    Raises
    ------
    ColumnError, ArgumentError
    """
    arrow_type = get_backend(column).arrow_type(column)
    if arrow_type is not None:
        holds, lists = holds_images(arrow_type), _is_list(arrow_type) and not _is_bytes_list(arrow_type)
    else:
        values = first_values(column) if column.dtype == object else [0]
        lists = any(_is_several(value) for value in values)
        holds = lists or not values or any(isinstance(value, _PICTURES) or _is_bytes(value) for value in values)
    if not holds:
        raise ColumnError.no_images(column.name, column.dtype)
    if lists and pooling is None:
        raise ArgumentError(
            f"expected pooling='first', 'mean' or 'max' for the lists of pictures in {column.name!r}, got None: "
            "say which picture, or what of all of them, stands for a row"
        )


def get_backend(column: Any) -> ModuleType:
    """The module for columns of this library."""
    if type(column).__module__.partition(".")[0] == "cudf":
        from dask_aesthetic.images import cudf

        return cudf
    return arrow


def rows_of(images: Any) -> Iterator[Any]:
    """The rows of an Arrow array, or of anything else, one by one: an array of pictures is too large to copy."""
    if isinstance(images, pa.Array | pa.ChunkedArray):
        if _is_bytes_list(images.type):
            return (row.values.to_numpy() if row.is_valid else None for row in images)
        return (row.as_py() for row in images)
    return iter(images)


def pictures_of(row: Any, pooling: str | None) -> Sequence[Any]:
    """The pictures of a row, one at least, which may be None.

    Raises
    ------
    ArgumentError
        There are several, and nothing says what to make of them.
    """
    if not _is_several(row):
        return [row]
    if not len(row):
        return [None]
    if pooling is None:
        raise ArgumentError(
            f"expected a picture per row, got a list of {len(row)}: say pooling='first', 'mean' or 'max'"
        )
    return row[:1] if pooling == "first" else row


def read_picture(picture: Any, options: Mapping[str, Any]) -> bytes | ImageStatus:
    """The encoded bytes of a picture, or why there are none.

    Parameters
    ----------
    picture : bytes, dict, str, path or None
    options : mapping
        fsspec's storage options, for URLs.
    """
    if isinstance(picture, dict):
        held = picture.get("bytes")
        picture = picture.get("path") if is_missing(held) else held
    if is_missing(picture) or (isinstance(picture, str) and not picture):
        return ImageStatus.MISSING
    if isinstance(picture, str | os.PathLike):
        return _read(os.fspath(picture), options)
    if _is_bytes(picture) or isinstance(picture, list):  # Of a struct's lists of uint8.
        try:
            return bytes(picture)
        except (TypeError, ValueError):
            return ImageStatus.UNREADABLE
    return ImageStatus.UNREADABLE


def _read(place: str, options: Mapping[str, Any]) -> bytes | ImageStatus:
    if place.startswith(_REPRS):
        raise ColumnError.image_reprs(place)
    try:
        if "://" not in place:
            found = os.stat(place)
            is_file, size = stat.S_ISREG(found.st_mode), found.st_size  # A pipe would never end.
        else:
            system, path = fsspec.core.url_to_fs(place, **options)
            info = system.info(path)
            is_file, size = info["type"] == "file", info.get("size") or 0
        if not is_file:
            return ImageStatus.UNREADABLE
        if size > MOST_BYTES:
            return ImageStatus.TOO_LARGE
        return Path(place).read_bytes() if "://" not in place else system.cat_file(path)
    except ImportError:  # What fsspec needs for this protocol is not installed, whatever the row.
        raise
    except Exception:  # Stores raise whatever their libraries do.
        return ImageStatus.UNREADABLE


_PICTURES = (str, dict, os.PathLike)


def _is_bytes(value: Any) -> bool:
    if isinstance(value, np.ndarray):  # Some readers give bytes so.
        return value.dtype == np.uint8 and value.ndim == 1
    return isinstance(value, bytes | bytearray | memoryview)


def _is_several(value: Any) -> bool:
    if isinstance(value, np.ndarray):
        return value.dtype == object
    return isinstance(value, list | tuple) and not (len(value) and isinstance(value[0], Number))


def holds_images(dtype: pa.DataType) -> bool:
    """Whether columns of this type may hold a picture per row, or a list of them."""
    types = pa.types
    if types.is_struct(dtype):
        return dtype.get_field_index("bytes") >= 0 or dtype.get_field_index("path") >= 0
    if _is_list(dtype):
        return _is_bytes_list(dtype) or (not _is_list(dtype.value_type) and holds_images(dtype.value_type))
    binary = types.is_binary(dtype) or types.is_large_binary(dtype) or types.is_binary_view(dtype)
    string = types.is_string(dtype) or types.is_large_string(dtype) or types.is_string_view(dtype)
    return binary or string or types.is_null(dtype)


def _is_list(dtype: pa.DataType) -> bool:
    return pa.types.is_list(dtype) or pa.types.is_large_list(dtype) or pa.types.is_fixed_size_list(dtype)


def _is_bytes_list(dtype: pa.DataType) -> bool:
    return _is_list(dtype) and pa.types.is_uint8(dtype.value_type)
