"""Filter jobs over image files: kept files are copied or linked under their relative names, and no others."""

from __future__ import annotations

import json
import os
import shutil
import signal
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

pytest.importorskip("PIL", reason="needs Pillow: pip install 'dask-aesthetic[embed]'")

from dask_aesthetic import ArgumentError, ColumnError, InputError, filter_dataset, read_scores, score_dataset
from dask_aesthetic.errors import JobError
from dask_aesthetic.filter import image_plan, images, plan_filter
from dask_aesthetic.io.listing import ListedFile
from dask_aesthetic.io.storage import local_file
from helpers import chaos, commands, image_files

NAMES = ["a.jpg", "b.PNG", "cats/a.jpg", "cats/old/ä b.webp", "cats/z.gif", "dogs/a.jpeg", "dogs/_b.jpg"]
KEPT = ["b.PNG", "cats/a.jpg", "cats/old/ä b.webp", "dogs/_b.jpg"]


@pytest.fixture
def photos(tmp_path) -> Path:
    """Image files in folders, and a text that is none; their content is never decoded."""
    for at, name in enumerate(NAMES):
        path = tmp_path / "photos" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(bytes(range(at, 200)))
        os.utime(path, ns=(1, 1_500_000_000_123_456_789 + at))
    (tmp_path / "photos/cats/notes.txt").write_text("no image")
    return tmp_path / "photos"


@pytest.fixture
def scored(photos) -> pd.DataFrame:
    """Rows as a job writes them, in another order."""
    scores = np.array([6 if name in KEPT else 4 for name in NAMES], np.float32) + np.arange(7, dtype=np.float32) / 8
    paths = [str(photos / name) for name in NAMES]
    frame = pd.DataFrame({"image_path": paths, "aesthetic_score": scores, "keep": scores >= 5})
    return frame.sample(frac=1, random_state=3)


def copies(folder: Path) -> dict[str, bytes]:
    """Content of all files of a folder by name, but for those of the job and what a killed run was writing."""
    own = ("_", ".dask-aesthetic-")
    return {
        name: data for name, data in chaos.content(folder).items() if not (name.startswith(own) or f"/{own[1]}" in name)
    }


def expected(photos: Path, names: list[str] = KEPT) -> dict[str, bytes]:
    return {name: (photos / name).read_bytes() for name in names}


def listed(folder: Path) -> pd.DataFrame:
    frames = [pq.read_table(path).to_pandas() for path in sorted((folder / "_scores").rglob("*.parquet"))]
    return pd.concat(frames, ignore_index=True)


def test_kept_files_are_copied_under_their_relative_names_with_content_and_time(photos, scored, tmp_path):
    before = chaos.content(photos)
    done = filter_dataset(scored, tmp_path / "out", images=photos)
    assert copies(tmp_path / "out") == expected(photos)
    for name in KEPT:
        assert (tmp_path / "out" / name).stat().st_mtime_ns == (photos / name).stat().st_mtime_ns
        assert (tmp_path / "out" / name).stat().st_ino != (photos / name).stat().st_ino
    assert chaos.content(photos) == before
    lists = sum(path.stat().st_size for path in (tmp_path / "out/_scores").rglob("*.parquet"))
    assert (done.samples, done.kept, done.members, done.shards) == (7, 4, 4, 4)
    assert done.bytes == lists + sum(map(len, expected(photos).values()))
    assert (done.unscored, done.missing) == (0, 0)
    rows = listed(tmp_path / "out").set_index("image_path")
    scores = scored.set_index("image_path")["aesthetic_score"]
    assert sorted(rows.index) == sorted(KEPT)
    assert rows["source_path"].tolist() == [str(photos / name) for name in rows.index]
    assert rows["aesthetic_score"].tolist() == scores[rows["source_path"]].tolist()
    assert rows["keep"].all()


