"""Bits of the kernels on a CUDA device, which need torch and Triton or CuPy alone: neither RAPIDS, Dask nor files.

Without a device ``TRITON_INTERPRET=1`` runs the tests of Triton's kernel on the CPU, with few rows.
"""

from __future__ import annotations

import os
import subprocess
import sys
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest
import torch

from dask_aesthetic import load_predictor
from dask_aesthetic.kernels import gpu
from dask_aesthetic.predictors import AffinePredictor
from helpers import kernel_rows, lanes

ON_GPU = torch.cuda.is_available()
INTERPRETED = not ON_GPU and os.environ.get("TRITON_INTERPRET") == "1" and find_spec("triton") is not None
if os.environ.get("DASK_AESTHETIC_NEED_GPU") and not ON_GPU:
    raise RuntimeError("expected an NVIDIA GPU that torch can use, got none")
DEVICE = torch.device("cuda" if ON_GPU else "cpu")
pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not ON_GPU and not INTERPRETED, reason="needs an NVIDIA GPU, or Triton and TRITON_INTERPRET=1"),
]
needs_gpu = pytest.mark.skipif(not ON_GPU, reason="needs an NVIDIA GPU")

ROWS = 300 if ON_GPU else 10
WIDTHS = (31, 768) if ON_GPU else (3, 31, 96)  # Triton takes a second to compile each, anew for other alignments.
BEYOND = 2**31  # Floats that a 32-bit index does not reach.
EDGE = 64  # Rows at the ends of large tensors that numpy computes, too.


@pytest.fixture(params=["triton_lanes", "cuda_lanes"])
def dots_and_squares(request):
    """Either kernel."""
    name, library = request.param, {"triton_lanes": "triton", "cuda_lanes": "cupy"}[request.param]
    pytest.importorskip(library, reason=f"needs {library}")
    if name == "cuda_lanes" and not ON_GPU:
        pytest.skip("needs an NVIDIA GPU")
    return import_module(f"dask_aesthetic.kernels.{name}").dots_and_squares


@pytest.mark.parametrize("value", kernel_rows.VALUES, ids=str)
@pytest.mark.parametrize("working", kernel_rows.WORKING, ids=str)
def test_the_bits_are_those_of_the_lanes_in_numpy_anywhere_in_memory(dots_and_squares, value, working):
    one_of = np.random.default_rng(0).choice
    for rows, weights in kernel_rows.random_rows(ROWS, WIDTHS, [value], [working]):
        rows, weights = rows.to(DEVICE), weights.to(DEVICE)
        some = weights[: one_of((0, 2, 3, 4, 5))]
        kernel_rows.assert_same_bits(dots_and_squares(rows, weights[:1]), rows, weights[:1])
        for begin, gap in ((1, 0), (2, 1), (3, 16)):
            apart = kernel_rows.placed(rows, begin, gap)
            kernel_rows.assert_same_bits(dots_and_squares(apart, weights[:1]), rows, weights[:1])
        kernel_rows.assert_same_bits(dots_and_squares(kernel_rows.placed(rows, 1, 3), some), rows, some)
        kernel_rows.assert_same_bits(dots_and_squares(rows.T.contiguous().T, some), rows, some)
        assert [part.shape for part in dots_and_squares(rows[:0], some)] == [(len(some), 0), (0,)]


def test_every_number_of_weights_gives_the_bits_of_one(dots_and_squares):
    width = 768 if ON_GPU else 70
    rows, weights = torch.randn(ROWS, width, device=DEVICE), torch.randn(17, width, device=DEVICE)
    dots, squares = dots_and_squares(rows, weights)
    kernel_rows.assert_same_bits((dots, squares), rows, weights)
    for count in (0, 1, 2, 3, 4, 5, 8, 16):
        some = dots_and_squares(rows, weights[:count])
        assert torch.equal(some[0], dots[:count])
        assert torch.equal(some[1], squares)


def test_rows_that_are_wider_than_the_unrolled_loop(dots_and_squares):
    rows, weights = torch.randn(3, 4000, device=DEVICE), torch.randn(5, 4000, device=DEVICE)
    kernel_rows.assert_same_bits(dots_and_squares(rows, weights), rows, weights)


