"""Plan of a select job: its files of scores, and the reason to select from each one that is not done."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from typing import Any

from dask_aesthetic.jobs.markers import output_name
from dask_aesthetic.jobs.state import JobPlan, PreviousRun, Stopped
from dask_aesthetic.jobs.store import Store
from dask_aesthetic.keep_rule import RuleCounts
from dask_aesthetic.select.settings import SCHEMA_VERSION, SelectSettings
from dask_aesthetic.select.shard import COUNTS, SelectMarker, SelectShard, select_shard


@dataclass(frozen=True)
class SelectPlan(JobPlan[SelectMarker]):
    """A select job that can start."""

    @property
    def work(self) -> Callable[[SelectShard, Stopped], SelectMarker]:
        return partial(select_shard, settings=self.settings, store=self.store)

    @property
    def task_name(self) -> str:
        return "select-shard"

    @staticmethod
    def outputs(shard: str) -> tuple[str, ...]:
        return (output_name(shard),)

    def manifest(self, done: Sequence[SelectMarker]) -> dict[str, Any]:
        return {
            "schema_version": SCHEMA_VERSION,
            "settings": self.settings.as_config(),
            **({"cut": self.settings.rule.cuts()} if self.settings.rule.top is not None else {}),
            **{name: sum(getattr(marker, name) for marker in done) for name in COUNTS},
            **({"rule_counts": asdict(sum_rule_counts(done))} if self.settings.rule.is_counted else {}),
            "shards": [
                {
                    "name": output_name(marker.shard),
                    **{name: getattr(marker, name) for name in COUNTS},
                    **marker.output,
                }
                for marker in done
            ],
        }

    def table(self) -> str:
        files = f"{len(self.shards):,} files, {self.rows:,} rows; to write: {len(self.why):,} files"
        return self.listed(f"{files}; to keep: {self.settings.rule}")


def sum_rule_counts(done: Iterable[SelectMarker]) -> RuleCounts:
    """Counts of what a rule keeps, over all files."""
    return sum((RuleCounts(**marker.rule_counts) for marker in done), RuleCounts())


def plan_outputs(shards: Sequence[SelectShard], settings: SelectSettings, store: Store, overwrite: bool) -> SelectPlan:
    """Plan of a select job, compared with a previous run.

    Raises
    ------
    InputError
        The output has files that the run would replace or that do not belong to it.
    """
    left = PreviousRun.of(store, SelectMarker)
    settings = settings.spelled_as(left.settings)
    if not overwrite:
        left.refuse(settings, shards, SelectPlan.outputs)
    why, done = left.compare(
        shards, settings, lambda _, marker: left.why_write({output_name(marker.shard): marker.output})
    )
    return SelectPlan(settings, store, shards, done, why, left.beside(shards))
