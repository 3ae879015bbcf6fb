"""What the GPU kernels share: how rows and weights are divided into launches, which changes no bits."""

from __future__ import annotations

from collections.abc import Callable

import torch

WEIGHTS = 4  # Weights of one launch: with more, arithmetic and not memory is what takes the time.
COPIED_ROWS = 1 << 17  # 400 MB of float32.


def in_launches(
    launch: Callable[[torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor], None],
    vectors: torch.Tensor,
    weights: torch.Tensor,
) -> tuple[torch.Tensor, torch.Tensor]:
    """Dot products of every row with every weight and its sum of squares, by calls of ``launch``.

    Parameters
    ----------
    launch : callable
        ``launch(vectors, weights, dots, squares)`` fills the last two, from rows of unit stride and at most
        `WEIGHTS` weights, which are contiguous. The rows of ``dots`` have unit stride.
    vectors : torch.Tensor, shape (n, width)
        Rows whose floats do not lie side by side are copied, `COPIED_ROWS` at a time.
    weights : torch.Tensor, shape (k, width)

    Returns
    -------
    tuple of torch.Tensor, shapes (k, n) and (n,), dtype of `weights`
    """
    (n, width), k = vectors.shape, len(weights)
    weights = weights.contiguous()
    dots = torch.empty(k, n, dtype=weights.dtype, device=vectors.device)
    squares = torch.empty(n, dtype=weights.dtype, device=vectors.device)
    side_by_side = width <= 1 or vectors.stride(1) == 1
    rows = max(n, 1) if side_by_side else COPIED_ROWS
    for start in range(0, n, rows):
        at = slice(start, start + rows)
        block = vectors[at] if side_by_side else vectors[at].clone(memory_format=torch.contiguous_format)
        for first in range(0, max(k, 1), WEIGHTS):
            some = slice(first, first + WEIGHTS)
            launch(block, weights[some], dots[some, at], squares[at])
    return dots, squares
