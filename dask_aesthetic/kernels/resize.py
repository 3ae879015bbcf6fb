"""Pillow's bicubic resize of 8-bit pixels and the crop after it, with Pillow's own bits; only what is kept is computed.

Pillow weights pixels by integers, first along one axis, then along the other, and rounds to bytes in between. Which is
the first decides the bits. It is for `dask_aesthetic.images.resize`,
which compares its pixels with Pillow's first.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from llvmlite import ir
from numba import carray, njit, types
from numba.extending import intrinsic, models, register_model

from dask_aesthetic.kernels.cached_jit import OPTIONS, cached_jit

BITS = 32 - 8 - 2  # Of a weight's fraction, as in Pillow.
LANES = 8
STEP = 4  # Bytes of a pixel that is read; the last one counts for nothing.
LEAST = 16  # Pixels of a side: less would be narrower than the vectors that are read and written.
MOST_STRETCHED = 50  # Longer side by the shorter one.
_I8, _I32, _I64 = ir.IntType(8), ir.IntType(32), ir.IntType(64)
_BYTES, _INTS = ir.VectorType(_I8, LANES), ir.VectorType(_I32, LANES)


class _Lanes(types.Type):
    """Eight 32-bit integers in a register, which never leave compiled code."""


_lanes = _Lanes("int32x8")


@register_model(_Lanes)
class _LanesModel(models.PrimitiveModel):
    def __init__(self, manager: Any, kind: Any) -> None:
        super().__init__(manager, kind, _INTS)


def _at(context: Any, builder: ir.IRBuilder, kind: Any, array: ir.Value, index: ir.Value, vector: ir.Type) -> ir.Value:
    data = context.make_array(kind)(context, builder, array).data
    return builder.bitcast(builder.gep(data, [index]), vector.as_pointer())


def _splat(builder: ir.IRBuilder, value: ir.Value) -> ir.Value:
    one = builder.insert_element(ir.Constant(_INTS, ir.Undefined), value, _I32(0))
    return builder.shuffle_vector(one, ir.Constant(_INTS, ir.Undefined), ir.Constant(_INTS, [0] * LANES))


def _load_pixels(context: Any, builder: ir.IRBuilder, kind: Any, array: ir.Value, index: ir.Value) -> ir.Value:
    return builder.zext(builder.load(_at(context, builder, kind, array, index, _BYTES), align=1), _INTS)


def _to_bytes(builder: ir.IRBuilder, sums: ir.Value) -> ir.Value:
    """Bytes of sums that hold the half for rounding already."""
    lanes = sums.type.count
    value = builder.ashr(sums, ir.Constant(sums.type, [BITS] * lanes))
    for bound, sign in ((0, ">"), (255, "<")):
        limit = ir.Constant(sums.type, [bound] * lanes)
        value = builder.select(builder.icmp_signed(sign, value, limit), value, limit)
    return builder.trunc(value, ir.VectorType(_I8, lanes))


def _store(context: Any, builder: ir.IRBuilder, kind: Any, array: ir.Value, index: ir.Value, value: ir.Value) -> None:
    builder.store(value, _at(context, builder, kind, array, index, value.type), align=1)


@intrinsic
def _to_pointer(typing: Any, address: Any) -> Any:  # noqa: ARG001
    def generate(_: Any, builder: ir.IRBuilder, __: Any, arguments: Any) -> ir.Value:
        return builder.inttoptr(arguments[0], _I8.as_pointer())

    return types.voidptr(types.intp), generate


@intrinsic
def _all_lanes(typing: Any, value: Any) -> Any:  # noqa: ARG001
    return _lanes(types.int32), lambda context, builder, signature, args: _splat(builder, args[0])  # noqa: ARG005


@intrinsic
def _add_weighted(typing: Any, sums: Any, pixels: Any, at: Any, weights: Any, weights_at: Any) -> Any:  # noqa: ARG001
    """Sums + pixels[at : at + 8] * weights[weights_at : weights_at + 8]."""

    def generate(context: Any, builder: ir.IRBuilder, signature: Any, args: Any) -> ir.Value:
        _, kind, _, weights_kind, _ = signature.args
        weight = builder.load(_at(context, builder, weights_kind, args[3], args[4], _INTS), align=4)
        return builder.add(args[0], builder.mul(_load_pixels(context, builder, kind, args[1], args[2]), weight))

    return _lanes(_lanes, pixels, types.intp, weights, types.intp), generate


@intrinsic
def _add_scaled(typing: Any, sums: Any, pixels: Any, at: Any, weight: Any) -> Any:  # noqa: ARG001
    """Sums + pixels[at : at + 8] * weight."""

    def generate(context: Any, builder: ir.IRBuilder, signature: Any, args: Any) -> ir.Value:
        loaded = _load_pixels(context, builder, signature.args[1], args[1], args[2])
        return builder.add(args[0], builder.mul(loaded, _splat(builder, args[3])))

    return _lanes(_lanes, pixels, types.intp, types.int32), generate


@intrinsic
def _put(typing: Any, out: Any, at: Any, sums: Any) -> Any:  # noqa: ARG001
    """Write the bytes of eight sums to out[at : at + 8]."""

    def generate(context: Any, builder: ir.IRBuilder, signature: Any, args: Any) -> ir.Value:
        _store(context, builder, signature.args[0], args[0], args[1], _to_bytes(builder, args[2]))
        return context.get_dummy_value()

    return types.void(out, types.intp, _lanes), generate


@intrinsic
def _put_pixel(typing: Any, out: Any, at: Any, sums: Any) -> Any:  # noqa: ARG001
    """Write the sum of both halves, a pixel, to out[at : at + 3], and a byte after it that the next one replaces."""

    def generate(context: Any, builder: ir.IRBuilder, signature: Any, args: Any) -> ir.Value:
        undefined, four = ir.Constant(_INTS, ir.Undefined), ir.VectorType(_I32, 4)
        low, high = (
            builder.shuffle_vector(args[2], undefined, ir.Constant(four, list(range(first, first + 4))))
            for first in (0, 4)
        )
        _store(context, builder, signature.args[0], args[0], args[1], _to_bytes(builder, builder.add(low, high)))
        return context.get_dummy_value()

    return types.void(out, types.intp, _lanes), generate


_inner = njit(**OPTIONS)


@_inner
def _cubic(x):  # type: ignore[no-untyped-def]
    x = abs(x)
    if x < 1.0:
        return ((-0.5 + 2.0) * x - (-0.5 + 3.0)) * x * x + 1.0
    if x < 2.0:
        return (((x - 5.0) * x + 8.0) * x - 4.0) * -0.5
    return 0.0


@_inner
def _weights(size, new_size, first, count):  # type: ignore[no-untyped-def]
    """Where the inputs of `count` outputs from `first` on begin, how many they are, and their integer weights."""
    scale = size / new_size
    wide = max(scale, 1.0)
    support = 2.0 * wide
    most = int(np.ceil(support)) * 2 + 1
    starts, lengths = np.empty(count, np.intp), np.empty(count, np.intp)
    weights = np.zeros((count, most), np.int32)
    exact = np.empty(most)
    for i in range(count):
        center = (first + i + 0.5) * scale
        start = max(int(center - support + 0.5), 0)
        length = min(int(center + support + 0.5), size) - start
        total = 0.0
        for t in range(length):
            exact[t] = _cubic((t + start - center + 0.5) * (1.0 / wide))
            total += exact[t]
        for t in range(length):
            value = (exact[t] / total if total != 0.0 else exact[t]) * (1 << BITS)
            weights[i, t] = int(value - 0.5) if value < 0 else int(value + 0.5)
        starts[i], lengths[i] = start, length
    return starts, lengths, weights


@_inner
def _down(pixels, pitch, first_byte, width, starts, lengths, weights, offset, out):  # type: ignore[no-untyped-def]
    """Weight rows: the vertical pass over `width` bytes of each, 16 at least. Rows of `out` follow each other."""
    half = _all_lanes(np.int32(1 << (BITS - 1)))
    for y in range(len(starts)):
        top = (starts[y] - offset) * pitch + first_byte
        for x in range(0, width, 2 * LANES):
            at = min(x, width - 2 * LANES)
            one, two = half, half
            for t in range(lengths[y]):
                one = _add_scaled(one, pixels, top + t * pitch + at, weights[y, t])
                two = _add_scaled(two, pixels, top + t * pitch + at + LANES, weights[y, t])
            _put(out, y * width + at, one)
            _put(out, y * width + at + LANES, two)


@_inner
def _across(pixels, pitch, first_row, rows, column_offset, starts, lengths, weights, out, out_pitch):  # type: ignore[no-untyped-def]
    """Weight columns: the horizontal pass, from pixels of four bytes, two of them at a time, to pixels of three.

    It writes four rows at least, and a byte behind the last pixel of each.
    """
    spread = np.zeros((weights.shape[1] // 2 + 3) * LANES, np.int32)
    # Both halves are added in the end, and the half for rounding is to count once.
    spread[:3] = 1 << (BITS - 1)
    half = _add_weighted(_all_lanes(np.int32(0)), np.ones(LANES, np.uint8), 0, spread, 0)
    last = max(rows - 4, 0)
    for x in range(len(starts)):
        start, pairs = starts[x] - column_offset, (lengths[x] + 1) // 2
        # A pair that would reach past the end of the row begins a pixel earlier, with a weight of zero.
        early = max((start + 2 * pairs) * STEP - pitch, 0) // STEP
        start -= early
        spread[:] = 0
        for t in range(lengths[x]):
            at = (t + early) * STEP
            spread[at] = spread[at + 1] = spread[at + 2] = weights[x, t]
        for block in range(0, rows, 4):
            y = min(block, last)
            a = (first_row + y) * pitch + start * STEP
            b = a + min(1, rows - 1) * pitch
            c = a + min(2, rows - 1) * pitch
            d = a + min(3, rows - 1) * pitch
            sums_a, sums_b, sums_c, sums_d = half, half, half, half
            for g in range(pairs):
                sums_a = _add_weighted(sums_a, pixels, a + g * LANES, spread, g * LANES)
                sums_b = _add_weighted(sums_b, pixels, b + g * LANES, spread, g * LANES)
                sums_c = _add_weighted(sums_c, pixels, c + g * LANES, spread, g * LANES)
                sums_d = _add_weighted(sums_d, pixels, d + g * LANES, spread, g * LANES)
            to = y * out_pitch + 3 * x
            _put_pixel(out, to, sums_a)
            _put_pixel(out, to + out_pitch, sums_b)
            _put_pixel(out, to + 2 * out_pitch, sums_c)
            _put_pixel(out, to + 3 * out_pitch, sums_d)


@_inner
def _margin(size, side):  # type: ignore[no-untyped-def]
    """Pixels before the square that torchvision's CenterCrop keeps: half of the rest, rounded to an even number."""
    rest = size - side
    return rest // 2 + (rest % 4 == 3)


