"""Filter jobs: kept samples are copied unchanged and completely, also after an interrupted run."""

from __future__ import annotations

import hashlib
import json
import signal
import tarfile
from pathlib import Path

import dask.dataframe as dd
import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from dask_aesthetic import (
    ArgumentError,
    ColumnError,
    InputError,
    ThresholdError,
    filter_dataset,
    read_scores,
    read_webdataset,
    score_dataset,
)
from dask_aesthetic.errors import JobError
from dask_aesthetic.filter import copying, plan_filter, writing
from dask_aesthetic.io.listing import ListedFile, list_files
from helpers import chaos, commands, tar_files
from helpers.tar_files import content, member, samples, write

FIELDS = ("name", "size", "mtime", "mode", "uid", "gid", "uname", "gname", "type")


@pytest.fixture
def tars(tmp_path) -> Path:
    """Three tars of 5 samples each with a Parquet file; one is a gzip called .tar. Of the last none is kept."""
    for at in range(3):
        write(tmp_path / f"tars/{at:05d}.tar", *samples(5, first=5 * at), packed=at == 1)
        keys = [f"{key:05d}" for key in range(5 * at + 4, 5 * at - 1, -1)]
        table = pa.table(
            {"key": keys, "url": [f"https://{key}" for key in keys], "width": pa.array(range(5), pa.int16())}
        )
        pq.write_table(table, tmp_path / f"tars/{at:05d}.parquet")
    return tmp_path / "tars"


@pytest.fixture
def scored(tars) -> pd.DataFrame:
    return score(tars)


def score(tars: Path) -> pd.DataFrame:
    """Rows of a frame as it is after scoring; 6 of 15 are kept, one has no score."""
    frame = read_webdataset(tars)[["shard", "key"]].compute().reset_index(drop=True)
    scores = np.linspace(7, 3, len(frame)).astype(np.float32)
    scores[3] = np.nan
    return frame.assign(aesthetic_score=scores, keep=(scores >= 5) & (np.arange(len(frame)) != 4))


def headers(path: Path) -> dict[str, tuple]:
    with tarfile.open(path) as tar:
        return {info.name: tuple(getattr(info, name) for name in FIELDS) for info in tar}


def kept(folder: Path) -> dict[tuple[str, str], bytes]:
    """Members of the tars of a folder by shard and name."""
    return {(path.stem, name): data for path in sorted(folder.glob("*.tar")) for name, data in content(path).items()}


def command(*arguments: object) -> str:
    return commands.printed("filter", *arguments)


# What is written


def test_members_of_kept_samples_are_as_they_were_and_no_others_are_there(tars, scored, tmp_path):
    done = filter_dataset(scored, tmp_path / "out", tars=tars)
    keys = {(row.shard, row.key) for row in scored.itertuples() if row.keep}
    before = kept(tars)
    expected = {place: data for place, data in before.items() if (place[0], place[1].partition(".")[0]) in keys}
    got = kept(tmp_path / "out")
    assert list(got.items()) == list(expected.items())
    assert len(got) == 3 * len(keys) == 18
    for at in range(3):
        own, theirs = headers(tars / f"{at:05d}.tar"), headers(tmp_path / f"out/{at:05d}.tar")
        assert theirs == {name: own[name] for name in theirs}
    assert (done.samples, done.kept, done.members, done.shards) == (15, 6, 18, 3)
    assert (done.unscored, done.missing, done.left_out, done.notes) == (0, 0, {}, {})
    assert content(tmp_path / "out/00002.tar") == {}
    assert pq.read_metadata(tmp_path / "out/00002.parquet").num_rows == 0


