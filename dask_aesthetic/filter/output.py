"""An output of a filter job, its file names and its marker."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any, Protocol

import xxhash

from dask_aesthetic.filter.scores import KeptSamples
from dask_aesthetic.jobs.state import Asked, read_marker
from dask_aesthetic.jobs.store import Store


class Output(Protocol):
    """What a filter job writes between two markers."""

    @property
    def name(self) -> str: ...

    @property
    def inputs(self) -> list[list[Any]]: ...

    @property
    def content(self) -> str: ...


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

    def made_from(self, shard: Output, settings: Asked) -> bool:
        """Whether settings, files, keys and scores are unchanged."""
        asked = (settings.fingerprint, shard.inputs, shard.content)
        return (self.settings, self.inputs, self.content) == asked


def find_done(shard: Output, settings: Asked, store: Store) -> FilterMarker | None:
    """Marker of an output if it is of these settings and inputs, else None."""
    marker = read_marker(store, shard.name, FilterMarker)
    return marker if marker is not None and marker.made_from(shard, settings) else None


def output_names(shard: str) -> tuple[str, str]:
    """File names of the tar and of the Parquet file of an output."""
    return f"{shard}.tar", f"{shard}.parquet"