@cached_jit
def resize_and_crop(side, is_from_13, pixels_at, height, width, out_at):  # type: ignore[no-untyped-def]
    """Resize an image until its shorter side fits a square, and keep the square in its middle.

    Parameters
    ----------
    side : int
        `LEAST` or more.
    is_from_13 : bool
        Whether to weight rows before columns where Pillow does so from version 13 on.
    pixels_at : int
        Address of the image, rows of pixels of four bytes: red, green, blue, and one that counts for nothing.
    height, width : int
        Of the image: `LEAST` or more.
    out_at : int
        Address of the result, ``(side, side, 3)`` bytes.
    """
    long = int(side * max(width, height) / min(width, height))
    new_width, new_height = (side, long) if width <= height else (long, side)
    rows_first = is_from_13 and height - new_height > max(0, 2 * (width - new_width))
    top, left = _margin(new_height, side), _margin(new_width, side)
    pitch, kept = width * STEP, side * 3
    pixels = carray(_to_pointer(pixels_at), height * pitch, np.uint8)
    out = carray(_to_pointer(out_at), side * kept, np.uint8)
    column_starts, column_lengths, column_weights = _weights(width, new_width, left, side)
    row_starts, row_lengths, row_weights = _weights(height, new_height, top, side)
    if rows_first:
        first = column_starts[0]
        bytes_ = (column_starts[-1] + column_lengths[-1] - first) * STEP
        between = np.empty(side * bytes_, np.uint8)
        _down(pixels, pitch, first * STEP, bytes_, row_starts, row_lengths, row_weights, 0, between)
        padded = np.empty((side + 3) * (kept + 1), np.uint8)
        _across(between, bytes_, 0, side, first, column_starts, column_lengths, column_weights, padded, kept + 1)
        for y in range(side):
            out[y * kept : (y + 1) * kept] = padded[y * (kept + 1) : y * (kept + 1) + kept]
    else:
        first = row_starts[0]
        rows = row_starts[-1] + row_lengths[-1] - first
        between = np.empty((rows + 3) * (kept + 1), np.uint8)
        _across(pixels, pitch, first, rows, 0, column_starts, column_lengths, column_weights, between, kept + 1)
        _down(between, kept + 1, 0, kept, row_starts, row_lengths, row_weights, first, out)
