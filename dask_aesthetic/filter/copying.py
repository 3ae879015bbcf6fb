"""Copying of one output: members of the kept samples into a tar, their scores into a Parquet file, then its marker."""

from __future__ import annotations

import io
import json
import math
import tarfile
from collections import Counter
from copy import copy
from dataclasses import asdict
from pathlib import Path
from tarfile import TarInfo
from typing import IO, Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from dask_aesthetic.errors import InputError, JobStoppedError
from dask_aesthetic.filter.output import FilterMarker, OutputShard, find_done, output_names
from dask_aesthetic.filter.scores import KeptSamples
from dask_aesthetic.filter.settings import FilterSettings
from dask_aesthetic.io.samples import LARGEST, Sample
from dask_aesthetic.io.tar import open_tar, read_index, read_member
from dask_aesthetic.io.webdataset import join
from dask_aesthetic.jobs.state import Stopped, write_marker
from dask_aesthetic.jobs.store import Store


def copy_output(shard: OutputShard, stopped: Stopped = None, *, settings: FilterSettings, store: Store) -> FilterMarker:
    """Marker of an output tar after the tar, its Parquet file and the marker itself are written.

    Raises
    ------
    InputError
        A tar has changed since the job was planned.
    JobStoppedError
        `stopped` says so; nothing is left behind.
    """
    done = find_done(shard, settings, store)
    if done is not None:
        return done
    tar, table = output_names(shard.name)
    with store.temporary(table) as table_path, store.temporary(tar) as tar_path:
        notes = _write_table(table_path, shard, settings)
        members, unchanged = _write_tar(tar_path, shard, settings, stopped)
        done = find_done(shard, settings, store)
        if done is not None:  # Meanwhile, by another task of the same output.
            return done
        written = {table: store.place(table_path, table), tar: store.place(tar_path, tar)}
    marker = FilterMarker(
        shard=shard.name,
        settings=settings.fingerprint,
        inputs=shard.inputs,
        content=shard.content,
        rows=shard.rows,
        members=members,
        output=written,
        notes=dict(+Counter({"json_unchanged": unchanged, "duplicate_row": notes})),
    )
    write_marker(store, shard.name, asdict(marker))
    return marker


def _write_tar(path: Path, shard: OutputShard, settings: FilterSettings, stopped: Stopped) -> tuple[int, int]:
    """Number of members after they are copied, and of JSON sidecars that take no score."""
    members = unchanged = 0
    with tarfile.open(path, "w", format=tarfile.PAX_FORMAT, encoding="utf-8") as output:
        for kept in shard.kept_samples:
            samples = {sample.key: sample for sample in read_index(kept.tar.file).samples}
            with open_tar(kept.tar.file) as stream:
                for key, score in zip(kept.keys.to_pylist(), kept.scores, strict=True):
                    if stopped is not None and stopped():
                        raise JobStoppedError
                    if key not in samples:
                        raise InputError(f"expected sample {key!r} in {kept.tar.file.path}, got none: it has changed")
                    its, left = _copy(output, stream, samples[key], settings, score)
                    members, unchanged = members + its, unchanged + left
    return members, unchanged


def _copy(
    output: tarfile.TarFile, stream: IO[bytes], sample: Sample, settings: FilterSettings, score: np.float32
) -> tuple[int, int]:
    """Number of a sample's members after they are copied in order, and of its JSON sidecars that take no score."""
    members, unchanged = len(sample.members), 0
    for extension, member in sample.members.items():
        data = None
        if settings.score_in_json and extension == "json":
            data = _with_score(stream, member, settings.score_column, score)
            unchanged = int(data is None)
        if data is None:
            stream.seek(member.offset_data)
            output.addfile(_header(member), stream)
        else:
            output.addfile(_header(member, size=len(data)), io.BytesIO(data))
    if settings.score_in_json and "json" not in sample.members:
        data = _dumped({settings.score_column: _as_json(score)})
        first = next(iter(sample.members.values()))
        output.addfile(_header(first, name=f"{sample.key}.json", size=len(data)), io.BytesIO(data))
        members += 1
    return members, unchanged


def _header(member: TarInfo, **changes: Any) -> TarInfo:
    """Header of a regular file with the member's name, size, time, owner and permissions."""
    header = copy(member)
    header.type, header.linkname, header.mode = tarfile.REGTYPE, "", member.mode & 0o777
    # tarfile reads infinite times, and cannot write them.
    header.mtime = member.mtime if math.isfinite(member.mtime) else 0
    for name, value in changes.items():
        setattr(header, name, value)
    return header


def _with_score(stream: IO[bytes], member: TarInfo, name: str, score: np.float32) -> bytes | None:
    """JSON object of a member with the score added; None if the member holds no object."""
    if member.size > LARGEST:
        return None
    try:
        values = json.loads(read_member(stream, member))
        return _dumped({**values, name: _as_json(score)}) if isinstance(values, dict) else None
    except InputError:
        raise
    except (ValueError, RecursionError):
        return None


def _dumped(values: dict[str, Any]) -> bytes:
    return json.dumps(values).encode()


def _as_json(score: np.float32) -> float | None:
    """Shortest number that reads back as this float32."""
    return float(str(score)) if math.isfinite(score) else None


def _write_table(path: Path, shard: OutputShard, settings: FilterSettings) -> int:
    """Number of keys with several rows of metadata, after keys, metadata and scores are written in the tar's order."""
    repeated = 0
    with pq.ParquetWriter(path, settings.schema) as output:
        for kept in shard.kept_samples:
            table, several = _table(kept, settings)
            output.write_table(table)
            repeated += several
    return repeated


def _table(kept: KeptSamples, settings: FilterSettings) -> tuple[pa.Table, int]:
    passthrough, repeated = settings.passthrough, 0
    if kept.tar.metadata is None:
        columns = [pa.nulls(len(kept), field.type) for field in passthrough]
    else:
        known = pa.array([sample.key for sample in read_index(kept.tar.file).samples], pa.string())
        joined, several, _ = join(kept.tar.metadata, passthrough, kept.keys, known)
        columns, repeated = joined.columns, len(several)
    scores = pa.array(kept.scores, mask=~np.isfinite(kept.scores))
    source = pa.repeat(pa.scalar(kept.tar.name), len(kept))
    keep = pa.repeat(pa.scalar(True), len(kept))
    return pa.table([kept.keys, *columns, source, scores, keep], schema=settings.schema), repeated
