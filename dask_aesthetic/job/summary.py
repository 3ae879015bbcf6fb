"""What a run did: rows, failures by reason, what is kept, and how the scores lie."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from dask_aesthetic.embeddings import STATUSES, Status

# Raw scores lie within -13..24 for every unit vector; in steps of 0.01 that is enough to read quantiles off.
EDGES = np.round(np.arange(-15.0, 25.005, 0.01), 2)


@dataclass
class Summary:
    """Counts of one or more files; add them with ``+``.

    Attributes
    ----------
    statuses : numpy.ndarray, shape (5,), int64
        Rows by `Status`.
    kept : int
        Rows at or above the threshold.
    histogram : numpy.ndarray, int64
        Raw scores by bins of 0.01 from -15 to 25.
    files : int
    """

    statuses: np.ndarray = field(default_factory=lambda: np.zeros(len(STATUSES), np.int64))
    kept: int = 0
    histogram: np.ndarray = field(default_factory=lambda: np.zeros(len(EDGES) - 1, np.int64))
    files: int = 0

    @property
    def rows(self) -> int:
        """All rows."""
        return int(self.statuses.sum())

    @property
    def scored(self) -> int:
        """Rows with a score."""
        return int(self.statuses[Status.OK])

    @property
    def failed(self) -> dict[str, int]:
        """Rows without a score, by reason."""
        return {reason: int(n) for reason, n in zip(STATUSES[1:], self.statuses[1:], strict=True) if n}

    def count(self, scores: np.ndarray, raw: np.ndarray, status: np.ndarray, cut: float) -> None:
        """Take in a batch: scores on the asked scale, the same raw, and `Status` codes."""
        self.statuses += np.bincount(status, minlength=len(STATUSES))
        self.kept += int(np.count_nonzero(scores >= cut))
        self.histogram += np.histogram(np.clip(raw[status == Status.OK], EDGES[0], EDGES[-1]), EDGES)[0]

    def quantile(self, q: float) -> float:
        """Raw score below which a share `q` of the scored rows lies, to 0.01; NaN if none is scored."""
        if not self.scored:
            return float("nan")
        at = int(np.searchsorted(np.cumsum(self.histogram), max(q * self.scored, 1)))
        return float((EDGES[at] + EDGES[at + 1]) / 2)

    def __add__(self, other: Summary) -> Summary:
        return Summary(
            self.statuses + other.statuses,
            self.kept + other.kept,
            self.histogram + other.histogram,
            self.files + other.files,
        )
