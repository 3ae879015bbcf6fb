"""Plan of a filter job: its outputs, and the reason to write each one that is not done."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from typing import Any, ClassVar

from dask_aesthetic.filter.copying import copy_output
from dask_aesthetic.filter.output import FilterMarker, OutputShard, output_names
from dask_aesthetic.filter.scores import Counts, KeptSamples
from dask_aesthetic.filter.settings import SCHEMA_VERSION, FilterSettings
from dask_aesthetic.jobs.state import JobPlan, PreviousRun, Stopped
from dask_aesthetic.jobs.store import Store


@dataclass(frozen=True)
class FilterPlan(JobPlan[FilterMarker]):
    """A filter job that can start.

    Attributes
    ----------
    counts : Counts
    """

    unit: ClassVar[str] = "samples"

    counts: Counts

    @property
    def work(self) -> Callable[[Any, Stopped], FilterMarker]:
        return partial(copy_output, settings=self.settings, store=self.store)

    @property
    def task_name(self) -> str:
        return "filter-shard"

    @staticmethod
    def outputs(shard: str) -> tuple[str, ...]:
        return output_names(shard)

    def total_bytes(self, done: Sequence[FilterMarker]) -> int:
        """Size of all files that are written."""
        return sum(written["bytes"] for marker in done for written in marker.output.values())

    def manifest(self, done: Sequence[FilterMarker]) -> dict[str, Any]:
        return {
            "schema_version": SCHEMA_VERSION,
            "settings": self.settings.as_config(),
            **asdict(self.counts),
            "shards": [
                {"name": marker.shard, "samples": marker.rows, "members": marker.members, "files": marker.output}
                for marker in done
            ],
        }

    def to_dict(self) -> dict[str, Any]:
        return {**super().to_dict(), **asdict(self.counts)}

    def table(self) -> str:
        counts = self.counts
        others = {"unscored": counts.unscored, "missing": counts.missing, **counts.left_out}
        reasons = "".join(f", {count:,} {reason}" for reason, count in others.items() if count)
        return self.listed(
            f"{counts.kept:,} of {counts.samples:,} {self.unit} kept in {len(self.shards):,} shards{reasons}; "
            f"to write: {len(self.why):,} shards"
        )


def plan_outputs(
    shards: Sequence[OutputShard], counts: Counts, settings: FilterSettings, store: Store, overwrite: bool
) -> FilterPlan:
    """Plan of a filter job, compared with a previous run.

    Raises
    ------
    InputError
        The output has files that the run would replace or that do not belong to it.
    """
    left = PreviousRun.of(store, FilterMarker)
    if not overwrite:
        left.refuse(settings, shards, FilterPlan.outputs)
    why, done = left.compare(shards, settings, lambda _, marker: left.why_write(marker.output))
    return FilterPlan(settings, store, shards, done, why, left.beside(shards), counts)


def split_outputs(kept_samples: Sequence[KeptSamples], samples_per_shard: int | None) -> list[OutputShard]:
    """Outputs of a filter job: one per tar, or `samples_per_shard` samples each.

    An output of several tars ends early before a sample whose key it already holds.
    """
    if samples_per_shard is None:
        return [OutputShard(kept.tar.name, (kept,)) for kept in kept_samples]
    outputs: list[list[KeptSamples]] = []
    held: set[str] = set()
    for kept in kept_samples:
        begin, keys = 0, kept.keys.to_pylist()
        for at, key in enumerate(keys):
            if not outputs or len(held) == samples_per_shard or key in held:
                if at > begin:
                    outputs[-1].append(_slice(kept, begin, at))
                outputs.append([])
                begin, held = at, set()
            held.add(key)
        if len(keys) > begin:
            outputs[-1].append(_slice(kept, begin, len(keys)))
    return [OutputShard(f"{number:05d}", tuple(its)) for number, its in enumerate(outputs)]


def _slice(kept: KeptSamples, begin: int, end: int) -> KeptSamples:
    return KeptSamples(kept.tar, kept.keys.slice(begin, end - begin), kept.scores[begin:end])
