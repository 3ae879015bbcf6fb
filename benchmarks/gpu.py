"""Scoring on one GPU: arithmetic against copy bandwidth and peers, and the way from Parquet to scores.

    python benchmarks/gpu.py [--rows 2000000] [--rounds 7] [--json FILE] [--device cuda:0]

Runs unattended in a few minutes. Every way is timed by CUDA events, round by round in turn, medians with min and max.
Parts that need what is not installed (cudf, dask_cudf, triton) say so and are left out. `--device cpu` is a dry run
that shows that the program works; its figures mean nothing.
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from collections.abc import Callable
from importlib.util import find_spec
from itertools import pairwise
from pathlib import Path
from statistics import median

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import torch
from machine import machine
from torch import nn

from dask_aesthetic import load_predictor
from dask_aesthetic.kernels import dots_and_norms

WIDTH = 768


def seconds(run: Callable[[], object], device: torch.device) -> float:
    """How long a run takes on the device."""
    if device.type == "cpu":
        start = time.perf_counter()
        run()
        return time.perf_counter() - start
    begin, end = torch.cuda.Event(enable_timing=True), torch.cuda.Event(enable_timing=True)
    torch.cuda.synchronize(device)
    begin.record()
    run()
    end.record()
    torch.cuda.synchronize(device)
    return begin.elapsed_time(end) / 1e3


def measure(ways: dict[str, Callable[[], object]], device: torch.device, rounds: int) -> dict[str, list[float]]:
    """Seconds of every way, warmed up, in turn."""
    for run in ways.values():
        run()
    taken: dict[str, list[float]] = {name: [] for name in ways}
    for _ in range(rounds):
        for name, run in ways.items():
            taken[name].append(seconds(run, device))
    return taken


def triton_pass(x: torch.Tensor, weight: torch.Tensor) -> Callable[[], object]:
    """One pass over the rows that takes the dot product and the norm together."""
    from fused_pass import fused

    return lambda: fused(x, weight)


def kernels(options: argparse.Namespace, device: torch.device) -> dict[str, list[float]]:
    """Ways to get every row's dot product and norm, beside a copy of the same memory."""
    x = torch.randn(options.rows, WIDTH, device=device)
    predictor = load_predictor()
    weight = torch.tensor(predictor.weight, dtype=torch.float32, device=device)
    target = torch.empty_like(x)
    layered = _layered(device)
    part = x[: min(len(x), 1 << 18)]

    def network() -> None:
        with torch.inference_mode():
            layered(nn.functional.normalize(part, dim=1))

    ways: dict[str, Callable[[], object]] = {
        "copy": lambda: target.copy_(x),
        "predictor.score": lambda: predictor.score(x),
        "x @ w and vector_norm": lambda: dots_and_norms(x, weight),
        f"layered network ({len(part):,} rows)": network,
    }
    if device.type == "cuda" and find_spec("triton"):
        ways["one fused pass, triton"] = triton_pass(x, weight)
    taken = measure(ways, device, options.rounds)
    read = x.numel() * 4
    copy = 2 * read / median(taken["copy"])
    print(f"copy bandwidth (read and write): {copy / 1e9:,.0f} GB/s")
    for name, times in taken.items():
        rows = len(part) if name.startswith("layered") else len(x)
        rate = rows / median(times)
        share = rows * WIDTH * 4 / median(times) / copy
        spread = f"({rows / max(times) / 1e6:,.1f}..{rows / min(times) / 1e6:,.1f})"
        print(f"  {name:<36} {rate / 1e6:10,.1f} M rows/s {spread}, one read at {share:.2f} of the copy's bandwidth")
    return taken


def _layered(device: torch.device) -> nn.Module:
    """A network of the published head's shape."""
    widths = (WIDTH, 1024, 128, 64, 16, 1)
    return nn.Sequential(*(nn.Linear(a, b) for a, b in pairwise(widths))).to(device).eval()


def transfer(options: argparse.Namespace, device: torch.device) -> dict[str, list[float]]:
    """Moving embeddings to the device, beside scoring them there."""
    host = torch.randn(min(options.rows, 500_000), WIDTH)
    pinned = host.pin_memory() if device.type == "cuda" else host
    there = host.to(device)
    predictor = load_predictor()
    ways: dict[str, Callable[[], object]] = {
        "host to device": lambda: host.to(device),
        "host to device, pinned": lambda: pinned.to(device),
        "score": lambda: predictor.score(there),
    }
    taken = measure(ways, device, options.rounds)
    for name, times in taken.items():
        print(f"  {name:<36} {len(host) / median(times) / 1e6:10,.1f} M rows/s")
    return taken


def parquet(options: argparse.Namespace) -> dict[str, list[float]]:
    """Parquet to scores with dask-cuDF, beside reading the column alone."""
    import cudf
    import cupy
    import dask_cudf

    rows = min(options.rows, 1_000_000)
    with tempfile.TemporaryDirectory() as folder:
        for number in range(8):
            z = np.random.default_rng(number).standard_normal((rows // 8, WIDTH), dtype=np.float32)
            lists = pa.FixedSizeListArray.from_arrays(pa.array(z.reshape(-1)), WIDTH).cast(pa.list_(pa.float32()))
            table = pa.table({"key": pa.array(range(len(z))), "image_embedding": lists})
            pq.write_table(table, f"{folder}/{number}.parquet", use_dictionary=False)
        files = f"{folder}/*.parquet"
        frame = cudf.read_parquet(f"{folder}/0.parquet")

        def read() -> object:
            return dask_cudf.read_parquet(files, columns=["image_embedding"]).map_partitions(len).compute()

        def score() -> object:
            return dask_cudf.read_parquet(files).aesthetic.score()["aesthetic_score"].compute()

        layered = _layered(torch.device("cuda"))

        def curator() -> object:
            """What the partition function of NeMo Curator 0.x does with a column, all rows at once as it does."""
            leaves = frame["image_embedding"].list.leaves.values.reshape(len(frame), -1)
            with torch.no_grad():
                scores = layered(torch.as_tensor(leaves, device="cuda")).squeeze()
            return cudf.Series(cupy.asarray(scores))

        ways = {
            "read the column": read,
            "read and score": score,
            "score one cuDF frame": frame.aesthetic.score,
            "score one cuDF frame as NeMo Curator 0.x does": curator,
        }
        taken = measure(ways, torch.device("cuda"), options.rounds)
    for name, times in taken.items():
        count = rows // 8 if name.startswith("score") else rows
        print(f"  {name:<36} {count / median(times) / 1e6:10,.1f} M rows/s")
    return taken


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rows", type=int, default=2_000_000)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--device", default="cuda:0")
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    device = torch.device(options.device)
    if device.type == "cuda" and not torch.cuda.is_available():
        parser.error("expected a CUDA device, got none; --device cpu is a dry run")
    name = torch.cuda.get_device_name(device) if device.type == "cuda" else "no GPU: a dry run"
    print(f"{machine()}; {name}")
    told: dict[str, object] = {"machine": machine(), "device": name, "rows": options.rows}
    print("arithmetic on the device")
    told["kernels"] = kernels(options, device)
    print("to the device")
    told["transfer"] = transfer(options, device)
    if device.type == "cuda" and find_spec("dask_cudf"):
        print("Parquet with dask-cuDF")
        told["parquet"] = parquet(options)
    else:
        print("Parquet with dask-cuDF: left out, it needs a GPU and RAPIDS")
    if options.json:
        options.json.write_text(json.dumps(told, indent=1) + "\n")


if __name__ == "__main__":
    main()
