"""Predictor fitted to ratings, and how well it predicts held-out ratings."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from dask_aesthetic.predictors import AffinePredictor, PredictorInfo
from dask_aesthetic.tables import format_html, format_text


@dataclass(frozen=True)
class HeldOut:
    """Error and correlations of predictions for ratings that the fit did not use.

    Attributes
    ----------
    rmse : float
        Root mean squared error, on the scale of the ratings.
    pearson : float
        Correlation of predictions and ratings; NaN if all predictions are equal.
    spearman : float
        Rank correlation, of 8,192 random rows if there are more.
    """

    rmse: float
    pearson: float
    spearman: float

    def __str__(self) -> str:
        return f"error {self.rmse:.3g}, correlation {self.pearson:.3f}, rank correlation {self.spearman:.3f}"


class FittedPredictor(AffinePredictor):
    """Affine predictor fitted to ratings, accepted wherever a `Predictor` is.

    Attributes
    ----------
    held_out : HeldOut
        How well it predicts ratings, by cross-validation.
    prior_held_out : HeldOut or None
        How well the prior alone predicts them, rescaled to the ratings; None without a prior.
    alpha : float
        Strength of the shrinkage. Infinite: the fit is the prior, rescaled to the ratings.
    rows : int
        Rows that it was fitted to.
    left_out : dict of str to int
        Rows left out: ``unrated``, and rated rows by the status of their embedding.
    spread : float
        Standard deviation of the ratings, the error of predicting their mean for every row.
    prior : str
        Name of the prior, empty without one.
    rating_column : str
    folds, seed : int
        As passed to ``fit``.

    Examples
    --------
    >>> import pandas as pd, dask_aesthetic
    >>> vectors = np.random.default_rng(0).standard_normal((1000, 16))
    >>> frame = pd.DataFrame({"image_embedding": list(vectors), "rating": vectors[:, 0] + (vectors[:, 1] > 0)})
    >>> frame.aesthetic.fit("rating", name="mine", prior=None, width=16)  # doctest: +ELLIPSIS
    <FittedPredictor 'mine': 16 floats of unknown -> raw score>
      fitted to  'rating' of 1,000 rows
         shrunk  towards zero, alpha ...
       held out  error 0.34, correlation 0.95..., rank correlation 0.95... (ratings spread by 1.0...)
    """

    rating_column: str
    rows: int
    left_out: Mapping[str, int]
    spread: float
    prior: str
    alpha: float
    folds: int
    seed: int
    held_out: HeldOut
    prior_held_out: HeldOut | None

    def __init__(self, weight: np.ndarray, bias: float, info: PredictorInfo, **fields: Any) -> None:
        super().__init__(weight, bias, info)
        self.__dict__.update(fields)

    def save(self, path: str | Path, **more: Any) -> None:
        """Write a safetensors file for `load_predictor`; equal predictors give equal bytes."""
        values = {name: getattr(self, name) for name in ("rating_column", "rows", "prior", "folds", "seed")}
        values["alpha"] = self.alpha if math.isfinite(self.alpha) else "infinite"
        values["held_out"] = {name: _number(value) for name, value in asdict(self.held_out).items()}
        super().save(path, fitted=values, **more)

    def __repr__(self) -> str:
        info = self.info
        head = f"<{type(self).__name__} {info.name!r}: {info.width} floats of {info.encoder} -> raw score>"
        return format_text(head, self._table())

    def _repr_html_(self) -> str:
        facts = {"name": self.info.name, "encoder": self.info.encoder, **self._table(), "token": self.token}
        return format_html(type(self).__name__, facts)

    def _table(self) -> dict[str, str]:
        towards = self.prior or "zero"
        table = {
            "fitted to": f"{self.rating_column!r} of {self.rows:,} rows",
            "shrunk": f"towards {towards}, alpha {self.alpha:.3g}",
            "held out": f"{self.held_out} (ratings spread by {self.spread:.3g})",
        }
        if self.prior_held_out is not None:
            table["prior alone"] = str(self.prior_held_out)
        if self.left_out:
            table["left out"] = ", ".join(f"{rows:,} {reason}" for reason, rows in sorted(self.left_out.items()))
        return table


def _number(value: float) -> float | None:
    return float(f"{value:.6g}") if math.isfinite(value) else None
