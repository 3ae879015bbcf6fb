"""Fold the published checkpoints into the files that ship: ``python tools/fold_predictors.py CHECKPOINTS``."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import numpy as np
import torch

from dask_aesthetic.defaults import SIMILARITY_WIDTH
from dask_aesthetic.errors import PredictorError
from dask_aesthetic.kernels import Heads, lanes
from dask_aesthetic.predictors import AffinePredictor, NetworkPredictor, Predictor, load_predictor
from dask_aesthetic.predictors.catalog import KNOWN
from dask_aesthetic.predictors.golden import SIMILARITY, golden_vectors

FOLDED = Path(__file__).parents[1] / "dask_aesthetic/predictors/folded"


def fold_predictors(checkpoints: Path, folded: Path = FOLDED) -> list[Predictor]:
    """Fold the published checkpoints, each checked against its sha256, and save the predictors.

    ``golden.json`` beside them holds the scores of `golden_vectors`: of affine predictors computed lane by lane in
    numpy, of networks layer by layer in float64. "similarity" has the cosines of these vectors and the same backwards.

    Parameters
    ----------
    checkpoints : Path
        Folder with the published files of the catalog.
    folded : Path
        Folder to write ``<name>.safetensors`` to.

    Returns
    -------
    list of Predictor
    """
    predictors: list[Predictor] = []
    golden: dict[str, list[float]] = {}
    for known in KNOWN:
        if known.folded:
            predictor = load_predictor(checkpoints / known.file, sha256=known.info.sha256)
            if predictor.info != known.info:
                raise PredictorError(f"expected the weights of {known.info.name} in {known.file}, got others")
            predictor.save(folded / f"{known.info.name}.safetensors")
            predictors.append(predictor)
            golden[known.info.name] = _scores(predictor, golden_vectors(known.info.width))
    golden[SIMILARITY] = _similarities(golden_vectors(SIMILARITY_WIDTH))
    (folded / "golden.json").write_text(json.dumps(golden, indent=1) + "\n")
    return predictors


def _scores(predictor: Predictor, vectors: np.ndarray) -> list[float]:
    if isinstance(predictor, AffinePredictor):
        scores: list[float] = lanes.scores_and_norms(torch.from_numpy(vectors), predictor.heads)[0][0].tolist()
        return scores
    assert isinstance(predictor, NetworkPredictor)  # noqa: S101
    units = vectors / np.linalg.norm(vectors.astype(np.float64), axis=1, keepdims=True)
    return [float(f"{score:.9g}") for score in predictor.stack(units)]


def _similarities(vectors: np.ndarray) -> list[float]:
    """Cosine of each vector with the one at its place from the end, lane by lane in numpy."""
    found = []
    for one, other in zip(vectors, vectors[::-1], strict=True):
        heads = Heads.of(other[None], np.zeros(1), np.float32)
        scores, _ = lanes.scores_and_norms(torch.from_numpy(one[None]), heads)
        _, norms = lanes.scores_and_norms(torch.from_numpy(other[None]), heads)
        found.append(float(np.float32(scores[0, 0]) / np.float32(norms[0])))
    return found


if __name__ == "__main__":
    for predictor in fold_predictors(Path(sys.argv[1])):
        print(predictor)
