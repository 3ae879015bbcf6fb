"""Reader of embeddings in any layout as a lazy Dask DataFrame."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import dask
import dask.dataframe as dd

from dask_aesthetic.inputs import parquet
from dask_aesthetic.inputs.file import File
from dask_aesthetic.inputs.files import Source, files_with_suffix, list_files
from dask_aesthetic.inputs.layouts import choose_format, inspect_all
from dask_aesthetic.inputs.pairs import open_pairs, read_pairs, warn_text_matrices


def read_frame(
    source: Source,
    *,
    embedding_column: str = "image_embedding",
    format: str = "auto",  # noqa: A002
    storage_options: Mapping[str, Any] | None = None,
) -> dd.DataFrame:
    """Read embeddings of any layout (Parquet, clip-retrieval, DataComp, .npy) as a lazy Dask DataFrame.

    Parameters
    ----------
    source : str, path, or list of them
        A file, a folder (searched recursively) or a glob; local, or fsspec URLs.
    embedding_column : str
        Name of the embedding column where the embeddings are matrices.
    format : {"auto", "parquet", "clip-retrieval", "datacomp", "npy"}
        The layout; "auto" infers it from the file names.
    storage_options : mapping, optional
        Options of the fsspec file system.

    Returns
    -------
    dask.dataframe.DataFrame
        Parquet as of ``dd.read_parquet(..., dtype_backend="pyarrow")``, with categories for hive partitions (on GPUs
        with Dask's backend set to "cudf"); other layouts as of `read_clip_retrieval`, `read_datacomp` and `read_npy`.

    Raises
    ------
    InputError
        No files to read exist, or files are damaged or do not fit together.
    ColumnError
        The metadata has a column with the name of the embedding column.
    """
    found = list_files(source, storage_options)
    layout = choose_format(found, source, format)
    if layout == "npy":
        warn_text_matrices(found)
    if layout != "parquet":
        return read_pairs(open_pairs(layout, found, source), embedding_column, None, 25_000)
    files = [file for file, _ in files_with_suffix(found, ".parquet", source)]
    inspect_all(files, parquet.read_footer)
    return _read_parquet(files, storage_options)


def _read_parquet(files: Sequence[File], options: Mapping[str, Any] | None) -> dd.DataFrame:
    arguments: dict[str, Any] = {} if all(file.is_local for file in files) else {"storage_options": dict(options or {})}
    if dask.config.get("dataframe.backend") == "pandas":
        arguments["dtype_backend"] = "pyarrow"
    return dd.read_parquet([file.path for file in files], **arguments)
