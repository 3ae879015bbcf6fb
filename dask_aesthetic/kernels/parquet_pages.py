"""Pages of a Parquet column of lists, walked in compiled code: where the values of every row lie.

Files may be damaged, or made to deceive. So a number from a file is compared with the array that it points into, or
with what it must be, before it is used; pages that cannot be proven well-formed are declined. All numbers are integers
of 64 bits, and what comes from a file is kept below 2^32, so that no product of two of them overflows.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import njit

from dask_aesthetic.kernels.c_calls import HAS_PREAD, call_row_kernel, call_update, copy_bytes, pread
from dask_aesthetic.kernels.cached_jit import OPTIONS, cached_jit

# Answers of `_walk` and `run`.
DONE, DECLINED, MORE, OPEN, DICTIONARY, SCORE, GROW, GROW_DATA, GROW_OPENED, HASH = range(10)

# Numbers of a page's header (Thrift's compact protocol): field f at f, field g of the struct in field f at 16 f + g.
KIND, UNPACKED, PACKED, CRC = 1, 2, 3, 4
V1, WORDS, V2 = 5 << 4, 7 << 4, 8 << 4
V2_COMPRESSED = V2 + 7
OUTER = 1 << 8  # Number of the last field, of three structs one in another.
HEADER_SIZE = OUTER + 3
ABSENT = -(1 << 40)

# What `walk` keeps from call to call.
STATE_SIZE = 30
(
    TOTAL,  # Values of the column chunk.
    WIDTH,
    SIZE,  # Bytes of a value.
    PRESENT,  # Definition level of a value that is there.
    COMPRESSED,  # Whether the chunk has a codec.
    SEEN,  # Values so far.
    POSITION,  # Of the next page in `data`.
    GIVEN,  # Whether the page there has been opened.
    BODY,  # Position of what follows its header.
    LEVELS,  # Bytes of its levels, if these are apart.
    IS_PACKED,  # Whether its values are compressed.
    SLOT,  # Position of the unfinished row in `scratch`.
    HAVE,  # Bytes of it.
    ROWS,  # Rows found in this call.
    NEED,  # Bytes of the page in `data` (MORE, 0 if unknown) or of `scratch` (GROW).
    WORD_COUNT,  # Words of the dictionary; -1 without one.
    FROM,  # Position of its words.
    MOST_PAGE,  # Bytes of a page, and of its values, above which it is declined.
    FOUND,  # Rows found in all calls.
    FILE,  # Number of the open file; -1 if Python reads.
    START,  # Position of the chunk in the file.
    LENGTH,  # Bytes of the chunk.
    BEGIN,  # Position in the chunk of what is in `data`.
    FILLED,  # Bytes there.
    PAGE,  # Bytes of the last page that did not end in `data`.
    BLOCK,  # Bytes to read at a time.
    IS_SNAPPY,  # Whether its codec is decompressed here.
    PASSED,  # Rows that the kernel has had.
    HASHED,  # Bytes of the chunk that were hashed; -1 if nothing is to be.
    OPENED,  # Pages opened.
) = range(STATE_SIZE)
CAN_READ = HAS_PREAD  # Whether `run` reads files itself.
HEADER_ROOM = 1 << 8  # Bytes that hold most page headers.

DATA_PAGE, DICTIONARY_PAGE, DATA_PAGE_V2 = 0, 2, 3
PLAIN, PLAIN_DICTIONARY, RLE, RLE_DICTIONARY, BYTE_STREAM_SPLIT = 0, 2, 3, 8, 9
ENDED, WRONG = -1, -2  # Positions: the bytes end, or mean nothing.
MOST_RUN, MOST_BITS = 1 << 28, 24
SPLIT_VALUES = 4096  # Values put together at a time, which stay in cache.

_inner = njit(**OPTIONS)


@_inner
def _varint(data: Any, at: Any, end: Any) -> Any:
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


@_inner
def _header(data: Any, at: Any, end: Any, header: Any) -> Any:
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
            value, at = _varint(data, at, end)
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
            value, at = _varint(data, at, end)
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
            value, at = _varint(data, at, end)
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


@_inner
def _run(data: Any, at: Any, end: Any, bits: Any) -> Any:
    """A run of levels or indexes: count (0: none), whether it is packed, its position or value, the position behind."""
    value, at = _varint(data, at, end)
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


@_inner
def _rows_begin_evenly(data: Any, at: Any, end: Any, count: Any, place: Any, width: Any) -> Any:
    """Whether repetition levels begin a row every `width` values; the place in a row behind them, -1 if not."""
    while count > 0:
        run, is_packed, x, at = _run(data, at, end, 1)
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


@_inner
def _all_present(data: Any, at: Any, end: Any, count: Any, level: Any) -> Any:
    """Whether all definition levels are `level`: 1, 2 or 3, the highest."""
    bits = 1 if level == 1 else 2
    pattern = 0xAA if level == 2 else 0xFF
    while count > 0:
        run, is_packed, x, at = _run(data, at, end, bits)
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


@_inner
def _look_up(data: Any, at: Any, end: Any, count: Any, words: Any, out: Any, first: Any) -> Any:
    """Put `count` words of the dictionary, by their indexes in the data, into `out`, from `first` on."""
    if at >= end or first < 0 or count > len(out) - first:
        return False
    bits = np.int64(data[at])
    at += 1
    if bits > MOST_BITS:
        return False
    mask, most = (np.int64(1) << bits) - 1, len(words)
    if most < 1:
        return False
    while count > 0:
        run, is_packed, x, at = _run(data, at, end, bits)
        run = min(run, count)
        if run == 0:
            return False
        if is_packed:
            # Four bytes at a time as long as they are there; unsigned positions cost no test for negative ones.
            whole = min(max(((end - x - 4) << 3) // bits + 1, 0), run) if bits > 0 and end - x >= 4 else 0
            top = np.int64(0)
            for k in range(whole):
                bit = k * bits
                byte, shift = np.uint64(x + (bit >> 3)), bit & 7
                window = (
                    np.int64(data[byte])
                    | np.int64(data[byte + np.uint64(1)]) << 8
                    | np.int64(data[byte + np.uint64(2)]) << 16
                    | np.int64(data[byte + np.uint64(3)]) << 24
                )
                index = (window >> shift) & mask
                if index > top:
                    top = index
                out[np.uint64(first + k)] = words[np.uint64(index if index < most else 0)]
            if top >= most:
                return False
            for k in range(whole, run):
                byte, shift = x + ((k * bits) >> 3), (k * bits) & 7
                window = np.int64(0)
                for j in range(min(end - byte, 4)):
                    window |= np.int64(data[byte + j]) << (8 * j)
                index = (window >> shift) & mask
                if index >= most:
                    return False
                out[first + k] = words[index]
        else:
            if x >= most or x > mask:
                return False
            for k in range(run):
                out[first + k] = words[x]
        first += run
        count -= run
    return True


@_inner
def _put_together(data: Any, at: Any, count: Any, out: Any, first: Any, size: Any) -> Any:
    """Put values, whose first bytes come first, then their second ones, and so on, into `out`, from `first` on."""
    if at < 0 or first < 0 or count * size > len(data) - at or count > len(out) - first:
        return False
    for start in range(0, count, SPLIT_VALUES):
        stop = min(start + SPLIT_VALUES, count)
        for i in range(start, stop):
            out[first + i] = data[at + i]
        for k in range(1, size):
            stream, shift = at + k * count, 8 * k
            for i in range(start, stop):
                out[first + i] |= out.dtype.type(out.dtype.type(data[stream + i]) << out.dtype.type(shift))
    return True


@_inner
def _decode(
    data: Any, at: Any, end: Any, count: Any, is_split: Any, words: Any, out: Any, first: Any, size: Any
) -> Any:
    """Values that do not lie in the page as they are; words and `out` are unsigned integers of a value's size."""
    if is_split:
        return _put_together(data, at, count, out, first, size)
    return _look_up(data, at, end, count, words, out, first)


