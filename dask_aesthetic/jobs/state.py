"""Plans of durable jobs: the shards to write, and the results of a previous run."""

from __future__ import annotations

import json
import re
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Generic, Protocol, TypeVar

from dask_aesthetic.errors import AestheticError, InputError, first_line
from dask_aesthetic.in_threads import map_in_threads
from dask_aesthetic.io.job_folders import JOB_FOLDER, SETTINGS, SUCCESS
from dask_aesthetic.jobs.store import Store

# Readers of Parquet folders skip names with an underscore, but Dask goes by the suffix alone, so the files in the
# folder of failures have another one.
MARKERS, FAILED = f"{JOB_FOLDER}/markers", "_failed.parquet"
NEW = "new"
_DIGEST = re.compile("[0-9a-f]{32}|[0-9a-f]{64}")  # What it is of says its name.
Done = TypeVar("Done")
Stopped = Callable[[], bool] | None  # Whether a run ends early; None where nothing can say.


class Asked(Protocol):
    """Settings that shape every output."""

    def as_config(self) -> dict[str, Any]: ...

    @property
    def fingerprint(self) -> str: ...


@dataclass(frozen=True)
class JobPlan(ABC, Generic[Done]):
    """A job that can start: its inputs are readable, and no output is in the way.

    Attributes
    ----------
    settings : ScoreSettings
    store : Store
    shards : list of Shard or OutputShard
        Each has a name and a number of rows.
    done : dict of str to ShardMarker
        Markers of the shards that a previous run has done, by name.
    why : dict of str to str
        Reason to run each other shard.
    leftovers : list of str
        Shards of a previous run that the inputs no longer have.
    """

    settings: Any
    store: Store
    shards: Sequence[Any]
    done: Mapping[str, Done]
    why: Mapping[str, str]
    leftovers: Sequence[str]

    @property
    @abstractmethod
    def work(self) -> Callable[[Any, Stopped], Done]:
        """What runs a shard, on a worker, and returns its marker; it can be pickled."""

    @property
    @abstractmethod
    def task_name(self) -> str:
        """Name of the tasks on a cluster's dashboard."""

    @property
    def is_part(self) -> bool:
        """Whether others run the other parts of the job."""
        return bool(self.store.part)

    @property
    def first_timeout(self) -> float:
        """Seconds that the first shards may take before one counts as stuck."""
        return 0.0

    @staticmethod
    @abstractmethod
    def outputs(shard: str) -> tuple[str, ...]:
        """File names that a shard of this name may have."""

    @staticmethod
    def summarize(markers: Iterable[Done]) -> Any:  # noqa: ARG004
        """Summary of markers, to which that of others is added by ``+``; 0 unless a job has one."""
        return 0

    @abstractmethod
    def manifest(self, done: Sequence[Done]) -> dict[str, Any]:
        """Content of the manifest, from the markers of all shards."""

    @abstractmethod
    def table(self) -> str:
        """Listing of the shards, a line each."""

    @property
    def todo(self) -> list[Any]:
        """Shards to run."""
        return [shard for shard in self.shards if shard.name in self.why]

    @property
    def rows(self) -> int:
        """Number of rows in all shards."""
        return sum(shard.rows for shard in self.shards)

    @property
    def rows_done(self) -> int:
        """Number of rows in the shards that are done."""
        return sum(shard.rows for shard in self.shards if shard.name in self.done)

    @property
    def finished(self) -> bool:
        """Whether a previous run has finished the job, or this part of it."""
        if self.why or self.is_part:
            return not self.why
        return not self.leftovers and _is_complete(self.store.read(SUCCESS), len(self.shards))

    def to_dict(self) -> dict[str, Any]:
        """The plan as JSON values: its shards, and the reason to run each that is not done."""
        return {
            "output": self.store.url,
            "rows": self.rows,
            "rows_done": self.rows_done,
            "to_run": len(self.why),
            "shards": [
                {"name": shard.name, "rows": shard.rows, "reason": self.why.get(shard.name)} for shard in self.shards
            ],
            "settings": self.settings.as_config(),
        }

    def listed(self, total: str) -> str:
        """Listing of the shards, a line each, and a last line."""
        lines = [f"{shard.rows:>14,}  {self.why.get(shard.name, 'done')}\t{shard.name}" for shard in self.shards]
        return "\n".join([*lines, total]).expandtabs(40)

    def prepare(self) -> None:
        """Remove markers and outputs that no longer hold: afterwards a marker means that its shard is done."""
        self.store.remove(SUCCESS)
        self.store.write(SETTINGS, _json(self.settings.as_config()))
        for shard in [*self.leftovers, *(shard for shard, why in self.why.items() if why != NEW)]:
            self.store.remove(marker_name(shard))
        for shard in self.leftovers:
            for name in self.outputs(shard):
                self.store.remove(name)

    def succeed(self, markers: Mapping[str, Done]) -> None:
        """Write the manifest, the last file of a job, after the names of all others are on the disk; not for a part.

        Raises
        ------
        InputError
            A run beside this one has changed the settings: the shards of this one no longer count as done.
        """
        now = json.loads(self.store.read(SETTINGS) or b"{}")
        changed = _differences(self.settings.as_config(), now)
        if changed:
            raise InputError(
                f"expected {self.store.url} to keep the settings of this run, got those of a run beside it: "
                f"{'; '.join(changed)}. The shards of this one do not count: run again with the settings that you want"
            )
        by_folder = {shard.name.rpartition("/")[0]: shard.name for shard in self.shards}
        self.store.sync(name for shard in by_folder.values() for name in (*self.outputs(shard), marker_name(shard)))
        if not self.is_part:
            self.store.write(SUCCESS, _json(self.manifest([markers[shard.name] for shard in self.shards])))
            self.store.sync([SUCCESS])


