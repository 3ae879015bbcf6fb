"""CUDA C kernel for GPUs without a C compiler, which Triton needs: NVRTC compiles `lanes.cu` through CuPy.

It has the names and the bits of `triton_lanes`.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

import cupy
import torch
from cupy.cuda import function, nvrtc

from dask_aesthetic.kernels.lanes import LANES
from dask_aesthetic.kernels.launches import in_launches

SOURCE = Path(__file__).with_name("lanes.cu")
OPTIONS = ("-std=c++17", "-fmad=false", "-ftz=false")
TYPES = {torch.float16: "Half", torch.bfloat16: "BFloat16", torch.float32: "float", torch.float64: "double"}
BLOCK_ROWS = 8


def dots_and_squares(vectors: torch.Tensor, weights: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Dot products and sums of squares, as of `gpu.dots_and_squares`, by CUDA C."""
    return in_launches(_launch, vectors, weights)


def name(value: torch.dtype, working: torch.dtype, heads: int) -> str:
    """Instance of the kernel for vectors of one dtype, weights of another, and a number of weights."""
    return f"lanes<{TYPES[value]}, {TYPES[working]}, {heads}>"


def _launch(vectors: torch.Tensor, weights: torch.Tensor, dots: torch.Tensor, squares: torch.Tensor) -> None:
    (n, width), device = vectors.shape, vectors.device
    # CuPy has a current device and stream of its own.
    with cupy.cuda.Device(device.index), _stream(torch.cuda.current_stream(device).cuda_stream):
        _kernel(device.index, name(vectors.dtype, weights.dtype, len(weights)))(
            (-(-n // BLOCK_ROWS),),
            (BLOCK_ROWS * LANES,),
            (
                vectors.data_ptr(), vectors.stride(0), weights.data_ptr(), dots.data_ptr(), dots.stride(0),
                squares.data_ptr(), n, width,
            ),
        )  # fmt: skip


def _stream(pointer: int) -> Any:
    if hasattr(cupy.cuda.Stream, "from_external"):
        return cupy.cuda.Stream.from_external(_Stream(pointer))
    return cupy.cuda.ExternalStream(pointer)  # Before CuPy 14, which warns of it.


class _Stream(NamedTuple):
    """A stream for CuPy 14, whose protocol the streams of older versions of torch do not follow."""

    pointer: int

    def __cuda_stream__(self) -> tuple[int, int]:
        return 0, self.pointer  # The protocol's version is 0.


@cache
def _kernel(device: int, instance: str) -> Any:  # noqa: ARG001  One for every device.
    arch, known = int(cupy.cuda.Device().compute_capability), nvrtc.getSupportedArchs()
    code, names = compiled([instance], f"sm_{arch}" if arch in known else f"compute_{max(known)}")
    module = function.Module()
    module.load(code)
    return module.get_function(names[0])


def compiled(instances: Sequence[str], arch: str) -> tuple[bytes, list[str]]:
    """Code of instances of the kernel, and their names in it: a GPU's own for ``sm_90``, PTX for ``compute_90``.

    CuPy's own ways to compile set -ftz=true last, with which subnormal numbers are taken for zeros.
    """
    program = nvrtc.createProgram(SOURCE.read_text(), SOURCE.name, (), ())
    try:
        for instance in instances:
            nvrtc.addNameExpression(program, instance)
        nvrtc.compileProgram(program, (*OPTIONS, f"-arch={arch}"))
        code = nvrtc.getCUBIN(program) if arch.startswith("sm_") else nvrtc.getPTX(program)
        names = [nvrtc.getLoweredName(program, instance) for instance in instances]
    finally:
        nvrtc.destroyProgram(program)
    return code.encode() if isinstance(code, str) else code, names
