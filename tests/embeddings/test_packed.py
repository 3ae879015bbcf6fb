"""Packed embeddings score as the lists of the same floats do, bit for bit, in frames, readers, jobs and checks."""

from __future__ import annotations

import dask.dataframe as dd
import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch

import dask_aesthetic  # noqa: F401
from dask_aesthetic import ArgumentError, ColumnError, read_and_score, score_dataset
from dask_aesthetic import embeddings as backends
from dask_aesthetic.check_dataset import check_dataset
from dask_aesthetic.embeddings.packed import unpack_array
from dask_aesthetic.status import Status
from helpers import columns
from helpers.commands import printed
from helpers.rows import INVALID, rows_of

FIXED, BINARY, LARGE, OBJECTS = "fixed", "binary", "large_binary", "objects"
KINDS = (FIXED, BINARY, LARGE, OBJECTS)
FITTING = [name for name, (row, _) in INVALID.items() if row is None or len(row) == 768]


def packed_array(rows: list, kind: str, dtype: str = "float32") -> pa.Array:
    """Arrow array of the bytes of rows, null where a row is None."""
    data = [None if row is None else np.asarray(row, dtype).tobytes() for row in rows]
    binary = {FIXED: pa.binary(768 * np.dtype(dtype).itemsize), BINARY: pa.binary(), LARGE: pa.large_binary()}[kind]
    return pa.array(data, binary)


def packed(rows: list, kind: str, dtype: str = "float32") -> pd.Series:
    """Column of the same."""
    if kind == OBJECTS:
        return pd.Series(packed_array(rows, LARGE, dtype).to_pylist(), dtype=object, name="image_embedding")
    array = pa.chunked_array([packed_array(rows, kind, dtype)])
    return pd.Series(pd.arrays.ArrowExtensionArray(array), name="image_embedding")


def scored(frame, **options) -> pd.DataFrame:
    found = frame.aesthetic.score(**options)
    found["status"] = frame.aesthetic.status(embedding_dtype=options.get("embedding_dtype"))
    return (found.compute() if isinstance(found, dd.DataFrame) else found).drop(columns="image_embedding")


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("dtype", ["float16", "float32", "float64"])
def test_scores_and_statuses_equal_those_of_lists(vectors, kind, dtype):
    names = FITTING if kind == FIXED else list(INVALID)
    with np.errstate(over="ignore"):  # float16 has no 1e38.
        rows, expected = rows_of(vectors, kind, names)
        index = np.arange(len(rows)) * 7
        frame = packed(rows, kind, dtype).to_frame().set_index(index)
        lists = columns.make(rows, "list", dtype).to_frame().set_index(index)
    found, wanted = scored(frame, embedding_dtype=dtype), scored(lists)
    pd.testing.assert_frame_equal(found, wanted, check_exact=True)
    if dtype == "float32":
        assert found["status"].tolist() == expected
    if kind != OBJECTS:
        parts = dd.from_pandas(frame.iloc[5:], npartitions=3)  # Their first rows lie within the buffers.
        pd.testing.assert_frame_equal(scored(parts, embedding_dtype=dtype), wanted.iloc[5:], check_exact=True)


def test_bfloat16_is_float32_of_its_upper_half(vectors):
    halves = torch.from_numpy(vectors[:9]).bfloat16()
    data = [row.tobytes() for row in halves.view(torch.int16).numpy()]
    wanted = scored(pd.DataFrame({"image_embedding": columns.make(halves.float().numpy(), "list")}))
    for column in (pd.Series(data), pd.Series(data, dtype=pd.ArrowDtype(pa.binary(1536)))):
        frame = pd.DataFrame({"image_embedding": column})
        pd.testing.assert_frame_equal(scored(frame, embedding_dtype="bfloat16"), wanted, check_exact=True)


@pytest.mark.parametrize("kind", KINDS)
def test_rows_of_another_length_have_the_wrong_width(vectors, kind):
    rows = [vectors[0].tobytes(), None, vectors[1].tobytes()]
    if kind != FIXED:
        rows += [b"", vectors[2].tobytes()[:-4], vectors[2].tobytes() + b"\0", vectors[2].tobytes()[:2], b"\0" * 6144]
    dtype = {FIXED: pa.binary(3072), BINARY: pa.binary(), LARGE: pa.large_binary()}.get(kind)
    column = pd.Series(rows, dtype=object if dtype is None else pd.ArrowDtype(dtype))
    status = pd.DataFrame({"image_embedding": column}).aesthetic.status(embedding_dtype="float32")
    expected = ["ok", "missing", "ok", "missing", *["wrong_width"] * 4]
    assert status.tolist() == expected[: len(rows)]


@pytest.mark.parametrize("kind", [FIXED, BINARY, LARGE])
@pytest.mark.parametrize("start", [0, 17])
def test_valid_rows_reach_torch_without_a_copy(vectors, kind, start):
    chunk = packed_array(list(vectors[:40]), kind)
    chunk = chunk.slice(start)
    (run,) = backends.arrow.array_runs(unpack_array(chunk, "float32", "emb"), 768)
    data = chunk.buffers()[1 if kind == FIXED else 2]
    assert run.vectors.data_ptr() == data.address + start * 3072
    assert run.all_valid
    assert (run.status == Status.OK).all()


