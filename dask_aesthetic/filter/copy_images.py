"""Copying of one shard of image files: the list of its copies, each file under its name, then the marker."""

from __future__ import annotations

import errno
import os
import shutil
from dataclasses import asdict
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from dask_aesthetic.errors import InputError, JobError, JobStoppedError
from dask_aesthetic.filter.images import SCORES, KeptImages
from dask_aesthetic.filter.output import FilterMarker, find_done
from dask_aesthetic.filter.settings import ImageFilterSettings
from dask_aesthetic.io.storage import BLOCK, File, escape_undecodable, local_file
from dask_aesthetic.jobs.state import Stopped, write_marker
from dask_aesthetic.jobs.store import Store

# Another disk, a disk without links, too many links, a file of another owner.
_NO_LINK = {errno.EXDEV, errno.EPERM, errno.EMLINK, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOSYS}


def copy_images(
    kept: KeptImages, stopped: Stopped = None, *, settings: ImageFilterSettings, store: Store
) -> FilterMarker:
    """Marker of a shard after its files are in the output folder and the marker is written.

    Raises
    ------
    InputError
        A file has changed since the job was planned.
    JobError
        The disk does not take a hard link.
    JobStoppedError
        `stopped` says so; files that are copied stay.
    """
    done = find_done(kept, settings, store)
    if done is not None:
        return done
    listed = list_name(kept.name)
    with store.temporary(listed) as path:
        pq.write_table(_table(kept, settings), path)
        # Before its files are: whatever becomes of this run, a later one can say which files are of the job.
        written = store.place(path, listed)
    for file, name in zip(kept.files, kept.names, strict=True):
        if stopped is not None and stopped():
            raise JobStoppedError
        with store.temporary(name) as path:
            if settings.link:
                _link(file, path, store)
            else:
                _copy(file, path)
            store.move(path, name, durable=not settings.link)
    marker = FilterMarker(
        shard=kept.name,
        settings=settings.fingerprint,
        inputs=kept.inputs,
        content=kept.content,
        rows=kept.rows,
        members=kept.rows,
        output={listed: written},
        notes={},
    )
    write_marker(store, kept.name, asdict(marker))
    return marker


def list_name(shard: str) -> str:
    """File name of the list of a shard's copies."""
    return f"{SCORES}/{shard}.parquet"


def _copy(file: File, path: Path) -> None:
    """Copy content and time; the permissions are those of a new file."""
    if not file.is_local:
        with path.open("wb") as stream:
            for begin in range(0, file.size, BLOCK):
                stream.write(file.read(begin, min(BLOCK, file.size - begin)))
        return
    _refuse_changed(file)
    shutil.copyfile(file.path, path)
    _refuse_changed(file)
    os.utime(path, ns=(os.stat(file.path).st_atime_ns, int(file.version)))


def _link(file: File, path: Path, store: Store) -> None:
    _refuse_changed(file)
    try:
        os.link(os.path.realpath(file.path), path)
    except OSError as error:
        if error.errno not in _NO_LINK:
            raise
        raise JobError(
            f"expected to link {file.path} into {store.url}, got: {error.strerror}. Write to another folder without "
            "link=True (--link), which copies the files"
        ) from error


def _refuse_changed(file: File) -> None:
    if local_file(file.path) != file or not os.path.isfile(file.path):
        raise InputError(f"expected {file.path} as it was when it was found, got another file: start again")


def _table(kept: KeptImages, settings: ImageFilterSettings) -> pa.Table:
    names = pa.array(kept.names, pa.string())
    sources = pa.array([escape_undecodable(file.path) for file in kept.files], pa.string())
    scores = pa.array(kept.scores, mask=kept.scores != kept.scores)
    keep = pa.repeat(pa.scalar(True), len(names))
    return pa.table([names, sources, scores, keep], schema=settings.schema)