def test_links_are_the_same_files_also_where_the_image_is_a_symbolic_link(photos, scored, tmp_path):
    (tmp_path / "elsewhere.jpg").write_bytes(b"there")
    (photos / "dogs/_b.jpg").unlink()
    (photos / "dogs/_b.jpg").symlink_to(tmp_path / "elsewhere.jpg")
    for _ in range(2):
        done = filter_dataset(scored, tmp_path / "out", images=photos, link=True)
        assert done.kept == 4
        assert copies(tmp_path / "out") == expected(photos)
        for name in KEPT:
            assert (tmp_path / "out" / name).samefile(photos / name)
            assert not (tmp_path / "out" / name).is_symlink()
    filter_dataset(scored, tmp_path / "out", images=photos, link=False, overwrite=True)
    assert not any((tmp_path / "out" / name).samefile(photos / name) for name in KEPT)
    filter_dataset(scored, tmp_path / "out", images=photos, link=True, overwrite=True)
    filter_dataset(scored.assign(keep=True), tmp_path / "out", images=photos, link=True)  # Links over themselves.
    assert copies(tmp_path / "out") == expected(photos, NAMES)
    assert not list((tmp_path / "out").rglob(".dask-aesthetic-*"))


def test_links_to_another_disk_are_refused_with_what_to_do(photos, scored, tmp_path, monkeypatch):
    there = Path("/dev/shm")  # noqa: S108
    if not os.access(there, os.W_OK) or there.stat().st_dev == tmp_path.stat().st_dev:
        pytest.skip("needs a second disk at /dev/shm")
    out = there / f"dask-aesthetic-test-{os.getpid()}"
    with pytest.raises(InputError, match=r"on one disk with link=True .*leave link out, which copies"):
        filter_dataset(scored, out, images=photos, link=True)
    assert not out.exists()
    # As on one disk that is mounted twice: only the link itself shows it.
    monkeypatch.setattr(image_plan, "_refuse_link", lambda *_: None)
    try:
        with pytest.raises(JobError, match=r"expected to link .*without link=True \(--link\), which copies"):
            filter_dataset(scored, out, images=photos, link=True)
        assert not copies(out)
    finally:
        shutil.rmtree(out, ignore_errors=True)


