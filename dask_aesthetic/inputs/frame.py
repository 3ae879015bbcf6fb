"""Inputs of every layout as a lazy Dask frame with its embeddings."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import dask
import dask.dataframe as dd

from dask_aesthetic.inputs import parquet
from dask_aesthetic.inputs.file import File
from dask_aesthetic.inputs.files import Source, list_files, with_suffix
from dask_aesthetic.inputs.layouts import choose_format, look_at_all
from dask_aesthetic.inputs.pairs import look_at_layout, read_pairs, warn_of_texts


def read_frame(
    source: Source,
    *,
    embedding_column: str = "image_embedding",
    format: str = "auto",  # noqa: A002
    storage_options: Mapping[str, Any] | None = None,
) -> dd.DataFrame:
    """Read inputs of any layout as a lazy Dask frame.

    Parameters
    ----------
    source : str, path, or list of them
        A file, a folder (searched through) or a glob; here, or fsspec URLs.
    embedding_column : str
        Name for the embeddings where they lie in matrices.
    format : {"auto", "parquet", "clip-retrieval", "datacomp", "npy"}
        The layout; "auto" tells it by the names of the files.
    storage_options : mapping, optional
        For fsspec.

    Returns
    -------
    dask.dataframe.DataFrame
        Of Parquet as ``dd.read_parquet(..., dtype_backend="pyarrow")`` gives it, with categories for hive partitions
        (on GPUs with Dask's backend set to "cudf"); of the others as `read_clip_retrieval`, `read_datacomp` and
        `read_npy` do.

    Raises
    ------
    InputError
        There is nothing to read, or files are damaged or do not fit together.
    ColumnError
        Metadata have a column that is called as the embedding is.
    """
    found = list_files(source, storage_options)
    layout = choose_format(found, source, format)
    if layout == "npy":
        warn_of_texts(found)
    if layout != "parquet":
        return read_pairs(look_at_layout(layout, found, source), embedding_column, None, 25_000)
    files = [file for file, _ in with_suffix(found, ".parquet", source)]
    look_at_all(files, parquet.read_footer)
    return _read_parquet(files, storage_options)


def _read_parquet(files: Sequence[File], options: Mapping[str, Any] | None) -> dd.DataFrame:
    arguments: dict[str, Any] = {} if all(file.is_local for file in files) else {"storage_options": dict(options or {})}
    if dask.config.get("dataframe.backend") == "pandas":
        arguments["dtype_backend"] = "pyarrow"
    return dd.read_parquet([file.path for file in files], **arguments)
