"""Frames by name, real embeddings, and a guard against computing early."""

from __future__ import annotations

from contextlib import contextmanager
from pathlib import Path

import columns
import dask
import numpy as np
import pandas as pd
import pytest
from distributed import Client, LocalCluster

SHARED = Path(__file__).resolve().parents[2] / "shared"


@pytest.fixture(scope="session")
def shared() -> Path:
    """Real checkpoints and embeddings that stand beside the checkout."""
    if not SHARED.is_dir():
        pytest.skip("needs ../shared, the real checkpoints and embeddings, which is not part of the project")
    return SHARED


@pytest.fixture(scope="session")
def verite(shared) -> np.ndarray:
    """509 real OpenAI CLIP ViT-L/14 image embeddings."""
    return np.load(shared / "data/verite_l14/image_embeddings.npy")


@pytest.fixture(scope="session")
def reference(shared) -> pd.DataFrame:
    """Their scores under five heads, layer by layer in float64."""
    return pd.read_csv(shared / "data/verite_l14/reference_scores.csv")


@pytest.fixture(scope="session")
def vectors() -> np.ndarray:
    """300 random vectors of norm 1."""
    z = np.random.default_rng(7).standard_normal((300, 768))
    return (z / np.linalg.norm(z, axis=1, keepdims=True)).astype(np.float32)


@pytest.fixture(params=columns.KINDS)
def kind(request) -> str:
    """Each way in which a column can hold embeddings."""
    return request.param


@pytest.fixture(scope="session")
def cluster():
    """A client of two worker processes, given to ``compute(scheduler=...)`` and never the default."""
    with (
        LocalCluster(n_workers=2, threads_per_worker=1, dashboard_address=":0") as cluster,
        Client(cluster, set_as_default=False) as client,
    ):
        yield client


@contextmanager
def no_compute():
    """Fail if Dask computes anything inside."""

    def refuse(*args, **kwargs):
        raise AssertionError("Dask computed before it was asked to")

    with dask.config.set(scheduler=refuse):
        yield
