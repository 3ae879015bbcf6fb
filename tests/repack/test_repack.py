"""Repacked files hold the same rows and score the same, also after an interrupted run, and are faster or smaller."""

from __future__ import annotations

import shutil
import signal
from functools import partial
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from dask_aesthetic import ArgumentError, ColumnError, InputError, read_and_score, repack_dataset
from dask_aesthetic.errors import JobError
from dask_aesthetic.repack import plan_repack
from helpers import chaos, columns
from helpers.commands import printed, run
from helpers.rows import INVALID, rows_of

LAYOUTS = ("packed", "lists", "small")
OTHERS = ["key", "tags", "size", "when"]


def write_source(folder: Path, vectors: np.ndarray, kind: str = "list", dtype: str = "float32") -> Path:
    """Three files, one in a hive folder, with invalid rows and other columns of several types."""
    names = [name for name, (row, _) in INVALID.items() if row is None or len(row) in (0, 768)]
    if kind == "fixed_size_list":  # It has no empty ones, and pyarrow 17 cannot write null ones.
        names = [name for name in names if name not in ("empty", "null")]
    with np.errstate(over="ignore"):
        rows, _ = rows_of(vectors, kind, names)
        lists = columns.array(rows, kind, dtype)
    table = pa.table(
        {
            "key": [f"k{at}" for at in range(len(rows))],
            "image_embedding": lists,
            "tags": pa.array([["a", None], [], None] * len(rows), pa.list_(pa.string()))[: len(rows)],
            "size": pa.array([{"w": at, "h": None} for at in range(len(rows))]),
            "when": pa.array(np.arange(len(rows)), pa.timestamp("us", "UTC")),
        }
    )
    table = table.replace_schema_metadata({"note": "kept"})
    for at, name in enumerate(("0.parquet", "lang=en/1.parquet", "2.parquet")):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        pq.write_table(table.slice(at * 5), folder / name, row_group_size=11)
    return folder


def dtype_of(layout: str, dtype: str = "float32") -> str | None:
    return dtype if layout == "packed" else None


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("kind", columns.ARROW)
@pytest.mark.parametrize("dtype", ["float16", "float32"])
def test_rows_keep_their_order_columns_and_scores(tmp_path, vectors, layout, kind, dtype):
    source, output = write_source(tmp_path / "in", vectors, kind, dtype), tmp_path / "out"
    done = repack_dataset(source, output, layout=layout, threads=1)
    wanted = read_and_score(source, "all").compute()
    found = read_and_score(output, "all", embedding_dtype=dtype_of(layout, dtype)).compute()
    pd.testing.assert_frame_equal(found, wanted, check_exact=True)
    assert (done.rows, done.files) == (len(wanted), 3)
    for name in ("0.parquet", "lang=en/1.parquet"):
        before, after = pq.ParquetFile(source / name).read(), pq.ParquetFile(output / name).read()
        assert after.column_names == before.column_names
        assert after.schema.metadata[b"note"] == b"kept"
        assert after.select(OTHERS).equals(before.select(OTHERS))
        assert (
            after.schema.field("image_embedding").type
            == plan_repack(source, tmp_path / "x", layout=layout).settings.type
        )
        rows = before["image_embedding"].to_pylist()
        for row, now in zip(rows, after["image_embedding"].to_pylist(), strict=True):
            if not row:
                assert not now
            else:
                values = np.frombuffer(now, dtype) if layout == "packed" else np.array(now, dtype)
                np.testing.assert_array_equal(values, np.array(row, dtype))


def test_a_layout_has_its_encodings(tmp_path, vectors):
    source = write_source(tmp_path / "in", vectors)
    for layout in LAYOUTS:
        repack_dataset(source, tmp_path / layout, layout=layout)
        group = pq.read_metadata(tmp_path / layout / "0.parquet").row_group(0)
        chunks = [group.column(at) for at in range(group.num_columns)]
        (own,) = [chunk for chunk in chunks if chunk.path_in_schema.startswith("image_embedding")]
        assert own.compression == ("ZSTD" if layout == "small" else "UNCOMPRESSED")
        assert not own.has_dictionary_page
        assert ("BYTE_STREAM_SPLIT" in own.encodings) == (layout == "small")
        assert {chunk.compression for chunk in chunks if chunk is not own} == {"SNAPPY"}
        assert read_and_score(tmp_path / layout, embedding_dtype=dtype_of(layout)).compute()["keep"].any()


def test_packed_files_go_back_to_lists_and_nulls_in_rows_become_nan(tmp_path, vectors):
    rows = [vectors[0].tolist(), [None, *vectors[1].tolist()[1:]], None, vectors[2].tolist()]
    table = pa.table({"key": list("abcd"), "image_embedding": pa.array(rows, pa.list_(pa.float32()))})
    pq.write_table(table, tmp_path / "0.parquet")
    repack_dataset(tmp_path / "0.parquet", tmp_path / "packed")
    repack_dataset(tmp_path / "packed", tmp_path / "lists", layout="lists", embedding_dtype="float32")
    wanted = read_and_score(tmp_path / "0.parquet").compute()
    pd.testing.assert_frame_equal(read_and_score(tmp_path / "lists").compute(), wanted)
    found = pq.read_table(tmp_path / "lists")["image_embedding"]
    assert found.is_null().to_pylist() == [False, False, True, False]
    assert np.isnan(found[1].as_py()[0])