def test_paths_may_be_relative_to_the_working_folder_or_to_the_images(photos, scored, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    short = scored["image_path"].str.removeprefix(f"{tmp_path}/")
    filter_dataset(scored.assign(image_path=short), "here", images="photos")
    assert copies(tmp_path / "here") == expected(photos)
    moved = photos.rename(tmp_path / "moved")
    with pytest.raises(InputError, match=rf"got none for 4 rows, such as '{photos}/.*allow_unmatched"):
        filter_dataset(scored, "out", images="moved")
    names = scored["image_path"].str.removeprefix(f"{photos}/")
    filter_dataset(scored.assign(image_path=names), "out", images="moved")
    assert copies(tmp_path / "out") == expected(moved)
    again = filter_dataset(listed(tmp_path / "out"), "again", images="out", threshold=6.5)
    assert (again.samples, again.kept) == (4, 1)


def test_rows_without_file_and_files_without_row_are_refused_unless_allowed(photos, scored, tmp_path):
    (photos / "cats/a.jpg").unlink()
    with pytest.raises(InputError, match=r"got none for 1 rows, such as '.*/cats/a.jpg'"):
        filter_dataset(scored, tmp_path / "out", images=photos)
    (photos / "new.jpg").write_bytes(b"new")
    (photos / "cats/a.jpg").write_bytes(b"back")
    with pytest.raises(InputError, match="for each of 8 image files, got none for 1"):
        filter_dataset(scored, tmp_path / "out", images=photos)
    (photos / "cats/a.jpg").unlink()
    assert not (tmp_path / "out").exists()
    nobody = pd.DataFrame({"image_path": [None], "aesthetic_score": [np.float32(9)], "keep": [False]})
    done = filter_dataset(pd.concat([scored, nobody]), tmp_path / "out", images=photos, allow_unmatched=True)
    assert (done.samples, done.kept, done.missing, done.unscored) == (7, 3, 1, 1)
    assert copies(tmp_path / "out") == expected(photos, [name for name in KEPT if name != "cats/a.jpg"])
    with pytest.raises(InputError, match="expected a row per image file, got several of"):
        filter_dataset(pd.concat([scored, scored[:1]]), tmp_path / "x", images=photos)
    with pytest.raises(ColumnError, match="'image_path'"):
        filter_dataset(scored.rename(columns={"image_path": "key"}), tmp_path / "x", images=photos)


def test_arguments_that_do_not_go_together_are_refused(photos, scored, tmp_path):
    for options, message in (
        ({}, "got neither"),
        ({"images": photos, "tars": photos}, "got both"),
        ({"tars": photos, "link": True}, r"link=True \(--link\) with images"),
        ({"images": photos, "samples_per_shard": 2}, "samples_per_shard with tars"),
        ({"images": photos, "metadata": False, "score_in_json": True}, "score_in_json, metadata with tars"),
        ({"images": photos, "skip_empty": True}, "skip_empty with tars"),
    ):
        with pytest.raises(ArgumentError, match=message):
            filter_dataset(scored, tmp_path / "out", **options)
    for wrong in (photos, photos / "inside", tmp_path):
        with pytest.raises(InputError, match="expected an output folder"):
            filter_dataset(scored, wrong, images=photos)
    assert not (tmp_path / "out").exists()


# Names


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("../../b.PNG", "leads out of its folder"),
        ("x/../../b.PNG", "leads out of its folder"),
        ("/b.PNG", "is absolute"),
        ("a\nb.PNG", "has control characters"),
        ("_SUCCESS", "this job's own files"),
        ("_dask_aesthetic/settings.json", "this job's own files"),
        ("_scores/cats.parquet", "this job's own files"),
        ("cats/.dask-aesthetic-1.jpg", "this job's own files"),
        ("cats/a.jpg", r"of different names, got .*/photos/.* and .*/photos/.*, both cats/a\.jpg"),
        ("cats//a.jpg", "both cats/a.jpg"),
        ("./cats/a.jpg", "both cats/a.jpg"),
        ("cats/a.jpg/b.PNG", "the file and the folder cats/a.jpg"),
        ("cats", "the file and the folder cats"),
    ],
)
def test_no_name_leads_out_or_collides(photos, scored, tmp_path, monkeypatch, name, message):
    """Stores and several sources may have such names; a local folder cannot."""
    renamed = [ListedFile(local_file(str(photos / one)), name if one == "b.PNG" else one, True) for one in NAMES]
    monkeypatch.setattr(images, "list_files", lambda *_: renamed)
    before = set(tmp_path.rglob("*"))
    with pytest.raises(InputError, match=message):
        filter_dataset(scored, tmp_path / "out/put", images=photos)
    assert set(tmp_path.rglob("*")) == before


def test_files_of_two_folders_with_the_same_name_are_refused_and_the_folder_above_keeps_both(photos, scored, tmp_path):
    folders = [photos / "cats", photos / "dogs"]
    both = scored.assign(keep=scored["image_path"].str.contains("cats|dogs"))
    (photos / "dogs/a.jpg").write_bytes(b"another")
    row = pd.DataFrame({"image_path": [str(photos / "dogs/a.jpg")], "aesthetic_score": [np.float32(7)], "keep": [True]})
    both = pd.concat([both, row])
    with pytest.raises(InputError, match=r"cats/a\.jpg and .*dogs/a\.jpg, both a\.jpg: name the folder"):
        filter_dataset(both, tmp_path / "out", images=folders)
    assert filter_dataset(both, tmp_path / "out", images=photos).kept == 6


