"""Reader of DataComp's metadata: embeddings in .npz files beside Parquet files."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import dask.dataframe as dd

from dask_aesthetic.inputs.files import StrPath, list_files
from dask_aesthetic.inputs.pairs import open_pairs, read_pairs


def read_datacomp(
    folder: StrPath,
    *,
    key: str = "l14_img",
    embedding_column: str = "image_embedding",
    columns: str | Sequence[str] | None = None,
    rows_per_partition: int | None = 25_000,
    storage_options: Mapping[str, Any] | None = None,
) -> dd.DataFrame:
    """Read DataComp embeddings (.npz) and metadata (Parquet) as a lazy Dask DataFrame.

    Parameters
    ----------
    folder : str or path
        A path or fsspec URL, searched recursively. Holds ``<name>.npz`` and ``<name>.parquet``, paired and ordered by
        name.
    key : str
        Matrix of the .npz files to read: "l14_img" (OpenAI's ViT-L/14, 768 wide) or "b32_img" (ViT-B/32, 512 wide, for
        ``predictor="laion-v1-b32"``). "l14_txt" and "b32_txt" are embeddings of captions, which no predictor scores.
    embedding_column, columns
        As in `read_clip_retrieval`.
    rows_per_partition : int or None
        Maximum rows of a partition, which never spans two shards; None for a partition per shard, as compressed
        .npz files always have.
    storage_options : mapping, optional
        Options of the fsspec file system.

    Returns
    -------
    dask.dataframe.DataFrame
        As of `read_clip_retrieval`. Embeddings of uncompressed .npz files, as `numpy.savez` writes them, stay in the
        memory-mapped file if they are aligned there.

    Raises
    ------
    InputError
        As in `read_clip_retrieval`; or an .npz file lacks the matrix `key`.
    ColumnError
        A metadata column is missing, or has the name of the embedding column.

    Examples
    --------
    >>> import tempfile, numpy as np, pandas as pd
    >>> from pathlib import Path
    >>> from dask_aesthetic import read_datacomp
    >>> folder = Path(tempfile.mkdtemp())
    >>> np.savez(folder / "0a1b.npz", l14_img=np.full((2, 768), 0.1, dtype="float16"))
    >>> pd.DataFrame({"uid": ["a", "b"]}).to_parquet(folder / "0a1b.parquet")
    >>> read_datacomp(folder).aesthetic.score()[["uid", "aesthetic_score"]].compute().round(3)
      uid  aesthetic_score
    0   a            4.883
    1   b            4.883
    """
    pairs = open_pairs("datacomp", list_files(folder, storage_options), folder, key)
    return read_pairs(pairs, embedding_column, columns, rows_per_partition)
