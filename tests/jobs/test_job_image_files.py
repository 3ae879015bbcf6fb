"""Durable jobs over image files and folders."""

from __future__ import annotations

import io
import os
from functools import partial
from pathlib import Path

import dask.dataframe as dd
import fsspec
import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from helpers import chaos

pytest.importorskip("open_clip", reason="needs open_clip: pip install 'dask-aesthetic[embed]'")

from dask_aesthetic import InputError, score_dataset
from dask_aesthetic.io.image_shards import find_image_shards
from dask_aesthetic.jobs import plan_dataset
from helpers import image_files

# Of what the folder holds besides, nothing is a image.
FILES = {
    "b.png": image_files.image(0),
    "a.JPG": image_files.image(1),
    "cats/1.jpg": image_files.image(2),
    "cats/2.jpeg": b"",
    "cats/3.webp": b"<html>",
    "cats/deep/4.jpg": image_files.truncate(image_files.image(4), 50),
    "cats/deep/5.gif": image_files.image(5),
    "cats/1.txt": b"a cat",
    "cats/1.json": b"{}",
    ".hidden/6.jpg": image_files.image(6),
}
ORDER = ["cats/1.jpg", "cats/2.jpeg", "cats/3.webp", "cats/deep/4.jpg", "cats/deep/5.gif", "a.JPG", "b.png"]
BAD = {"cats/2.jpeg", "cats/3.webp", "cats/deep/4.jpg"}


@pytest.fixture(scope="module")
def options(tmp_path_factory) -> dict:
    return {**image_files.scoring(image_files.small_model(tmp_path_factory.mktemp("model"))), "threshold": 3.3}


@pytest.fixture
def score(options):
    return partial(score_dataset, embed=True, **options)


@pytest.fixture
def folder(tmp_path) -> Path:
    for name, data in FILES.items():
        (tmp_path / "in" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "in" / name).write_bytes(data)
    return tmp_path / "in"


def written(output: Path) -> pd.DataFrame:
    """All shards in the order of their names."""
    return pa.concat_tables(
        [pq.read_table(path) for path in sorted(output.rglob("*.parquet")) if path.is_file()]
    ).to_pandas()


@pytest.mark.parametrize("name", ["a.jpg", "a.tar"])
def test_an_image_or_tar_that_two_paths_hold_is_refused(tmp_path, name):
    (tmp_path / "b").mkdir()
    (tmp_path / "b" / name).write_bytes(b"x")
    with pytest.raises(InputError, match=r"expected each file once, got .* twice"):
        find_image_shards([tmp_path, tmp_path / "b"])


def test_every_image_is_a_row_and_every_folder_a_shard(folder, score, options, tmp_path):
    summary = score(folder, tmp_path / "out")
    assert (summary.rows, summary.scored, summary.failed) == (7, 4, {"undecodable": 3})
    assert sorted(chaos.committed(tmp_path / "out")) == ["cats", "cats/deep", "images"]
    tables = [pq.read_table(tmp_path / f"out/{name}.parquet") for name in ("cats", "cats/deep", "images")]
    got = pa.concat_tables(tables).to_pandas()
    assert got["image_path"].tolist() == [str(folder / name) for name in ORDER]
    assert got["status"].tolist() == ["undecodable" if name in BAD else "ok" for name in ORDER]
    frame = pd.DataFrame({"image": [str(folder / name) for name in ORDER]})
    expected = frame.aesthetic.embed_and_score(**options)["aesthetic_score"].to_numpy()
    assert np.nanmax(np.abs(got["aesthetic_score"].to_numpy() - expected)) < 1e-5
    assert np.isnan(got["aesthetic_score"]).tolist() == np.isnan(expected).tolist()


def test_large_folders_are_split_and_only_changed_shards_are_scored_again(folder, score, tmp_path):
    score = partial(score, folder, tmp_path / "out", rows_per_shard=2, allow_unusable=True)
    assert score().rows == 7
    before = chaos.committed(tmp_path / "out")
    assert sorted(before) == ["cats.00000-of-00002", "cats.00001-of-00002", "cats/deep", "images"]
    os.utime(folder / "b.png", (1, 1))  # The same content.
    (folder / "cats/3.webp").write_bytes(image_files.image(3))
    assert score().failed == {"undecodable": 2}
    after = chaos.committed(tmp_path / "out")
    assert [shard for shard in after if after[shard] != before[shard]] == ["cats.00001-of-00002"]


