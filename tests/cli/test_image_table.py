"""``dask-aesthetic score a.jpg b.jpg --embed``: the table, its file, its exit status, and what is refused."""

from __future__ import annotations

import json
import os
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest

pytest.importorskip("open_clip", reason="needs open_clip: pip install 'dask-aesthetic[embed]'")

from dask_aesthetic import PredictorInfo, read_scores, score_dataset
from dask_aesthetic.cli.image_table import MOST
from dask_aesthetic.predictors import AffinePredictor
from helpers import commands, image_files

UNUSABLE = {"cut.jpg": "undecodable", "notes.txt": "undecodable"}


@pytest.fixture(scope="module")
def scoring(tmp_path_factory) -> dict:
    return image_files.scoring(image_files.small_model(tmp_path_factory.mktemp("model")))


@pytest.fixture
def asked(scoring) -> list:
    """Options that embed with the small model."""
    return ["--embed", *(part for name, value in scoring.items() for part in (f"--{name}", value))]


@pytest.fixture
def images(tmp_path, monkeypatch) -> list[str]:
    """Four images, half a one and a text in the working folder, by name."""
    for at, name in enumerate(("d.jpg", "b.jpg", "more/c.jpg", "a.png")):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(image_files.image(at))
    (tmp_path / "cut.jpg").write_bytes(image_files.truncate(image_files.image(3), 50))
    (tmp_path / "notes.txt").write_text("a cat")
    monkeypatch.chdir(tmp_path)
    return ["a.png", "b.jpg", "more/c.jpg", "d.jpg", "cut.jpg", "notes.txt"]


def by_job(images: list[str], output: Path, scoring: dict, **more) -> pd.DataFrame:
    """Rows of a job over the same files, by name."""
    score_dataset(images, output, embed=True, threshold=None, **scoring, **more)
    rows = pd.concat(pq.read_table(file).to_pandas() for file in sorted(output.glob("*.parquet")) if file.is_file())
    return rows.set_index(rows["image_path"].str.removeprefix(f"{Path.cwd()}/"))


def lines(printed: str) -> list[list[str]]:
    return [line.split(maxsplit=2) for line in printed.splitlines()]


def test_the_table_is_best_first_with_unusable_images_last(images, asked, scoring, tmp_path):
    header, *rows = lines(commands.printed("score", *images, *asked))
    assert header == ["aesthetic_score", "status", "image_path"]
    job = by_job(images, tmp_path / "out", scoring).sort_values("aesthetic_score", ascending=False)
    usable = job[job["status"] == "ok"]
    assert len(usable) == 4
    assert rows[:4] == [[f"{row.aesthetic_score:.4f}", "ok", name] for name, row in usable.iterrows()]
    assert rows[4:] == [["-", status, name] for name, status in UNUSABLE.items()]


@pytest.mark.parametrize("suffix", ["csv", "parquet", "json", "CSV"])
def test_a_file_has_the_bits_of_a_job(images, asked, scoring, tmp_path, suffix):
    printed = commands.printed("score", *images, *asked, "--output", f"scores.{suffix}")
    assert printed == f"{tmp_path}/scores.{suffix}: 6 images, 4 with a score\n"
    read = {"csv": pd.read_csv, "parquet": pd.read_parquet, "json": pd.read_json}[suffix.lower()]
    got = read(f"scores.{suffix}").set_index("image_path")
    assert list(got.columns) == ["aesthetic_score", "status"]
    job = by_job(images, tmp_path / "out", scoring).loc[got.index]
    scores = got["aesthetic_score"].to_numpy().astype(np.float32)
    assert scores.tobytes() == job["aesthetic_score"].to_numpy().tobytes()
    assert got["status"].tolist() == job["status"].tolist()
    assert (np.diff(scores[:4]) <= 0).all()
    assert np.isnan(scores[4:]).all()
    assert not [name for name in os.listdir() if name.startswith(".")]
    before = (tmp_path / f"scores.{suffix}").read_bytes()
    assert "--overwrite" in commands.run("score", images[0], *asked, "--output", f"scores.{suffix}").err
    assert (tmp_path / f"scores.{suffix}").read_bytes() == before
    commands.printed("score", images[0], *asked, "--output", f"scores.{suffix}", "--overwrite")
    assert (tmp_path / f"scores.{suffix}").read_bytes() != before


