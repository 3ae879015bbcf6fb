"""Other processors give the same bits: older x86-64, and 64-bit ARM by cross-compilation and emulation."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
from itertools import product

import numpy as np
import pytest
from llvmlite import binding, ir

from dask_aesthetic.kernels.lanes_ir import DOUBLE, FLOAT, I64, STORED, Row, build_row
from helpers.lanes import assert_same_bits, scores_and_norms

# What numba compiles for, and what it may use beyond the base of x86-64.
PROCESSORS = {
    "x86-64": ("generic", ""),
    "nehalem": ("nehalem", "+sse3,+ssse3,+sse4.1,+sse4.2,+popcnt"),
    "x86-64-v3": ("haswell", "+avx,+avx2,+bmi,+bmi2,+f16c,+fma,+lzcnt,+movbe,+popcnt,+sse4.2"),
}
# Digests of scores and norms, and traits of the code. The first two kinds of call are digested over all rows.
DIGESTS = """
import hashlib, json, sys
import numpy as np, torch
from dask_aesthetic import kernels
from dask_aesthetic.kernels import Heads
from dask_aesthetic.kernels.compiled import score_rows

rows, kinds = int(sys.argv[1]), json.loads(sys.argv[2])
digests = {}
for at, (dtype, working, width, count) in enumerate(kinds):
    random = np.random.default_rng(0)
    heads = Heads.of(random.standard_normal((count, width)), random.standard_normal(count), getattr(np, working))
    digest = hashlib.sha256()
    some = torch.from_numpy(random.standard_normal((2_000, width), dtype=np.float32))
    for part in range(0, rows if at < 2 else 2_000, 2_000):
        x = (some * (1 + part / 1e6)).to(getattr(torch, dtype))  # Other digits in every part.
        for found in kernels.scores_and_norms(x, heads):
            digest.update(found.numpy().tobytes())
    digests[f"{dtype} {working} {width} {count}"] = digest.hexdigest()
