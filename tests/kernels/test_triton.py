"""The Triton kernel: its bits in Triton's interpreter, and its compilation without a GPU."""

from __future__ import annotations

import importlib.util
import os
from pathlib import Path

import numpy as np
import pytest

pytestmark = pytest.mark.skipif(
    importlib.util.find_spec("triton") is None, reason="needs Triton, which comes with torch's CUDA builds"
)
TESTS = Path(__file__).parents[1]


@pytest.fixture
def fresh(interpreter, tmp_path):
    """Run code in a fresh interpreter, with settings of Triton's."""
    path = os.pathsep.join(filter(None, [str(TESTS), os.environ.get("PYTHONPATH")]))

    def run(code: str, *argv: str, **settings: str) -> None:
        env = {**os.environ, "TRITON_CACHE_DIR": str(tmp_path), "PYTHONPATH": path, **settings}
        done = interpreter.run(code, *argv, env=env)
        assert done.returncode == 0, done.stderr

    return run


def test_the_bits_are_those_of_the_lanes_in_numpy(fresh):
    fresh(
        """
import numpy as np
from helpers.kernel_rows import assert_same_bits, placed, random_rows
from dask_aesthetic.kernels.triton_lanes import dots_and_squares

one_of = np.random.default_rng(0).choice
for rows, weights in random_rows(count=10):
    assert_same_bits(dots_and_squares(rows, weights[:1]), rows, weights[:1])
    some = weights[: one_of((0, 2, 3, 5))]
    apart = placed(rows, begin=one_of((1, 2, 3)), gap=one_of((0, 1, 16)))
    assert_same_bits(dots_and_squares(apart, some), rows, some)
""",
        TRITON_INTERPRET="1",
    )


def test_every_number_of_weights_and_any_memory_give_the_bits_of_one(fresh):
    fresh(
        """
import torch
from dask_aesthetic.kernels import launches, triton_lanes
from dask_aesthetic.kernels.triton_lanes import dots_and_squares

generator = torch.Generator().manual_seed(0)
x, weights = torch.randn(9, 70, generator=generator), torch.randn(9, 70, generator=generator)
dots, squares = dots_and_squares(x, weights)
for k in range(9):
    some = dots_and_squares(x, weights[:k])
    assert torch.equal(some[0], dots[:k]) and torch.equal(some[1], squares)
every_other = torch.stack([weights, -weights], dim=2).flatten(1)[:, ::2]
assert torch.equal(dots_and_squares(x, every_other)[0], dots)

triton_lanes.UNROLLED = 32  # As rows of more than 1536 floats are read.
assert torch.equal(dots_and_squares(x, weights)[0], dots)

launches.COPIED_ROWS = 4
for other in (x.T.contiguous().T, torch.stack([x, -x], dim=1)[:, 0], torch.stack([x, -x], dim=2)[..., 0]):
    again = dots_and_squares(other, weights)
    assert torch.equal(again[0], dots) and torch.equal(again[1], squares)
repeated = dots_and_squares(x[:1].expand(9, 70), weights)[0]
assert torch.equal(repeated, dots[:, :1].expand(9, 9))

for at in (1, 8):  # Other programs, other positions in a program.
    assert torch.equal(dots_and_squares(x[at:], weights)[0], dots[:, at:])
assert [part.shape for part in dots_and_squares(x[:0], weights[:3])] == [(3, 0), (0,)]
assert [part.tolist() for part in dots_and_squares(x[:2, :0], weights[:1, :0])] == [[[0, 0]], [0, 0]]
""",
        TRITON_INTERPRET="1",
    )


def test_rows_that_are_not_finite_change_no_others(fresh):
    fresh(
        """
import numpy as np, torch
from dask_aesthetic.kernels.triton_lanes import dots_and_squares

generator = torch.Generator().manual_seed(0)
x, weights = torch.randn(9, 70, generator=generator), torch.randn(2, 70, generator=generator)
dots, squares = dots_and_squares(x, weights)
x[3, 5], x[4, 7], x[5] = torch.nan, torch.inf, 1e30
with np.errstate(invalid="ignore", over="ignore"):
    invalid = dots_and_squares(x, weights)
assert invalid[1][3].isnan() and invalid[1][4].isinf() and invalid[1][5].isinf()
others = [0, 1, 2, 6, 7, 8]
assert torch.equal(invalid[0][:, others], dots[:, others]) and torch.equal(invalid[1][others], squares[others])
""",
        TRITON_INTERPRET="1",
    )


@pytest.mark.parametrize("source", ["ratings", "verite"])
def test_the_bits_of_real_embeddings(fresh, request, tmp_path, source):
    np.save(tmp_path / "x.npy", request.getfixturevalue(source)[:24])
    fresh(
        """
import sys
import numpy as np, torch
from helpers.kernel_rows import assert_same_bits
from dask_aesthetic import load_predictor
from dask_aesthetic.kernels.triton_lanes import dots_and_squares

rows = torch.from_numpy(np.load(sys.argv[1]))
weights = torch.tensor(load_predictor().weight[None])
for dtype in (torch.float16, torch.float32):
    for working in (torch.float32, torch.float64):
        some = rows.to(dtype), weights.to(working)
        assert_same_bits(dots_and_squares(*some), *some)
""",
        str(tmp_path / "x.npy"),
        TRITON_INTERPRET="1",
    )


def test_the_kernel_compiles_without_a_gpu_and_fuses_no_product_with_a_sum(fresh):
    fresh("""
import re
import triton
from triton.backends.compiler import GPUTarget
from triton.compiler import ASTSource
from dask_aesthetic.kernels.triton_lanes import NARROW, OPTIONS, WIDE, _lanes

for dtype, working, width, heads in (("fp32", "fp32", 768, 1), ("bf16", "fp32", 128, 4), ("fp64", "fp64", 96, 0)):
    rows, warps = NARROW if dtype == "bf16" else WIDE
    constants = {"width": width, "span": width, "heads": heads, "rows": rows}
    pointers = dict(x=dtype, weights=working, dots=working, squares=working)
    signature = {name: f"*{of}" for name, of in pointers.items()} | dict(stride="i32", across="i32", n="i32")
    if tuple(map(int, triton.__version__.split(".")[:2])) >= (3, 3):
        signature |= dict.fromkeys(constants, "constexpr")
    signature = {name: signature[name] for name in _lanes.arg_names if name in signature}
    made = triton.compile(
        ASTSource(_lanes, signature, constants), GPUTarget("cuda", 90, 32),
        options=dict(num_warps=warps, **OPTIONS),
    )
    assert len(made.asm["cubin"]) > 1000
    assert made.metadata.shared <= 48 << 10
    products = re.findall(r"\\b(?:mul|add|fma)\\S*\\.f(?:32|64)", made.asm["ptx"])
    assert products and not {"fma", "ftz"} & {part for product in products for part in product.split(".")}
""")
