"""The CUDA C kernel: its bits on a CPU that stands in for a warp, and its compilation without a GPU."""

from __future__ import annotations

import ctypes
import shutil
import subprocess
from itertools import product
from pathlib import Path

import numpy as np
import pytest
import torch

from dask_aesthetic.kernels import launches
from helpers.kernel_rows import VALUES, WORKING, assert_same_bits, placed, random_rows

SOURCE = Path(launches.__file__).with_name("lanes.cu")
HELPERS = Path(__file__).parents[1] / "helpers"
TYPES = {torch.float16: "Half", torch.bfloat16: "BFloat16", torch.float32: "float", torch.float64: "double"}
ASSEMBLY = {
    'asm("cvt.f32.f16 %0, %1;" : "=f"(value) : "h"(__ldcs(&at->bits)));': "value = from_half(at->bits);",
    'asm("mul.rn.f32 %0, %1, %2;" : "=f"(value) : "f"(one), "f"(other));': "value = one * other;",
    'asm("add.rn.f32 %0, %1, %2;" : "=f"(value) : "f"(one), "f"(other));': "value = one + other;",
    'asm("cvt.f64.f32 %0, %1;" : "=d"(to) : "f"(from));': "to = from;",
    'asm("cvt.rn.f32.f64 %0, %1;" : "=f"(to) : "d"(from));': "to = from;",
}
ENTRY = """
extern "C" void {value}_{working}_{heads}(const {value}* x, long long stride, const {working}* weights, {working}* dots,
                                          long long across, {working}* squares, long long n, long long width) {{
  launch(n, [=] {{ lanes<{value}, {working}, {heads}>(x, stride, weights, dots, across, squares, n, width); }});
}}
"""


@pytest.fixture(scope="module")
def warp(tmp_path_factory):
    """``launch`` as `in_launches` takes it, of the kernel compiled for a CPU."""
    if shutil.which("g++") is None:
        pytest.skip("needs g++")
    folder = tmp_path_factory.mktemp("warp")
    source = SOURCE.read_text()
    for assembly, code in ASSEMBLY.items():
        assert source.count(assembly) == 1
        source = source.replace(assembly, code)
    assert "asm(" not in source
    entries = [
        ENTRY.format(value=TYPES[value], working=TYPES[working], heads=heads)
        for value, working, heads in product(VALUES, WORKING, range(launches.WEIGHTS + 1))
    ]
    source = '#include "warp.h"\n' + source + "".join(entries)
    (folder / "lanes.cpp").write_text(source)
    flags = ["-std=c++17", "-O1", "-ffp-contract=off", "-shared", "-fPIC", "-Wno-unknown-pragmas", f"-I{HELPERS}"]
    subprocess.run(["g++", *flags, "-o", folder / "lanes.so", folder / "lanes.cpp"], check=True, capture_output=True)
    library = ctypes.CDLL(str(folder / "lanes.so"))

    def launch(vectors, weights, dots, squares):
        run = getattr(library, f"{TYPES[vectors.dtype]}_{TYPES[weights.dtype]}_{len(weights)}")
        pointer, number = ctypes.c_void_p, ctypes.c_longlong
        run(
            pointer(vectors.data_ptr()), number(vectors.stride(0)), pointer(weights.data_ptr()),
            pointer(dots.data_ptr()), number(dots.stride(0)), pointer(squares.data_ptr()),
            number(len(vectors)), number(vectors.shape[1]),
        )  # fmt: skip

    return launch


def test_the_bits_are_those_of_the_lanes_in_numpy(warp):
    one_of = np.random.default_rng(0).choice
    for rows, weights in random_rows(count=9):
        some = weights[: one_of((0, 1, 2, 3, 4))]
        apart = placed(rows, begin=one_of((1, 2, 3)), gap=one_of((0, 1, 16)))
        assert_same_bits(launches.in_launches(warp, apart, some), rows, some)
        assert_same_bits(launches.in_launches(warp, rows, weights), rows, weights)


def test_rows_that_are_not_finite_change_no_others(warp):
    generator = torch.Generator().manual_seed(0)
    x, weights = torch.randn(9, 70, generator=generator), torch.randn(2, 70, generator=generator)
    dots, squares = launches.in_launches(warp, x, weights)
    x[3, 5], x[4, 7], x[5] = torch.nan, torch.inf, 1e30
    invalid = launches.in_launches(warp, x, weights)
    assert invalid[1][3].isnan()
    assert invalid[1][4:6].isinf().all()
    others = [0, 1, 2, 6, 7, 8]
    assert torch.equal(invalid[0][:, others], dots[:, others])
    assert torch.equal(invalid[1][others], squares[others])


def test_rows_whose_floats_lie_apart_are_copied_in_blocks(warp, monkeypatch):
    monkeypatch.setattr(launches, "COPIED_ROWS", 4)
    generator = torch.Generator().manual_seed(0)
    x, weights = torch.randn(9, 70, generator=generator), torch.randn(6, 70, generator=generator)
    for apart in (x.T.contiguous().T, torch.stack([x, -x], dim=2)[..., 0]):
        assert_same_bits(launches.in_launches(warp, apart, weights), x, weights)


@pytest.mark.rapids
def test_nvrtc_compiles_every_instance_without_a_gpu_and_fuses_no_product_with_a_sum():
    pytest.importorskip("cupy", reason="needs CuPy")
    from cupy.cuda import nvrtc

    from dask_aesthetic.kernels import cuda_lanes

    instances = [cuda_lanes.name(*each) for each in product(VALUES, WORKING, range(launches.WEIGHTS + 1))]
    program = nvrtc.createProgram(cuda_lanes.SOURCE.read_text(), "lanes.cu", (), ())
    for instance in instances:
        nvrtc.addNameExpression(program, instance)
    try:  # With the option that CuPy adds.
        nvrtc.compileProgram(program, (*cuda_lanes.OPTIONS, "-arch=compute_90", "-ftz=true"))
    finally:
        assert not nvrtc.getProgramLog(program).strip("\n\0")
    code = nvrtc.getPTX(program)
    text = code.decode() if isinstance(code, bytes) else code
    for instance in instances:
        assert f".entry {nvrtc.getLoweredName(program, instance)}(" in text
    assert "mul.rn.f32" in text
    assert "add.rn.f64" in text
    assert "fma" not in text
    assert ".ftz" not in text
    nvrtc.destroyProgram(program)
