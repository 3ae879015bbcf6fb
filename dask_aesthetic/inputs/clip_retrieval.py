"""What clip-retrieval's inference writes."""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from pathlib import Path

import dask.dataframe as dd

from dask_aesthetic.errors import InputError
from dask_aesthetic.inputs.matrices import open_matrix
from dask_aesthetic.inputs.pairs import Pair, existing_folder, pair_up, read_pairs

LAYOUT = "img_emb/img_emb_N.npy beside metadata/metadata_N.parquet"


def read_clip_retrieval(
    folder: str | os.PathLike[str],
    *,
    embedding_column: str = "image_embedding",
    columns: str | Sequence[str] | None = None,
    rows_per_partition: int | None = 25_000,
) -> dd.DataFrame:
    """Read clip-retrieval's image embeddings and metadata as a lazy Dask frame.

    Parameters
    ----------
    folder : str or path
        Holds ``img_emb/img_emb_N.npy``, float matrices, and ``metadata/metadata_N.parquet``. They are paired by the
        number N, with or without leading zeros, and read in its order.
    embedding_column : str
        Name for the embeddings.
    columns : list of str, optional
        Metadata columns to carry; all if not given, those of ids (key, uid, url, hash, id, image_path) if "ids".
    rows_per_partition : int or None
        The most rows of a partition, which never spans two shards; None for a partition per shard.

    Returns
    -------
    dask.dataframe.DataFrame
        Metadata columns with their Arrow types, then the embedding as a fixed-size list, float16 as it lies; the
        index numbers the rows through all shards. Embeddings stay in the mapped file and are scored there without a
        copy; what is not asked for is not read.

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
    path = existing_folder(os.fspath(folder))
    matrices = _by_number(path / "img_emb", "img_emb", ".npy")
    tables = _by_number(path / "metadata", "metadata", ".parquet")
    files = pair_up(matrices, tables, path, LAYOUT)
    pairs = [Pair(open_matrix(str(matrix)), table) for matrix, table in files]
    return read_pairs(pairs, embedding_column, columns, rows_per_partition)


def _by_number(folder: Path, name: str, suffix: str) -> dict[str, Path]:
    found: dict[int, Path] = {}
    for file in sorted(folder.glob(f"{name}_*{suffix}")):
        match = re.fullmatch(rf"{name}_(\d+){re.escape(suffix)}", file.name)
        if match is None:
            continue
        number = int(match[1])
        if number in found:
            raise InputError(f"expected one {name} file of number {number}, got {found[number]} and {file}")
        found[number] = file
    return {str(number): found[number] for number in sorted(found)}