def test_the_parquet_file_has_the_scores_and_the_columns_that_there_were(tars, scored, tmp_path):
    filter_dataset(scored, tmp_path / "out", tars=tars)
    got = read_webdataset(tmp_path / "out").compute()
    rows = scored[scored["keep"]].reset_index(drop=True)
    assert got["sample_status"].tolist() == ["ok"] * 6
    assert got["key"].tolist() == rows["key"].tolist()
    assert got["aesthetic_score"].tolist() == rows["aesthetic_score"].tolist()
    assert got["source_shard"].tolist() == rows["shard"].tolist()
    assert got["url"].tolist() == [f"https://{key}" for key in rows["key"]]
    assert got["width"].tolist() == [4 - int(key) % 5 for key in rows["key"]]
    schema = pq.read_schema(tmp_path / "out/00000.parquet")
    assert schema.names == ["key", "url", "width", "source_shard", "aesthetic_score", "keep"]
    again = filter_dataset(got, tmp_path / "again", tars=tmp_path / "out")
    assert again.kept == 6
    assert kept(tmp_path / "again") == kept(tmp_path / "out")
    assert pq.read_schema(tmp_path / "again/00000.parquet").names == schema.names


def test_genuine_tars_come_out_with_the_same_sha256(shared, tmp_path):
    source = shared / "data/tars"
    frame = read_webdataset(source)[["shard", "key"]].compute()
    frame["aesthetic_score"] = np.float32(5.5)
    frame["keep"] = ~((frame["shard"] == "image3") & (frame["key"] == "123_456"))
    for arguments in ({}, {"samples_per_shard": 5}):
        output = tmp_path / f"out{len(arguments)}"
        done = filter_dataset(frame, output, tars=source, **arguments)
        assert (done.kept, done.members) == (11, 13)
        got = sorted((name, hashlib.sha256(data).hexdigest()) for (_, name), data in kept(output).items())
        genuine = [(shard, name, data) for (shard, name), data in kept(source).items()]
        assert got == sorted(
            (name, hashlib.sha256(data).hexdigest())
            for shard, name, data in genuine
            if (shard, name) != ("image3", "123_456.jpg")
        )
    back = read_webdataset(tmp_path / "out1").compute()
    assert back["shard"].value_counts().to_dict() == {"00000": 5, "00001": 5, "00002": 1}
    assert back["source_shard"].tolist() == ["00000", *["image1"] * 4, *["image2"] * 3, "image3", *["image4"] * 2]


def test_the_webdataset_library_reads_what_is_written(tars, scored, tmp_path):
    iterators = pytest.importorskip("webdataset.tariterators")
    filter_dataset(scored, tmp_path / "out", tars=tars, samples_per_shard=4)
    with (tmp_path / "out/00000.tar").open("rb") as stream:
        files = [{**file, "__url__": ""} for file in iterators.tar_file_iterator(stream)]
    found = list(iterators.group_by_keys(iter(files)))
    assert [sample["__key__"] for sample in found] == scored.loc[scored["keep"], "key"].tolist()[:4]
    assert [set(sample) for sample in found] == [{"__key__", "__url__", "jpg", "txt", "json"}] * 4


def test_shards_of_a_number_of_samples_hold_all_of_them_in_order(tars, scored, tmp_path):
    for size, sizes in ((1, [1] * 6), (4, [4, 2]), (6, [6]), (100, [6])):
        done = filter_dataset(scored, tmp_path / str(size), tars=tars, samples_per_shard=size)
        got = read_webdataset(tmp_path / str(size)).compute()
        assert got["key"].tolist() == scored.loc[scored["keep"], "key"].tolist()
        assert [len(rows) for _, rows in got.groupby("shard")] == sizes
        assert done.shards == len(sizes)
    none = filter_dataset(scored.assign(keep=False), tmp_path / "none", tars=tars, samples_per_shard=4)
    assert (none.shards, none.kept, none.samples) == (0, 0, 15)
    assert json.loads((tmp_path / "none/_SUCCESS").read_text())["kept"] == 0


