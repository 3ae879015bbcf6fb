"""Thresholds chosen by what they keep, or by labels, with the curve that they were chosen from."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from dask_aesthetic.distribution import ScoreDistribution
from dask_aesthetic.distribution.counting import BINS, FIRST, STEPS
from dask_aesthetic.errors import ColumnError, MissingDependencyError
from dask_aesthetic.learning.labels import Labelled, best_at, counts_from, f1_of, resampled
from dask_aesthetic.thresholds import SCALES, Threshold
from dask_aesthetic.validation import check_integer

if TYPE_CHECKING:
    from matplotlib.axes import Axes

RESAMPLES = 1000
DRAWN = ("precision", "recall", "f1", "kept")


@dataclass(frozen=True, eq=False)
class Calibration(Threshold):
    """A threshold that was chosen by a frame's scores; a `Threshold`, and taken wherever one is.

    Attributes
    ----------
    curve : pandas.DataFrame, by rising threshold
        ``kept``: rows that score at least the threshold. Chosen by labels, of the labelled rows, at each of their
        scores, and with ``precision``, ``recall`` and ``f1``; else at every hundredth of a raw score.
    rows : int
        Rows that it was chosen by: labelled ones with a score, or scored ones.
    left_out : dict of str to int
        Rows that it was not chosen by: ``unlabelled``, and ``unscored``, those without a score.
    interval, f1_interval : tuple of float, or None
        Chosen by labels: the 95 % bootstrap intervals (percentiles) of the threshold and of its F1.

    Notes
    -----
    F1 is the harmonic mean of precision, the share of the kept rows that are labelled keep, and recall, the share of
    the rows labelled keep that are kept. It is told of the very rows that it was chosen by, so it is a little higher
    than it will be on others.

    Examples
    --------
    >>> labelled = Labelled(np.float32([4, 5, 6]), keep=np.array([0, 2, 1]), drop=np.array([3, 1, 0]))
    >>> cut = by_labels(labelled, {"scale": "raw"})
    >>> print(cut)
    raw score >= 5: best F1, 0.857, of 7 labelled rows
    >>> cut.curve.reset_index().round(3)
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
        """The curve at the threshold that was chosen, or just below it."""
        at = np.searchsorted(self.curve.index.to_numpy(np.float64), self.value, side="right")
        return self.curve.iloc[max(int(at) - 1, 0)]

    def plot(self, ax: Axes | None = None) -> Axes:
        """Draw the curve, and the threshold as a line, with its interval if it has one.

        Parameters
        ----------
        ax : matplotlib.axes.Axes, optional
            Where; the current ones if not given.

        Raises
        ------
        MissingDependencyError
            matplotlib is not installed; the extra ``report`` brings it.
        """
        try:
            import matplotlib.pyplot as plt
        except ImportError as error:
            raise MissingDependencyError("matplotlib", "report", "a plot") from error
        ax = plt.gca() if ax is None else ax
        for name in DRAWN:
            if name in self.curve:
                share = self.curve[name] / max(self.rows, 1) if name == "kept" else self.curve[name]
                ax.plot(self.curve.index, share, label=name, drawstyle="steps-pre")
        ax.axvline(self.value, color="black", linestyle="--", linewidth=1, label=f"threshold {self.value:g}")
        if self.interval is not None:
            ax.axvspan(*self.interval, color="black", alpha=0.1)
        ax.set_xlabel(f"{self.predictor or 'aesthetic'} score ({self.scale})")
        ax.legend()
        return ax


def by_share(distribution: ScoreDistribution, keep_fraction: float | None, n: int | None, scores: Any) -> Calibration:
    """The threshold that keeps so much, exactly, by a second look at the scores."""
    cut = distribution.threshold_for(keep_fraction, n=n, scores=scores)
    left_out = {"unscored": distribution.missing} if distribution.missing else {}
    return Calibration(cut.value, cut.scale, cut.name, cut.predictor, _kept(distribution), distribution.count, left_out)


def by_labels(labelled: Labelled, known: Mapping[str, str], resamples: int = RESAMPLES, seed: int = 0) -> Calibration:
    """The threshold of the best F1 on the labelled rows.

    Raises
    ------
    ColumnError
        No row is labelled and scored, or all such rows carry the same label.
    """
    check_integer("resamples", resamples, minimum=0)
    wanted, unwanted = int(labelled.keep.sum()), int(labelled.drop.sum())
    _check_labels(labelled, wanted, unwanted)
    scores, rows = labelled.scores.astype(np.float64), wanted + unwanted
    keep, kept = counts_from(labelled.keep), counts_from(labelled.keep + labelled.drop)
    f1 = f1_of(keep, kept, wanted)
    at = best_at(f1)
    curve = pd.DataFrame(
        {"precision": keep / kept, "recall": keep / wanted, "f1": f1, "kept": kept}, pd.Index(scores, name="threshold")
    )
    interval = f1_interval = None
    if resamples:
        interval, f1_interval = (_ends(values) for values in resampled(labelled, resamples, seed))
    counts = {"unlabelled": labelled.unlabelled, "unscored": labelled.unscored}
    return Calibration(
        float(scores[at]),
        known["scale"],
        f"best F1, {f1[at]:.3f}, of {rows:,} labelled rows",
        known.get("predictor", ""),
        curve,
        rows,
        {name: count for name, count in counts.items() if count},
        interval,
        f1_interval,
    )


def _check_labels(labelled: Labelled, wanted: int, unwanted: int) -> None:
    unscored = f" and {labelled.unscored:,} with a label but no score" if labelled.unscored else ""
    if not wanted + unwanted:
        raise ColumnError(
            f"expected rows with a score and a label, got none: {labelled.unlabelled:,} without a label{unscored}. "
            "Label a few hundred rows True (keep) or False (drop)"
        )
    if not wanted or not unwanted:
        only, other = ("keep", "drop") if wanted else ("drop", "keep")
        raise ColumnError(
            f"expected rows labelled keep and rows labelled drop, got {wanted + unwanted:,} labelled {only}{unscored}: "
            f"label some {other}, or use keep_fraction or n"
        )


def _ends(values: np.ndarray) -> tuple[float, float]:
    low, high = np.quantile(values, [0.025, 0.975]) if len(values) else (np.nan, np.nan)
    return float(low), float(high)


def _kept(distribution: ScoreDistribution) -> pd.DataFrame:
    """Rows that score at least each hundredth of a raw score between the ends."""
    filled = np.flatnonzero(distribution.bins)
    at = np.arange(max(int(filled[0]), 1), min(int(filled[-1]) + 2, BINS))
    kept = np.append(counts_from(distribution.bins), 0)[at]
    thresholds = (at - 1 + FIRST * STEPS) / (STEPS * SCALES[distribution.scale])
    return pd.DataFrame({"kept": kept}, pd.Index(thresholds, name="threshold"))
