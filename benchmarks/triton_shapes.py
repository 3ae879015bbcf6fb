"""Block shapes of the fused GPU kernel, compared with a copy of the same memory: `python benchmarks/fused_shapes.py`.

The fastest shape belongs in `dask_aesthetic/kernels/fused.py`. Another shape changes the last bits of scores, so the
shape is fixed and not tuned at run time.
"""

from __future__ import annotations

import argparse
from itertools import product
from statistics import median

import torch
from machine import machine

from dask_aesthetic.kernels import fused


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
    options = parser.parse_args()
    print(machine())
    x = torch.randn(options.rows, 768, device="cuda")
    target, weight = torch.empty_like(x), torch.randn(768, device="cuda")
    here = fused.ROWS, fused.CHUNK, fused.WARPS
    shapes = sorted(product((1, 2, 4, 8, 16, 32), (128, 256), (1, 2, 4, 8)), key=lambda shape: shape != here)
    shapes = [shape for shape in shapes if 4 <= shape[0] * shape[1] / shape[2] / 32 <= 64]

    def shaped(shape):
        fused.ROWS, fused.CHUNK, fused.WARPS = shape
        return fused.dots_and_squares(x, weight)

    times = {shape: [] for shape in shapes}
    expected = shaped(here)
    copies = []
    for number in range(options.rounds + 1):
        copies.append(milliseconds(lambda: target.copy_(x)))
        for shape in shapes:
            times[shape].append(milliseconds(lambda shape=shape: shaped(shape)))
            if not number:
                for mine, other in zip(shaped(shape), expected, strict=True):
                    torch.testing.assert_close(mine, other, rtol=1e-5, atol=1e-4)
    copy = median(copies[1:])
    print(f"copy: {2 * x.nbytes / copy / 1e6:,.0f} GB/s, read and written")
    for shape in sorted(shapes, key=lambda shape: median(times[shape][1:])):
        each = times[shape][1:]
        print(
            "{:>3} rows, {:>3} floats, {} warps".format(*shape),
            f"{options.rows / median(each) / 1e3:8,.0f} M rows/s, {copy / median(each) / 2:.2f} of the bandwidth",
            f"({copy / max(each) / 2:.2f} to {copy / min(each) / 2:.2f}){', as it is' if shape == here else ''}",
        )


if __name__ == "__main__":
    main()
