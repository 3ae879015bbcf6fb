"""Synthetic embeddings with the score distribution of LAION, for demonstrations and benchmarks."""

from __future__ import annotations

import os
from pathlib import Path
from statistics import NormalDist

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from dask_aesthetic.check.signature import load_signature
from dask_aesthetic.distribution import LAION_SHARES
from dask_aesthetic.predictors import AffinePredictor, load_predictor

# Share of images at or above each score: LAION's, with estimated ends.
SHARES = dict(sorted({1.5: 0.9999, 2.0: 0.9985, 3.0: 0.96, 4.0: 0.72, **LAION_SHARES, 7.0: 1e-5}.items()))
# Cosine of image embeddings with their mean: CLIP keeps them in a cone.
CONE = 0.66
NOTE = (
    "synthetic: random vectors around the mean image embedding of ViT-L/14, placed to spread over laion-v2 scores as "
    "LAION's images do; no images behind them"
)


def synthetic_embeddings(rows: int, seed: int = 0) -> np.ndarray:
    """Random unit vectors, shape (rows, 768), float32, with the `laion-v2` score distribution of LAION.

    A unit vector at the angle a to the predictor's weight w scores ``b + |w| cos a``, so a random direction around the
    mean image embedding of ViT-L/14 is turned until its score is one drawn from LAION's published counts.

    Examples
    --------
    >>> import torch
    >>> scores, _ = load_predictor().score(torch.from_numpy(synthetic_embeddings(5000)))
    >>> round(scores.median().item(), 1)
    4.5
    """
    predictor = load_predictor()
    assert isinstance(predictor, AffinePredictor)  # noqa: S101
    rng = np.random.default_rng(seed)
    scores = _scores_of_shares(rng.random(rows))
    length = np.linalg.norm(predictor.weight)
    axis = (predictor.weight / length).astype(np.float32)
    cosine = ((scores - predictor.bias) / length).astype(np.float32)[:, None]
    # Of length 1 on average, around a mean that CONE of the unit vector lies along.
    sideways = rng.standard_normal((rows, predictor.width), dtype=np.float32)
    sideways *= np.float32(np.sqrt((1 - CONE**2) / predictor.width))
    sideways += np.float32(CONE) * load_signature().directions[0]
    sideways -= (sideways @ axis)[:, None] * axis
    sideways /= np.linalg.norm(sideways, axis=1, keepdims=True)
    return cosine * axis + np.sqrt(1 - cosine**2) * sideways


def _scores_of_shares(shares: np.ndarray) -> np.ndarray:
    """Scores with given shares of images at or above them, smooth between the published ones.

    Probits of the shares are nearly linear in the score, as those of a normal distribution are, so a cubic Hermite
    spline through them is monotone.
    """
    normal = NormalDist()
    known = np.array(list(SHARES))
    probits = np.array([normal.inv_cdf(share) for share in SHARES.values()])
    slopes = np.gradient(probits, known)
    grid = np.linspace(known[0], known[-1], 1001)
    at = np.clip(np.searchsorted(known, grid, side="right") - 1, 0, len(known) - 2)
    width = known[at + 1] - known[at]
    t = (grid - known[at]) / width
    left, right, rise = slopes[at] * width, slopes[at + 1] * width, probits[at + 1] - probits[at]
    spline = probits[at] + t * (left + t * (3 * rise - 2 * left - right + t * (left + right - 2 * rise)))
    # Falling, and np.interp wants rising ones.
    return np.interp(shares, [normal.cdf(probit) for probit in spline[::-1]], grid[::-1])


def write_demo(folder: str | os.PathLike[str], rows: int = 10_000, shards: int = 4) -> Path:
    """Write a synthetic data set with a few unusable rows: ``key``, ``url`` and ``image_embedding`` in Parquet files.

    Parameters
    ----------
    folder : str or path
        Created if missing.
    rows, shards : int
        Number of rows in all, and of files.

    Returns
    -------
    Path
        `folder`.
    """
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    vectors = np.array_split(synthetic_embeddings(rows), shards)
    start = 0
    for number, part in enumerate(vectors):
        keys = [f"synthetic-{at:09d}" for at in range(start, start + len(part))]
        start += len(part)
        lists: list[np.ndarray | None] = list(part)
        if len(lists) >= 4:
            lists[-4:] = [None, part[-3][:512], np.zeros_like(part[-2]), np.full_like(part[-1], np.nan)]
        columns = {
            "key": keys,
            "url": [f"https://example.com/{key}.jpg" for key in keys],
            "image_embedding": pa.array(lists, pa.list_(pa.float32())),
        }
        table = pa.table(columns, metadata={"note": NOTE})
        # Floats hardly repeat, so dictionaries and compression only cost time.
        pq.write_table(table, folder / f"part-{number:04d}.parquet", use_dictionary=["url"], compression="NONE")
    return folder
