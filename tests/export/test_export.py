"""Lists of selected rows: what img2dataset and DataComp's resharder read from them."""

from __future__ import annotations

import json
from pathlib import Path

import fsspec
import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet as pq
import pytest

from dask_aesthetic import ArgumentError, ColumnError, InputError, export_dataset
from helpers import commands

URLS = ["https://a/0.jpg", 'https://a/1,"x".jpg', "https://a/2.jpg", None, "https://a/4\n.jpg", "https://a/5.jpg", " "]
CAPTIONS = ["plain", 'a "quoted", one', "two\r\nlines", "no url", "broken url", None, "blank"]
KEEP = [True, True, True, True, True, False, True]
UIDS = [f"{at * 2**60 + 7:032x}" for at in (200, 3, 2**68 - 1, 5, 4, 6, 3)]


@pytest.fixture
def table() -> pa.Table:
    scores = pa.array([6.5, 6.25, 6.0, 5.5, 5.25, 4.0, 5.0], pa.float32())
    columns = {"key": [f"{at:05d}" for at in range(7)], "uid": UIDS, "URL": URLS, "TEXT": CAPTIONS}
    return pa.table({**columns, "aesthetic_score": scores, "keep": KEEP})


@pytest.fixture
def scores(table, tmp_path) -> Path:
    (tmp_path / "scores").mkdir()
    for at in range(2):
        pq.write_table(table.slice(4 * at, 4), tmp_path / f"scores/{at}.parquet")
    return tmp_path / "scores"


def as_img2dataset_reads(path: Path) -> pa.Table:
    """Table as the Reader of img2dataset 1.47 makes it, with url_col="url" and caption_col="caption"."""
    if path.suffix == ".txt":
        return pa.csv.read_csv(path, read_options=pa.csv.ReadOptions(column_names=["url"]))
    if path.suffix == ".csv":
        return pa.csv.read_csv(path)
    return pq.read_table(path, columns=["url", "caption", "key", "aesthetic_score"])


@pytest.mark.parametrize("suffix", [".parquet", ".csv", ".txt"])
def test_img2dataset_reads_the_kept_urls(scores, tmp_path, suffix):
    done = export_dataset(scores, tmp_path / f"urls{suffix}")
    read = as_img2dataset_reads(tmp_path / f"urls{suffix}")
    parquet = suffix == ".parquet"
    rows = [0, 1, 2, 4] if parquet else [0, 1, 2]
    assert read.column("url").to_pylist() == [URLS[at] for at in rows]
    assert (done.rows, done.left_out) == (len(rows), {"no_url": 2 if parquet else 3})
    if suffix != ".txt":
        assert read.column("caption").to_pylist()[:2] == CAPTIONS[:2]
        assert read.column("caption").to_pylist()[2] == ("two\r\nlines" if parquet else "two lines")
        assert read.column("aesthetic_score").to_pylist()[:3] == [6.5, 6.25, 6.0]
        assert [int(key) for key in read.column("key").to_pylist()] == rows
    assert sorted(path.name for path in tmp_path.iterdir()) == ["scores", f"urls{suffix}"]


@pytest.mark.parametrize("suffix", [".parquet", ".csv", ".txt", ".npy"])
def test_files_are_replaced_on_request_alone(scores, tmp_path, suffix):
    file = tmp_path / f"data{suffix}"
    file.write_bytes(b"of somebody else")
    message = rf"expected no data{suffix} in .*, got one: choose another name; or overwrite=True \(--overwrite\)"
    with pytest.raises(InputError, match=message):
        export_dataset(scores, file)
    assert "(--overwrite) replaces it" in commands.run("export", scores, "--output", file).err
    assert file.read_bytes() == b"of somebody else"
    export_dataset(scores, tmp_path / f"new{suffix}")
    commands.printed("export", scores, "--output", file, "--overwrite")
    assert file.read_bytes() == (tmp_path / f"new{suffix}").read_bytes()


def test_files_behind_urls_are_replaced_on_request_alone(scores):
    memory = fsspec.filesystem("memory")
    memory.pipe_file("/export/u.csv", b"of somebody else")
    try:
        with pytest.raises(InputError, match=r"expected no u\.csv in memory://"):
            export_dataset(scores, "memory://export/u.csv")
        assert export_dataset(scores, "memory://export/u.csv", overwrite=True).rows == 3
        assert memory.cat_file("/export/u.csv") != b"of somebody else"
    finally:
        memory.rm("/export", recursive=True)


def test_all_rows_come_with_all(scores, tmp_path):
    assert export_dataset(scores, tmp_path / "urls.parquet", all_rows=True).rows == 5
    assert pq.read_table(tmp_path / "urls.parquet").column("url").to_pylist()[-1] == URLS[5]


def test_nothing_kept_is_a_list_without_rows(table, tmp_path):
    none = table.set_column(5, "keep", pa.array([False] * 7))
    pq.write_table(none, tmp_path / "none.parquet")
    for suffix in (".parquet", ".csv", ".txt", ".npy"):
        assert export_dataset(tmp_path / "none.parquet", tmp_path / f"urls{suffix}").rows == 0
    assert pq.read_table(tmp_path / "urls.parquet").num_rows == 0
    assert (tmp_path / "urls.csv").read_text().split(",")[0].strip('"') == "url"
    assert (tmp_path / "urls.txt").read_text() == ""
    assert np.load(tmp_path / "urls.npy").shape == (0,)


