"""Scores that people labelled as keep or drop: counted score by score, so that counts of partitions add up."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from dask_aesthetic.distribution.counting import on_host
from dask_aesthetic.errors import ArgumentError, ColumnError
from dask_aesthetic.learning.values import as_numbers

MOST_SCORES = 1_000_000


@dataclass(frozen=True, eq=False)
class Labelled:
    """How many rows of each score are labelled keep, and how many drop.

    Attributes
    ----------
    scores : numpy.ndarray, shape (n,), float32
        Distinct and rising.
    keep, drop : numpy.ndarray, shape (n,), int64
    unlabelled, unscored : int
        Rows without a label, and labelled rows without a score; they count for nothing else.
    """

    scores: np.ndarray
    keep: np.ndarray
    drop: np.ndarray
    unlabelled: int = 0
    unscored: int = 0


def count_labels(frame: Any, score_column: str, label_column: str) -> Labelled:
    """Count the labelled rows of a partition.

    Raises
    ------
    ColumnError
        A label is neither keep (True, 1) nor drop (False, 0) nor null.
    ArgumentError
        There are more different scores than are looked at one by one.
    """
    labels = as_numbers(frame[label_column], "label_column", "column == 'keep' makes labels of words")
    scores = on_host(frame[score_column])
    labelled, scored = ~np.isnan(labels), np.isfinite(scores)
    wrong = labels[labelled & (labels != 0) & (labels != 1)]
    if len(wrong):
        raise ColumnError(
            f"expected True or 1 for keep, False or 0 for drop and null for rows without a label in "
            f"label_column={label_column!r}, got {wrong[0]:g}: for ratings use fit, or label by rating >= ..."
        )
    used = labelled & scored
    distinct, at = np.unique(scores[used] + np.float32(0), return_inverse=True)
    _check_few(distinct)
    keep = np.bincount(at, labels[used], len(distinct)).astype(np.int64)
    counts = np.bincount(at, minlength=len(distinct))
    return Labelled(distinct, keep, counts - keep, int((~labelled).sum()), int((labelled & ~scored).sum()))


def add_labels(parts: list[Labelled]) -> Labelled:
    """The counts of several partitions together.

    Raises
    ------
    ArgumentError
        There are more different scores than are looked at one by one.
    """
    scores, at = np.unique(np.concatenate([part.scores for part in parts]), return_inverse=True)
    _check_few(scores)
    keep, drop = (
        np.bincount(at, np.concatenate([getattr(part, name) for part in parts]), len(scores)).astype(np.int64)
        for name in ("keep", "drop")
    )
    unlabelled, unscored = (sum(getattr(part, name) for part in parts) for name in ("unlabelled", "unscored"))
    return Labelled(scores, keep, drop, unlabelled, unscored)


def _check_few(scores: np.ndarray) -> None:
    if len(scores) > MOST_SCORES:
        raise ArgumentError(
            f"expected labels on at most {MOST_SCORES:,} different scores, got more: a few hundred labels tell nearly "
            "as much. Set the label of all but a sample of the rows to null"
        )


def counts_from(counts: np.ndarray) -> np.ndarray:
    """At every score, how many rows score it or more."""
    return np.cumsum(counts[..., ::-1], axis=-1)[..., ::-1]


def f1_of(keep: np.ndarray, kept: np.ndarray, wanted: Any) -> np.ndarray:
    """The harmonic mean of precision and recall, of so many kept rows with `keep` of the `wanted` ones among them."""
    return 2 * keep / (kept + wanted)


def best_at(f1: np.ndarray) -> int:
    """Position of the best F1; of several, that of the highest score, which keeps the fewest rows."""
    return len(f1) - 1 - int(np.argmax(f1[::-1]))


def resampled(labelled: Labelled, resamples: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """The best threshold and its F1 in each of so many bootstrap samples of the labelled rows.

    Returns
    -------
    thresholds, f1 : numpy.ndarray, shape (n,), float64
        Samples without a row to keep have none, and are left out.
    """
    rng = np.random.default_rng(seed)
    cells = np.concatenate([labelled.keep, labelled.drop])
    ends, rows = np.cumsum(cells), int(cells.sum())
    found = []
    for _ in range(resamples):
        drawn = np.searchsorted(ends, rng.integers(rows, size=rows), side="right")
        keep, drop = np.bincount(drawn, minlength=len(cells)).reshape(2, -1)
        if keep.any():
            seen = keep + drop > 0  # A score that was not drawn is no threshold of this sample.
            f1 = f1_of(counts_from(keep)[seen], counts_from(keep + drop)[seen], keep.sum())
            at = best_at(f1)
            found.append((float(labelled.scores[seen][at]), float(f1[at])))
    thresholds, scores = np.array(found).reshape(-1, 2).T
    return thresholds, scores
