"""Headers of Parquet pages: Thrift's compact protocol."""

from __future__ import annotations

from typing import Any

import numpy as np

from dask_aesthetic.kernels.cached_jit import inner

# Numbers of a page's header (Thrift's compact protocol): field f at f, field g of the struct in field f at 16 f + g.
KIND, UNPACKED, PACKED, CRC = 1, 2, 3, 4
V1, WORDS, V2 = 5 << 4, 7 << 4, 8 << 4
V2_COMPRESSED = V2 + 7
OUTER = 1 << 8  # Number of the last field, of three structs one in another.
HEADER_SIZE = OUTER + 3
ABSENT = -(1 << 40)
ENDED, WRONG = -1, -2  # Positions: the bytes end, or mean nothing.


@inner
def varint(data: Any, at: Any, end: Any) -> Any:
    """A variable-length integer, and the position behind it."""
    value, shift = np.int64(0), np.int64(0)
    while at < end:
        byte = np.int64(data[at])
        at += 1
        value |= (byte & 127) << shift
        if byte < 128:
            return value, at
        shift += 7
        if shift > 35:
            return np.int64(0), WRONG
    return np.int64(0), ENDED


@inner
def read_header(data: Any, at: Any, end: Any, header: Any) -> Any:
    """Read a page's header; returns the position behind it.

    Fields are taken where they have the type that they must have; types that no page header has are not read.
    """
    header[:] = ABSENT
    depth = 0
    header[OUTER] = 0
    while at < end:
        byte = np.int64(data[at])
        at += 1
        if byte == 0:
            if depth == 0:
                return at
            depth -= 1
            continue
        kind, field = byte & 15, header[OUTER + depth] + (byte >> 4)
        if byte < 16:
            value, at = varint(data, at, end)
            if at < 0:
                return at
            field = (value >> 1) ^ -(value & 1)
        if field < 1 or field > 15:
            return WRONG
        header[OUTER + depth] = field
        place = field if depth == 0 else (header[OUTER] << 4) + field if depth == 1 else 0
        if kind == 1 or kind == 2:
            if place == V2_COMPRESSED:
                header[place] = 2 - kind
        elif kind == 5:
            value, at = varint(data, at, end)
            if at < 0:
                return at
            if value > 0xFFFFFFFF:
                return WRONG
            if place != V2_COMPRESSED:
                header[place] = (value >> 1) ^ -(value & 1)
        elif kind == 6:  # 64 bits, in statistics.
            count = 0
            while at < end and data[at] > 127:
                at += 1
                count += 1
                if count > 9:
                    return WRONG
            at += 1
        elif kind == 8:
            value, at = varint(data, at, end)
            if at < 0:
                return at
            if value > end - at:
                return ENDED
            at += value
        elif kind == 12 and depth < 2:
            depth += 1
            header[OUTER + depth] = 0
        else:
            return WRONG
    return ENDED