@pytest.mark.parametrize("after", [False, True])
def test_a_killed_run_resumes_to_the_same_bytes(tmp_path, vectors, after):
    source = write_source(tmp_path / "in", vectors)
    repack_dataset(source, tmp_path / "calm", layout="small")
    expected = chaos.content(tmp_path / "calm")
    repack, output = partial(repack_dataset, layout="small"), tmp_path / "out"
    process = chaos.fork_server().Process(target=chaos.score_and_die, args=(repack, source, output, 4, after))
    process.start()
    process.join(120)
    assert process.exitcode == -signal.SIGKILL
    before = chaos.committed(output)
    assert 0 < len(before) < 3
    assert not (output / "_SUCCESS").exists()
    again = repack_dataset(source, output, layout="small")
    assert again.rows == plan_repack(source, output, layout="small").rows_done
    assert chaos.content(output) == expected
    assert chaos.committed(output).items() >= before.items()


def test_a_finished_run_writes_only_what_changed(tmp_path, vectors):
    source = write_source(tmp_path / "in", vectors)
    repack_dataset(source, tmp_path / "out")
    assert plan_repack(source, tmp_path / "out").finished
    shutil.copyfile(source / "2.parquet", source / "0.parquet")
    assert plan_repack(source, tmp_path / "out").why == {"0": "input changed"}
    with pytest.raises(InputError, match="layout was 'packed' and now is 'lists'"):
        plan_repack(source, tmp_path / "out", layout="lists")


def test_what_a_layout_cannot_hold_is_refused(tmp_path, vectors):
    write = partial(pq.write_table, where=tmp_path / "0.parquet")
    write(pa.table({"image_embedding": pa.array([vectors[0], vectors[1][:512]], pa.list_(pa.float32()))}))
    with pytest.raises(JobError, match=r"rows of 768 floats in 0, from row 0 on, got one of 512.*--layout lists"):
        repack_dataset(tmp_path / "0.parquet", tmp_path / "out")
    assert not list((tmp_path / "out").glob("*.parquet"))
    with pytest.raises(ArgumentError, match="expected layout to be one of 'packed', 'lists', 'small'"):
        repack_dataset(tmp_path / "0.parquet", tmp_path / "other", layout="fast")
    write(pa.table({"image_embedding": pa.array([[1, 2]], pa.list_(pa.int64()))}))
    with pytest.raises(ColumnError, match=r'expected floats .* for the layout "packed", got int64'):
        repack_dataset(tmp_path / "0.parquet", tmp_path / "other")
    write(pa.table({"image_embedding": pa.array([None], pa.list_(pa.float32()))}))
    with pytest.raises(InputError, match="a row with an embedding, got none"):
        repack_dataset(tmp_path / "0.parquet", tmp_path / "other")


def test_the_command_repacks_and_check_says_first_what_it_gains(tmp_path, vectors):
    table = pa.table({"image_embedding": columns.array(np.concatenate([vectors] * 10), "list")})
    source = tmp_path / "in"
    source.mkdir()
    pq.write_table(table, source / "0.parquet", compression="gzip")  # Slow to read.
    text = printed("check", source)
    assert "dask-aesthetic repack would gain, by the first 3,000 rows in one thread:" in text
    assert 'layout "packed" reads' in text
    assert "0.parquet" not in run("repack", source, tmp_path / "out", "--dry-run").err
    text = printed("repack", source, tmp_path / "out")
    assert "readers need embedding_dtype" in text
    found = read_and_score(tmp_path / "out", embedding_dtype="float32").compute()
    pd.testing.assert_frame_equal(found, read_and_score(source).compute(), check_exact=True)
    assert 'layout "packed"' not in printed("check", tmp_path / "out", "--embedding-dtype", "float32")


@pytest.mark.parametrize("layout", LAYOUTS)
def test_empty_rows_of_a_column_without_nulls_keep_their_place(tmp_path, vectors, layout):
    rows = pa.array([vectors[0], [], vectors[1]], pa.list_(pa.float32()))
    field = pa.field("image_embedding", rows.type, nullable=False)
    table = pa.table(
        [pa.array(list("abc")), rows], schema=pa.schema([pa.field("key", pa.string(), nullable=False), field])
    )
    pq.write_table(table, tmp_path / "0.parquet")
    repack_dataset(tmp_path / "0.parquet", tmp_path / "out", layout=layout)
    found = read_and_score(tmp_path / "out", embedding_dtype=dtype_of(layout)).compute()
    pd.testing.assert_frame_equal(found, read_and_score(tmp_path / "0.parquet").compute())
    assert found["aesthetic_score"].isna().tolist() == [False, True, False]
    assert not pq.read_schema(tmp_path / "out/0.parquet").field("key").nullable
