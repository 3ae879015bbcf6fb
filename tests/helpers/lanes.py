"""The arithmetic of a score, written slowly in numpy: every kernel must give the same bits."""

from __future__ import annotations

import numpy as np

LANES = 32


def dots_and_squares(x: np.ndarray, weight: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Dot product with `weight` and sum of squares of every row, in the precision of `weight`, lane by lane."""
    x, weight = (np.pad(of, [(0, 0)] * (of.ndim - 1) + [(0, -len(weight) % LANES)]) for of in (x, weight))
    dot, square = np.zeros((2, len(x), LANES), weight.dtype)
    for j in range(0, len(weight), LANES):
        part = x[:, j : j + LANES].astype(weight.dtype)
        dot += part * weight[j : j + LANES]
        square += part * part
    for half in (16, 8, 4, 2, 1):
        dot, square = dot[:, :half] + dot[:, half:], square[:, :half] + square[:, half:]
    return dot[:, 0], square[:, 0]


def scores_and_norms(x: np.ndarray, weight: np.ndarray, bias: float) -> tuple[np.ndarray, np.ndarray]:
    """Score, float32, and norm of every row: the square root, the quotient and the sum in the weight's precision."""
    dot, square = dots_and_squares(x, weight)
    norm = np.sqrt(square)
    return (dot / norm + weight.dtype.type(bias)).astype(np.float32), norm


def assert_same_bits(found: np.ndarray, expected: np.ndarray) -> None:
    """Assert the same numbers bit by bit, the sign of zeros included; one NaN is as good as another."""
    assert found.dtype == expected.dtype
    np.testing.assert_array_equal(np.isnan(found), np.isnan(expected))
    word = f"u{found.itemsize}"
    np.testing.assert_array_equal(
        np.where(np.isnan(found), 0, found).astype(found.dtype).view(word),
        np.where(np.isnan(expected), 0, expected).astype(found.dtype).view(word),
    )
