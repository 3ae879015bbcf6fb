"""The arithmetic of `lanes` as LLVM instructions on vectors of 32 values, which no compiler may reorder."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from llvmlite import ir

from dask_aesthetic.kernels.lanes import LANES

FLOAT, DOUBLE, HALF = ir.FloatType(), ir.DoubleType(), ir.HalfType()
I8, I16, I32, I64 = (ir.IntType(bits) for bits in (8, 16, 32, 64))
CACHE_LINE = 64  # Bytes.

# How values lie in memory, and their size in bytes. bfloat16 is the upper half of a float32.
STORED = {"float16": (I16, 2), "bfloat16": (I16, 2), "float32": (FLOAT, 4), "float64": (DOUBLE, 8)}
WORKING = {"float32": FLOAT, "float64": DOUBLE}


@dataclass(frozen=True)
class Row:
    """Operands of one row: addresses as 64-bit integers.

    Attributes
    ----------
    values, ahead : llvmlite.ir.Value
        Address of the row, and of a row that follows soon: its memory is asked for while this one is added up.
        Processors that guess what is read next guess too late for so little arithmetic.
    width : llvmlite.ir.Value
    weights : sequence of llvmlite.ir.Value
        Addresses of the padded weights.
    biases : sequence of llvmlite.ir.Value
        Of the working type.
    """

    values: ir.Value
    ahead: ir.Value
    width: ir.Value
    weights: Sequence[ir.Value]
    biases: Sequence[ir.Value]


def build_row(
    builder: ir.IRBuilder, row: Row, stored: str, working: str, *, has_half: bool
) -> tuple[list[ir.Value], ir.Value]:
    """Append the instructions for one row.

    Parameters
    ----------
    builder : llvmlite.ir.IRBuilder
        At the end of a block.
    row : Row
    stored : {"float16", "bfloat16", "float32", "float64"}
        Type of the row's values.
    working : {"float32", "float64"}
    has_half : bool
        Whether the processor converts float16 by itself; elsewhere LLVM would call a function that is not there.

    Returns
    -------
    scores : list of llvmlite.ir.Value
        float32, one per weight.
    norm : llvmlite.ir.Value
        Of the working type.
    """
    element, size = STORED[stored]
    lane = WORKING[working]
    lanes = ir.VectorType(lane, LANES)
    zero = ir.Constant(lanes, None)
    bytes_of = {"values": size, "weights": 4 if lane is FLOAT else 8}

    def offset(j: ir.Value, what: str) -> ir.Value:
        return builder.mul(j, I64(bytes_of[what]))

    def load(address: ir.Value, of: ir.Type, what: str) -> ir.Value:
        pointer = builder.inttoptr(address, ir.VectorType(of, LANES).as_pointer())
        # Rows lie at any address: slices of pages and files begin where they begin.
        return builder.load(pointer, align=1 if what == "values" else bytes_of[what])

    def step(sums: Sequence[ir.Value], x: ir.Value, j: ir.Value) -> list[ir.Value]:
        x = _convert(builder, x, stored, working, has_half)
        products = [
            builder.fmul(x, load(builder.add(weight, offset(j, "weights")), lane, "weights")) for weight in row.weights
        ]
        return [builder.fadd(a, b) for a, b in zip(sums, [*products, builder.fmul(x, x)], strict=True)]

    def whole(j: ir.Value, sums: list[ir.Value]) -> list[ir.Value]:
        for line in range(0, LANES * size, CACHE_LINE):
            _prefetch(builder, builder.add(builder.add(row.ahead, offset(j, "values")), I64(line)))
        return step(sums, load(builder.add(row.values, offset(j, "values")), element, "values"), j)

    rest = builder.and_(row.width, I64(LANES - 1))
    end = builder.sub(row.width, rest)
    sums = _loop(builder, end, LANES, [zero] * (len(row.weights) + 1), whole)

    # The tail is copied behind zeros.
    before, tail, done = builder.block, builder.append_basic_block("tail"), builder.append_basic_block("done")
    padded = ir.VectorType(element, LANES)
    with builder.goto_entry_block():
        room = builder.alloca(padded)
    builder.cbranch(builder.icmp_unsigned("!=", rest, I64(0)), tail, done)
    builder.position_at_end(tail)
    builder.store(ir.Constant(padded, None), room)
    source = builder.add(row.values, offset(end, "values"))
    target = builder.ptrtoint(room, I64)

    def copy(j: ir.Value, _: list[ir.Value]) -> list[ir.Value]:
        to, of = (
            builder.inttoptr(builder.add(at, offset(j, "values")), element.as_pointer()) for at in (target, source)
        )
        builder.store(builder.load(of, align=1), to, align=1)
        return []

    _loop(builder, rest, 1, [], copy)
    ended = step(sums, builder.load(room), end)
    tail = builder.block
    builder.branch(done)
    builder.position_at_end(done)
    totals = []
    for a, b in zip(sums, ended, strict=True):
        total = builder.phi(lanes)
        total.add_incoming(a, before)
        total.add_incoming(b, tail)
        totals.append(total)
    *dots, square = (_add_lanes(builder, total, lane) for total in totals)
    norm = builder.call(builder.module.declare_intrinsic("llvm.sqrt", [lane]), [square])
    scores = [builder.fadd(builder.fdiv(dot, norm), bias) for dot, bias in zip(dots, row.biases, strict=True)]
    return [score if lane is FLOAT else builder.fptrunc(score, FLOAT) for score in scores], norm


def _loop(
    builder: ir.IRBuilder,
    end: ir.Value,
    step: int,
    start: list[ir.Value],
    body: Callable[[ir.Value, list[ir.Value]], list[ir.Value]],
) -> list[ir.Value]:
    """Values after ``for j in range(0, end, step): values = body(j, values)``."""
    before = builder.block
    head, inside, after = (builder.append_basic_block(name) for name in ("head", "inside", "after"))
    builder.branch(head)
    builder.position_at_end(head)
    j = builder.phi(I64)
    j.add_incoming(I64(0), before)
    values = []
    for value in start:
        phi = builder.phi(value.type)
        phi.add_incoming(value, before)
        values.append(phi)
    builder.cbranch(builder.icmp_signed("<", j, end), inside, after)
    builder.position_at_end(inside)
    for phi, value in zip(values, body(j, values), strict=True):
        phi.add_incoming(value, builder.block)
    j.add_incoming(builder.add(j, I64(step)), builder.block)
    builder.branch(head)
    builder.position_at_end(after)
    return values


def _add_lanes(builder: ir.IRBuilder, lanes: ir.Value, lane: ir.Type) -> ir.Value:
    """Sum of the lanes as a tree of halves."""
    count = LANES
    while count > 1:
        half = count // 2
        nothing = ir.Constant(ir.VectorType(lane, count), ir.Undefined)
        low, high = (
            builder.shuffle_vector(lanes, nothing, ir.Constant(ir.VectorType(I32, half), list(range(at, at + half))))
            for at in (0, half)
        )
        lanes, count = builder.fadd(low, high), half
    return builder.extract_element(lanes, I32(0))


def _prefetch(builder: ir.IRBuilder, address: ir.Value) -> None:
    pointer = I8.as_pointer()
    kind = ir.FunctionType(ir.VoidType(), [pointer, I32, I32, I32])
    read, level_2, data = I32(0), I32(2), I32(1)  # The smallest cache has too little room for what is on its way.
    fetch = builder.module.declare_intrinsic("llvm.prefetch", [pointer], kind)
    builder.call(fetch, [builder.inttoptr(address, pointer), read, level_2, data])


def _convert(builder: ir.IRBuilder, x: ir.Value, stored: str, working: str, has_half: bool) -> ir.Value:
    """Working values of stored ones."""
    floats = ir.VectorType(FLOAT, LANES)
    if stored == "float16":
        x = builder.fpext(builder.bitcast(x, ir.VectorType(HALF, LANES)), floats) if has_half else _half(builder, x)
    elif stored == "bfloat16":
        words = ir.VectorType(I32, LANES)
        x = builder.bitcast(builder.shl(builder.zext(x, words), _words(16)), floats)
    if working == "float64" and stored != "float64":
        return builder.fpext(x, ir.VectorType(DOUBLE, LANES))
    return builder.fptrunc(x, floats) if (working, stored) == ("float32", "float64") else x


def _half(builder: ir.IRBuilder, x: ir.Value) -> ir.Value:
    """float32 of the bits of float16, by integers: exact, with subnormal, infinite and NaN values."""
    floats, words = ir.VectorType(FLOAT, LANES), ir.VectorType(I32, LANES)
    x = builder.zext(x, words)
    sign = builder.shl(builder.and_(x, _words(0x8000)), _words(16))
    magnitude = builder.shl(builder.and_(x, _words(0x7FFF)), _words(13))
    exponent = builder.and_(magnitude, _words(0x1F << 23))
    normal = builder.add(magnitude, _words((127 - 15) << 23))
    special = builder.add(normal, _words((127 - 15) << 23))  # The largest exponent stays the largest.
    # A subnormal's digits behind a leading 1, less that 1.
    with_one, one = builder.add(normal, _words(1 << 23)), _words((127 - 14) << 23)
    subnormal = builder.bitcast(builder.fsub(builder.bitcast(with_one, floats), builder.bitcast(one, floats)), words)
    is_special = builder.icmp_unsigned("==", exponent, _words(0x1F << 23))
    is_subnormal = builder.icmp_unsigned("==", exponent, _words(0))
    bits = builder.select(is_subnormal, subnormal, builder.select(is_special, special, normal))
    return builder.bitcast(builder.or_(bits, sign), floats)


def _words(value: int) -> ir.Constant:
    return ir.Constant(ir.VectorType(I32, LANES), [value] * LANES)
