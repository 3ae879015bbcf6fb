"""Fold the published checkpoints into the files that ship: ``python tools/fold_predictors.py CHECKPOINTS``."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import numpy as np

from dask_aesthetic.errors import PredictorError
from dask_aesthetic.predictors import Predictor, load_predictor
from dask_aesthetic.predictors.catalog import KNOWN
from dask_aesthetic.predictors.checkpoint import read_tensors
from dask_aesthetic.predictors.golden import golden_vectors
from dask_aesthetic.predictors.layers import find_layers

FOLDED = Path(__file__).parents[1] / "dask_aesthetic/predictors/folded"


def fold_predictors(checkpoints: Path, folded: Path = FOLDED) -> list[Predictor]:
    """Fold the published checkpoints, each checked against its sha256, and save the affine predictors.

    ``golden.json`` beside them holds the scores of `golden_vectors`, computed layer by layer in float64.

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
            tensors, _ = read_tensors(checkpoints / known.file)
            layers = find_layers(tensors).stack(None, known.input_scale)
            units = golden_vectors(known.info.width).astype(np.float64)
            units /= np.linalg.norm(units, axis=1, keepdims=True)
            golden[known.info.name] = layers(units).round(9).tolist()
    (folded / "golden.json").write_text(json.dumps(golden, indent=1) + "\n")
    return predictors


if __name__ == "__main__":
    for predictor in fold_predictors(Path(sys.argv[1])):
        print(predictor)
