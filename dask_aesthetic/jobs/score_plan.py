"""Plan of a scoring job: its shards, and the reason to score each one that is not done."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from typing import Any

from dask_aesthetic.in_threads import map_in_threads
from dask_aesthetic.io.shards import Shard
from dask_aesthetic.jobs.markers import ShardMarker, content_of, failures_name, output_name
from dask_aesthetic.jobs.score_shard import ScoreBatches, embedding_batches, score_shard
from dask_aesthetic.jobs.settings import SCHEMA_VERSION, ScoreSettings
from dask_aesthetic.jobs.state import NEW, JobPlan, PreviousRun, Stopped
from dask_aesthetic.jobs.store import Store
from dask_aesthetic.jobs.summary import JobSummary, add_counts, total_kept
from dask_aesthetic.keep_rule import RuleCounts, add_rule_counts


@dataclass(frozen=True)
class ScorePlan(JobPlan[ShardMarker]):
    """A scoring job that can start.

    Attributes
    ----------
    notes : list of str
        Cautions to print first: files and columns that are not read.
    encoder_caution : str or None
        Doubts about the first rows; of parts, the first one prints it, and only while there is something to score.
    score : callable
        As of `score_shard`.
    allow_unusable : bool
    """

    notes: Sequence[str] = ()
    score: ScoreBatches = embedding_batches
    allow_unusable: bool = False
    encoder_caution: str | None = None

    @property
    def cautions(self) -> list[str]:
        """Notes, and doubts about the first rows."""
        return [*self.notes, *([] if self.encoder_caution is None else [self.encoder_caution])]

    @property
    def work(self) -> Callable[[Shard, Stopped], ShardMarker]:
        return partial(
            score_shard,
            settings=self.settings,
            store=self.store,
            score=self.score,
            allow_unusable=self.allow_unusable,
        )

    @property
    def task_name(self) -> str:
        return self.settings.task_name

    @property
    def first_timeout(self) -> float:
        return float(self.settings.first_timeout)

    @staticmethod
    def outputs(shard: str) -> tuple[str, ...]:
        return output_name(shard), failures_name(shard)

    @staticmethod
    def summarize(markers: Iterable[ShardMarker]) -> JobSummary:
        return sum((marker.summary for marker in markers), JobSummary())

    def manifest(self, done: Sequence[ShardMarker]) -> dict[str, Any]:
        """Content of the manifest; its shards, which may be many, are an iterator.

        Raises
        ------
        AssertionError
            Rows are lost.
        """
        rows = sum(marker.rows for marker in done)
        if rows != self.rows:
            raise AssertionError(f"expected {self.rows:,} rows in the output, got {rows:,}")
        rule_counts = add_rule_counts(RuleCounts(**marker.rule_counts) for marker in done if marker.rule_counts)
        text_failed: dict[str, int] = {}
        for marker in done if self.settings.texts is not None else []:
            text_failed = add_counts(text_failed, marker.text_failed)
        return {
            "schema_version": SCHEMA_VERSION,
            "settings": self.settings.as_config(),
            "rows": rows,
            "scored": sum(marker.scored for marker in done),
            "kept": total_kept(marker.kept for marker in done),
            **({"rule_counts": asdict(rule_counts)} if rule_counts is not None else {}),
            **({"text_failed": text_failed} if self.settings.texts is not None else {}),
            "shards": (
                {
                    "name": output_name(marker.shard),
                    "rows": marker.rows,
                    "scored": marker.scored,
                    "kept": marker.kept,
                    "failed": marker.failed,
                    **marker.output,
                    "content": marker.content,
                }
                for marker in done
            ),
        }

    def table(self) -> str:
        counted = self.listed(
            f"{len(self.shards):,} shards, {self.rows:,} rows; to score: {len(self.why):,} shards, "
            f"{self.rows - self.rows_done:,} rows"
        )
        return "\n".join([counted, *(f"caution: {note}" for note in self.cautions)])

    def to_dict(self) -> dict[str, Any]:
        return {**super().to_dict(), "notes": self.cautions}


def plan_run(
    shards: Sequence[Shard],
    settings: ScoreSettings,
    store: Store,
    overwrite: bool = False,
    verify: bool = False,
    notes: Sequence[str] = (),
    score: ScoreBatches = embedding_batches,
    allow_unusable: bool = False,
    part: tuple[int, int] | None = None,
    encoder_caution: str | None = None,
) -> ScorePlan:
    """Plan of a scoring job, compared with a previous run.

    Parameters
    ----------
    shards, settings, store
    overwrite : bool
        Replace outputs of other settings, and files in the way.
    verify : bool
        Read inputs and outputs of finished shards again instead of trusting sizes and versions.
    notes : list of str
        Cautions about the inputs.
    score, allow_unusable
        As of `score_shard`.
    part : tuple of int, optional
        Take one of so many parts of the shards, counted from 1.
    encoder_caution : str, optional
        Doubts about the first rows.

    Raises
    ------
    InputError
        The output has files that the run would replace or that do not belong to it.
    """
    left = PreviousRun.of(store, ShardMarker)
    settings = settings.spelled_as(left.settings)
    if not overwrite:
        left.refuse(settings, shards, ScorePlan.outputs)
    leftovers = left.beside(shards)
    if part is not None:
        shards, leftovers = shards[part[0] - 1 :: part[1]], []
    find_reason = partial(_why, left=left, settings=settings, verify=verify)
    reasons = dict(zip([shard.name for shard in shards], map_in_threads(find_reason, shards), strict=True))
    why = {name: reason for name, reason in reasons.items() if reason}
    done = {name: left.markers[name] for name in reasons if name not in why}
    caution = encoder_caution if why and (part is None or part[0] == 1) else None
    return ScorePlan(settings, store, shards, done, why, leftovers, notes, score, allow_unusable, caution)


def _why(shard: Shard, left: PreviousRun[ShardMarker], settings: ScoreSettings, verify: bool) -> str:
    """Reason to score a shard; empty if it is done."""
    marker = left.markers.get(shard.name)
    if marker is None:
        return NEW
    if marker.settings != settings.fingerprint:
        return "settings changed"
    # Another time stamp may be that of a copy, so the content decides.
    compare = verify or not marker.made_from(shard)
    if compare and (marker.rows != shard.rows or marker.content != content_of(shard, settings.read)):
        return "input changed"
    files = zip(ScorePlan.outputs(shard.name), (marker.output, marker.failures), strict=True)
    written = {name: file for name, file in files if file}
    changed = left.why_write(written)
    if not changed and verify and any(left.store.sha256(name) != file["sha256"] for name, file in written.items()):
        return "output changed"
    return changed
