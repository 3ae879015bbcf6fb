"""Heat maps of two scores of the same rows: counts that add up over partitions, and their cells as SVG paths."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from dask_aesthetic.report.plots import BOTTOM, HEIGHT, LEFT, RIGHT, TOP, WIDTH, Tick
from dask_aesthetic.thresholds import SCALES

CELL = 0.1  # Raw.
PROBABILITY_CELL = 0.02
SIMILARITY_CELL = 0.01
MOST_CELLS = 1000  # On either side of 0; scores beyond count in the last.
SHOWN_CELLS = 40  # Of an axis: more are drawn together.
SHOWN_PAIRS = 6
EDGE = 1e-4  # Of a cell: float32 4.2 lies below 4.2, and belongs to the cell that begins there.
SHADES = 5


@dataclass(frozen=True)
class PairCounts:
    """Numbers of rows by the cells of two scores.

    Attributes
    ----------
    cells : tuple of float
        Width of the cells of each score.
    counts : Counter of (int, int)
        Rows with both scores, by cells counted from 0.

    Examples
    --------
    >>> some = PairCounts.of(np.float32([5.05, 5.09, np.nan]), np.float32([4.2, 4.2, 4.2]), (0.1, 0.1))
    >>> (some + some).counts
    Counter({(50, 42): 4})
    """

    cells: tuple[float, float]
    counts: Counter[tuple[int, int]] = field(default_factory=Counter)

    @classmethod
    def of(cls, first: np.ndarray, second: np.ndarray, cells: tuple[float, float]) -> PairCounts:
        """Counts of float32 scores of the same rows; rows without one of them are left out."""
        both = np.isfinite(first) & np.isfinite(second)
        at = [
            np.floor(scores[both].astype(np.float64) / cell + EDGE).clip(-MOST_CELLS, MOST_CELLS).astype(np.int64)
            for scores, cell in zip((first, second), cells, strict=True)
        ]
        found, counts = np.unique(np.stack(at, axis=1), axis=0, return_counts=True)
        return cls(cells, Counter(dict(zip(map(tuple, found.tolist()), counts.tolist(), strict=True))))

    def __add__(self, other: PairCounts) -> PairCounts:
        return PairCounts(self.cells, self.counts + other.counts)


@dataclass(frozen=True)
class HeatMap:
    """Heat map in SVG units: a path of cells per shade, the lightest first, on logarithmic steps."""

    paths: list[str]
    x: list[Tick]
    y: list[Tick]
    rows: int
    most: int


def cells_of(provenance: Mapping[str, Any], columns: Iterable[object]) -> dict[str, float]:
    """Width of the cells of each score and the similarity that files of several name, as far as the frame has it."""
    held, found = set(columns), {}
    for score in provenance.get("scores", []):
        if score["column"] in held:
            is_probability = score["predictor"].get("is_probability", False)
            scale = SCALES.get(score.get("scale", "raw"), 1.0)
            found[score["column"]] = PROBABILITY_CELL if is_probability else CELL / scale
    similarity = provenance.get("similarity", {}).get("column")
    if found and similarity in held:
        found[similarity] = SIMILARITY_CELL
    return found


def heat_map(pair: PairCounts) -> HeatMap | None:
    """Heat map of the counts; None without rows."""
    if not pair.counts:
        return None
    axes = [
        _Axis.of(sorted(cells), size) for cells, size in zip(zip(*pair.counts, strict=True), pair.cells, strict=True)
    ]
    drawn: Counter[tuple[int, int]] = Counter()
    for (x, y), count in pair.counts.items():
        drawn[axes[0].group(x), axes[1].group(y)] += count
    most = max(drawn.values())
    paths = [""] * SHADES
    width, height = (WIDTH - LEFT - RIGHT) / axes[0].groups, (HEIGHT - TOP - BOTTOM) / axes[1].groups
    for (x, y), count in sorted(drawn.items()):
        shade = int(SHADES * math.log(count) / math.log(most)) if most > 1 else SHADES - 1
        left, top = LEFT + width * x, HEIGHT - BOTTOM - height * (y + 1)
        paths[min(shade, SHADES - 1)] += f"M{left:.2f} {top:.2f}h{width:.2f}v{height:.2f}h-{width:.2f}Z"
    x_ticks = [Tick(round(LEFT + width * at, 2), label) for at, label in axes[0].ticks()]
    y_ticks = [Tick(round(HEIGHT - BOTTOM - height * at, 2), label) for at, label in axes[1].ticks()]
    return HeatMap(paths, x_ticks, y_ticks, sum(drawn.values()), most)


@dataclass(frozen=True)
class _Axis:
    """Cells from `low` on; `together` neighbours are drawn as one."""

    low: int
    groups: int
    together: int
    size: float

    @classmethod
    def of(cls, cells: list[int], size: float) -> _Axis:
        together = max(-(-(cells[-1] - cells[0] + 1) // SHOWN_CELLS), 1)
        low = cells[0] // together * together
        return cls(low, (cells[-1] - low) // together + 1, together, size)

    def group(self, cell: int) -> int:
        return (cell - self.low) // self.together

    def ticks(self) -> list[tuple[int, str]]:
        """Positions in groups, and labels."""
        step = -(-self.groups // 8)
        at = range(0, self.groups + 1, step)
        return [(group, f"{(self.low + group * self.together) * self.size:.4g}") for group in at]
