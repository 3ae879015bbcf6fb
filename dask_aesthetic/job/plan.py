"""What a run has to do: every shard, and whether an earlier run has done it."""

from __future__ import annotations

import json
from collections.abc import Collection, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial

from dask_aesthetic.errors import InputError
from dask_aesthetic.inputs.shards import Shard
from dask_aesthetic.job.markers import Marker, content_of, failures_name, marker_name, output_name, read_markers
from dask_aesthetic.job.settings import Settings, differences
from dask_aesthetic.job.store import HOUSE, Store

SETTINGS, SUCCESS = f"{HOUSE}/settings.json", "_SUCCESS"
NEW = "new"


@dataclass(frozen=True)
class Plan:
    """A run that can start: every input has been found readable, and no output is in the way.

    Attributes
    ----------
    settings : Settings
    store : Store
    shards : list of Shard
    done : dict of str to Marker
        Shards that an earlier run has done, by name.
    why : dict of str to str
        The reason why each other shard is to be scored.
    leftovers : list of str
        Shards of an earlier run that are no longer among the inputs.
    """

    settings: Settings
    store: Store
    shards: Sequence[Shard]
    done: dict[str, Marker]
    why: dict[str, str]
    leftovers: Sequence[str]

    @property
    def todo(self) -> list[Shard]:
        """The shards to score."""
        return [shard for shard in self.shards if shard.name in self.why]

    @property
    def rows(self) -> int:
        """In all shards, by their footers and headers."""
        return sum(shard.rows for shard in self.shards)

    @property
    def rows_done(self) -> int:
        """In the shards that are done."""
        return sum(marker.rows for marker in self.done.values())

    def table(self) -> str:
        """A line per shard, for people to read."""
        lines = [f"{shard.rows:>14,}  {self.why.get(shard.name, 'done')}\t{shard.name}" for shard in self.shards]
        total = f"{len(self.shards):,} shards, {self.rows:,} rows; to score: {len(self.why):,} shards, "
        return "\n".join([*lines, f"{total}{self.rows - self.rows_done:,} rows"]).expandtabs(40)

    @property
    def finished(self) -> bool:
        """Whether an earlier run has done everything."""
        return not self.why and not self.leftovers and self.store.read(SUCCESS) is not None

    def prepare(self) -> None:
        """Take back what no longer holds: from now on a marker means that its shard is done."""
        self.store.remove(SUCCESS)
        self.store.write(SETTINGS, json.dumps(self.settings.told(), indent=1).encode())
        for name in [*self.leftovers, *(name for name, why in self.why.items() if why != NEW)]:
            self.store.remove(marker_name(name))
        for name in self.leftovers:
            self.store.remove(output_name(name))
            self.store.remove(failures_name(name))


def plan_run(
    shards: Sequence[Shard], settings: Settings, store: Store, overwrite: bool = False, verify: bool = False
) -> Plan:
    """Compare what is asked with what an earlier run has left.

    Parameters
    ----------
    shards, settings, store
    overwrite : bool
        Replace what was made with other settings, and what is in the way.
    verify : bool
        Read all inputs and outputs of finished shards again, in place of trusting sizes and time stamps.

    Raises
    ------
    InputError
        The output has files that the run would replace or that do not belong to it.
    """
    sizes = store.sizes()
    told = store.read(SETTINGS)
    if not overwrite:
        _refuse_others(store, sizes, told, settings, shards)
    markers = read_markers(store, sizes, Marker)
    leftovers = sorted(markers.keys() - {shard.name for shard in shards})
    if leftovers and not overwrite:
        raise InputError(
            f"expected the shards in {store.url} to be among the inputs, got {len(leftovers):,} that are not: "
            f"{', '.join(leftovers[:3])}. Write to another folder; or overwrite, which removes them"
        )
    look = partial(_why, settings=settings, store=store, sizes=sizes, verify=verify)
    with ThreadPoolExecutor(32) as threads:
        reasons = list(threads.map(look, shards, [markers.get(shard.name) for shard in shards]))
    why = {shard.name: reason for shard, reason in zip(shards, reasons, strict=True) if reason}
    done = {shard.name: markers[shard.name] for shard in shards if shard.name not in why}
    return Plan(settings, store, shards, done, why, leftovers)


def _why(
    shard: Shard, marker: Marker | None, settings: Settings, store: Store, sizes: dict[str, int], verify: bool
) -> str:
    """Why a shard is to be scored; nothing if it is done."""
    if marker is None:
        return NEW
    if marker.settings != settings.fingerprint:
        return "settings changed"
    # Another time stamp may be that of a copy, so the content decides.
    look = verify or not marker.made_from(shard)
    if look and (marker.rows != shard.rows or marker.content != content_of(shard, settings.read)):
        return "input changed"
    for name, written in ((output_name(shard.name), marker.output), (failures_name(shard.name), marker.failures)):
        if written and sizes.get(name) != written["bytes"]:
            return "output changed" if name in sizes else "output missing"
        if written and verify and store.sha256(name) != written["sha256"]:
            return "output changed"
    return ""


def _refuse_others(
    store: Store, names: Collection[str], told: bytes | None, settings: Settings, shards: Sequence[Shard]
) -> None:
    if told is None:
        in_the_way = [name for shard in shards if (name := output_name(shard.name)) in names]
        if in_the_way:
            raise InputError(
                f"expected no {in_the_way[0]} in {store.url} that is not of a job, got one: choose another folder, "
                "or overwrite it"
            )
        return
    changed = differences(json.loads(told), settings.told())
    if changed:
        raise InputError(
            f"expected the settings of the run whose output is in {store.url}, got others: {'; '.join(changed)}. Write "
            "to another folder; or overwrite, which scores again what they change"
        )
