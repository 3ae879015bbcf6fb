"""Folders of embeddings in each layout."""

from __future__ import annotations

import numpy as np
import pyarrow.parquet as pq
import pytest

from dask_aesthetic.inputs import pages
from helpers import columns
from helpers.shards import SHARDS, metadata_table


@pytest.fixture
def in_pages(monkeypatch) -> None:
    """The first row is worth compiling the reader of Parquet pages."""
    monkeypatch.setattr(pages, "COLD_ROWS", 0)
    monkeypatch.setattr(pages, "_warmup", pages._Warmup())


@pytest.fixture
def shards(vectors) -> list[np.ndarray]:
    return np.array_split(vectors.astype(np.float16), SHARDS)


@pytest.fixture
def clip(tmp_path, shards):
    """Twelve shards whose names sort otherwise than their numbers, with and without zeros before them."""
    (tmp_path / "img_emb").mkdir()
    (tmp_path / "metadata").mkdir()
    for number, part in enumerate(shards):
        np.save(tmp_path / f"img_emb/img_emb_{number}.npy", part)
        pq.write_table(metadata_table(number), tmp_path / f"metadata/metadata_{number:03d}.parquet", row_group_size=10)
    return tmp_path


@pytest.fixture(params=[np.savez, np.savez_compressed], ids=["stored", "compressed"])
def datacomp(request, tmp_path, shards):
    for number, part in enumerate(shards):
        stem = f"{(number * 7) % SHARDS:x}f"
        request.param(tmp_path / f"{stem}.npz", b32_img=part[:, :512], l14_img=part)
        pq.write_table(metadata_table(number), tmp_path / f"{stem}.parquet")
    return tmp_path


@pytest.fixture
def parquet(tmp_path, vectors):
    """Four files of ten row groups each, with more columns than scoring needs."""
    for number, part in enumerate(np.array_split(vectors, 4)):
        more = {"image_embedding": columns.array(part, "list")}
        pq.write_table(metadata_table(number, len(part), **more), tmp_path / f"{number}.parquet", row_group_size=8)
    return tmp_path
