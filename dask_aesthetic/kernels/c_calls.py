"""C functions that compiled code calls: some given by their addresses, and `pread` of the C library."""

from __future__ import annotations

import os
from typing import Any

from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

from dask_aesthetic.kernels.lanes_ir import I64

HAS_PREAD = os.name == "posix"


@intrinsic
def call_row_kernel(typing: Any, function: Any, context: Any, addresses: Any, rows: Any, first: Any) -> Any:  # noqa: ARG001
    """Call the C function ``void(context, addresses, rows, first)`` at an address."""

    def generate(context_: Any, builder: ir.IRBuilder, _: Any, arguments: Any) -> ir.Value:
        kind = ir.FunctionType(ir.VoidType(), [I64] * 4)
        builder.call(builder.inttoptr(arguments[0], kind.as_pointer()), arguments[1:])
        return context_.get_dummy_value()

    return types.void(*[types.intp] * 5), generate


@intrinsic
def call_update(typing: Any, function: Any, state: Any, memory: Any, size: Any) -> Any:  # noqa: ARG001
    """Call the C function ``int(state, memory, size)`` at an address."""

    def generate(context: Any, builder: ir.IRBuilder, _: Any, arguments: Any) -> ir.Value:
        kind = ir.FunctionType(ir.IntType(32), [I64] * 3)
        builder.call(builder.inttoptr(arguments[0], kind.as_pointer()), arguments[1:])
        return context.get_dummy_value()

    return types.void(*[types.intp] * 4), generate


@intrinsic
def call_hash(typing: Any, function: Any, memory: Any, size: Any) -> Any:  # noqa: ARG001
    """Result of the C function ``uint64(memory, size)`` at an address."""

    def generate(_: Any, builder: ir.IRBuilder, __: Any, arguments: Any) -> ir.Value:
        kind = ir.FunctionType(I64, [I64] * 2)
        return builder.call(builder.inttoptr(arguments[0], kind.as_pointer()), arguments[1:])

    return types.uint64(*[types.intp] * 3), generate


@intrinsic
def copy_bytes(typing: Any, to: Any, start: Any, size: Any) -> Any:  # noqa: ARG001
    """Copy bytes from one address to another; numba's own assignment of slices goes byte by byte."""

    def generate(context: Any, builder: ir.IRBuilder, _: Any, arguments: Any) -> ir.Value:
        to, start, size = arguments
        pointer = ir.IntType(8).as_pointer()
        cgutils.raw_memmove(builder, builder.inttoptr(to, pointer), builder.inttoptr(start, pointer), size, 1)
        return context.get_dummy_value()

    return types.void(*[types.intp] * 3), generate


@intrinsic
def pread(typing: Any, file: Any, memory: Any, size: Any, position: Any) -> Any:  # noqa: ARG001
    """Bytes that the C library's `pread` puts at an address; negative after an error, and where there is none."""

    def generate(_: Any, builder: ir.IRBuilder, __: Any, arguments: Any) -> ir.Value:
        if not HAS_PREAD:
            return I64(-1)
        file, memory, size, position = arguments
        kind = ir.FunctionType(I64, [ir.IntType(32), I64, I64, I64])
        found = builder.module.globals.get("pread") or ir.Function(builder.module, kind, "pread")
        return builder.call(found, [builder.trunc(file, ir.IntType(32)), memory, size, position])

    return types.intp(*[types.intp] * 4), generate
