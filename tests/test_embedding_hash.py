"""Hashes of embeddings: those of the package xxhash, in every kind of column, job and reader."""

from __future__ import annotations

import dask
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import xxhash

from dask_aesthetic import ArgumentError, ColumnError, read_and_score, score_dataset, select_dataset
from dask_aesthetic.embedding_hash import hash_embeddings
from dask_aesthetic.io import xxh3
from helpers import commands


@pytest.fixture
def rows(vectors) -> np.ndarray:
    """Rows that float16 can hold; the last two repeat the first, one of these with -0 instead of 0."""
    found = np.asarray(vectors[:40], np.float16).astype(np.float32)
    found[0, 5] = 0
    found[-2:] = found[0]
    found[-1, 5] = -0.0
    return found


def expected(rows: np.ndarray) -> list[int]:
    return [xxhash.xxh3_64_intdigest((row + np.float32(0)).astype("<f4").tobytes()) for row in rows]


def lists_of(rows: np.ndarray, dtype: pa.DataType, fixed: bool) -> pa.Array:
    """Lists of rows, the fourth null."""
    kind = pa.list_(dtype, rows.shape[1]) if fixed else pa.list_(dtype)
    values = rows.astype(dtype.to_pandas_dtype())
    return pa.array([None if at == 3 else row for at, row in enumerate(values)], kind)


@pytest.mark.parametrize("dtype", [pa.float16(), pa.float32(), pa.float64()])
@pytest.mark.parametrize("fixed", [False, True])
@pytest.mark.parametrize("compiled", [True, False])
def test_equal_values_have_the_hash_of_their_float32(rows, dtype, fixed, compiled, monkeypatch):
    if not compiled:
        monkeypatch.setattr("dask_aesthetic.embedding_hash.hash64_function", int)
    elif not xxh3.hash64_function():
        pytest.skip("xxhash hides its C functions")
    status = np.zeros(len(rows), np.uint8)
    status[3] = 1
    lists = lists_of(rows, dtype, fixed)
    got = hash_embeddings(lists.slice(1), rows.shape[1], status[1:]).to_pylist()
    assert got == [None if at == 3 else one for at, one in enumerate(expected(rows))][1:]
    assert got[-1] == got[-2] == expected(rows)[0]
    assert hash_embeddings(lists.slice(0, 0), rows.shape[1], status[:0]).to_pylist() == []


@pytest.fixture
def source(rows, tmp_path):
    (tmp_path / "in").mkdir()
    for at, dtype in enumerate((pa.float32(), pa.float16())):
        table = pa.table({"key": [f"{at}-{row:02d}" for row in range(len(rows))]})
        lists = lists_of(rows, dtype, fixed=False)
        pq.write_table(table.append_column("image_embedding", lists), tmp_path / f"in/{at}.parquet", row_group_size=16)
    return tmp_path / "in"


def test_a_job_writes_hashes_beside_the_same_scores(rows, source, tmp_path):
    score_dataset(source, tmp_path / "plain")
    score_dataset(source, tmp_path / "hashed", embedding_hash=True)
    plain, hashed = (pq.read_table(tmp_path / name) for name in ("plain", "hashed"))
    assert hashed.column_names == ["key", "embedding_hash", "aesthetic_score", "keep", "status"]
    assert hashed.drop_columns("embedding_hash").equals(plain)
    once = [None if at == 3 else one for at, one in enumerate(expected(rows))]
    assert hashed["embedding_hash"].to_pylist() == once * 2
    done = select_dataset(tmp_path / "hashed", tmp_path / "best", top=1000, drop_duplicates=True)
    assert (done.kept, done.duplicates) == (len({*once} - {None}), 2 + len(rows) - 1)
    kept = pq.read_table(tmp_path / "best").filter(pa.compute.field("keep"))
    assert kept["key"].to_pylist() == [f"0-{row:02d}" for row in range(len(rows) - 2) if row != 3]


def test_a_job_keeps_embeddings_with_their_hash_and_the_command_does_the_same(rows, source, tmp_path):
    score_dataset(source / "0.parquet", tmp_path / "out", columns=["image_embedding"], embedding_hash=True)
    assert pq.read_schema(tmp_path / "out/0.parquet").names[:2] == ["image_embedding", "embedding_hash"]
    assert pq.read_table(tmp_path / "out/0.parquet")["embedding_hash"].to_pylist()[4:] == expected(rows)[4:]
    commands.printed("score", source, tmp_path / "command", "--embedding-hash")
    with pytest.raises(ColumnError, match="expected embedding_hash='embedding_hash' to be a new column"):
        score_dataset(tmp_path / "out", tmp_path / "again", columns=["embedding_hash"], embedding_hash=True)
    with pytest.raises(ArgumentError, match="got embed=True: those of images differ a little"):
        score_dataset(source, tmp_path / "images", embed=True, embedding_hash=True)


def test_a_frame_has_hashes_from_one_reading(rows, source):
    frame = read_and_score(source, embedding_hash=True)
    assert frame.columns.tolist() == ["key", "embedding_hash", "aesthetic_score", "keep"]
    assert frame.dtypes.astype(str)["embedding_hash"] == "uint64[pyarrow]"
    got, plain = frame.compute(), read_and_score(source).compute()
    assert got.drop(columns="embedding_hash").equals(plain)
    once = [None if at == 3 else one for at, one in enumerate(expected(rows))]
    assert [None if one is None else int(one) for one in got["embedding_hash"].array.__arrow_array__().to_pylist()] == (
        once * 2
    )
    assert frame[["embedding_hash"]].compute().equals(got[["embedding_hash"]])
    assert len(frame.groupby("embedding_hash").size().compute()) == len({*once} - {None})
    with dask.config.set({"dataframe.backend": "cudf"}), pytest.raises(ArgumentError, match="got the backend 'cudf'"):
        read_and_score(source, embedding_hash=True)