def test_a_link_in_the_output_leads_nothing_out_of_it(photos, scored, tmp_path):
    (tmp_path / "trap").mkdir()
    (tmp_path / "out").mkdir()
    (tmp_path / "out/cats").symlink_to(tmp_path / "trap")
    with pytest.raises(InputError, match=r"expected folders within .*, got cats, a link to .*trap"):
        filter_dataset(scored, tmp_path / "out", images=photos, overwrite=True)
    assert not list((tmp_path / "trap").iterdir())


@pytest.mark.skipif(sys.platform != "linux", reason="other systems take no such names")
def test_names_that_are_no_utf8_are_refused_where_they_are_kept(photos, scored, tmp_path):
    (photos / os.fsdecode(b"caf\xe9.jpg")).write_bytes(b"x")
    path = f"{photos}/caf\\xe9.jpg"  # As a job escapes it.
    row = pd.DataFrame({"image_path": [path], "aesthetic_score": [np.float32(7)], "keep": [False]})
    assert filter_dataset(pd.concat([scored, row]), tmp_path / "out", images=photos).kept == 4
    with pytest.raises(InputError, match="is not UTF-8"):
        filter_dataset(pd.concat([scored, row.assign(keep=True)]), tmp_path / "x", images=photos)


# Killed, resumed, changed


def filter_and_die(scored: pd.DataFrame, photos: Path, output: Path, link: bool, at: int, after: bool) -> None:
    chaos.die(at, after)
    filter_dataset(scored, output, images=photos, link=link, threads=1)


@pytest.mark.parametrize("link", [False, True])
def test_a_run_killed_at_any_commit_resumes_to_the_same_files(photos, scored, tmp_path, link):
    filter_dataset(scored, tmp_path / "calm", images=photos, link=link, threads=1)
    due = chaos.content(tmp_path / "calm")
    assert len(due) == 1 + 4 + 4 + 4 + 1  # Settings; lists, images and markers; the manifest.
    processes = chaos.fork_server()
    for at, after in ((1, True), (3, False), (3, True), (4, True), (7, False), (len(due), False), (len(due), True)):
        output = tmp_path / f"{at}-{after}"
        process = processes.Process(target=filter_and_die, args=(scored, photos, output, link, at, after))
        process.start()
        process.join(120)
        assert process.exitcode == -signal.SIGKILL
        assert (output / "_SUCCESS").exists() == (at == len(due) and after)
        assert all(copies(output)[name] == due[name] for name in copies(output))
        done = {path.name: path.stat().st_ino for path in (output / "_dask_aesthetic/markers").rglob("*.json")}
        filter_dataset(scored, output, images=photos, link=link)
        assert chaos.content(output) == due
        now = {path.name: path.stat().st_ino for path in (output / "_dask_aesthetic/markers").rglob("*.json")}
        assert {name: now[name] for name in done} == done


def test_what_is_killed_under_other_settings_leaves_no_file_behind(photos, scored, tmp_path):
    """The list of a folder is there before its files, so that a later run knows which ones are of the job."""
    output = tmp_path / "out"
    process = chaos.fork_server().Process(target=filter_and_die, args=(scored, photos, output, False, 3, True))
    process.start()
    process.join(120)
    (name,) = copies(output)
    (output / "mine.jpg").write_bytes(b"mine")
    higher = scored.assign(keep=scored["keep"] & ~scored["image_path"].str.endswith(name))
    with pytest.raises(InputError, match="link was False and now is True"):
        filter_dataset(higher, output, images=photos, link=True)
    filter_dataset(higher, output, images=photos, link=True, overwrite=True)
    assert copies(output) == {**expected(photos, [one for one in KEPT if one != name]), "mine.jpg": b"mine"}


