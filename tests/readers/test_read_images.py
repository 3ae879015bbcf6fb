"""Image files as frames: the rows, statuses and bits of a job over the same folder."""

from __future__ import annotations

import os
from functools import partial
from pathlib import Path

import fsspec
import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest

pytest.importorskip("open_clip", reason="needs open_clip: pip install 'dask-aesthetic[embed]'")

from dask_aesthetic import ArgumentError, InputError, filter_dataset, read_images, score_dataset
from dask_aesthetic.errors import AestheticWarning
from dask_aesthetic.predictors import AffinePredictor, PredictorInfo
from helpers import image_files
from helpers.laziness import no_compute

FILES = {
    "b.png": image_files.image(0, "PNG"),
    "a.JPG": image_files.image(1),
    "_under.jpg": image_files.image(7),
    "cats/1 & 100%.jpg": image_files.image(2),
    "cats/line\nbreak.jpeg": image_files.image(3),
    "cats/empty.jpeg": b"",
    "cats/page.webp": b"<html>",
    "cats/deep/cut.jpg": image_files.truncate(image_files.image(4), 50),
    "cats/deep/5.gif": image_files.image(5),
    "cats/[1].jpg": image_files.image(8),
    ".hidden/6.jpg": image_files.image(6),
}


@pytest.fixture(scope="module")
def scoring(tmp_path_factory) -> dict:
    return image_files.scoring(image_files.small_model(tmp_path_factory.mktemp("model")))


@pytest.fixture
def embed(scoring):
    """Arguments of ``.aesthetic.embed``."""
    return {name: scoring[name] for name in ("model", "pretrained")}


@pytest.fixture
def folder(tmp_path) -> Path:
    for name, data in FILES.items():
        (tmp_path / "in" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "in" / name).write_bytes(data)
    return tmp_path / "in"


def by_job(source, output: Path, scoring: dict, **more) -> pd.DataFrame:
    score_dataset(source, output, embed=True, threshold=None, **scoring, **more)
    files = sorted(output.rglob("*.parquet"))
    tables = [pq.read_table(file).to_pandas() for file in files if "_failed" not in str(file)]
    return pd.concat(tables).set_index("image_path")


def by_frame(source, scoring: dict, **more) -> pd.DataFrame:
    options = {name: scoring[name] for name in ("model", "pretrained")}
    frame = read_images(source, **more).aesthetic.embed(**options)
    return frame.aesthetic.score(predictor=scoring["predictor"], threshold=None).compute()


@pytest.mark.parametrize("rows", [3, 1024])
def test_rows_statuses_and_bits_are_those_of_a_job(folder, scoring, tmp_path, rows):
    if hasattr(os, "mkfifo"):
        os.mkfifo(folder / "pipe.jpg")
        Path(os.fsdecode(os.fsencode(folder) + b"/cats/d\xff.jpg")).write_bytes(image_files.image(9))
        Path(os.fsdecode(os.fsencode(folder) + b"/cats/e\xff.jpg")).write_bytes(b"")
    (folder / "link.jpg").symlink_to(folder / "cats/deep/5.gif")
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere/9.jpg").write_bytes(image_files.image(10))
    (folder / "linked").symlink_to(tmp_path / "elsewhere")
    with pytest.warns(AestheticWarning, match="read twice: 1 file"):
        got = by_frame(folder, scoring, rows_per_partition=rows)
    job = by_job(folder, tmp_path / "out", scoring)
    paths = [f"{folder}/{name}" for name in got["image_path"]]
    assert sorted(paths) == sorted(job.index)
    job = job.loc[paths]
    assert got["aesthetic_score"].to_numpy().tobytes() == job["aesthetic_score"].to_numpy().tobytes()
    assert got["image_status"].tolist() == job["status"].tolist()
    assert got["aesthetic_score"].notna().tolist() == [status == "ok" for status in got["image_status"]]
    failed = got.loc[got["image_status"] != "ok"].set_index("image_path")["image_status"].to_dict()
    expected = {"cats/empty.jpeg": "undecodable", "cats/page.webp": "undecodable", "cats/deep/cut.jpg": "undecodable"}
    if hasattr(os, "mkfifo"):
        expected |= {"pipe.jpg": "unreadable", "cats/e\\xff.jpg": "undecodable"}
        assert "cats/d\\xff.jpg" in set(got["image_path"])
    assert failed == expected
    assert {"linked/9.jpg", "link.jpg", "cats/line\nbreak.jpeg", "_under.jpg"} <= set(got["image_path"])


def test_one_pass_gives_the_same_bits(folder, scoring):
    expected = by_frame(folder, scoring)["aesthetic_score"]
    got = read_images(folder).aesthetic.embed_and_score(**scoring, threshold=None).compute()["aesthetic_score"]
    assert got.to_numpy().tobytes() == expected.to_numpy().tobytes()