assembly = " ".join(score_rows.compiled.inspect_asm().values())
print(json.dumps([digests, "zmm" in assembly, "ymm" in assembly, "vfmadd" in assembly]))
"""
FEW = [("float32", "float32", 768, 1), ("float16", "float32", 768, 1), ("float32", "float64", 33, 3)]
ALL = [*FEW[:2], *product(STORED, ("float32", "float64"), (768, 33), (1, 3))]


@pytest.fixture
def digests_on(interpreter, tmp_path):
    """Digests as compiled for a processor, and whether its code holds 512-bit, 256-bit and fused operations."""

    def run(processor: str | None, rows: int, kinds: list[tuple]) -> list:
        env = {**os.environ, "NUMBA_CACHE_DIR": str(tmp_path)}
        if processor is not None:
            env |= dict(zip(("NUMBA_CPU_NAME", "NUMBA_CPU_FEATURES"), PROCESSORS[processor], strict=True))
        done = interpreter.run(DIGESTS, str(rows), json.dumps(kinds), env=env)
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout)

    return run


@pytest.mark.parametrize(
    ("rows", "kinds"),
    [pytest.param(2_000, FEW, id="few"), pytest.param(1_000_000, ALL, id="million", marks=pytest.mark.slow)],
)
def test_older_processors_give_the_same_scores(digests_on, rows, kinds):
    here, _, _, is_fused = digests_on(None, rows, kinds)
    assert not is_fused
    for processor in PROCESSORS:
        there, has_512, has_256, is_fused = digests_on(processor, rows, kinds)
        assert there == here, processor
        assert (has_512, has_256, is_fused) == (False, processor == "x86-64-v3", False)


def row_module(stored: str, working: str, has_half: bool) -> str:
    """LLVM code of a C function ``float score_row(values, width, weight, bias, norm)``."""
    number = FLOAT if working == "float32" else DOUBLE
    module = ir.Module("row")
    function = ir.Function(module, ir.FunctionType(FLOAT, [I64, I64, I64, number, I64]), "score_row")
    builder = ir.IRBuilder(function.append_basic_block("entry"))
    values, width, weight, bias, norm = function.args
    row = Row(values, values, width, [weight], [bias])
    (score,), length = build_row(builder, row, stored, working, has_half=has_half)
    builder.store(length, builder.inttoptr(norm, number.as_pointer()))
    builder.ret(score)
    return str(module)


def machine(triple: str) -> binding.TargetMachine:
    binding.initialize_all_targets()
    binding.initialize_all_asmprinters()
    try:
        return binding.Target.from_triple(triple).create_target_machine(opt=3, reloc="pic")
    except RuntimeError:
        pytest.skip(f"this llvmlite does not compile for {triple}")


@pytest.mark.parametrize("working", ["float32", "float64"])
@pytest.mark.parametrize("stored", STORED)
def test_the_code_for_arm_holds_no_fused_operation(stored, working):
    target = machine("aarch64-linux-gnu")
    assembly = target.emit_assembly(binding.parse_assembly(row_module(stored, working, has_half=True)))
    operations = re.findall(r"^\s+(f\w+)\s", assembly, re.MULTILINE)
    assert {"fmul", "fadd", "fdiv", "fsqrt"} <= set(operations)
    assert not {"fmla", "fmadd", "fmls", "fmsub", "fnmadd", "fnmsub"} & set(operations)


C_PROGRAM = """
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
float score_row(int64_t values, int64_t width, int64_t weight, WORKING bias, int64_t norm);
int main(int count, char **arguments) {
    long rows = atol(arguments[1]), width = atol(arguments[2]), size = atol(arguments[3]);
    long padded = (width + 31) / 32 * 32;
    WORKING *weight = malloc(padded * sizeof(WORKING)), bias, norm;
    char *row = malloc(width * size);
    fread(&bias, sizeof(bias), 1, stdin);
    fread(weight, sizeof(WORKING), padded, stdin);
    for (long i = 0; i < rows; i++) {
        fread(row, size, width, stdin);
        float score = score_row((int64_t)row, width, (int64_t)weight, bias, (int64_t)&norm);
        fwrite(&score, sizeof(score), 1, stdout);
        fwrite(&norm, sizeof(norm), 1, stdout);
    }
    return 0;
}
"""


@pytest.mark.slow
@pytest.mark.parametrize("working", ["float32", "float64"])
@pytest.mark.parametrize("stored", STORED)
def test_an_arm_processor_has_the_bits_of_the_reference(tmp_path, stored, working):
    """The object, linked to a C program, on an emulated processor."""
    compiler, emulator = map(shutil.which, ("aarch64-linux-gnu-gcc", "qemu-aarch64"))
    if not compiler or not emulator:
        pytest.skip("needs aarch64-linux-gnu-gcc and qemu-aarch64")
    module = binding.parse_assembly(row_module(stored, working, has_half=True))
    (tmp_path / "row.o").write_bytes(machine("aarch64-linux-gnu").emit_object(module))
    (tmp_path / "main.c").write_text(C_PROGRAM)
    number = {"float32": "float", "float64": "double"}[working]
    program = tmp_path / "program"
    build = [compiler, "-O1", "-static", f"-DWORKING={number}", "-o", program, tmp_path / "main.c", tmp_path / "row.o"]
    subprocess.run(build, check=True, capture_output=True)
    random = np.random.default_rng(0)
    for width in (1, 33, 768):
        x = random.standard_normal((1000, width)).astype("f4" if stored == "bfloat16" else stored)
        x[::7] *= x.dtype.type(1e-3)  # Some float16 values become subnormal.
        raw = x
        if stored == "bfloat16":
            raw = (x.view(np.uint32) >> 16).astype(np.uint16)
            x = (raw.astype(np.uint32) << 16).view(np.float32)
        weight = random.standard_normal(width).astype(working)
        padded, bias = np.zeros(-(-width // 32) * 32, working), weight.dtype.type(0.3)
        padded[:width] = weight
        given = bias.tobytes() + padded.tobytes() + raw.tobytes()
        size = [str(number) for number in (len(x), width, STORED[stored][1])]
        done = subprocess.run([emulator, program, *size], input=given, check=True, capture_output=True)
        found = np.frombuffer(done.stdout, np.dtype([("score", "f4"), ("norm", working)]))
        score, norm = scores_and_norms(x, weight, bias)
        assert_same_bits(found["score"].copy(), score)
        assert_same_bits(found["norm"].copy(), norm)
