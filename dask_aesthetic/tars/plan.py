"""What a filtering has to write: every output, and whether an earlier run has done it."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import xxhash

from dask_aesthetic.errors import InputError
from dask_aesthetic.job.markers import marker_name, read_markers
from dask_aesthetic.job.plan import NEW, SETTINGS, SUCCESS
from dask_aesthetic.job.settings import differences
from dask_aesthetic.job.store import Store
from dask_aesthetic.tars.scores import Counts, Piece
from dask_aesthetic.tars.settings import Settings

SUFFIXES = (".tar", ".parquet")


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
        return [[file.size, file.stamp] for file in files]

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
class Marker:
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

    def made_from(self, part: Part, settings: Settings) -> bool:
        """Whether it is of these settings, files, keys and scores."""
        asked = (settings.fingerprint, part.inputs, part.content)
        return (self.settings, self.inputs, self.content) == asked


@dataclass(frozen=True)
class Plan:
    """A filtering that can start: all tars are whole, and no output is in the way.

    Attributes
    ----------
    settings : Settings
    store : Store
    shards : list of Part
    counts : Counts
    done : dict of str to Marker
        Outputs that an earlier run has done, by name.
    why : dict of str to str
        The reason why each other one is to be written.
    leftovers : list of str
        Outputs of an earlier run that are no longer asked for.
    """

    settings: Settings
    store: Store
    shards: Sequence[Part]
    counts: Counts
    done: Mapping[str, Marker]
    why: Mapping[str, str]
    leftovers: Sequence[str]

    @property
    def todo(self) -> list[Part]:
        """The outputs to write."""
        return [part for part in self.shards if part.name in self.why]

    @property
    def rows(self) -> int:
        """Samples in all outputs."""
        return sum(part.rows for part in self.shards)

    @property
    def rows_done(self) -> int:
        """In the outputs that are done."""
        return sum(marker.rows for marker in self.done.values())

    @property
    def finished(self) -> bool:
        """Whether an earlier run has done everything."""
        return not self.why and not self.leftovers and self.store.read(SUCCESS) is not None

    def table(self) -> str:
        """A line per output, for people to read."""
        lines = [f"{part.rows:>14,}  {self.why.get(part.name, 'done')}\t{part.name}" for part in self.shards]
        counts = self.counts
        total = f"{counts.kept:,} of {counts.samples:,} samples kept in {len(self.shards):,} shards"
        odd = {"unscored": counts.unscored, "missing": counts.missing, **counts.left_out}
        told = "".join(f", {count:,} {reason}" for reason, count in odd.items() if count)
        return "\n".join([*lines, f"{total}{told}; to write: {len(self.why):,} shards"]).expandtabs(40)

    def prepare(self) -> None:
        """Take back what no longer holds: from now on a marker means that its output is done."""
        self.store.remove(SUCCESS)
        self.store.write(SETTINGS, json.dumps(self.settings.told(), indent=1).encode())
        for name in [*self.leftovers, *(name for name, why in self.why.items() if why != NEW)]:
            self.store.remove(marker_name(name))
        for name in self.leftovers:
            for suffix in SUFFIXES:
                self.store.remove(f"{name}{suffix}")

    def succeed(self, markers: Mapping[str, Marker]) -> None:
        """Write the manifest, last of all."""
        done = [markers[part.name] for part in self.shards]
        manifest = {
            "settings": self.settings.told(),
            "samples": self.counts.samples,
            "kept": self.counts.kept,
            "unscored": self.counts.unscored,
            "missing": self.counts.missing,
            "left_out": self.counts.left_out,
            "shards": [
                {"name": marker.shard, "samples": marker.rows, "members": marker.members, "files": marker.output}
                for marker in done
            ],
        }
        self.store.write(SUCCESS, json.dumps(manifest, indent=1).encode())


def plan_outputs(parts: Sequence[Part], counts: Counts, settings: Settings, store: Store, overwrite: bool) -> Plan:
    """Compare what is asked with what an earlier run has left.

    Raises
    ------
    InputError
        The output has files that the run would replace or that do not belong to it.
    """
    sizes = store.sizes()
    told = store.read(SETTINGS)
    markers = read_markers(store, sizes, Marker)
    leftovers = sorted(markers.keys() - {part.name for part in parts})
    if not overwrite:
        _refuse_others(parts, settings, store, sizes, told, leftovers)
    why = {part.name: reason for part in parts if (reason := _why(part, markers.get(part.name), settings, sizes))}
    done = {part.name: markers[part.name] for part in parts if part.name not in why}
    return Plan(settings, store, parts, counts, done, why, leftovers)


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


def _why(part: Part, marker: Marker | None, settings: Settings, sizes: Mapping[str, int]) -> str:
    """Why an output is to be written; nothing if it is done."""
    if marker is None:
        return NEW
    if marker.settings != settings.fingerprint:
        return "settings changed"
    if not marker.made_from(part, settings):
        return "input changed"
    for name, written in marker.output.items():
        if sizes.get(name) != written["bytes"]:
            return "output changed" if name in sizes else "output missing"
    return ""


def _refuse_others(
    parts: Sequence[Part],
    settings: Settings,
    store: Store,
    sizes: Mapping[str, int],
    told: bytes | None,
    leftovers: Sequence[str],
) -> None:
    in_the_way = [f"{part.name}{suffix}" for part in parts for suffix in SUFFIXES if f"{part.name}{suffix}" in sizes]
    if told is None and in_the_way:
        raise InputError(
            f"expected no {in_the_way[0]} in {store.url} that is not of a job, got one: choose another folder, or "
            "overwrite it"
        )
    changed = differences(json.loads(told), settings.told()) if told is not None else []
    if changed:
        raise InputError(
            f"expected the settings of the run whose output is in {store.url}, got others: {'; '.join(changed)}. Write "
            "to another folder; or overwrite, which writes again what they change"
        )
    if leftovers:
        raise InputError(
            f"expected the shards in {store.url} to be asked for, got {len(leftovers):,} that are not: "
            f"{', '.join(leftovers[:3])}. Write to another folder; or overwrite, which removes them"
        )
