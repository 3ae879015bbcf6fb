"""What a threshold keeps of the scores that were counted, and how sure that is."""

from __future__ import annotations

import math
import warnings

import numpy as np

from dask_aesthetic.distribution.counting import EDGES, bin_of
from dask_aesthetic.distribution.counts import ScoreCounts
from dask_aesthetic.errors import AestheticWarning
from dask_aesthetic.thresholds import Threshold, find_threshold

MOST, LEAST = 0.99, 0.001  # Kept shares beyond which a threshold looks like a mistake.
Z95 = 1.959964


class ScoreRates(ScoreCounts):
    """What a threshold keeps of the scores that were counted: see `ScoreDistribution`."""

    def keep_rate(self, threshold: float | str | Threshold) -> float:
        """Share of the scored rows that score at least `threshold`; NaN if nothing is scored.

        Parameters
        ----------
        threshold : float, str or Threshold
            As in ``.aesthetic.score``: a number on `scale`, a preset or a Threshold.

        Returns
        -------
        float
            Exact at every hundredth of a raw score; in between, interpolated inside the bin.

        Raises
        ------
        ThresholdError
            The threshold belongs to another scale or predictor.

        Warns
        -----
        AestheticWarning
            It keeps more than 99 % or less than 0.1 %.

        Examples
        --------
        >>> from dask_aesthetic import ScoreDistribution
        >>> ScoreDistribution.of([4.0, 5.0, 5.5, 6.0]).keep_rate("standard")
        0.75
        """
        rate = self.rate(threshold)
        self._look_at(self._threshold(threshold), rate)
        return rate

    def kept(self, threshold: float | str | Threshold) -> int:
        """Rows that score at least `threshold`, as `keep_rate` tells; of a sample, an estimate for the whole."""
        rate = self.rate(threshold)
        self._look_at(self._threshold(threshold), rate)
        return round(rate * self._whole) if self.count else 0

    def rate(self, threshold: float | str | Threshold) -> float:
        """What `keep_rate` tells, without its warning."""
        cut = self._threshold(threshold).cut
        if not self.count:
            return math.nan
        if cut <= self.min or cut > self.max:
            return float(cut <= self.min)
        at = int(bin_of(np.array([cut], np.float32), self.scale)[0])
        low, high = max(float(EDGES[self.scale][at]), self.min), min(float(EDGES[self.scale][at + 1]), self.max)
        part = (high - cut) / (high - low) if high > low else 1.0
        above = int(self.bins[at + 1 :].sum()) + round(int(self.bins[at]) * part)
        return min(max(above, 1), self.count - 1) / self.count  # It lies above the lowest, not above the highest.

    def percentile(self, score: float) -> float:
        """Percentage of the scored rows that score less than `score`, to the bin; NaN if nothing is scored.

        Examples
        --------
        >>> from dask_aesthetic import ScoreDistribution
        >>> ScoreDistribution.of([4.0, 5.0, 5.5, 6.0]).percentile(5.5)
        50.0
        """
        return 100 * (1 - self.rate(Threshold(score, self.scale)))

    def standard_error(self, threshold: float | str | Threshold) -> float:
        """Standard error of `keep_rate`: binomial for a sample, 0 where every row was counted."""
        rate = self.rate(threshold)
        return math.sqrt(rate * (1 - rate) / self.count) if self.count and self.sampled_from is not None else 0 * rate

    def interval(self, threshold: float | str | Threshold) -> tuple[float, float]:
        """The 95 % interval of `keep_rate`: Wilson's for a sample, the rate itself where every row was counted.

        Examples
        --------
        >>> from dask_aesthetic import ScoreDistribution
        >>> low, high = ScoreDistribution.of([4.0, 5.5] * 500).sample_of(100_000).interval(5)
        >>> round(low, 3), round(high, 3)
        (0.469, 0.531)
        """
        rate, n = self.rate(threshold), self.count
        if self.sampled_from is None or not n:
            return rate, rate
        middle, share = rate + Z95**2 / (2 * n), 1 + Z95**2 / n
        half = Z95 * math.sqrt(rate * (1 - rate) / n + (Z95 / (2 * n)) ** 2)
        return max((middle - half) / share, 0.0), min((middle + half) / share, 1.0)

    def _threshold(self, threshold: float | str | Threshold) -> Threshold:
        return find_threshold(threshold, self.scale, self.predictor_scale, self.predictor)

    def _look_at(self, threshold: Threshold, rate: float) -> None:
        if rate > MOST or rate < LEAST:
            warnings.warn(
                f"expected a threshold to keep {LEAST:.1%} to {MOST:.0%} of the scored rows, got {threshold.value:g} "
                f"on {self.scale} scores, which keeps {rate:.3%}: look at the quantiles or use threshold_for",
                AestheticWarning,
                stacklevel=3,
            )
