"""What a listing leaves out or reads twice is said; linked folders and unreadable ones lose no rows in silence."""

from __future__ import annotations

import gzip
import os
import subprocess
import sys
import tempfile
import warnings
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from dask_aesthetic import (
    ColumnError,
    InputError,
    read_and_score,
    read_datacomp,
    read_npy,
    read_webdataset,
    score_dataset,
)
from dask_aesthetic.check_dataset import check_dataset
from dask_aesthetic.errors import AestheticWarning
from helpers import columns, commands, tar_files


@pytest.fixture
def folder(tmp_path, vectors) -> Path:
    (tmp_path / "in").mkdir()
    columns.frame(vectors[:4], "list").to_parquet(tmp_path / "in/a.parquet")
    return tmp_path / "in"


def readers(path: Path, vectors) -> dict:
    """Each reader with a folder of its kind."""
    for kind in ("parquet", "npy", "datacomp", "webdataset"):
        (path / kind).mkdir()
    frame = columns.frame(vectors[:4], "list")
    frame.to_parquet(path / "parquet/a.parquet")
    np.save(path / "npy/a.npy", vectors[:4])
    np.savez(path / "datacomp/a.npz", l14_img=vectors[:4])
    frame[["key"]].to_parquet(path / "datacomp/a.parquet")
    tar_files.write(path / "webdataset/a.tar", *tar_files.samples(2))
    return {
        "parquet": [read_and_score, check_dataset],
        "npy": [read_npy, check_dataset],
        "datacomp": [read_datacomp, check_dataset],
        "webdataset": [read_webdataset],
    }


@pytest.mark.parametrize("kind", ["parquet", "npy", "datacomp", "webdataset"])
def test_readers_and_checks_say_what_they_do_not_read(tmp_path, vectors, kind):
    calls = readers(tmp_path, vectors)[kind]
    (tmp_path / kind / "_SUCCESS").write_text("")
    for read in calls:
        read(tmp_path / kind)
    (tmp_path / kind / "notes.csv").write_text("a,b")
    (tmp_path / kind / "_old.txt").write_text("")
    for read in calls:
        with pytest.warns(AestheticWarning, match=r"not read: 2 files \('_old.txt', 'notes.csv'\), of other kinds"):
            read(tmp_path / kind)


def test_the_command_check_says_what_it_does_not_read(folder):
    (folder / "b.csv").write_text("a")
    ended = commands.run("check", folder)
    assert "caution: not read: 1 file ('b.csv'), of other kinds" in ended.err


def test_metadata_that_is_left_out_on_request_is_no_warning(tmp_path, vectors):
    readers(tmp_path, vectors)
    pd.DataFrame({"key": ["00000"]}).to_parquet(tmp_path / "webdataset/a.parquet")
    assert len(read_webdataset(tmp_path / "webdataset", metadata=False).compute()) == 2


@pytest.mark.parametrize("name", ["a.Parquet", "a.PARQUET", "a.parQuet"])
def test_metadata_beside_a_tar_are_joined_in_any_case(tmp_path, name):
    tar_files.write(tmp_path / "a.tar", *tar_files.samples(2))
    pd.DataFrame({"key": ["00000", "00001"], "url": ["u", "v"]}).to_parquet(tmp_path / name)
    for path in (tmp_path, tmp_path / "a.tar"):
        assert read_webdataset(path).compute()["url"].tolist() == ["u", "v"]


@pytest.mark.parametrize("packed", [False, True])
@pytest.mark.parametrize("zeros", [1 << 10, (1 << 20) + 512, 5 << 20])
def test_a_second_tar_is_damage_however_many_zeros_are_before_it(tmp_path, packed, zeros):
    first = tar_files.write(tmp_path / "x/a.tar", *tar_files.samples(2)).read_bytes()
    second = tar_files.write(tmp_path / "x/b.tar", *tar_files.samples(2, first=2)).read_bytes()
    for content, damaged in ((first + bytes(zeros) + second, True), (first + bytes(zeros), False)):
        (tmp_path / "c.tar").write_bytes(gzip.compress(content, 1) if packed else content)
        frame = read_webdataset(tmp_path / "c.tar").compute()
        assert ("damaged" in frame["sample_status"].tolist()) == damaged
        assert frame["key"].dropna().tolist() == ["00000", "00001"]


# Links


def test_a_linked_file_counts_under_each_name_and_is_said(folder, tmp_path):
    """As with Arrow, Dask and pandas."""
    (folder / "b.parquet").symlink_to(folder / "a.parquet")
    with pytest.warns(AestheticWarning, match=r"read twice: 1 file \('b.parquet'\), linked to what is read"):
        frame = read_and_score(folder)
    assert len(frame.compute()) == 8
    assert "read twice: 1 file ('b.parquet')" in commands.run("score", folder, tmp_path / "out", "--dry-run").out
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere/b.parquet").symlink_to(folder / "a.parquet")
    assert len(read_and_score(tmp_path / "elsewhere").compute()) == 4


@pytest.mark.parametrize("link", ["current", "zz", "a/deep/link"])
def test_a_link_beside_a_hive_folder_loses_no_column(tmp_path, vectors, link):
    partition = tmp_path / "in/lang=en"
    partition.mkdir(parents=True)
    columns.frame(vectors[:3], "list").to_parquet(partition / "x.parquet")
    (tmp_path / "in" / link).parent.mkdir(parents=True, exist_ok=True)
    (tmp_path / "in" / link).symlink_to(partition, target_is_directory=True)
    frame = read_and_score(tmp_path / "in", columns="all").compute()
    assert frame["lang"].tolist() == ["en"] * 3


