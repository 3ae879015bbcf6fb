"""How many rows repeat another, from a sample of distinct vectors that is the same however the rows are cut."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import torch

from dask_aesthetic.hashing import hash_rows

KEEP = 10_000


@dataclass(frozen=True, eq=False)
class Repeats:
    """The vectors of the lowest hashes, at most `KEEP` of them, and how often each comes.

    Whatever is among the lowest of the whole is among the lowest of every part that holds it, so its count is exact,
    and sums of parts do not depend on how they were cut.

    Attributes
    ----------
    hashes : numpy.ndarray, uint64, ascending
    counts : numpy.ndarray, int64

    Examples
    --------
    >>> import torch
    >>> parts = Repeats.of(torch.tensor([[1.0], [2.0], [1.0]])) + Repeats.of(torch.tensor([[2.0], [1.0]]))
    >>> parts.distinct, parts.rows, parts.most, parts.share
    (2, 5, 3, 0.6)
    """

    hashes: np.ndarray = field(default_factory=lambda: np.empty(0, np.uint64))
    counts: np.ndarray = field(default_factory=lambda: np.empty(0, np.int64))

    @classmethod
    def of(cls, vectors: torch.Tensor) -> Repeats:
        """Count vectors, shape (n, width), that are equal as float32."""
        return cls(*_lowest(hash_rows(vectors), np.ones(len(vectors), np.int64)))

    def __add__(self, other: Repeats) -> Repeats:
        hashes, counts = (np.concatenate(pair) for pair in zip(self._pair, other._pair, strict=True))
        return Repeats(*_lowest(hashes, counts))

    @property
    def _pair(self) -> tuple[np.ndarray, np.ndarray]:
        return self.hashes, self.counts

    @property
    def distinct(self) -> int:
        """Vectors in the sample."""
        return len(self.hashes)

    @property
    def rows(self) -> int:
        """Rows that hold one of them."""
        return int(self.counts.sum())

    @property
    def most(self) -> int:
        """Rows that hold the most frequent of them."""
        return int(self.counts.max(initial=0))

    @property
    def share(self) -> float:
        """Share of those rows that repeat another one; 0 if there are none."""
        return 1 - self.distinct / self.rows if self.rows else 0.0

    @property
    def complete(self) -> bool:
        """Whether these are all vectors that there are."""
        return self.distinct < KEEP


def _lowest(hashes: np.ndarray, counts: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    found, at = np.unique(hashes, return_inverse=True)
    total = np.zeros(len(found), np.int64)
    np.add.at(total, at, counts)
    return found[:KEEP], total[:KEEP]
