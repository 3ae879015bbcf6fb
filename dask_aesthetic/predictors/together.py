"""Scores of the same vectors by several predictors: affine ones in one pass, networks one after another."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import torch

from dask_aesthetic.kernels import Heads, Vectors, scores_and_norms
from dask_aesthetic.predictors.affine import AffinePredictor
from dask_aesthetic.predictors.base import Predictor


@dataclass(frozen=True, eq=False)
class Pass:
    """Predictors that score rows in one pass over them: affine ones of one working precision, or any other one alone.

    Attributes
    ----------
    at : list of int
        Positions of the predictors among all.
    predictors : tuple of Predictor
    heads, heads_float64 : Heads or None
        Weights and biases of affine predictors, in their working precision and in float64.
    """

    at: list[int]
    predictors: tuple[Predictor, ...]
    heads: Heads | None = None
    heads_float64: Heads | None = None

    def score(self, vectors: Vectors, batch_size: int | None) -> tuple[torch.Tensor, torch.Tensor]:
        """Scores, shape (k, n), and norms, shape (n,), both float32, as of `Predictor.score`."""
        if self.heads is None:
            scores, norms = self.predictors[0].score(vectors, batch_size)
            return scores[None], norms
        scores, norms = scores_and_norms(vectors, self.heads)
        return self.finish(scores), norms.to(torch.float32)

    def score_float64(self, vectors: torch.Tensor) -> torch.Tensor:
        """Scores, shape (k, n), as of `Predictor.score_float64`."""
        if self.heads_float64 is None:
            return self.predictors[0].score_float64(vectors)[None]
        return self.finish(scores_and_norms(vectors, self.heads_float64)[0])

    def finish(self, scores: torch.Tensor) -> torch.Tensor:
        """Scores of affine predictors, from what their heads give; changed in place."""
        for row, predictor in zip(scores, self.predictors, strict=True):
            finished = predictor.finish(row) if isinstance(predictor, AffinePredictor) else row
            if finished is not row:
                row.copy_(finished)
        return scores


@lru_cache(maxsize=64)
def passes(predictors: tuple[Predictor, ...]) -> tuple[Pass, ...]:
    """Passes in which predictors of one width score rows, with the bits of each one's own scores."""
    groups: dict[object, list[int]] = {}
    for at, predictor in enumerate(predictors):
        key = predictor.heads.working if isinstance(predictor, AffinePredictor) else at
        groups.setdefault(key, []).append(at)
    return tuple(_pass(at, tuple(predictors[one] for one in at)) for at in groups.values())


def _pass(at: list[int], predictors: tuple[Predictor, ...]) -> Pass:
    affine = [predictor for predictor in predictors if isinstance(predictor, AffinePredictor)]
    if not affine:
        return Pass(at, predictors)
    return Pass(at, predictors, _joined([one.heads for one in affine]), _joined([one.heads_float64 for one in affine]))


def _joined(heads: Sequence[Heads]) -> Heads:
    if len(heads) == 1:
        return heads[0]
    return Heads(
        np.concatenate([one.weights for one in heads]), np.concatenate([one.biases for one in heads]), heads[0].width
    )


def in_order(found: Sequence[tuple[Pass, torch.Tensor]]) -> torch.Tensor:
    """Scores, shape (k, n), in the predictors' order, from those of each pass."""
    if len(found) == 1:
        return found[0][1]
    scores = torch.empty_like(found[0][1][:1]).expand(sum(len(one.at) for one, _ in found), -1).clone()
    for one, part in found:
        scores[one.at] = part
    return scores
