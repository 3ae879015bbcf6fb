"""Rows and weights of every dtype and width, anywhere in memory, and their bits by the lanes in numpy."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import product

import torch

from helpers import lanes

VALUES = torch.float16, torch.bfloat16, torch.float32, torch.float64
WORKING = torch.float32, torch.float64
WIDTHS = 1, 3, 31, 512, 768, 1152


def random_rows(
    count: int,
    widths: Sequence[int] = WIDTHS,
    values: Sequence[torch.dtype] = VALUES,
    workings: Sequence[torch.dtype] = WORKING,
) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
    """Rows, and five weights, of each dtype and width; some rows' products and values are subnormal, one is -0."""
    generator = torch.Generator().manual_seed(0)
    for value, working, width in product(values, workings, widths):
        rows = 5 * torch.randn(count, width, generator=generator, dtype=torch.float64)
        rows[1:4] *= torch.tensor([1e-6, 1e-21, 1e-40])[:, None]
        rows[4] = -0.0
        yield rows.to(value), torch.randn(5, width, generator=generator, dtype=torch.float64).to(working)


def placed(rows: torch.Tensor, begin: int, gap: int) -> torch.Tensor:
    """Equal rows in other memory: it begins at an element `begin` and leaves `gap` elements between rows."""
    count, width = rows.shape
    memory = torch.full((begin + count * (width + gap),), torch.nan, dtype=rows.dtype, device=rows.device)
    there = memory[begin:].view(count, width + gap)[:, :width]
    there.copy_(rows)
    return there


def assert_same_bits(got: tuple[torch.Tensor, torch.Tensor], rows: torch.Tensor, weights: torch.Tensor) -> None:
    """Assert that dot products and sums of squares are those of the lanes, a single weight at a time."""
    dots, squares = (part.cpu() for part in got)
    assert dots.dtype == squares.dtype == weights.dtype
    assert dots.shape == (len(weights), len(rows))
    x = (rows.float() if rows.dtype == torch.bfloat16 else rows).cpu().numpy()  # numpy has no bfloat16
    for dot, weight in zip(dots, weights.cpu().numpy(), strict=True):
        assert dot.numpy().tobytes() == lanes.dots_and_squares(x, weight)[0].tobytes()
    zero = torch.zeros(rows.shape[1], dtype=weights.dtype).numpy()
    assert squares.numpy().tobytes() == lanes.dots_and_squares(x, zero)[1].tobytes()
