"""Repetition and definition levels of Parquet pages, checked without a copy of them."""

from __future__ import annotations

from typing import Any

import numpy as np

from dask_aesthetic.kernels.cached_jit import inner
from dask_aesthetic.kernels.page_headers import varint

MOST_RUN, MOST_BITS = 1 << 28, 24


@inner
def read_run(data: Any, at: Any, end: Any, bits: Any) -> Any:
    """A run of levels or indexes: count (0: none), whether it is packed, its position or value, the position behind."""
    value, at = varint(data, at, end)
    if at < 0:
        return np.int64(0), False, np.int64(0), at
    count = value >> 1
    is_packed = value & 1 == 1
    size = count * bits if is_packed else (bits + 7) >> 3
    if count < 1 or count > MOST_RUN or size > end - at:
        return np.int64(0), False, np.int64(0), at
    if is_packed:
        return count * 8, True, at, at + size
    value = np.int64(0)
    for k in range(size):
        value |= np.int64(data[at + k]) << (8 * k)
    return count, False, value, at + size


@inner
def rows_begin_evenly(data: Any, at: Any, end: Any, count: Any, place: Any, width: Any) -> Any:
    """Whether repetition levels begin a row every `width` values; the place in a row behind them, -1 if not."""
    while count > 0:
        run, is_packed, x, at = read_run(data, at, end, 1)
        run = min(run, count)
        if run == 0:
            return -1
        if is_packed:
            i = 0
            while i < run:
                byte = np.int64(data[x + (i >> 3)])
                if i & 7 == 0 and place > 0 and width - place >= 8 and run - i >= 8:
                    if byte != 255:
                        return -1
                    step = 8
                else:
                    if (byte >> (i & 7)) & 1 != (1 if place > 0 else 0):
                        return -1
                    step = 1
                i += step
                place += step
                if place == width:
                    place = 0
        elif x == 1:
            if place == 0 or run > width - place:
                return -1
            place += run
            if place == width:
                place = 0
        elif x == 0:
            if place != 0 or (run > 1 and width > 1):
                return -1
            place = 1 if width > 1 else 0
        else:
            return -1
        count -= run
    return place


@inner
def all_present(data: Any, at: Any, end: Any, count: Any, level: Any) -> Any:
    """Whether all definition levels are `level`: 1, 2 or 3, the highest."""
    bits = 1 if level == 1 else 2
    pattern = 0xAA if level == 2 else 0xFF
    while count > 0:
        run, is_packed, x, at = read_run(data, at, end, bits)
        run = min(run, count)
        if run == 0:
            return False
        if is_packed:
            whole, rest = (run * bits) >> 3, (run * bits) & 7
            for k in range(whole):
                if data[x + k] != pattern:
                    return False
            if rest and (np.int64(data[x + whole]) ^ pattern) & ((1 << rest) - 1):
                return False
        elif x != level:
            return False
        count -= run
    return True