def test_only_changed_folders_are_copied_again_and_what_is_no_longer_kept_goes(photos, scored, tmp_path):
    output = tmp_path / "out"
    first = filter_dataset(scored, output, images=photos)

    def again(frame: pd.DataFrame) -> set[str]:
        """Files that are written again."""
        before = {path: path.stat().st_ino for path in output.rglob("*")}
        filter_dataset(frame, output, images=photos)
        return {name for name in copies(output) if (output / name).stat().st_ino != before.get(output / name)}

    assert again(scored) == set()
    assert filter_dataset(scored, output, images=photos) == first
    ended = scored["image_path"].str.endswith
    assert again(scored.assign(keep=scored["keep"] ^ ended("dogs/a.jpeg"))) == {"dogs/a.jpeg", "dogs/_b.jpg"}
    fewer = scored.assign(keep=scored["keep"] & ~ended("dogs/_b.jpg"))
    assert again(fewer) == set()
    assert copies(output) == expected(photos, [name for name in KEPT if name != "dogs/_b.jpg"])
    (output / "cats/a.jpg").unlink()
    assert again(fewer) == {"cats/a.jpg"}
    (photos / "b.PNG").write_bytes(b"another")
    assert again(fewer) == {"b.PNG"}
    (photos / "dogs/_b.jpg").unlink()
    (photos / "dogs/a.jpeg").unlink()
    kept = [name for name in KEPT if not name.startswith("dogs")]
    rest = fewer[~fewer["image_path"].str.contains("/dogs/")]
    with pytest.raises(InputError, match="got 1 that are not: dogs"):
        filter_dataset(rest, output, images=photos)
    filter_dataset(rest, output, images=photos, overwrite=True)
    assert copies(output) == expected(photos, kept)
    filter_dataset(rest, tmp_path / "calm", images=photos)
    assert chaos.content(output) == chaos.content(tmp_path / "calm")


def test_files_in_the_way_are_refused_unless_overwritten(photos, scored, tmp_path):
    (tmp_path / "out/cats").mkdir(parents=True)
    (tmp_path / "out/cats/a.jpg").write_bytes(b"mine")
    with pytest.raises(InputError, match=r"expected no cats/a\.jpg in .* that is not of a job"):
        filter_dataset(scored, tmp_path / "out", images=photos)
    assert chaos.content(tmp_path / "out") == {"cats/a.jpg": b"mine"}
    filter_dataset(scored, tmp_path / "out", images=photos, overwrite=True)
    assert copies(tmp_path / "out") == expected(photos)


def test_a_list_that_names_other_files_removes_none_of_them(photos, scored, tmp_path):
    output = tmp_path / "out"
    filter_dataset(scored, output, images=photos)
    hostile = ["../photos/a.jpg", str(photos / "b.PNG"), "_dask_aesthetic/settings.json", "_SUCCESS", None]
    pq.write_table(pa.table({"image_path": hostile}), output / "_scores/dogs.parquet")
    (output / "_scores/cats.parquet").write_bytes(b"damaged")
    filter_dataset(scored, output, images=photos)
    assert copies(output) == expected(photos)
    assert len(chaos.content(photos)) == len(NAMES) + 1
    filter_dataset(scored, tmp_path / "calm", images=photos)
    assert chaos.content(output) == chaos.content(tmp_path / "calm")


@pytest.mark.parametrize("link", [False, True])
def test_a_file_that_changes_on_the_way_stops_no_others(photos, scored, tmp_path, link, monkeypatch):
    plan = plan_filter(scored, tmp_path / "out", images=photos, link=link)
    (photos / "cats/a.jpg").write_bytes(b"another")
    (photos / "b.PNG").unlink()
    monkeypatch.setattr("dask_aesthetic.filter.writing.plan_filter", lambda *_, **__: plan)
    with pytest.raises(JobError, match="2 of 4 shards failed"):
        filter_dataset(scored, tmp_path / "out", images=photos, link=link)
    assert not (tmp_path / "out/_SUCCESS").exists()
    assert sorted(copies(tmp_path / "out")) == ["cats/old/ä b.webp", "dogs/_b.jpg"]


