"""Plan of a filter job: its outputs, and the reason to write each one that is not done."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import xxhash

from dask_aesthetic.filter.scores import Counts, Piece
from dask_aesthetic.filter.settings import SCHEMA_VERSION, FilterSettings
from dask_aesthetic.job.job_plan import NEW, JobPlan, PreviousRun
from dask_aesthetic.job.store import Store


@dataclass(frozen=True)
class Part:
    """Output of a filter job: a tar and the Parquet file beside it.

    Attributes
    ----------
    name : str
    pieces : tuple of Piece
        Its samples, in this order.
    """

    name: str
    pieces: tuple[Piece, ...]

    @property
    def rows(self) -> int:
        """Number of samples."""
        return sum(map(len, self.pieces))

    @property
    def inputs(self) -> list[list[Any]]:
        """Size and version of each file that it is made from."""
        files = [file for piece in self.pieces for file in (piece.tar.file, piece.tar.metadata) if file is not None]
        return [[file.size, file.version] for file in files]

    @property
    def content(self) -> str:
        """xxh3_128, in hexadecimal, of the kept keys and scores of each tar."""
        state = xxhash.xxh3_128()
        for piece in self.pieces:
            keys = json.dumps([piece.tar.name, piece.tar.metadata is not None, piece.keys.to_pylist()])
            state.update(keys.encode())
            state.update(piece.scores.tobytes())
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
        As `Part.content`.
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

    def made_from(self, part: Part, settings: FilterSettings) -> bool:
        """Whether settings, files, keys and scores are unchanged."""
        asked = (settings.fingerprint, part.inputs, part.content)
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
    parts: Sequence[Part], counts: Counts, settings: FilterSettings, store: Store, overwrite: bool
) -> FilterPlan:
    """Plan of a filter job, compared with a previous run.

    Raises
    ------
    InputError
        The output has files that the run would replace or that do not belong to it.
    """
    left = PreviousRun.of(store, FilterMarker)
    if not overwrite:
        left.refuse(settings, parts, FilterPlan.outputs)
    why = {part.name: reason for part in parts if (reason := _why(part, left, settings))}
    done = {part.name: left.markers[part.name] for part in parts if part.name not in why}
    return FilterPlan(settings, store, parts, done, why, left.beside(parts), counts)


def split_outputs(pieces: Sequence[Piece], samples_per_shard: int | None) -> list[Part]:
    """Outputs of a filter job: one per tar, or `samples_per_shard` samples each.

    An output of several tars ends early before a sample whose key it already holds.
    """
    if samples_per_shard is None:
        return [Part(piece.tar.name, (piece,)) for piece in pieces]
    outputs: list[list[Piece]] = []
    held: set[str] = set()
    for piece in pieces:
        begin, keys = 0, piece.keys.to_pylist()
        for at, key in enumerate(keys):
            if not outputs or len(held) == samples_per_shard or key in held:
                if at > begin:
                    outputs[-1].append(_slice(piece, begin, at))
                outputs.append([])
                begin, held = at, set()
            held.add(key)
        if len(keys) > begin:
            outputs[-1].append(_slice(piece, begin, len(keys)))
    return [Part(f"{number:05d}", tuple(its)) for number, its in enumerate(outputs)]


def _slice(piece: Piece, begin: int, end: int) -> Piece:
    return Piece(piece.tar, piece.keys.slice(begin, end - begin), piece.scores[begin:end])


def _why(part: Part, left: PreviousRun[FilterMarker], settings: FilterSettings) -> str:
    """Reason to write an output; empty if it is done."""
    marker = left.markers.get(part.name)
    if marker is None:
        return NEW
    if marker.settings != settings.fingerprint:
        return "settings changed"
    return left.why_write(marker.output) if marker.made_from(part, settings) else "input changed"