def test_what_can_no_longer_be_read_is_a_row(folder, options, tmp_path):
    plan = plan_dataset(folder, tmp_path / "out", embed=True, **options)
    (shard,) = (shard for shard in plan.shards if shard.name == "images")
    (folder / "a.JPG").unlink()
    marker = plan.work(shard)
    assert (marker.rows, marker.failed) == (2, {"unreadable": 1})


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="needs pipes, and names of any bytes")
def test_pipes_and_names_that_are_no_text_stop_nothing(folder, score, tmp_path):
    os.mkfifo(folder / "c.jpg")
    Path(os.fsdecode(os.fsencode(folder) + b"/d\xff.jpg")).write_bytes(image_files.image(7))
    assert score(folder, tmp_path / "out").failed == {"undecodable": 3, "unreadable": 1}
    rows = written(tmp_path / "out").set_index("image_path")["status"]
    assert rows[str(folder / "c.jpg")] == "unreadable"
    assert rows[f"{folder}/d\\xff.jpg"] == "ok"


def test_urls_are_read_through_fsspec(score, tmp_path):
    store = fsspec.filesystem("memory")
    for name, data in FILES.items():
        store.pipe(f"/loose/{name}", data)
    try:
        assert score("memory://loose", tmp_path / "out").failed == {"undecodable": 3}
        paths = written(tmp_path / "out")["image_path"]
        assert sorted(paths) == sorted(f"memory://loose/{name}" for name in ORDER)
    finally:
        store.rm("/loose", recursive=True)


def test_a_folder_of_parquet_and_image_files_needs_a_format(folder, score, tmp_path):
    table = pa.table({"key": ["a"], "image": [image_files.image(0)]})
    pq.write_table(table, folder / "more.parquet")
    with pytest.raises(InputError, match=r"expected \.parquet files or image files in .*, got both: say format="):
        score(folder, tmp_path / "out")
    assert score(folder, tmp_path / "tables", format="parquet").rows == 1
    assert score(folder, tmp_path / "files", format="images").rows == 7


def test_a_source_without_images_is_refused(score, tmp_path):
    (tmp_path / "in").mkdir()
    (tmp_path / "in/a.txt").write_text("a cat")
    with pytest.raises(InputError, match=r"expected image files \(\.apng, .*\.jpg, .*\) in .*, got none"):
        score(tmp_path / "in", tmp_path / "out", format="images")
    with pytest.raises(InputError, match=r"expected tars .*, \.parquet files or image files in "):
        score(tmp_path / "in", tmp_path / "out")


def test_an_underscore_hides_no_image_and_every_suffix_of_pillows_is_taken_in_any_case(score, tmp_path, caplog):
    jpeg = image_files.image(0)
    taken = ["IMG_1.jpg", "_DSC0001.JPG", "_MG_0002.jpg", "b.jfif", "c.JPE", "_edited/d.jpg", "e.Png", "f.mpo"]
    others = ["._IMG_1.jpg", ".thumbs/a.jpg", "g.heic", "notes.txt", "_albums/list.json", "Thumbs.db", "h.mov"]
    for name in [*taken, *others]:
        (tmp_path / "in" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "in" / name).write_bytes(jpeg)
    for source in ("in", "in/"):
        plan = plan_dataset(tmp_path / source, tmp_path / "out", embed=True, threshold=5.0)
        assert plan.rows == len(taken)
    with caplog.at_level("WARNING", "dask_aesthetic"):
        assert score(tmp_path / "in", tmp_path / "out").scored == len(taken)
    assert "not read: 5 files ('Thumbs.db', '_albums/list.json', 'g.heic' and 2 more)" in caplog.text
    # An output whose name begins with an underscore is one that readers of folders leave out.
    for rows in (pq.read_table(tmp_path / "out").to_pandas(), dd.read_parquet(tmp_path / "out").compute()):
        assert sorted(rows["image_path"]) == sorted(str(tmp_path / "in" / name) for name in taken)
    assert (tmp_path / "out/%5Fedited.parquet").exists()
    assert score(tmp_path / "in", tmp_path / "out").files == 2  # Done already.


def test_a_glob_takes_what_it_matches(score, tmp_path):
    for name in ("_DSC1.jpg", "a.heic", ".b.jpg"):
        (tmp_path / "in").mkdir(exist_ok=True)
        (tmp_path / "in" / name).write_bytes(image_files.image(0))
    assert score(tmp_path / "in/*", tmp_path / "out").scored == 2


def test_formats_of_photographers_are_decoded(tmp_path, score):
    from PIL import Image

    (tmp_path / "in").mkdir()
    image = Image.open(io.BytesIO(image_files.image(0))).convert("RGB")
    for name in ("a.jp2", "b.ppm", "c.tif", "d.bmp"):
        image.save(tmp_path / "in" / name)
    score(tmp_path / "in", tmp_path / "out")
    rows = written(tmp_path / "out")
    assert rows["status"].tolist() == ["ok"] * 4
    lossless = rows["aesthetic_score"][1:]
    assert lossless.max() - lossless.min() < 1e-5
