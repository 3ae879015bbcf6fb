"""Scores of rows in a CPU's memory, compiled by numba: one pass over the rows, without the GIL."""

from __future__ import annotations

from functools import cache
from typing import Any

import numpy as np
import torch
from llvmlite import ir
from numba import cfunc, config, types
from numba.extending import intrinsic

from dask_aesthetic.kernels.cached_jit import SOURCES, cached_jit
from dask_aesthetic.kernels.lanes_ir import FLOAT, I64, Row, build_row

if config.DISABLE_JIT:
    raise ImportError("NUMBA_DISABLE_JIT is set")

# Types of the first two arguments of `score_rows`, which say what values and which working precision a call has.
_STORED = {types.int16: "float16", types.uint16: "bfloat16", types.float32: "float32", types.float64: "float64"}
STORED = {
    torch.float16: np.int16(0),
    torch.bfloat16: np.uint16(0),
    torch.float32: np.float32(0),
    torch.float64: np.float64(0),
}


@intrinsic
def _score_row(
    typing: Any,  # noqa: ARG001
    stored: Any,
    working: Any,
    values: Any,  # noqa: ARG001
    ahead: Any,  # noqa: ARG001
    width: Any,  # noqa: ARG001
    weights: Any,
    biases: Any,
    scores: Any,  # noqa: ARG001
    stride: Any,  # noqa: ARG001
    norm: Any,  # noqa: ARG001
) -> Any:
    """Store the scores of one row and its norm."""
    address = types.intp
    signature = types.void(stored, working, address, address, address, weights, biases, address, address, address)

    def generate(context: Any, builder: ir.IRBuilder, _: Any, arguments: Any) -> ir.Value:
        _, _, values, ahead, width, weights_, biases_, scores, stride, norm = arguments
        heads = range(len(weights))
        row = Row(
            values,
            ahead,
            width,
            [builder.extract_value(weights_, head) for head in heads],
            [builder.extract_value(biases_, head) for head in heads],
        )
        triple, _, features = context.codegen().magic_tuple()
        has_half = not triple.startswith(("x86", "i")) or "+f16c" in features.split(",")
        found, length = build_row(builder, row, _STORED[stored], str(working), has_half=has_half)
        for head, score in enumerate(found):
            at = builder.add(scores, builder.mul(stride, I64(head)))
            builder.store(score, builder.inttoptr(at, FLOAT.as_pointer()))
        builder.store(length, builder.inttoptr(norm, length.type.as_pointer()))
        return context.get_dummy_value()

    return signature, generate


@intrinsic
def _load_word(typing: Any, address: Any) -> Any:  # noqa: ARG001
    """The 64-bit integer at an address."""

    def generate(_: Any, builder: ir.IRBuilder, __: Any, arguments: Any) -> ir.Value:
        return builder.load(builder.inttoptr(arguments[0], I64.as_pointer()))

    return types.intp(types.intp), generate


@cached_jit
def score_rows(  # type: ignore[no-untyped-def]
    stored,
    working,
    rows,
    start,
    stride,
    addresses,
    ahead,
    width,
    weights,
    biases,
    scores,
    scores_stride,
    norms,
    norm_size,
):
    """Scores and norms of rows.

    Parameters
    ----------
    stored : scalar of a dtype in `STORED`
        Kind of the values.
    working : numpy.float32 or numpy.float64
        Working precision, by its type.
    rows : int
    start, stride : int
        Address of the first row, and bytes from one to the next; not used where there are `addresses`.
    addresses : int
        Address of an array of the rows' addresses, or 0.
    ahead : int
        Rows that are fetched into the cache before their turn.
    width : int
    weights : tuple of int
        Addresses of padded weights.
    biases : tuple of numbers of the working precision
    scores, scores_stride : int
        Address of float32 scores, and bytes from one head to the next.
    norms, norm_size : int
        Address of norms of the working precision, and bytes of one.
    """
    for i in range(rows):
        near = min(i + ahead, rows - 1)
        if addresses != 0:
            values, later = _load_word(addresses + 8 * i), _load_word(addresses + 8 * near)
        else:
            values, later = start + stride * i, start + stride * near
        score, norm = scores + 4 * i, norms + norm_size * i
        _score_row(stored, working, values, later, width, weights, biases, score, scores_stride, norm)


