"""Reader of .npy matrices of embeddings without metadata."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import dask.dataframe as dd

from dask_aesthetic.errors import ColumnError
from dask_aesthetic.inputs.files import Source, list_files
from dask_aesthetic.inputs.pairs import LOCATION, open_pairs, read_pairs, warn_text_matrices


def read_npy(
    path: Source,
    *,
    embedding_column: str = "image_embedding",
    rows_per_partition: int | None = 25_000,
    storage_options: Mapping[str, Any] | None = None,
) -> dd.DataFrame:
    """Read .npy matrices of embeddings as a lazy Dask DataFrame with shard, row and embedding columns.

    Parameters
    ----------
    path : str, path, or list of them
        An .npy file, a folder of them (searched recursively) or a glob; local, or an fsspec URL. Files are read in the
        order of their names.
    embedding_column : str
        Name of the embedding column.
    rows_per_partition : int or None
        Maximum rows of a partition, which never spans two files; None for a partition per file.
    storage_options : mapping, optional
        Options of the fsspec file system.

    Returns
    -------
    dask.dataframe.DataFrame
        ``shard`` (string), the file's name relative to the folder, without its suffix; ``row`` (int64), the position in
        the file from 0; and the embedding as of `read_clip_retrieval`. The index numbers the rows through all files.

    Raises
    ------
    InputError
        No such files exist, two have the same name, one is damaged or not a matrix of floats, or widths or dtypes
        differ. All are found without reading data.
    ColumnError
        The embedding column would have the name "shard" or "row".

    Warns
    -----
    AestheticWarning
        Matrices of text embeddings, recognized by name, are left out if matrices of image embeddings lie beside them.

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
    if embedding_column in LOCATION.names:
        raise ColumnError.clash("embedding_column", embedding_column, "the columns shard and row")
    files = list_files(path, storage_options)
    warn_text_matrices(files)
    return read_pairs(open_pairs("npy", files, path), embedding_column, None, rows_per_partition)
