"""Reader of image files."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Any

import dask.dataframe as dd
import pandas as pd
import pyarrow as pa

from dask_aesthetic.defaults import IMAGE_COLUMN
from dask_aesthetic.errors import InputError
from dask_aesthetic.images.sources import read_image
from dask_aesthetic.io.formats import warn_left_out
from dask_aesthetic.io.image_shards import PATH, find_image_files
from dask_aesthetic.io.listing import ListedFile, Source, list_files
from dask_aesthetic.io.split import split_evenly
from dask_aesthetic.io.storage import File, escape_undecodable, is_utf8
from dask_aesthetic.readers.partitions import empty_frame, from_shards, to_pandas
from dask_aesthetic.validation import check_integer

IMAGE = pa.struct({"bytes": pa.binary(), "path": pa.string()})
SCHEMA = pa.schema({PATH: pa.string(), IMAGE_COLUMN: IMAGE})


@dataclass(frozen=True)
class _Images:
    """Image files of a partition, and their names relative to the source."""

    files: Sequence[File]
    names: Sequence[str]

    @property
    def rows(self) -> int:
        """Number of files."""
        return len(self.files)


def read_images(
    path: Source,
    *,
    rows_per_partition: int = 1024,
    storage_options: Mapping[str, Any] | None = None,
) -> dd.DataFrame:
    """Read the image files of a folder as a lazy Dask DataFrame with a row per file, for ``.aesthetic.embed``.

    It lists the files and opens none: ``embed`` and ``embed_and_score`` do, one after the other, so that a partition
    never holds its images.

    Parameters
    ----------
    path : str, path, or list of them
        A folder (searched recursively), an image file or a glob; local, or fsspec URLs. Of folders the files with a
        suffix of an image format are read, in any case; a file that is named itself, or matched by a glob, may have
        any suffix. Files and folders whose names begin with "." are left out.
    rows_per_partition : int
        Maximum image files of a partition; all partitions have about the same number.
    storage_options : mapping, optional
        Options of the fsspec file system. Give them to ``embed``, too, which opens the files.

    Returns
    -------
    dask.dataframe.DataFrame
        The rows of ``dask-aesthetic score PATH OUTPUT --embed``, in its order: folder by folder, sorted by name. Arrow
        columns: ``image_path``, the name relative to `path`, as `filter_dataset` takes it; and ``image``, a struct of
        ``bytes`` and ``path`` (absolute, or a URL), as Hugging Face writes images. Bytes are null but for names that
        are not UTF-8, which no column can hold: such images are read with their partition. The index numbers all rows.

    Raises
    ------
    InputError
        There are no image files, a path does not exist, or files of several paths have the same name.
    ArgumentError
    MissingDependencyError
        ``pip install 'dask-aesthetic[embed]'`` installs the dependencies.

    Notes
    -----
    A file that cannot be read, or is no image, is a row, to which ``embed`` gives a status and no embedding.

    Examples
    --------
    >>> import tempfile
    >>> from pathlib import Path
    >>> from dask_aesthetic import read_images
    >>> folder = Path(tempfile.mkdtemp())
    >>> for name in ("b.jpg", "a.png", "notes.md"):
    ...     _ = (folder / name).write_bytes(b"...")
    >>> import warnings
    >>> with warnings.catch_warnings():  # of notes.md, which is not read
    ...     warnings.simplefilter("ignore")
    ...     images = read_images(folder)
    >>> images["image_path"].compute().tolist()
    ['a.png', 'b.jpg']
    >>> images.aesthetic.embed().aesthetic.score()  # doctest: +SKIP
    """
    check_integer("rows_per_partition", rows_per_partition, minimum=1, unit="rows")
    found = list_files(path, storage_options)
    images = find_image_files(found, path)
    _refuse_same_names(images)
    warn_left_out(found, [one.file for one in images])
    parts = [
        _Images([one.file for one in images[start:stop]], [one.name for one in images[start:stop]])
        for start, stop in split_evenly(len(images), rows_per_partition)
    ]
    return from_shards("read_images", _read, parts, empty_frame(SCHEMA))


def _refuse_same_names(images: Sequence[ListedFile]) -> None:
    """Refuse several files whose relative names are the same: `image_path` would not tell them apart."""
    by_name: dict[str, File] = {}
    for one in images:
        name = PurePosixPath(one.name).as_posix()
        if name in by_name:
            raise InputError(
                f"expected image files of different names, got {by_name[name].path} and {one.file.path}, both {name}: "
                "name the folder that holds both"
            )
        by_name[name] = one.file


def _read(images: _Images, first: int, columns: list[str]) -> pd.DataFrame:
    table = {
        PATH: lambda: pa.array(map(escape_undecodable, images.names), pa.string()),
        IMAGE_COLUMN: lambda: pa.array(map(_image, images.files), IMAGE),
    }
    return to_pandas(pa.table({name: table[name]() for name in columns}), first, images.rows)


def _image(file: File) -> dict[str, Any]:
    if is_utf8(file.path):
        return {"bytes": None, "path": file.path}
    data = read_image(file.path, file.options)
    # No file has the escaped path, so that opening it again fails, too.
    return {"bytes": data if isinstance(data, bytes) else None, "path": escape_undecodable(file.path)}
