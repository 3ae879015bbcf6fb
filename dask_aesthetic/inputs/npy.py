"""Bare .npy matrices of embeddings."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import dask.dataframe as dd

from dask_aesthetic.errors import ColumnError
from dask_aesthetic.inputs.files import Source, list_files
from dask_aesthetic.inputs.pairs import PLACE, look_at_layout, read_pairs, warn_of_texts


def read_npy(
    path: Source,
    *,
    embedding_column: str = "image_embedding",
    rows_per_partition: int | None = 25_000,
    storage_options: Mapping[str, Any] | None = None,
) -> dd.DataFrame:
    """Read .npy matrices of embeddings as a lazy Dask frame.

    Parameters
    ----------
    path : str, path, or list of them
        An .npy file, a folder of them (searched through) or a glob; here, or an fsspec URL. Read in the order of
        their names.
    embedding_column : str
        Name for the embeddings.
    rows_per_partition : int or None
        The most rows of a partition, which never spans two files; None for a partition per file.
    storage_options : mapping, optional
        For fsspec.

    Returns
    -------
    dask.dataframe.DataFrame
        ``shard`` (string), the file's name relative to the folder, without its ending; ``row`` (int64), the position in
        it from 0; and the embedding as of `read_clip_retrieval`. The index numbers the rows through all files.

    Raises
    ------
    InputError
        There are no such files, two have the same name, one is damaged or no matrix of floats,
        or their widths or types differ; all found without reading data.
    ColumnError
        The embedding would be called "shard" or "row".

    Warns
    -----
    AestheticWarning
        Matrices of texts' embeddings, by their names, are left out, since such of images stand beside them.

    Examples
    --------
    >>> import tempfile, numpy as np
    >>> from pathlib import Path
    >>> from dask_aesthetic import read_npy
    >>> folder = Path(tempfile.mkdtemp())
    >>> np.save(folder / "photos.npy", np.full((2, 768), 0.1, dtype="float16"))
    >>> read_npy(folder).aesthetic.score()[["shard", "row", "aesthetic_score"]].compute().round(3)
        shard  row  aesthetic_score
    0  photos    0            4.883
    1  photos    1            4.883
    """
    if embedding_column in PLACE.names:
        raise ColumnError.clash("embedding_column", embedding_column, "the columns shard and row")
    found = list_files(path, storage_options)
    warn_of_texts(found)
    return read_pairs(look_at_layout("npy", found, path), embedding_column, None, rows_per_partition)
