"""Images of the sampled rows, from the tars or the image files that were scored."""

from __future__ import annotations

import os
from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Any

import pyarrow as pa

from dask_aesthetic.errors import ArgumentError, ColumnError, InputError, first_line
from dask_aesthetic.io.image_shards import PATH, find_image_files
from dask_aesthetic.io.listing import Source, format_source, list_files
from dask_aesthetic.io.samples import IMAGES, LARGEST, Sample
from dask_aesthetic.io.storage import File, escape_undecodable, is_url, is_utf8
from dask_aesthetic.io.tar import TarIndex, open_tar, read_image, read_index
from dask_aesthetic.io.webdataset import check_extensions, name_tars, names_in
from dask_aesthetic.report.thumbnails import THREADS, Thumbnail, load_decoders, make_thumbnail

SHARD, KEY = "shard", "key"
Ids = tuple[str | None, ...]


@dataclass(frozen=True)
class ImageSource(ABC):
    """Images that rows are joined with.

    Attributes
    ----------
    columns : tuple of str
        Columns of the scores that say which image a row is of.
    shown : str
        Paths of the images, for people to read.
    """

    columns: tuple[str, ...]
    shown: str

    @property
    @abstractmethod
    def kind(self) -> str:
        """Name of the argument that gave the images."""

    @abstractmethod
    def thumbnails(self, ids: Sequence[Ids], max_bytes: int) -> list[Thumbnail]:
        """Thumbnail of each row, by its values of `columns`; or the reason why there is none."""

    def short_name(self, ids: Ids) -> str | None:  # noqa: ARG002
        """Name of a row's image that is shorter than its ids; None if there is none."""
        return None


@dataclass(frozen=True)
class TarImages(ImageSource):
    """Images in webdataset tars: of each tar with a sampled row, the headers and the sampled members are read.

    Attributes
    ----------
    tars : dict of str to File
        By the names that the column ``shard`` has.
    extensions : tuple of str
        Extensions of images.
    """

    tars: Mapping[str, File]
    extensions: tuple[str, ...]

    @property
    def kind(self) -> str:
        return "tars"

    def thumbnails(self, ids: Sequence[Ids], max_bytes: int) -> list[Thumbnail]:
        wanted: dict[str, dict[str, list[int]]] = {}
        found: dict[int, Thumbnail] = {}
        for at, (*shard, key) in enumerate(ids):
            tars = shard if SHARD in self.columns else list(self.tars)
            if key is None or None in tars:
                found[at] = Thumbnail(reason=f"the row has no {KEY if key is None else SHARD}")
                continue
            for tar in tars:
                if tar in self.tars:
                    wanted.setdefault(str(tar), {}).setdefault(key, []).append(at)
                else:
                    found[at] = Thumbnail(reason=f"there is no tar {tar} among the given ones")
        reasons: dict[int, str] = {}
        with ThreadPoolExecutor(THREADS) as threads:
            for these, missing in threads.map(lambda tar: self._read(tar, wanted[tar], max_bytes), wanted):
                for at, thumbnail in these.items():
                    several = Thumbnail(reason="several tars have a sample of this key, and no column says which")
                    found[at] = several if at in found else thumbnail
                reasons |= missing
        absent = "there is no sample of this key in the given tars"
        return [found.get(at, Thumbnail(reason=reasons.get(at, absent))) for at in range(len(ids))]

    def _read(
        self, name: str, wanted: Mapping[str, list[int]], max_bytes: int
    ) -> tuple[dict[int, Thumbnail], dict[int, str]]:
        """Thumbnails from a tar by position, one image in memory at a time; reasons of rows that are not in it."""
        file = self.tars[name]
        found: dict[int, Thumbnail] = {}
        try:
            index = read_index(file)
            samples = _find_samples(index, wanted)
            with file.reading("a tar"), open_tar(file) as stream:
                for key, sample in sorted(samples.items(), key=lambda pair: _begin(pair[1])):
                    image = read_image(stream, sample, self.extensions)
                    if isinstance(image, bytes):
                        thumbnail = make_thumbnail(image, max_bytes)
                    else:
                        thumbnail = Thumbnail(reason=f"{image.status}: {image.error}")
                    found |= dict.fromkeys(wanted[key], thumbnail)
        except InputError as error:
            reason = first_line(error)
        else:
            damage = f", which is damaged {index.damage}" if index.damage else ""
            if not damage and SHARD not in self.columns:  # Another tar has the sample, maybe.
                return found, {}
            reason = f"there is no sample of this key in {name}{damage}"
        return found, {at: reason for rows in wanted.values() for at in rows if at not in found}


