"""Filters by another score than the first: the direction and scale of a similarity, and of a probability."""

from __future__ import annotations

import json
import shutil

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from dask_aesthetic import ColumnError, InputError, filter_dataset, read_scores, score_dataset, select_dataset
from helpers import pairs, tar_files
from helpers.commands import printed, run
from helpers.several import unsafe

ROWS = 60
NAMES = {"scores": read_scores, "folder": lambda path: path}


@pytest.fixture(scope="module")
def tars(tmp_path_factory):
    return tar_files.write(tmp_path_factory.mktemp("tars") / "a.tar", *tar_files.samples(ROWS)).parent


@pytest.fixture(scope="module")
def scores(tmp_path_factory):
    """Scores of a predictor whose lower ones are better, of another one, and similarities; on the scale "unit"."""
    folder = tmp_path_factory.mktemp("jobs")
    table = pairs.table(*pairs.sides(ROWS)).set_column(0, "key", pa.array([f"{at:05d}" for at in range(ROWS)]))
    pq.write_table(table, folder / "a.parquet")
    predictors = {"unsafe": unsafe(), "aesthetic_score": "laion-v2"}
    for name, chosen in {"out": predictors, "reversed": dict(reversed(predictors.items()))}.items():
        score_dataset(folder / "a.parquet", folder / name, text_column="text_embedding", predictor=chosen, scale="unit")
    return folder


def kept(folder) -> list[str]:
    return pq.read_table(folder / "a.parquet").column("key").to_pylist()


def expected(scores, column: str, bound: float, low: bool = False, folder: str = "out") -> list[str]:
    frame = pq.read_table(scores / folder / "a.parquet").to_pandas()
    found = frame[column] <= np.float32(bound) if low else frame[column] >= np.float32(bound)
    assert 0 < found.sum() < ROWS
    return frame["key"][found].tolist()


@pytest.mark.parametrize("job", ["out", "reversed"])
def test_high_similarities_are_kept_whatever_the_first_score_is(scores, tars, tmp_path, job):
    wanted = expected(scores, "similarity", 0.28)
    by = ("--score-column", "similarity", "--threshold", "0.28")
    ended = printed("filter", scores / job, tmp_path / "a", "--tars", tars, *by, "--json")
    assert json.loads(ended)["kept"] == len(wanted)
    assert kept(tmp_path / "a") == wanted
    for name, read in NAMES.items():
        filter_dataset(read(scores / job), tmp_path / name, tars=tars, score_column="similarity", threshold=0.28)
        assert kept(tmp_path / name) == wanted
    settings = json.loads((tmp_path / "a/_SUCCESS").read_text())["settings"]
    assert settings["kept"] == "raw similarity >= 0.28"


@pytest.mark.parametrize("job", ["out", "reversed"])
def test_low_probabilities_are_kept_on_their_own_scale(scores, tars, tmp_path, job):
    wanted = expected(scores, "unsafe", 0.5, low=True)
    printed("filter", scores / job, tmp_path / "a", "--tars", tars, "--score-column", "unsafe", "--threshold", "0.5")
    assert kept(tmp_path / "a") == wanted
    filter_dataset(read_scores(scores / job), tmp_path / "b", tars=tars, score_column="unsafe", threshold=0.5)
    assert kept(tmp_path / "b") == wanted


@pytest.mark.parametrize(
    ("threshold", "message"),
    [("2", "expected a similarity from -1 to 1 as threshold, got 2"), ("high", "are on a scale of their own")],
)
def test_thresholds_that_no_similarity_has_are_refused(scores, tars, tmp_path, threshold, message):
    by = ("--score-column", "similarity", "--threshold", threshold)
    for command in (("filter", scores / "out", tmp_path / "out", "--tars", tars, *by), ("report", scores / "out", *by)):
        ended = run(*command)
        assert (ended.status, message in ended.err) == (2, True), ended
    assert list(tmp_path.iterdir()) == []