@pytest.mark.parametrize("kind", [FIXED, BINARY])
def test_null_rows_cost_no_copy_and_unaligned_ones_are_copied(vectors, kind):
    chunk = packed_array([vectors[0], None, vectors[1]], kind)
    (run,) = backends.arrow.array_runs(unpack_array(chunk, "float32", "emb"), 768)
    assert run.vectors.data_ptr() == chunk.buffers()[1 if kind == FIXED else 2].address
    shifted = pa.py_buffer(b"\0" + vectors[:2].tobytes()).slice(1)
    array = pa.Array.from_buffers(pa.binary(3072), 2, [None, shifted])
    (run,) = backends.arrow.array_runs(unpack_array(array, "float32", "emb"), 768)
    np.testing.assert_array_equal(run.vectors.numpy(), vectors[:2])


def test_damaged_arrays_are_refused(vectors):
    data = pa.py_buffer(vectors[:2].tobytes())
    ends = pa.py_buffer(np.array([0, 6144, 3072], np.int32).tobytes())
    with pytest.raises(ColumnError, match="damaged"):
        unpack_array(pa.Array.from_buffers(pa.binary(), 2, [None, ends, data]), "float32", "emb")


@pytest.mark.parametrize("kind", [FIXED, BINARY, LARGE])
def test_files_score_as_frames_do_in_readers_jobs_and_checks(tmp_path, vectors, kind):
    rows = [*vectors, np.zeros(768), np.full(768, np.nan)] * 4
    rows[5] = None
    folder = tmp_path / "in"
    folder.mkdir()
    column = packed_array(rows, kind)
    table = pa.table({"key": [str(at) for at in range(len(rows))], "image_embedding": column})
    pq.write_table(table, folder / "0.parquet", row_group_size=500)
    pq.write_table(table.slice(3, 20), folder / "1.parquet")
    lists = pd.concat([pd.DataFrame({"image_embedding": columns.make(rows, "list")})] * 2, ignore_index=True)
    wanted = lists.iloc[[*range(len(rows)), *range(len(rows) + 3, len(rows) + 23)]].reset_index(drop=True)
    wanted = scored(wanted, threshold=5.2)
    read = read_and_score(folder, threshold=5.2, embedding_dtype="float32").compute()
    frame = dd.read_parquet(folder, dtype_backend="pyarrow")
    by_frame = scored(frame, threshold=5.2, embedding_dtype="float32").reset_index(drop=True)
    summary = score_dataset(folder, tmp_path / "out", threshold=5.2, embedding_dtype="float32", columns=["key"])
    assert summary.failed == {"missing": 2, "not_finite": 4, "zero": 4}
    job = pq.read_table(tmp_path / "out").to_pandas()
    for found in (read, by_frame, job):
        np.testing.assert_array_equal(found["aesthetic_score"], wanted["aesthetic_score"])
        np.testing.assert_array_equal(found["keep"], wanted["keep"])
    check = check_dataset(folder, embedding_dtype="float32")
    assert check.status == frame.aesthetic.check(embedding_dtype="float32").status
    assert check.ok == summary.scored
    printed("score", folder, tmp_path / "cli", "--embedding-dtype", "float32", "--threshold", 5.2, "--columns", "key")
    assert pq.read_table(tmp_path / "cli").equals(pq.read_table(tmp_path / "out"))
    assert "usable" in printed("check", folder, "--embedding-dtype", "float32")


def test_a_job_keeps_packed_embeddings_as_lists(tmp_path, vectors):
    table = pa.table({"key": ["a", "b"], "image_embedding": packed_array(list(vectors[:2]), BINARY)})
    pq.write_table(table, tmp_path / "0.parquet")
    options = {"columns": ["key", "image_embedding"], "embedding_dtype": "float32"}
    score_dataset(tmp_path / "0.parquet", tmp_path / "out", **options)
    found = pq.read_table(tmp_path / "out")["image_embedding"].to_pylist()
    np.testing.assert_array_equal(np.array(found, np.float32), vectors[:2])


def test_what_is_no_packed_column_is_refused(tmp_path, vectors):
    lists = pd.DataFrame({"image_embedding": columns.make(vectors[:2], "list")})
    objects = pd.DataFrame({"image_embedding": columns.make(vectors[:2], "object")})
    for frame in (lists, objects):
        with pytest.raises(ColumnError, match=r"expected bytes per row .* leave embedding_dtype out"):
            frame.aesthetic.score(embedding_dtype="float32")
    frame = pd.DataFrame({"image_embedding": packed(list(vectors[:2]), FIXED)})
    with pytest.raises(ColumnError, match=r"say their dtype: embedding_dtype='float32' \(--embedding-dtype\)"):
        frame.aesthetic.score()
    with pytest.raises(ColumnError, match=r"expected 768 floats per row .* got 1536"):
        frame.aesthetic.score(embedding_dtype="float16")
    with pytest.raises(ColumnError, match="whole float64 values"):
        pd.DataFrame({"image_embedding": pd.Series([b"a"], dtype=pd.ArrowDtype(pa.binary(1)))}).aesthetic.score(
            embedding_dtype="float64"
        )
    with pytest.raises(ArgumentError, match="expected embedding_dtype to be one of 'float32'"):
        frame.aesthetic.score(embedding_dtype="int4")
    np.save(tmp_path / "0.npy", vectors)
    with pytest.raises(ArgumentError, match="with a column of Parquet files or of a saved data set, got it with npy"):
        score_dataset(tmp_path, tmp_path / "out", embedding_dtype="float32")