@_inner
def _copy(to: Any, at: Any, data: Any, begin: Any, count: Any) -> Any:
    if at < 0 or begin < 0 or count < 0 or count > len(to) - at or count > len(data) - begin:
        return False
    for k in range(count):
        to[at + k] = data[begin + k]
    return True


@_inner
def _note_rows(data: Any, at: Any, count: Any, addresses: Any, state: Any) -> Any:
    """Note the addresses of rows that lie one after another, all of them inside `data`."""
    row = state[WIDTH] * state[SIZE]
    if at < 0 or count < 0 or count * row > len(data) - at or count > len(addresses) - state[ROWS]:
        return False
    start = data.ctypes.data + at
    for k in range(count):
        addresses[state[ROWS] + k] = start + k * row
    state[ROWS] += count
    state[FOUND] += count
    return True


@_inner
def _values(
    data: Any, at: Any, end: Any, count: Any, encoding: Any, words: Any, scratch: Any, addresses: Any, state: Any
) -> Any:
    """Find the rows of a page's values; rows that it holds in part are put together in `scratch`."""
    size, have, slot = state[SIZE], state[HAVE], state[SLOT]
    row, total = state[WIDTH] * size, count * size
    is_plain, is_split = encoding == PLAIN, encoding == BYTE_STREAM_SPLIT
    if is_plain or is_split:
        if end - at != total:
            return DECLINED
    elif (encoding != RLE_DICTIONARY and encoding != PLAIN_DICTIONARY) or state[WORD_COUNT] < 0:
        return DECLINED
    rows, room = (have + total) // row, 2 * row if is_plain else have + total + row
    if total > state[MOST_PAGE] or rows > len(addresses):
        return DECLINED
    if rows > len(addresses) - state[ROWS] or room > len(scratch) - slot:
        if state[ROWS] > 0:
            return SCORE
        state[NEED] = room
        return GROW
    if not is_plain:
        first = (slot + have) // size
        if size == 4:
            ok = _decode(data, at, end, count, is_split, words.view(np.uint32), scratch.view(np.uint32), first, size)
        elif size == 2:
            ok = _decode(data, at, end, count, is_split, words.view(np.uint16), scratch.view(np.uint16), first, size)
        else:
            ok = _decode(data, at, end, count, is_split, words.view(np.uint64), scratch.view(np.uint64), first, size)
        if not ok or not _note_rows(scratch, slot, rows, addresses, state):
            return DECLINED
        state[SLOT] = slot + rows * row
        state[HAVE] = have + total - rows * row
        return DONE
    if have > 0:
        part = min(row - have, total)
        if not _copy(scratch, slot + have, data, at, part):
            return DECLINED
        at += part
        have += part
        if have == row:
            if not _note_rows(scratch, slot, 1, addresses, state):
                return DECLINED
            slot += row
            have = 0
    if have == 0:
        rows = (end - at) // row
        if not _note_rows(data, at, rows, addresses, state):
            return DECLINED
        at += rows * row
        have = end - at
        if not _copy(scratch, slot, data, at, have):
            return DECLINED
    state[SLOT], state[HAVE] = slot, have
    return DONE


