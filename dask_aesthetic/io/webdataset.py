"""Webdataset tars and the img2dataset Parquet files beside them: discovery, columns, and rows joined by key."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from dask_aesthetic.errors import ArgumentError, ColumnError, InputError
from dask_aesthetic.io import parquet
from dask_aesthetic.io.formats import inspect_all
from dask_aesthetic.io.listing import (
    ListedFile,
    Source,
    format_source,
    match_suffix,
    refuse_repeated,
    refuse_undecodable,
    sibling,
)
from dask_aesthetic.io.samples import IMAGES, OK, Fault, Sample, unsafe_reason
from dask_aesthetic.io.storage import File
from dask_aesthetic.io.tar import check_tar, open_tar, read_index, read_member

SUFFIXES = (".tar", ".tar.gz", ".tgz")
TEXTS = ("txt", "json")
_BESIDE = (".parquet", ".json")  # Files that img2dataset writes beside the tars.


@dataclass(frozen=True)
class Tar:
    """A tar and the Parquet file with its samples' metadata.

    Attributes
    ----------
    name : str
        Unique name: relative to the source, without suffix.
    file : File
    metadata : File or None
    """

    name: str
    file: File
    metadata: File | None


def find_tars(found: Iterable[ListedFile], source: Source, metadata: bool = True) -> list[Tar]:
    """Find tars among listed files, sorted by name, and the Parquet files beside them.

    Raises
    ------
    InputError
        No tars exist, two have the same name, the source holds one twice, or files are not tars.
    """
    by_name = name_tars(found, source)

    def open_named(name: str) -> Tar:
        file = by_name[name]
        check_tar(file)
        return Tar(name, file, sibling(file, SUFFIXES, ".parquet") if metadata else None)

    return inspect_all(by_name, open_named)


def name_tars(found: Iterable[ListedFile], source: Source) -> dict[str, File]:
    """Files with a suffix of tars among listed files, by name, sorted; none is opened.

    Raises
    ------
    InputError
        No tars exist, two have the same name, or the source holds one twice.
    """
    by_name: dict[str, File] = {}
    for one in sorted(found, key=lambda one: one.name):
        suffix = match_suffix(one.name, SUFFIXES)
        if one.underscored or (not suffix and (not one.explicit or match_suffix(one.name, _BESIDE))):
            continue
        name = one.name.removesuffix(suffix)
        if name in by_name:
            raise InputError(f"expected tars of different names, got {by_name[name].path} and {one.file.path}")
        if unsafe_reason(name) is not None:
            raise InputError(f"expected names of tars within their folder, got {name!r}, which {unsafe_reason(name)}")
        by_name[name] = one.file
    if not by_name:
        raise InputError(f"expected tars ({', '.join(SUFFIXES)}) in {format_source(source)}, got none")
    refuse_repeated(by_name.values(), source)
    refuse_undecodable(by_name.values())
    return by_name


def metadata_schema(tars: Sequence[Tar]) -> pa.Schema:
    """Schema of the Parquet files beside tars, without the key.

    Raises
    ------
    ColumnError, InputError
        A file lacks the key, or has other columns than the first.
    """
    files = [tar.metadata for tar in tars if tar.metadata is not None]
    schemas = inspect_all(files, lambda file: parquet.read_footer(file).schema.remove_metadata())
    if not files:
        return pa.schema([])
    common = parquet.common_schema(zip(files, schemas, strict=True), ["key", *_others(schemas[0])])
    if not (pa.types.is_string(common.field("key").type) or pa.types.is_large_string(common.field("key").type)):
        raise InputError(f"expected keys that are strings in {files[0].path}, got {common.field('key').type}")
    return pa.schema([field for field in common if field.name != "key"])


def join(file: File, schema: pa.Schema, keys: pa.Array, known: pa.Array) -> tuple[pa.Table, list[int], pa.Table]:
    """Join metadata to the keys of a tar's samples; folders before a key are ignored where the metadata have none.

    Parameters
    ----------
    file : File
        Parquet file with a column ``key``.
    schema : pyarrow.Schema
        The columns to read.
    keys, known : pyarrow.Array of string
        Keys to join, and all keys of the tar.

    Returns
    -------
    joined : pyarrow.Table
        A row per key of `keys`; null where the file has no row, or several rows, of the key.
    repeated : list of int
        Positions in `keys` of keys with several rows.
    alone : pyarrow.Table
        Rows whose key is not among `known`, with the key.
    """
    rows = parquet.read_footer(file).metadata.num_rows
    table = parquet.read_rows(file, pa.schema([pa.field("key", pa.string()), *schema]), 0, rows)
    theirs = table.column("key").combine_chunks()
    counts = theirs.drop_null().value_counts()
    several = counts.field("values").filter(pc.greater(counts.field("counts"), 1))
    names = names_in(theirs, known)
    keys, known = names.take(pc.index_in(keys, value_set=known, skip_nulls=True)), names
    repeated = pc.is_in(keys, value_set=several, skip_nulls=True)
    at = pc.index_in(keys, value_set=theirs, skip_nulls=True)
    joined = table.select(schema.names).take(pc.if_else(repeated, pa.scalar(None, pa.int32()), at))
    alone = table.filter(pc.invert(pc.is_in(theirs, value_set=known, skip_nulls=True)))
    return joined, pc.indices_nonzero(repeated).to_pylist(), alone


def names_in(theirs: pa.Array, keys: pa.Array) -> pa.Array:
    """Keys of a tar's samples as a table of rows spells them.

    A key that the table does not have is the key without "./", or its last part, if the table has that and no other
    key of the tar ends so: ``tar -C folder .`` puts "./" before each name, ``tar folder/`` the folder.
    """
    for before in (r"^(\./+)+", r"^.*/"):
        shorter = pc.replace_substring_regex(keys, before, "")
        counts = shorter.drop_null().value_counts()
        unique = counts.field("values").filter(pc.equal(counts.field("counts"), 1))
        is_known = pc.is_in(keys, value_set=theirs, skip_nulls=True)
        would_be = pc.is_in(shorter, value_set=theirs.filter(pc.is_in(theirs, value_set=unique)), skip_nulls=True)
        keys = pc.if_else(pc.and_not(would_be, is_known), shorter, keys)
    return keys


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
        columns = cls(check_extensions(images), check_extensions(extensions), metadata_schema(tars))
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


def check_extensions(requested: Sequence[str]) -> tuple[str, ...]:
    """Extensions in lower case, without their dots.

    Raises
    ------
    ArgumentError
    """
    if not isinstance(requested, Iterable) or not all(isinstance(name, str) for name in requested):
        raise ArgumentError(f"expected a list of extensions, such as ['jpg', 'png'], got {requested!r}")
    names = [requested] if isinstance(requested, str) else list(requested)
    return tuple(dict.fromkeys(name.lower().removeprefix(".") for name in names))


def _others(schema: pa.Schema) -> list[str]:
    return [name for name in schema.names if name != "key"]
