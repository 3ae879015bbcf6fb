"""Markers of written shards, by which a later run skips them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from dask_aesthetic.distribution import ScoreDistribution
from dask_aesthetic.io.shards import Shard
from dask_aesthetic.io.storage import Digests
from dask_aesthetic.jobs.state import FAILED, write_marker
from dask_aesthetic.jobs.store import Store
from dask_aesthetic.jobs.summary import JobSummary
from dask_aesthetic.keep_rule import RuleCounts


@dataclass(frozen=True)
class ShardMarker:
    """Counts of a shard, and the inputs and settings that its output was made from.

    Attributes
    ----------
    shard : str
    settings : str
        Fingerprint of the settings.
    inputs : list of [int, str]
        Size and version of each file it was read from.
    content : str
        Digest of the content that was read.
    rows, scored : int
    kept : int or None
        None without a threshold.
    failed : dict of str to int
        Rows without a score, by reason.
    output : dict
        ``bytes`` and ``sha256`` of the output.
    failures : dict or None
        The same of the list of its failed rows.
    distribution : str
        Of the raw scores, as `ScoreDistribution.to_json` writes it.
    others : dict of str to str
        Distributions of the other predictors' raw scores, and of the similarity, by column. Not in the file where there
        are none.
    rule_counts : dict
        `RuleCounts` as a dict, empty without a rule and override, and then not in the file.
    text_failed : dict of str to int
        Rows without a usable text embedding, by reason; not in the file where there are none.
    in_place : int
        Rows whose Parquet pages were scored where they lie. Not in the file, whose bytes do not depend on the way.
    """

    shard: str
    settings: str
    inputs: list[list[Any]]
    content: str
    rows: int
    scored: int
    kept: int | None
    failed: dict[str, int]
    output: dict[str, Any]
    failures: dict[str, Any] | None
    distribution: str
    others: dict[str, str] = field(default_factory=dict)
    rule_counts: dict[str, Any] = field(default_factory=dict)
    text_failed: dict[str, int] = field(default_factory=dict)
    in_place: int = 0

    def __post_init__(self) -> None:
        if self.rows != self.scored + sum(self.failed.values()):
            raise AssertionError(
                f"expected rows = scored + failed in {self.shard}, got {self.rows}, {self.scored} and {self.failed}"
            )

    @property
    def summary(self) -> JobSummary:
        """Summary of the shard alone."""
        first = ScoreDistribution.from_json(self.distribution)
        others = {name: ScoreDistribution.from_json(text) for name, text in self.others.items()}
        rule_counts = RuleCounts(**self.rule_counts) if self.rule_counts else None
        return JobSummary(self.kept, 1, first, self.in_place, others, rule_counts, self.text_failed)

    def made_from(self, shard: Shard) -> bool:
        """Whether size and version of the shard's files are unchanged."""
        return self.inputs == shard.versions

    def write(self, store: Store) -> None:
        """Write the marker; the output must be in place."""
        values = asdict(self)
        del values["in_place"]
        for name in ("others", "rule_counts", "text_failed"):
            if not values[name]:
                del values[name]
        write_marker(store, self.shard, values)


def content_of(shard: Shard, columns: Sequence[str], known: Digests | None = None) -> str:
    """Identity of a shard's content: a digest for local files, partly known perhaps, the versions of others."""
    if all(file.is_local for file in shard.files):
        return shard.digest(columns, known)
    return " ".join(f"{size} {version}" for size, version in shard.versions)


def output_name(shard: str) -> str:
    """File name of a shard's scores; `%5F` and `%2E` stand for first characters that readers of folders take as hidden.

    Examples
    --------
    >>> output_name("2026/_selected")
    '2026/%5Fselected.parquet'
    """
    hidden = {"_": "%5F", ".": "%2E"}
    parts = (hidden[part[0]] + part[1:] if part[:1] in hidden else part for part in shard.split("/"))
    return f"{'/'.join(parts)}.parquet"


def failures_name(shard: str) -> str:
    """File name of the list of a shard's failed rows."""
    return f"{FAILED}/{shard}.rows"