def test_a_hive_folder_that_is_a_link_has_its_column(tmp_path, vectors):
    (tmp_path / "real").mkdir()
    columns.frame(vectors[:3], "list").to_parquet(tmp_path / "real/x.parquet")
    (tmp_path / "in").mkdir()
    (tmp_path / "in/lang=en").symlink_to(tmp_path / "real", target_is_directory=True)
    (tmp_path / "in/loop").symlink_to(tmp_path / "in", target_is_directory=True)
    frame = read_and_score(tmp_path / "in", columns="all").compute()
    assert frame["lang"].tolist() == ["en"] * 3


# Folders that may not be read

UNREADABLE = """
import os, sys
from dask_aesthetic.errors import InputError
from dask_aesthetic.io.listing import list_files
list_files(sys.argv[1])
os.chmod(sys.argv[1] + "/shut", 0)
if os.geteuid() == 0:
    os.seteuid(65534)
try:
    print(len(list_files(sys.argv[1] + sys.argv[2])))
except InputError as error:
    print(error)
"""


@pytest.mark.parametrize("pattern", ["", "/**/*.parquet", "/*/*.parquet", "/**", "/shut/*.parquet"])
def test_a_folder_that_may_not_be_read_is_an_error_for_globs_too(folder, pattern):
    for parent in folder.parents:
        if Path(tempfile.gettempdir()) not in parent.parents:
            break
        parent.chmod(0o755)
    (folder / "shut").mkdir()
    columns.frame(np.ones((2, 768), "f4"), "list").to_parquet(folder / "shut/b.parquet")
    command = [sys.executable, "-c", UNREADABLE, str(folder), pattern]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=120)
    finally:
        (folder / "shut").chmod(0o755)
    assert "Permission denied" in done.stdout, done.stderr


def test_hidden_folders_of_a_glob_are_not_asked_for(folder):
    (folder / ".git").mkdir(mode=0)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert len(read_and_score(folder / "**/*.parquet").compute()) == 4


# Files that change or are damaged


def test_a_matrix_that_shrinks_is_an_error_and_not_the_end_of_the_process(tmp_path, vectors):
    np.save(tmp_path / "m.npy", np.repeat(vectors, 40, 0))
    frame = read_npy(tmp_path / "m.npy", rows_per_partition=4000).aesthetic.score()
    os.truncate(tmp_path / "m.npy", 4096 * 768)
    with pytest.raises(InputError, match=r"truncated|has changed|as when found"):
        frame.compute()
    with pytest.raises(InputError, match="truncated"):
        score_dataset(tmp_path / "m.npy", tmp_path / "out")


def test_rows_after_a_matrix_shrank_are_not_read(tmp_path, vectors):
    from dask_aesthetic.io.npy import open_matrix
    from dask_aesthetic.io.storage import local_file

    np.save(tmp_path / "m.npy", np.repeat(vectors, 40, 0))
    matrix = open_matrix(local_file(str(tmp_path / "m.npy")))
    with matrix.reader(0, matrix.rows) as read:
        assert len(read(0, 100)) == 100
        os.truncate(tmp_path / "m.npy", 4096 * 768)
        with pytest.raises(InputError, match="it has changed, start again"):
            read(8000, 8100)


@pytest.mark.parametrize("save", [np.savez, np.savez_compressed])
def test_a_flipped_bit_in_an_npz_is_found_by_its_checksum(tmp_path, vectors, save):
    save(tmp_path / "a.npz", l14_img=vectors)
    pd.DataFrame({"uid": [str(at) for at in range(len(vectors))]}).to_parquet(tmp_path / "a.parquet")
    expected = read_datacomp(tmp_path).aesthetic.score()["aesthetic_score"].compute()
    assert expected.notna().all()
    content = bytearray((tmp_path / "a.npz").read_bytes())
    content[len(content) // 2] ^= 1
    (tmp_path / "a.npz").write_bytes(content)
    with pytest.raises(InputError, match=r"Bad CRC-32|Error -3"):
        read_datacomp(tmp_path).aesthetic.score().compute()


# Files of other kinds


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("a.npy", "big endian", r"got >f4: save it as float32 in the byte order of this machine"),
        ("a.npy", "flat", r"got shape \(2304,\): save it by numpy.save after a reshape"),
        ("a.npz", "alone", r"got no .parquet beside .npz: .*save the matrix alone by numpy.save"),
        ("a.pt", b"PK..", r"expected a whole \.pt file, as torch\.save writes it since torch 1\.6, got .*a\.pt"),
        ("a.csv", b"1,2", r"expected a Parquet file, or embeddings by numpy.save in a file called .npy, got .*a.csv"),
        ("a.tar", b"BZh9" + bytes(600), r"got .*a.tar: bzip2: write it as a tar, uncompressed or gzip"),
        ("b.tar", b"PK\3\4" + b"x" * 600, r"got .*b.tar: a zip file: write it as a tar"),
    ],
)
def test_files_of_other_kinds_are_refused_with_what_would_do(tmp_path, vectors, name, content, message):
    path = tmp_path / name
    if isinstance(content, bytes):
        path.write_bytes(content)
    elif content == "alone":
        np.savez(path, vectors)
    else:
        np.save(path, vectors[:3].astype(">f4") if content == "big endian" else vectors[:3].reshape(-1))
    with pytest.raises(InputError, match=message):
        read_webdataset(path) if name.endswith(".tar") else score_dataset(path, tmp_path / "out")


def test_very_many_columns_are_not_all_named(tmp_path):
    pd.DataFrame({f"e{at}": [1.0] for at in range(768)}).to_parquet(tmp_path / "a.parquet")
    with pytest.raises(ColumnError, match=r"'e19' and 748 more. No column"):
        read_and_score(tmp_path / "a.parquet")