def test_equal_keys_never_meet_in_one_tar(tmp_path):
    for at in range(3):
        write(tmp_path / f"tars/{at}.tar", *samples(4))
    frame = score(tmp_path / "tars").assign(keep=True)
    filter_dataset(frame, tmp_path / "out", tars=tmp_path / "tars", samples_per_shard=6)
    got = read_webdataset(tmp_path / "out").compute()
    assert got["sample_status"].tolist() == ["ok"] * 12
    assert got["shard"].tolist() == [f"{at:05d}" for at in range(3) for _ in range(4)]
    assert got["source_shard"].tolist() == [str(at) for at in range(3) for _ in range(4)]


def test_the_score_goes_into_the_json_if_asked_and_nothing_else_changes(tmp_path):
    path = tmp_path / "tars/0.tar"
    made = [
        *samples(1), member("bare.png", b"x", mtime=5), member("list.jpg", b"x"), member("list.JSON", b"[1]"),
        member("failed_shards.jpg", b"x"), member("failed_shards.json", b"{"),
        member("deep.jpg", b"x"), member("deep.json", b"[" * 100_000),
        member("upper.jpg", b"x"), member("upper.JSON", '{"ä": 1e400, "b": 12345678901234567890}'.encode()),
    ]  # fmt: skip
    write(path, *made)
    keys = ["00000", "bare", "list", "failed_shards", "deep", "upper"]
    scores = np.array([4.1, 5.2, 6, 6, 6, 0.1], np.float32)
    frame = pd.DataFrame({"key": keys, "aesthetic_score": scores, "keep": True})
    done = filter_dataset(frame, tmp_path / "out", tars=path, score_in_json=True)
    got, before = content(tmp_path / "out/0.tar"), content(path)
    written = {name: json.loads(got.pop(name)) for name in ("00000.json", "bare.json", "upper.JSON")}
    assert written["00000.json"] == {"key": "00000", "width": 0, "aesthetic_score": 4.1}
    assert written["bare.json"] == {"aesthetic_score": 5.2}
    assert written["upper.JSON"] == {"ä": float("inf"), "b": 12345678901234567890, "aesthetic_score": 0.1}
    assert got == {name: data for name, data in before.items() if name not in written}
    assert np.float32(written["00000.json"]["aesthetic_score"]) == scores[0]
    assert done.notes == {"json_unchanged": 3}
    assert done.members == len(before) + 1


@pytest.mark.parametrize("as_frame", ["object", "arrow", "dask", "table", "dictionary", "files"])
def test_whatever_holds_the_rows_the_bytes_are_the_same(tars, scored, tmp_path, as_frame):
    filter_dataset(scored, tmp_path / "calm", tars=tars)
    shuffled = scored.sample(frac=1, random_state=1)
    frames = {
        "object": scored.astype({"shard": object, "key": object, "keep": object}),
        "arrow": pd.DataFrame({name: scored[name].convert_dtypes(dtype_backend="pyarrow") for name in scored}),
        "dask": dd.from_pandas(shuffled, npartitions=3, sort=False),
        "table": pa.Table.from_pandas(shuffled, preserve_index=False),
        "dictionary": scored.astype({"shard": "category"}),
        "files": tmp_path / "scores",
    }
    (tmp_path / "scores").mkdir()
    shuffled.to_parquet(tmp_path / "scores/a.parquet")
    filter_dataset(frames[as_frame], tmp_path / "out", tars=tars)
    assert chaos.content(tmp_path / "out") == chaos.content(tmp_path / "calm")


def test_a_dask_frame_is_computed_without_images(tars, scored, tmp_path):
    frame = read_webdataset(tars)
    scores = scored.set_index(["shard", "key"])["aesthetic_score"].to_dict()

    def score(part: pd.DataFrame) -> pd.DataFrame:
        assert list(part.columns) == ["shard", "key"]
        places = zip(part["shard"], part["key"], strict=True)
        return part.assign(aesthetic_score=np.array([scores[place] for place in places], np.float32))

    rows = frame[["shard", "key"]]
    lazy = rows.map_partitions(score, meta=rows._meta.assign(aesthetic_score=np.float32(0)))
    done = filter_dataset(lazy, tmp_path / "out", tars=tars, threshold=5)
    assert done.kept == int((scored["aesthetic_score"] >= 5).sum())


