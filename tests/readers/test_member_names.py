"""Members whose names begin with "./" or folders join img2dataset's Parquet files, and keep their names when copied."""

from __future__ import annotations

import pandas as pd
import pytest

from dask_aesthetic import filter_dataset, read_webdataset
from helpers.tar_files import content, member, write

KEYS = ["000000000", "000000001", "000000002"]


def write_named(folder, before: str, keys=KEYS, metadata=KEYS) -> None:
    members = [member(f"{before}{key}{suffix}", key.encode()) for key in keys for suffix in (".jpg", ".txt")]
    write(folder / "00000.tar", *members)
    urls = [f"https://{key}" for key in metadata]
    pd.DataFrame({"key": metadata, "url": urls, "status": "success"}).to_parquet(folder / "00000.parquet")


@pytest.mark.parametrize("before", ["", "./", ".//./", "photos/", "./photos/2026/"])
def test_names_before_the_key_do_not_keep_members_from_their_metadata(tmp_path, before):
    write_named(tmp_path / "in", before, metadata=[*KEYS, "000000003"])
    frame = read_webdataset(tmp_path / "in").compute()
    assert frame["key"].tolist() == [*(before + key for key in KEYS), "000000003"]
    assert frame["url"].tolist() == [f"https://{key}" for key in [*KEYS, "000000003"]]
    assert frame["sample_status"].tolist() == ["ok", "ok", "ok", "not_in_tar"]


def test_keys_that_two_folders_share_are_joined_to_none(tmp_path):
    write_named(tmp_path / "in", "", ["a/0", "b/0", "b/1", "2"], metadata=["0", "1", "2", "3"])
    frame = read_webdataset(tmp_path / "in").compute().set_index("key")
    assert frame["url"].fillna("").to_dict() == {
        "a/0": "",
        "b/0": "",
        "b/1": "https://1",
        "2": "https://2",
        "0": "https://0",
        "3": "https://3",
    }


def test_folders_that_the_metadata_have_stay(tmp_path):
    keys = ["a/0", "b/0"]
    write_named(tmp_path / "in", "./", keys, metadata=[*keys, "0"])
    frame = read_webdataset(tmp_path / "in").compute().set_index("key")
    assert frame["url"].to_dict() == {"./a/0": "https://a/0", "./b/0": "https://b/0", "0": "https://0"}


@pytest.mark.parametrize("before", ["./", "photos/"])
@pytest.mark.parametrize("bare", [False, True])
def test_a_filter_copies_members_under_their_own_names_with_their_metadata(tmp_path, before, bare):
    write_named(tmp_path / "in", before)
    frame = read_webdataset(tmp_path / "in").compute()
    if bare:  # As of scores that were computed from the Parquet files.
        frame["key"] = KEYS
    scored = frame[["shard", "key"]].assign(aesthetic_score=pd.Series([6.0, 3.0, 7.0], dtype="float32"))
    scored["keep"] = scored["aesthetic_score"] >= 5
    filter_dataset(scored, tmp_path / "out", tars=tmp_path / "in", score_in_json=True)
    kept = [KEYS[0], KEYS[2]]
    assert list(content(tmp_path / "out/00000.tar")) == [
        f"{before}{key}{suffix}" for key in kept for suffix in (".jpg", ".txt", ".json")
    ]
    assert pd.read_parquet(tmp_path / "out/00000.parquet")["url"].tolist() == [f"https://{key}" for key in kept]
