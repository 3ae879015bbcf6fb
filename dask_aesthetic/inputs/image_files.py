"""Image files as shards: a shard, or more, per folder."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import PurePosixPath
from typing import Any, ClassVar

import pyarrow as pa
import xxhash

from dask_aesthetic.errors import InputError
from dask_aesthetic.images import image_suffixes
from dask_aesthetic.inputs import split
from dask_aesthetic.inputs.file import File
from dask_aesthetic.inputs.files import ListedFile, Source, format_source, match_suffix, refuse_repeated
from dask_aesthetic.inputs.partitions import split_evenly
from dask_aesthetic.inputs.shards import Batches, Shard, combine_digests

PATH = "image_path"
_TOP = "images"  # Name of the shard of images that are directly in the source folder.
_BATCH_ROWS = 32


@dataclass(frozen=True)
class ImageFilesShard(Shard):
    """Image files of a folder. Batches hold paths or URLs, so that an unreadable file is a row with an error."""

    location_columns: ClassVar[tuple[str, ...]] = (PATH,)

    images: tuple[File, ...]

    @property
    def files(self) -> tuple[File, ...]:
        return self.images

    @cached_property
    def versions(self) -> list[list[Any]]:
        listing = "\n".join(f"{image.path} {image.size} {image.version}" for image in self.images)
        digest = xxhash.xxh3_128_hexdigest(listing.encode("utf-8", "surrogateescape"))
        return [[sum(image.size for image in self.images), digest]]

    @property
    def scored_type(self) -> pa.DataType:
        return pa.string()

    def digest(self, columns: Sequence[str]) -> str:  # noqa: ARG002
        return combine_digests(*map(_digest, self.images))

    def _batches(self, columns: list[str], access: str) -> Batches:  # noqa: ARG002
        for start in range(0, self.rows, _BATCH_ROWS):
            paths = [image.path for image in self.images[start : start + _BATCH_ROWS]]
            yield pa.RecordBatch.from_arrays([pa.array(map(_text, paths), pa.string())] * len(columns), columns), paths


def find_image_files(found: Iterable[ListedFile], source: Source, rows_per_shard: int) -> list[Shard]:
    """Find image files and split them into shards: folder by folder, sorted by name.

    Raises
    ------
    InputError
        No image files exist, or the source holds one twice.
    """
    folders: dict[str, list[File]] = {}
    suffixes = image_suffixes()
    for one in sorted(found, key=lambda one: one.name):
        if one.explicit or match_suffix(one.name, suffixes):
            folder = PurePosixPath(one.name).parent.as_posix()
            folders.setdefault(_TOP if folder == "." else folder, []).append(one.file)
    if not folders:
        raise InputError(f"expected image files ({', '.join(image_suffixes())}) in {format_source(source)}, got none")
    refuse_repeated((file for files in folders.values() for file in files), source)
    schema = pa.schema({PATH: pa.string()})
    return [
        ImageFilesShard(name, stop - start, start, schema, tuple(folders[folder][start:stop]))
        for folder in sorted(folders)
        for name, start, stop in split.name_parts(folder, split_evenly(len(folders[folder]), rows_per_shard))
    ]


def _digest(image: File) -> str:
    try:
        content = image.digest() if image.size else "empty"  # A pipe has size 0, and reading it would block.
    except InputError:  # Decoding reports it on the row.
        content = "unreadable"
    return f"{_text(image.path)} {content}"


def _text(path: str) -> str:
    """Path as valid UTF-8, with undecodable bytes escaped."""
    return path.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")
