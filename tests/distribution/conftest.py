"""Real, synthetic and unusual scores."""

from __future__ import annotations

import numpy as np
import pytest

from dask_aesthetic.synthetic import synthetic_embeddings
from helpers import columns


@pytest.fixture(scope="module")
def real(verite) -> np.ndarray:
    """Scores of real images; several captions share an image, so there are ties."""
    return columns.frame(verite, "list").aesthetic.score()["aesthetic_score"].to_numpy()


@pytest.fixture(scope="module")
def synthetic() -> np.ndarray:
    return columns.frame(synthetic_embeddings(20_000), "list").aesthetic.score()["aesthetic_score"].to_numpy()


@pytest.fixture(scope="module")
def unusual() -> np.ndarray:
    """Scores far outside the bins, at edges, tiny, zeros of both signs, NaN and infinite."""
    rng = np.random.default_rng(5)
    special = [-1e30, 3.4e38, -15, 25, np.nextafter(np.float32(25), np.float32(0)), 1e-45, -1e-40, 0.0, -0.0, 5.0, 4.99]
    parts = [rng.normal(4.5, 1, 3000), rng.normal(5, 40, 500), special, [np.nan] * 30, [np.inf, -np.inf]]
    return rng.permutation(np.concatenate(parts).astype(np.float32))
