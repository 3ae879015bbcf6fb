"""Ridge regression from sums over rows: the weights for every alpha from one eigendecomposition."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch

ROUNDING = 1e-12  # A part of the whole below this is rounding error.


@dataclass(frozen=True, eq=False)
class FoldSums:
    """Sums over the rows of a fold: x is the unit vector, y the rating.

    Attributes
    ----------
    rows : int
    x : numpy.ndarray, shape (width,), float64
    y : float
    xx : numpy.ndarray, shape (width, width), float64
    xy : numpy.ndarray, shape (width,), float64
    yy : float
    """

    rows: int
    x: np.ndarray
    y: float
    xx: np.ndarray
    xy: np.ndarray
    yy: float

    @classmethod
    def of(cls, x: torch.Tensor, y: torch.Tensor) -> FoldSums:
        """Sums of float64 unit vectors, on any device, and their ratings."""
        xx, xy = ((x.T @ other).cpu().numpy() for other in (x, y))
        return cls(len(x), x.sum(dim=0).cpu().numpy(), float(y.sum()), xx, xy, float(y @ y))

    def __add__(self, other: FoldSums) -> FoldSums:
        return FoldSums(*(getattr(self, name) + getattr(other, name) for name in self.__dataclass_fields__))


@dataclass(frozen=True, eq=False)
class RidgeProblem:
    """Minimum of ``|y - b - X w|^2 + alpha |w - a w0|^2`` over w, b and a.

    The intercept b and the length a of the prior are free, so ratings on any scale are shrunk towards the order of the
    prior; without a prior, towards zero.

    Attributes
    ----------
    mean, rating : numpy.ndarray, shape (width,); float
        Means of the unit vectors and of the ratings.
    values, vectors : numpy.ndarray, shapes (width,) and (width, width)
        Eigenvalues and eigenvectors of the Gram matrix without the direction of the prior.
    right : numpy.ndarray, shape (width,)
        Right-hand side, by eigenvector.
    axis : numpy.ndarray, shape (width,)
        Direction of the prior; zero without a prior.
    along, slope : numpy.ndarray, shape (width,); float
        The length along `axis` is ``slope - along . v``, with v the weights across it.
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
    def of(cls, sums: FoldSums, prior: np.ndarray | None) -> RidgeProblem:
        """Problem of the rows that were summed.

        With s = X w0 / |w0|, and X, y and s centered, the best a for any w = a w0 / |w0| + v is linear in v. The rest
        is a ridge regression for v, in a space without w0.
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
        """Whether the rows leave some weights undetermined at this alpha."""
        return alpha <= self._rounding and self.rank < len(self.mean)

    @property
    def rank(self) -> int:
        """Number of directions in which the rows differ, with the prior's."""
        return int((self.values > self._rounding).sum()) + int(self.axis.any())

    @property
    def _rounding(self) -> float:
        return ROUNDING * float(self.values[-1])

    def solve(self, alphas: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Weights, shape (width, n), and intercepts, shape (n,), at n alphas; an infinite alpha gives the prior."""
        divisors = self.values[:, None] + alphas
        divisors[divisors <= self._rounding] = np.inf  # At alpha 0 the eigenvalue along `axis` is 0.
        off = self.vectors @ (self.right[:, None] / divisors)
        weights = off + self.axis[:, None] * (self.slope - self.along @ off)
        return weights, self.rating - self.mean @ weights


@dataclass(frozen=True, eq=False)
class RegressionSums:
    """Sums over held-out rows of predictions (p), ratings (y) and squared errors, which add up over folds.

    Arrays are of shape (n,), one element for every alpha.
    """

    rows: int
    squares: np.ndarray
    p: np.ndarray
    pp: np.ndarray
    py: np.ndarray
    y: float
    yy: float

    @classmethod
    def of(cls, sums: FoldSums, weights: np.ndarray, intercepts: np.ndarray, center: float) -> RegressionSums:
        """Sums over the rows of a fold, with `center` subtracted from p and y, which keeps the sums small."""
        b, y = intercepts - center, sums.y - sums.rows * center
        yy = sums.yy - 2 * center * sums.y + sums.rows * center**2
        xw, xy = sums.x @ weights, (sums.xy - center * sums.x) @ weights
        p = xw + sums.rows * b
        pp = (weights * (sums.xx @ weights)).sum(axis=0) + 2 * b * xw + sums.rows * b**2
        py = xy + b * y
        return cls(sums.rows, np.maximum(yy - 2 * py + pp, 0), p, pp, py, y, yy)

    def __add__(self, other: RegressionSums) -> RegressionSums:
        return RegressionSums(*(getattr(self, name) + getattr(other, name) for name in self.__dataclass_fields__))

    def at(self, number: int) -> RegressionSums:
        """Sums at one of the alphas."""
        one = slice(number, number + 1)
        return RegressionSums(self.rows, self.squares[one], self.p[one], self.pp[one], self.py[one], self.y, self.yy)

    @property
    def rmse(self) -> np.ndarray:
        """Root mean squared error."""
        return np.sqrt(self.squares / self.rows)

    @property
    def pearson(self) -> np.ndarray:
        """Correlation of predictions and ratings; NaN if all predictions are equal."""
        n = self.rows
        p, y = self.pp - self.p**2 / n, self.yy - self.y**2 / n
        with np.errstate(all="ignore"):
            correlation = (self.py - self.p * self.y / n) / np.sqrt(p * y)
        return np.where(p > ROUNDING * np.maximum(self.pp, y), np.clip(correlation, -1, 1), np.nan)
