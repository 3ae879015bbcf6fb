"""Ridge regression out of sums: the weights for every alpha from one eigendecomposition."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from dask_aesthetic.learning.sums import FoldSums

# What is this small beside the whole is rounding.
ROUNDING = 1e-12


@dataclass(frozen=True, eq=False)
class Problem:
    """Minimise ``|y - b - X w|^2 + alpha |w - a w0|^2`` over w, b and a.

    The intercept b and the prior's length a are free, so ratings on any scale are shrunk towards the prior's own
    order; without a prior, towards zero.

    Attributes
    ----------
    mean, rating : numpy.ndarray, shape (width,); float
        Of the unit vectors and of the ratings.
    values, vectors : numpy.ndarray, shapes (width,) and (width, width)
        Eigenvalues and eigenvectors of the Gram matrix of what the prior leaves open.
    right : numpy.ndarray, shape (width,)
        The right-hand side, by eigenvector.
    axis : numpy.ndarray, shape (width,)
        The prior's direction; zero without one.
    along, slope : numpy.ndarray, shape (width,); float
        The length along `axis` is ``slope - along . v``, with v the weights beside it.
    """

    mean: np.ndarray
    rating: float
    values: np.ndarray
    vectors: np.ndarray
    right: np.ndarray
    axis: np.ndarray
    along: np.ndarray
    slope: float

    @classmethod
    def of(cls, sums: FoldSums, prior: np.ndarray | None) -> Problem:
        """The problem of so many rows.

        With s = X w0 / |w0|, and X, y and s centerd, the best a for any w = a w0 / |w0| + v is linear in v. What is
        left is a ridge regression for v, in a space without w0.
        """
        mean, rating = sums.x / sums.rows, sums.y / sums.rows
        gram = sums.xx - sums.rows * np.outer(mean, mean)
        right = sums.xy - sums.y * mean
        axis = np.zeros_like(mean) if prior is None else prior / np.linalg.norm(prior)
        spread = float(axis @ gram @ axis)
        if spread <= ROUNDING * float(np.trace(gram)):
            axis, spread = np.zeros_like(mean), 1.0
        along = gram @ axis / spread
        slope = float(axis @ right) / spread
        values, vectors = np.linalg.eigh(gram - spread * np.outer(along, along))
        right = vectors.T @ (right - spread * slope * along)
        return cls(mean, rating, np.maximum(values, 0), vectors, right, axis, along, slope)

    def is_singular(self, alpha: float) -> bool:
        """Whether the rows leave some weights open at this alpha."""
        return alpha <= self._rounding and self.rank < len(self.mean)

    @property
    def rank(self) -> int:
        """Directions in which the rows differ, and that of the prior."""
        return int((self.values > self._rounding).sum()) + int(self.axis.any())

    @property
    def _rounding(self) -> float:
        return ROUNDING * float(self.values[-1])

    def solve(self, alphas: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """The weights, shape (width, n), and intercepts, shape (n,), at so many alphas; infinite is the prior."""
        divisors = self.values[:, None] + alphas
        divisors[divisors <= self._rounding] = np.inf  # At alpha 0, across `axis`: there is nothing to divide.
        off = self.vectors @ (self.right[:, None] / divisors)
        weights = off + self.axis[:, None] * (self.slope - self.along @ off)
        return weights, self.rating - self.mean @ weights


@dataclass(frozen=True, eq=False)
class Told:
    """Sums over held-out rows of what was foretold (p) and rated (y), and of the squared errors.

    They add up over folds. Arrays are of shape (n,), one figure for every alpha.
    """

    rows: int
    squares: np.ndarray
    p: np.ndarray
    pp: np.ndarray
    py: np.ndarray
    y: float
    yy: float

    @classmethod
    def of(cls, sums: FoldSums, weights: np.ndarray, intercepts: np.ndarray, center: float) -> Told:
        """Sums over the rows of a fold, with p and y counted from `center`, which keeps them small."""
        b, y = intercepts - center, sums.y - sums.rows * center
        yy = sums.yy - 2 * center * sums.y + sums.rows * center**2
        xw, xy = sums.x @ weights, (sums.xy - center * sums.x) @ weights
        p = xw + sums.rows * b
        pp = (weights * (sums.xx @ weights)).sum(axis=0) + 2 * b * xw + sums.rows * b**2
        py = xy + b * y
        return cls(sums.rows, np.maximum(yy - 2 * py + pp, 0), p, pp, py, y, yy)

    def __add__(self, other: Told) -> Told:
        return Told(*(getattr(self, name) + getattr(other, name) for name in self.__dataclass_fields__))

    def at(self, number: int) -> Told:
        """The sums at one of the alphas."""
        one = slice(number, number + 1)
        return Told(self.rows, self.squares[one], self.p[one], self.pp[one], self.py[one], self.y, self.yy)

    @property
    def rmse(self) -> np.ndarray:
        """Root of the mean squared error."""
        return np.sqrt(self.squares / self.rows)

    @property
    def pearson(self) -> np.ndarray:
        """Correlation; NaN where all are foretold alike."""
        n = self.rows
        p, y = self.pp - self.p**2 / n, self.yy - self.y**2 / n
        with np.errstate(all="ignore"):
            found = (self.py - self.p * self.y / n) / np.sqrt(p * y)
        return np.where(p > ROUNDING * np.maximum(self.pp, y), np.clip(found, -1, 1), np.nan)
