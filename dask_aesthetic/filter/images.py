"""Image files to keep: a join of scored rows with the files of a folder, and the names of the copies."""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import PurePosixPath
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
import xxhash

from dask_aesthetic.errors import InputError
from dask_aesthetic.filter.scores import KEY, Counts, Scored
from dask_aesthetic.io.image_shards import PATH, ImageFilesShard, find_image_shards
from dask_aesthetic.io.job_folders import JOB_FOLDER, SUCCESS
from dask_aesthetic.io.listing import Source, list_files
from dask_aesthetic.io.samples import format_name, unsafe_reason
from dask_aesthetic.io.storage import File, escape_undecodable, is_url
from dask_aesthetic.jobs.store import TEMPORARY, Store

SCORES = "_scores"  # Folder of the lists of copies. Readers of images and of Parquet folders skip its files.
PER_SHARD = 1000  # Image files between two markers.


@dataclass(frozen=True)
class KeptImages:
    """Kept image files of a folder, or of a part of one.

    Attributes
    ----------
    shard : ImageFilesShard
        The files.
    names : list of str
        Of the copies, relative to the output folder.
    scores : numpy.ndarray of float32
    """

    shard: ImageFilesShard
    names: Sequence[str]
    scores: np.ndarray

    @property
    def name(self) -> str:
        """Name of the shard."""
        return self.shard.name

    @property
    def rows(self) -> int:
        """Number of files."""
        return len(self.names)

    @property
    def files(self) -> tuple[File, ...]:
        """The files to copy."""
        return self.shard.images

    @property
    def inputs(self) -> list[list[Any]]:
        """Size of all files together, and a digest of their paths, sizes and versions."""
        return self.shard.versions

    @property
    def content(self) -> str:
        """xxh3_128, in hexadecimal, of the names and scores."""
        state = xxhash.xxh3_128(json.dumps(list(self.names)).encode())
        state.update(self.scores.tobytes())
        return state.hexdigest()


def join_images(
    table: pa.Table, source: Source, options: Mapping[str, Any] | None
) -> tuple[list[KeptImages], Counts, str]:
    """Kept images of each shard, counts, and the path of one row to keep without a file (empty if there is none).

    A row's path is that of the file; or relative, to the working folder or to the folder of the images.

    Parameters
    ----------
    table : pyarrow.Table
        As of `score_table`, with the column ``image_path``.
    source : str, path, or list of them
        Image files.
    options : mapping, optional
        fsspec's storage options.

    Raises
    ------
    InputError
        There are no image files, or a path has several rows.
    """
    found = list_files(source, options)
    relative = {one.file.path: PurePosixPath(one.name).as_posix() for one in found}
    shards = [
        shard
        for shard in find_image_shards(source, format="images", rows_per_shard=PER_SHARD, found=found)
        if isinstance(shard, ImageFilesShard)
    ]
    files = [file for shard in shards for file in shard.images]
    names = [relative[file.path] for file in files]
    table = table.filter(pc.is_valid(table.column(PATH)))
    given = pd.Index(table.column(PATH).to_numpy(), dtype=object)
    paths = [path if os.path.isabs(path) or is_url(path) else os.path.abspath(path) for path in given]
    scored = Scored.of(
        pa.table({KEY: paths, "score": table.column("score"), "keep": table.column("keep")}),
        "expected a row per image file, got several of {}: drop repeated rows",
    )
    rows = scored.keys.get_indexer(pd.Index([escape_undecodable(file.path) for file in files], dtype=object))
    rows = np.where(rows < 0, given.get_indexer(pd.Index(names, dtype=object)), rows)
    has_row = rows >= 0
    keep = has_row & scored.keep[rows] if len(scored.keep) else has_row
    used = np.zeros(len(scored.keep), bool)
    used[rows[has_row]] = True
    missing = scored.keep & ~used
    counts = Counts(len(files), int(keep.sum()), int((~has_row).sum()), int(missing.sum()))
    kept, at = [], 0
    for shard in shards:
        here = at + np.flatnonzero(keep[at : at + len(shard.images)])
        at += len(shard.images)
        images = replace(shard, images=tuple(files[one] for one in here), rows=len(here), start=0)
        kept.append(KeptImages(images, [names[one] for one in here], scored.scores[rows[here]]))
    return kept, counts, str(given[int(missing.argmax())]) if missing.any() else ""


def refuse_names(kept: Iterable[KeptImages], store: Store) -> None:
    """Refuse names that lead out of the output folder, that the job needs itself, or that several files would have.

    Raises
    ------
    InputError
    """
    by_name: dict[str, File] = {}
    for one in kept:
        for name in (one.name, *one.names):
            unsafe = unsafe_reason(name)
            if unsafe is not None:
                raise InputError(
                    f"expected names of images within their folder, got {format_name(name)}, which {unsafe}"
                )
        for name, file in zip(one.names, one.files, strict=True):
            if is_reserved(name):
                raise InputError(f"expected images of other names than this job's own files, got {name}: rename it")
            if name in by_name:
                raise InputError(
                    f"expected image files of different names, got {by_name[name].path} and {file.path}, both {name}: "
                    "name the folder that holds both"
                )
            by_name[name] = file
    folders = {str(folder) for name in by_name for folder in PurePosixPath(name).parents}
    both = next((name for name in by_name if name in folders), None)
    if both is not None:
        raise InputError(f"expected image files and folders of different names, got the file and the folder {both}")
    if store.folder is not None:
        top = os.path.realpath(store.folder)
        for folder in sorted(folders):
            real = os.path.realpath(os.path.join(top, folder))
            if real != top and not real.startswith(os.path.join(top, "")):
                raise InputError(
                    f"expected folders within {store.url}, got {folder}, a link to {real}: choose another folder"
                )


def is_reserved(name: str) -> bool:
    """Whether a name in the output folder is for files of the job itself."""
    parts = name.split("/")
    return name == SUCCESS or parts[0] in (JOB_FOLDER, SCORES) or any(part.startswith(TEMPORARY) for part in parts)