def test_a_parquet_file_says_where_its_scores_come_from(images, asked, scoring, tmp_path):
    commands.printed("score", *images, *asked, "--output", "more/scores.parquet")
    score_dataset(images, tmp_path / "out", embed=True, threshold=None, **scoring)
    written, job = (read_scores(path)._meta.attrs for path in ("more/scores.parquet", tmp_path / "out"))
    assert written == job != {}


def test_json_on_the_terminal(images, asked):
    found = json.loads(commands.printed("score", *images, *asked, "--json"))
    assert (found["rows"], found["scored"], found["failed"]) == (6, 4, {"undecodable": 2})
    assert found["images"][-1] == {"image_path": "notes.txt", "aesthetic_score": None, "status": "undecodable"}


def test_several_predictors_give_several_columns_and_the_first_one_ranks(images, asked, scoring, tmp_path):
    info = PredictorInfo(name="ones", width=image_files.WIDTH, higher_is_better=False)
    AffinePredictor(np.ones(image_files.WIDTH), 2.0, info).save(tmp_path / "ones.safetensors")
    head = asked.index("--predictor")
    several = ["--predictor", f"ones={tmp_path}/ones.safetensors", "--predictor", f"score={asked[head + 1]}"]
    found = json.loads(commands.printed("score", *images, *asked[:head], *asked[head + 2 :], *several, "--json"))
    rows = pd.DataFrame(found["images"]).set_index("image_path")
    assert list(rows.columns) == ["ones", "score", "status"]
    assert rows["ones"][:4].is_monotonic_increasing  # The lower, the better.
    alone = json.loads(commands.printed("score", *images, *asked, "--json"))["images"]
    assert rows["score"].dropna().to_dict() == {row["image_path"]: row["aesthetic_score"] for row in alone[:4]}


def test_a_threshold_adds_what_is_kept(images, asked):
    header, *rows = lines(commands.printed("score", *images, *asked, "--threshold", "3.27"))
    assert header[:3] == ["aesthetic_score", "keep", "status       image_path"]
    kept = [row[1] for row in rows]
    assert kept == ["yes" if row[0] != "-" and float(row[0]) >= 3.27 else "no" for row in rows]
    assert len(set(kept)) == 2


@pytest.mark.parametrize(
    ("names", "options", "status", "message"),
    [
        (["cut.jpg", "notes.txt"], [], 1, "Error: expected usable images, got none in 2 (2 undecodable)"),
        (["cut.jpg", "notes.txt"], ["--allow-unusable"], 0, ""),
        (["cut.jpg", "b.jpg"], [], 0, ""),
        (["cut.jpg", "b.jpg"], ["--max-failed", "1"], 0, ""),
        (
            ["cut.jpg", "b.jpg"],
            ["--max-failed", "0"],
            1,
            "expected at most 0 images without a score, got 1 of 2",
        ),
        (["cut.jpg", "b.jpg", "a.png"], ["--max-failed", "30%"], 1, "at most 0 images without a score, got 1 of 3"),
    ],
)
def test_the_exit_status_is_that_of_a_job_and_the_table_is_there(images, asked, names, options, status, message):
    ended = commands.run("score", *names, *asked, *options)
    assert ended.status == status
    assert message in ended.err
    assert len(ended.out.splitlines()) == 1 + len(names)


def test_folders_globs_and_files_together(images, asked, tmp_path):
    (tmp_path / "more/list.tar").write_bytes(b"")
    ended = commands.run("score", "more", "*.png", "d.jpg", *asked)
    assert ended.status == 0
    assert sorted(row[2] for row in lines(ended.out)[1:]) == ["a.png", "d.jpg", "more/c.jpg"]
    assert "caution: not read: 1 file ('list.tar')" in ended.err
    assert [row[2] for row in lines(commands.printed("score", "more", *asked))[1:]] == ["more/c.jpg"]
    outside = commands.printed("score", tmp_path / "a.png", "/" + os.path.relpath(tmp_path / "d.jpg", "/"), *asked)
    assert {row[2] for row in lines(outside)[1:]} == {"a.png", "d.jpg"}


def test_paths_outside_of_the_working_folder_are_whole(images, asked, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path / "more")
    rows = lines(commands.printed("score", "../a.png", "c.jpg", *asked))[1:]
    assert {row[2] for row in rows} == {f"{tmp_path}/a.png", "c.jpg"}


