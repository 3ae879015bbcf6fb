"""Scoring of one shard: batches are read, scored and written without their embeddings; the marker comes last."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from dask_aesthetic.errors import InputError, JobStoppedError, UnusableError
from dask_aesthetic.id_columns import find_id_column, repeating_columns
from dask_aesthetic.io.shards import Shard
from dask_aesthetic.io.storage import Digests
from dask_aesthetic.jobs.markers import ShardMarker, content_of, failures_name, output_name
from dask_aesthetic.jobs.settings import (
    STATUS_COLUMN,
    TEXT_STATUS_COLUMN,
    ScoreSettings,
    named_statuses,
    status_type,
)
from dask_aesthetic.jobs.state import Stopped, read_marker
from dask_aesthetic.jobs.store import Store
from dask_aesthetic.jobs.summary import JobSummary
from dask_aesthetic.keep_rule import add_rule_counts
from dask_aesthetic.scoring import score_array
from dask_aesthetic.shard_scores import Scored, score_batches
from dask_aesthetic.thresholds import SCALES

ROW_GROUP = 1 << 16
Watch = Callable[[Iterator[Any]], Iterator[Any]]
ScoreBatches = Callable[[Shard, Any, Watch, Digests], Iterator[Scored]]
FAILED_SCHEMA = pa.schema(
    {"shard": pa.dictionary(pa.int32(), pa.string()), "row": pa.int64(), "key": pa.string(), "status": status_type()}
)


def score_shard(
    shard: Shard,
    stopped: Stopped = None,
    *,
    settings: ScoreSettings,
    store: Store,
    score: ScoreBatches,
    allow_unusable: bool = False,
) -> ShardMarker:
    """Marker of a shard after its output, the list of its failed rows and the marker itself are written.

    Parameters
    ----------
    shard : Shard
    stopped : callable, optional
        Says whether to end early.
    settings : ScoreSettings
    store : Store
    score : callable
        ``score(shard, settings, watch, digests)`` iterates over the shard's scored rows; `watch` wraps the iterator
        that reads them, and may raise.
    allow_unusable : bool

    Raises
    ------
    InputError
        Its files are damaged or have changed.
    UnusableError
        No row has a usable embedding or image, and `allow_unusable` does not allow that.
    InvalidEmbeddingError, InvalidImageError
        Under ``on_invalid="raise"``.
    JobStoppedError
        `stopped` says so; nothing is left behind.
    """
    done = _done(shard, settings, store)
    if done is not None:  # By a worker that was lost before it could answer.
        return done
    output, failures = output_name(shard.name), failures_name(shard.name)
    before = shard.local_files() if shard.digests_in_passing else []
    content = None if shard.digests_in_passing else content_of(shard, settings.read)
    digests: Digests = {}
    with ExitStack() as stack:
        temporary = stack.enter_context(store.temporary(output))
        with _Writer(temporary, settings) as writer:
            for group in _groups(score(shard, settings, partial(_until, stopped), digests)):
                writer.write(group)
        summary, listed = writer.summary, None
        if not summary.scored and not allow_unusable and not settings.benign_statuses.issuperset(summary.failed):
            raise UnusableError(shard.name, settings.column, summary.rows, summary.failed)
        if settings.texts is not None and not allow_unusable and summary.rows == sum(summary.text_failed.values()):
            raise UnusableError(shard.name, settings.texts.column, summary.rows, summary.text_failed)
        if content is None:
            content = content_of(shard, settings.read, digests)
            for file, now in zip(before, shard.local_files(), strict=True):
                if file != now:  # Some of the digest may be of bytes that were not scored.
                    raise InputError(f"expected {file.path} as it was when its rows were read, got another version")
        path = None
        if writer.failed:
            path = stack.enter_context(store.temporary(failures))
            pq.write_table(writer.failures(shard.name), path)
        done = _done(shard, settings, store)
        if done is not None:  # Meanwhile, by another task of the same shard: Dask may give one to two workers.
            return done
        if path is not None:
            listed = store.place(path, failures)
        else:
            store.remove(failures)
        written = store.place(temporary, output)
    marker = ShardMarker(
        shard=shard.name,
        settings=settings.fingerprint,
        inputs=shard.versions,
        content=content,
        rows=shard.rows,
        scored=summary.scored,
        kept=summary.kept,
        in_place=summary.in_place,
        failed=dict(sorted(summary.failed.items())),
        output=written,
        failures=listed,
        distribution=summary.distribution.to_json(),
        others={name: one.to_json() for name, one in summary.others.items()},
        rule_counts=asdict(summary.rule_counts) if summary.rule_counts is not None else {},
        text_failed=summary.text_failed,
    )
    marker.write(store)
    return marker


def _done(shard: Shard, settings: ScoreSettings, store: Store) -> ShardMarker | None:
    """Marker of the shard if it is of these settings and files, else None."""
    marker = read_marker(store, shard.name, ShardMarker)
    if marker is None or marker.settings != settings.fingerprint or not marker.made_from(shard):
        return None
    return marker


def embedding_batches(shard: Shard, settings: ScoreSettings, watch: Watch, digests: Digests) -> Iterator[Scored]:
    """Rows of a shard of embeddings, scored; for `score_shard`.

    Raises
    ------
    InvalidEmbeddingError
        Under ``on_invalid="raise"``.
    """
    column, spec = settings.embedding_column, settings.spec
    if not settings.needs_embeddings:
        yield from watch(score_batches(shard, settings.read, spec, digests))
        return
    read = 0
    for passthrough, lists in watch(shard.batches(settings.read, digests=digests)):
        place = f"shard {shard.name}"
        scores, status = score_array(lists, spec, column, place, read)
        if pa.types.is_null(shard.scored_type):  # Lists of lists of nulls cannot be cast.
            lists = pa.nulls(len(lists))
        yield Scored(settings.with_embedding(passthrough, lists, status, place, read), scores, status)
        read += len(status)


def _groups(batches: Iterator[Scored]) -> Iterator[list[Scored]]:
    """Scored rows of a shard, a list of batches per row group; one empty list if there are no rows."""
    waiting: list[Scored] = []
    read = ready = 0
    for scored in batches:
        waiting.append(scored)
        read += len(scored.status)
        ready += len(scored.status)
        if ready >= ROW_GROUP:
            yield waiting
            waiting, ready = [], 0
    if waiting or not read:
        yield waiting


def _until(stopped: Stopped, batches: Iterator[Any]) -> Iterator[Any]:
    for batch in batches:
        if stopped is not None and stopped():
            raise JobStoppedError
        yield batch


class _Writer:
    """Writer of a shard's output, which also counts its rows."""

    def __init__(self, path: Path, settings: ScoreSettings) -> None:
        self.settings, self.schema = settings, settings.schema
        self.summary = JobSummary(files=1)
        self.failed: list[pa.Table] = []
        self._rows = 0
        self._key = find_id_column(settings.passthrough.names)
        unique = [*settings.spec.score_columns, *([settings.texts.spec.similarity_column] if settings.texts else [])]
        repeating = repeating_columns(self.schema.names, unique)
        self._file = pq.ParquetWriter(path, self.schema, use_dictionary=repeating)

    def __enter__(self) -> _Writer:
        return self

    def __exit__(self, *error: object) -> None:
        self._file.close()

    def write(self, group: list[Scored]) -> None:
        """Write and count a row group; counting costs per call, so it is not done batch by batch."""
        spec = self.settings.spec
        nothing = np.empty((len(spec.predictors), 0), np.float32)
        each = np.concatenate([nothing, *(one.scores for one in group)], axis=1)
        status = np.concatenate([np.empty(0, np.uint8), *(one.status for one in group)])
        scores = dict(zip(spec.score_columns, each, strict=True))
        raw = {name: row * SCALES[spec.scale_of(at)] for at, (name, row) in enumerate(scores.items())}
        scored = np.isfinite(each[0])
        passthrough = pa.Table.from_batches([one.passthrough for one in group], _like(group, self.settings.passthrough))
        passthrough = passthrough.cast(self.settings.passthrough)
        written = {name: pa.array(row, mask=~np.isfinite(row)) for name, row in scores.items()}
        if spec.keep_spec is not None:
            columns = {name: written[name] if name in written else passthrough[name] for name in spec.keep_spec.columns}
            found, counts = spec.keep_spec.evaluate(columns)
            keep = {spec.keep_column: found}
            self.summary.rule_counts = add_rule_counts([self.summary.rule_counts, counts])
        else:
            keep = {name: scored & found for name, found in spec.keep(scores).items()}
        self.summary.count(raw, keep.get(spec.keep_column), status, self.settings.statuses)
        if self.settings.texts is not None:
            name = self.settings.texts.spec.similarity_column
            self.summary.count_texts(name, passthrough[name], status, passthrough[TEXT_STATUS_COLUMN])
        self.summary.in_place += sum(one.in_place for one in group)
        added = [
            *written.values(),
            *map(pa.array, keep.values()),
            named_statuses(status, self.settings.statuses),
        ]
        table = pa.table([*passthrough.columns, *added], schema=self.schema)
        self._note_failures(table, scored)
        self._file.write_table(table.filter(table[spec.keep_column]) if self.settings.keep_only else table)
        self._rows += len(status)

    def _note_failures(self, table: pa.Table, scored: np.ndarray) -> None:
        at = np.flatnonzero(~scored)
        if not len(at):
            return
        rows = table.take(pa.array(at))
        key = rows.column(self._key).cast(pa.string()) if self._key is not None else pa.nulls(len(at), pa.string())
        self.failed.append(
            pa.table({"row": pa.array(at + self._rows), "key": key, "status": rows.column(STATUS_COLUMN)})
        )

    def failures(self, shard: str) -> pa.Table:
        """Table of the failed rows that were written."""
        rows = pa.concat_tables(self.failed)
        name = pa.DictionaryArray.from_arrays(pa.array(np.zeros(len(rows), np.int32)), pa.array([shard]))
        return pa.table([name, *rows.columns], schema=FAILED_SCHEMA)


def _like(group: list[Scored], schema: pa.Schema) -> pa.Schema:
    """Schema of a group's batches, which may differ from the output's in an all-null column."""
    return group[0].passthrough.schema if group else schema
