"""Random embeddings for benchmarks: neither reading nor scoring time depends on the values."""

from __future__ import annotations

import os
from pathlib import Path
from tempfile import gettempdir
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

WIDTH = 768
FOLDER = Path(os.environ.get("DASK_AESTHETIC_BENCH", Path(gettempdir()) / "dask-aesthetic-benchmark"))
FILES, ROWS = 20, 25_000
ELEMENT = pa.field("element", pa.float32(), nullable=False)


def vectors(rows: int, seed: int = 0) -> np.ndarray:
    """Random vectors, shape (rows, 768), float32."""
    return np.random.default_rng(seed).standard_normal((rows, WIDTH), dtype=np.float32)


def lists(matrix: np.ndarray, kind: pa.DataType) -> pa.Array:
    """Arrow list array of a matrix, without a copy."""
    leaves = pa.array(matrix.reshape(-1))
    if pa.types.is_fixed_size_list(kind):
        return pa.FixedSizeListArray.from_arrays(leaves, type=kind)
    offsets = pa.array(np.arange(len(matrix) + 1) * WIDTH, pa.int32())
    return pa.ListArray.from_arrays(offsets, leaves, type=kind)


def frame(column: pa.Array) -> pd.DataFrame:
    """A pandas frame with an Arrow column of embeddings."""
    return pd.DataFrame({"image_embedding": pd.Series(pd.arrays.ArrowExtensionArray(pa.chunked_array([column])))})


def embeddings(files: int = FILES, rows: int = ROWS) -> Path:
    """Folder of Parquet files with keys and embeddings, written as the README advises; made once."""
    return _written(FOLDER / f"embeddings-{files}x{rows}", files, rows, use_dictionary=False, compression="NONE")


def default_embeddings(files: int = FILES, rows: int = ROWS) -> Path:
    """The same rows with pyarrow's default settings: snappy and dictionaries."""
    return _written(FOLDER / f"embeddings-{files}x{rows}-defaults", files, rows)


SETTINGS = {"plain files": embeddings, "pyarrow's default settings": default_embeddings}


def _written(folder: Path, files: int, rows: int, **options: Any) -> Path:
    if len(list(folder.glob("*.parquet"))) < files:
        folder.mkdir(parents=True, exist_ok=True)
        for number in range(files):
            keys = pa.array([f"{number:04d}{row:06d}" for row in range(rows)])
            table = pa.table({"key": keys, "image_embedding": lists(vectors(rows, number), pa.list_(ELEMENT))})
            pq.write_table(table, folder / f"{number:04d}.parquet", **options)
    return folder


def linked(rows: int, files: Path | None = None) -> Path:
    """Folder of links to the same files (default: `embeddings()`), so that many rows are read from the page cache."""
    made = embeddings() if files is None else files
    links = FOLDER / (f"links-{rows}" if files is None else f"links-{rows}-{made.name}")
    if not links.exists():
        links.mkdir()
        paths = sorted(made.glob("*.parquet"))
        for number in range(rows // ROWS):
            (links / f"{number:06d}.parquet").symlink_to(paths[number % len(paths)])
    return links


def read(file: Path) -> None:
    """Read and drop the embeddings of a file in small batches: the lower bound of all pipelines."""
    with pq.ParquetFile(file, pre_buffer=False) as parquet:
        for _ in parquet.iter_batches(1024, columns=["image_embedding"], use_threads=False):
            pass