def _find_samples(index: TarIndex, keys: Iterable[str]) -> dict[str, Sample]:
    """Samples of a tar by the keys of rows; folders before a key are ignored where rows have none, as by filter."""
    samples = {sample.key: sample for sample in index.samples if sample.key is not None}
    found = {key: samples[key] for key in keys if key in samples}
    others = [key for key in keys if key not in samples and is_utf8(key)]
    if others:
        spelled = names_in(pa.array(others, pa.string()), pa.array(list(samples), pa.string())).to_pylist()
        found |= {name: sample for name, sample in zip(spelled, samples.values(), strict=True) if name in set(others)}
    return found


def _begin(sample: Sample) -> int:
    """Position of a sample in its tar: a gzip can only be read sequentially."""
    return min((member.offset for member in sample.members.values()), default=0)


@dataclass(frozen=True)
class FileImages(ImageSource):
    """Image files of folders. A row names one by its own path, or by one relative to the working folder or the source.

    Attributes
    ----------
    names : dict of str to str
        Names relative to the source, by path.
    by_path, by_name : dict of str to File
        None for a name that several files have.
    """

    names: Mapping[str, str]
    by_path: Mapping[str, File]
    by_name: Mapping[str, File | None]

    @property
    def kind(self) -> str:
        return "images"

    def thumbnails(self, ids: Sequence[Ids], max_bytes: int) -> list[Thumbnail]:
        with ThreadPoolExecutor(THREADS) as threads:
            return list(threads.map(lambda path: self._thumbnail(path, max_bytes), [path for (path,) in ids]))

    def short_name(self, ids: Ids) -> str | None:
        return None if ids[0] is None else self.names.get(_whole(ids[0]))

    def _thumbnail(self, path: str | None, max_bytes: int) -> Thumbnail:
        if path is None:
            return Thumbnail(reason=f"the row has no {PATH}")
        # Only files that were listed are opened, whatever the row says.
        file = self.by_path.get(_whole(path)) or self.by_name.get(path)
        if file is None:
            several = "several files have this name"
            return Thumbnail(
                reason=several if path in self.by_name else "there is no such file among the given image files"
            )
        if file.is_local:
            return make_thumbnail(file.path, max_bytes)
        if file.size > LARGEST:
            return Thumbnail(reason=f"{file.size:,} bytes, too many to read")
        try:
            return make_thumbnail(file.read(0, file.size), max_bytes)
        except InputError as error:
            return Thumbnail(reason=first_line(error))


def _whole(path: str) -> str:
    """Absolute path, or URL, of a row's path."""
    return path if os.path.isabs(path) or is_url(path) else os.path.abspath(path)


def find_image_source(
    frame_columns: Iterable[object],
    tars: Source | None,
    images: Source | None,
    image_extensions: Sequence[str] = IMAGES,
    options: Mapping[str, Any] | None = None,
) -> ImageSource | None:
    """Images that the rows of a frame are joined with, listed; None if neither tars nor images are given.

    Raises
    ------
    ArgumentError
        Both are given.
    ColumnError
        The frame does not say which image a row is of.
    InputError
        There are no such files.
    """
    if tars is not None and images is not None:
        raise ArgumentError("expected tars (--tars) or images (--images), got both: what was scored")
    names = list(frame_columns)
    if tars is not None:
        return _tar_images(names, tars, image_extensions, options)
    return None if images is None else _file_images(names, images, options)


def _tar_images(
    names: Sequence[object], tars: Source, image_extensions: Sequence[str], options: Mapping[str, Any] | None
) -> TarImages:
    _check_column(KEY, names, "tars (--tars)", "the sample of a row")
    load_decoders()
    columns = (SHARD, KEY) if SHARD in names else (KEY,)
    files = name_tars(list_files(tars, options), tars)
    return TarImages(columns, format_source(tars), files, check_extensions(image_extensions))


def _file_images(columns: Sequence[object], images: Source, options: Mapping[str, Any] | None) -> FileImages:
    _check_column(PATH, columns, "images (--images)", "the image file of a row")
    load_decoders()
    listed = find_image_files(list_files(images, options), images)
    names = {
        escape_undecodable(one.file.path): escape_undecodable(PurePosixPath(one.name).as_posix()) for one in listed
    }
    by_path = {escape_undecodable(one.file.path): one.file for one in listed}
    counts = Counter(names.values())
    by_name = {name: by_path[path] if counts[name] == 1 else None for path, name in names.items()}
    return FileImages((PATH,), format_source(images), names, by_path, by_name)


def _check_column(name: str, columns: Sequence[object], argument: str, what: str) -> None:
    if name not in columns:
        raise ColumnError(
            f"expected column {name!r} with {argument}, which names {what}, got {', '.join(map(str, columns))}: "
            "score with that column, or name a column of images (image_column, --image-column)"
        )
