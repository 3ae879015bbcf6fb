"""What can be read off the distribution of scores: quantiles, kept shares and thresholds."""

from __future__ import annotations

import math
import warnings
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from dask_aesthetic.distribution import telling
from dask_aesthetic.distribution.arguments import is_whole, share_of_one
from dask_aesthetic.distribution.counting import BINS, EDGES, FIRST, STEPS, bin_of, on_host
from dask_aesthetic.distribution.counts import ScoreCounts
from dask_aesthetic.distribution.published import LAION_SHARES, beside_laion
from dask_aesthetic.errors import AestheticWarning, ArgumentError, ThresholdError
from dask_aesthetic.thresholds import PRESET_SCALE, SCALES, Threshold, find_threshold

MOST, LEAST = 0.99, 0.001  # Kept shares beyond which a threshold looks like a mistake.
Z95 = 1.959964


@dataclass(frozen=True, eq=False, repr=False)
class ScoreDistribution(ScoreCounts):
    """How the scores of a data set lie: counts in bins of 0.01 raw, and exact ends, mean and deviation.

    Made by ``frame.aesthetic.distribution()`` or `of`. Distributions of parts add up, with ``+`` or ``sum``, to that of
    the whole: the same to the last bit, however it was cut and in whichever order.

    Attributes
    ----------
    scale : {"raw", "unit"}
        What the scores, and all that is told of them, are on.
    predictor, predictor_scale : str
        Name of the predictor that made the scores, empty if nothing says; and their family, as in `PredictorInfo`.
        Presets are refused for families other than "laion-v2".
    rows : int
        Rows with a score and without.
    reasons : dict of str to int
        Rows without a score by status, as far as statuses are known.
    bins : numpy.ndarray, shape (4002,), int64
        Scored rows below -15 raw, in steps of 0.01 from there, and from 25 on.
    min, max : float
        The lowest and the highest score, NaN if there is none.
    moments : Moments
        Exact sums.
    sampled_from : int or None
        Rows of the whole, where these are a random sample of it: see `sample_of`.

    Notes
    -----
    Scores are taken as float32, which is what ``score`` writes. What is null, NaN or infinite is no score.

    Examples
    --------
    >>> scores = np.random.default_rng(0).normal(4.5, 0.8, 1000)
    >>> distribution = ScoreDistribution.of(scores[:300]) + ScoreDistribution.of(scores[300:])
    >>> distribution == ScoreDistribution.of(scores)
    True
    >>> distribution.threshold_for(keep_fraction=0.2)
    Threshold(value=5.12, scale='raw', name='keeps 0.2 of 1,000 scored rows')
    """

    def quantile(self, q: float, scores: Any = None) -> float:
        """The lowest score that a share `q` of the scored rows does not exceed (numpy's "inverted_cdf").

        Parameters
        ----------
        q : float
            0 to 1.
        scores : Series or array of float, optional
            The scores that were counted, for a second look, on Dask a second pass, that finds the exact one.

        Returns
        -------
        float
            Without `scores` the middle of its bin, so within 0.005 raw; `min` or `max` where it is that, or lies
            outside -15..25 raw. NaN if nothing is scored.

        Examples
        --------
        >>> scores = [4.125, 5.0, 5.5, 6.0]
        >>> ScoreDistribution.of(scores).quantile(0.5), ScoreDistribution.of(scores).quantile(0.5, scores)
        (5.005, 5.0)
        """
        rank = self._rank(share_of_one("q", q, lowest=0.0))
        if not self.count:
            return math.nan
        upto = np.cumsum(self.bins)
        at = int(np.searchsorted(upto, rank))
        if scores is not None:
            return float(self._inside(at, scores)[rank - 1 - int(upto[at] - self.bins[at])])
        if rank == 1 or at == 0:
            return self.min
        if rank == self.count or at == BINS - 1:
            return self.max
        return float(np.clip(self._edge(at + 0.5), self.min, self.max))

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

    def threshold_for(
        self, keep_fraction: float | None = None, *, n: int | None = None, scores: Any = None
    ) -> Threshold:
        """The highest threshold that keeps at least so much.

        Parameters
        ----------
        keep_fraction : float, optional
            Share of the scored rows to keep.
        n : int, optional
            Rows to keep, of the whole where this is a sample; either this or `keep_fraction`.
        scores : Series or array of float, optional
            As in `quantile`. The threshold is then one of them, and keeps more than asked only by rows of that score.

        Returns
        -------
        Threshold
            A hundredth of a raw score unless `scores` are given: it keeps up to a bin more than asked.

        Raises
        ------
        ArgumentError, ThresholdError
            Too much is asked, nothing is scored, or `scores` are not those that were counted.

        Warns
        -----
        AestheticWarning
            It keeps more than 99 % or less than 0.1 %, and that was not asked for.

        Examples
        --------
        >>> scores = [4.0, 5.125, 5.375, 5.378, 6.0]
        >>> ScoreDistribution.of(scores).threshold_for(n=3).value
        5.37
        >>> ScoreDistribution.of(scores).threshold_for(keep_fraction=0.6, scores=scores).value
        5.375
        """
        if (keep_fraction is None) == (n is None):
            raise ArgumentError(f"expected either keep_fraction or n, got keep_fraction={keep_fraction!r} and n={n!r}")
        if not self.count:
            raise ThresholdError(f"expected scores to choose a threshold by, got none in {self.rows:,} rows")
        if n is not None and (not is_whole(n) or not 0 < n <= self._whole):
            raise ArgumentError(f"expected n to be a whole number of rows from 1 to {self._whole:,}, got {n!r}")
        share = n / self._whole if n is not None else share_of_one("keep_fraction", keep_fraction)
        rank = self._rank(share)
        down = np.cumsum(self.bins[::-1])[::-1]
        at = int(np.flatnonzero(down >= rank)[-1])
        if scores is not None:
            inside = self._inside(at, scores)
            value = float(inside[int(down[at]) - rank])
            kept = int(down[at]) - int(np.searchsorted(inside, value))
        else:
            value, kept = self._edge(at) if at else self.min, int(down[at])
        asked = f"{share:g}" if n is None else f"{n:,}"
        sample = f", by a sample of {self.count:,}" if self.sampled_from is not None else ""
        found = Threshold(value, self.scale, f"keeps {asked} of {self._whole:,} scored rows{sample}")
        if LEAST <= share <= MOST:
            self._look_at(found, kept / self.count)
        return found

    def compare_laion(self) -> pd.DataFrame:
        """Shares kept at the scores that LAION published counts for, beside LAION's.

        Returns
        -------
        pandas.DataFrame, by threshold on `scale`
            ``laion``: share of 2.37 billion English pairs; ``here``: share of the scored rows; of a sample also
            ``low`` and ``high``, the ends of its 95 % interval.

        Raises
        ------
        ThresholdError
            The scores are known not to be on the scale of `laion-v2`.

        Examples
        --------
        >>> ScoreDistribution.of([4.0, 5.0, 5.5, 6.0]).compare_laion()["here"].tolist()
        [0.75, 0.75, 0.75, 0.25, 0.0, 0.0]
        """
        if self.predictor_scale not in (PRESET_SCALE, "unknown"):
            raise ThresholdError(
                f"expected {PRESET_SCALE} scores to compare with LAION's, got {self.predictor_scale} scores, which are "
                "on a scale of their own: score with predictor='laion-v2'"
            )
        cuts = [Threshold(score).on(self.scale) for score in LAION_SHARES]
        intervals = [self.interval(cut) for cut in cuts] if self.sampled_from is not None else None
        return beside_laion([cut.value for cut in cuts], [self.rate(cut) for cut in cuts], intervals)

    def __repr__(self) -> str:
        return telling.as_text(self)

    def _repr_html_(self) -> str:
        return telling.as_html(self)

    def _threshold(self, threshold: float | str | Threshold) -> Threshold:
        return find_threshold(threshold, self.scale, self.predictor_scale)

    def _look_at(self, threshold: Threshold, rate: float) -> None:
        if rate > MOST or rate < LEAST:
            warnings.warn(
                f"expected a threshold to keep {LEAST:.1%} to {MOST:.0%} of the scored rows, got {threshold.value:g} "
                f"on {self.scale} scores, which keeps {rate:.3%}: look at the quantiles or use threshold_for",
                AestheticWarning,
                stacklevel=3,
            )

    def _rank(self, share: float) -> int:
        # 0.07 of 100 rows are 7 of them, in spite of binary fractions.
        return max(math.ceil(round(share * self.count, 6)), 1)

    def _edge(self, at: float) -> float:
        """Lower edge of a bin, on the scale."""
        return (at - 1 + FIRST * STEPS) / (STEPS * SCALES[self.scale])

    def _inside(self, at: int, scores: Any) -> np.ndarray:
        """The scores that lie in a bin, sorted."""
        low, high = (float(edge) for edge in EDGES[self.scale][at : at + 2])
        column = (scores if hasattr(scores, "astype") else np.asarray(scores)).astype("float32")
        found = column[(column >= low) & (column < high)]
        values = on_host(found.compute() if hasattr(found, "compute") else found)
        values = np.sort(values[np.isfinite(values)])
        if len(values) != self.bins[at]:
            raise ArgumentError(
                f"expected the scores that were counted, {self.bins[at]:,} of them from {low:g} to {high:g}, "
                f"got {len(values):,} there: give the same column, scored with the same predictor and scale"
            )
        return values
