"""Blocks in the raw formats of snappy and LZ4."""

from __future__ import annotations

import numpy as np

from dask_aesthetic.kernels.c_calls import copy_bytes
from dask_aesthetic.kernels.cached_jit import cached_jit, inner
from dask_aesthetic.kernels.page_headers import varint


@inner
def snappy(data, at, end, opened, size):  # type: ignore[no-untyped-def]
    """Decompress ``data[at:end]``, in snappy's raw format, to exactly `size` bytes; false if it does not hold these.

    The format: https://github.com/google/snappy/blob/main/format_description.txt
    """
    if at < 0 or end > len(data) or size < 0 or size > len(opened):
        return False
    held, at = varint(data, at, end)
    if at < 0 or held != size:
        return False
    to = np.int64(0)
    while at < end:
        tag = np.int64(data[at])
        kind = tag & 3
        at += 1
        if kind == 0:
            length = tag >> 2
            if length >= 60:
                more = length - 59
                if more > end - at:
                    return False
                length = np.int64(0)
                for k in range(more):
                    length |= np.int64(data[at + k]) << (8 * k)
                at += more
            length += 1
            if length > end - at or length > size - to:
                return False
            copy_bytes(opened.ctypes.data + to, data.ctypes.data + at, length)
            at += length
            to += length
            continue
        width = 1 if kind == 1 else 2 if kind == 2 else 4
        if width > end - at:
            return False
        offset = np.int64(0)
        for k in range(width):
            offset |= np.int64(data[at + k]) << (8 * k)
        at += width
        length = (tag >> 2) + 1
        if kind == 1:
            length = ((tag >> 2) & 7) + 4
            offset |= (tag >> 5) << 8
        if offset < 1 or offset > to or length > size - to:
            return False
        for k in range(length):  # It may repeat what it has just written.
            opened[to + k] = opened[to + k - offset]
        to += length
    return to == size


@cached_jit
def lz4_size(data):  # type: ignore[no-untyped-def]
    """Bytes that a raw LZ4 block holds, -1 if it is none."""
    at, end, size = np.int64(0), len(data), np.int64(0)
    while at < end:
        token = np.int64(data[at])
        at += 1
        for literals in (True, False):
            length = token >> 4 if literals else token & 15
            if length == 15:
                byte = np.int64(255)
                while byte == 255:
                    if at >= end:
                        return np.int64(-1)
                    byte = np.int64(data[at])
                    at += 1
                    length += byte
            if literals:
                if length > end - at:
                    return np.int64(-1)
                at += length
                size += length
                if at == end:
                    return size
                if end - at < 2:
                    return np.int64(-1)
                at += 2
            else:
                size += length + 4
    return np.int64(-1)
