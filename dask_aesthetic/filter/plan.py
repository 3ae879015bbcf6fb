"""What a filtering has to write: every output, and whether an earlier run has done it."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import xxhash

from dask_aesthetic.filter.scores import Counts, Piece
from dask_aesthetic.filter.settings import FilterSettings
from dask_aesthetic.job.store import Store
from dask_aesthetic.job.work import NEW, JobPlan, PreviousRun


@dataclass(frozen=True)
class Part:
    """An output: a tar and the Parquet file beside it.

    Attributes
    ----------
    name : str
    pieces : tuple of Piece
        What it is made from, in this order.
    """

    name: str
    pieces: tuple[Piece, ...]

    @property
    def rows(self) -> int:
        """Samples in it."""
        return sum(map(len, self.pieces))

    @property
    def inputs(self) -> list[list[Any]]:
        """Size and stamp of each file that it is made from."""
        files = [file for piece in self.pieces for file in (piece.tar.file, piece.tar.metadata) if file is not None]
        return [[file.size, file.version] for file in files]

    @property
    def content(self) -> str:
        """xxh3_128, in hexadecimal, of what is kept of which tar with which score."""
        state = xxhash.xxh3_128()
        for piece in self.pieces:
            keys = json.dumps([piece.tar.name, piece.tar.metadata is not None, piece.keys.to_pylist()])
            state.update(keys.encode())
            state.update(piece.scores.tobytes())
        return state.hexdigest()


@dataclass(frozen=True)
class FilterMarker:
    """What is known of an output that has been written.

    Attributes
    ----------
    shard : str
    settings : str
        Fingerprint of the settings.
    inputs : list of [int, str]
        Size and stamp of each file it was made from.
    content : str
        As `Part.content`.
    rows, members : int
        Samples and members in it.
    output : dict of str to dict
        ``bytes`` and ``sha256`` of each file, by name.
    notes : dict of str to int
        How many JSON sidecars could not take the score, and how many samples have several rows of metadata.
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
        """None: what is kept has a score."""
        return {}

    def made_from(self, part: Part, settings: FilterSettings) -> bool:
        """Whether it is of these settings, files, keys and scores."""
        asked = (settings.fingerprint, part.inputs, part.content)
        return (self.settings, self.inputs, self.content) == asked


@dataclass(frozen=True)
class FilterPlan(JobPlan[FilterMarker]):
    """A filtering that can start: all tars are whole.

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
            "settings": self.settings.as_config(),
            **asdict(self.counts),
            "shards": [
                {"name": marker.shard, "samples": marker.rows, "members": marker.members, "files": marker.output}
                for marker in done
            ],
        }

    def table(self) -> str:
        counts = self.counts
        odd = {"unscored": counts.unscored, "missing": counts.missing, **counts.left_out}
        told = "".join(f", {count:,} {reason}" for reason, count in odd.items() if count)
        return self.listed(
            f"{counts.kept:,} of {counts.samples:,} samples kept in {len(self.shards):,} shards{told}; to write: "
            f"{len(self.why):,} shards"
        )


def plan_outputs(
    parts: Sequence[Part], counts: Counts, settings: FilterSettings, store: Store, overwrite: bool
) -> FilterPlan:
    """Compare what is asked with what an earlier run has left.

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


def cut(pieces: Sequence[Piece], samples_per_shard: int | None) -> list[Part]:
    """The outputs: one per tar, or of so many samples each.

    An output of several tars ends early where the next sample has a key that it holds already.
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
    """Why an output is to be written; nothing if it is done."""
    marker = left.markers.get(part.name)
    if marker is None:
        return NEW
    if marker.settings != settings.fingerprint:
        return "settings changed"
    return left.why_write(marker.output) if marker.made_from(part, settings) else "input changed"
