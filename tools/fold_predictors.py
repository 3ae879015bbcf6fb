"""Fold the published checkpoints into the files that ship: ``python tools/fold_predictors.py CHECKPOINTS``."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import torch

from dask_aesthetic.errors import PredictorError
from dask_aesthetic.kernels import lanes
from dask_aesthetic.predictors import AffinePredictor, load_predictor
from dask_aesthetic.predictors.catalog import KNOWN
from dask_aesthetic.predictors.golden import golden_vectors

FOLDED = Path(__file__).parents[1] / "dask_aesthetic/predictors/folded"


def fold_predictors(checkpoints: Path, folded: Path = FOLDED) -> list[AffinePredictor]:
    """Fold the published checkpoints, each checked against its sha256, and save the affine predictors.

    ``golden.json`` beside them holds the scores of `golden_vectors`, computed lane by lane in numpy.

    Parameters
    ----------
    checkpoints : Path
        Folder with the published files of the catalog.
    folded : Path
        Folder to write ``<name>.safetensors`` to.

    Returns
    -------
    list of AffinePredictor
    """
    predictors: list[AffinePredictor] = []
    golden: dict[str, list[float]] = {}
    for known in KNOWN:
        if known.folded:
            predictor = load_predictor(checkpoints / known.file, sha256=known.info.sha256)
            if not isinstance(predictor, AffinePredictor) or predictor.info != known.info:
                raise PredictorError(f"expected the weights of {known.info.name} in {known.file}, got others")
            predictor.save(folded / f"{known.info.name}.safetensors")
            predictors.append(predictor)
            vectors = torch.from_numpy(golden_vectors(known.info.width))
            golden[known.info.name] = lanes.scores_and_norms(vectors, predictor.heads)[0][0].tolist()
    (folded / "golden.json").write_text(json.dumps(golden, indent=1) + "\n")
    return predictors


if __name__ == "__main__":
    for predictor in fold_predictors(Path(sys.argv[1])):
        print(predictor)
