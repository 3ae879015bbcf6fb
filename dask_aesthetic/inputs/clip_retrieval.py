"""What clip-retrieval's inference writes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import dask.dataframe as dd

from dask_aesthetic.inputs.files import Place, list_files
from dask_aesthetic.inputs.pairs import look_at_layout, read_pairs


def read_clip_retrieval(
    folder: Place,
    *,
    embedding_column: str = "image_embedding",
    columns: str | Sequence[str] | None = None,
    rows_per_partition: int | None = 25_000,
    storage_options: Mapping[str, Any] | None = None,
) -> dd.DataFrame:
    """Read clip-retrieval's image embeddings and metadata as a lazy Dask frame.

    Parameters
    ----------
    folder : str or path
        A path or fsspec URL. Holds ``img_emb/img_emb_N.npy``, float matrices, and ``metadata/metadata_N.parquet``. They
        are paired by the number N, with or without leading zeros, and read in its order.
    embedding_column : str
        Name for the embeddings.
    columns : list of str, optional
        Metadata columns to carry; all if not given, those of ids (key, uid, url, hash, id, image_path) if "ids".
    rows_per_partition : int or None
        The most rows of a partition, which never spans two shards; None for a partition per shard.
    storage_options : mapping, optional
        For fsspec.

    Returns
    -------
    dask.dataframe.DataFrame
        Metadata columns with their Arrow types, then the embedding as a fixed-size list, float16 as it lies; the
        index numbers the rows through all shards. Embeddings of a folder here stay in the mapped file and are scored
        there without a copy; behind a URL a partition's rows are fetched. What is not asked for is not read. The
        partitions are pandas. cuDF has neither float16 nor lists of a fixed size: to take them to GPUs,
        ``.astype({"image_embedding": pd.ArrowDtype(pa.list_(pa.float32()))}).to_backend("cudf")``.

    Raises
    ------
    InputError
        The folder holds no such files, one lacks its partner, the numbers of rows in a pair differ, the shards'
        widths or types do, or a file is damaged or no matrix of floats; all found without reading data.
    ColumnError
        A metadata column is not there, or is called as the embedding is.

    Notes
    -----
    A Parquet row group is decoded from its beginning, so metadata in small row groups is read faster. ``len`` of the
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
    found = look_at_layout("clip-retrieval", list_files(folder, storage_options), folder)
    return read_pairs(found, embedding_column, columns, rows_per_partition)
