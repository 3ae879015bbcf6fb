"""The Triton kernel: its arithmetic in Triton's interpreter, and its compilation without a GPU."""

from __future__ import annotations

import importlib.util
import os

import pytest
import torch

from dask_aesthetic import kernels

NO_TRITON = pytest.mark.skipif(
    importlib.util.find_spec("triton") is None, reason="needs Triton, which comes with torch's CUDA builds"
)


@pytest.fixture
def fresh(interpreter, tmp_path):
    """Run code in a fresh interpreter, with settings of Triton's."""

    def run(code: str, **settings: str) -> None:
        done = interpreter.run(code, env={**os.environ, "TRITON_CACHE_DIR": str(tmp_path), **settings})
        assert done.returncode == 0, done.stderr

    return run


@NO_TRITON
def test_dots_and_squares_equal_float64_in_any_row_position(fresh):
    fresh(
        """
import itertools
import numpy as np, torch
from dask_aesthetic.kernels import fused
from dask_aesthetic.kernels.fused import ROWS, dots_and_squares

generator = torch.Generator().manual_seed(0)
dtypes = torch.float32, torch.float64, torch.float16, torch.bfloat16
for dtype, working, width in itertools.product(dtypes, dtypes[:2], (256, 3)):
    x = (5 * torch.randn(ROWS * 2 + 3, width, generator=generator)).to(dtype)
    weight = torch.randn(width, generator=generator).to(working)
    dots, squares = dots_and_squares(x, weight)
    assert dots.dtype == squares.dtype == working
    exact = x.double() @ weight.double(), x.double().square().sum(dim=1)
    limit = 1e-6 if working == torch.float32 else 1e-14
    assert (dots - exact[0]).abs().max() <= limit * weight.norm() * exact[1].max().sqrt()
    assert (squares / exact[1] - 1).abs().max() <= limit
    for at in (1, ROWS, 2 * ROWS + 2):  # Other programs, other positions in a program, fewer rows.
        again = dots_and_squares(x[at:], weight)
        assert torch.equal(again[0], dots[at:]) and torch.equal(again[1], squares[at:])

x, weight = torch.randn(9, 768, generator=generator), torch.randn(768, generator=generator)
dots, squares = dots_and_squares(x, weight)
fused.COPIED_ROWS = 4
begun = torch.cat([torch.zeros(767), x.flatten()])[767:].view(9, 768)  # A slice after a row of another length.
assert begun.is_contiguous() and begun.data_ptr() % 16
for other in (x.T.contiguous().T, torch.stack([x, -x], dim=1)[:, 0], torch.cat([x, x], dim=1)[:, :768], begun):
    assert torch.equal(dots_and_squares(other, weight)[0], dots)
assert [len(part) for part in dots_and_squares(x[:0], weight)] == [0, 0]

x[3, 5], x[4, 7] = torch.nan, torch.inf
with np.errstate(invalid="ignore"):
    invalid = dots_and_squares(x, weight)
assert invalid[1][3].isnan() and invalid[1][4].isinf()
assert torch.equal(invalid[0][[0, 1, 2, 5, 6, 7, 8]], dots[[0, 1, 2, 5, 6, 7, 8]])
""",
        TRITON_INTERPRET="1",
    )


@NO_TRITON
def test_the_kernel_compiles_without_a_gpu(fresh):
    fresh("""
import triton
from triton.backends.compiler import GPUTarget
from triton.compiler import ASTSource
from dask_aesthetic.kernels.fused import CHUNK, ROWS, WARPS, _one_pass

for dtype, working, width in (("fp32", "fp32", 768), ("fp16", "fp64", 256)):
    constants = {"width": width, "rows": ROWS, "chunk": CHUNK}
    pointers = dict(x=dtype, weight=working, dots=working, squares=working)
    signature = {name: f"*{of}" for name, of in pointers.items()} | dict(n="i32")
    if tuple(map(int, triton.__version__.split(".")[:2])) >= (3, 3):
        signature |= dict.fromkeys(constants, "constexpr")
    made = triton.compile(
        ASTSource(_one_pass, signature, constants), GPUTarget("cuda", 90, 32),
        options=dict(num_warps=WARPS, enable_fp_fusion=True),
    )
    assert len(made.asm["cubin"]) > 1000
    assert made.metadata.shared <= 48 << 10
""")


def test_without_triton_two_passes_are_used_with_a_warning():
    if torch.cuda.is_available():
        pytest.skip("Triton runs here")
    kernels._one_pass.cache_clear()
    with pytest.warns(RuntimeWarning, match="embeddings on cuda:0 are read twice per score"):
        assert kernels._one_pass(torch.device("cuda:0")) is None
    kernels._one_pass.cache_clear()
    assert kernels._one_pass(torch.device("cpu")) is None
