"""Tile shapes of the Triton kernel, compared with a copy of the same memory: `python benchmarks/triton_shapes.py`.

The fastest shape belongs in `dask_aesthetic/kernels/triton_lanes.py`. No shape changes the bits of a score, which this
asserts.
"""

from __future__ import annotations

import argparse
from itertools import product
from statistics import median

import torch
from machine import machine

from dask_aesthetic.kernels import triton_lanes


def milliseconds(run) -> float:
    begin, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
    begin.record()
    run()
    end.record()
    torch.cuda.synchronize()
    return begin.elapsed_time(end)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rows", type=int, default=2_000_000)
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--weights", type=int, default=1)
    parser.add_argument("--dtype", choices=["float16", "bfloat16", "float32", "float64"], default="float32")
    options = parser.parse_args()
    print(machine())
    x = torch.randn(options.rows, 768, device="cuda").to(getattr(torch, options.dtype))
    target, weights = torch.empty_like(x), torch.randn(options.weights, 768, device="cuda")
    here = triton_lanes.NARROW if x.element_size() == 2 else triton_lanes.WIDE
    shapes = sorted(product((1, 2, 4, 8, 16, 32), (1, 2, 4, 8)), key=lambda shape: shape != here)
    shapes = [
        shape for shape in shapes if 1 <= shape[0] / shape[1] <= 16
    ]  # Floats of a row at a time that a thread has.

    def shaped(shape):
        triton_lanes.WIDE = triton_lanes.NARROW = shape
        return triton_lanes.dots_and_squares(x, weights)

    times = {shape: [] for shape in shapes}
    expected = shaped(here)
    for shape in shapes:
        assert all(map(torch.equal, shaped(shape), expected)), f"{shape} gives other bits"
    print(f"{len(shapes)} shapes give the same bits")
    copies = []
    for _ in range(options.rounds):
        copies.append(milliseconds(lambda: target.copy_(x)))
        for shape in shapes:
            times[shape].append(milliseconds(lambda shape=shape: shaped(shape)))
    copy = median(copies)
    print(f"copy: {2 * x.nbytes / copy / 1e6:,.0f} GB/s, read and written")
    for shape in sorted(shapes, key=lambda shape: median(times[shape])):
        each = times[shape]
        print(
            "{:>3} rows, {} warps".format(*shape),
            f"{options.rows / median(each) / 1e3:8,.0f} M rows/s, {copy / median(each) / 2:.2f} of the bandwidth",
            f"({copy / max(each) / 2:.2f} to {copy / min(each) / 2:.2f}){', as it is' if shape == here else ''}",
        )


if __name__ == "__main__":
    main()
