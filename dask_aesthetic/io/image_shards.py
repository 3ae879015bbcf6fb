"""Images as shards of a job: webdataset tars, Parquet files with an image column, and image files."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property, partial
from itertools import groupby
from pathlib import PurePosixPath
from typing import Any, ClassVar

import pandas as pd
import pyarrow as pa
import xxhash

from dask_aesthetic.defaults import IMAGE_FORMATS
from dask_aesthetic.errors import ArgumentError, ColumnError, InputError, did_you_mean
from dask_aesthetic.images import check_images, holds_images, image_suffixes
from dask_aesthetic.io import parquet, split
from dask_aesthetic.io.empty_table import empty_table
from dask_aesthetic.io.formats import inspect_all
from dask_aesthetic.io.listing import (
    ListedFile,
    Source,
    files_with_suffix,
    format_source,
    list_files,
    match_suffix,
    refuse_repeated,
)
from dask_aesthetic.io.samples import IMAGES, Fault
from dask_aesthetic.io.shards import Batches, Shard, parquet_shards
from dask_aesthetic.io.storage import Digests, File, combine_digests, escape_undecodable
from dask_aesthetic.io.tar import open_tar, read_image, read_index
from dask_aesthetic.io.webdataset import SUFFIXES, Tar, TarColumns, find_tars, read_rows
from dask_aesthetic.validation import check_integer

PATH = "image_path"
BATCH_ROWS = 32  # Rows whose encoded images are in memory together.
_TOP = "images"  # Name of the shard of images that are directly in the source folder.
_NOT_IN_TAR = Fault("not_in_tar", "only the Parquet file beside the tar has it")


@dataclass(frozen=True)
class TarShard(Shard):
    """Samples of a tar, and the rows of its Parquet file without a sample, in the order of `read_webdataset`.

    Batches hold image bytes, or the `Fault` of a row without an image. The last sample before damage counts as damaged
    even if it has an image, since it may have lost members.
    """

    location_columns: ClassVar[tuple[str, ...]] = ("shard", "key")

    tar: Tar
    tar_columns: TarColumns

    @property
    def files(self) -> tuple[File, ...]:
        return (self.tar.file, *([self.tar.metadata] if self.tar.metadata else []))

    @property
    def scored_type(self) -> pa.DataType:
        return pa.binary()

    def digest(self, columns: Sequence[str], known: Digests | None = None) -> str:  # noqa: ARG002
        content = self.tar.file.digest()
        if self.tar.metadata is None:
            return combine_digests(content)
        rows = parquet.read_footer(self.tar.metadata).metadata.num_rows
        return combine_digests(content, parquet.digest(self.tar.metadata, ["key", *columns], 0, rows))

    def read(self, schema: pa.Schema) -> pa.Table:
        return read_rows(self.tar, (0, None), schema.names, self.tar_columns).select(schema.names).cast(schema)

    def _batches(self, columns: list[str], paged: bool, digests: Digests | None) -> Batches:  # noqa: ARG002
        table = read_rows(self.tar, (0, None), ["key", *columns], self.tar_columns)
        samples = read_index(self.tar.file).samples
        with self.tar.file.reading("a tar"), open_tar(self.tar.file) as stream:
            for start in range(0, len(table), BATCH_ROWS):
                rows = table.select(columns).slice(start, BATCH_ROWS)
                images = [
                    read_image(stream, sample, self.tar_columns.images)
                    for sample in samples[start : start + BATCH_ROWS]
                ]
                alone = min(BATCH_ROWS, len(table) - start) - len(images)
                arrays = [column.combine_chunks() for column in rows.columns]
                yield pa.RecordBatch.from_arrays(arrays, schema=rows.schema), [*images, *[_NOT_IN_TAR] * alone]


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

    def digest(self, columns: Sequence[str], known: Digests | None = None) -> str:  # noqa: ARG002
        return combine_digests(*map(_digest, self.images))

    def read(self, schema: pa.Schema) -> pa.Table:
        paths = pa.array((escape_undecodable(image.path) for image in self.images), pa.string())
        return pa.table([paths] * len(schema), schema=schema)

    def _batches(self, columns: list[str], paged: bool, digests: Digests | None) -> Batches:  # noqa: ARG002
        for start in range(0, self.rows, BATCH_ROWS):
            paths = [image.path for image in self.images[start : start + BATCH_ROWS]]
            names = pa.array(map(escape_undecodable, paths), pa.string())
            yield pa.RecordBatch.from_arrays([names] * len(columns), columns), paths


def find_image_shards(
    source: Source,
    *,
    format: str = "auto",  # noqa: A002
    image_column: str = "image",
    image_extensions: Sequence[str] = IMAGES,
    pooling: str | None = None,
    rows_per_shard: int = 10_000,
    storage_options: Mapping[str, Any] | None = None,
    found: Sequence[ListedFile] | None = None,
) -> list[Shard]:
    """Find images (webdataset tars, Parquet, image files), check footers and tar headers, and split them into shards.

    Parameters
    ----------
    source : str, path, or list of them
        A file, a folder (searched recursively) or a glob; local, or fsspec URLs.
    format : {"auto", "parquet", "webdataset", "images"}
        "auto" takes tars if there are any, else Parquet files or image files; a folder with both needs a choice.
    image_column, pooling
        For Parquet files, as in ``.aesthetic.embed``.
    image_extensions : list of str
        Extensions of images in tars.
    rows_per_shard : int
        Larger Parquet files are split between row groups, larger folders between image files; tars are not split.
    storage_options : mapping, optional
        Options of the fsspec file system.
    found : list of ListedFile, optional
        Result of `list_files(source)`, if it is known already.

    Returns
    -------
    list of Shard
        At least one; a file without rows makes a shard without rows.

    Raises
    ------
    InputError
        No files to read exist, or files cannot be read; the error names each of them. A tar that is damaged after its
        first header is accepted.
    ColumnError, ArgumentError
        A file lacks the image column, or the column holds no images, or lists of images without `pooling`.
    """
    check_integer("rows_per_shard", rows_per_shard, minimum=1, unit="rows")
    if format not in IMAGE_FORMATS:
        raise ArgumentError.choice("format", format, IMAGE_FORMATS)
    if found is None:
        found = list_files(source, storage_options)
    layout = _layout(found, source) if format == "auto" else format
    if layout == "webdataset":
        return _tars(found, source, image_extensions)
    if layout == "images":
        shards = _image_files(found, source, rows_per_shard)
    else:
        files = files_with_suffix(found, ".parquet", source)
        into = partial(split.split_row_groups, max_rows=rows_per_shard)
        check = partial(_check, pooling=pooling)
        shards = [*parquet_shards(files, image_column, into, check, BATCH_ROWS)]
    split.check_names(shard.name for shard in shards)
    return shards


def _layout(found: Sequence[ListedFile], source: Source) -> str:
    """Layout of listed files, from their names."""
    data = [one for one in found if not one.underscored]
    if any(match_suffix(one.name, SUFFIXES) for one in data):
        return "webdataset"
    tables = any(match_suffix(one.name, (".parquet",)) for one in data)
    suffixes = image_suffixes()
    images = any(match_suffix(one.name, suffixes) for one in (data if tables else found))
    if images and tables:
        raise InputError(
            f"expected .parquet files or image files in {format_source(source)}, got both: say format='parquet' or "
            "format='images' (--format)"
        )
    if images:
        return "images"
    if tables or any(one.explicit for one in found):
        return "parquet"
    raise InputError(f"expected tars ({', '.join(SUFFIXES)}), .parquet files or image files in {format_source(source)}")


def _tars(found: Sequence[ListedFile], source: Source, image_extensions: Sequence[str]) -> list[Shard]:
    tars = find_tars(found, source)
    columns = TarColumns.of(tars, image_extensions)
    schema = pa.schema([field for field in columns.schema if field.name != "image"])

    def to_shard(tar: Tar) -> Shard:
        return TarShard(tar.name, len(read_rows(tar, (0, None), ["key"], columns)), 0, schema, "image", tar, columns)

    return inspect_all(tars, to_shard)


def find_image_files(found: Iterable[ListedFile], source: Source) -> list[ListedFile]:
    """Image files among listed files, folder by folder, sorted by name.

    Raises
    ------
    InputError
        There are none, or the source holds one twice.
    """
    suffixes = image_suffixes()
    files = [one for one in found if one.explicit or match_suffix(one.name, suffixes)]
    if not files:
        raise InputError(f"expected image files ({', '.join(suffixes)}) in {format_source(source)}, got none")
    refuse_repeated((one.file for one in files), source)
    return sorted(files, key=lambda one: (_folder(one), one.name))


def _folder(one: ListedFile) -> str:
    """Folder of an image file, which names its shard."""
    folder = PurePosixPath(one.name).parent.as_posix()
    return _TOP if folder == "." else folder


def _image_files(found: Iterable[ListedFile], source: Source, rows_per_shard: int) -> list[Shard]:
    """Image files, split into shards."""
    schema = pa.schema({PATH: pa.string()})
    shards: list[Shard] = []
    for folder, listed in groupby(find_image_files(found, source), key=_folder):
        files = tuple(one.file for one in listed)
        for name, start, stop in split.name_parts(folder, split.split_evenly(len(files), rows_per_shard)):
            shards.append(ImageFilesShard(name, stop - start, start, schema, PATH, files[start:stop]))
    return shards


def _check(schema: pa.Schema, column: str, pooling: str | None) -> None:
    """Raise ColumnError unless the schema has an image column of that name."""
    if column not in schema.names:
        names = ", ".join(map(repr, schema.names)) or "no columns"
        would_do = ", ".join(repr(field.name) for field in schema if holds_images(field.type)) or "none"
        raise ColumnError(
            f"expected image_column={column!r} to be a column; the file has {names}"
            f"{did_you_mean(column, schema.names) or '.'} Columns that may hold images, or paths of images: {would_do}"
        )
    parquet.refuse_repeated_name(schema, column)
    empty = empty_table(pa.schema([schema.field(column)]))
    check_images(empty.to_pandas(types_mapper=pd.ArrowDtype, ignore_metadata=True)[column], pooling)


def _digest(image: File) -> str:
    try:
        content = image.digest() if image.size else "empty"  # A pipe has size 0, and reading it would block.
    except InputError:  # Decoding reports it on the row.
        content = "unreadable"
    return f"{escape_undecodable(image.path)} {content}"
