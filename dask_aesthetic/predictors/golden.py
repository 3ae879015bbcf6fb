"""Golden vectors and their scores, both the same on every machine."""

from __future__ import annotations

import json
from importlib.resources import files

import numpy as np

SIMILARITY = "similarity"  # In place of a predictor's name: of the golden vectors and the same backwards.


def golden_vectors(width: int) -> np.ndarray:
    """Eight vectors of small whole numbers, shape (8, width), float32, of norms around 70 * sqrt(width)."""
    i, k = np.arange(1, 9)[:, None], np.arange(width)[None, :]
    return ((i * 131 * k + k * k * 17 + i * k * k * 29) % 257 - 128).astype(np.float32)


def golden_scores(name: str) -> list[float]:
    """Raw scores of `golden_vectors` under a predictor of the catalog, float32, the same bits on every machine.

    `SIMILARITY` in place of a name gives their similarities.
    """
    text = (files(__package__) / "folded" / "golden.json").read_text()
    scores: list[float] = json.loads(text)[name]
    return scores
