"""Reader of webdataset tars, with the Parquet files that img2dataset writes beside them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import dask
import dask.dataframe as dd
import pandas as pd
from dask.utils import parse_bytes

from dask_aesthetic.errors import ArgumentError
from dask_aesthetic.io.formats import inspect_all, warn_left_out
from dask_aesthetic.io.listing import Source, list_files, match_suffix
from dask_aesthetic.io.samples import IMAGES
from dask_aesthetic.io.tar import read_index
from dask_aesthetic.io.webdataset import TEXTS, Tar, TarColumns, find_tars, read_rows
from dask_aesthetic.readers.partitions import empty_frame, to_pandas
from dask_aesthetic.validation import is_integer


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
    found = list_files(path, storage_options)
    tars = find_tars(found, path, metadata)
    asked = found if metadata else [one for one in found if not match_suffix(one.name, (".parquet", ".json"))]
    warn_left_out(asked, [file for tar in tars for file in (tar.file, tar.metadata) if file is not None])
    tar_columns = TarColumns.of(tars, image_extensions, extensions)
    sources, spans = _partition(tars, None if blocksize is None else _bytes(blocksize))
    with dask.config.set({"dataframe.convert-string": False}):  # from_map would convert Arrow strings.
        meta = empty_frame(tar_columns.schema)
        return dd.from_map(_read, sources, spans, meta=meta, label="read_webdataset", tar_columns=tar_columns)


def _bytes(blocksize: int | str) -> int:
    try:
        size = int(blocksize if is_integer(blocksize) else parse_bytes(blocksize))
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
    return to_pandas(table.select(columns), span[0], len(table))
