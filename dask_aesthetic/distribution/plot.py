"""Histogram bars of a distribution, and their drawing with matplotlib, which is imported only to draw."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from dask_aesthetic.distribution._bins import BINS, FIRST, STEPS
from dask_aesthetic.errors import MissingDependencyError
from dask_aesthetic.escape import escape_text
from dask_aesthetic.thresholds import SCALES, Threshold

if TYPE_CHECKING:
    from matplotlib.axes import Axes

MOST_BARS = 70
MAX_NAME = 40  # Characters of a name on an axis.
WIDTHS = (1, 2, 5, 10, 20, 50, 100)


def bars(bins: np.ndarray, low: int | None = None, high: int | None = None) -> tuple[np.ndarray, np.ndarray]:
    """Histogram of at most `MOST_BARS` bars, of the scores between the two outermost bins.

    Parameters
    ----------
    bins : numpy.ndarray, shape (4002,)
        As `ScoreDistribution.hundredths`.
    low, high : int, optional
        Ends in hundredths of a raw score; the ends of the scores if not given.

    Returns
    -------
    edges : numpy.ndarray of int, shape (n + 1,)
        In hundredths of a raw score.
    counts : numpy.ndarray of int, shape (n,)
    """
    inside = bins[1 : BINS - 1]
    filled = np.flatnonzero(inside) + FIRST * STEPS
    low = int(low if low is not None else filled[0] if len(filled) else 0)
    high = int(high if high is not None else filled[-1] + 1 if len(filled) else STEPS)
    width = next((width for width in WIDTHS if (high - low) / width <= MOST_BARS), WIDTHS[-1])
    edges = np.arange(low // width, -(-high // width) + 1) * width
    below = np.concatenate([[0], np.cumsum(inside)])
    return edges, np.diff(below[np.clip(edges - FIRST * STEPS, 0, len(inside))])


def draw(
    bins: np.ndarray, scale: str, predictor: str, ax: Axes | None, threshold: Threshold | None, style: dict[str, Any]
) -> Axes:
    """Axes with the histogram, and the threshold as a line."""
    ax = _axes(ax)
    edges, counts = bars(bins)
    ax.stairs(counts, edges / (STEPS * SCALES[scale]), **{"fill": True, **style})
    _label_scores(ax, scale, predictor, threshold)
    ax.set_ylabel("rows")
    ax.margins(x=0)
    return ax


def draw_groups(
    boxes: Mapping[str, Sequence[float]],
    by: str,
    scale: str,
    predictor: str,
    ax: Axes | None,
    threshold: Threshold | None,
    style: dict[str, Any],
) -> Axes:
    """Axes with a horizontal box per group, the first on top, from five quantiles each."""
    ax = _axes(ax)
    at = np.arange(len(boxes))
    lowest, low, middle, high, highest = np.array(list(boxes.values())).reshape(-1, 5).T
    ax.hlines(at, lowest, highest, color="black", linewidth=1)
    ax.barh(at, high - low, left=low, **{"height": 0.6, "alpha": 0.7, **style})
    ax.scatter(middle, at, color="black", marker="|", s=120, zorder=3)
    # A dollar sign in a name is no formula.
    ax.set_yticks(at, [escape_text(name, MAX_NAME) for name in boxes], parse_math=False)
    ax.set_ylabel(escape_text(by, MAX_NAME), parse_math=False)
    ax.invert_yaxis()
    _label_scores(ax, scale, predictor, threshold)
    return ax


def _axes(ax: Axes | None) -> Axes:
    try:
        import matplotlib.pyplot as plt
    except ImportError as error:
        raise MissingDependencyError("matplotlib", "report", "a plot") from error
    return plt.gca() if ax is None else ax


def _label_scores(ax: Axes, scale: str, predictor: str, threshold: Threshold | None) -> None:
    if threshold is not None:
        label = f"threshold {threshold.value:g}"
        ax.axvline(threshold.value, color="black", linestyle="--", linewidth=1, label=label)
    ax.set_xlabel(f"{escape_text(predictor, MAX_NAME) or 'aesthetic'} score ({scale})", parse_math=False)
