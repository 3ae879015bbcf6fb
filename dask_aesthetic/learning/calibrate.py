"""Thresholds chosen by keep fraction or by labels, with the curve of precision, recall, F1 and kept rows."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from dask_aesthetic.distribution import ScoreDistribution, choose, warn_if_extreme
from dask_aesthetic.distribution._bins import BINS, FIRST, STEPS, on_host
from dask_aesthetic.errors import ArgumentError, ColumnError, MissingDependencyError
from dask_aesthetic.learning._columns import as_numbers
from dask_aesthetic.thresholds import SCALES, UNKNOWN, Threshold
from dask_aesthetic.validation import check_integer

if TYPE_CHECKING:
    from matplotlib.axes import Axes

RESAMPLES = 1000
DRAWN = ("precision", "recall", "f1", "kept")
MOST_SCORES = 1_000_000


@dataclass(frozen=True, eq=False)
class Calibration(Threshold):
    """Threshold chosen by the scores of a frame, accepted wherever a `Threshold` is.

    Attributes
    ----------
    curve : pandas.DataFrame, by rising threshold
        ``kept``: rows that the threshold keeps. By labels: at each score of a labeled row, of the labeled
        rows, with ``precision``, ``recall`` and ``f1``. Otherwise: at every hundredth of a raw score.
    rows : int
        Rows that the choice rests on: labeled rows with a score, or scored rows.
    left_out : dict of str to int
        Rows left out: ``unlabeled``, and ``unscored``, rows without a score.
    interval, f1_interval : tuple of float, or None
        By labels: 95 % bootstrap intervals (percentiles) of the threshold and of its F1.

    Notes
    -----
    F1 is the harmonic mean of precision, the share of the kept rows that are labeled keep, and recall, the share of
    the rows labeled keep that are kept. The F1 is measured on the rows that the threshold was chosen by, so it is
    slightly higher than on other rows.

    Examples
    --------
    >>> counts = LabelCounts(np.float32([4, 5, 6]), keep=np.array([0, 2, 1]), drop=np.array([3, 1, 0]))
    >>> threshold = by_labels(counts, {"scale": "raw"})
    >>> print(threshold)
    raw score >= 5: best F1, 0.857, of 7 labeled rows
    >>> threshold.curve.reset_index().round(3)
       threshold  precision  recall     f1  kept
    0        4.0      0.429   1.000  0.600     7
    1        5.0      0.750   1.000  0.857     4
    2        6.0      1.000   0.333  0.500     1
    """

    curve: pd.DataFrame = field(default_factory=pd.DataFrame, repr=False)
    rows: int = 0
    left_out: Mapping[str, int] = field(default_factory=dict, repr=False)
    interval: tuple[float, float] | None = field(default=None, repr=False)
    f1_interval: tuple[float, float] | None = field(default=None, repr=False)

    @property
    def best(self) -> pd.Series:
        """Row of the curve at the chosen threshold, or just below it."""
        at = np.searchsorted(self.curve.index.to_numpy(np.float64), self.value, side="right")
        return self.curve.iloc[max(int(at) - 1, 0)]

    def mirrored(self) -> Calibration:
        """Threshold of scores where lower is better, from this one of their negatives."""
        curve = self.curve.iloc[::-1].set_axis(pd.Index(0.0 - self.curve.index[::-1], name="threshold"))
        interval = None if self.interval is None else (0.0 - self.interval[1], 0.0 - self.interval[0])
        return replace(self, value=0.0 - self.value, curve=curve, interval=interval, higher_is_better=False)

    def plot(self, ax: Axes | None = None) -> Axes:
        """Draw the curve, and the threshold as a line with its interval.

        Parameters
        ----------
        ax : matplotlib.axes.Axes, optional
            The current axes if not given.

        Raises
        ------
        MissingDependencyError
            matplotlib is missing: ``pip install 'dask-aesthetic[report]'``.
        """
        try:
            import matplotlib.pyplot as plt
        except ImportError as error:
            raise MissingDependencyError("matplotlib", "report", "a plot") from error
        ax = plt.gca() if ax is None else ax
        steps = "steps-pre" if self.higher_is_better else "steps-post"
        for name in DRAWN:
            if name in self.curve:
                share = self.curve[name] / max(self.rows, 1) if name == "kept" else self.curve[name]
                ax.plot(self.curve.index, share, label=name, drawstyle=steps)
        ax.axvline(self.value, color="black", linestyle="--", linewidth=1, label=f"threshold {self.value:g}")
        if self.interval is not None:
            ax.axvspan(*self.interval, color="black", alpha=0.1)
        ax.set_xlabel(f"{self.predictor if self.predictor not in ('', UNKNOWN) else 'aesthetic'} score ({self.scale})")
        ax.legend()
        return ax


@dataclass(frozen=True, eq=False)
class LabelCounts:
    """Rows labeled keep and rows labeled drop at each score.

    Attributes
    ----------
    scores : numpy.ndarray, shape (n,), float32
        Distinct and rising.
    keep, drop : numpy.ndarray, shape (n,), int64
    unlabeled, unscored : int
        Rows without a label, and labeled rows without a score; both are left out of `keep` and `drop`.
    """

    scores: np.ndarray
    keep: np.ndarray
    drop: np.ndarray
    unlabeled: int = 0
    unscored: int = 0


def by_share(
    distribution: ScoreDistribution,
    keep_fraction: float | None,
    n: int | None,
    scores: Any,
    higher_is_better: bool = True,
) -> Calibration:
    """Threshold that keeps a share or number of rows, exact by a second pass over the scores.

    Where lower scores are better, distribution and scores are those of their negatives.
    """
    threshold, share, kept = choose(distribution, keep_fraction, n, scores)
    left_out = {"unscored": distribution.missing} if distribution.missing else {}
    curve, rows = _kept_curve(distribution), distribution.count
    found = Calibration(threshold.value, threshold.scale, threshold.name, threshold.predictor, curve, rows, left_out)
    found = found if higher_is_better else found.mirrored()
    warn_if_extreme(distribution, found, kept / distribution.count, share)
    return found


def by_labels(counts: LabelCounts, known: Mapping[str, str], resamples: int = RESAMPLES, seed: int = 0) -> Calibration:
    """Threshold with the best F1 on the labeled rows.

    Raises
    ------
    ColumnError
        No row is labeled and scored, or all such rows carry the same label.
    """
    check_integer("resamples", resamples, minimum=0)
    wanted, unwanted = int(counts.keep.sum()), int(counts.drop.sum())
    _check_labels(counts, wanted, unwanted)
    scores, rows = counts.scores.astype(np.float64), wanted + unwanted
    keep, kept = _at_least(counts.keep), _at_least(counts.keep + counts.drop)
    f1 = _f1(keep, kept, wanted)
    at = _best(f1)
    curve = pd.DataFrame(
        {"precision": keep / kept, "recall": keep / wanted, "f1": f1, "kept": kept}, pd.Index(scores, name="threshold")
    )
    interval = f1_interval = None
    if resamples:
        interval, f1_interval = (_percentiles(values) for values in _bootstrap(counts, resamples, seed))
    left_out = {"unlabeled": counts.unlabeled, "unscored": counts.unscored}
    return Calibration(
        float(scores[at]),
        known["scale"],
        f"best F1, {f1[at]:.3f}, of {rows:,} labeled rows",
        known.get("predictor", UNKNOWN),
        curve,
        rows,
        {reason: count for reason, count in left_out.items() if count},
        interval,
        f1_interval,
    )


def count_labels(frame: Any, score_column: str, label_column: str) -> LabelCounts:
    """Labels of a partition, counted at each score.

    Raises
    ------
    ColumnError
        A label is neither keep (True, 1) nor drop (False, 0) nor null.
    ArgumentError
        There are more than `MOST_SCORES` different scores.
    """
    labels = as_numbers(frame[label_column], "label_column", "column == 'keep' makes labels of words")
    scores = on_host(frame[score_column])
    labeled, scored = ~np.isnan(labels), np.isfinite(scores)
    wrong = labels[labeled & (labels != 0) & (labels != 1)]
    if len(wrong):
        raise ColumnError(
            f"expected True or 1 for keep, False or 0 for drop and null for rows without a label in "
            f"label_column={label_column!r}, got {wrong[0]:g}: for ratings use fit, or label by rating >= ..."
        )
    used = labeled & scored
    distinct, at = np.unique(scores[used] + np.float32(0), return_inverse=True)
    _check_distinct(distinct)
    keep = np.bincount(at, labels[used], len(distinct)).astype(np.int64)
    rows = np.bincount(at, minlength=len(distinct))
    return LabelCounts(distinct, keep, rows - keep, int((~labeled).sum()), int((labeled & ~scored).sum()))


def add_labels(parts: list[LabelCounts]) -> LabelCounts:
    """Sum of the label counts of several partitions.

    Raises
    ------
    ArgumentError
        There are more than `MOST_SCORES` different scores.
    """
    scores, at = np.unique(np.concatenate([part.scores for part in parts]), return_inverse=True)
    _check_distinct(scores)
    keep, drop = (
        np.bincount(at, np.concatenate([getattr(part, name) for part in parts]), len(scores)).astype(np.int64)
        for name in ("keep", "drop")
    )
    unlabeled, unscored = (sum(getattr(part, name) for part in parts) for name in ("unlabeled", "unscored"))
    return LabelCounts(scores, keep, drop, unlabeled, unscored)


def _check_labels(counts: LabelCounts, wanted: int, unwanted: int) -> None:
    unscored = f" and {counts.unscored:,} with a label but no score" if counts.unscored else ""
    if not wanted + unwanted:
        raise ColumnError(
            f"expected rows with a score and a label, got none: {counts.unlabeled:,} without a label{unscored}. "
            "Label a few hundred rows True (keep) or False (drop)"
        )
    if not wanted or not unwanted:
        only, other = ("keep", "drop") if wanted else ("drop", "keep")
        raise ColumnError(
            f"expected rows labeled keep and rows labeled drop, got {wanted + unwanted:,} labeled {only}{unscored}: "
            f"label some {other}, or use keep_fraction or n"
        )


def _check_distinct(scores: np.ndarray) -> None:
    if len(scores) > MOST_SCORES:
        raise ArgumentError(
            f"expected labels on at most {MOST_SCORES:,} different scores, got more: a few hundred labels tell nearly "
            "as much. Set the label of all but a sample of the rows to null"
        )


def _at_least(counts: np.ndarray) -> np.ndarray:
    """Number of rows with each score or a higher one."""
    return np.cumsum(counts[..., ::-1], axis=-1)[..., ::-1]


def _f1(keep: np.ndarray, kept: np.ndarray, wanted: Any) -> np.ndarray:
    """F1 of thresholds that keep `kept` rows, with `keep` of the `wanted` rows among them."""
    return 2 * keep / (kept + wanted)


def _best(f1: np.ndarray) -> int:
    """Position of the best F1; on ties the highest score, which keeps the fewest rows."""
    return len(f1) - 1 - int(np.argmax(f1[::-1]))


def _bootstrap(counts: LabelCounts, resamples: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Best threshold and its F1 in each bootstrap sample of the labeled rows.

    Returns
    -------
    thresholds, f1 : numpy.ndarray, shape (n,), float64
        Samples without a row to keep have no F1, and are left out.
    """
    rng = np.random.default_rng(seed)
    cells = np.concatenate([counts.keep, counts.drop])
    ends, rows = np.cumsum(cells), int(cells.sum())
    found = []
    for _ in range(resamples):
        drawn = np.searchsorted(ends, rng.integers(rows, size=rows), side="right")
        keep, drop = np.bincount(drawn, minlength=len(cells)).reshape(2, -1)
        if keep.any():
            seen = keep + drop > 0  # A score that was not drawn is no threshold of this sample.
            f1 = _f1(_at_least(keep)[seen], _at_least(keep + drop)[seen], keep.sum())
            at = _best(f1)
            found.append((float(counts.scores[seen][at]), float(f1[at])))
    thresholds, scores = np.array(found).reshape(-1, 2).T
    return thresholds, scores


def _percentiles(values: np.ndarray) -> tuple[float, float]:
    low, high = np.quantile(values, [0.025, 0.975]) if len(values) else (np.nan, np.nan)
    return float(low), float(high)


def _kept_curve(distribution: ScoreDistribution) -> pd.DataFrame:
    """Rows that score at least each hundredth of a raw score between the lowest and the highest score."""
    filled = np.flatnonzero(distribution.hundredths)
    at = np.arange(max(int(filled[0]), 1), min(int(filled[-1]) + 2, BINS))
    kept = np.append(_at_least(distribution.hundredths), 0)[at]
    thresholds = (at - 1 + FIRST * STEPS) / (STEPS * SCALES[distribution.scale])
    return pd.DataFrame({"kept": kept}, pd.Index(thresholds, name="threshold"))
