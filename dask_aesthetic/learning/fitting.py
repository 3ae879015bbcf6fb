"""From sums over rated rows to a predictor: which alpha, how well it does, and what cannot be fitted."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import reduce
from operator import add
from typing import Any

import numpy as np
import pandas as pd

from dask_aesthetic.errors import ArgumentError, ColumnError, PredictorError
from dask_aesthetic.learning.fitted import FittedPredictor, HeldOut
from dask_aesthetic.learning.solving import ROUNDING, Problem, Told
from dask_aesthetic.learning.sums import FoldSums, Sample, Sums, fold_of
from dask_aesthetic.predictors import AffinePredictor, PredictorInfo, load_predictor
from dask_aesthetic.predictors.catalog import KNOWN
from dask_aesthetic.validation import check_integer

# A alpha is the variance of a rating's noise over that of a weight, so it depends neither on how many rows there
# are nor on their scale: these span all that is plausible, four to a factor of ten.
ALPHAS = np.logspace(-4, 6, 41)
WIDTH = 768
TAKEN = {"unknown", *(name for known in KNOWN for name in (known.info.name, known.info.scale))}


@dataclass(frozen=True)
class FitSpec:
    """What is asked of a fit, checked and complete.

    Attributes
    ----------
    embedding_column, rating_column, name : str
    prior : AffinePredictor or None
    alpha : float or None
        None to choose it by cross-validation.
    width, folds, seed : int
    """

    embedding_column: str
    rating_column: str
    name: str
    prior: AffinePredictor | None
    alpha: float | None
    width: int
    folds: int
    seed: int

    @classmethod
    def of(
        cls,
        embedding_column: str,
        rating_column: str,
        name: str,
        prior: Any,
        alpha: Any,
        width: int | None,
        folds: int,
        seed: int,
    ) -> FitSpec:
        """Check the arguments of ``.aesthetic.fit`` and load the prior."""
        if rating_column == embedding_column:
            raise ColumnError.clash("rating_column", rating_column, "the embedding column")
        if not isinstance(name, str) or not name or name in TAKEN:
            raise ArgumentError(f"expected a name of your own for the predictor, got {name!r}: say name='...'")
        for role, value, least in (
            ("folds", folds, 2),
            ("seed", seed, 0),
            ("width", WIDTH if width is None else width, 1),
        ):
            check_integer(role, value, minimum=least)
        loaded = load_predictor(prior) if prior is not None else None
        if loaded is not None and not isinstance(loaded, AffinePredictor):
            raise PredictorError(
                f"expected a prior that is one affine map, got {loaded.info.name}, which is a network: use 'laion-v2'"
            )
        if loaded is not None and width not in (None, loaded.width):
            raise ArgumentError(f"expected width to be the prior's, {loaded.width}, got {width!r}: leave it out")
        found = loaded.width if loaded is not None else WIDTH if width is None else int(width)
        return cls(embedding_column, rating_column, name, loaded, _alpha(alpha), found, int(folds), int(seed))


def learn(sums: Sums, spec: FitSpec) -> FittedPredictor:
    """Fit a predictor.

    Raises
    ------
    ColumnError, ArgumentError
        The rows are too few or too alike; the message says how.
    """
    total = _checked(sums, spec)
    direction = spec.prior.weight if spec.prior is not None and spec.prior.weight.any() else None
    alphas = ALPHAS if spec.alpha is None else np.array([spec.alpha])
    alphas = np.append(alphas, np.inf) if direction is not None else alphas
    choices = len(alphas) if spec.alpha is None else 1
    solved, told = {}, {}
    for number in sorted(sums.folds):
        others = _added([sums.folds[other] for other in sorted(sums.folds) if other != number])
        solved[number] = _problem(others, direction, alphas[0], " outside one of the folds").solve(alphas)
        told[number] = Told.of(sums.folds[number], *solved[number], total.y / total.rows)
    chosen = _chosen(list(told.values()), choices)
    # The alpha for a fold is chosen by the others: its own rows do not flatter it.
    picks = {number: _chosen([told[other] for other in told if other != number], choices) for number in told}
    prior = dict.fromkeys(told, len(alphas) - 1) if direction is not None else None
    problem = _problem(total, direction, alphas[chosen], "")
    weights, intercepts = problem.solve(alphas[chosen : chosen + 1])
    return FittedPredictor(
        weights[:, 0],
        float(intercepts[0]),
        _info(total, spec),
        rating_column=spec.rating_column,
        rows=total.rows,
        left_out=sums.left_out,
        spread=_spread(total),
        prior=spec.prior.info.name if spec.prior is not None else "",
        alpha=float(alphas[chosen]),
        folds=spec.folds,
        seed=spec.seed,
        held_out=_held_out(told, solved, picks, sums.sample, spec.folds),
        prior_held_out=_held_out(told, solved, prior, sums.sample, spec.folds) if prior is not None else None,
    )


def _alpha(alpha: Any) -> float | None:
    if isinstance(alpha, str) and alpha == "auto":
        return None
    number = isinstance(alpha, int | float | np.number) and not isinstance(alpha, bool)
    if not number or not 0 <= alpha < math.inf:
        raise ArgumentError(f"expected alpha to be 'auto' or a number, 0 or more, got {alpha!r}")
    return float(alpha)


def _checked(sums: Sums, spec: FitSpec) -> FoldSums:
    """The sums over all rows; refused where nothing can be learned from them."""
    rating, embedding = spec.rating_column, spec.embedding_column
    left_out = ", ".join(f"{rows:,} {reason}" for reason, rows in sorted(sums.left_out.items())) or "none"
    if not sums.folds:
        raise ColumnError(
            f"expected rows with a rating in {rating!r} and {spec.width} usable floats in {embedding!r}, got none "
            f"(left out: {left_out}). Rate a few hundred pictures; width=... tells another width"
        )
    total = _added([sums.folds[number] for number in sorted(sums.folds)])
    if total.rows < spec.folds:
        raise ArgumentError(
            f"expected at least a rated row for each of {spec.folds} folds, got {total.rows} of them (left out: "
            f"{left_out}): rate more pictures"
        )
    scatter = float(np.trace(total.xx)) - float(total.x @ total.x) / total.rows
    if scatter <= ROUNDING * total.rows or len(sums.folds) < 2:
        raise ColumnError(
            f"expected rated rows with different embeddings in {embedding!r}, got {total.rows:,} that are the same or "
            f"nearly so, all in one of {spec.folds} folds: rate different pictures"
        )
    if _spread(total) <= math.sqrt(ROUNDING * total.yy / total.rows):
        raise ColumnError(
            f"expected different ratings in {rating!r}, got {total.y / total.rows:g} in each of {total.rows:,} rows: "
            "rate what you like higher than what you do not"
        )
    return total


def _problem(sums: FoldSums, direction: np.ndarray | None, alpha: float, where: str) -> Problem:
    problem = Problem.of(sums, direction)
    if problem.is_singular(alpha):
        raise ArgumentError(
            f"expected a alpha above 0, got {alpha:g}: the {sums.rows:,} rated rows{where} differ in "
            f"{problem.rank:,} directions, which do not settle {len(sums.x):,} weights. Say alpha='auto'"
        )
    return problem


def _added(parts: list[FoldSums]) -> FoldSums:
    return reduce(add, parts)


def _spread(total: FoldSums) -> float:
    """Standard deviation of the ratings."""
    return math.sqrt(max(total.yy / total.rows - (total.y / total.rows) ** 2, 0.0))


def _chosen(told: list[Told], choices: int) -> int:
    """The alpha of the least squared error; of several as good as that, the greatest."""
    together = reduce(add, told)
    squares = together.squares[:choices]
    enough = float(squares.min()) + ROUNDING * max(together.yy, 0.0)
    return int(np.flatnonzero(squares <= enough)[-1])


def _held_out(
    told: dict[int, Told],
    solved: dict[int, tuple[np.ndarray, np.ndarray]],
    picks: dict[int, int],
    sample: Sample,
    folds: int,
) -> HeldOut:
    together = reduce(add, (told[number].at(pick) for number, pick in picks.items()))
    fold, foretold = fold_of(sample.hashes, folds), np.empty(len(sample.hashes))
    for number, pick in picks.items():
        weights, intercepts = solved[number]
        mine = fold == number
        # Dot by dot, so that equal rows are foretold alike to the last bit, as ranks need them.
        foretold[mine] = np.vecdot(sample.units[mine].astype(np.float64), weights[:, pick]) + intercepts[pick]
    return HeldOut(float(together.rmse[0]), float(together.pearson[0]), _spearman(foretold, sample.ratings))


def _spearman(a: np.ndarray, b: np.ndarray) -> float:
    ranks = pd.DataFrame({"a": a, "b": b}).rank()
    if (ranks.nunique() < 2).any():
        return math.nan
    return float(ranks["a"].corr(ranks["b"]))


def _info(total: FoldSums, spec: FitSpec) -> PredictorInfo:
    towards = spec.prior.info.name if spec.prior is not None else "zero"
    return PredictorInfo(
        name=spec.name,
        width=spec.width,
        encoder=spec.prior.info.encoder if spec.prior is not None else "unknown",
        scale=spec.name,
        source=f"fitted to {total.rows:,} ratings in {spec.rating_column!r}, shrunk towards {towards}",
    )