def test_a_threshold_keeps_what_reaches_it_as_float32(tars, scored, tmp_path):
    frame = scored.drop(columns="keep").assign(aesthetic_score=np.float32(5.1))
    assert filter_dataset(frame, tmp_path / "at", tars=tars, threshold=5.1).kept == 15
    assert filter_dataset(frame, tmp_path / "above", tars=tars, threshold=5.2).kept == 0
    with pytest.raises(ThresholdError, match="did you mean"):
        filter_dataset(frame, tmp_path / "wrong", tars=tars, threshold=0.5)
    with pytest.raises(ColumnError, match="'keep'"):
        filter_dataset(frame, tmp_path / "wrong", tars=tars)
    assert not (tmp_path / "wrong").exists()


# What does not match


def test_rows_to_keep_without_sample_and_samples_without_row_are_refused_unless_allowed(tars, scored, tmp_path):
    more = pd.concat([scored, scored[:2].assign(shard=["00000", "other"], key=["x", "00001"], keep=True)])
    with pytest.raises(InputError, match="got none for 2 rows"):
        filter_dataset(more, tmp_path / "out", tars=tars)
    fewer = scored[scored["key"] != "00001"]
    with pytest.raises(InputError, match="of 15 samples, got none for 1"):
        filter_dataset(fewer, tmp_path / "out", tars=tars)
    assert not (tmp_path / "out").exists()
    done = filter_dataset(more[more["key"] != "00001"], tmp_path / "out", tars=tars, allow_unmatched=True)
    assert (done.missing, done.unscored, done.kept) == (1, 1, 5)
    nobody = scored[:2].assign(key=["failed", None], keep=False)
    assert filter_dataset(pd.concat([scored, nobody]), tmp_path / "failed", tars=tars).kept == 6
    nameless = pd.concat([scored, scored[:1]], ignore_index=True)
    nameless.loc[15, "key"] = None
    with pytest.raises(InputError, match="got none for 1 rows"):
        filter_dataset(nameless, tmp_path / "null", tars=tars)


def test_ambiguous_keys_are_refused(shared, tars, scored, tmp_path):
    source = shared / "data/tars"
    frame = read_webdataset(source)[["shard", "key"]].compute().assign(aesthetic_score=np.float32(6), keep=True)
    with pytest.raises(InputError, match=r"a row per sample, got several of '123_456', '208_495', '321_421'"):
        filter_dataset(frame.drop(columns="shard"), tmp_path / "out", tars=source)
    with pytest.raises(InputError, match="--columns key,shard"):
        filter_dataset(frame.drop(columns="shard"), tmp_path / "out", tars=source)
    with pytest.raises(InputError, match="each key in one tar, got '123_456'"):
        filter_dataset(frame.drop(columns="shard").drop_duplicates("key"), tmp_path / "out", tars=source)
    with pytest.raises(InputError, match="several of '00001'"):
        filter_dataset(pd.concat([scored, scored[1:2]]), tmp_path / "out", tars=tars)
    filter_dataset(scored.drop(columns="shard"), tmp_path / "by_key", tars=tars)
    filter_dataset(scored, tmp_path / "by_shard", tars=tars)
    assert kept(tmp_path / "by_key") == kept(tmp_path / "by_shard")


@pytest.mark.parametrize(
    ("change", "result"),
    [
        ({"key": 1}, "strings in column 'key'"),
        ({"keep": "yes"}, "True or False in column 'keep'"),
        ({"aesthetic_score": "6"}, "a column of floats, in 'aesthetic_score'"),
    ],
)
def test_columns_of_other_types_are_refused(tars, scored, tmp_path, change, result):
    with pytest.raises(ColumnError, match=result):
        filter_dataset(scored.assign(**change), tmp_path / "out", tars=tars)


