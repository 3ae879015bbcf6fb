"""Distribution of scores: counts, keep rates, quantiles, thresholds and their uncertainty."""

from __future__ import annotations

import math
import os
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

import numpy as np
import pandas as pd

from dask_aesthetic.atomic import write_atomic
from dask_aesthetic.distribution import _bins, _json, laion, plot
from dask_aesthetic.distribution._bins import BINS, EDGES, FINE_BINS, FINE_EDGES, Moments
from dask_aesthetic.distribution._choose import choose, warn_if_extreme
from dask_aesthetic.distribution._describe import describe
from dask_aesthetic.errors import ArgumentError, InputError, ThresholdError
from dask_aesthetic.tables import Shown
from dask_aesthetic.thresholds import Threshold, check_scale, find_threshold
from dask_aesthetic.validation import check_fraction, is_integer

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from dask_aesthetic.predictors import PredictorInfo

Z95 = 1.959964


@dataclass(frozen=True, eq=False, repr=False)
class ScoreDistribution(Shown):
    """Histogram of scores in bins of 0.01 raw, narrower from 0 to 1, with exact minimum, maximum, mean and deviation.

    Made by ``frame.aesthetic.distribution()`` or `of`. Distributions of parts add up, with ``+`` or ``sum``, to the
    distribution of the whole: the same to the last bit for any partitioning and order.

    Attributes
    ----------
    scale : {"raw", "unit"}
        Scale of the scores, and of every score and threshold that a method returns.
    predictor, predictor_scale : str
        Name of the predictor that made the scores, empty if unknown; and the family of its scores, as in
        `PredictorInfo`. Presets are refused for families other than "laion-v2".
    rows : int
        Rows with a score and without.
    reasons : dict of str to int
        Rows without a score by status, as far as statuses are known.
    bins : numpy.ndarray, shape (4992,), int64
        Scored rows: below -15 raw, in steps of 0.01 from there, and from 25 on. From 0 to 1, where probabilities lie,
        the steps are 0.001, and 0.0001 below 0.01. JSON of earlier versions with scores there, and sums with such
        distributions, have steps of 0.01 throughout, shape (4002,), as `hundredths`.
    min, max : float
        Lowest and highest score, NaN if nothing is scored.
    moments : Moments
        Exact sums.
    sampled_from : int or None
        Rows of the whole data set if these rows are a random sample of it: see `sample_of`.

    Notes
    -----
    Scores are converted to float32, which is what ``score`` writes. Null, NaN and infinity are no scores.

    Examples
    --------
    >>> scores = np.random.default_rng(0).normal(4.5, 0.8, 1000)
    >>> distribution = ScoreDistribution.of(scores[:300]) + ScoreDistribution.of(scores[300:])
    >>> distribution == ScoreDistribution.of(scores)
    True
    >>> distribution.threshold_for(keep_fraction=0.2)
    Threshold(value=5.12, scale='raw', name='keeps 0.2 of 1,000 scored rows', predictor='unknown')
    """

    scale: str = "raw"
    predictor: str = ""
    predictor_scale: str = "unknown"
    rows: int = 0
    reasons: dict[str, int] = field(default_factory=dict)
    bins: np.ndarray = field(default_factory=lambda: np.zeros(FINE_BINS, np.int64))
    min: float = math.nan
    max: float = math.nan
    moments: Moments = field(default_factory=Moments)
    sampled_from: int | None = None

    def __post_init__(self) -> None:
        check_scale(self.scale)

    @classmethod
    def of(cls, scores: Any, *, status: Any = None, **known: Any) -> Self:
        """Distribution of a column or array of scores.

        Parameters
        ----------
        scores : pandas.Series, cudf.Series or array of float
        status : pandas.Series, Categorical or array of str, optional
            Why rows have no score, as ``.aesthetic.status()`` returns it.
        **known : str
            `scale`, `predictor` and `predictor_scale`.

        Examples
        --------
        >>> ScoreDistribution.of([4.0, 6.0, float("nan")], status=["ok", "ok", "zero"]).reasons
        {'zero': 1}
        """
        values = _bins.on_host(scores)
        if status is not None and len(status) != len(values):
            raise ArgumentError(f"expected a status for each of {len(values):,} scores, got {len(status):,}")
        scored = np.isfinite(values)
        empty = cls(**known, rows=len(values), reasons=_bins.reasons_of(status, ~scored))
        values = values[scored] + np.float32(0)  # -0 becomes 0: the order of rows would decide which is the minimum.
        if not len(values):
            return empty
        bins, moments = empty.bins, empty.moments
        for start in range(0, len(values), _bins.BLOCK_ROWS):
            block = values[start : start + _bins.BLOCK_ROWS]
            bins += np.bincount(_bins.fine_bin_of(block, empty.scale), minlength=FINE_BINS)
            moments += Moments.of(block)
        return replace(empty, moments=moments, min=float(values.min()), max=float(values.max()))

    def sample_of(self, rows: int | None = None, *, fraction: float | None = None) -> Self:
        """Same distribution, marked as a random sample, so that keep rates come with their uncertainty.

        Parameters
        ----------
        rows : int, optional
            Rows of the whole data set.
        fraction : float, optional
            Share of them that was drawn; either this or `rows`.

        Examples
        --------
        >>> sample = ScoreDistribution.of([4.0, 5.5, 6.0, 4.5]).sample_of(fraction=0.01)
        >>> sample.sampled_from, sample.kept(5), sample.standard_error(5)
        (400, 200, 0.25)
        """
        if (rows is None) == (fraction is None):
            raise ArgumentError(f"expected either rows or fraction, got rows={rows!r} and fraction={fraction!r}")
        whole: Any = rows if fraction is None else round(self.rows / check_fraction("fraction", fraction))
        if not is_integer(whole) or whole < self.rows:
            raise ArgumentError(f"expected rows of the whole, at least the {self.rows:,} of the sample, got {whole!r}")
        return replace(self, sampled_from=int(whole))

    @property
    def count(self) -> int:
        """Number of rows with a score."""
        return int(self.bins.sum())

    @property
    def hundredths(self) -> np.ndarray:
        """Scored rows in steps of 0.01 raw throughout: `bins` with the narrower ones added up, shape (4002,)."""
        return _bins.to_hundredths(self.bins)

    @property
    def missing(self) -> int:
        """Number of rows without a score."""
        return self.rows - self.count

    @property
    def mean(self) -> float:
        """Mean score, the float64 nearest to the exact mean; NaN if nothing is scored."""
        return self.moments.mean(self.count)

    @property
    def std(self) -> float:
        """Standard deviation (``ddof=0``) of the scores, from exact sums; NaN if nothing is scored."""
        return self.moments.std(self.count)

    def keep_rate(self, threshold: float | str | Threshold) -> float:
        """Share of the scored rows that score at least `threshold`, or at most where low scores are better.

        NaN if nothing is scored.

        Parameters
        ----------
        threshold : float, str or Threshold
            As in ``.aesthetic.score``: a number on `scale`, a preset or a Threshold.

        Returns
        -------
        float
            Exact at every edge of `bins`, such as every hundredth of a raw score, but for scores of just this value
            where low ones are better; interpolated inside the bin between them.

        Raises
        ------
        ThresholdError
            The threshold belongs to another scale or predictor.

        Warns
        -----
        AestheticWarning
            The rate is above 99 % or below 0.1 %.

        Examples
        --------
        >>> ScoreDistribution.of([4.0, 5.0, 5.5, 6.0]).keep_rate("standard")
        0.75
        """
        rate = self.rate(threshold)
        warn_if_extreme(self, self.find_threshold(threshold), rate)
        return rate

    def kept(self, threshold: float | str | Threshold) -> int:
        """Number of rows that score at least `threshold`, by `keep_rate`; of a sample, an estimate for the whole."""
        rate = self.rate(threshold)
        warn_if_extreme(self, self.find_threshold(threshold), rate)
        return round(rate * self._scored_of_whole) if self.count else 0

    def rate(self, threshold: float | str | Threshold) -> float:
        """Share of the scored rows that `threshold` keeps, as `keep_rate`, without its warning."""
        found = self.find_threshold(threshold)
        if found.higher_is_better:
            return self._at_least(found.cut)
        return 1 - self._at_least(float(np.nextafter(np.float32(found.cut), np.float32(math.inf))))

    def _at_least(self, lowest: float) -> float:
        """Share of the scored rows that score at least `lowest`."""
        if not self.count:
            return math.nan
        if lowest <= self.min or lowest > self.max:
            return float(lowest <= self.min)
        at = int(np.searchsorted(self._edges, np.float32(lowest), side="right")) - 1
        low, high = max(float(self._edges[at]), self.min), min(float(self._edges[at + 1]), self.max)
        part = (high - lowest) / (high - low) if high > low else 1.0
        above = int(self.bins[at + 1 :].sum()) + round(int(self.bins[at]) * part)
        # The threshold is above the lowest score and not above the highest one.
        return min(max(above, 1), self.count - 1) / self.count

    def percentile(self, score: float) -> float:
        """Percentage of the scored rows that score less than `score`, to the bin; NaN if nothing is scored.

        Examples
        --------
        >>> ScoreDistribution.of([4.0, 5.0, 5.5, 6.0]).percentile(5.5)
        50.0
        """
        return 100 * (1 - self._at_least(Threshold(score, self.scale).cut))

    def standard_error(self, threshold: float | str | Threshold) -> float:
        """Standard error of `keep_rate`: binomial for a sample, 0 if every row was counted."""
        rate = self.rate(threshold)
        return math.sqrt(rate * (1 - rate) / self.count) if self.count and self.sampled_from is not None else 0 * rate

    def interval(self, threshold: float | str | Threshold) -> tuple[float, float]:
        """Confidence interval (95 %) of `keep_rate`: Wilson's for a sample, the rate itself if every row was counted.

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

    def quantile(self, q: float, scores: Any = None) -> float:
        """Quantile of the scores: the lowest score that a share `q` of them does not exceed (numpy "inverted_cdf").

        Parameters
        ----------
        q : float
            0 to 1.
        scores : Series or array of float, optional
            The scores that were counted. A second pass over them finds the exact quantile.

        Returns
        -------
        float
            Without `scores` the middle of the quantile's bin, so within half a bin; `min` or `max` if the quantile is
            that score or lies outside -15..25 raw. NaN if nothing is scored.

        Examples
        --------
        >>> scores = [4.125, 5.0, 5.5, 6.0]
        >>> ScoreDistribution.of(scores).quantile(0.5), ScoreDistribution.of(scores).quantile(0.5, scores)
        (5.005, 5.0)
        """
        rank = self._rank(check_fraction("q", q, minimum=0.0))
        if not self.count:
            return math.nan
        cumulative = np.cumsum(self.bins)
        at = int(np.searchsorted(cumulative, rank))
        if scores is not None:
            return float(self._scores_in_bin(at, scores)[rank - 1 - int(cumulative[at] - self.bins[at])])
        if rank == 1 or at == 0:
            return self.min
        if rank == self.count or at == len(self.bins) - 1:
            return self.max
        return float(np.clip((self._edge(at) + self._edge(at + 1)) / 2, self.min, self.max))

    def threshold_for(
        self, keep_fraction: float | None = None, *, n: int | None = None, scores: Any = None
    ) -> Threshold:
        """Highest threshold that keeps at least a share or number of rows.

        Parameters
        ----------
        keep_fraction : float, optional
            Share of the scored rows to keep.
        n : int, optional
            Rows to keep, of the whole data set if this is a sample; either this or `keep_fraction`.
        scores : Series or array of float, optional
            As in `quantile`. The threshold is then one of the scores: more rows than asked are kept only on ties.

        Returns
        -------
        Threshold
            An edge of `bins` unless `scores` are given: it keeps up to a bin more than asked. Its name says
            how many rows it keeps for `n`, and which share where that is over 1.1 times `keep_fraction`.

        Raises
        ------
        ArgumentError, ThresholdError
            The request is too large, nothing is scored, `scores` are not the scores that were counted, or lower scores
            are better of the predictor.

        Warns
        -----
        AestheticWarning
            The threshold keeps more than 99 % or less than 0.1 %, unless the request does.

        Examples
        --------
        >>> scores = [4.0, 5.125, 5.375, 5.378, 6.0]
        >>> print(ScoreDistribution.of(scores).threshold_for(n=2))
        raw score >= 5.37: keeps 3 of 5 scored rows (2 asked)
        >>> ScoreDistribution.of(scores).threshold_for(keep_fraction=0.6, scores=scores).value
        5.375
        """
        if self._keeps_low:
            raise ThresholdError(
                f"expected scores where higher is better, got those of {self.predictor}: "
                "frame.aesthetic.calibrate(...) chooses a threshold that keeps low ones"
            )
        threshold, share, kept = choose(self, keep_fraction, n, scores)
        warn_if_extreme(self, threshold, kept / self.count, share)
        return threshold

    def compare_laion(self) -> pd.DataFrame:
        """Keep rates beside LAION's, at the thresholds that LAION published counts for.

        Returns
        -------
        pandas.DataFrame, by threshold on `scale`
            ``laion``: share of 2.37 billion English pairs; ``here``: share of the scored rows; of a sample also
            ``low`` and ``high``, the ends of the 95 % interval.

        Raises
        ------
        ThresholdError
            The scores are known not to be on the scale of `laion-v2`.

        Examples
        --------
        >>> ScoreDistribution.of([4.0, 5.0, 5.5, 6.0]).compare_laion()["here"].tolist()
        [0.75, 0.75, 0.75, 0.25, 0.0, 0.0]
        """
        return laion.compare(self)

    def plot(self, ax: Axes | None = None, threshold: float | str | Threshold | None = None, **style: Any) -> Axes:
        """Draw the histogram with matplotlib.

        Parameters
        ----------
        ax : matplotlib.axes.Axes, optional
            The current axes if not given, as with pandas.
        threshold : float, str or Threshold, optional
            As in `keep_rate`; drawn as a line.
        **style
            Style of the bars, for ``Axes.stairs``: color, alpha, label.

        Returns
        -------
        matplotlib.axes.Axes

        Raises
        ------
        ThresholdError
            The threshold belongs to another scale or predictor.
        MissingDependencyError
            matplotlib is missing: ``pip install 'dask-aesthetic[report]'``.

        Examples
        --------
        >>> ax = distribution.plot(threshold="standard", color="tab:blue")  # doctest: +SKIP
        >>> ax.figure.savefig("scores.png")  # doctest: +SKIP
        """
        line = None if threshold is None else self.find_threshold(threshold)
        return plot.draw(self.hundredths, self.scale, self.predictor, ax, line, style)

    def to_json(self) -> str:
        """JSON of the distribution as one line, for `from_json`; equal distributions give equal text."""
        return _json.encode(vars(self))

    @classmethod
    def from_json(cls, text: str) -> Self:
        """Distribution from the text of `to_json`; InputError if the text is something else or damaged."""
        return cls(**_json.decode(text))

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write the distribution to a JSON file, for `load`."""
        write_atomic(Path(path), f"{self.to_json()}\n".encode())

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> Self:
        """Distribution from a JSON file of `save`; InputError if the file holds something else or is damaged."""
        try:
            return cls.from_json(Path(path).read_text(encoding="utf-8"))
        except (InputError, UnicodeDecodeError) as error:
            raise InputError(f"{os.fspath(path)}: {error}") from error

    def __add__(self, other: Self) -> Self:
        if not isinstance(other, ScoreDistribution):
            return NotImplemented
        for name in ("scale", "predictor", "predictor_scale"):
            mine, theirs = getattr(self, name), getattr(other, name)
            if mine != theirs:
                raise ArgumentError(f"expected distributions of one {name} to add, got {mine!r} and {theirs!r}")
        if (self.sampled_from is None) != (other.sampled_from is None):
            raise ArgumentError("expected distributions of samples, or of whole data sets, to add, got one of each")
        names = sorted(self.reasons | other.reasons)
        return replace(
            self,
            rows=self.rows + other.rows,
            reasons={name: self.reasons.get(name, 0) + other.reasons.get(name, 0) for name in names},
            bins=_bins.add(self.bins, other.bins),
            min=float(np.fmin(self.min, other.min)),
            max=float(np.fmax(self.max, other.max)),
            moments=self.moments + other.moments,
            sampled_from=None if self.sampled_from is None else self.sampled_from + (other.sampled_from or 0),
        )

    def __radd__(self, other: object) -> Self:
        return self if other == 0 else NotImplemented  # sum() starts from 0.

    def __eq__(self, other: object) -> bool:
        return isinstance(other, ScoreDistribution) and self.to_json() == other.to_json()

    __hash__ = None  # type: ignore[assignment]

    def _table(self) -> tuple[str, dict[str, str]]:
        """Title and rows of the printed form."""
        return describe(self)

    @property
    def _scored_of_whole(self) -> int:
        """Scored rows of the whole data set; an estimate if this is a sample."""
        if self.sampled_from is None or not self.rows:
            return self.count
        return round(self.sampled_from * self.count / self.rows)

    def find_threshold(self, threshold: float | str | Threshold) -> Threshold:
        """Threshold on the scale of these scores; ThresholdError if it belongs to another scale or predictor."""
        info = self._info
        return find_threshold(
            threshold,
            self.scale,
            self.predictor_scale,
            self.predictor,
            False if self._keeps_low else None,
            info is not None and info.is_probability,
        )

    @property
    def _info(self) -> PredictorInfo | None:
        """What is known of the predictor by its name."""
        from dask_aesthetic.predictors import list_predictors  # Not at the top: it imports torch.

        return list_predictors().get(self.predictor)

    @property
    def _keeps_low(self) -> bool:
        """Whether lower scores are known to be better."""
        return self._info is not None and not self._info.higher_is_better

    def _rank(self, share: float) -> int:
        # 0.07 of 100 rows are 7 rows, in spite of binary fractions.
        return max(math.ceil(round(share * self.count, 6)), 1)

    @property
    def _edges(self) -> np.ndarray:
        """Edges of the bins as float32."""
        return (EDGES if len(self.bins) == BINS else FINE_EDGES)[self.scale]

    def _edge(self, at: int) -> float:
        """Lower edge of a bin, on the scale."""
        return _bins.edge(at, self.bins, self.scale)

    def _scores_in_bin(self, at: int, scores: Any) -> np.ndarray:
        """Sorted scores of a bin."""
        low, high = (float(edge) for edge in self._edges[at : at + 2])
        return _bins.scores_within(scores, low, high, int(self.bins[at]))
