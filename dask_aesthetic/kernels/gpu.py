"""The arithmetic of a score on a GPU: the kernel that runs there, and what follows it.

Triton's kernel needs a C compiler for its launcher; where there is none, CuPy compiles one in CUDA C that has the same
bits. Neither is imported before the first score on a GPU.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from functools import cache
from importlib import import_module

import numpy as np
import torch

from dask_aesthetic.errors import KernelError, first_line
from dask_aesthetic.kernels.lanes import Heads
from dask_aesthetic.kernels.memory import is_full

COMPILERS = {"Triton": "triton_lanes", "CuPy": "cuda_lanes"}  # In order of preference; the modules have the same names.

MOST_COPIES = 64  # Of the weights of one predictor, on different streams.

_Kernel = Callable[[torch.Tensor, torch.Tensor], tuple[torch.Tensor, torch.Tensor]]
log = logging.getLogger(__name__)


def operands(heads: Heads, device: torch.device) -> tuple[torch.Tensor, torch.Tensor]:
    """Weights, shape (k, width), and biases, shape (k,), on a CUDA device: copied once, since a copy waits for it.

    Each stream has its own: memory that one stream gives back is used again without a look at the others.
    """
    at = device, torch.cuda.current_stream(device).cuda_stream
    if at not in heads.copies:
        if len(heads.copies) >= MOST_COPIES:
            heads.copies.clear()
        weights, biases = torch.from_numpy(heads.packed).to(device).split([heads.width, 1], dim=1)
        heads.copies[at] = weights.contiguous(), biases[:, 0]
    return heads.copies[at]


def dots_and_squares(vectors: torch.Tensor, weights: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Dot product of every row with every weight, and every row's sum of squares, in the precision of `weights`.

    Parameters
    ----------
    vectors : torch.Tensor, shape (n, width), float16, bfloat16, float32 or float64
        On a CUDA device. Rows at any distance and alignment are read where they lie, if the floats of a row lie side by
        side.
    weights : torch.Tensor, shape (k, width), float32 or float64, on the same device
        Up to four are computed in one pass; with none, the sums of squares alone are.

    Returns
    -------
    tuple of torch.Tensor, shapes (k, n) and (n,), dtype of `weights`

    Raises
    ------
    KernelError
        If neither Triton nor CuPy compiles the kernel.
    """
    with torch.cuda.device(vectors.device):
        return kernel(vectors.device)(vectors, weights)


@cache
def kernel(device: torch.device) -> _Kernel:
    """``dots_and_squares`` of the first of `COMPILERS` that makes a kernel which runs on a CUDA device."""
    causes = {}
    for name, module in COMPILERS.items():
        try:
            made: _Kernel = import_module(f"dask_aesthetic.kernels.{module}").dots_and_squares
            with torch.cuda.device(device):
                made(torch.ones(1, 32, device=device), torch.ones(1, 32, device=device))
                torch.cuda.synchronize(device)
        except Exception as error:  # Compilers raise errors of any kind.
            if is_full(error):
                raise
            causes[name] = f"{type(error).__name__}: {first_line(error)}"
            log.debug("%s makes no kernel for %s", name, device, exc_info=True)
        else:
            log.debug("the kernel for %s is %s's", device, name)
            return made
    raise KernelError(str(device), causes)


def finish(dots: torch.Tensor, squares: torch.Tensor, biases: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Scores and norms of rows: ``norm = sqrt(square)``, ``score = dot / norm + bias``, every step rounded.

    Parameters
    ----------
    dots : torch.Tensor, shape (k, n), float32 or float64
    squares : torch.Tensor, shape (n,), same dtype and device
    biases : torch.Tensor, shape (k,), same dtype and device
        A tensor, since torch multiplies by the reciprocal of a Python number where it should divide.

    Returns
    -------
    tuple of torch.Tensor
        Scores, shape (k, n), rounded to float32 at the end, and norms, shape (n,), of the dtype of `squares`.
    """
    on_cpu = squares.device.type == "cpu"  # torch's square root is MKL's there, which is not always rounded correctly.
    norms = torch.from_numpy(np.sqrt(squares.numpy())) if on_cpu else squares.sqrt()
    scores = dots / norms
    scores += biases[:, None]
    return scores.float(), norms
