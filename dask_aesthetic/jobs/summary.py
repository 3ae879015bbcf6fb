"""Summary of a scoring job: rows, failures by status, kept rows and the distribution of scores."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import pandas as pd

from dask_aesthetic.distribution import ScoreDistribution
from dask_aesthetic.status import STATUSES


@dataclass
class JobSummary:
    """Counts of one or more files; add them with ``+``.

    Attributes
    ----------
    kept : int
        Rows at or above the threshold.
    files : int
    distribution : ScoreDistribution
        Of the raw scores.
    in_place : int
        Rows that this run scored where they lie in Parquet pages, without pyarrow. On a machine that has not compiled
        this yet, a process begins with it after four million rows.
    """

    kept: int = 0
    files: int = 0
    distribution: ScoreDistribution = field(default_factory=ScoreDistribution)
    in_place: int = 0

    @property
    def rows(self) -> int:
        """Number of rows."""
        return self.distribution.rows

    @property
    def scored(self) -> int:
        """Number of rows with a score."""
        return self.distribution.count

    @property
    def failed(self) -> dict[str, int]:
        """Number of rows without a score, by status."""
        reasons = self.distribution.reasons
        known = {reason: reasons[reason] for reason in (*STATUSES, *reasons) if reason in reasons}
        rest = self.distribution.missing - sum(known.values())  # The embedding is usable, and the score not finite.
        return {**known, "unknown": rest} if rest else known

    def count(
        self, scores: np.ndarray, raw: np.ndarray, status: np.ndarray, statuses: Sequence[str], cut: float
    ) -> None:
        """Count a batch: scores on the requested scale, raw scores, and status codes."""
        self.kept += int(np.count_nonzero(scores >= cut))
        reasons = pd.Categorical.from_codes(status, dtype=pd.CategoricalDtype(list(statuses))) if status.any() else None
        self.distribution += ScoreDistribution.of(raw, status=reasons)

    def quantile(self, q: float) -> float:
        """Raw score at quantile `q` of the scored rows, to 0.01; NaN without scored rows."""
        return self.distribution.quantile(q)

    def __add__(self, other: JobSummary) -> JobSummary:
        return JobSummary(
            self.kept + other.kept,
            self.files + other.files,
            self.distribution + other.distribution,
            self.in_place + other.in_place,
        )
