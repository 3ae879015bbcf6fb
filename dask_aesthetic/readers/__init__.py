"""Readers of Parquet, .npy, .npz, clip-retrieval, DataComp, webdataset and image files as Dask frames."""

from __future__ import annotations

from dask_aesthetic.readers.images import read_images
from dask_aesthetic.readers.matrices import (
    read_clip_retrieval,
    read_datacomp,
    read_hf_dataset,
    read_npy,
    read_tensors,
)
from dask_aesthetic.readers.parquet import read_and_score
from dask_aesthetic.readers.scores import read_scores
from dask_aesthetic.readers.webdataset import read_webdataset

__all__ = [
    "read_and_score",
    "read_clip_retrieval",
    "read_datacomp",
    "read_hf_dataset",
    "read_images",
    "read_npy",
    "read_scores",
    "read_tensors",
    "read_webdataset",
]