@cached_jit
def score_pairs(  # type: ignore[no-untyped-def]
    stored,
    working,
    rows,
    start,
    stride,
    addresses,
    ahead,
    width,
    others,
    others_stride,
    scores,
    norms,
    norm_size,
):
    """Dot product of each row with another row, divided by the first one's norm, and that norm.

    Parameters
    ----------
    stored, working, rows, start, stride, addresses, ahead, width, scores, norms, norm_size
        As of `score_rows`.
    others, others_stride : int
        Address of the first of the other rows, which are padded as weights, and bytes from one to the next.
    """
    for i in range(rows):
        near = min(i + ahead, rows - 1)
        if addresses != 0:
            values, later = _load_word(addresses + 8 * i), _load_word(addresses + 8 * near)
        else:
            values, later = start + stride * i, start + stride * near
        other, score, norm = others + others_stride * i, scores + 4 * i, norms + norm_size * i
        _score_row(stored, working, values, later, width, (other,), (working,), score, 0, norm)


@cached_jit
def find_arrays(objects, rows, head, array_type, dtypes, width, found, addresses):  # type: ignore[no-untyped-def]
    """Find the objects that are contiguous vectors of one width, by numpy's C structure, which its ABI fixes.

    Parameters
    ----------
    objects, rows : int
        Address of an array of the addresses of Python objects, and their number.
    head : int
        Size of the part that every Python object begins with; the address of its type is the last word of it.
    array_type : int
        Address of the type `numpy.ndarray`.
    dtypes : numpy.ndarray, shape (d,), int64
        Addresses of the dtypes that count.
    width : int
    found : numpy.ndarray, shape (n,), int8
        Set to the position of the dtype in `dtypes`, -1 for all other objects.
    addresses : numpy.ndarray, shape (n,), int64
        Set to the address of the vector's values.
    """
    for i in range(rows):
        at = _load_word(objects + 8 * i)
        found[i] = -1
        if at == 0 or _load_word(at + head - 8) != array_type:
            continue
        dimensions, item = _load_word(at + head + 8) & 0xFFFFFFFF, 2
        if dimensions != 1 or _load_word(_load_word(at + head + 16)) != width:
            continue
        step = _load_word(_load_word(at + head + 24))
        # Kind, character, byte order and number of the type; unpickled arrays have dtype objects of their own.
        dtype = _load_word(_load_word(at + head + 40) + head + 8) & ~0xFF000000
        for kind in range(len(dtypes)):
            if dtype == _load_word(dtypes[kind] + head + 8) & ~0xFF000000 and (step == item or width == 1):
                found[i] = kind
                addresses[i] = _load_word(at + head)
            item *= 2


# Words of the context of a row kernel.
CONTEXT_SIZE = 6
SCORES, NORMS, AHEAD, WIDTH, WEIGHTS, BIAS = range(CONTEXT_SIZE)


@intrinsic
def _load_number(typing: Any, address: Any) -> Any:  # noqa: ARG001
    """The float64 at an address."""

    def generate(_: Any, builder: ir.IRBuilder, __: Any, arguments: Any) -> ir.Value:
        return builder.load(builder.inttoptr(arguments[0], ir.DoubleType().as_pointer()))

    return types.float64(types.intp), generate


@cache
def row_kernel(stored: torch.dtype, working: torch.dtype) -> int:
    """Address of the C function ``void(context, addresses, rows, first)`` that scores rows under one head.

    `context` is the address of `CONTEXT_SIZE` words: the addresses of all scores and norms, the rows to fetch ahead,
    the width, the address of the weights, and the bias as a float64. Results are put from row `first` on.
    """
    global _score_rows  # As compiled code refers to it.
    value: Any = STORED[stored]
    precision: Any = STORED[working]
    size, kind = working.itemsize, type(precision)

    def kernel(context, addresses, rows, first):  # type: ignore[no-untyped-def]
        _score_rows(
            value,
            precision,
            rows,
            0,
            0,
            addresses,
            _load_word(context + 8 * AHEAD),
            _load_word(context + 8 * WIDTH),
            (_load_word(context + 8 * WEIGHTS),),
            (kind(_load_number(context + 8 * BIAS)),),
            _load_word(context + 8 * SCORES) + 4 * first,
            4,
            _load_word(context + 8 * NORMS) + size * first,
            size,
        )

    kernel.__qualname__ += f"_{stored}_{working}_{SOURCES[:16]}"
    signature = types.void(*[types.intp] * 4)
    try:
        compiled = cfunc(signature, cache=True)(kernel)
    except Exception:  # The cache is full or damaged, or numba found no folder.
        score_rows.leave_cache()
        _score_rows = score_rows.compiled
        compiled = cfunc(signature)(kernel)
    _kept.append(compiled)
    return int(compiled.address)


_score_rows = score_rows.compiled
_kept: list[Any] = []  # Their code must not go.
