"""Fit of a predictor to ratings: sums over partitions in one pass, then the best alpha by cross-validation."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from functools import reduce
from operator import add
from typing import Any

import numpy as np
import pandas as pd
import torch

from dask_aesthetic import embeddings
from dask_aesthetic.embeddings import Run
from dask_aesthetic.errors import ArgumentError, ColumnError, PredictorError
from dask_aesthetic.hashing import hash_rows
from dask_aesthetic.learning._columns import as_numbers
from dask_aesthetic.learning.predictor import FittedPredictor, HeldOut
from dask_aesthetic.learning.ridge import ROUNDING, FoldSums, RegressionSums, RidgeProblem
from dask_aesthetic.predictors import AffinePredictor, PredictorInfo, load_predictor
from dask_aesthetic.predictors.catalog import check_own_name
from dask_aesthetic.status import STATUSES, Status
from dask_aesthetic.validation import check_integer, is_number

# An alpha is the variance of a rating's noise over that of a weight, so it depends neither on the number of rows nor
# on the scale of ratings: these span all that is plausible, four to a factor of ten.
ALPHAS = np.logspace(-4, 6, 41)
WIDTH = 768
BLOCK_ROWS = 4096  # 25 MB of float64, beside normal equations of 5 MB per fold.
SAMPLE_ROWS = 8192  # 25 MB of float32; the rank correlation of so many rows is known to about 0.01.


@dataclass(frozen=True)
class FitSpec:
    """Arguments of a fit, checked and complete.

    Attributes
    ----------
    embedding_column, rating_column, name : str
    prior : AffinePredictor or None
    alpha : float or None
        None to choose it by cross-validation.
    width, folds, seed : int
    embedding_dtype : str or None
        Of packed embeddings.
    """

    embedding_column: str
    rating_column: str
    name: str
    prior: AffinePredictor | None
    alpha: float | None
    width: int
    folds: int
    seed: int
    embedding_dtype: str | None = None

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
        embedding_dtype: str | None = None,
    ) -> FitSpec:
        """Check the arguments of ``.aesthetic.fit`` and load the prior."""
        if rating_column == embedding_column:
            raise ColumnError.clash("rating_column", rating_column, "the embedding column")
        check_own_name(name)
        check_integer("folds", folds, minimum=2)
        check_integer("seed", seed, minimum=0)
        check_integer("width", WIDTH if width is None else width, minimum=1)
        loaded = load_predictor(prior) if prior is not None else None
        if loaded is not None and not isinstance(loaded, AffinePredictor):
            raise PredictorError(
                f"expected a prior that is one affine map, got {loaded.info.name}, which is a network: use 'laion-v2'"
            )
        if loaded is not None and width not in (None, loaded.width):
            raise ArgumentError(f"expected width to be the prior's, {loaded.width}, got {width!r}: leave it out")
        found = loaded.width if loaded is not None else WIDTH if width is None else int(width)
        return cls(
            *(embedding_column, rating_column, name, loaded, _check_alpha(alpha), found, int(folds), int(seed)),
            embedding_dtype=embedding_dtype,
        )


@dataclass(frozen=True, eq=False)
class RankSample:
    """Random sample of rated rows for the rank correlation: the rows with the lowest hashes, on any partitioning.

    Attributes
    ----------
    hashes : numpy.ndarray, shape (n,), uint64
    ratings : numpy.ndarray, shape (n,), float64
    units : numpy.ndarray, shape (n, width), float32
    """

    hashes: np.ndarray
    ratings: np.ndarray
    units: np.ndarray

    @classmethod
    def empty(cls, width: int) -> RankSample:
        """Sample without rows."""
        return cls(np.empty(0, np.uint64), np.empty(0), np.empty((0, width), np.float32))

    @classmethod
    def merge(cls, parts: list[RankSample]) -> RankSample:
        """Sample of the rows of several samples."""
        hashes, ratings = (np.concatenate([getattr(part, name) for part in parts]) for name in ("hashes", "ratings"))
        at = np.lexsort((ratings, hashes))[:SAMPLE_ROWS]
        return cls(hashes[at], ratings[at], np.concatenate([part.units for part in parts])[at])


@dataclass(frozen=True, eq=False)
class FitSums:
    """Sums by fold and a sample of rows, which are all that a fit needs of the data.

    Attributes
    ----------
    folds : dict of int to FoldSums
        Folds without rows are absent.
    sample : RankSample
    left_out : dict of str to int
        Rows left out: ``unrated``, and rated rows by the status of their embedding.
    """

    folds: dict[int, FoldSums]
    sample: RankSample
    left_out: dict[str, int] = field(default_factory=dict)


def sum_rows(
    frame: Any,
    embedding_column: str,
    rating_column: str,
    width: int,
    folds: int,
    seed: int,
    embedding_dtype: str | None = None,
) -> FitSums:
    """Sums over the rated rows of a partition, fold by fold.

    The fold of a row follows from the content of its embedding alone, so a repeated image is never in the training
    rows and in the held-out rows of one fit.
    """
    ratings = as_numbers(
        frame[rating_column], "rating_column", ".astype('float64') makes numbers of text that spells them"
    )
    total = FitSums({}, RankSample.empty(width))
    start, column = 0, embeddings.unpack(frame[embedding_column], embedding_dtype)
    with embeddings.stream(column):
        for run in embeddings.runs(column, width):
            total = add_sums([total, *_sum_run(run, ratings[start : start + len(run.status)], folds, seed)])
            start += len(run.status)
    return total


def add_sums(parts: list[FitSums]) -> FitSums:
    """Sums of several partitions together."""
    folds: dict[int, FoldSums] = {}
    left_out: dict[str, int] = {}
    for part in parts:
        for number, fold in part.folds.items():
            folds[number] = folds[number] + fold if number in folds else fold
        for reason, rows in part.left_out.items():
            left_out[reason] = left_out.get(reason, 0) + rows
    return FitSums(folds, RankSample.merge([part.sample for part in parts]), left_out)


def fold_of(hashes: np.ndarray, folds: int) -> np.ndarray:
    """Fold of each row, by the hash of its content."""
    return (hashes % np.uint64(folds)).astype(np.intp)


def fit_predictor(sums: FitSums, spec: FitSpec) -> FittedPredictor:
    """Predictor fitted to the summed rows, by ridge regression towards the prior.

    Raises
    ------
    ColumnError, ArgumentError
        The rows are too few or too similar; the message says how.
    """
    total = _check_sums(sums, spec)
    direction = spec.prior.weight if spec.prior is not None and spec.prior.weight.any() else None
    alphas = ALPHAS if spec.alpha is None else np.array([spec.alpha])
    alphas = np.append(alphas, np.inf) if direction is not None else alphas
    choices = len(alphas) if spec.alpha is None else 1
    solutions, predicted = {}, {}
    for number in sorted(sums.folds):
        training = _add_folds([sums.folds[other] for other in sorted(sums.folds) if other != number])
        solutions[number] = _problem(training, direction, alphas[0], " outside one of the folds").solve(alphas)
        predicted[number] = RegressionSums.of(sums.folds[number], *solutions[number], total.y / total.rows)
    chosen = _choose_alpha(list(predicted.values()), choices)
    # The other folds choose the alpha of a fold: its own rows would flatter it.
    picks = {
        number: _choose_alpha([predicted[other] for other in predicted if other != number], choices)
        for number in predicted
    }
    prior = dict.fromkeys(predicted, len(alphas) - 1) if direction is not None else None
    weights, intercepts = _problem(total, direction, alphas[chosen], "").solve(alphas[chosen : chosen + 1])
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
        held_out=_held_out(predicted, solutions, picks, sums.sample, spec.folds),
        prior_held_out=_held_out(predicted, solutions, prior, sums.sample, spec.folds) if prior is not None else None,
    )


def _sum_run(run: Run, ratings: np.ndarray, folds: int, seed: int) -> list[FitSums]:
    rated = torch.tensor(np.isfinite(ratings), device=run.status.device)
    used = rated & (run.status == Status.OK)
    left_out = {"unrated": int((~rated).sum()), **_count_statuses(run.status[rated & ~used])}
    empty = RankSample.empty(run.vectors.shape[1])
    found = [FitSums({}, empty, {reason: rows for reason, rows in left_out.items() if rows})]
    at = torch.nonzero(used if run.present is None else used[run.present]).flatten()
    y = torch.tensor(ratings, device=used.device)[used]
    for start in range(0, len(at), BLOCK_ROWS):
        block = slice(start, start + BLOCK_ROWS)
        found.append(_sum_block(run.vectors[at[block]], y[block], folds, seed))
    return found


def _sum_block(vectors: torch.Tensor, ratings: torch.Tensor, folds: int, seed: int) -> FitSums:
    units, status = embeddings.unit_vectors(vectors)
    good = status == Status.OK
    units, y = units[good], ratings[good]
    hashes = hash_rows(vectors[good], seed)
    fold = torch.from_numpy(fold_of(hashes, folds)).to(units.device)
    sums = {int(number): FoldSums.of(units[fold == number], y[fold == number]) for number in fold.unique()}
    sample = RankSample(hashes, y.cpu().numpy(), units.to(torch.float32).cpu().numpy())
    return FitSums(sums, RankSample.merge([sample]), _count_statuses(status[~good]))


def _count_statuses(status: torch.Tensor) -> dict[str, int]:
    codes, rows = torch.unique(status, return_counts=True)
    return {STATUSES[code]: count for code, count in zip(codes.tolist(), rows.tolist(), strict=True)}


def _check_alpha(alpha: Any) -> float | None:
    if isinstance(alpha, str) and alpha == "auto":
        return None
    if not is_number(alpha) or not 0 <= alpha < math.inf:
        raise ArgumentError(f"expected alpha to be 'auto' or a number, 0 or more, got {alpha!r}")
    return float(alpha)


def _check_sums(sums: FitSums, spec: FitSpec) -> FoldSums:
    """Sums over all rows; an error if nothing can be fitted to them."""
    rating, embedding = spec.rating_column, spec.embedding_column
    left_out = ", ".join(f"{rows:,} {reason}" for reason, rows in sorted(sums.left_out.items())) or "none"
    if not sums.folds:
        raise ColumnError(
            f"expected rows with a rating in {rating!r} and {spec.width} usable floats in {embedding!r}, got none "
            f"(left out: {left_out}). Rate a few hundred images; width=... sets another width"
        )
    total = _add_folds([sums.folds[number] for number in sorted(sums.folds)])
    if total.rows < spec.folds:
        raise ArgumentError(
            f"expected at least a rated row for each of {spec.folds} folds, got {total.rows} of them (left out: "
            f"{left_out}): rate more images"
        )
    scatter = float(np.trace(total.xx)) - float(total.x @ total.x) / total.rows
    if scatter <= ROUNDING * total.rows or len(sums.folds) < 2:
        raise ColumnError(
            f"expected rated rows with different embeddings in {embedding!r}, got {total.rows:,} that are the same or "
            f"nearly so, all in one of {spec.folds} folds: rate different images"
        )
    if _spread(total) <= math.sqrt(ROUNDING * total.yy / total.rows):
        raise ColumnError(
            f"expected different ratings in {rating!r}, got {total.y / total.rows:g} in each of {total.rows:,} rows: "
            "rate what you like higher than what you do not"
        )
    return total


def _problem(sums: FoldSums, direction: np.ndarray | None, alpha: float, where: str) -> RidgeProblem:
    problem = RidgeProblem.of(sums, direction)
    if problem.is_singular(alpha):
        raise ArgumentError(
            f"expected alpha above 0, got {alpha:g}: the {sums.rows:,} rated rows{where} differ in "
            f"{problem.rank:,} directions, which do not settle {len(sums.x):,} weights. Say alpha='auto'"
        )
    return problem


def _add_folds(parts: list[FoldSums]) -> FoldSums:
    return reduce(add, parts)


def _spread(total: FoldSums) -> float:
    """Standard deviation of the ratings."""
    return math.sqrt(max(total.yy / total.rows - (total.y / total.rows) ** 2, 0.0))


def _choose_alpha(predicted: list[RegressionSums], choices: int) -> int:
    """Position of the alpha with the least squared error; on ties, up to rounding, the greatest."""
    total = reduce(add, predicted)
    squares = total.squares[:choices]
    least = float(squares.min()) + ROUNDING * max(total.yy, 0.0)
    return int(np.flatnonzero(squares <= least)[-1])


def _held_out(
    predicted: dict[int, RegressionSums],
    solutions: dict[int, tuple[np.ndarray, np.ndarray]],
    picks: dict[int, int],
    sample: RankSample,
    folds: int,
) -> HeldOut:
    """Error and correlations over all folds, each at the alpha that was picked for it."""
    total = reduce(add, (predicted[number].at(pick) for number, pick in picks.items()))
    fold, scores = fold_of(sample.hashes, folds), np.empty(len(sample.hashes))
    for number, pick in picks.items():
        weights, intercepts = solutions[number]
        mine = fold == number
        # One dot product a row gives equal rows equal predictions to the last bit; ranks need that.
        scores[mine] = np.vecdot(sample.units[mine].astype(np.float64), weights[:, pick]) + intercepts[pick]
    return HeldOut(float(total.rmse[0]), float(total.pearson[0]), _spearman(scores, sample.ratings))


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
