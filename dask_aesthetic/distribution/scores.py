"""What can be read off the distribution of scores: quantiles, kept shares and thresholds."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from dask_aesthetic.distribution import plotting, telling
from dask_aesthetic.distribution.counting import BINS, EDGES, FIRST, STEPS, scores_within
from dask_aesthetic.distribution.published import LAION_SHARES, beside_laion
from dask_aesthetic.distribution.rates import LEAST, MOST, ScoreRates
from dask_aesthetic.errors import ArgumentError, ThresholdError
from dask_aesthetic.thresholds import PRESET_SCALE, SCALES, Threshold, is_on_preset_scale
from dask_aesthetic.validation import check_fraction, check_integer

if TYPE_CHECKING:
    from matplotlib.axes import Axes


@dataclass(frozen=True, eq=False, repr=False)
class ScoreDistribution(ScoreRates):
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
    Threshold(value=5.12, scale='raw', name='keeps 0.2 of 1,000 scored rows', predictor='')
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
        rank = self._rank(check_fraction("q", q, minimum=0.0))
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
        if n is not None:
            check_integer("n", n, minimum=1, maximum=self._whole, unit="rows")
        share = n / self._whole if n is not None else check_fraction("keep_fraction", keep_fraction)
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
        name = f"keeps {asked} of {self._whole:,} scored rows{sample}"
        found = Threshold(value, self.scale, name, self.predictor)
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
        if not is_on_preset_scale(self.predictor_scale, self.predictor):
            whose = self.predictor if self.predictor_scale == "unknown" else self.predictor_scale
            raise ThresholdError(
                f"expected {PRESET_SCALE} scores to compare with LAION's, got {whose} scores, which are on a scale of "
                "their own: score with predictor='laion-v2'"
            )
        cuts = [Threshold(score).on(self.scale) for score in LAION_SHARES]
        intervals = [self.interval(cut) for cut in cuts] if self.sampled_from is not None else None
        return beside_laion([cut.value for cut in cuts], [self.rate(cut) for cut in cuts], intervals)

    def plot(self, ax: Axes | None = None, threshold: float | str | Threshold | None = None, **style: Any) -> Axes:
        """Draw the histogram with matplotlib.

        Parameters
        ----------
        ax : matplotlib.axes.Axes, optional
            Where to; as with pandas the current axes, made if there are none.
        threshold : float, str or Threshold, optional
            As in `keep_rate`; drawn as a line.
        **style
            Of the bars, for ``Axes.stairs``: color, alpha, label.

        Returns
        -------
        matplotlib.axes.Axes

        Raises
        ------
        ThresholdError
            The threshold belongs to another scale or predictor.
        MissingDependencyError
            ``pip install 'dask-aesthetic[report]'`` has matplotlib.

        Examples
        --------
        >>> ax = distribution.plot(threshold="standard", color="tab:blue")  # doctest: +SKIP
        >>> ax.figure.savefig("scores.png")  # doctest: +SKIP
        """
        return plotting.draw(self, ax, None if threshold is None else self._threshold(threshold), style)

    def __repr__(self) -> str:
        return telling.as_text(self)

    def _repr_html_(self) -> str:
        return telling.as_html(self)

    def _rank(self, share: float) -> int:
        # 0.07 of 100 rows are 7 of them, in spite of binary fractions.
        return max(math.ceil(round(share * self.count, 6)), 1)

    def _edge(self, at: float) -> float:
        """Lower edge of a bin, on the scale."""
        return (at - 1 + FIRST * STEPS) / (STEPS * SCALES[self.scale])

    def _inside(self, at: int, scores: Any) -> np.ndarray:
        """The scores that lie in a bin, sorted."""
        low, high = (float(edge) for edge in EDGES[self.scale][at : at + 2])
        return scores_within(scores, low, high, int(self.bins[at]))