@pytest.mark.parametrize("number", [0, -1, 2.5, True])
def test_a_number_of_samples_that_is_none_is_refused(tars, scored, tmp_path, number):
    with pytest.raises(ArgumentError, match="samples_per_shard"):
        filter_dataset(scored, tmp_path / "out", tars=tars, samples_per_shard=number)


def test_a_damaged_tar_is_refused_before_anything_is_written(tars, scored, tmp_path):
    for name in ("00000", "00001"):
        data = (tars / f"{name}.tar").read_bytes()
        (tars / f"{name}.tar").write_bytes(data[: len(data) // 2])
    with pytest.raises(InputError, match="2 that cannot be read") as error:
        filter_dataset(scored, tmp_path / "out", tars=tars)
    assert str(error.value).count("is damaged at byte") == 2
    assert not (tmp_path / "out").exists()


def test_nothing_hostile_is_written(tmp_path):
    trap = tmp_path / "trap"
    corpus = tar_files.hostile(trap)
    twice = [member("twice.jpg", b"1"), member("twice.jpg", b"2")]
    unusual = [
        member("owner.jpg", b"x", uname="\udcff" * 40, mode=0o7777, uid=-5, gid=2**40),
        *(
            member(f"o{time}.jpg", b"x", pax_headers={"mtime": time})
            for time in ("nan", "inf", "-inf", "1e300", "-5.5")
        ),
    ]
    made = [*samples(2), *(one for one, _ in corpus), *twice, *unusual]
    write(tmp_path / "in/0.tar", *made)
    frame = read_webdataset(tmp_path / "in")[["shard", "key", "sample_status"]].compute()
    frame = frame.assign(aesthetic_score=np.float32(6), keep=frame["key"].notna())
    before = set(tmp_path.rglob("*"))
    done = filter_dataset(frame, tmp_path / "out", tars=tmp_path / "in")
    assert {path.relative_to(tmp_path).parts[0] for path in set(tmp_path.rglob("*")) - before} == {"out"}
    assert not trap.exists()
    assert list(content(tmp_path / "out/0.tar")) == [info.name for info, _ in [*samples(2), *unusual]]
    with tarfile.open(tmp_path / "out/0.tar") as tar:
        assert {(info.type, info.linkname, info.mode & ~0o777) for info in tar} == {(tarfile.REGTYPE, "", 0)}
    assert done.left_out == {"unsafe_name": 12, "not_a_file": 6, "no_key": 5, "duplicate_member": 1}


def test_names_of_tars_that_lead_out_are_refused(tmp_path, scored, monkeypatch):
    write(tmp_path / "one/0.tar", *samples(1))
    (found,) = list_files(tmp_path / "one")
    monkeypatch.setattr(writing, "list_files", lambda *_: [ListedFile(found.file, "../../0.tar", explicit=False)])
    with pytest.raises(InputError, match="leads out of its folder"):
        filter_dataset(scored, tmp_path / "out", tars=tmp_path / "one")


def test_a_tar_of_which_nothing_is_kept_may_be_left_out(tars, scored, tmp_path):
    whole = filter_dataset(scored, tmp_path / "whole", tars=tars)
    done = filter_dataset(scored, tmp_path / "out", tars=tars, skip_empty=True)
    assert (whole.shards, done.shards, done.kept, done.samples) == (3, 2, whole.kept, whole.samples)
    assert sorted(path.name for path in (tmp_path / "out").glob("*.tar")) == ["00000.tar", "00001.tar"]
    assert kept(tmp_path / "out") == kept(tmp_path / "whole")
    with pytest.raises(InputError, match="skip_empty was None and now is True"):
        filter_dataset(scored, tmp_path / "whole", tars=tars, skip_empty=True)
    filter_dataset(scored, tmp_path / "whole", tars=tars, skip_empty=True, overwrite=True)
    assert chaos.content(tmp_path / "whole") == chaos.content(tmp_path / "out")


# Killed, resumed, changed


def filter_and_die(scored: pd.DataFrame, tars: Path, output: Path, at: int, after: bool) -> None:
    chaos.die(at, after)
    filter_dataset(scored, output, tars=tars, threads=1)


def test_a_run_killed_at_any_commit_resumes_to_the_same_bytes(tars, scored, tmp_path):
    calm = tmp_path / "calm"
    filter_dataset(scored, calm, tars=tars, threads=1)
    expected = chaos.content(calm)
    assert len(expected) == 1 + 3 * 3 + 1  # Settings; two files and a marker each; the manifest.
    processes = chaos.fork_server()
    # The settings, each file of the first shard, the first of the second, and the manifest.
    for at in (1, 2, 3, 4, 5, len(expected)):
        for after in (False, True):
            output = tmp_path / f"{at}-{after}"
            process = processes.Process(target=filter_and_die, args=(scored, tars, output, at, after))
            process.start()
            process.join(120)
            assert process.exitcode == -signal.SIGKILL
            assert (output / "_SUCCESS").exists() == (at == len(expected) and after)
            done = {path.name: path.stat().st_ino for path in (output / "_dask_aesthetic/markers").glob("*.json")}
            filter_dataset(scored, output, tars=tars)
            assert chaos.content(output) == expected
            assert {name: (output / "_dask_aesthetic/markers" / name).stat().st_ino for name in done} == done


def test_a_finished_run_does_nothing_more_and_threads_change_nothing(tars, scored, tmp_path):
    first = filter_dataset(scored, tmp_path / "out", tars=tars, threads=1)
    before = {path: path.stat().st_mtime_ns for path in (tmp_path / "out").rglob("*") if path.name != "lock"}
    assert filter_dataset(scored, tmp_path / "out", tars=tars) == first
    assert {path: path.stat().st_mtime_ns for path in before} == before
    filter_dataset(scored, tmp_path / "four", tars=tars, threads=4)
    assert chaos.content(tmp_path / "four") == chaos.content(tmp_path / "out")


def rewritten(output: Path, *arguments, **options) -> list[str]:
    before = {path.name: path.stat().st_ino for path in output.glob("*.tar")}
    filter_dataset(*arguments, **options)
    return sorted(path.stem for path in output.glob("*.tar") if path.stat().st_ino != before.get(path.name))


def test_only_changed_outputs_are_written_again(tars, scored, tmp_path):
    output = tmp_path / "out"
    filter_dataset(scored, output, tars=tars)
    assert rewritten(output, scored, output, tars=tars) == []
    other = scored.assign(keep=scored["keep"] & (scored["key"] != "00006"))
    assert rewritten(output, other, output, tars=tars) == ["00001"]
    write(tars / "00000.tar", *samples(5, first=0, size=9))
    assert rewritten(output, other, output, tars=tars) == ["00000"]
    (output / "00002.tar").unlink()
    assert rewritten(output, other, output, tars=tars) == ["00002"]
    (output / "00001.parquet").write_bytes(b"failed_shards")
    assert rewritten(output, other, output, tars=tars) == ["00001"]
    filter_dataset(other, tmp_path / "calm", tars=tars)
    assert chaos.content(output) == chaos.content(tmp_path / "calm")


def test_other_settings_leftovers_and_files_in_the_way_are_refused_unless_overwritten(tars, scored, tmp_path):
    output = tmp_path / "out"
    filter_dataset(scored, output, tars=tars)
    before = chaos.content(output)
    for options in ({"samples_per_shard": 2}, {"score_in_json": True}, {"threshold": 6.0}, {"metadata": False}):
        with pytest.raises(InputError, match="expected the settings of the run"):
            filter_dataset(scored, output, tars=tars, **options)
    fewer = scored[scored["shard"] != "00000"]
    with pytest.raises(InputError, match="got 1 that are not: 00000"):
        filter_dataset(fewer, output, tars=[tars / "00001.tar", tars / "00002.tar"])
    assert chaos.content(output) == before
    filter_dataset(scored, output, tars=tars, samples_per_shard=2, overwrite=True)
    filter_dataset(scored, tmp_path / "calm", tars=tars, samples_per_shard=2)
    assert chaos.content(output) == chaos.content(tmp_path / "calm")
    (tmp_path / "own").mkdir()
    (tmp_path / "own/00001.tar").write_bytes(b"mine")
    with pytest.raises(InputError, match=r"expected no 00001\.tar"):
        filter_dataset(scored, tmp_path / "own", tars=tars)
    assert (tmp_path / "own/00001.tar").read_bytes() == b"mine"
    for wrong in (tars, tars / "inside", tmp_path):
        with pytest.raises(InputError, match="expected an output folder"):
            filter_dataset(scored, wrong, tars=tars)


def test_a_tar_that_changes_on_the_way_is_left_out_and_the_others_are_done(tars, scored, tmp_path, monkeypatch):
    plan = plan_filter(scored, tmp_path / "out", tars=tars)
    write(tars / "00000.tar", *samples(1, first=99))
    copying.read_index.cache_clear()
    monkeypatch.setattr("dask_aesthetic.filter.writing.plan_filter", lambda *_, **__: plan)
    with pytest.raises(JobError, match="1 of 3 shards failed: 00000"):
        filter_dataset(scored, tmp_path / "out", tars=tars)
    assert not (tmp_path / "out/_SUCCESS").exists()
    assert sorted(path.name for path in (tmp_path / "out").glob("*.tar")) == ["00001.tar", "00002.tar"]


def test_the_manifest_lists_every_file(tars, scored, tmp_path):
    filter_dataset(scored, tmp_path / "out", tars=tars)
    manifest = json.loads((tmp_path / "out/_SUCCESS").read_text())
    assert (manifest["samples"], manifest["kept"], len(manifest["shards"])) == (15, 6, 3)
    for shard in manifest["shards"]:
        assert set(shard["files"]) == {f"{shard['name']}.tar", f"{shard['name']}.parquet"}
        for name, result in shard["files"].items():
            data = (tmp_path / "out" / name).read_bytes()
            assert result == {"bytes": len(data), "sha256": hashlib.sha256(data).hexdigest()}


def test_from_and_to_a_store_elsewhere(tars, scored, tmp_path, s3):
    filter_dataset(scored, tmp_path / "calm", tars=tars)
    s3.put(tars.parent)
    for _ in range(2):
        done = filter_dataset(scored, f"{s3.url}/out", tars=f"{s3.url}/tars", storage_options=s3.options)
    assert done.kept == 6
    for path in (tmp_path / "calm").glob("*.*"):
        assert s3.fs.cat_file(f"{s3.url}/out/{path.name}") == path.read_bytes()


# The command


def test_the_command_filters_what_a_job_has_scored(tars, tmp_path, vectors):
    keys = [f"{at:05d}" for at in range(15)]
    lists = pa.array([*vectors[:14], None], pa.list_(pa.float32()))
    (tmp_path / "embeddings").mkdir()
    for at in range(2):
        part = slice(8 * at, 8 * at + 8)
        table = pa.table({"key": keys[part], "image_embedding": lists[part]})
        pq.write_table(table, tmp_path / f"embeddings/{at}.parquet")
    score_dataset(tmp_path / "embeddings", tmp_path / "scored", threshold=5.2)
    scored = pq.read_table(tmp_path / "scored").to_pandas()
    result = json.loads(command(tmp_path / "scored", tmp_path / "out", "--tars", tars, "--json"))
    names = {f"{key}.{end}" for key in scored.loc[scored["keep"], "key"] for end in ("jpg", "txt", "json")}
    assert 0 < len(names) < 45
    assert {name for _, name in kept(tmp_path / "out")} == names
    assert (result["kept"], result["samples"], result["members"]) == (len(names) // 3, 15, len(names))
    arguments = [
        tmp_path / "scored",
        tmp_path / "standard",
        "--tars",
        tars,
        "--threshold",
        "standard",
        "--samples-per-shard",
        3,
    ]
    command(*arguments, "--score-in-json", "--quiet")
    got = read_webdataset(tmp_path / "standard").compute()
    assert sorted(got["key"]) == sorted(scored.loc[scored["aesthetic_score"] >= 5, "key"])
    assert [json.loads(text)["aesthetic_score"] for text in got["json"]] == pytest.approx(
        got["aesthetic_score"].tolist()
    )
    for wrong in (["--threshold", "0.5"], ["--scale", "unit"], ["--where", "absent"]):
        assert commands.run("filter", tmp_path / "scored", tmp_path / "x", "--tars", tars, *wrong).status == 2
    assert not (tmp_path / "x").exists()


def test_a_dry_run_lists_what_would_be_kept_and_writes_nothing(tars, scored, tmp_path):
    (tmp_path / "scored").mkdir()
    scored.to_parquet(tmp_path / "scored/a.parquet")
    arguments = [tmp_path / "scored", tmp_path / "out", "--tars", tars]
    lines = command(*arguments, "--dry-run").splitlines()
    assert [line.split() for line in lines[:3]] == [["3", "new", "00000"], ["3", "new", "00001"], ["0", "new", "00002"]]
    assert lines[-1] == "6 of 15 samples kept in 3 shards; to write: 3 shards"
    plan = json.loads(command(*arguments, "--dry-run", "--json"))
    assert (plan["kept"], plan["samples"], [shard["rows"] for shard in plan["shards"]]) == (6, 15, [3, 3, 0])
    assert not (tmp_path / "out").exists()
    table = command(*arguments)
    assert "6 (40.0%), 18 members" in table
    assert command(*arguments, "--dry-run").splitlines()[-1].endswith("to write: 0 shards")


# Scores of several names


def test_the_score_that_the_files_name_is_the_default(tars, tmp_path):
    rows = read_webdataset(tars)[["shard", "key"]].compute().reset_index(drop=True)
    vectors = np.random.default_rng(3).standard_normal((len(rows), 768)).astype(np.float32)
    table = pa.table({**{name: rows[name].tolist() for name in rows}, "image_embedding": list(vectors)})
    pq.write_table(table, tmp_path / "in.parquet")
    columns = ["shard", "key"]
    score_dataset(tmp_path / "in.parquet", tmp_path / "one", score_column="mine", columns=columns, threshold=4.9)
    score_dataset(
        tmp_path / "in.parquet",
        tmp_path / "two",
        predictor={"first": "laion-v2", "second": "laion-v2-ava"},
        columns=columns,
        threshold=4.9,
    )
    command(tmp_path / "one", tmp_path / "kept", "--tars", tars)
    assert pq.read_schema(tmp_path / "kept/00000.parquet").names[-2:] == ["mine", "keep"]
    filter_dataset(read_scores(tmp_path / "one"), tmp_path / "same", tars=tars)
    assert kept(tmp_path / "same") == kept(tmp_path / "kept") != {}
    message = "expected score_column (--score-column) where there are several scores, got none: first, second"
    ended = commands.run("filter", tmp_path / "two", tmp_path / "refused", "--tars", tars)
    assert ended.status == 2
    assert message in " ".join(ended.err.split())
    with pytest.raises(ArgumentError, match="where there are several scores, got none: first, second"):
        filter_dataset(read_scores(tmp_path / "two"), tmp_path / "refused", tars=tars)
    command(tmp_path / "two", tmp_path / "second", "--tars", tars, "--score-column", "second")
    assert pq.read_schema(tmp_path / "second/00000.parquet").names[-2:] == ["second", "keep"]
