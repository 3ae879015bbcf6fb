"""CUDA C kernel for GPUs without a C compiler, which Triton needs: NVRTC compiles `lanes.cu` through CuPy.

It has the names and the bits of `triton_lanes`.
"""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

import cupy
import torch

from dask_aesthetic.kernels.lanes import LANES
from dask_aesthetic.kernels.launches import in_launches

SOURCE = Path(__file__).with_name("lanes.cu")
OPTIONS = ("-std=c++17", "-fmad=false")
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
    module = cupy.RawModule(code=SOURCE.read_text(), options=OPTIONS, name_expressions=(instance,))
    return module.get_function(instance)