def test_control_characters_do_not_reach_the_terminal(images, asked, tmp_path):
    name = "x\x1b]0;title\x07\x1b[2J\r\n\u202egpj.jpg"
    (tmp_path / name).write_bytes(image_files.image(1))
    latin = os.fsdecode(b"caf\xe9.jpg")
    (tmp_path / latin).write_bytes(image_files.image(2))
    ended = commands.run("score", name, latin, *asked)
    assert r"x\x1b]0;title\x07\x1b[2J\r\n\u202egpj.jpg" in ended.out
    assert r"caf\xe9.jpg" in ended.out
    assert len(ended.out.splitlines()) == 3
    commands.printed("score", name, latin, *asked, "--output", "scores.csv")
    assert set(pd.read_csv("scores.csv")["image_path"]) == {name, r"caf\xe9.jpg"}
    for refused in ([name, name], [f"absent{name}", name]):
        ended = commands.run("score", *refused, *asked)
        assert ended.status == 2
        assert "\x1b" not in ended.err + ended.out


REFUSED = [
    (["nowhere.jpg", "a.png"], [], "got 'nowhere.jpg', which does not exist"),
    (["a.png", "nowhere.jpg"], [], "got 'nowhere.jpg', which does not exist"),
    (["a.png", "a.png"], [], "expected each file once, got"),
    (["a.png", "x.tar"], [], "/x.tar: dask-aesthetic score INPUT OUTPUT --embed scores a folder of any size"),
    (["empty"], [], "expected image files in 'empty', got none: dask-aesthetic score INPUT OUTPUT --embed"),
    (["a.png", "b.jpg"], ["--threads", "2"], "expected --threads with INPUT and OUTPUT, got it with images alone"),
    (["a.png", "b.jpg"], ["--columns", "all"], "expected --columns with INPUT and OUTPUT"),
    (["a.png", "b.jpg"], ["--output", "scores.txt"], "a suffix of .csv, .parquet, .json, got 'scores.txt'"),
    (["a.png", "b.jpg"], ["--output", "a.png/scores.csv"], "expected a folder to write to, got the file"),
    (["a.png", "t.csv"], ["--output", "t.csv"], "expected an output file apart from the images, got t.csv"),
    (["a.png"], ["--score-column", "status"], "--score-column 'status'"),
    (["a.png"], ["--score-column", "image_path"], "--score-column 'image_path' to be a new column"),
    (["a.png"], ["--model", "no-such-model"], "no-such-model"),
]


@pytest.mark.parametrize(("names", "options", "message"), REFUSED)
def test_what_cannot_be_is_refused_in_one_line(images, asked, tmp_path, names, options, message):
    (tmp_path / "empty").mkdir()
    (tmp_path / "t.csv").write_text("a,b")
    (tmp_path / "x.tar").write_bytes(b"")
    before = sorted(os.listdir())
    ended = commands.run("score", *names, *asked, *options)
    assert (ended.status, ended.out) == (2, "")
    assert message in ended.err.strip().splitlines()[-1]
    assert sorted(os.listdir()) == before


def test_thousands_of_files_are_a_job(asked, tmp_path):
    for at in range(MOST + 1):
        (tmp_path / f"{at}.jpg").touch()
    ended = commands.run("score", tmp_path, *asked)
    assert ended.status == 2
    assert "expected at most 1,000 image files for a table, got 1,001: dask-aesthetic score INPUT OUTPUT" in ended.err


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["in"], "expected INPUT and one OUTPUT, a folder to write to, got none: as in dask-aesthetic score INPUT"),
        (["in", "out", "more"], "got 2 of them"),
        (["a.jpg", "b.jpg"], "a folder to write to, got b.jpg: image files need --embed, and then no OUTPUT"),
        (["a.png"], "got none: image files need --embed, and then no OUTPUT"),
        (["in", "--output", "scores.csv"], "expected --embed and image files with --output, got --output scores.csv"),
    ],
)
def test_paths_of_a_job(arguments, message):
    ended = commands.run("score", *arguments)
    assert (ended.status, ended.out) == (2, "")
    assert message in ended.err


def test_an_image_and_a_folder_to_write_to_are_a_job(images, asked, tmp_path):
    (tmp_path / "there").mkdir()
    for output in ("out", "there"):
        assert "shards" in commands.printed("score", "a.png", output, *asked, "--no-threshold")
        assert pq.read_table(f"{output}/images.parquet")["image_path"].to_pylist() == [f"{tmp_path}/a.png"]
