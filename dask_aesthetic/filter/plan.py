"""Plan of a filter job: its outputs, and the reason to write each one that is not done."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import xxhash

from dask_aesthetic.filter.scores import Counts, KeptSamples
from dask_aesthetic.filter.settings import SCHEMA_VERSION, FilterSettings
from dask_aesthetic.job.job_plan import NEW, JobPlan, PreviousRun
from dask_aesthetic.job.store import Store


@dataclass(frozen=True)
class OutputShard:
    """Output of a filter job: a tar and the Parquet file beside it.

    Attributes
    ----------
    name : str
    kept_samples : tuple of KeptSamples
        Its samples, in this order.
    """

    name: str
    kept_samples: tuple[KeptSamples, ...]

    @property
    def rows(self) -> int:
        """Number of samples."""
        return sum(map(len, self.kept_samples))

    @property
    def inputs(self) -> list[list[Any]]:
        """Size and version of each file that it is made from."""
        files = [file for kept in self.kept_samples for file in (kept.tar.file, kept.tar.metadata) if file is not None]
        return [[file.size, file.version] for file in files]

    @property
    def content(self) -> str:
        """xxh3_128, in hexadecimal, of the kept keys and scores of each tar."""
        state = xxhash.xxh3_128()
        for kept in self.kept_samples:
            keys = json.dumps([kept.tar.name, kept.tar.metadata is not None, kept.keys.to_pylist()])
            state.update(keys.encode())
            state.update(kept.scores.tobytes())
        return state.hexdigest()


@dataclass(frozen=True)
class FilterMarker:
    """Marker of a written output.

    Attributes
    ----------
    shard : str
    settings : str
        Fingerprint of the settings.
    inputs : list of [int, str]
        Size and version of each file it was made from.
    content : str
        As `OutputShard.content`.
    rows, members : int
        Number of samples and members.
    output : dict of str to dict
        ``bytes`` and ``sha256`` of each file, by name.
    notes : dict of str to int
        Number of JSON sidecars that take no score, and of samples with several rows of metadata.
    """

    shard: str
    settings: str
    inputs: list[list[Any]]
    content: str
    rows: int
    members: int
    output: dict[str, dict[str, Any]]
    notes: dict[str, int]

    @property
    def failed(self) -> dict[str, int]:
        """Empty: a filter job has no failed rows."""
        return {}

    def made_from(self, shard: OutputShard, settings: FilterSettings) -> bool:
        """Whether settings, files, keys and scores are unchanged."""
        asked = (settings.fingerprint, shard.inputs, shard.content)
        return (self.settings, self.inputs, self.content) == asked


@dataclass(frozen=True)
class FilterPlan(JobPlan[FilterMarker]):
    """A filter job that can start.

    Attributes
    ----------
    counts : Counts
    """

    counts: Counts

    @staticmethod
    def outputs(shard: str) -> tuple[str, ...]:
        return f"{shard}.tar", f"{shard}.parquet"

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

    def table(self) -> str:
        counts = self.counts
        others = {"unscored": counts.unscored, "missing": counts.missing, **counts.left_out}
        reasons = "".join(f", {count:,} {reason}" for reason, count in others.items() if count)
        return self.listed(
            f"{counts.kept:,} of {counts.samples:,} samples kept in {len(self.shards):,} shards{reasons}; to write: "
            f"{len(self.why):,} shards"
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
    why = {shard.name: reason for shard in shards if (reason := _why(shard, left, settings))}
    done = {shard.name: left.markers[shard.name] for shard in shards if shard.name not in why}
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


def _why(shard: OutputShard, left: PreviousRun[FilterMarker], settings: FilterSettings) -> str:
    """Reason to write an output; empty if it is done."""
    marker = left.markers.get(shard.name)
    if marker is None:
        return NEW
    if marker.settings != settings.fingerprint:
        return "settings changed"
    return left.why_write(marker.output) if marker.made_from(shard, settings) else "input changed"
