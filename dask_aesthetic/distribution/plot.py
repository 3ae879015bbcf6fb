"""Histogram bars of a distribution, and their drawing with matplotlib, which is imported only to draw."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from dask_aesthetic.distribution._bins import BINS, FIRST, STEPS
from dask_aesthetic.errors import MissingDependencyError
from dask_aesthetic.thresholds import SCALES, Threshold

if TYPE_CHECKING:
    from matplotlib.axes import Axes

MOST_BARS = 70
WIDTHS = (1, 2, 5, 10, 20, 50, 100)


def bars(bins: np.ndarray, low: int | None = None, high: int | None = None) -> tuple[np.ndarray, np.ndarray]:
    """Histogram of at most `MOST_BARS` bars, of the scores between the two outermost bins.

    Parameters
    ----------
    bins : numpy.ndarray, shape (4002,)
        As `ScoreDistribution.bins`.
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
    try:
        import matplotlib.pyplot as plt
    except ImportError as error:
        raise MissingDependencyError("matplotlib", "report", "a plot") from error
    ax = plt.gca() if ax is None else ax
    edges, counts = bars(bins)
    ax.stairs(counts, edges / (STEPS * SCALES[scale]), **{"fill": True, **style})
    if threshold is not None:
        label = f"threshold {threshold.value:g}"
        ax.axvline(threshold.value, color="black", linestyle="--", linewidth=1, label=label)
    ax.set_xlabel(f"{predictor or 'aesthetic'} score ({scale})")
    ax.set_ylabel("rows")
    ax.margins(x=0)
    return ax
