"""Pictures cut into shards: tars of samples, Parquet files with a column of pictures, and files of one picture each."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import IO, Any, ClassVar

import pyarrow as pa

from dask_aesthetic.errors import ArgumentError, ColumnError, InputError
from dask_aesthetic.images import check_images, holds_images, image_suffixes
from dask_aesthetic.inputs import cuts, parquet
from dask_aesthetic.inputs.file import File
from dask_aesthetic.inputs.files import Found, Source, ending_of, list_files, shown, with_suffix
from dask_aesthetic.inputs.layouts import look_at_all
from dask_aesthetic.inputs.loose import find_loose
from dask_aesthetic.inputs.partitions import meta_of
from dask_aesthetic.inputs.samples import Fault, Sample
from dask_aesthetic.inputs.shards import Batches, Shard, parquet_shards, together
from dask_aesthetic.inputs.tar import open_tar, read_index, read_member
from dask_aesthetic.inputs.tars import SUFFIXES, Tar, find_tars
from dask_aesthetic.inputs.webdataset import Wanted, read_rows

FORMATS = ("auto", "parquet", "webdataset", "images")
BATCH_ROWS = 32  # Encoded pictures of so many rows are held together.
_NOT_IN_TAR = Fault("not_in_tar", "the Parquet file beside the tar alone has it")


@dataclass(frozen=True)
class TarShard(Shard):
    """The samples of a tar, and the rows of its Parquet file that have none; as `read_webdataset` orders them.

    What stands for a picture is its bytes, or the `Fault` by which there is none. The last sample before damage counts
    as damaged, although it may have a picture: another one may be lost.
    """

    place: ClassVar[tuple[str, ...]] = ("shard", "key")

    tar: Tar
    wanted: Wanted

    @property
    def files(self) -> tuple[File, ...]:
        return (self.tar.file, *([self.tar.metadata] if self.tar.metadata else []))

    @property
    def scored_type(self) -> pa.DataType:
        return pa.binary()

    def digest(self, columns: Sequence[str]) -> str:
        content = self.tar.file.digest()
        if self.tar.metadata is None:
            return together(content)
        rows = parquet.read_footer(self.tar.metadata).metadata.num_rows
        return together(content, parquet.digest(self.tar.metadata, ["key", *columns], 0, rows))

    def _batches(self, columns: list[str], access: str) -> Batches:  # noqa: ARG002
        table = read_rows(self.tar, (0, None), ["key", *columns], self.wanted)
        samples = read_index(self.tar.file).samples
        with self.tar.file.reading("a tar"), open_tar(self.tar.file) as stream:
            for start in range(0, len(table), BATCH_ROWS):
                rows = table.select(columns).slice(start, BATCH_ROWS)
                pictures = [self._picture(stream, sample) for sample in samples[start : start + BATCH_ROWS]]
                alone = min(BATCH_ROWS, len(table) - start) - len(pictures)
                arrays = [column.combine_chunks() for column in rows.columns]
                yield pa.RecordBatch.from_arrays(arrays, schema=rows.schema), [*pictures, *[_NOT_IN_TAR] * alone]

    def _picture(self, stream: IO[bytes], sample: Sample) -> bytes | Fault:
        member = sample.only(sample.image(self.wanted.images))
        if sample.fault is not None or member is None:
            return sample.faults(self.wanted.images, ())[0]
        return read_member(stream, member)


def find_pictures(
    source: Source,
    *,
    format: str = "auto",  # noqa: A002
    image_column: str = "image",
    pooling: str | None = None,
    rows_per_shard: int = 10_000,
    storage_options: Mapping[str, Any] | None = None,
    found: Sequence[Found] | None = None,
) -> list[Shard]:
    """Find pictures, look at every footer and at the headers of every tar, and cut them into shards.

    Parameters
    ----------
    source : str, path, or list of them
        A file, a folder (searched through) or a glob; here, or fsspec URLs.
    format : {"auto", "parquet", "webdataset", "images"}
        "auto" takes tars if there are any; if not, Parquet files or pictures, of which there must be one kind.
    image_column, pooling
        Of Parquet files, as in ``.aesthetic.embed``.
    rows_per_shard : int
        Larger Parquet files are cut between row groups, and folders of more pictures between these; tars stay whole.
    storage_options : mapping, optional
        For fsspec.
    found : list of Found, optional
        The files of `source`, as `list_files` gives them, if they have been listed.

    Returns
    -------
    list of Shard
        At least one; those of files without rows have none.

    Raises
    ------
    InputError
        There is nothing to read, or files cannot be read: every one that cannot, at once. A tar that is damaged after
        its beginning is not refused.
    ColumnError, ArgumentError
        A file lacks the image column, or it holds no pictures, or lists of them without a word on which to take.
    """
    cuts.check_rows(rows_per_shard)
    if format not in FORMATS:
        raise ArgumentError.choice("format", format, FORMATS)
    if found is None:
        found = list_files(source, storage_options)
    layout = _layout(found, source) if format == "auto" else format
    if layout == "webdataset":
        return _tars(found, source)
    if layout == "images":
        shards = find_loose(found, source, rows_per_shard)
    else:
        files = with_suffix(found, ".parquet", source)
        shards = parquet_shards(files, image_column, rows_per_shard, partial(_check, pooling=pooling), BATCH_ROWS)
    cuts.check_names(shard.name for shard in shards)
    return shards


def _layout(found: Sequence[Found], source: Source) -> str:
    """What lies there, by the names of the files."""
    data = [one for one in found if not one.aside]
    if any(ending_of(one.name, SUFFIXES) for one in data):
        return "webdataset"
    tables = any(ending_of(one.name, (".parquet",)) for one in data)
    suffixes = image_suffixes()
    pictures = any(ending_of(one.name, suffixes) for one in (data if tables else found))
    if pictures and tables:
        raise InputError(
            f"expected .parquet files or pictures in {shown(source)}, got both: say format='parquet' or "
            "format='images' (--format)"
        )
    if pictures:
        return "images"
    if tables or any(one.named for one in found):
        return "parquet"
    raise InputError(f"expected tars ({', '.join(SUFFIXES)}), .parquet files or pictures in {shown(source)}")


def _tars(found: Sequence[Found], source: Source) -> list[Shard]:
    tars = find_tars(found, source)
    wanted = Wanted.of(tars)
    schema = pa.schema([field for field in wanted.schema if field.name != "image"])

    def look(tar: Tar) -> Shard:
        return TarShard(tar.name, len(read_rows(tar, (0, None), ["key"], wanted)), 0, schema, tar, wanted)

    return look_at_all(tars, look)


def _check(schema: pa.Schema, column: str, pooling: str | None) -> None:
    """Refuse a schema without a column of pictures of that name."""
    if column not in schema.names:
        names = ", ".join(map(repr, schema.names)) or "no columns"
        would_do = ", ".join(repr(field.name) for field in schema if holds_images(field.type)) or "none"
        raise ColumnError(
            f"expected image_column={column!r} to be a column; the file has {names}. Columns that may hold pictures, "
            f"or paths of such: {would_do}"
        )
    check_images(meta_of(pa.schema([schema.field(column)]))[column], pooling)