@needs_gpu
@pytest.mark.parametrize("layout", ["float32", "float16", "every other row"])
def test_the_bits_beyond_2_31_floats(dots_and_squares, layout):
    width, step = 768, 2 if layout == "every other row" else 1
    count = -(-BEYOND // (width * step)) + 1000
    dtype = torch.float16 if layout == "float16" else torch.float32
    rows = torch.zeros(count, step * width, dtype=dtype, device=DEVICE)[:, -width:]
    weights, edges = torch.randn(2, width, device=DEVICE), (slice(EDGE), slice(count - EDGE, count))
    for edge in edges:
        rows[edge] = torch.randn(EDGE, width, device=DEVICE).to(dtype)
    dots, squares = dots_and_squares(rows, weights)
    for edge in edges:
        kernel_rows.assert_same_bits((dots[:, edge], squares[edge]), rows[edge], weights)
    assert not dots[:, EDGE:-EDGE].any()
    assert not squares[EDGE:-EDGE].any()


@needs_gpu
def test_the_kernel_runs_on_the_stream_that_torch_is_on(dots_and_squares):
    rows, weight = torch.randn(100_000, 768, device="cuda"), torch.randn(1, 768, device="cuda")
    dots, squares = dots_and_squares(rows, weight)
    torch.cuda.synchronize()
    late = torch.zeros_like(rows)
    torch.cuda.synchronize()
    with torch.cuda.stream(torch.cuda.Stream()):
        busy = torch.randn(4096, 4096, device="cuda")
        for _ in range(20):
            busy = busy @ busy
        late.copy_(rows)
        again = dots_and_squares(late, weight)
        copies = [part.cpu() for part in again]
    assert torch.equal(copies[0], dots.cpu())
    assert torch.equal(copies[1], squares.cpu())


@needs_gpu
@pytest.mark.parametrize("working", [np.float32, np.float64])
def test_scores_and_norms_have_the_bits_of_the_lanes_in_numpy(working):
    rows = np.random.default_rng(0).standard_normal((300_000, 768), dtype=np.float32)
    predictor = load_predictor()
    weight, bias = predictor.weight.astype(working), predictor.bias
    weights = torch.from_numpy(weight[None]).cuda()
    parts = gpu.dots_and_squares(torch.from_numpy(rows).cuda(), weights)
    scores, norms = gpu.finish(*parts, torch.tensor([bias], dtype=weights.dtype, device="cuda"))
    expected = lanes.scores_and_norms(rows, weight, bias)
    np.testing.assert_array_equal(scores[0].cpu().numpy(), expected[0])
    np.testing.assert_array_equal(norms.cpu().numpy(), expected[1])


@needs_gpu
def test_a_predictor_has_the_bits_of_the_cpu():
    rows = torch.from_numpy(np.random.default_rng(1).standard_normal((100_000, 768), dtype=np.float32))
    predictor = load_predictor()
    for here, there in zip(predictor.score(rows), predictor.score(rows.cuda()), strict=True):
        assert torch.equal(here, there.cpu())


@needs_gpu
def test_weights_are_copied_to_the_device_once_for_each_stream():
    rows = torch.from_numpy(np.random.default_rng(1).standard_normal((1000, 768), dtype=np.float32)).cuda()
    known = load_predictor()
    predictor = AffinePredictor(known.weight, known.bias, known.info)
    expected = predictor.score(rows)[0]
    torch.cuda.set_sync_debug_mode("error")
    try:
        again = predictor.score(rows)[0]
    finally:
        torch.cuda.set_sync_debug_mode("default")
    assert torch.equal(again, expected)
    with torch.cuda.stream(torch.cuda.Stream()):
        assert torch.equal(predictor.score(rows)[0].cpu(), expected.cpu())
    assert len(predictor.heads.copies) == 2


CHOICE = """
import sys
for name in sys.argv[1:]:
    sys.modules[name] = None  # As if it were not installed.
import torch
from dask_aesthetic.errors import KernelError
from dask_aesthetic.kernels import gpu
from dask_aesthetic.predictors import AffinePredictor
try:
    print(gpu.kernel(torch.device("cuda", 0)).__module__)
except KernelError as error:
    print(error)
"""


@needs_gpu
@pytest.mark.parametrize(
    ("missing", "chosen"),
    [((), "triton_lanes"), (("triton",), "cuda_lanes"), (("triton", "cupy"), "install gcc or clang")],
)
def test_triton_makes_the_kernel_else_cupy_else_the_error_says_what_to_install(tmp_path, missing, chosen):
    script = Path(tmp_path, "script.py")
    script.write_text(CHOICE)
    done = subprocess.run([sys.executable, str(script), *missing], capture_output=True, text=True, timeout=240)
    assert done.returncode == 0, done.stderr
    assert chosen in done.stdout
