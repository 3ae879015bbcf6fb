"""Readers of embeddings that lie apart from frames: matrices, clip-retrieval, DataComp and saved data sets."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import dask.dataframe as dd
import pandas as pd
import pyarrow as pa

from dask_aesthetic.choices import EmbeddingDtype
from dask_aesthetic.errors import ColumnError, InputError
from dask_aesthetic.io import parquet
from dask_aesthetic.io.formats import TENSORS, choose_format, warn_left_out, warn_text_matrices
from dask_aesthetic.io.listing import ListedFile, Source, StrPath, format_source, list_files
from dask_aesthetic.io.shards import LOCATION, Shard, find_shards
from dask_aesthetic.readers.partitions import (
    check_rows_per_partition,
    empty_frame,
    from_shards,
    to_pandas,
    with_rows,
)
from dask_aesthetic.validation import check_new_name


def read_clip_retrieval(
    folder: StrPath,
    *,
    embedding_column: str = "image_embedding",
    text_column: str | None = None,
    columns: str | Sequence[str] | None = None,
    rows_per_partition: int | None = 25_000,
    storage_options: Mapping[str, Any] | None = None,
) -> dd.DataFrame:
    """Read clip-retrieval embeddings (``img_emb/*.npy``) and metadata (Parquet) as a lazy Dask DataFrame.

    Parameters
    ----------
    folder : str or path
        A path or fsspec URL. Holds ``img_emb/img_emb_N.npy``, float matrices, and ``metadata/metadata_N.parquet``. The
        number N, with or without leading zeros, pairs them and orders them.
    embedding_column : str
        Name of the embedding column.
    text_column : str, optional
        Name of a column with the text embeddings, ``text_emb/text_emb_N.npy``, for `similarity`; without a name they
        are not read.
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
    return _read_matrices(
        folder,
        "clip-retrieval",
        columns,
        embedding_column,
        rows_per_partition,
        storage_options,
        text_column=text_column,
    )


def read_datacomp(
    folder: StrPath,
    *,
    key: str = "l14_img",
    embedding_column: str = "image_embedding",
    text_key: str = "l14_txt",
    text_column: str | None = None,
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
    text_key : str
        Matrix of the text embeddings: "l14_txt" or "b32_txt".
    text_column : str, optional
        Name of a column with the text embeddings, for `similarity`; without a name they are not read.
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
    return _read_matrices(
        folder,
        "datacomp",
        columns,
        embedding_column,
        rows_per_partition,
        storage_options,
        key=key,
        text_column=text_column,
        text_key=text_key,
    )


def read_npy(
    path: Source,
    *,
    embedding_column: str = "image_embedding",
    rows_per_partition: int | None = 25_000,
    storage_options: Mapping[str, Any] | None = None,
    embedding_zero_point: int | None = None,
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
    embedding_zero_point : int, optional
        Zero point of a matrix of uint8, which needs one, or int8: the values, float32, are the numbers less it.

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
    return _read_bare(path, "npy", embedding_column, rows_per_partition, storage_options, embedding_zero_point, None)


def read_tensors(
    path: Source,
    *,
    key: str | None = None,
    embedding_column: str = "image_embedding",
    rows_per_partition: int | None = 25_000,
    storage_options: Mapping[str, Any] | None = None,
    embedding_zero_point: int | None = None,
) -> dd.DataFrame:
    """Read .safetensors or .pt matrices of embeddings as a lazy Dask DataFrame with shard, row and embedding columns.

    Parameters
    ----------
    path : str, path, or list of them
        Files, a folder of them (searched recursively) or a glob: either .safetensors, local or behind fsspec URLs, or
        .pt and .pth, local ones. torch loads the latter by ``weights_only`` and runs no code of theirs. Files are read
        in the order of their names.
    key : str, optional
        Name of the tensor; without one, files have a single tensor.
    embedding_column, rows_per_partition, storage_options, embedding_zero_point
        As in `read_npy`.

    Returns
    -------
    dask.dataframe.DataFrame
        As of `read_npy`. Tensors of local files stay in the memory-mapped file; bfloat16 becomes float32, partition by
        partition.

    Raises
    ------
    InputError
        As in `read_npy`; or a file has several tensors and there is no `key`, lacks the tensor `key`, or asks to run
        code.
    ColumnError
        The embedding column would have the name "shard" or "row".

    Examples
    --------
    >>> import tempfile, torch
    >>> from pathlib import Path
    >>> from dask_aesthetic import read_tensors
    >>> folder = Path(tempfile.mkdtemp())
    >>> torch.save({"images": torch.full((2, 768), 0.1, dtype=torch.bfloat16)}, folder / "photos.pt")
    >>> read_tensors(folder).aesthetic.score()[["shard", "row", "aesthetic_score"]].compute().round(3)
        shard  row  aesthetic_score
    0  photos    0            4.883
    1  photos    1            4.883
    """
    found = list_files(path, storage_options)
    layout = choose_format(found, path, "auto")
    if layout not in TENSORS:
        raise InputError(f"expected .safetensors or .pt files in {format_source(path)}, got the format {layout!r}")
    return _read_bare(
        path, layout, embedding_column, rows_per_partition, storage_options, embedding_zero_point, key, found
    )


def read_hf_dataset(
    folder: StrPath,
    *,
    embedding_column: str = "image_embedding",
    columns: str | Sequence[str] | None = None,
    rows_per_partition: int | None = 25_000,
    storage_options: Mapping[str, Any] | None = None,
    embedding_dtype: EmbeddingDtype | None = None,
    embedding_zero_point: int | None = None,
) -> dd.DataFrame:
    """Read a Hugging Face data set, as ``Dataset.save_to_disk`` leaves it, as a lazy Dask DataFrame.

    It needs pyarrow alone, not the package datasets.

    Parameters
    ----------
    folder : str or path
        A path or fsspec URL with ``state.json`` and ``data-*.arrow``; of a ``DatasetDict``, the folder of one split.
    embedding_column : str
        Column of ``Sequence(Value("float32"), length=768)``, ``Array2D((1, 768), "float32")``, or another list of
        numbers.
    columns : list of str, optional
        Passthrough columns; default: all. "ids" takes key, uid, url, hash, id and image_path.
    rows_per_partition : int or None
        Record batches of a file are combined up to about so many rows; None for a partition per file.
    storage_options : mapping, optional
        Options of the fsspec file system.
    embedding_dtype, embedding_zero_point
        As in ``.aesthetic.score``; packed embeddings are read as lists.

    Returns
    -------
    dask.dataframe.DataFrame
        Passthrough columns with their Arrow types, then the embedding; the index numbers the rows. Local files are
        mapped to memory, and embeddings are scored there without a copy.

    Raises
    ------
    InputError
        The folder is not a single saved data set, is not complete, has indices, by which its rows are others than
        those of its files, or a file is damaged. All but damaged rows are found without reading data.
    ColumnError
        A column is missing, or the embedding column holds no lists of numbers.

    Examples
    --------
    >>> from dask_aesthetic import read_hf_dataset
    >>> read_hf_dataset("laion-subset/train").aesthetic.score().compute()  # doctest: +SKIP
    """
    return _read_matrices(
        folder,
        "hf-dataset",
        columns,
        embedding_column,
        rows_per_partition,
        storage_options,
        packed=(embedding_dtype, embedding_zero_point),
    )


def _read_bare(
    path: Source,
    layout: str,
    embedding_column: str,
    rows_per_partition: int | None,
    storage_options: Mapping[str, Any] | None,
    zero_point: int | None,
    key: str | None,
    found: Sequence[ListedFile] | None = None,
) -> dd.DataFrame:
    if embedding_column in LOCATION.names:
        raise ColumnError.clash("embedding_column", embedding_column, "the columns shard and row")
    found = list_files(path, storage_options) if found is None else found
    warn_text_matrices(found)
    return _read_matrices(
        path,
        layout,
        None,
        embedding_column,
        rows_per_partition,
        storage_options,
        found,
        key,
        packed=(None, zero_point),
    )


def _read_matrices(
    source: Source,
    layout: str,
    columns: str | Sequence[str] | None,
    embedding_column: str,
    rows_per_partition: int | None,
    options: Mapping[str, Any] | None,
    found: Sequence[ListedFile] | None = None,
    key: str | None = None,
    text_column: str | None = None,
    text_key: str = "",
    packed: tuple[str | None, int | None] = (None, None),
) -> dd.DataFrame:
    """Lazy Dask DataFrame of passthrough columns and, last, the columns of embeddings."""
    check_new_name("embedding_column", embedding_column)
    if text_column is not None:
        check_new_name("text_column", text_column)
        if text_column == embedding_column:
            raise ColumnError.clash("text_column", text_column, "embedding_column")
    check_rows_per_partition(rows_per_partition)
    found = list_files(source, options) if found is None else found
    shards = find_shards(
        source,
        format=layout,
        embedding_column=embedding_column,
        key=key,
        rows_per_shard=rows_per_partition,
        storage_options=options,
        found=found,
        text_column=text_column or "",
        text_key=text_key,
        embedding_dtype=packed[0],
        zero_point=packed[1],
    )
    warn_left_out(found, [file for shard in shards for file in shard.files])
    schema = shards[0].schema
    names = parquet.choose_columns(schema, "all" if columns is None else columns, "")
    for role, name in (("embedding_column", embedding_column), ("text_column", text_column)):
        if name in names:
            raise ColumnError(
                f"expected {role}={name!r} to differ from the other columns, which are {', '.join(schema.names)}: "
                "choose another name for it, or other columns"
            )
    schema = parquet.common_schema(((shard.files[-1], shard.schema) for shard in shards), names)
    for added in shards[0].embedding_fields:
        schema = schema.append(added)
    name = "read_tensors" if layout in TENSORS else f"read_{layout.replace('-', '_')}"
    return from_shards(name, _read, with_rows(shards), empty_frame(schema), schema=schema)


def _read(shard: Shard, first: int, columns: list[str], schema: pa.Schema) -> pd.DataFrame:
    chosen = pa.schema([field for field in schema if field.name in columns])
    return to_pandas(shard.read(chosen), first, shard.rows)
