"""Selection of one file of scores: its rows are copied with another ``keep``; the marker comes last."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from dask_aesthetic.errors import JobStoppedError
from dask_aesthetic.id_columns import repeating_columns
from dask_aesthetic.io import parquet
from dask_aesthetic.io.storage import changed_error
from dask_aesthetic.jobs.markers import output_name
from dask_aesthetic.jobs.state import Stopped, read_marker, write_marker
from dask_aesthetic.jobs.store import Store
from dask_aesthetic.keep_rule import RuleCounts
from dask_aesthetic.score_files import ScoreFile
from dask_aesthetic.select.settings import SelectSettings

COUNTS = ("rows", "scored", "kept", "excluded", "included", "include_matches", "duplicates")


@dataclass(frozen=True)
class SelectShard:
    """A file of scores, and its number among them."""

    source: ScoreFile
    number: int

    @property
    def name(self) -> str:
        return self.source.name

    @property
    def rows(self) -> int:
        return self.source.rows


@dataclass(frozen=True)
class SelectMarker:
    """Marker of a written output.

    Attributes
    ----------
    shard : str
    settings : str
        Fingerprint of the settings.
    inputs : list of [int, str]
        Size and version of the file of scores.
    rows, scored, kept, excluded, included : int
        Rows of the file, and of these with a score, kept, excluded by id, and kept by id alone.
    include_matches, duplicates : int
        Rows to include by id, and rows with the hash of another one that stays.
    output : dict
        ``bytes`` and ``sha256`` of the output.
    rule_counts : dict
        `RuleCounts` as a dict; empty without a rule and override.
    """

    shard: str
    settings: str
    inputs: list[list[Any]]
    rows: int
    scored: int
    kept: int
    excluded: int
    included: int
    include_matches: int
    duplicates: int
    output: dict[str, Any]
    rule_counts: dict[str, Any] = field(default_factory=dict)

    @property
    def failed(self) -> dict[str, int]:
        """Empty: a select job has no failed rows."""
        return {}

    def made_from(self, shard: SelectShard, settings: SelectSettings) -> bool:
        """Whether settings and file are unchanged."""
        asked = (settings.fingerprint, shard.source.versions)
        return (self.settings, self.inputs) == asked


def select_shard(
    shard: SelectShard, stopped: Stopped = None, *, settings: SelectSettings, store: Store
) -> SelectMarker:
    """Marker of a file of scores after its output and the marker itself are written.

    Raises
    ------
    InputError
        The file is damaged, or has changed since it was found.
    JobStoppedError
        `stopped` says so; nothing is left behind.
    """
    done = _done(shard, settings, store)
    if done is not None:  # By a task whose answer was lost.
        return done
    output = output_name(shard.name)
    with store.temporary(output) as path:
        counts = _write(path, shard, settings, stopped)
        done = _done(shard, settings, store)
        if done is not None:  # Meanwhile, by another task of the same shard.
            return done
        written = store.place(path, output)
    marker = SelectMarker(shard.name, settings.fingerprint, shard.source.versions, **counts, output=written)
    write_marker(store, shard.name, asdict(marker))
    return marker


def _done(shard: SelectShard, settings: SelectSettings, store: Store) -> SelectMarker | None:
    marker = read_marker(store, shard.name, SelectMarker)
    return marker if marker is not None and marker.made_from(shard, settings) else None


def _write(path: Path, shard: SelectShard, settings: SelectSettings, stopped: Stopped) -> dict[str, Any]:
    """Counts of the rows that were written."""
    file, source, schema = shard.source.file, settings.source, settings.schema
    counts, rule_counts = dict.fromkeys(COUNTS, 0), RuleCounts()
    repeating = repeating_columns(schema.names, [settings.rule.score_column, *settings.provenance.score_columns])
    with pq.ParquetWriter(path, schema, use_dictionary=repeating) as output:
        for batch in parquet.batches(file, source.names, batch_rows=parquet.TABLE_BATCH_ROWS):
            if stopped is not None and stopped():
                raise JobStoppedError
            selected = settings.rule.select(batch, shard.number, counts["rows"])
            columns = dict(zip(batch.schema.names, batch.columns, strict=True))
            columns[settings.keep_column] = pa.array(selected.keep)
            if not columns.keys() >= set(schema.names):
                raise changed_error([file], 0, shard.rows, "other columns")
            table = pa.table({name: columns[name] for name in schema.names}).cast(schema)
            output.write_table(table.filter(columns[settings.keep_column]) if settings.keep_only else table)
            found = vars(selected) | {"rows": len(batch), "kept": int(selected.keep.sum())}
            counts = {name: count + found[name] for name, count in counts.items()}
            rule_counts += selected.rule_counts
    if counts["rows"] != shard.rows:
        raise changed_error([file], 0, shard.rows, f"{counts['rows']:,}")
    return {**counts, "rule_counts": asdict(rule_counts) if settings.rule.is_counted else {}}
