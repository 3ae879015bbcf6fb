"""Plan of a filter job over image files: which to copy or to link, and which of an earlier run to remove."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, ClassVar

import pyarrow as pa
import pyarrow.parquet as pq

from dask_aesthetic.errors import ArgumentError, InputError
from dask_aesthetic.filter.copy_images import copy_images, list_name
from dask_aesthetic.filter.images import SCORES, KeptImages, is_reserved, join_images, refuse_names
from dask_aesthetic.filter.output import FilterMarker
from dask_aesthetic.filter.plan import FilterPlan
from dask_aesthetic.filter.settings import ImageFilterSettings
from dask_aesthetic.io.image_shards import PATH
from dask_aesthetic.io.job_folders import SUCCESS
from dask_aesthetic.io.listing import Source
from dask_aesthetic.jobs.state import PreviousRun, Stopped
from dask_aesthetic.jobs.store import Store, refuse_overlap


@dataclass(frozen=True)
class ImageFilterPlan(FilterPlan):
    """A filter job over image files that can start.

    Attributes
    ----------
    stale : list of str
        Files of an earlier run that this one does not keep.
    """

    unit: ClassVar[str] = "images"

    stale: Sequence[str]

    @property
    def work(self) -> Callable[[KeptImages, Stopped], FilterMarker]:
        return partial(copy_images, settings=self.settings, store=self.store)

    @staticmethod
    def outputs(shard: str) -> tuple[str, ...]:
        return (list_name(shard),)

    def total_bytes(self, done: Sequence[FilterMarker]) -> int:
        return super().total_bytes(done) + sum(file.size for shard in self.shards for file in shard.files)

    def prepare(self) -> None:
        self.store.remove(SUCCESS)
        for name in self.stale:
            self.store.remove(name)
        super().prepare()

    def succeed(self, markers: Mapping[str, FilterMarker]) -> None:
        self.store.sync(name for shard in self.shards for name in shard.names)
        super().succeed(markers)


def plan_images(
    table: pa.Table,
    source: Source,
    store: Store,
    settings: ImageFilterSettings,
    options: Mapping[str, Any] | None,
    allow_unmatched: bool,
    overwrite: bool,
) -> ImageFilterPlan:
    """Plan of a filter job over image files; arguments and errors as of `filter_dataset`."""
    shards, counts, missing = join_images(table, source, options)
    refuse_overlap(source, [file for shard in shards for file in shard.files], store)
    if missing and not allow_unmatched:
        raise InputError(
            f"expected an image file for each row to keep, got none for {counts.missing:,} rows, such as {missing!r} "
            "in image_path: name all folders that were scored, where they were scored; or allow_unmatched=True "
            "(--allow-unmatched), which copies the files that are there"
        )
    if counts.unscored and not allow_unmatched:
        raise InputError(
            f"expected a scored row for each of {counts.samples:,} image files, got none for {counts.unscored:,}: "
            "score all of them; or allow_unmatched=True (--allow-unmatched), which keeps no file without a row"
        )
    refuse_names(shards, store)
    if settings.link:
        _refuse_link(shards, store)
    left = PreviousRun.of(store, FilterMarker)
    if not overwrite:
        outputs = {shard.name: (list_name(shard.name), *shard.names) for shard in shards}
        left.refuse(settings, shards, outputs.__getitem__)

    def why_write(shard: KeptImages, marker: FilterMarker) -> str:
        files = {name: {"bytes": file.size} for name, file in zip(shard.names, shard.files, strict=True)}
        return left.why_write({**marker.output, **files})

    why, done = left.compare(shards, settings, why_write)
    return ImageFilterPlan(
        settings, store, shards, done, why, left.beside(shards), counts, _find_stale(left, shards, done)
    )


def _find_stale(left: PreviousRun[FilterMarker], shards: Sequence[KeptImages], done: Mapping[str, Any]) -> list[str]:
    """Files that lists of an earlier run name, and lists, which are not among these shards."""
    if left.settings is None:
        return []
    lists = {list_name(shard.name) for shard in shards}
    wanted = lists.union(*(shard.names for shard in shards))
    there = {name for name in left.sizes if name.startswith(f"{SCORES}/") and name.endswith(".parquet")}
    stale = there - lists
    for name in there - {list_name(shard) for shard in done}:
        try:
            with left.store.open(name) as stream:
                named = pq.read_table(stream, columns=[PATH])[PATH].to_pylist()
        except (pa.ArrowException, OSError, KeyError):
            continue  # Damaged: what it named stays.
        # Only files that are there, so that no list can name one elsewhere.
        stale |= {one for one in named if one in left.sizes and one not in wanted and not is_reserved(one)}
    return sorted(stale)


def _refuse_link(shards: Sequence[KeptImages], store: Store) -> None:
    """Refuse hard links that the disks do not allow, as far as can be said before."""
    remote = next((file.path for shard in shards for file in shard.files if not file.is_local), None)
    if store.folder is None or remote is not None:
        raise ArgumentError(
            f"expected link=True (--link) with local folders, got {remote or store.url}: without it the files are "
            "copied"
        )
    there = next(one for one in (Path(store.folder), *Path(store.folder).parents) if one.exists())
    disk = os.stat(there).st_dev
    for shard in shards:
        for file in shard.files[:1]:
            if os.stat(file.path).st_dev != disk:
                raise InputError(
                    f"expected images and output on one disk with link=True (--link), got {file.path} and {store.url}: "
                    "choose a folder on the disk of the images, or leave link out, which copies the files"
                )
