"""Properties that all readers share."""

from __future__ import annotations

import shutil

import numpy as np
import pyarrow.parquet as pq
import pytest

from dask_aesthetic import InputError
from dask_aesthetic.readers import read_and_score, read_clip_retrieval, read_datacomp, read_npy
from helpers import columns
from helpers.shards import metadata_table


@pytest.mark.parametrize("read", [read_clip_retrieval, read_datacomp, read_npy, read_and_score])
def test_missing_files_are_refused(tmp_path, read):
    with pytest.raises(InputError, match=r"got neither|got none"):
        read(tmp_path)
    with pytest.raises(InputError, match=r"not there|does not exist"):
        read(tmp_path / "nowhere")


def test_suffixes_match_in_any_case(tmp_path, vectors):
    for name in ("npy", "npz", "parquet"):
        (tmp_path / name).mkdir()
    np.save(tmp_path / "npy/a.npy", vectors)
    (tmp_path / "npy/a.npy").rename(tmp_path / "npy/A.NPY")
    assert read_npy(tmp_path / "npy").compute()["shard"].unique().tolist() == ["A"]
    np.savez(tmp_path / "npz/a.npz", l14_img=vectors)
    (tmp_path / "npz/a.npz").rename(tmp_path / "npz/a.NPZ")
    pq.write_table(metadata_table(0, 300), tmp_path / "npz/a.PARQUET")
    assert len(read_datacomp(tmp_path / "npz").compute()) == 300
    for name in ("x.PARQUET", "y.Parquet"):
        table = metadata_table(0, 300).append_column("image_embedding", columns.array(vectors, "list"))
        pq.write_table(table, tmp_path / "parquet" / name)
    assert len(read_and_score(tmp_path / "parquet").compute()) == 600
    shutil.copy(tmp_path / "parquet/x.PARQUET", tmp_path / "parquet/x.parquet")
    with pytest.raises(InputError, match="expected files of different names"):
        read_and_score(tmp_path / "parquet")