def test_files_without_rows_give_a_list_without_rows(table, tmp_path):
    pq.write_table(table.slice(0, 0), tmp_path / "empty.parquet")
    for metadata in (None, tmp_path / "empty.parquet"):
        for suffix in (".parquet", ".csv", ".txt", ".npy"):
            assert (
                export_dataset(
                    tmp_path / "empty.parquet", tmp_path / f"u{suffix}", metadata=metadata, overwrite=True
                ).rows
                == 0
            )
        assert pq.read_schema(tmp_path / "u.parquet").names == ["url", "caption", "key", "aesthetic_score"]
        assert len(pd.read_csv(tmp_path / "u.csv").columns) == 4


def test_metadata_elsewhere_is_joined_by_id(table, scores, tmp_path):
    (tmp_path / "metadata").mkdir()
    ids = table.select(["key", "aesthetic_score", "keep"])
    pq.write_table(ids, tmp_path / "ids.parquet")
    shuffled = table.select(["TEXT", "key", "URL"]).take(pa.array([6, 5, 2, 0, 1]))
    for at in range(2):
        pq.write_table(shuffled.slice(3 * at, 3), tmp_path / f"metadata/{at}.parquet")
    with pytest.raises(ColumnError, match="expected a column of URLs in the files of scores, got key"):
        export_dataset(tmp_path / "ids.parquet", tmp_path / "urls.parquet")
    done = export_dataset(tmp_path / "ids.parquet", tmp_path / "urls.parquet", metadata=tmp_path / "metadata")
    read = pq.read_table(tmp_path / "urls.parquet")
    assert read.column_names == ["url", "caption", "key", "aesthetic_score"]
    assert read.column("key").to_pylist() == ["00002", "00000", "00001"]
    assert read.column("url").to_pylist() == [URLS[at] for at in (2, 0, 1)]
    assert read.column("aesthetic_score").to_pylist() == [6.0, 6.5, 6.25]
    assert done.left_out == {"no_url": 1, "no_metadata": 2}
    for rows in ([3, 3], [2, 4]):  # In one file, and in two.
        pq.write_table(shuffled.take(pa.array(rows)), tmp_path / "metadata/1.parquet")
        with pytest.raises(InputError, match=r"expected one row of metadata for each id, got several of '0000[02]'"):
            export_dataset(tmp_path / "ids.parquet", tmp_path / "twice.parquet", metadata=tmp_path / "metadata")
    assert not (tmp_path / "twice.parquet").exists()
    pq.write_table(pa.concat_tables([ids, ids]), tmp_path / "ids.parquet")
    with pytest.raises(InputError, match="expected ids of one row each to join metadata by, got several rows of '0000"):
        export_dataset(tmp_path / "ids.parquet", tmp_path / "twice.parquet", metadata=tmp_path / "metadata")


def test_a_subset_file_finds_every_kept_uid_as_the_resharder_searches(scores, tmp_path):
    done = export_dataset(scores, tmp_path / "subset.npy")
    subset = np.load(tmp_path / "subset.npy", mmap_mode="r")
    assert subset.dtype == np.dtype("u8,u8")
    kept = {uid for uid, keep in zip(UIDS, KEEP, strict=True) if keep}
    assert (len(subset), done.rows) == (len(kept), len(kept))
    assert subset.tolist() == sorted(divmod(int(uid, 16), 2**64) for uid in kept)
    for uid in UIDS:
        pair = np.array([divmod(int(uid, 16), 2**64)], np.dtype("u8,u8"))[0]
        found = np.searchsorted(subset, pair, "right") - np.searchsorted(subset, pair, "left")
        assert found == (uid in kept)


@pytest.mark.parametrize("uid", ["x" * 32, "é" + "0" * 31, "0" * 33, "-1"])
def test_what_is_no_uid_is_refused(table, tmp_path, uid):
    wrong = table.set_column(1, "uid", pa.array([uid, *UIDS[1:]]))
    pq.write_table(wrong, tmp_path / "wrong.parquet")
    with pytest.raises(InputError, match=f"expected uids of up to 32 hexadecimal digits.*{uid}"):
        export_dataset(tmp_path / "wrong.parquet", tmp_path / "subset.npy")
    assert not (tmp_path / "subset.npy").exists()


def test_outputs_and_columns_that_cannot_be_are_refused(table, scores, tmp_path):
    for output in ("urls.json", "urls", 5, ""):
        with pytest.raises(ArgumentError, match="expected an output file with a suffix of"):
            export_dataset(scores, output)
    with pytest.raises(InputError, match="expected an output folder outside of the input"):
        export_dataset(scores, scores / "urls.parquet")
    with pytest.raises(ColumnError, match="expected caption_column 'alt' in the files of scores"):
        export_dataset(scores, tmp_path / "urls.csv", caption_column="alt")
    pq.write_table(table.drop_columns("keep"), tmp_path / "bare.parquet")
    with pytest.raises(ColumnError, match=r"--all\) takes every row"):
        export_dataset(tmp_path / "bare.parquet", tmp_path / "urls.csv")


def test_the_command_does_the_same(scores, tmp_path):
    printed = commands.printed("export", scores, "--output", tmp_path / "urls.csv")
    assert printed.strip() == f"{tmp_path}/urls.csv: 3 rows, 3 left out: no_url"
    export_dataset(scores, tmp_path / "python.csv")
    assert (tmp_path / "urls.csv").read_bytes() == (tmp_path / "python.csv").read_bytes()
    assert pd.read_csv(tmp_path / "urls.csv")["url"].tolist() == URLS[:3]
    out = commands.printed("export", scores, "--output", tmp_path / "subset.npy", "--json")
    assert json.loads(out)["rows"] == 5
    assert commands.run("export", scores, "--output", "urls.json").status == 2
