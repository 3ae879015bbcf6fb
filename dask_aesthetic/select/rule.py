"""Rule that selects rows by their scores, groups and ids, batch by batch."""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa

from dask_aesthetic.distribution import rows_by_group
from dask_aesthetic.io import parquet
from dask_aesthetic.keep_rule import KeepRule, Override, RuleCounts
from dask_aesthetic.ranking import (
    Candidates,
    Counts,
    Groups,
    Top,
    Wanted,
    add_counts,
    count_keys,
    find_candidates,
    merge_candidates,
    score_keys,
)
from dask_aesthetic.score_files import ScoreFile
from dask_aesthetic.select.duplicates import Duplicates, find_duplicates
from dask_aesthetic.select.ids import Ids
from dask_aesthetic.thresholds import Threshold


@dataclass(frozen=True)
class Selected:
    """Rows that a batch keeps, the numbers of scored, excluded and included ones, and what rule and override keep."""

    keep: np.ndarray
    scored: int
    excluded: int
    included: int
    include_matches: int
    duplicates: int
    rule_counts: RuleCounts


@dataclass(frozen=True)
class Rule:
    """What is kept: rows that satisfy rule or threshold, or the best of them, but for overrides and ids.

    Attributes
    ----------
    score_column : str
    higher_is_better : bool
        Direction of the scores.
    threshold : Threshold or None
    keep : KeepRule or None
        Instead of a threshold.
    override_column : str or None
        Column of bool or null: true rows are kept beside the best, and false ones neither compete nor are kept, unless
        they are excluded or included by id.
    wanted : Wanted or None
        Number of best rows to keep.
    id_column : str or None
        Decides between equal scores.
    exclude, include : Ids or None
        Excluded rows do not compete for the best, and are not kept if they are included too. Included rows are kept
        beside the best.
    drop_duplicates : bool
        Among rows that satisfy the rule and are not excluded, only the first by id of each hash competes.
    top : Top or None
        The best rows, once they are found.
    duplicates : Duplicates or None
        The rows to drop, once they are found.
    """

    score_column: str
    threshold: Threshold | None = None
    keep: KeepRule | None = None
    override_column: str | None = None
    wanted: Wanted | None = None
    id_column: str | None = None
    exclude: Ids | None = None
    include: Ids | None = None
    drop_duplicates: bool = False
    top: Top | None = None
    duplicates: Duplicates | None = None
    higher_is_better: bool = True

    def prepared(self, files: Sequence[ScoreFile], threads: int) -> Rule:
        """Rule with what all files decide together: the duplicates, and the best rows."""
        return self._with_duplicates(files, threads)._with_top(files, threads)

    def _with_duplicates(self, files: Sequence[ScoreFile], threads: int) -> Rule:
        if not self.drop_duplicates:
            return self
        found = find_duplicates(files, self.id_column, self._eligible, self.columns, threads)
        return replace(self, duplicates=found)

    def _with_top(self, files: Sequence[ScoreFile], threads: int) -> Rule:
        """Rule with the best rows of the files, found in two passes over scores, groups and ids."""
        if self.wanted is None:
            return self
        with ThreadPoolExecutor(threads) as pool:
            counts = add_counts(pool.map(self._count, files, range(len(files))), self._by)
            bins = self.wanted.bins(counts)
            parts = pool.map(lambda at: self._candidates(files[at], at, bins), range(len(files)))
            return replace(self, top=Top.of(bins, merge_candidates(parts)))

    def select(self, batch: Any, number: int, first: int) -> Selected:
        """Selected rows of a batch of the file with that number, whose first row has that position."""
        excluded, override = _match(self.exclude, batch), self._override(batch)
        dropped = self._drops(batch, number, first)
        satisfied, rule_counts = self._satisfied(batch)
        satisfied = satisfied & ~excluded & ~dropped
        keys, groups = self._keys(batch, satisfied)
        eligible = satisfied if self.keep is not None and self.top is None else keys > 0
        keep = eligible & ~override.drop
        if self.top is not None:
            keep = self.top.takes(np.where(keep, keys, np.uint32(0)), groups, number, first)
        overridden = override.keep & ~excluded & ~keep
        keep |= overridden
        named = _match(self.include, batch)
        included = named & ~excluded & ~keep
        keep |= included
        return Selected(
            keep,
            scored=int(np.isfinite(self._scores(batch)).sum()),
            excluded=int(excluded.sum()),
            included=int(included.sum()),
            include_matches=int(named.sum()),
            duplicates=int(dropped.sum()),
            rule_counts=replace(
                rule_counts,
                override_kept=int(overridden.sum()),
                override_dropped=int((eligible & override.drop & ~keep).sum()),
            ),
        )

    @property
    def columns(self) -> list[str]:
        """Columns that decide."""
        ids = [name for one in (self.exclude, self.include) if one is not None for name in one.columns]
        single = [name for name in (self._by, self.override_column) if name is not None]
        return list(dict.fromkeys([self.score_column, *(self.keep.columns if self.keep else []), *single, *ids]))

    @property
    def is_counted(self) -> bool:
        """Whether rule or override have counts of their own."""
        return self.keep is not None or self.override_column is not None

    @property
    def _by(self) -> str | None:
        return None if self.wanted is None else self.wanted.by

    def as_config(self) -> dict[str, Any]:
        """Rule as JSON values."""
        threshold, wanted = self.threshold, self.wanted
        return {
            "score_column": self.score_column,
            "threshold": None if threshold is None else threshold.value,
            "threshold_name": None if threshold is None else threshold.name,
            "top": None if wanted is None else wanted.n,
            "keep_fraction": None if wanted is None else wanted.keep_fraction,
            "by": self._by,
            **({} if self.keep is None else {"keep": self.keep.to_dict()}),
            **({} if self.override_column is None else {"override_column": self.override_column}),
            "best_rows": None if self.top is None else _digest(self.top),
            "exclude": None if self.exclude is None else self.exclude.digest,
            "include": None if self.include is None else self.include.digest,
            **({"duplicates": self.duplicates.digest} if self.duplicates is not None else {}),
        }

    def cuts(self) -> Any:
        """Score of the last one of the best rows, None where all are kept; by group in pairs, the best cut first."""
        if self.top is None or self._by is None:
            return None if self.top is None else self.top.last(None, self.higher_is_better)
        last = {group: self.top.last(group, self.higher_is_better) for group in self.top.keys}
        pairs = [[None if pd.isna(group) else str(group), score] for group, score in last.items()]
        sign = -1 if self.higher_is_better else 1
        return sorted(pairs, key=lambda pair: (-math.inf if pair[1] is None else sign * pair[1], str(pair[0])))

    def __str__(self) -> str:
        threshold = self.threshold
        condition = "" if threshold is None else threshold.condition(self.score_column)
        condition = str(self.keep) if self.keep is not None else condition
        once = ", without duplicates" if self.drop_duplicates else ""
        if self.wanted is None:
            return condition + once
        count = f"{self.wanted.n:,}" if self.wanted.n is not None else f"{self.wanted.keep_fraction:g}"
        each = f" of each {self.wanted.by}" if self.wanted.by is not None else ""
        return f"the best {count}{each} by {self.score_column}" + (f", of {condition}" if condition else "") + once

    def _scores(self, batch: Any) -> np.ndarray:
        column = batch.column(self.score_column).cast(pa.float32(), safe=False)
        return np.asarray(column.to_numpy(zero_copy_only=False))

    def _drops(self, batch: Any, number: int, first: int) -> np.ndarray:
        if self.duplicates is None:
            return np.zeros(len(batch), bool)
        return self.duplicates.drops(number, first, len(batch))

    def _keys(self, batch: Any, competing: np.ndarray) -> tuple[np.ndarray, Groups]:
        keys = score_keys(self._scores(batch), self.threshold, competing, self.higher_is_better)
        if self._by is None:
            return keys, [(None, np.arange(len(keys)))]
        return keys, rows_by_group(batch.column(self._by).to_pandas(), self._by)

    def _satisfied(self, batch: Any) -> tuple[np.ndarray, RuleCounts]:
        if self.keep is None:
            return np.ones(len(batch), bool), RuleCounts()
        return self.keep.evaluate({name: batch.column(name) for name in self.keep.columns})

    def _override(self, batch: Any) -> Override:
        if self.override_column is None:
            return Override.nowhere(len(batch))
        return Override.of(batch.column(self.override_column), self.override_column)

    def _eligible(self, batch: Any) -> np.ndarray:
        """Whether each row may be kept as the only one with its hash."""
        satisfied, _ = self._satisfied(batch)
        eligible: np.ndarray = satisfied & ~_match(self.exclude, batch) & ~self._override(batch).drop
        return eligible

    def _competing(self, batch: Any, number: int, first: int) -> tuple[np.ndarray, Groups]:
        return self._keys(batch, self._eligible(batch) & ~self._drops(batch, number, first))

    def _batches(self, file: ScoreFile, more: Sequence[str]) -> Iterator[tuple[int, Any]]:
        first = 0
        for batch in parquet.batches(file.file, [*self.columns, *more], batch_rows=parquet.TABLE_BATCH_ROWS):
            yield first, batch
            first += len(batch)

    def _count(self, file: ScoreFile, number: int) -> Counts:
        counted = (count_keys(*self._competing(batch, number, first)) for first, batch in self._batches(file, ()))
        return add_counts(counted, self._by)

    def _candidates(self, file: ScoreFile, number: int, bins: dict[Any, tuple[int, int]]) -> Candidates:
        more = [] if self.id_column is None or self.id_column in self.columns else [self.id_column]
        parts = []
        for first, batch in self._batches(file, more):
            ids = None if self.id_column is None else batch.column(self.id_column).to_pandas()
            keys, groups = self._competing(batch, number, first)
            parts.append(find_candidates(keys, groups, ids, number, bins, first))
        return merge_candidates(parts)


def _match(ids: Ids | None, batch: Any) -> np.ndarray:
    return np.zeros(len(batch), bool) if ids is None else ids.match(batch)


def _digest(top: Top) -> str:
    """sha256 of the rows to take."""
    keys = sorted((repr(group), key) for group, key in top.keys.items())
    ties = {str(number): rows.tolist() for number, rows in sorted(top.ties.items())}
    return hashlib.sha256(json.dumps([keys, ties]).encode()).hexdigest()
