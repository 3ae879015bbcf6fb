"""Tar shards of samples, with what img2dataset writes beside them."""

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
from dask_aesthetic.inputs.layouts import look_at_all
from dask_aesthetic.inputs.partitions import Span, meta_of, to_pandas
from dask_aesthetic.inputs.samples import IMAGES, OK, Fault, Sample
from dask_aesthetic.inputs.tar import open_tar, read_index, read_member
from dask_aesthetic.inputs.tars import Tar, find_tars, join, metadata_schema

TEXTS = ("txt", "json")


@dataclass(frozen=True)
class Wanted:
    """What is read of every tar.

    Attributes
    ----------
    images, extensions : tuple of str
        Extensions of pictures, and of members with a column each.
    metadata : pyarrow.Schema
        Columns of the Parquet files, their keys left out.
    """

    images: tuple[str, ...]
    extensions: tuple[str, ...]
    metadata: pa.Schema

    @classmethod
    def of(cls, tars: Sequence[Tar], images: Sequence[str] = IMAGES, extensions: Sequence[str] = TEXTS) -> Wanted:
        """Of some tars; ColumnError where two columns would have one name."""
        wanted = cls(_extensions(images), _extensions(extensions), metadata_schema(tars))
        names = wanted.schema.names
        twice = next((name for name in names if names.count(name) > 1), None)
        if twice is not None:
            raise ColumnError(
                f"expected columns of different names, got {twice!r} twice: choose other extensions, or leave the "
                "Parquet files out with metadata=False"
            )
        return wanted

    @property
    def schema(self) -> pa.Schema:
        """Of the frame."""
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
    """Read tars of pictures, such as img2dataset writes, as a lazy Dask frame of a row per sample.

    Parameters
    ----------
    path : str, path, or list of them
        A tar, a folder (searched through for .tar, .tar.gz and .tgz), a glob or a name with braces
        (``{00000..00099}.tar``); here, or fsspec URLs. Gzip is told by the content.
    extensions : list of str
        Members of these extensions become columns of that name: txt and json as text, others as bytes. None of them is
        decoded or unpickled.
    image_extensions : list of str
        What is a picture.
    metadata : bool
        Join the Parquet file beside each tar (``00000.parquet``), by key.
    blocksize : int or str, optional
        Cut plain tars between samples into partitions of about so many bytes ("256 MiB"): their headers are read at
        once. A partition per tar if not given, and for gzip.
    storage_options : mapping, optional
        For fsspec.

    Returns
    -------
    dask.dataframe.DataFrame
        A row per key of a tar, in its order, then one per row of its Parquet file that has no sample, such as a failed
        download. Arrow columns: ``shard``, the tar's name in `path` without suffix, which keeps equal keys apart;
        ``key``, ``image`` (bytes as they lie), ``image_ext``, one per extension, those of the Parquet files,
        ``sample_status`` and ``sample_error``. Null where there is nothing. The index numbers the rows of each tar.
        What is not asked for is not read: ``frame[["key", "txt"]]`` reads no picture of a plain tar. (``len`` of a Dask
        frame reads all of it, ``frame["shard"].count()`` headers alone.)

    Raises
    ------
    InputError
        There are no tars, files are none or cannot be read, or names lead out of their folder; now for the first
        bytes of each file, later for the rest.
    ColumnError
        A Parquet file lacks ``key``, or has a column that is called as one of the tar's.
    ArgumentError

    Notes
    -----
    Key and extension stand before and after the first dot of a member's last part, as in webdataset; extensions are
    taken in lower case. Members of one key belong together wherever they lie in the tar. Folders are passed over.

    ``sample_status`` is ``ok`` or the worst of what is wrong, ``sample_error`` tells all of it:

    - ``damaged``: the tar is cut off or spoilt there. It has a row without a key; the last sample before is called
      so too, since it may lack members. Rows before are as they should be.
    - ``duplicate_member``: an extension is there twice; it is null.
    - ``no_image``, ``several_images``; ``too_large``: a member of more than 256 MiB, which is null.
    - ``not_text``: txt or json is not UTF-8; it is null.
    - ``not_in_tar``: a row of the Parquet file alone. ``duplicate_row``: two rows of it have this key; its columns are
      null.
    - ``unsafe_name``, ``not_a_file``, ``no_key``: a member that is absolute, leads out of its folder, has control
      characters or more than 4,096, or is not UTF-8; a link, device or sparse file; a name without key and extension.
      Each has a row without a key.

    Frames of a video are pictures with a clip's name, in the key or in the json; see the README on scores per clip.

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
    wanted = Wanted.of(tars, image_extensions, extensions)
    sources, spans = _cut(tars, None if blocksize is None else _bytes(blocksize))
    with dask.config.set({"dataframe.convert-string": False}):  # Else from_map makes pandas' own strings of Arrow's.
        return dd.from_map(_read, sources, spans, meta=meta_of(wanted.schema), wanted=wanted)


def _extensions(asked: Sequence[str]) -> tuple[str, ...]:
    names = [asked] if isinstance(asked, str) else list(asked)
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


def _cut(tars: Sequence[Tar], blocksize: int | None) -> tuple[list[Tar], list[tuple[int, int | None]]]:
    """Tars and ranges of samples of the partitions; the last range of a tar has no end, and the rows without sample."""
    if blocksize is None:
        return list(tars), [(0, None)] * len(tars)

    def ranges(tar: Tar) -> list[int]:
        index = read_index(tar.file)
        cuts, size = [0], 0
        for at, sample in enumerate(index.samples if not index.gzipped else []):
            if size >= blocksize:
                cuts.append(at)
                size = 0
            size += sample.size
        return cuts

    cuts = look_at_all(tars, ranges)
    spans = [
        (tar, span) for tar, its in zip(tars, cuts, strict=True) for span in zip(its, [*its[1:], None], strict=True)
    ]
    return [tar for tar, _ in spans], [span for _, span in spans]


def _read(tar: Tar, span: tuple[int, int | None], columns: list[str], wanted: Wanted) -> pd.DataFrame:
    table = read_rows(tar, span, columns, wanted)
    return to_pandas(table.select(columns) if columns else None, Span(0, len(table), span[0]))


def read_rows(tar: Tar, span: tuple[int, int | None], columns: Sequence[str], wanted: Wanted) -> pa.Table:
    """Rows of a range of a tar's samples, and those without a sample where it has no end; these columns among others.

    Raises
    ------
    InputError
        It cannot be read, or is not what it was.
    """
    begin, end = span
    index = read_index(tar.file)
    samples = index.samples[begin:end]
    keys = pa.array([sample.key for sample in samples], pa.string())
    read = {name for name in wanted.extensions if name in columns}
    told = bool({"sample_status", "sample_error"} & set(columns))
    if told:  # Whether a text is one is seen by reading it; the status must not depend on what else is asked for.
        read |= set(TEXTS) & set(wanted.extensions)
    made, faults = _members(tar.file, samples, wanted, read, "image" in columns)
    theirs = pa.schema([field for field in wanted.metadata if field.name in columns])
    alone = pa.table({"key": pa.array([], pa.string())})
    if tar.metadata is None:
        joined = pa.table([pa.nulls(len(keys), field.type) for field in theirs], schema=theirs)
    else:
        everyone = pa.array([sample.key for sample in index.samples], pa.string())
        joined, repeated, alone = join(tar.metadata, theirs, keys, everyone)
        for at in repeated:
            faults[at].append(Fault("duplicate_row", f"several rows of {tar.metadata.name} have this key"))
    made |= dict(zip(joined.column_names, joined.columns, strict=True))
    whole = pa.table({"key": keys, **made, **_told(faults)})
    alone = alone.append_column("sample_status", pa.repeat(pa.scalar("not_in_tar"), len(alone)))
    table = pa.concat_tables([whole, alone] if end is None else [whole], promote_options="default")
    return table.append_column("shard", pa.repeat(pa.scalar(tar.name), len(table)))


def _members(
    file: File, samples: Sequence[Sample], wanted: Wanted, read: Collection[str], pictures: bool
) -> tuple[dict[str, pa.Array], list[list[Fault]]]:
    """Columns of what lies in the tar, and what is wrong with each sample."""
    faults = [sample.faults(wanted.images, wanted.extensions) for sample in samples]
    endings = [sample.image(wanted.images) for sample in samples]
    asked = [(name, at, sample.only(name)) for at, sample in enumerate(samples) for name in read]
    if pictures:
        asked += [
            ("image", at, sample.only(ending)) for at, (sample, ending) in enumerate(zip(samples, endings, strict=True))
        ]
    values: dict[str, list[Any]] = {name: [None] * len(samples) for name in [*read, "image"]}
    there = [(name, at, member) for name, at, member in asked if member is not None]
    if there:
        with file.reading("a tar"), open_tar(file) as stream:
            # In the order of the tar, which a gzip can be read in alone.
            for name, at, member in sorted(there, key=lambda one: one[2].offset):
                values[name][at] = read_member(stream, member)
    for name in set(TEXTS) & set(read):
        for at, data in enumerate(values[name]):
            try:
                values[name][at] = None if data is None else data.decode()
            except UnicodeDecodeError as error:
                values[name][at] = None
                faults[at].append(Fault("not_text", f"{name}: {error}"))
    made = {name: pa.array(values[name], wanted.schema.field(name).type) for name in values}
    return {**made, "image_ext": pa.array(endings, pa.string())}, faults


def _told(faults: Sequence[Sequence[Fault]]) -> dict[str, pa.Array]:
    return {
        "sample_status": pa.array([its[0].status if its else OK for its in faults], pa.string()),
        "sample_error": pa.array(["; ".join(fault.error for fault in its) or None for its in faults], pa.string()),
    }
