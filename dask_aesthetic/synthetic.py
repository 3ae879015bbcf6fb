"""Synthetic embeddings with the score distribution of LAION, for demonstrations and benchmarks."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from dask_aesthetic.distribution import LAION_SHARES
from dask_aesthetic.predictors import AffinePredictor, load_predictor

# Share of images at or above each score, highest score first: LAION's, with estimated ends.
SHARES = dict(sorted({2.0: 1.0, 3.0: 0.985, 4.0: 0.78, **LAION_SHARES, 7.0: 0.0}.items(), reverse=True))
NOTE = "synthetic: random vectors placed to spread over laion-v2 scores as LAION's images do; no images behind them"


def synthetic_embeddings(rows: int, seed: int = 0) -> np.ndarray:
    """Random unit vectors, shape (rows, 768), float32, with the `laion-v2` score distribution of LAION.

    A unit vector at the angle a to the predictor's weight w scores ``b + |w| cos a``, so a random direction is
    turned until its score is one drawn from LAION's published counts.

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
    scores = np.interp(rng.random(rows), list(SHARES.values()), list(SHARES))
    length = np.linalg.norm(predictor.weight)
    axis = (predictor.weight / length).astype(np.float32)
    cosine = ((scores - predictor.bias) / length).astype(np.float32)[:, None]
    sideways = rng.standard_normal((rows, predictor.width), dtype=np.float32)
    sideways -= (sideways @ axis)[:, None] * axis
    sideways /= np.linalg.norm(sideways, axis=1, keepdims=True)
    return cosine * axis + np.sqrt(1 - cosine**2) * sideways


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