@pytest.mark.parametrize(("rows", "sizes"), [(1, [1] * 10), (4, [3, 3, 4]), (10, [10]), (99, [10])])
def test_partitions_have_at_most_the_stated_number_of_images(folder, rows, sizes):
    with no_compute():
        frame = read_images(folder, rows_per_partition=rows)
    assert frame.map_partitions(len).compute().tolist() == sizes
    whole = frame.compute()
    assert whole.index.tolist() == list(range(10))
    assert frame.divisions[-1] == 9
    assert whole["image"].tolist() == [{"bytes": None, "path": f"{folder}/{name}"} for name in whole["image_path"]]
    assert frame["image_path"].compute().tolist() == whole["image_path"].tolist()


def test_no_file_is_opened_before_it_is_embedded(folder, embed):
    frame = read_images(folder)
    (folder / "a.JPG").unlink()
    (folder / "b.png").write_bytes(b"not an image any more")
    status = frame.aesthetic.embed(**embed).compute().set_index("image_path")["image_status"]
    assert (status["a.JPG"], status["b.png"], status["_under.jpg"]) == ("unreadable", "undecodable", "ok")


def test_urls_and_their_options(scoring, tmp_path):
    store = fsspec.filesystem("memory")
    for name, data in FILES.items():
        store.pipe(f"/read/{name}", data)
    options = {"storage_options": {"skip_instance_cache": False}}
    try:
        frame = read_images("memory://read", **options).aesthetic.embed_and_score(**scoring, threshold=None, **options)
        got = frame.compute()
        job = by_job("memory://read", tmp_path / "out", scoring, **options)
    finally:
        store.rm("/read", recursive=True)
    job = job.loc[[f"memory://read/{name}" for name in got["image_path"]]]
    assert len(got) == len(job) == 10
    assert got["aesthetic_score"].to_numpy().tobytes() == job["aesthetic_score"].to_numpy().tobytes()


def test_a_list_a_glob_and_a_file_that_is_named(folder):
    (folder / "photo").write_bytes(image_files.image(0))
    assert read_images([folder / "photo", folder / "b.png"])["image_path"].compute().tolist() == ["b.png", "photo"]
    assert read_images(folder / "cats/*.jpg")["image_path"].compute().tolist() == ["1 & 100%.jpg", "[1].jpg"]
    assert read_images(folder / "cats/[1].jpg")["image_path"].compute().tolist() == ["[1].jpg"]
    (folder / "dogs").mkdir()
    (folder / "dogs/[1].jpg").write_bytes(image_files.image(0))
    with pytest.raises(InputError, match=r"of different names, got .*cats/\[1\].jpg and .*dogs/\[1\].jpg, both \[1\]"):
        read_images([folder / "cats", folder / "dogs"])


def test_what_is_not_read_is_named_or_refused(folder, tmp_path):
    (folder / "notes.md").write_text("a cat")
    with pytest.warns(AestheticWarning, match=r"not read: 1 file \('notes.md'\)"):
        assert len(read_images(folder)) == 10
    (tmp_path / "empty").mkdir()
    for source, match in (
        (tmp_path / "empty", r"expected image files \(.*\.jpg.*\) in .*, got none"),
        (tmp_path / "nowhere", "which does not exist"),
        (folder / "*.tif", r"got none|does not exist"),
    ):
        with pytest.raises(InputError, match=match):
            read_images(source)
    with pytest.raises(ArgumentError, match="rows_per_partition to be a whole number of rows, 1 or more, got 0"):
        read_images(folder, rows_per_partition=0)


def test_names_are_those_that_filter_takes(folder, scoring, tmp_path):
    score = partial(read_images(folder).aesthetic.embed_and_score, **scoring, threshold=3.3)
    scored = score()
    filter_dataset(scored, tmp_path / "kept", images=folder)
    rows = scored.compute()
    assert 0 < rows["keep"].sum() < len(rows)
    written = [path.relative_to(tmp_path / "kept") for path in (tmp_path / "kept").rglob("*") if path.is_file()]
    own = {"_scores", "_dask_aesthetic", "_SUCCESS"}
    kept = set(rows.loc[rows["keep"], "image_path"])
    assert {path.as_posix() for path in written if path.parts[0] not in own} == kept


def test_several_predictors(folder, scoring):
    ones = AffinePredictor(np.ones(image_files.WIDTH), 2.0, PredictorInfo(name="ones", width=image_files.WIDTH))
    options = {**scoring, "predictor": {"first": scoring["predictor"], "second": ones}, "threshold": None}
    got = read_images(folder).aesthetic.embed_and_score(**options).compute()
    assert got["first"].to_numpy().tobytes() == by_frame(folder, scoring)["aesthetic_score"].to_numpy().tobytes()
    assert got["second"].notna().sum() == 7