@_inner
def _length(data: Any, at: Any, end: Any) -> Any:
    """Length of the levels that follow it; -1 where they do not end in the page."""
    if end - at < 4:
        return np.int64(-1)
    length = np.int64(0)
    for k in range(4):
        length |= np.int64(data[at + k]) << (8 * k)
    return length if length <= end - at - 4 else np.int64(-1)


@_inner
def _data_page(
    data: Any, source: Any, at: Any, end: Any, words: Any, scratch: Any, addresses: Any, header: Any, state: Any
) -> Any:
    """Find the rows of a page with values in ``source[at:end]``; levels of version 2 are in `data`."""
    if header[KIND] == DATA_PAGE:
        count, encoding = header[V1 + 1], header[V1 + 2]
        if header[V1 + 3] != RLE or header[V1 + 4] != RLE:
            return DECLINED
        levels = source
        length = _length(source, at, end)
        if length < 0:
            return DECLINED
        repetition, repetition_end = at + 4, at + 4 + length
        length = _length(source, repetition_end, end)
        if length < 0:
            return DECLINED
        definition, definition_end = repetition_end + 4, repetition_end + 4 + length
        at = definition_end
    else:
        count, encoding = header[V2 + 1], header[V2 + 4]
        if header[V2 + 2] != 0 or header[V2 + 3] < 0 or header[V2 + 3] * state[WIDTH] != count:
            return DECLINED
        levels = data
        repetition, repetition_end = state[BODY], state[BODY] + header[V2 + 6]
        definition, definition_end = repetition_end, state[BODY] + state[LEVELS]
    if count < 0 or count > state[TOTAL] - state[SEEN]:  # pyarrow writes pages without values, too.
        return DECLINED
    place = _rows_begin_evenly(levels, repetition, repetition_end, count, state[HAVE] // state[SIZE], state[WIDTH])
    if place < 0 or not _all_present(levels, definition, definition_end, count, state[PRESENT]):
        return DECLINED
    code = _values(source, at, end, count, encoding, words, scratch, addresses, state)
    if code != DONE:
        return code
    if state[HAVE] != place * state[SIZE]:
        return DECLINED
    state[SEEN] += count
    return DONE


@_inner
def _walk(data, filled, body, words, scratch, addresses, header, state):  # type: ignore[no-untyped-def]
    """Walk over the pages of a column chunk until Python is needed.

    Rows lie in `data`, `body` and `scratch`: those of the last call must have been scored before another call, and
    before these change. The unfinished row is kept.

    Parameters
    ----------
    data : numpy.ndarray of uint8, read-only
        The chunk, or a part of it; only ``data[:filled]`` counts.
    filled : int
    body : numpy.ndarray of uint8, read-only
        Values of the page that was to be decompressed.
    words : numpy.ndarray of uint8
        The dictionary.
    scratch : numpy.ndarray of uint8
        For rows that do not lie in the file as they are. Aligned, with a length that 8 divides.
    addresses : numpy.ndarray of int64
        Set to the address of each row found.
    header : numpy.ndarray of int64, shape (HEADER_SIZE,)
    state : numpy.ndarray of int64, shape (STATE_SIZE,)

    Returns
    -------
    int
        DONE; DECLINED; MORE data from `POSITION` on; OPEN the page (verify its checksum, decompress it) and set
        `GIVEN`; copy the words of the DICTIONARY; SCORE the rows found; GROW the scratch.
    """
    if not _copy(scratch, 0, scratch, state[SLOT], state[HAVE]):
        return DECLINED
    state[SLOT] = state[ROWS] = 0
    if filled < 0 or filled > len(data) or state[POSITION] < 0:
        return DECLINED
    while state[SEEN] < state[TOTAL]:
        if state[GIVEN] == 0:
            at = _header(data, state[POSITION], filled, header)
            if at == ENDED:
                state[NEED] = 0
                return MORE
            unpacked, packed = header[UNPACKED], header[PACKED]
            if at < 0 or unpacked < 0 or packed < 0 or unpacked > state[MOST_PAGE] or packed > state[MOST_PAGE]:
                return DECLINED
            if packed > filled - at:
                state[NEED] = at - state[POSITION] + packed
                return MORE
            state[BODY], state[LEVELS], state[IS_PACKED] = at, 0, state[COMPRESSED]
            if header[KIND] == DATA_PAGE_V2:
                definition, repetition = header[V2 + 5], header[V2 + 6]
                if definition < 0 or repetition < 0 or definition + repetition > min(packed, unpacked):
                    return DECLINED
                state[LEVELS] = definition + repetition
                if header[V2_COMPRESSED] == 0:
                    state[IS_PACKED] = 0
            if state[IS_PACKED] == 0 and packed != unpacked:
                return DECLINED
            if state[IS_PACKED] != 0 or header[CRC] != ABSENT:
                return OPEN
        at, end = state[BODY] + state[LEVELS], state[BODY] + header[PACKED]
        after, source = end, data
        if state[IS_PACKED] != 0:
            at, end, source = np.int64(0), header[UNPACKED] - state[LEVELS], body
            if len(body) != end:
                return DECLINED
        if at < 0 or end > len(source) or after > filled:
            return DECLINED
        if header[KIND] == DICTIONARY_PAGE:
            count, encoding = header[WORDS + 1], header[WORDS + 2]
            if state[WORD_COUNT] >= 0 or state[SEEN] > 0 or (encoding != PLAIN and encoding != PLAIN_DICTIONARY):
                return DECLINED
            if count < 1 or count * state[SIZE] != end - at:
                return DECLINED
            state[WORD_COUNT], state[FROM], state[GIVEN], state[POSITION] = count, at, 0, after
            return DICTIONARY
        if header[KIND] != DATA_PAGE and header[KIND] != DATA_PAGE_V2:
            return DECLINED
        code = _data_page(data, source, at, end, words, scratch, addresses, header, state)
        if code != DONE:
            return code
        state[GIVEN], state[POSITION] = 0, after
    return DONE


@_inner
def _next_part(data, state):  # type: ignore[no-untyped-def]
    """Choose the part of the chunk to read next: whole pages, and the header that tells the size of the next one."""
    position, filled, need, length = state[POSITION], state[FILLED], state[NEED], state[LENGTH]
    if state[BEGIN] + filled >= length or (position == 0 and filled > 0 and need <= filled):
        return DECLINED
    if need > 0:
        state[PAGE] = need
    page, block = state[PAGE], state[BLOCK]
    most = max(block, page + HEADER_ROOM)
    if 0 < page < block - HEADER_ROOM:
        most = (block - HEADER_ROOM) // page * page + HEADER_ROOM
    if most > len(data):
        state[NEED] = most
        return GROW_DATA
    state[BEGIN] += position
    state[FILLED] = min(most, length - state[BEGIN])
    state[POSITION] = 0
    return DONE


@cached_jit
def run(  # type: ignore[no-untyped-def]
    memory,
    data,
    opened_memory,
    opened,
    body,
    words,
    scratch,
    addresses,
    header,
    state,
    function,
    context,
    update,
    hash_state,
):
    """Walk over the pages of a column chunk, read them and hand their rows to a kernel, until Python is needed.

    Parameters
    ----------
    memory, data : numpy.ndarray of uint8
        Memory that the file is read into, and the same array, read-only.
    opened_memory, opened : numpy.ndarray of uint8
        The same for decompressed values.
    body, words, scratch, addresses, header, state
        As of `_walk`.
    function, context : int
        Address of the kernel, ``void(context, addresses, rows, first)``, and its argument; 0 where Python calls it.
    update, hash_state : int
        The same of what hashes, ``int(state, bytes, size)``.

    Returns
    -------
    int
        DONE or DECLINED, or what Python has to do: put MORE bytes into `data`, where `state` says which; OPEN a page
        and set `GIVEN`; copy the DICTIONARY; SCORE the rows; HASH what was read; GROW an array to `NEED`.
    """
    if state[FILLED] < 0 or state[FILLED] > len(data) or len(memory) != len(data) or len(opened_memory) != len(opened):
        return DECLINED
    is_snappy = state[IS_SNAPPY] != 0
    if is_snappy and state[GIVEN] != 0 and state[IS_PACKED] != 0 and header[CRC] == ABSENT:  # Opened in the last call.
        body = opened[: max(header[UNPACKED] - state[LEVELS], 0)]
    while True:
        code = _walk(data, state[FILLED], body, words, scratch, addresses, header, state)
        if code == DECLINED:
            return code
        rows = state[ROWS]
        if rows > 0:
            if function == 0:
                return SCORE
            if state[PASSED] < 0 or (state[PASSED] + rows) * state[WIDTH] > state[TOTAL]:
                return DECLINED
            call_row_kernel(function, context, addresses.ctypes.data, rows, state[PASSED])
            state[PASSED] += rows
        if code == SCORE:
            continue
        if code == MORE:
            code = _next_part(data, state)
            if code != DONE:
                return code
            if state[FILE] < 0:
                return MORE
            got = 0
            while got < state[FILLED]:
                place = state[START] + state[BEGIN] + got
                count = pread(state[FILE], memory.ctypes.data + got, state[FILLED] - got, place)
                if count <= 0:  # An error, or the file has become shorter.
                    return DECLINED
                got += count
            new = state[BEGIN] + state[FILLED] - state[HASHED]
            if state[HASHED] >= 0 and new > 0:
                if update == 0:
                    return HASH
                if new > state[FILLED]:
                    return DECLINED
                call_update(update, hash_state, memory.ctypes.data + state[FILLED] - new, new)
                state[HASHED] += new
        elif code == OPEN and is_snappy and state[IS_PACKED] != 0 and header[CRC] == ABSENT:
            size = header[UNPACKED] - state[LEVELS]
            if size > len(opened):
                state[NEED] = size
                return GROW_OPENED
            if not snappy(data, state[BODY] + state[LEVELS], state[BODY] + header[PACKED], opened_memory, size):
                return DECLINED
            body = opened[:size]
            state[GIVEN] = 1
            state[OPENED] += 1
        else:
            return code


@_inner
def snappy(data, at, end, opened, size):  # type: ignore[no-untyped-def]
    """Decompress ``data[at:end]``, in snappy's raw format, to exactly `size` bytes; false if it does not hold these.

    The format: https://github.com/google/snappy/blob/main/format_description.txt
    """
    if at < 0 or end > len(data) or size < 0 or size > len(opened):
        return False
    held, at = _varint(data, at, end)
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
