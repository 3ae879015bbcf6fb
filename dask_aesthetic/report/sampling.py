"""Random sample of rows for a report, the same for every partitioning."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd

from dask_aesthetic.distribution._bins import EDGES, bin_of, on_host
from dask_aesthetic.hashing import splitmix64
from dask_aesthetic.report.spec import ReportSpec

GAMMA = np.uint64(0x9E3779B97F4A7C15)  # The increment of splitmix64.
BUCKET = 50  # Bins of 0.01 raw: half a point of score.
BELOW, ABOVE = -3, -2  # Places on both sides of the threshold; buckets have numbers from -1.
SORT_KEYS = ["place", "distance", "random", "partition", "row"]


def choose(frame: Any, spec: ReportSpec, partition: int = 0) -> pd.DataFrame:
    """Choose rows of a partition for the sample: `spec.samples` of every bucket and on each side of the threshold.

    Parameters
    ----------
    frame : pandas.DataFrame or cudf.DataFrame
        Holds the score column, and the key column if there is one.
    spec : ReportSpec
    partition : int
        Number of the partition.

    Returns
    -------
    pandas.DataFrame
        ``place``: bucket, BELOW or ABOVE; ``distance`` from the threshold, 0 in buckets; ``random``: `draw` of the
        row; ``partition``, ``row`` and ``rows``: number of the partition, position there, and the partition's number
        of rows; ``score``, ``key``.
    """
    scores = on_host(frame[spec.columns["score_column"]])
    at = np.flatnonzero(np.isfinite(scores))
    values, keys = scores[at] + np.float32(0), _keys(frame, spec, at)
    random = draw(keys, values, spec.seed)
    distance = values.astype(np.float64) - spec.threshold.cut
    bucket = (bin_of(values, spec.threshold.scale) - 1) // BUCKET
    found = [(place, _smallest(np.flatnonzero(bucket == place), random, spec.samples)) for place in np.unique(bucket)]
    above = distance >= 0 if spec.threshold.higher_is_better else distance > 0
    for place, side in ((BELOW, ~above), (ABOVE, above)):
        found.append((place, _smallest(np.flatnonzero(side), np.abs(distance), spec.samples)))
    places = np.concatenate([np.full(len(rows), place, np.int64) for place, rows in found])
    rows = np.concatenate([rows for _, rows in found])
    chosen = {
        "place": places,
        "distance": np.where(places < -1, np.abs(distance[rows]), 0.0),
        "random": random[rows],
        "partition": np.full(len(rows), partition),
        "row": at[rows],
        "rows": np.full(len(rows), len(scores)),
        "score": values[rows],
        "key": pd.Series(keys[rows], dtype=object),  # pandas 3 would make strings of them, of UTF-8 alone.
    }
    return top_rows([pd.DataFrame(chosen)], spec.samples)


def top_rows(parts: list[pd.DataFrame], limit: int) -> pd.DataFrame:
    """First `limit` rows of every place, from the chosen rows of one or more partitions."""
    joined = pd.concat([part for part in parts if len(part)] or parts[:1], ignore_index=True)
    return joined.sort_values(SORT_KEYS, kind="stable").groupby("place").head(limit).reset_index(drop=True)


def draw(keys: np.ndarray, scores: np.ndarray, seed: int) -> np.ndarray:
    """Pseudo-random uint64 per row, a hash of key, score and seed.

    Parameters
    ----------
    keys : numpy.ndarray of object
        Texts, or None.
    scores : numpy.ndarray of float32
    seed : int

    Examples
    --------
    >>> keys, scores = np.array(["a", "b"], dtype=object), np.float32([5, 5])
    >>> (draw(keys, scores, 0) == draw(keys[::-1], scores, 0)[::-1]).all(), (draw(keys, scores, 1) == 0).any()
    (np.True_, np.False_)
    """
    texts = np.array([_text(key) for key in keys.tolist()], dtype=object)
    try:
        hashed = pd.util.hash_array(texts, categorize=False)
    except UnicodeEncodeError:  # Lone surrogates are not UTF-8.
        encoded = [text.encode("utf-8", "surrogatepass") for text in texts.tolist()]
        hashed = pd.util.hash_array(np.array(encoded, dtype=object), categorize=False)
    start = np.array([seed % 2**64], dtype=np.uint64)
    start = splitmix64(start + GAMMA)
    by_score = splitmix64(scores.view(np.uint32).astype(np.uint64) + start + GAMMA)
    return splitmix64(hashed + by_score + GAMMA)


def bucket_ends(bucket: int, scale: str) -> tuple[float, float]:
    """Scores at which a bucket begins and ends; infinite for the first and the last bucket.

    Examples
    --------
    >>> bucket_ends(40, "raw"), bucket_ends(-1, "raw")
    ((5.0, 5.5), (-inf, -15.0))
    """
    first, edges = bucket * BUCKET + 1, EDGES[scale]
    return float(edges[max(first, 0)]), float(edges[min(first + BUCKET, len(edges) - 1)])


def _smallest(rows: np.ndarray, by: np.ndarray, limit: int) -> np.ndarray:
    """Rows up to the `limit`-th smallest value with its ties, so that only these are sorted."""
    if len(rows) <= limit or not limit:
        return rows if limit else rows[:0]
    values = by[rows]
    return rows[values <= np.partition(values, limit - 1)[limit - 1]]


def _keys(frame: Any, spec: ReportSpec, at: np.ndarray) -> np.ndarray:
    if "key_column" not in spec.columns:
        return np.full(len(at), None, dtype=object)
    column = frame[spec.columns["key_column"]]
    column = column.to_pandas() if hasattr(column, "to_pandas") else column
    keys = column.to_numpy(dtype=object, copy=True)
    keys[column.isna().to_numpy(dtype=bool)] = None
    return keys[at]


def _text(key: Any) -> str:
    return key if isinstance(key, str) else "" if key is None else str(key)
