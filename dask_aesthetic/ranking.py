"""The best rows by score, exactly, without a sort of all rows. The best are those that score most, or least.

A first pass counts the scores in bins of their float32 bits, which gives the bin that holds the last row to take. A
second pass collects the rows of that bin and ranks them by score, id and position. A third pass takes: what scores
better than the last row, and the listed rows that score the same. Of equal scores the lower id goes first, rows without
an id last; of equal ids the row that comes first.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pandas as pd

from dask_aesthetic.distribution import check_groups
from dask_aesthetic.errors import ColumnError
from dask_aesthetic.thresholds import Threshold
from dask_aesthetic.validation import check_fraction, check_integer

# Bits of a float32 that a bin does not tell apart: scores from 4 to 8 have 2,048 bins.
SHIFT = 12
Counts = dict[Any, tuple[np.ndarray, np.ndarray]]  # Bins, rising, and their numbers of rows, by group.
Groups = Sequence[tuple[Any, np.ndarray]]  # Groups, and positions of their rows.
Candidates = dict[Any, tuple[pd.DataFrame, int]]  # Ranked rows, and the number of rows to take from them, by group.


@dataclass(frozen=True)
class Wanted:
    """Number of rows to take from each group: `n`, or a share of those that compete, rounded up.

    Attributes
    ----------
    n : int or None
    keep_fraction : float or None
    by : str or None
        Column of groups.
    """

    n: int | None = None
    keep_fraction: float | None = None
    by: str | None = None

    def __post_init__(self) -> None:
        if self.keep_fraction is None:
            object.__setattr__(self, "n", check_integer("n", self.n, minimum=1, unit="rows"))
        else:
            object.__setattr__(self, "keep_fraction", check_fraction("keep_fraction", self.keep_fraction))

    def rows(self, competing: int) -> int:
        """Number of rows to take from so many."""
        if self.n is not None:
            return self.n
        # 0.07 of 100 rows are 7 rows, in spite of binary fractions.
        return math.ceil(round((self.keep_fraction or 0.0) * competing, 6))

    def bins(self, counts: Counts) -> dict[Any, tuple[int, int]]:
        """Bin of each group that holds the last row to take, and the number of rows to take from it.

        The bin is 0, which holds no row, where all rows of a group are taken.
        """
        found = {}
        for group, (bins, rows) in counts.items():
            at_least = np.cumsum(rows[::-1])[::-1]
            wanted = self.rows(int(at_least[0])) if len(rows) else 0
            if not len(rows) or at_least[0] <= wanted:
                found[group] = (0, 0)
                continue
            at = int(np.flatnonzero(at_least >= wanted)[-1])
            found[group] = (int(bins[at]), wanted - int(at_least[at] - rows[at]))
        return found


@dataclass(frozen=True)
class Top:
    """The rows to take.

    Attributes
    ----------
    keys : dict
        Key of the last row that each group takes: rows with a greater one are taken.
    ties : dict of int to numpy.ndarray
        Positions, rising, of taken rows with just that key, by the number of their partition.
    """

    keys: Mapping[Any, int] = field(default_factory=dict)
    ties: Mapping[int, np.ndarray] = field(default_factory=dict)

    @classmethod
    def of(cls, bins: Mapping[Any, tuple[int, int]], candidates: Candidates) -> Top:
        """Rows to take, from the ranked candidates of all partitions."""
        keys, tied = {}, []
        for group, (_, wanted) in bins.items():
            keys[group] = 0
            if wanted:
                ranked, _ = candidates[group]
                keys[group] = int(ranked["key"].iloc[-1])
                tied.append(ranked.loc[ranked["key"] == keys[group], ["number", "row"]])
        rows = pd.concat(tied) if tied else pd.DataFrame({"number": [], "row": []}, dtype=np.int64)
        numbers = rows["number"].to_numpy()
        return cls(keys, {int(one): np.sort(rows["row"].to_numpy()[numbers == one]) for one in np.unique(numbers)})

    def takes(self, keys: np.ndarray, groups: Groups, number: int, first: int = 0) -> np.ndarray:
        """Whether each row of a partition, or of its rows from `first` on, is taken."""
        taken = np.zeros(len(keys), bool)
        for group, rows in groups:
            taken[rows] = keys[rows] > self.keys[group]
        ties = self.ties.get(number, np.zeros(0, np.int64)) - first
        taken[ties[(ties >= 0) & (ties < len(keys))]] = True
        return taken

    def last(self, group: Any = None, higher_is_better: bool = True) -> float | None:
        """Score of the last row that a group takes; None where it takes all."""
        key = np.uint32(self.keys.get(group, 0))
        if not key:
            return None
        bits = key ^ np.uint32(0x80000000) if key >> np.uint32(31) else ~key
        score = float(bits.view(np.float32))
        return score if higher_is_better else -score + 0.0


def score_keys(
    scores: np.ndarray,
    threshold: Threshold | None = None,
    competing: np.ndarray | None = None,
    higher_is_better: bool = True,
) -> np.ndarray:
    """Unsigned integers that rise with float32 scores as they become better; 0 for rows that do not compete.

    Null, NaN and infinite scores do not compete, nor scores that `threshold` drops, nor rows that `competing` denies.

    Examples
    --------
    >>> keys = score_keys(np.float32([-1, -0.0, 0, 2.5, np.nan]))
    >>> np.argsort(keys, kind="stable").tolist(), bool(keys[1] == keys[2]), int(keys[4])
    ([4, 0, 1, 2, 3], True, 0)
    """
    values = (scores if higher_is_better else -scores) + np.float32(0)  # -0 becomes 0.
    bits = values.view(np.uint32)
    keys = np.where(bits >> np.uint32(31), ~bits, bits | np.uint32(0x80000000))
    competes = np.isfinite(values)
    if threshold is not None:
        competes &= threshold.keeps(scores)
    if competing is not None:
        competes &= competing
    return np.where(competes, keys, np.uint32(0))


def count_keys(keys: np.ndarray, groups: Groups) -> Counts:
    """Rows of a partition that compete, by group and bin."""
    return {group: _counted(keys[rows][keys[rows] > 0]) for group, rows in groups}


def add_counts(parts: Iterable[Counts], by: str | None) -> Counts:
    """Sum of the counts of partitions.

    Raises
    ------
    ColumnError
        There are too many groups.
    """
    by_group: dict[Any, list[tuple[np.ndarray, np.ndarray]]] = {}
    for part in parts:
        for group, counted in part.items():
            by_group.setdefault(group, []).append(counted)
    check_groups(len(by_group), by)
    total = {}
    for group, several in by_group.items():
        bins, at = np.unique(np.concatenate([one for one, _ in several]), return_inverse=True)
        rows = np.concatenate([one for _, one in several])
        total[group] = bins, np.bincount(at, rows, len(bins)).astype(np.int64)
    return total


def find_candidates(
    keys: np.ndarray, groups: Groups, ids: Any, number: int, bins: Mapping[Any, tuple[int, int]], first: int = 0
) -> Candidates:
    """Ranked rows of the bin that holds the last row to take, of each group of a partition.

    Parameters
    ----------
    keys : numpy.ndarray
        As of `score_keys`.
    groups : list of (group, numpy.ndarray)
    ids : pandas.Series or None
    number : int
        Number of the partition.
    bins : dict
        As of `Wanted.bins`.
    first : int
        Position of the first row.
    """
    found = {}
    for group, rows in groups:
        its_bin, wanted = bins[group]
        at = rows[keys[rows] >> np.uint32(SHIFT) == its_bin] if wanted else rows[:0]
        if len(at):
            its_ids = np.zeros(len(at), np.int8) if ids is None else ids.iloc[at].reset_index(drop=True)
            frame = pd.DataFrame({"key": keys[at], "id": its_ids, "number": number, "row": at + first})
            found[group] = _best(frame, wanted), wanted
    return found


def merge_candidates(parts: Iterable[Candidates]) -> Candidates:
    """Ranked candidates of several partitions, no more than are taken."""
    by_group: dict[Any, list[tuple[pd.DataFrame, int]]] = {}
    for part in parts:
        for group, ranked in part.items():
            by_group.setdefault(group, []).append(ranked)
    return {
        group: (_best(pd.concat([frame for frame, _ in several], ignore_index=True), several[0][1]), several[0][1])
        for group, several in by_group.items()
    }


def _counted(keys: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    bins, rows = np.unique(keys >> np.uint32(SHIFT), return_counts=True)
    return bins, rows.astype(np.int64)


def _best(frame: pd.DataFrame, wanted: int) -> pd.DataFrame:
    """The first `wanted` rows by score, id and position."""
    if len(frame) > wanted:
        keys = frame["key"].to_numpy()
        frame = frame[keys >= np.partition(keys, len(keys) - wanted)[len(keys) - wanted]]
    try:
        ranked = frame.sort_values(["key", "id", "number", "row"], ascending=[False, True, True, True])
    except TypeError as error:
        raise ColumnError(f"expected ids that can be sorted, such as texts or numbers: {error}") from error
    return ranked.head(wanted)
