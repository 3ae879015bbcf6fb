"""Readers of Parquet, .npy, .npz, clip-retrieval, DataComp and webdataset files as Dask frames and shards."""

from __future__ import annotations

from dask_aesthetic.inputs.clip_retrieval import read_clip_retrieval
from dask_aesthetic.inputs.datacomp import read_datacomp
from dask_aesthetic.inputs.frame import read_frame
from dask_aesthetic.inputs.npy import read_npy
from dask_aesthetic.inputs.score_parquet import read_and_score
from dask_aesthetic.inputs.webdataset import read_webdataset

__all__ = ["read_clip_retrieval", "read_datacomp", "read_frame", "read_npy", "read_and_score", "read_webdataset"]
