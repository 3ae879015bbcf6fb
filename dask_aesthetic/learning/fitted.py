"""A predictor that was fitted to somebody's ratings."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from html import escape
from pathlib import Path
from typing import Any

import numpy as np

from dask_aesthetic.predictors import AffinePredictor, PredictorInfo


@dataclass(frozen=True)
class HeldOut:
    """How well ratings were foretold that had not been learned from.

    Attributes
    ----------
    rmse : float
        Root of the mean squared error, on the scale of the ratings.
    pearson : float
        Correlation of what was foretold with the ratings; NaN where all is foretold alike.
    spearman : float
        Rank correlation; of more than 8,192 rows, that of so many drawn at random.
    """

    rmse: float
    pearson: float
    spearman: float

    def __str__(self) -> str:
        return f"error {self.rmse:.3g}, correlation {self.pearson:.3f}, rank correlation {self.spearman:.3f}"


class FittedPredictor(AffinePredictor):
    """An affine predictor that was fitted to ratings; a `Predictor`, and taken wherever one is.

    Attributes
    ----------
    held_out : HeldOut
        How well it foretells ratings, by cross-validation.
    prior_held_out : HeldOut or None
        How well the prior alone does, stretched to the scale of the ratings; None without a prior.
    alpha : float
        How strongly it was shrunk. Infinite: the ratings told no more than how to stretch the prior.
    rows : int
        Rows that it was fitted to.
    left_out : dict of str to int
        Rows that it was not fitted to: ``unrated``, and rated ones by the status of their embedding.
    spread : float
        Standard deviation of the ratings, which is the error of foretelling their mean.
    prior : str
        Its name, empty without one.
    rating_column : str
    folds, seed : int
        As they were given.

    Examples
    --------
    >>> import pandas as pd, dask_aesthetic
    >>> from dask_aesthetic.synthetic import synthetic_embeddings
    >>> frame = pd.DataFrame({"image_embedding": list(synthetic_embeddings(1000))}).aesthetic.score()
    >>> frame["rating"] = (10 * frame["aesthetic_score"]).round() - 20
    >>> frame.aesthetic.fit("rating", name="mine")  # doctest: +ELLIPSIS
    <FittedPredictor 'mine': 768 floats of ViT-L-14-quickgelu (openai) -> raw score>
      fitted to  'rating' of 1,000 rows
         shrunk  towards laion-v2, alpha inf
       held out  error 0.2..., correlation 0.999, rank correlation 0.999 (ratings spread by 7.7...)
    prior alone  error 0.2..., correlation 0.999, rank correlation 0.999
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

    def __init__(self, weight: np.ndarray, bias: float, info: PredictorInfo, **facts: Any) -> None:
        super().__init__(weight, bias, info)
        self.__dict__.update(facts)

    def save(self, path: str | Path, **more: Any) -> None:
        """Write a safetensors file that `load_predictor` takes; equal predictors give equal bytes."""
        told = {name: getattr(self, name) for name in ("rating_column", "rows", "prior", "folds", "seed")}
        told["alpha"] = self.alpha if math.isfinite(self.alpha) else "infinite"
        told["held_out"] = {name: _number(value) for name, value in asdict(self.held_out).items()}
        super().save(path, fitted=told, **more)

    def __repr__(self) -> str:
        info = self.info
        head = f"<{type(self).__name__} {info.name!r}: {info.width} floats of {info.encoder} -> raw score>"
        return "\n".join([head, *(f"{name:>11}  {value}" for name, value in self._table().items())])

    def _repr_html_(self) -> str:
        rows = {"name": self.info.name, "encoder": self.info.encoder, **self._table(), "token": self.token}
        cells = "".join(f"<tr><th>{escape(name)}</th><td>{escape(value)}</td></tr>" for name, value in rows.items())
        return f"<table>{cells}</table>"

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
