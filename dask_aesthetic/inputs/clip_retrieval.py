"""Reader of clip-retrieval's inference output: ``img_emb/*.npy`` beside ``metadata/*.parquet``."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import dask.dataframe as dd

from dask_aesthetic.inputs.files import StrPath, list_files
from dask_aesthetic.inputs.pairs import open_pairs, read_pairs


def read_clip_retrieval(
    folder: StrPath,
    *,
    embedding_column: str = "image_embedding",
    columns: str | Sequence[str] | None = None,
    rows_per_partition: int | None = 25_000,
    storage_options: Mapping[str, Any] | None = None,
) -> dd.DataFrame:
    """Read clip-retrieval embeddings (img_emb/*.npy) and metadata (Parquet) as a lazy Dask DataFrame.

    Parameters
    ----------
    folder : str or path
        A path or fsspec URL. Holds ``img_emb/img_emb_N.npy``, float matrices, and ``metadata/metadata_N.parquet``. The
        number N, with or without leading zeros, pairs them and orders them.
    embedding_column : str
        Name of the embedding column.
    columns : list of str, optional
        Passthrough columns of the metadata; default: all. "ids" takes key, uid, url, hash, id and image_path.
    rows_per_partition : int or None
        Maximum rows of a partition, which never spans two shards; None for a partition per shard.
    storage_options : mapping, optional
        Options of the fsspec file system.

    Returns
    -------
    dask.dataframe.DataFrame
        Metadata columns with their Arrow types, then the embedding as a fixed-size list with the dtype on disk, float16
        included; the index numbers the rows through all shards. Embeddings of a local folder stay in the memory-mapped
        file and are scored there without a copy; behind a URL, each partition fetches its rows. Columns that are not
        used are not read. The partitions are pandas. cuDF has neither float16 nor fixed-size lists: to move them to
        GPUs,
        ``.astype({"image_embedding": pd.ArrowDtype(pa.list_(pa.float32()))}).to_backend("cudf")``.

    Raises
    ------
    InputError
        The folder holds no such files, a file has no partner, row counts of a pair differ, widths or dtypes of shards
        differ, or a file is damaged or not a matrix of floats. All are found without reading data.
    ColumnError
        A metadata column is missing, or has the name of the embedding column.

    Notes
    -----
    Parquet decodes a row group from its beginning, so metadata in small row groups is read faster. ``len`` of the
    frame reads the metadata; ``frame.divisions[-1] + 1`` is the number of rows without reading.

    Examples
    --------
    >>> import tempfile, numpy as np, pandas as pd
    >>> from pathlib import Path
    >>> from dask_aesthetic import read_clip_retrieval
    >>> folder = Path(tempfile.mkdtemp())
    >>> (folder / "img_emb").mkdir(), (folder / "metadata").mkdir()
    (None, None)
    >>> np.save(folder / "img_emb/img_emb_0.npy", np.full((2, 768), 0.1, dtype="float16"))
    >>> pd.DataFrame({"key": ["a", "b"]}).to_parquet(folder / "metadata/metadata_0.parquet")
    >>> read_clip_retrieval(folder).aesthetic.score()[["key", "aesthetic_score"]].compute().round(3)
      key  aesthetic_score
    0   a            4.883
    1   b            4.883
    """
    pairs = open_pairs("clip-retrieval", list_files(folder, storage_options), folder)
    return read_pairs(pairs, embedding_column, columns, rows_per_partition)