@dataclass(frozen=True)
class PreviousRun(Generic[Done]):
    """Files of a previous run.

    Attributes
    ----------
    store : Store
    sizes : dict of str to int
        Of all files.
    settings : dict or None
        Its settings, as `as_config` gave them.
    markers : dict of str to ShardMarker
        By shard.
    """

    store: Store
    sizes: Mapping[str, int]
    settings: dict[str, Any] | None
    markers: Mapping[str, Done]

    @classmethod
    def of(cls, store: Store, kind: type[Done]) -> PreviousRun[Done]:
        """Previous run in a store, whose markers are of a kind."""
        try:
            sizes, settings = store.sizes(), store.read(SETTINGS)
            markers = read_markers(store, sizes, kind)
        except AestheticError:
            raise
        except Exception as error:  # Stores raise whatever their libraries raise, also without credentials.
            if store.folder is not None and not isinstance(error, OSError):
                raise
            raise InputError(
                f"expected an output that can be read and written, got {store.url}: {first_line(error)}. "
                + ("Check its permissions" if store.folder else "Check its name, and credentials or storage options")
            ) from error
        inner = next((name for name in sizes if name.endswith(f"/{SETTINGS}")), None)
        if inner is not None:
            raise InputError(
                f"expected an output folder apart from other jobs' outputs, got {store.url}, which holds that in "
                f"{inner.removesuffix(f'/{SETTINGS}')}: choose a folder beside it"
            )
        try:
            return cls(store, sizes, None if settings is None else json.loads(settings), markers)
        except ValueError as error:
            raise InputError(
                f"expected settings of an earlier run in {store.url}/{SETTINGS}, got a damaged file: remove it with "
                "the output of that run, or choose another folder"
            ) from error

    def beside(self, shards: Iterable[Any]) -> list[str]:
        """Names of the shards that are done and not among these."""
        return sorted(self.markers.keys() - {shard.name for shard in shards})

    def refuse(self, settings: Asked, shards: Iterable[Any], outputs: Callable[[str], Sequence[str]]) -> None:
        """Refuse other settings, shards that the inputs no longer have, and files that no job wrote.

        Raises
        ------
        InputError
        """
        where = self.store.url
        if self.settings is None:
            in_the_way = [name for shard in shards for name in outputs(shard.name) if name in self.sizes]
            if in_the_way:
                raise InputError(
                    f"expected no {in_the_way[0]} in {where} that is not of a job, got one: choose another folder, or "
                    "overwrite it"
                )
            return
        changed = _differences(self.settings, settings.as_config())
        if changed:
            raise InputError(
                f"expected the settings of the run whose output is in {where}, got others: {'; '.join(changed)}. Give "
                "the earlier ones; write to another folder; or overwrite (--overwrite), which writes again what they "
                "change"
            )
        leftovers = self.beside(shards)
        if leftovers:
            raise InputError(
                f"expected the shards in {where} to be among the inputs, got {len(leftovers):,} that are not: "
                f"{', '.join(leftovers[:3])}. Write to another folder; or overwrite (--overwrite), which removes them"
            )

    def compare(
        self, shards: Iterable[Any], settings: Asked, why_write: Callable[[Any, Done], str]
    ) -> tuple[dict[str, str], dict[str, Done]]:
        """Reasons to run shards, and the markers of the others, by name.

        Parameters
        ----------
        shards : list of shard
            Their markers' `made_from` takes a shard and the settings.
        settings : Asked
        why_write : callable
            Reason to write the files of a shard and its marker again, empty if they are there.
        """
        why, done = {}, {}
        for shard in shards:
            marker: Any = self.markers.get(shard.name)
            if marker is None:
                reason = NEW
            elif marker.settings != settings.fingerprint:
                reason = "settings changed"
            elif not marker.made_from(shard, settings):
                reason = "input changed"
            else:
                reason = why_write(shard, marker)
            if reason:
                why[shard.name] = reason
            else:
                done[shard.name] = marker
        return why, done

    def why_write(self, written: Mapping[str, Mapping[str, Any]]) -> str:
        """Reason to write files again, by name; empty if they are there."""
        for name, file in written.items():
            if self.sizes.get(name) != file["bytes"]:
                return "output changed" if name in self.sizes else "output missing"
        return ""


