"""Bare .npy matrices of embeddings."""

from __future__ import annotations

import os
from pathlib import Path

import dask.dataframe as dd
import numpy as np
import pandas as pd
import pyarrow as pa

from dask_aesthetic.errors import ColumnError
from dask_aesthetic.inputs.matrices import Matrix, open_matrix
from dask_aesthetic.inputs.pairs import check_matrices, ranges
from dask_aesthetic.inputs.parquet import find_files
from dask_aesthetic.inputs.partitions import Span, check_rows, cut, from_spans, to_pandas

PLACE = pa.schema({"shard": pa.string(), "row": pa.int64()})


def read_npy(
    path: str | os.PathLike[str],
    *,
    embedding_column: str = "image_embedding",
    rows_per_partition: int | None = 25_000,
) -> dd.DataFrame:
    """Read .npy matrices of embeddings as a lazy Dask frame.

    Parameters
    ----------
    path : str or path
        An .npy file, a folder of them (searched through) or a glob; read in the order of their paths.
    embedding_column : str
        Name for the embeddings.
    rows_per_partition : int or None
        The most rows of a partition, which never spans two files; None for a partition per file.

    Returns
    -------
    dask.dataframe.DataFrame
        ``shard`` (string), the file's name without its ending; ``row`` (int64), the position in it from 0; and the
        embedding as of `read_clip_retrieval`. The index numbers the rows through all files.

    Raises
    ------
    InputError
        There are no such files, two have the same name in different folders, one is damaged or no matrix of floats,
        or their widths or types differ; all found without reading data.
    ColumnError
        The embedding would be called "shard" or "row".

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
    check_rows(rows_per_partition)
    if embedding_column in PLACE.names:
        raise ColumnError.clash("embedding_column", embedding_column, "the columns shard and row")
    matrices = [open_matrix(str(file.absolute())) for file in find_files(os.fspath(path), "npy")]
    check_matrices(matrices)
    sources, spans = cut(matrices, [ranges(matrix, rows_per_partition) for matrix in matrices])
    return from_spans(_read, sources, spans, PLACE.append(pa.field(embedding_column, matrices[0].type)))


def _read(matrix: Matrix, span: Span, columns: list[str]) -> pd.DataFrame:
    table = {}
    for name in columns:
        if name == "shard":
            table[name] = pa.repeat(pa.scalar(Path(matrix.file).stem), len(span))
        elif name == "row":
            table[name] = pa.array(np.arange(span.start, span.stop))
        else:
            table[name] = matrix.read(span.start, span.stop)
    return to_pandas(pa.table(table), span)