def test_a_column_that_is_no_score_of_the_run_has_none_of_its_scale_and_direction(scores, tars, tmp_path):
    table = pq.read_table(scores / "out/a.parquet")
    (tmp_path / "in").mkdir()
    rating = pa.array(np.linspace(1, 9, ROWS, dtype=np.float32))
    pq.write_table(table.add_column(1, "rating", rating), tmp_path / "in/a.parquet")
    printed("filter", tmp_path / "in", tmp_path / "a", "--tars", tars, "--score-column", "rating", "--threshold", "5")
    assert kept(tmp_path / "a") == [f"{at:05d}" for at in range(ROWS) if rating[at].as_py() >= 5]


def test_a_calibrated_similarity_bounds_similarities_alone(scores, tmp_path):
    frame = read_scores(scores / "reversed")
    found = frame.aesthetic.calibrate("similarity", keep_fraction=0.3)
    assert (found.scale, found.predictor) == ("raw", "similarity")
    summary = select_dataset(scores / "reversed", tmp_path / "best", keep=[("similarity", ">=", found)])
    assert summary.kept == ROWS * 0.3
    with pytest.raises(ValueError, match="got one that was chosen by scores of similarity"):
        frame.aesthetic.distribution().rate(found)
    assert frame.aesthetic.distribution("similarity").predictor_scale == "cosine similarity"


@pytest.mark.parametrize("overwrite", [False, True])
def test_scores_are_no_output(scores, tars, tmp_path, overwrite):
    for name in ("out", "more/out"):
        shutil.copytree(scores / "out", tmp_path / name)
    before = (tmp_path / "out/a.parquet").read_bytes()
    for source, output in (("out", "out"), ("out/a.parquet", "out"), ("more", "more/out"), ("out", "out/x")):
        more = ("--score-column", "unsafe", *(["--overwrite"] if overwrite else []))
        ended = run("filter", tmp_path / source, tmp_path / output, "--tars", tars, *more)
        assert (ended.status, "expected an output folder" in ended.err) == (2, True), ended
        with pytest.raises(InputError, match="expected an output folder"):
            filter_dataset(tmp_path / source, tmp_path / output, tars=tars, score_column="unsafe", overwrite=overwrite)
    assert (tmp_path / "out/a.parquet").read_bytes() == before


@pytest.mark.parametrize(
    ("column", "option", "message"),
    [
        ("key", "where", "expected True or False in column 'key', got string"),
        ("unsafe", "where", "expected True or False in column 'unsafe', got float"),
        ("key", "score_column", "expected scores, a column of floats, in 'key', got string"),
        ("keep", "score_column", "expected scores, a column of floats, in 'keep', got bool"),
    ],
)
def test_a_column_in_two_places_is_refused_by_its_type(scores, tars, tmp_path, column, option, message):
    options = {"score_column": "unsafe", option: column}
    for read in (*NAMES.values(), lambda path: read_scores(path).compute()):
        with pytest.raises(ColumnError, match=message):
            filter_dataset(read(scores / "out"), tmp_path / "out", tars=tars, **options)
    given = [part for name, value in options.items() for part in (f"--{name.replace('_', '-')}", value)]
    ended = run("filter", scores / "out", tmp_path / "out", "--tars", tars, *given)
    assert (ended.status, message in ended.err) == (2, True), ended


def test_the_runs_own_keep_column_decides_beside_another_one(scores, tars, tmp_path):
    table = pq.read_table(scores / "a.parquet")
    pq.write_table(table.append_column("keep", pa.array([True] * ROWS)), tmp_path / "a.parquet")
    more = {"columns": ["key", "keep"], "keep_column": "mine", "threshold": 5.5}
    score_dataset(tmp_path / "a.parquet", tmp_path / "scores", **more)
    wanted = expected(tmp_path, "aesthetic_score", 5.5, folder="scores")
    printed("filter", tmp_path / "scores", tmp_path / "out", "--tars", tars)
    assert kept(tmp_path / "out") == wanted
    for name, read in {**NAMES, "pandas": lambda path: read_scores(path).compute()}.items():
        filter_dataset(read(tmp_path / "scores"), tmp_path / "by" / name, tars=tars)
        assert kept(tmp_path / "by" / name) == wanted
    filter_dataset(read_scores(tmp_path / "scores"), tmp_path / "all", "keep", tars=tars)
    assert len(kept(tmp_path / "all")) == ROWS
