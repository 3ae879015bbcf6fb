"""What is counted of scores, how counts add up, and how they are written down."""

from __future__ import annotations

import math
import os
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Self

import numpy as np

from dask_aesthetic.atomic import write_atomic
from dask_aesthetic.distribution import telling
from dask_aesthetic.distribution.counting import BINS, BLOCK_ROWS, Moments, bin_of, on_host, reasons_of
from dask_aesthetic.errors import ArgumentError, InputError
from dask_aesthetic.thresholds import check_scale
from dask_aesthetic.validation import check_fraction, is_integer


@dataclass(frozen=True, eq=False, repr=False)
class ScoreCounts:
    """What is counted of scores, how it adds up, and how it is written down: see `ScoreDistribution`."""

    scale: str = "raw"
    predictor: str = ""
    predictor_scale: str = "unknown"
    rows: int = 0
    reasons: dict[str, int] = field(default_factory=dict)
    bins: np.ndarray = field(default_factory=lambda: np.zeros(BINS, np.int64))
    min: float = math.nan
    max: float = math.nan
    moments: Moments = field(default_factory=Moments)
    sampled_from: int | None = None

    def __post_init__(self) -> None:
        check_scale(self.scale)

    @classmethod
    def of(cls, scores: Any, *, status: Any = None, **known: Any) -> Self:
        """Count scores.

        Parameters
        ----------
        scores : pandas.Series, cudf.Series or array of float
        status : pandas.Series, Categorical or array of str, optional
            Why rows have no score, as ``.aesthetic.status()`` says it.
        **known : str
            `scale`, `predictor` and `predictor_scale`.

        Examples
        --------
        >>> from dask_aesthetic import ScoreDistribution
        >>> ScoreDistribution.of([4.0, 6.0, float("nan")], status=["ok", "ok", "zero"]).reasons
        {'zero': 1}
        """
        values = on_host(scores)
        if status is not None and len(status) != len(values):
            raise ArgumentError(f"expected a status for each of {len(values):,} scores, got {len(status):,}")
        scored = np.isfinite(values)
        empty = cls(**known, rows=len(values), reasons=reasons_of(status, ~scored))
        values = values[scored] + np.float32(0)  # -0 becomes 0: which of them is the lowest is up to chance.
        if not len(values):
            return empty
        bins, moments = empty.bins, empty.moments
        for start in range(0, len(values), BLOCK_ROWS):
            block = values[start : start + BLOCK_ROWS]
            bins += np.bincount(bin_of(block, empty.scale), minlength=BINS)
            moments += Moments.of(block)
        return replace(empty, moments=moments, min=float(values.min()), max=float(values.max()))

    def sample_of(self, rows: int | None = None, *, fraction: float | None = None) -> Self:
        """The same as that of a random sample of more rows, so that shares come with their uncertainty.

        Parameters
        ----------
        rows : int, optional
            Rows of the whole.
        fraction : float, optional
            The share of them that was drawn; either this or `rows`.

        Examples
        --------
        >>> from dask_aesthetic import ScoreDistribution
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
        """Rows with a score."""
        return int(self.bins.sum())

    @property
    def missing(self) -> int:
        """Rows without a score."""
        return self.rows - self.count

    @property
    def mean(self) -> float:
        """Mean score, the float64 nearest to the exact one; NaN if nothing is scored."""
        return self.moments.mean(self.count)

    @property
    def std(self) -> float:
        """Standard deviation (``ddof=0``), from exact sums; NaN if nothing is scored."""
        return self.moments.std(self.count)

    def to_json(self) -> str:
        """The distribution as one line of JSON, for `from_json`; equal distributions give equal text."""
        return telling.to_json(self)

    @classmethod
    def from_json(cls, text: str) -> Self:
        """The distribution that `to_json` wrote; InputError if the text is something else or damaged."""
        return cls(**telling.from_json(text))

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write `to_json` to a file."""
        write_atomic(Path(path), f"{self.to_json()}\n".encode())

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> Self:
        """The distribution in a file that `save` wrote; InputError if it holds something else or is damaged."""
        try:
            return cls.from_json(Path(path).read_text(encoding="utf-8"))
        except (InputError, UnicodeDecodeError) as error:
            raise InputError(f"{os.fspath(path)}: {error}") from error

    def __add__(self, other: Self) -> Self:
        if not isinstance(other, ScoreCounts):
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
            bins=self.bins + other.bins,
            min=float(np.fmin(self.min, other.min)),
            max=float(np.fmax(self.max, other.max)),
            moments=self.moments + other.moments,
            sampled_from=None if self.sampled_from is None else self.sampled_from + (other.sampled_from or 0),
        )

    def __radd__(self, other: object) -> Self:
        return self if other == 0 else NotImplemented  # sum() starts from 0.

    def __eq__(self, other: object) -> bool:
        return isinstance(other, ScoreCounts) and self.to_json() == other.to_json()

    __hash__ = None  # type: ignore[assignment]

    @property
    def _whole(self) -> int:
        """Scored rows of the whole, which a sample gives an estimate of."""
        if self.sampled_from is None or not self.rows:
            return self.count
        return round(self.sampled_from * self.count / self.rows)
