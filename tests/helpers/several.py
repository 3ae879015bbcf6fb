"""Predictors of one width that score together: affine ones of both working precisions, and a network."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch

from dask_aesthetic import PredictorInfo, load_predictor
from dask_aesthetic.predictors import AffinePredictor

AFFINE = {"aesthetic_score": "laion-v2", "simulacra": "simulacra-l14", "ava_score": "laion-v2-ava"}
ODD = {3: None, 40: np.zeros(768), 41: np.full(768, np.nan), 77: np.full(512, 0.1), 90: np.full(768, 1e-20)}


def network(folder: Path) -> Path:
    """Checkpoint of a small head with ReLU."""
    generator = torch.Generator().manual_seed(8)
    tensors = {}
    for at, (rows, width) in {0: (16, 768), 2: (1, 16)}.items():
        tensors[f"{at}.weight"] = torch.randn(rows, width, generator=generator)
        tensors[f"{at}.bias"] = torch.randn(rows, generator=generator)
    torch.save(tensors, folder / "relu.pth")
    return folder / "relu.pth"


def with_network(folder: Path) -> dict:
    """The same predictors, with a network among them."""
    names = list(AFFINE.items())
    return dict([names[0], ("relu", load_predictor(network(folder), activation="relu")), *names[1:]])


def unsafe(width: int = 768, **more) -> AffinePredictor:
    """A predictor whose lower scores are better, as of a probability to be unsafe."""
    defaults = {"score_column": "unsafe_probability", "higher_is_better": False, "is_probability": True}
    info = PredictorInfo(name="unsafe", width=width, **{**defaults, "threshold": 0.5, **more})
    weight = np.random.default_rng(2).standard_normal(width)
    return AffinePredictor(weight / (8 * np.linalg.norm(weight)), 0.5, info)


def rows(vectors: np.ndarray) -> list:
    """The vectors, some of them unusable or scored in float64."""
    return [ODD.get(at, vector) for at, vector in enumerate(vectors)]
