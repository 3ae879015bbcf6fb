"""Histogram bins of scores and exact sums, both kept as integers: the order of adding cannot change them."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from dask_aesthetic.errors import ArgumentError
from dask_aesthetic.thresholds import SCALES

# Every unit vector has a raw score within -13..24.
FIRST, LAST, STEPS = -15, 25, 100
BINS = (LAST - FIRST) * STEPS + 2  # The first bin holds all lower scores, the last bin all higher ones.
# An edge is the float32 nearest to a hundredth, as `Threshold.cut` is: counts at a hundredth are exact.
EDGES = {
    scale: np.array([-np.inf, *np.arange(FIRST * STEPS, LAST * STEPS + 1) / (STEPS * part), np.inf], np.float32)
    for scale, part in SCALES.items()
}
# Raw scores from 0 to 1, as probabilities are, have narrower bins: of 0.001, and of 0.0001 below 0.01.
FINE = 10_000
_HUNDREDTHS = np.arange(FIRST * STEPS, LAST * STEPS + 1) * (FINE // STEPS)
_ONE = np.concatenate([np.arange(0, 100), np.arange(100, FINE, 10)])
TICKS = np.concatenate([_HUNDREDTHS[_HUNDREDTHS < 0], _ONE, _HUNDREDTHS[_HUNDREDTHS >= FINE]])  # Edges times FINE.
FINE_BINS = len(TICKS) + 1
FINE_EDGES = {scale: np.array([-np.inf, *TICKS / (FINE * part), np.inf], np.float32) for scale, part in SCALES.items()}
_ZERO = 1 - FIRST * STEPS  # Bin of a hundredth that begins at 0.
_STARTS = np.searchsorted(FINE_EDGES["raw"], EDGES["raw"][:-1])  # First narrow bin of each hundredth.

# A float32 is an integer of 24 bits times 2**(exponent - 24), and the exponent is at least -148. Sums are integer
# multiples of 2**-172, sums of squares integer multiples of 2**-344.
MANTISSA, LOWEST = 24, -148
UNIT = MANTISSA - LOWEST
BLOCK_ROWS = 1 << 20


@dataclass(frozen=True)
class Moments:
    """Exact sums of float32 scores and of their squares, as integer multiples of 2**-172 and 2**-344.

    Examples
    --------
    >>> import numpy as np
    >>> moments = Moments.of(np.float32([1, 2])) + Moments.of(np.float32([3]))
    >>> moments.mean(3), round(moments.std(3), 4)
    (2.0, 0.8165)
    """

    total: int = 0
    squares: int = 0

    @classmethod
    def of(cls, values: np.ndarray) -> Moments:
        """Exact sums of up to `BLOCK_ROWS` finite float32 values."""
        mantissa, exponent = np.frexp(values)
        whole, at = np.ldexp(mantissa, MANTISSA).astype(np.float64), exponent - LOWEST
        square = whole * whole
        high = np.floor(np.ldexp(square, -MANTISSA))
        low = square - np.ldexp(high, MANTISSA)
        # float64 adds up 2**20 integers of 24 bits without rounding.
        sums = [np.bincount(at, part) for part in (whole, high, low)]
        total = squares = 0
        for shift in range(int(at.min()), int(at.max()) + 1):
            ones, highs, lows = (int(part[shift]) for part in sums)
            total += ones << shift
            squares += ((highs << MANTISSA) + lows) << 2 * shift
        return cls(total, squares)

    def __add__(self, other: Moments) -> Moments:
        return Moments(self.total + other.total, self.squares + other.squares)

    def mean(self, count: int) -> float:
        """Mean of `count` scores, the nearest float64; NaN if `count` is 0."""
        return self.total / (count << UNIT) if count else math.nan

    def std(self, count: int) -> float:
        """Standard deviation (``ddof=0``) of `count` scores; NaN if `count` is 0."""
        return math.sqrt((count * self.squares - self.total**2) / (count**2 << 2 * UNIT)) if count else math.nan


def on_host(scores: Any) -> np.ndarray:
    """Scores as a float32 array on the host, NaN for null, from a pandas or cuDF Series or an array."""
    if hasattr(scores, "to_pandas"):  # cuDF's to_numpy does not convert nulls to NaN.
        scores = scores.to_pandas()
    with np.errstate(over="ignore"):  # Values beyond float32 become infinite, and infinity is no score.
        if hasattr(scores, "to_numpy"):
            return np.asarray(scores.to_numpy(dtype="float32", na_value=np.nan))
        return np.asarray(scores, dtype=np.float32)


def bin_of(values: np.ndarray, scale: str) -> np.ndarray:
    """Bin of a hundredth of each finite float32 score."""
    edges = EDGES[scale]
    steps = np.floor(values.astype(np.float64) * (STEPS * SCALES[scale]))
    at = np.clip(steps - (FIRST * STEPS - 1), 0, BINS - 1).astype(np.intp)
    # The product may be off by one where a value lies at an edge. Correcting it is faster than `searchsorted`.
    at -= values < edges[at]
    at += values >= edges[at + 1]
    return at


def fine_bin_of(values: np.ndarray, scale: str) -> np.ndarray:
    """Histogram bin of each finite float32 score, in narrow bins from 0 to 1 raw."""
    at = bin_of(values, scale)
    inside = np.flatnonzero((at >= _ZERO) & (at < _ZERO + STEPS))
    at[at >= _ZERO + STEPS] += FINE_BINS - BINS
    at[inside] = np.searchsorted(FINE_EDGES[scale], values[inside], side="right") - 1
    return at


def to_hundredths(bins: np.ndarray) -> np.ndarray:
    """Counts of hundredths, shape (4002,), from those of either kind of bins."""
    return bins if len(bins) == BINS else np.add.reduceat(bins, _STARTS)


def to_fine(bins: np.ndarray) -> np.ndarray:
    """Counts of narrow bins from those of hundredths; these themselves where scores from 0 to 1 are among them."""
    if bins[_ZERO : _ZERO + STEPS].any():
        return bins
    fine = np.zeros(FINE_BINS, np.int64)
    fine[_STARTS] = bins
    return fine


def add(one: np.ndarray, other: np.ndarray) -> np.ndarray:
    """Sum of counts: of hundredths, unless both are of narrow bins."""
    return one + other if len(one) == len(other) else to_hundredths(one) + to_hundredths(other)


def edge(at: int, bins: np.ndarray, scale: str) -> float:
    """Lower edge of a bin but the first, on the scale."""
    ticks = _HUNDREDTHS if len(bins) == BINS else TICKS
    return float(ticks[at - 1] / (FINE * SCALES[scale]))


def scores_within(scores: Any, low: float, high: float, count: int) -> np.ndarray:
    """Sorted scores from `low` to below `high`; ArgumentError unless their number is `count`, the bin's own."""
    column = (scores if hasattr(scores, "astype") else np.asarray(scores)).astype("float32")
    found = column[(column >= low) & (column < high)]
    values = on_host(found.compute() if hasattr(found, "compute") else found)
    values = np.sort(values[np.isfinite(values)])
    if len(values) != count:
        raise ArgumentError(
            f"expected the scores that were counted, {count:,} of them from {low:g} to {high:g}, "
            f"got {len(values):,} there: give the same column, scored with the same predictor and scale"
        )
    return values


def reasons_of(status: Any, missing: np.ndarray) -> dict[str, int]:
    """Number of rows without a score by status; rows of unknown status are left out."""
    if status is None or not missing.any():
        return {}
    counts = pd.Series(status)[missing].value_counts()
    return {str(name): int(rows) for name, rows in sorted(counts.items(), key=str) if rows and str(name) != "ok"}