def test_large_folders_are_several_shards_with_the_same_files(tmp_path, monkeypatch):
    monkeypatch.setattr(images, "PER_SHARD", 4)
    (tmp_path / "photos").mkdir()
    paths = [tmp_path / f"photos/{at:02d}.jpg" for at in range(10)]
    for path in paths:
        path.write_bytes(path.name.encode())
    keep = np.arange(10) % 3 > 0
    frame = pd.DataFrame({"image_path": list(map(str, paths)), "aesthetic_score": np.float32(6), "keep": keep})
    done = filter_dataset(frame, tmp_path / "out", images=tmp_path / "photos")
    assert (done.shards, done.kept) == (3, 6)
    assert sorted(copies(tmp_path / "out")) == [path.name for path, kept in zip(paths, keep, strict=True) if kept]
    assert sorted(listed(tmp_path / "out")["image_path"]) == sorted(copies(tmp_path / "out"))


def test_from_and_to_a_store_elsewhere(photos, scored, tmp_path, s3):
    s3.put(photos.parent)
    there = scored.assign(image_path=scored["image_path"].str.replace(str(photos), f"{s3.url}/photos"))
    for _ in range(2):
        done = filter_dataset(there, f"{s3.url}/out", images=f"{s3.url}/photos", storage_options=s3.options)
        assert done.kept == 4
    filter_dataset(there, tmp_path / "out", images=f"{s3.url}/photos", storage_options=s3.options)
    assert copies(tmp_path / "out") == expected(photos)
    for name, data in expected(photos).items():
        assert s3.fs.cat_file(f"{s3.url}/out/{name}") == data
    with pytest.raises(ArgumentError, match="with local folders, got s3://"):
        filter_dataset(there, tmp_path / "x", images=f"{s3.url}/photos", storage_options=s3.options, link=True)


# The command


def test_the_command_copies_what_a_job_has_scored(tmp_path):
    pytest.importorskip("open_clip", reason="needs open_clip: pip install 'dask-aesthetic[embed]'")
    photos = tmp_path / "photos"
    for at in range(6):
        path = photos / f"{at % 2}/{at}.jpg"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(image_files.image(at) if at else b"none")
    options = image_files.scoring(image_files.small_model(tmp_path / "model"))
    score_dataset(photos, tmp_path / "first", embed=True, threshold=None, **options)
    cut = float(read_scores(tmp_path / "first").compute()["aesthetic_score"].median())
    score_dataset(photos, tmp_path / "scores", embed=True, threshold=cut, **options)
    scored = read_scores(tmp_path / "scores").compute()
    kept = scored.loc[scored["keep"], "image_path"].str.removeprefix(f"{photos}/").tolist()
    assert 0 < len(kept) < 6
    arguments = ["filter", tmp_path / "scores", tmp_path / "out", "--images", photos]
    lines = commands.printed(*arguments, "--dry-run").splitlines()
    assert lines[-1] == f"{len(kept)} of 6 images kept in 2 shards; to write: 2 shards"
    assert not (tmp_path / "out").exists()
    result = json.loads(commands.printed(*arguments, "--json"))
    assert (result["kept"], result["samples"], result["shards"]) == (len(kept), 6, 2)
    assert copies(tmp_path / "out") == expected(photos, sorted(kept))
    assert f"{len(kept)} files" in commands.printed(*arguments)
    manifest = json.loads((tmp_path / "out/_SUCCESS").read_text())
    assert (manifest["kept"], manifest["settings"]["link"]) == (len(kept), False)
    lower = float(scored["aesthetic_score"].min())
    commands.printed(*arguments[:2], tmp_path / "all", "--images", photos, "--threshold", lower, "--link", "--quiet")
    assert len(copies(tmp_path / "all")) == scored["aesthetic_score"].notna().sum() == 5
    for wrong in ([], ["--images", photos, "--tars", photos], ["--tars", photos, "--link"]):
        ended = commands.run(*arguments[:2], tmp_path / "x", *wrong)
        assert ended.status == 2
        assert "--images" in ended.err
    assert not (tmp_path / "x").exists()
