"""Pictures that lie in files of their own: each folder is a shard, or several."""

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
from dask_aesthetic.inputs import cuts
from dask_aesthetic.inputs.file import File
from dask_aesthetic.inputs.files import Found, Source, ending_of, shown
from dask_aesthetic.inputs.partitions import even
from dask_aesthetic.inputs.shards import Batches, Shard, together

PATH = "image_path"
_TOP = "pictures"  # The shard of those that lie in no folder below the one that was named.
_BATCH_ROWS = 32


@dataclass(frozen=True)
class LooseShard(Shard):
    """Files of a folder; what stands for a picture is its path or URL, so that one that cannot be read is a row."""

    place: ClassVar[tuple[str, ...]] = (PATH,)

    pictures: tuple[File, ...]

    @property
    def files(self) -> tuple[File, ...]:
        return self.pictures

    @cached_property
    def stamps(self) -> list[list[Any]]:
        told = "\n".join(f"{picture.path} {picture.size} {picture.stamp}" for picture in self.pictures)
        digest = xxhash.xxh3_128_hexdigest(told.encode("utf-8", "surrogateescape"))
        return [[sum(picture.size for picture in self.pictures), digest]]

    @property
    def scored_type(self) -> pa.DataType:
        return pa.string()

    def digest(self, columns: Sequence[str]) -> str:  # noqa: ARG002
        return together(*map(_digest, self.pictures))

    def _batches(self, columns: list[str], access: str) -> Batches:  # noqa: ARG002
        for start in range(0, self.rows, _BATCH_ROWS):
            paths = [picture.path for picture in self.pictures[start : start + _BATCH_ROWS]]
            yield pa.RecordBatch.from_arrays([pa.array(map(_text, paths), pa.string())] * len(columns), columns), paths


def find_loose(found: Iterable[Found], source: Source, rows_per_shard: int) -> list[Shard]:
    """The pictures among files, in the order of their names, folder by folder.

    Raises
    ------
    InputError
        There are none.
    """
    folders: dict[str, list[File]] = {}
    suffixes = image_suffixes()
    for one in sorted(found, key=lambda one: one.name):
        if one.named or ending_of(one.name, suffixes):
            folder = PurePosixPath(one.name).parent.as_posix()
            folders.setdefault(_TOP if folder == "." else folder, []).append(one.file)
    if not folders:
        raise InputError(f"expected pictures ({', '.join(image_suffixes())}) in {shown(source)}, got none")
    schema = pa.schema({PATH: pa.string()})
    return [
        LooseShard(name, stop - start, start, schema, tuple(folders[folder][start:stop]))
        for folder in sorted(folders)
        for name, start, stop in cuts.parts(folder, even(len(folders[folder]), rows_per_shard))
    ]


def _digest(picture: File) -> str:
    try:
        content = picture.digest() if picture.size else "empty"  # Or a pipe, which would never end.
    except InputError:  # Its row says so.
        content = "unreadable"
    return f"{_text(picture.path)} {content}"


def _text(path: str) -> str:
    """A path, which may hold any bytes, as text."""
    return path.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")
