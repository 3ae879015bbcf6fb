"""Rebuild the folded figures that ship with the package: ``python -m dask_aesthetic.predictors.rebuild CHECKPOINTS``."""

from __future__ import annotations

import sys
from pathlib import Path

from dask_aesthetic.errors import PredictorError
from dask_aesthetic.predictors import load_predictor
from dask_aesthetic.predictors.base import Predictor
from dask_aesthetic.predictors.catalogue import KNOWN


def rebuild(checkpoints: Path, folded: Path) -> list[Predictor]:
    """Fold the published checkpoints, each checked against its sha256, and save what comes out.

    Parameters
    ----------
    checkpoints : Path
        Folder with the published files of the catalogue.
    folded : Path
        Folder to write ``<name>.safetensors`` to.

    Returns
    -------
    list of Predictor
    """
    predictors = []
    for known in KNOWN:
        if known.folded:
            predictor = load_predictor(checkpoints / known.file, sha256=known.info.sha256)
            if predictor.info != known.info:
                raise PredictorError(f"expected the weights of {known.info.name} in {known.file}, got others")
            predictor.save(folded / f"{known.info.name}.safetensors")
            predictors.append(predictor)
    return predictors


if __name__ == "__main__":
    for predictor in rebuild(Path(sys.argv[1]), Path(__file__).parent / "folded"):
        print(predictor)
