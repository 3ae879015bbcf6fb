"""Tars of a source, and the img2dataset Parquet files beside them, joined by key."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import pyarrow as pa
import pyarrow.compute as pc

from dask_aesthetic.errors import InputError
from dask_aesthetic.inputs import parquet
from dask_aesthetic.inputs.file import File
from dask_aesthetic.inputs.files import ListedFile, Source, format_source, match_suffix, refuse_repeated, sibling
from dask_aesthetic.inputs.layouts import inspect_all
from dask_aesthetic.inputs.samples import unsafe_reason
from dask_aesthetic.inputs.tar import check_tar

SUFFIXES = (".tar", ".tar.gz", ".tgz")
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

    def open_named(name: str) -> Tar:
        file = by_name[name]
        check_tar(file)
        return Tar(name, file, sibling(file, SUFFIXES, ".parquet") if metadata else None)

    return inspect_all(by_name, open_named)


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
    """Join metadata to the keys of a tar's samples.

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
    repeated = pc.is_in(keys, value_set=several, skip_nulls=True)
    at = pc.index_in(keys, value_set=theirs, skip_nulls=True)
    joined = table.select(schema.names).take(pc.if_else(repeated, pa.scalar(None, pa.int32()), at))
    alone = table.filter(pc.invert(pc.is_in(theirs, value_set=known, skip_nulls=True)))
    return joined, pc.indices_nonzero(repeated).to_pylist(), alone


def _others(schema: pa.Schema) -> list[str]:
    return [name for name in schema.names if name != "key"]
