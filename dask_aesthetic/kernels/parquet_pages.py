"""Pages of a Parquet column of lists, or of packed rows, walked in compiled code: where the values of every row lie.

Files may be damaged, or made to deceive. So a number from a file is compared with the array that it points into, or
with what it must be, before it is used; pages that cannot be proven well-formed are declined. All numbers are integers
of 64 bits, and what comes from a file is kept below 2^32, so that no product of two of them overflows.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from dask_aesthetic.kernels.block_codecs import lz4_size as lz4_size
from dask_aesthetic.kernels.block_codecs import snappy
from dask_aesthetic.kernels.c_calls import HAS_PREAD, call_row_kernel, call_update, pread
from dask_aesthetic.kernels.cached_jit import cached_jit, inner
from dask_aesthetic.kernels.page_headers import (
    ABSENT,
    CRC,
    ENDED,
    KIND,
    PACKED,
    UNPACKED,
    V1,
    V2,
    V2_COMPRESSED,
    WORDS,
    read_header,
)
from dask_aesthetic.kernels.page_headers import HEADER_SIZE as HEADER_SIZE
from dask_aesthetic.kernels.page_levels import MOST_BITS, all_present, read_run, rows_begin_evenly

# Answers of `_walk` and `run`.
DONE, DECLINED, MORE, OPEN, DICTIONARY, SCORE, GROW, GROW_DATA, GROW_OPENED, HASH = range(10)

# What `walk` keeps from call to call.
STATE_SIZE = 31
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
    IS_FLAT,  # Whether a value is a whole row of bytes, so that there are no repetition levels.
) = range(STATE_SIZE)
CAN_READ = HAS_PREAD  # Whether `run` reads files itself.
HEADER_ROOM = 1 << 8  # Bytes that hold most page headers.

DATA_PAGE, DICTIONARY_PAGE, DATA_PAGE_V2 = 0, 2, 3
PLAIN, PLAIN_DICTIONARY, RLE, BIT_PACKED, RLE_DICTIONARY, BYTE_STREAM_SPLIT = 0, 2, 3, 4, 8, 9
SPLIT_VALUES = 4096  # Values put together at a time, which stay in cache.


@inner
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
        run, is_packed, x, at = read_run(data, at, end, bits)
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


@inner
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


@inner
def _decode(
    data: Any, at: Any, end: Any, count: Any, is_split: Any, words: Any, out: Any, first: Any, size: Any
) -> Any:
    """Values that do not lie in the page as they are; words and `out` are unsigned integers of a value's size."""
    if is_split:
        return _put_together(data, at, count, out, first, size)
    return _look_up(data, at, end, count, words, out, first)


@inner
def _copy(to: Any, at: Any, data: Any, begin: Any, count: Any) -> Any:
    if at < 0 or begin < 0 or count < 0 or count > len(to) - at or count > len(data) - begin:
        return False
    for k in range(count):
        to[at + k] = data[begin + k]
    return True


@inner
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


@inner
def _values(
    data: Any,
    at: Any,
    end: Any,
    count: Any,
    encoding: Any,
    words: Any,
    places: Any,
    scratch: Any,
    addresses: Any,
    state: Any,
) -> Any:
    """Find the rows of a page's values; rows that it holds in part are put together in `scratch`."""
    size, have, slot = state[SIZE], state[HAVE], state[SLOT]
    row, total = state[WIDTH] * size, count * size
    is_plain, is_split = encoding == PLAIN, encoding == BYTE_STREAM_SPLIT
    if state[IS_FLAT] != 0 and (is_split or have != 0):  # Streams would be of single bytes.
        return DECLINED
    if is_plain or is_split:
        if end - at != total:
            return DECLINED
    elif (encoding != RLE_DICTIONARY and encoding != PLAIN_DICTIONARY) or state[WORD_COUNT] < 0:
        return DECLINED
    if state[IS_FLAT] != 0 and not is_plain:  # Rows lie in the dictionary.
        if count > len(addresses) - state[ROWS]:
            return SCORE if state[ROWS] > 0 else DECLINED
        if not _look_up(data, at, end, count, places, addresses, state[ROWS]):
            return DECLINED
        state[ROWS] += count
        state[FOUND] += count
        return DONE
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


@inner
def _length(data: Any, at: Any, end: Any) -> Any:
    """Length of the levels that follow it; -1 where they do not end in the page."""
    if end - at < 4:
        return np.int64(-1)
    length = np.int64(0)
    for k in range(4):
        length |= np.int64(data[at + k]) << (8 * k)
    return length if length <= end - at - 4 else np.int64(-1)


@inner
def _data_page(
    data: Any,
    source: Any,
    at: Any,
    end: Any,
    words: Any,
    places: Any,
    scratch: Any,
    addresses: Any,
    header: Any,
    state: Any,
) -> Any:
    """Find the rows of a page with values in ``source[at:end]``; levels of version 2 are in `data`."""
    if header[KIND] == DATA_PAGE:
        count, encoding = header[V1 + 1], header[V1 + 2]
        levels = source
        # Of levels that are not there, writers note either encoding.
        if header[V1 + 3] != RLE and (state[PRESENT] > 0 or header[V1 + 3] != BIT_PACKED):
            return DECLINED
        if header[V1 + 4] != RLE and (state[IS_FLAT] == 0 or header[V1 + 4] != BIT_PACKED):
            return DECLINED
        repetition = repetition_end = at
        if state[IS_FLAT] == 0:
            length = _length(source, at, end)
            if length < 0:
                return DECLINED
            repetition, repetition_end = at + 4, at + 4 + length
        definition = definition_end = repetition_end
        if state[PRESENT] > 0:
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
        if (state[IS_FLAT] != 0 and header[V2 + 6] != 0) or (state[PRESENT] == 0 and definition != definition_end):
            return DECLINED
    if count < 0 or count > state[TOTAL] - state[SEEN]:  # pyarrow writes pages without values, too.
        return DECLINED
    place = np.int64(0)
    if state[IS_FLAT] == 0:
        begun = state[HAVE] // state[SIZE]
        place = np.int64(rows_begin_evenly(levels, repetition, repetition_end, count, begun, state[WIDTH]))
    if place < 0 or (state[PRESENT] > 0 and not all_present(levels, definition, definition_end, count, state[PRESENT])):
        return DECLINED
    code = _values(source, at, end, count, encoding, words, places, scratch, addresses, state)
    if code != DONE:
        return code
    if state[HAVE] != place * state[SIZE]:
        return DECLINED
    state[SEEN] += count
    return DONE


@inner
def _walk(data, filled, body, words, places, scratch, addresses, header, state):  # type: ignore[no-untyped-def]
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
    places : numpy.ndarray of int64
        Of packed rows, the address of each in the dictionary.
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
            at = read_header(data, state[POSITION], filled, header)
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
        code = _data_page(data, source, at, end, words, places, scratch, addresses, header, state)
        if code != DONE:
            return code
        state[GIVEN], state[POSITION] = 0, after
    return DONE


@inner
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
    places,
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
    body, words, places, scratch, addresses, header, state
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
        code = _walk(data, state[FILLED], body, words, places, scratch, addresses, header, state)
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
