"""Plots of the report page as SVG paths and ticks: histogram of the scores, and keep rate by threshold."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from dask_aesthetic.distribution import LAION_SHARES, ScoreDistribution
from dask_aesthetic.distribution._bins import BINS, FIRST, STEPS
from dask_aesthetic.distribution.plot import bars
from dask_aesthetic.thresholds import SCALES, Threshold, is_on_preset_scale

WIDTH, HEIGHT, LEFT, RIGHT, TOP, BOTTOM = 560, 330, 74, 14, 34, 50
MOST_DECADES = 6


@dataclass(frozen=True)
class Tick:
    """Tick of an axis; narrow pages leave out the labels of minor ticks."""

    at: float
    label: str
    minor: bool = False


@dataclass(frozen=True)
class Plot:
    """Plot in SVG units.

    Attributes
    ----------
    path : str
        Bars or line, as the ``d`` of an SVG path.
    x, y : list of Tick
    threshold : float
        x of the threshold's line.
    dots : list of (x, y, label)
        LAION's shares; empty in the histogram.
    decades : int
        Powers of ten from bottom to top; 0 on a linear axis.
    """

    path: str
    x: list[Tick]
    y: list[Tick]
    threshold: float
    dots: list[tuple[float, float, str]]
    decades: int = 0


@dataclass(frozen=True)
class Range:
    """Range of scores of plots and slider, in hundredths of a raw score."""

    low: int
    high: int

    @classmethod
    def of(cls, distribution: ScoreDistribution, threshold: Threshold) -> Range:
        """Range that includes the scores within the bins and the threshold, rounded outwards to tenths."""
        filled = np.flatnonzero(distribution.hundredths[1 : BINS - 1]) + FIRST * STEPS
        ends = [float(np.clip(_hundredths(threshold), FIRST * STEPS, FIRST * STEPS + BINS - 2))]
        ends += [float(filled[0]), float(filled[-1] + 1)] if len(filled) else []
        low, high = (10 * round_(end / 10) for round_, end in ((math.floor, min(ends)), (math.ceil, max(ends))))
        if not threshold.higher_is_better:  # Rows below it are counted by negated scores, from the first bin on.
            high = min(high, -FIRST * STEPS)
        low = min(low, (FIRST * STEPS + BINS - 2 if threshold.higher_is_better else -FIRST * STEPS) - 10)
        return cls(low, max(high, low + 10))

    def x(self, hundredths: float) -> float:
        """X coordinate of a score in hundredths."""
        share = (hundredths - self.low) / (self.high - self.low)
        return round(LEFT + min(max(share, 0.0), 1.0) * (WIDTH - LEFT - RIGHT), 2)


def histogram(distribution: ScoreDistribution, threshold: Threshold, span: Range) -> Plot:
    """Histogram: rows by score."""
    edges, counts = bars(distribution.hundredths, span.low, span.high)
    top, step = _round_top(int(counts.max()) if len(counts) else 0)
    path = "".join(
        f"M{span.x(left)} {_y(0)}V{_y(count / top)}H{span.x(right)}V{_y(0)}Z"
        for left, right, count in zip(edges[:-1], edges[1:], counts.tolist(), strict=True)
        if count
    )
    rows = [Tick(_y(at / top), _short(at)) for at in range(0, top + 1, step)]
    return Plot(path, _scores(span, distribution.scale), rows, span.x(_hundredths(threshold)), [])


def curve(kept: np.ndarray, distribution: ScoreDistribution, threshold: Threshold, span: Range) -> Plot:
    """Keep rate by threshold, on a logarithmic axis so that rates below 1 % can be read; `kept` is of `kept_at`."""
    shares = kept / max(distribution.count, 1)
    known = LAION_SHARES if is_on_preset_scale(distribution.predictor_scale, distribution.predictor) else {}
    published = {score: share for score, share in known.items() if span.low <= score * STEPS <= span.high}
    lowest = min([*(share for share in shares if share > 0), *published.values()], default=0.1)
    decades = min(max(math.ceil(-math.log10(lowest)), 1), MOST_DECADES)
    points = [(span.x(span.low + at), _log_y(share, decades)) for at, share in enumerate(shares) if share > 0]
    path = "M" + "L".join(f"{x} {y}" for x, y in _without_repeats(points)) if points else ""
    dots = [
        (span.x(score * STEPS), _log_y(share, decades), f"{score / SCALES[distribution.scale]:g}: {share:.3%}")
        for score, share in published.items()
    ]
    ticks = [Tick(_log_y(10.0**-at, decades), f"{100 * 10.0**-at:g}%") for at in range(decades + 1)]
    return Plot(path, _scores(span, distribution.scale), ticks, span.x(_hundredths(threshold)), dots, decades)


def kept_at(distribution: ScoreDistribution, mirrored: ScoreDistribution | None, span: Range) -> np.ndarray:
    """Number of rows that a threshold at every hundredth of the range keeps: at or above it; at or below it `mirrored`.

    The latter is the distribution of the negated scores.
    """
    if mirrored is not None:
        return kept_at(mirrored, None, Range(-span.high, -span.low))[::-1]
    first = span.low - FIRST * STEPS + 1
    above = distribution.hundredths[::-1].cumsum()[::-1]
    return above[first : first + span.high - span.low + 1]


def _hundredths(threshold: Threshold) -> float:
    return threshold.value * SCALES[threshold.scale] * STEPS


def _scores(span: Range, scale: str) -> list[Tick]:
    steps = (5, 10, 25, 50, 100, 200, 500, 1000)
    step = next(step for step in steps if (span.high - span.low) / step <= 10)
    at = range(-(-span.low // step) * step, span.high + 1, step)
    return [Tick(span.x(tick), f"{tick / STEPS / SCALES[scale]:g}", minor=bool((tick // step) % 2)) for tick in at]


def _round_top(most: int) -> tuple[int, int]:
    """Maximum of an axis of counts from 0, and the step of its ticks."""
    size = 10 ** max(len(str(max(most, 1))) - 2, 0)
    step = next(part * size for part in (1, 2, 5, 10, 20, 25, 50) if part * size * 4 >= most)
    return step * max(-(-most // step), 1), step


def _y(share: float) -> float:
    return round(HEIGHT - BOTTOM - share * (HEIGHT - TOP - BOTTOM), 2)


def _log_y(share: float, decades: int) -> float:
    return _y(max(1 + math.log10(share) / decades, 0.0))


def _without_repeats(points: list[tuple[float, float]]) -> list[tuple[float, float]]:
    """Points without the inner points of runs of equal y."""
    inside = [
        0 < at < len(points) - 1 and points[at - 1][1] == y == points[at + 1][1] for at, (_, y) in enumerate(points)
    ]
    return [point for point, repeated in zip(points, inside, strict=True) if not repeated]


def _short(count: int) -> str:
    for size, unit in ((10**9, "B"), (10**6, "M"), (10**3, "k")):
        if count >= 10 * size or (count >= size and count % (size // 10) == 0):
            return f"{count / size:g}{unit}"
    return f"{count:,}"
