"""How long vectors are: counts of norms that add up."""

from __future__ import annotations

import math
from collections import Counter
from dataclasses import dataclass, field

import numpy as np

ALMOST_ONE = 0.01  # Vectors stored as float16 or bfloat16 after they were normalized lie within this.
DROPPED_BITS = 14  # Bins are what is left of a float32: 512 steps between powers of two, so 0.2 % wide.


@dataclass(frozen=True)
class Norms:
    """Euclidean norms in bins, and exact ends.

    Attributes
    ----------
    bins : Counter of int
        By the upper bits of the norm as a float32.
    unit : int
        Vectors whose norm lies within 0.01 of 1.
    min, max : float
        Infinite where there are none.

    Examples
    --------
    >>> norms = Norms.of(np.array([3.0, 5.0])) + Norms.of(np.array([1.0, 7.0, 4.0]))
    >>> norms.min, round(norms.median, 1), norms.max, norms.count, norms.unit
    (1.0, 4.0, 7.0, 5, 1)
    """

    bins: Counter[int] = field(default_factory=Counter)
    unit: int = 0
    min: float = math.inf
    max: float = -math.inf

    @classmethod
    def of(cls, norms: np.ndarray) -> Norms:
        """Count norms, shape (n,), float64, all positive and finite."""
        if not len(norms):
            return cls()
        limits = np.finfo(np.float32)
        bits = np.clip(norms, limits.smallest_subnormal, limits.max).astype(np.float32).view(np.uint32)
        found, counts = np.unique(bits >> DROPPED_BITS, return_counts=True)
        unit = int((np.abs(norms - 1) <= ALMOST_ONE).sum())
        bins = Counter(dict(zip(found.tolist(), counts.tolist(), strict=True)))
        return cls(bins, unit, float(norms.min()), float(norms.max()))

    def __add__(self, other: Norms) -> Norms:
        ends = min(self.min, other.min), max(self.max, other.max)
        return Norms(self.bins + other.bins, self.unit + other.unit, *ends)

    @property
    def count(self) -> int:
        """Vectors whose norm was taken."""
        return self.bins.total()

    @property
    def normalized(self) -> bool:
        """Whether every one of them has length 1, within 0.01."""
        return self.unit == self.count

    @property
    def median(self) -> float:
        """The lower median, within 0.1 %; NaN if there are none."""
        rank, seen = (self.count + 1) // 2, 0
        for at, count in sorted(self.bins.items()):
            seen += count
            if seen >= rank:
                middle = np.array([at << DROPPED_BITS | 1 << DROPPED_BITS - 1], np.uint32).view(np.float32)
                return float(np.clip(middle[0], self.min, self.max))
        return math.nan
