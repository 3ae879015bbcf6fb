"""Sums over the rated rows of a partition, which add up over partitions to all that a fit needs: one pass is enough."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch

from dask_aesthetic import embeddings
from dask_aesthetic.embeddings import Run
from dask_aesthetic.hashing import hash_rows
from dask_aesthetic.learning.values import as_numbers
from dask_aesthetic.status import STATUSES, Status

BLOCK_ROWS = 4096  # 25 MB of float64, beside normal equations of 5 MB per fold.
SAMPLE_ROWS = 8192  # 25 MB of float32; a rank correlation of so many rows is known to about 0.01.


@dataclass(frozen=True, eq=False)
class FoldSums:
    """Sums over the rows of a fold: x is the unit vector, y the rating.

    Attributes
    ----------
    rows : int
    x : numpy.ndarray, shape (width,), float64
    y : float
    xx : numpy.ndarray, shape (width, width), float64
    xy : numpy.ndarray, shape (width,), float64
    yy : float
    """

    rows: int
    x: np.ndarray
    y: float
    xx: np.ndarray
    xy: np.ndarray
    yy: float

    @classmethod
    def of(cls, x: torch.Tensor, y: torch.Tensor) -> FoldSums:
        """Sum unit vectors of float64, on whatever device they are, and their ratings."""
        xx, xy = ((x.T @ other).cpu().numpy() for other in (x, y))
        return cls(len(x), x.sum(dim=0).cpu().numpy(), float(y.sum()), xx, xy, float(y @ y))

    def __add__(self, other: FoldSums) -> FoldSums:
        return FoldSums(*(getattr(self, name) + getattr(other, name) for name in self.__dataclass_fields__))


@dataclass(frozen=True, eq=False)
class Sample:
    """The rows whose content has the lowest hashes: a random sample that no partitioning changes.

    Attributes
    ----------
    hashes : numpy.ndarray, shape (n,), uint64
    ratings : numpy.ndarray, shape (n,), float64
    units : numpy.ndarray, shape (n, width), float32
    """

    hashes: np.ndarray
    ratings: np.ndarray
    units: np.ndarray

    @classmethod
    def joined(cls, parts: list[Sample]) -> Sample:
        """The lowest of several samples."""
        hashes, ratings = (np.concatenate([getattr(part, name) for part in parts]) for name in ("hashes", "ratings"))
        at = np.lexsort((ratings, hashes))[:SAMPLE_ROWS]
        return cls(hashes[at], ratings[at], np.concatenate([part.units for part in parts])[at])


@dataclass(frozen=True, eq=False)
class Sums:
    """What a fit needs of the rows.

    Attributes
    ----------
    folds : dict of int to FoldSums
        Those that hold rows.
    sample : Sample
    left_out : dict of str to int
        Rows that count for nothing: ``unrated``, and rated ones by the status of their embedding.
    """

    folds: dict[int, FoldSums]
    sample: Sample
    left_out: dict[str, int] = field(default_factory=dict)


def sum_rows(frame: Any, embedding_column: str, rating_column: str, width: int, folds: int, seed: int) -> Sums:
    """Sum the rated rows of a partition, fold by fold.

    A row's fold follows from the content of its embedding alone, so a picture that comes twice is never learned from
    and held out at once.
    """
    ratings = as_numbers(
        frame[rating_column], "rating_column", ".astype('float64') makes numbers of text that spells them"
    )
    total = Sums({}, Sample(np.empty(0, np.uint64), np.empty(0), np.empty((0, width), np.float32)))
    start, column = 0, frame[embedding_column]
    with embeddings.stream(column):
        for run in embeddings.runs(column, width):
            total = add_sums([total, *_sum_run(run, ratings[start : start + len(run.status)], folds, seed)])
            start += len(run.status)
    return total


def add_sums(parts: list[Sums]) -> Sums:
    """The sums of several partitions together."""
    folds: dict[int, FoldSums] = {}
    left_out: dict[str, int] = {}
    for part in parts:
        for number, fold in part.folds.items():
            folds[number] = folds[number] + fold if number in folds else fold
        for reason, rows in part.left_out.items():
            left_out[reason] = left_out.get(reason, 0) + rows
    return Sums(folds, Sample.joined([part.sample for part in parts]), left_out)


def fold_of(hashes: np.ndarray, folds: int) -> np.ndarray:
    """The fold of every row by the hash of its content."""
    return (hashes % np.uint64(folds)).astype(np.intp)


def _sum_run(run: Run, ratings: np.ndarray, folds: int, seed: int) -> list[Sums]:
    rated = torch.tensor(np.isfinite(ratings), device=run.status.device)
    used = rated & (run.status == Status.OK)
    none = Sample(np.empty(0, np.uint64), np.empty(0), np.empty((0, run.vectors.shape[1]), np.float32))
    left_out = {"unrated": int((~rated).sum()), **_counts(run.status[rated & ~used])}
    found = [Sums({}, none, {reason: rows for reason, rows in left_out.items() if rows})]
    at = torch.nonzero(used if run.present is None else used[run.present]).flatten()
    y = torch.tensor(ratings, device=used.device)[used]
    for start in range(0, len(at), BLOCK_ROWS):
        block = slice(start, start + BLOCK_ROWS)
        found.append(_sum_block(run.vectors[at[block]], y[block], folds, seed))
    return found


def _sum_block(vectors: torch.Tensor, ratings: torch.Tensor, folds: int, seed: int) -> Sums:
    units, status = embeddings.unit_vectors(vectors)
    good = status == Status.OK
    units, y = units[good], ratings[good]
    hashes = hash_rows(vectors[good], seed)
    fold = torch.from_numpy(fold_of(hashes, folds)).to(units.device)
    sums = {int(number): FoldSums.of(units[fold == number], y[fold == number]) for number in fold.unique()}
    sample = Sample(hashes, y.cpu().numpy(), units.to(torch.float32).cpu().numpy())
    return Sums(sums, Sample.joined([sample]), _counts(status[~good]))


def _counts(status: torch.Tensor) -> dict[str, int]:
    codes, rows = torch.unique(status, return_counts=True)
    return {STATUSES[code]: count for code, count in zip(codes.tolist(), rows.tolist(), strict=True)}