def marker_name(shard: str) -> str:
    """File name of a shard's marker."""
    return f"{MARKERS}/{shard}.json"


def read_markers(store: Store, names: Iterable[str], kind: type[Done]) -> dict[str, Done]:
    """Markers of a kind by shard; damaged ones are skipped."""
    wanted = [name for name in names if name.startswith(f"{MARKERS}/") and name.endswith(".json")]
    found = [_parsed(content, kind) for content in map_in_threads(store.read, wanted)]
    shards = [name.removeprefix(f"{MARKERS}/").removesuffix(".json") for name in wanted]
    return {shard: marker for shard, marker in zip(shards, found, strict=True) if marker is not None}


def read_marker(store: Store, shard: str, kind: type[Done]) -> Done | None:
    """Marker of a shard, None if it has none."""
    return _parsed(store.read(marker_name(shard)), kind)


def _is_complete(manifest: bytes | None, shards: int) -> bool:
    """Whether a manifest is there, undamaged, and lists so many shards."""
    try:
        return len(json.loads(manifest or b"")["shards"]) == shards
    except (ValueError, LookupError, TypeError):
        return False


def write_marker(store: Store, shard: str, values: Mapping[str, Any]) -> None:
    """Write the marker of a shard, whose output must be in place.

    A loss of power may take it back, and its output is written again.
    """
    store.write(marker_name(shard), json.dumps(values, sort_keys=True).encode(), durable=False)


def _parsed(content: bytes | None, kind: type[Done]) -> Done | None:
    try:
        return kind(**json.loads(content or b""))
    except (ValueError, TypeError, AssertionError):
        return None


def _differences(earlier: dict[str, Any], asked: dict[str, Any]) -> list[str]:
    """Differences of two `as_config`, for an error."""
    names = [name for name in {**earlier, **asked} if earlier.get(name) != asked.get(name)]
    return [one for name in names for one in _difference(name, earlier.get(name), asked.get(name))]


def _difference(name: str, earlier: Any, asked: Any) -> list[str]:
    if _is_digest(earlier) and _is_digest(asked):
        return [f"{name} is another"]
    if isinstance(earlier, dict) and isinstance(asked, dict) and earlier.keys() == asked.keys():
        return [f"{name}.{one}" for one in _differences(earlier, asked)]
    return [f"{name} was {_short(earlier)} and now is {_short(asked)}"]


def _is_digest(value: Any) -> bool:
    return isinstance(value, str) and _DIGEST.fullmatch(value) is not None


def _short(value: Any) -> str:
    if _is_digest(value):
        return "given"
    names = isinstance(value, dict) and all(isinstance(one, str) for one in value.values())
    return ", ".join(value) if names else repr(value)


def _json(values: dict[str, Any]) -> bytes:
    """JSON with a line per value and per element of a list, which may be an iterator."""
    lines = (
        json.dumps(value)
        if not isinstance(value, list | Iterator) or not value
        else "[\n  " + ",\n  ".join(map(json.dumps, value)) + "\n ]"
        for value in values.values()
    )
    inner = ",\n ".join(f"{json.dumps(name)}: {line}" for name, line in zip(values, lines, strict=True))
    return f"{{\n {inner}\n}}".encode()
