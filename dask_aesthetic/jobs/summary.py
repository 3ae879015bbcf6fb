"""Summary of a scoring job: rows, failures by status, kept rows and the distribution of scores."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc

from dask_aesthetic.distribution import QUANTILES, ScoreDistribution
from dask_aesthetic.keep_rule import RuleCounts, add_rule_counts
from dask_aesthetic.status import STATUSES, Status
from dask_aesthetic.tables import Facts, Shown


@dataclass(repr=False)
class JobSummary(Shown):
    """Counts of one or more files; add them with ``+``.

    Attributes
    ----------
    kept : int or None
        Rows that the threshold keeps; None without one.
    files : int
    distribution : ScoreDistribution
        Of the raw scores, of the first predictor if there are several.
    in_place : int
        Rows that this run scored where they lie in Parquet pages, without pyarrow. On a machine that has not compiled
        this yet, a process begins with it after four million rows.
    others : dict of str to ScoreDistribution
        Of the raw scores of the other predictors, and of the similarity, by column.
    rule_counts : RuleCounts or None
        Rows that each clause of `keep` keeps alone, and all together, and rows that `override_column` alone keeps or
        drops; None without both.
    text_failed : dict of str to int
        Rows without a usable text embedding, by status, where similarities are computed.
    """

    kept: int | None = 0
    files: int = 0
    distribution: ScoreDistribution = field(default_factory=ScoreDistribution)
    in_place: int = 0
    others: dict[str, ScoreDistribution] = field(default_factory=dict)
    rule_counts: RuleCounts | None = None
    text_failed: dict[str, int] = field(default_factory=dict)

    @property
    def rows(self) -> int:
        """Number of rows."""
        return self.distribution.rows

    @property
    def scored(self) -> int:
        """Number of rows with a score."""
        return self.distribution.count

    @property
    def failed(self) -> dict[str, int]:
        """Number of rows without a score, by status."""
        reasons = self.distribution.reasons
        known = {reason: reasons[reason] for reason in (*STATUSES, *reasons) if reason in reasons}
        rest = self.distribution.missing - sum(known.values())  # The embedding is usable, and the score not finite.
        return {**known, "unknown": rest} if rest else known

    def facts(self, score_column: str = "(first)") -> Facts:
        """Rows of the printed table, by name; of several scores the first is called `score_column`."""
        several = {score_column: self.distribution, **self.others}
        kept = "" if self.kept is None else f"{self.kept:,} ({self.kept / max(self.scored, 1):.1%} of the scored)"
        return {
            "shards": f"{self.files:,}",
            "rows": f"{self.rows:,}",
            "scored": f"{self.scored:,}",
            "failed": ", ".join(f"{rows:,} {reason}" for reason, rows in self.failed.items()) or "0",
            "texts": self._usable_texts,
            "kept": kept,
            "rule": [] if self.rule_counts is None else self.rule_counts.lines,
            "raw score": _quantiles(self.distribution) if self.scored and not self.others else "",
            "raw scores": [f"{name}  {_quantiles(one)}" for name, one in several.items()] if self.others else [],
            "in place": f"{self.in_place:,} rows scored where they lie in Parquet pages" if self.in_place else "",
        }

    @property
    def _usable_texts(self) -> str:
        """Usable text embeddings, and the others by reason; empty where all are usable or none is read."""
        if not self.text_failed:
            return ""
        usable = f"{self.rows - sum(self.text_failed.values()):,} usable"
        return ", ".join([usable, *(f"{count:,} {reason}" for reason, count in self.text_failed.items())])

    def _table(self) -> tuple[str, Facts]:
        return "Summary of a scoring job", self.facts()

    def count(
        self, raw: Mapping[str, np.ndarray], keep: np.ndarray | None, status: np.ndarray, statuses: Sequence[str]
    ) -> None:
        """Count a batch: raw scores by column, which of its rows are kept, and status codes."""
        self.kept = None if keep is None else (self.kept or 0) + int(np.count_nonzero(keep))
        reasons = pd.Categorical.from_codes(status, dtype=pd.CategoricalDtype(list(statuses))) if status.any() else None
        first, *others = ((name, ScoreDistribution.of(scores, status=reasons)) for name, scores in raw.items())
        self.distribution += first[1]
        self.others = _sum(self.others, dict(others))

    def count_texts(
        self, similarity_column: str, similarities: pa.ChunkedArray, status: np.ndarray, texts: pa.ChunkedArray
    ) -> None:
        """Count a batch's similarities, by the status codes of its images and the statuses of its texts."""
        codes = pc.index_in(texts.cast(pa.string()), pa.array(STATUSES)).to_numpy()
        reasons = pd.Categorical.from_codes(
            np.where(status == Status.OK, codes, status), dtype=pd.CategoricalDtype(list(STATUSES))
        )
        found = ScoreDistribution.of(similarities.to_numpy(), status=reasons)
        self.others = _sum(self.others, {similarity_column: found})
        counts = np.bincount(codes, minlength=len(STATUSES)).tolist()
        failed = {name: count for name, count in zip(STATUSES, counts, strict=True) if count and name != STATUSES[0]}
        self.text_failed = add_counts(self.text_failed, failed)

    def quantile(self, q: float) -> float:
        """Raw score at quantile `q` of the scored rows, to 0.01; NaN without scored rows."""
        return self.distribution.quantile(q)

    def __add__(self, other: JobSummary) -> JobSummary:
        return JobSummary(
            total_kept([self.kept, other.kept]),
            self.files + other.files,
            self.distribution + other.distribution,
            self.in_place + other.in_place,
            _sum(self.others, other.others),
            add_rule_counts([self.rule_counts, other.rule_counts]),
            add_counts(self.text_failed, other.text_failed),
        )


def total_kept(counts: Iterable[int | None]) -> int | None:
    """Sum of counts of kept rows; None if nothing decides what is kept."""
    counts = list(counts)
    return None if None in counts else sum(count or 0 for count in counts)


def add_counts(some: Mapping[str, int], others: Mapping[str, int]) -> dict[str, int]:
    """Sums of counts by status, in the order of the statuses."""
    total = Counter(some) + Counter(others)
    return {name: total[name] for name in STATUSES if total[name]}


def _quantiles(scores: ScoreDistribution) -> str:
    if not scores.count:
        return "nothing scored"
    return ", ".join(f"{q:.0%} {scores.quantile(q):.2f}" for q in QUANTILES) + "  (quantiles)"


def _sum(
    some: Mapping[str, ScoreDistribution], others: Mapping[str, ScoreDistribution]
) -> dict[str, ScoreDistribution]:
    none = ScoreDistribution()
    return {name: some.get(name, none) + others.get(name, none) for name in {**some, **others}}
