"""Reader of webdataset tars, with the Parquet files that img2dataset writes beside them."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import dask
import dask.dataframe as dd
import pandas as pd
import pyarrow as pa
from dask.utils import parse_bytes

from dask_aesthetic.errors import ArgumentError, ColumnError
from dask_aesthetic.inputs.file import File
from dask_aesthetic.inputs.files import Source, list_files
from dask_aesthetic.inputs.layouts import inspect_all
from dask_aesthetic.inputs.partitions import Span, empty_frame, to_pandas
from dask_aesthetic.inputs.samples import IMAGES, OK, Fault, Sample
from dask_aesthetic.inputs.tar import open_tar, read_index, read_member
from dask_aesthetic.inputs.tars import Tar, find_tars, join, metadata_schema

TEXTS = ("txt", "json")


@dataclass(frozen=True)
class TarColumns:
    """Columns that are read of every tar.

    Attributes
    ----------
    images, extensions : tuple of str
        Extensions of images, and of members with a column each.
    metadata : pyarrow.Schema
        Columns of the Parquet files without the key.
    """

    images: tuple[str, ...]
    extensions: tuple[str, ...]
    metadata: pa.Schema

    @classmethod
    def of(cls, tars: Sequence[Tar], images: Sequence[str] = IMAGES, extensions: Sequence[str] = TEXTS) -> TarColumns:
        """Columns of some tars; raise ColumnError if two would have the same name."""
        columns = cls(_extensions(images), _extensions(extensions), metadata_schema(tars))
        names = columns.schema.names
        twice = next((name for name in names if names.count(name) > 1), None)
        if twice is not None:
            raise ColumnError(
                f"expected columns of different names, got {twice!r} twice: choose other extensions, or leave the "
                "Parquet files out with metadata=False"
            )
        return columns

    @property
    def schema(self) -> pa.Schema:
        """Schema of the frame."""
        return pa.schema(
            [
                pa.field("shard", pa.string()),
                pa.field("key", pa.string()),
                pa.field("image", pa.binary()),
                pa.field("image_ext", pa.string()),
                *(pa.field(name, pa.string() if name in TEXTS else pa.binary()) for name in self.extensions),
                *self.metadata,
                pa.field("sample_status", pa.string()),
                pa.field("sample_error", pa.string()),
            ]
        )


def read_webdataset(
    path: Source,
    *,
    extensions: Sequence[str] = TEXTS,
    image_extensions: Sequence[str] = IMAGES,
    metadata: bool = True,
    blocksize: int | str | None = None,
    storage_options: Mapping[str, Any] | None = None,
) -> dd.DataFrame:
    """Read webdataset tars of images, as img2dataset writes them, as a lazy Dask DataFrame with a row per sample.

    Parameters
    ----------
    path : str, path, or list of them
        A tar, a folder (searched recursively for .tar, .tar.gz and .tgz), a glob or a name with braces
        (``{00000..00099}.tar``); local, or fsspec URLs. Gzip is detected by content.
    extensions : list of str
        Members with these extensions become columns of that name: txt and json as text, others as bytes. Members are
        never decoded or unpickled.
    image_extensions : list of str
        Extensions of images.
    metadata : bool
        Join the Parquet file beside each tar (``00000.parquet``), by key.
    blocksize : int or str, optional
        Split uncompressed tars between samples into partitions of about this many bytes ("256 MiB"); their headers
        are read at once. Default, and always for gzip: a partition per tar.
    storage_options : mapping, optional
        Options of the fsspec file system.

    Returns
    -------
    dask.dataframe.DataFrame
        A row per key of a tar, in the order of the tar, then a row per row of its Parquet file without a sample, such
        as a failed download. Arrow columns: ``shard``, the tar's name in `path` without suffix, which distinguishes
        equal keys of different tars; ``key``, ``image`` (encoded bytes), ``image_ext``, one per extension, those of the
        Parquet files, ``sample_status`` and ``sample_error``. Missing members are null. The index numbers the rows of
        each tar. Columns that are not used are not read: ``frame[["key", "txt"]]`` reads no image of an uncompressed
        tar. (``len`` of a Dask frame reads all of it, ``frame["shard"].count()`` only headers.)

    Raises
    ------
    InputError
        No tars exist, files are not tars or cannot be read, or names lead out of their folder. The first bytes of each
        file are checked at once, the rest when it is computed.
    ColumnError
        A Parquet file lacks ``key``, or has a column with the name of one of the tar's.
    ArgumentError

    Notes
    -----
    The first dot of a member's last part separates key and extension, as in webdataset; extensions become lower case.
    Members of one key form one sample wherever they are in the tar. Folders are skipped.

    ``sample_status`` is ``ok`` or the worst fault, ``sample_error`` lists all faults:

    - ``damaged``: the tar is truncated or corrupt there. The damage has a row without a key; the last sample before it
      is ``damaged`` too, since its members may be incomplete. Earlier rows are valid.
    - ``duplicate_member``: an extension occurs twice; its column is null.
    - ``no_image``, ``several_images``; ``too_large``: a member of more than 256 MiB; its column is null.
    - ``not_text``: txt or json is not UTF-8; its column is null.
    - ``not_in_tar``: only the Parquet file has the row. ``duplicate_row``: two rows of the Parquet file have this key;
      its columns are null.
    - ``unsafe_name``, ``not_a_file``, ``no_key``: a name that is absolute, leads out of its folder, has control
      characters, has more than 4,096 characters, or is not UTF-8; a link, device or sparse file; a name without key
      and extension. Each has a row without a key.

    Video frames are images with a clip's name, in the key or in the json; see the README on scores per clip.

    Examples
    --------
    >>> import io, tarfile, tempfile
    >>> from pathlib import Path
    >>> from dask_aesthetic import read_webdataset
    >>> folder = Path(tempfile.mkdtemp())
    >>> with tarfile.open(folder / "00000.tar", "w") as tar:
    ...     for name, data in {"a.jpg": b"...", "a.txt": b"a cat", "b.txt": b"a dog"}.items():
    ...         member = tarfile.TarInfo(name)
    ...         member.size = len(data)
    ...         tar.addfile(member, io.BytesIO(data))
    >>> read_webdataset(folder)[["shard", "key", "txt", "sample_status"]].compute()
       shard key    txt sample_status
    0  00000   a  a cat            ok
    1  00000   b  a dog      no_image
    """
    tars = find_tars(list_files(path, storage_options), path, metadata)
    tar_columns = TarColumns.of(tars, image_extensions, extensions)
    sources, spans = _partition(tars, None if blocksize is None else _bytes(blocksize))
    with dask.config.set({"dataframe.convert-string": False}):  # from_map would convert Arrow strings.
        return dd.from_map(_read, sources, spans, meta=empty_frame(tar_columns.schema), tar_columns=tar_columns)


def _extensions(requested: Sequence[str]) -> tuple[str, ...]:
    names = [requested] if isinstance(requested, str) else list(requested)
    return tuple(dict.fromkeys(name.lower().removeprefix(".") for name in names))


def _bytes(blocksize: int | str) -> int:
    try:
        size = int(parse_bytes(blocksize))
    except (AttributeError, TypeError, ValueError):
        size = 0
    if size < 1 or isinstance(blocksize, bool):
        raise ArgumentError(
            f"expected blocksize to be a number of bytes, such as '256 MiB', or None, got {blocksize!r}"
        )
    return size


def _partition(tars: Sequence[Tar], blocksize: int | None) -> tuple[list[Tar], list[tuple[int, int | None]]]:
    """Tar and range of samples of each partition; the last range of a tar is open, with the rows without a sample."""
    if blocksize is None:
        return list(tars), [(0, None)] * len(tars)

    def starts(tar: Tar) -> list[int]:
        index = read_index(tar.file)
        found, size = [0], 0
        for at, sample in enumerate(index.samples if not index.gzipped else []):
            if size >= blocksize:
                found.append(at)
                size = 0
            size += sample.size
        return found

    spans = [
        (tar, span)
        for tar, begins in zip(tars, inspect_all(tars, starts), strict=True)
        for span in zip(begins, [*begins[1:], None], strict=True)
    ]
    return [tar for tar, _ in spans], [span for _, span in spans]


def _read(tar: Tar, span: tuple[int, int | None], columns: list[str], tar_columns: TarColumns) -> pd.DataFrame:
    table = read_rows(tar, span, columns, tar_columns)
    return to_pandas(table.select(columns) if columns else None, Span(0, len(table), span[0]))


def read_rows(tar: Tar, span: tuple[int, int | None], columns: Sequence[str], tar_columns: TarColumns) -> pa.Table:
    """Rows of a range of a tar's samples, with at least these columns; an open range includes rows without a sample.

    Raises
    ------
    InputError
        The tar cannot be read, or has changed.
    """
    begin, end = span
    index = read_index(tar.file)
    samples = index.samples[begin:end]
    keys = pa.array([sample.key for sample in samples], pa.string())
    read = {name for name in tar_columns.extensions if name in columns}
    if {"sample_status", "sample_error"} & set(columns):
        # not_text needs the text, and the status must not depend on the other columns that are read.
        read |= set(TEXTS) & set(tar_columns.extensions)
    arrays, faults = _members(tar.file, samples, tar_columns, read, "image" in columns)
    metadata = pa.schema([field for field in tar_columns.metadata if field.name in columns])
    alone = pa.table({"key": pa.array([], pa.string())})
    if tar.metadata is None:
        joined = pa.table([pa.nulls(len(keys), field.type) for field in metadata], schema=metadata)
    else:
        all_keys = pa.array([sample.key for sample in index.samples], pa.string())
        joined, repeated, alone = join(tar.metadata, metadata, keys, all_keys)
        for at in repeated:
            faults[at].append(Fault("duplicate_row", f"several rows of {tar.metadata.name} have this key"))
    arrays |= dict(zip(joined.column_names, joined.columns, strict=True))
    present = pa.table({"key": keys, **arrays, **_status_columns(faults)})
    alone = alone.append_column("sample_status", pa.repeat(pa.scalar("not_in_tar"), len(alone)))
    table = pa.concat_tables([present, alone] if end is None else [present], promote_options="default")
    return table.append_column("shard", pa.repeat(pa.scalar(tar.name), len(table)))


def _members(
    file: File, samples: Sequence[Sample], tar_columns: TarColumns, read: Collection[str], images: bool
) -> tuple[dict[str, pa.Array], list[list[Fault]]]:
    """Columns of the tar's members, and the faults of each sample."""
    faults = [sample.faults(tar_columns.images, tar_columns.extensions) for sample in samples]
    image_extensions = [sample.image(tar_columns.images) for sample in samples]
    requested = [(name, at, sample.only(name)) for at, sample in enumerate(samples) for name in read]
    if images:
        requested += [
            ("image", at, sample.only(extension))
            for at, (sample, extension) in enumerate(zip(samples, image_extensions, strict=True))
        ]
    values: dict[str, list[Any]] = {name: [None] * len(samples) for name in [*read, "image"]}
    present = [(name, at, member) for name, at, member in requested if member is not None]
    if present:
        with file.reading("a tar"), open_tar(file) as stream:
            # In the order of the tar, since a gzip can only be read sequentially.
            for name, at, member in sorted(present, key=lambda one: one[2].offset):
                values[name][at] = read_member(stream, member)
    for name in set(TEXTS) & set(read):
        for at, data in enumerate(values[name]):
            try:
                values[name][at] = None if data is None else data.decode()
            except UnicodeDecodeError as error:
                values[name][at] = None
                faults[at].append(Fault("not_text", f"{name}: {error}"))
    arrays = {name: pa.array(values[name], tar_columns.schema.field(name).type) for name in values}
    return {**arrays, "image_ext": pa.array(image_extensions, pa.string())}, faults


def _status_columns(faults_of_rows: Sequence[Sequence[Fault]]) -> dict[str, pa.Array]:
    return {
        "sample_status": pa.array([faults[0].status if faults else OK for faults in faults_of_rows], pa.string()),
        "sample_error": pa.array(
            ["; ".join(fault.error for fault in faults) or None for faults in faults_of_rows], pa.string()
        ),
    }
