"""Rows per second of ``frame.aesthetic.score()`` in memory, over the memory bound and over the layered network.

    python benchmarks/score_in_memory.py [--rows 500000] [--rounds 7] [--json FILE]

Everything is measured in turn in one process, round by round, so that the ratios hold when the machine's speed
drifts. The bound is numpy's `max` over the same memory: one pass, nothing but reading. The layered network is the
published head's shape (768-1024-128-64-16-1, no activation) in torch on normalised batches of 1024, as LAION's own
script and NeMo Curator run it, with one thread, as the scoring has, and with all; it works on `--layered-rows` of the
rows, since it is slow. Needs no checkpoint.
"""

from __future__ import annotations

import argparse
import json
import time
from itertools import pairwise
from pathlib import Path
from statistics import median

import numpy as np
import pandas as pd
import pyarrow as pa
import torch
from machine import machine
from torch import nn

import dask_aesthetic  # noqa: F401


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rows", type=int, default=500_000)
    parser.add_argument("--layered-rows", type=int, default=50_000)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()

    rng = np.random.default_rng(0)
    matrix = rng.standard_normal((options.rows, 768), dtype=np.float32)
    offsets = pa.array(np.arange(options.rows + 1) * 768, pa.int32())
    column = pd.Series(
        pd.arrays.ArrowExtensionArray(
            pa.chunked_array([pa.ListArray.from_arrays(offsets, pa.array(matrix.reshape(-1)))])
        )
    )
    frame = pd.DataFrame({"image_embedding": column})
    part = torch.from_numpy(matrix[: options.layered_rows])
    widths = (768, 1024, 128, 64, 16, 1)
    layered = nn.Sequential(*(nn.Linear(a, b) for a, b in pairwise(widths))).eval()

    threads = torch.get_num_threads()

    def network(threads: int) -> None:
        torch.set_num_threads(threads)
        with torch.inference_mode():
            for start in range(0, len(part), 1024):
                layered(nn.functional.normalize(part[start : start + 1024], dim=1))

    ways = {
        "bound: numpy max": (lambda: matrix.max(), options.rows),
        "frame.aesthetic.score()": (lambda: frame.aesthetic.score(), options.rows),
        "layered network, 1 thread": (lambda: network(1), len(part)),
        f"layered network, {threads} threads": (lambda: network(threads), len(part)),
    }
    for run, _ in ways.values():
        run()
    rates: dict[str, list[float]] = {name: [] for name in ways}
    for _ in range(options.rounds):
        for name, (run, rows) in ways.items():
            start = time.perf_counter()
            run()
            rates[name].append(rows / (time.perf_counter() - start))
    score = rates["frame.aesthetic.score()"]
    ratios = {
        f"score / {name}": [a / b for a, b in zip(score, values, strict=True)]
        for name, values in rates.items()
        if values is not score
    }
    print(machine())
    print(f"{options.rows:,} rows of 768 float32 in an Arrow list column, {options.rounds} rounds: median (min..max)")
    for name, values in rates.items():
        print(f"  {name:<36} {median(values) / 1e6:8.3f} M rows/s ({min(values) / 1e6:.3f}..{max(values) / 1e6:.3f})")
    for name, values in ratios.items():
        print(f"  {name:<36} {median(values):8.2f} ({min(values):.2f}..{max(values):.2f})")
    if options.json:
        told = {"machine": machine(), "rows": options.rows, "rows_per_second": rates, "ratios": ratios}
        options.json.write_text(json.dumps(told, indent=1) + "\n")


if __name__ == "__main__":
    main()
