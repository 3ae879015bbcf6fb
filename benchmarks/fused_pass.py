"""A candidate for the GPU: every row's dot product and norm in one pass, in Triton.

It is measured here before it is considered for the package. A row is one program's own, so its result does not depend
on the rows beside it. `TRITON_INTERPRET=1` runs it on a CPU: `python benchmarks/fused_pass.py` compares it with numpy.
"""

from __future__ import annotations

import torch
import triton
import triton.language as tl


@triton.jit
def _fused(x, weight, dots, norms, width: tl.constexpr, padded: tl.constexpr):
    row = tl.program_id(0).to(tl.int64)
    at = tl.arange(0, padded)
    inside = at < width
    values = tl.load(x + row * width + at, mask=inside, other=0.0).to(tl.float32)
    weights = tl.load(weight + at, mask=inside, other=0.0)
    tl.store(dots + row, tl.sum(values * weights, axis=0))
    tl.store(norms + row, tl.sqrt(tl.sum(values * values, axis=0)))


def fused(x: torch.Tensor, weight: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Dot products with `weight` and norms of rows, shape (n,), float32."""
    dots, norms = (torch.empty(len(x), dtype=torch.float32, device=x.device) for _ in range(2))
    width = x.shape[1]
    _fused[(len(x),)](x, weight, dots, norms, width, triton.next_power_of_2(width), num_warps=4)
    return dots, norms


if __name__ == "__main__":
    generator = torch.Generator().manual_seed(0)
    device = "cuda" if torch.cuda.is_available() else "cpu"
    rows = torch.randn(100, 768, generator=generator).to(device)
    vector = torch.randn(768, generator=generator).to(device)
    got = fused(rows, vector)
    expected = rows.double() @ vector.double(), rows.double().norm(dim=1)
    for name, a, b in zip(("dots", "norms"), got, expected, strict=True):
        print(f"{name}: largest difference from float64 {(a.double() - b).abs().max():.1e}")
