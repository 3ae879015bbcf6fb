"""Jobs with several predictors, or without a threshold: files, provenance, resume, and what reads them."""

from __future__ import annotations

import json

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from dask_aesthetic import (
    InputError,
    ScoreDistribution,
    Threshold,
    ThresholdError,
    read_scores,
    score_dataset,
    select_dataset,
)
from helpers import columns, several
from helpers.commands import printed, run
from helpers.several import AFFINE


@pytest.fixture(scope="module")
def source(vectors, tmp_path_factory):
    folder = tmp_path_factory.mktemp("in")
    keys = [f"k{at}" for at in range(len(vectors))]
    for number, at in enumerate(np.array_split(np.arange(len(vectors)), 2)):
        rows = several.rows(vectors)[at[0] : at[-1] + 1]
        table = {"key": keys[at[0] : at[-1] + 1], "image_embedding": columns.array(rows, "list")}
        pq.write_table(pa.table(table), folder / f"part-{number}.parquet", row_group_size=50)
    return folder


@pytest.fixture(scope="module")
def predictors(tmp_path_factory):
    return several.with_network(tmp_path_factory.mktemp("network"))


@pytest.fixture(scope="module")
def output(source, predictors, tmp_path_factory):
    folder = tmp_path_factory.mktemp("out") / "scores"
    summary = score_dataset(source, folder, predictor=predictors, columns=["key"])
    return folder, summary


@pytest.fixture(scope="module")
def expected(vectors, predictors):
    frame = columns.frame(several.rows(vectors), "list")
    return frame.aesthetic.score(predictor=predictors)


def table(folder) -> pa.Table:
    return pa.concat_tables([pq.read_table(file) for file in sorted(folder.glob("*.parquet")) if file.is_file()])


def record(folder) -> dict:
    return json.loads(pq.read_schema(folder / "part-0.parquet").metadata[b"dask_aesthetic"])


def values(folder, name: str) -> bytes:
    return table(folder).column(name).to_numpy().tobytes()


def test_a_job_writes_the_scores_of_single_jobs(source, output, predictors, expected, tmp_path):
    folder, summary = output
    found = table(folder)
    assert found.schema.names == ["key", *predictors, "keep", "status"]
    assert found.column("keep").to_pylist() == expected["keep"].tolist()
    for name in predictors:
        assert values(folder, name) == expected[name].to_numpy().tobytes()
        assert found.column(name).null_count == 4
    assert (summary.rows, summary.scored, summary.kept) == (300, 296, int(expected["keep"].sum()))
    for name, one in predictors.items():
        alone = score_dataset(
            source, tmp_path / name, predictor=one, score_column=name, columns=["key"], threshold=None
        )
        assert values(tmp_path / name, name) == values(folder, name)
        counted = summary.distribution if name == "aesthetic_score" else summary.others[name]
        assert counted.to_json() == alone.distribution.to_json()
        assert (alone.kept, alone.others) == (None, {})


def test_the_files_say_which_predictor_made_which_column(output, predictors):
    folder, _ = output
    found = record(folder)
    assert found["predictor"]["name"] == "laion-v2"
    assert found["threshold"]["value"] == 5.0
    assert [score["column"] for score in found["scores"]] == list(predictors)
    assert [score["predictor"]["name"] for score in found["scores"]] == [
        "laion-v2", "relu.pth", "simulacra-l14", "laion-v2-ava",
    ]  # fmt: skip
    assert len({score["weights_sha256"] for score in found["scores"]}) == 4
    marker = json.loads((folder / "_dask_aesthetic/markers/part-0.json").read_text())
    assert list(marker["others"]) == ["ava_score", "relu", "simulacra"]


def test_the_same_predictors_resume_and_others_do_not(source, output, predictors):
    folder, summary = output
    again = score_dataset(source, folder, predictor=predictors, columns=["key"])
    assert (again.rows, again.in_place) == (summary.rows, 0)
    assert again.others["simulacra"].to_json() == summary.others["simulacra"].to_json()
    reversed_order = dict([*list(predictors.items())[:1], *list(predictors.items())[:0:-1]])
    for other in (AFFINE, reversed_order, "laion-v2"):
        with pytest.raises(InputError, match=r"settings of the run whose output is in .*, got others: "):
            score_dataset(source, folder, predictor=other, columns=["key"])


def test_read_scores_knows_each_score(output, expected):
    folder, _ = output
    frame = read_scores(folder)
    first = frame.aesthetic.distribution()
    assert (first.predictor, first.predictor_scale, first.missing) == ("laion-v2", "laion-v2", 4)
    assert first.reasons == {"missing": 1, "wrong_width": 1, "zero": 1, "not_finite": 1}
    other = frame.aesthetic.distribution("simulacra")
    assert (other.predictor, other.predictor_scale) == ("simulacra-l14", "simulacra")
    assert other.bins.tolist() == ScoreDistribution.of(expected["simulacra"]).bins.tolist()
    assert frame[["key", "ava_score"]].aesthetic.distribution().predictor == "laion-v2-ava"
    assert frame.aesthetic.calibrate("ava_score", keep_fraction=0.5).predictor == "laion-v2-ava"
    with pytest.raises(ThresholdError, match="simulacra scores are on a scale of their own"):
        other.kept("standard")


def test_files_of_other_scores_are_refused_together(source, output, tmp_path):
    folder, _ = output
    score_dataset(source, tmp_path / "other", predictor=AFFINE, columns=["key"])
    with pytest.raises(InputError, match="same columns of scores in all files, got aesthetic_score, relu, simulacra"):
        read_scores([str(folder / "part-0.parquet"), str(tmp_path / "other" / "part-1.parquet")])


@pytest.mark.parametrize("predictor", ["laion-v2", AFFINE], ids=["one", "several"])
def test_without_a_threshold_select_chooses_later(source, tmp_path, expected, predictor):
    summary = score_dataset(source, tmp_path / "scores", predictor=predictor, threshold=None)
    assert summary.kept is None
    found = table(tmp_path / "scores")
    assert "keep" not in found.schema.names
    assert json.loads((tmp_path / "scores/_SUCCESS").read_text())["kept"] is None
    assert read_scores(tmp_path / "scores").aesthetic.distribution().predictor == "laion-v2"
    chosen = select_dataset(tmp_path / "scores", tmp_path / "kept", threshold=5.3)
    kept = table(tmp_path / "kept")
    assert kept.schema.names == [*found.schema.names[:-1], "keep", "status"]
    assert kept.column("keep").to_pylist() == (np.nan_to_num(expected["aesthetic_score"]) >= 5.3).tolist()
    assert chosen.kept == pa.compute.sum(kept.column("keep")).as_py()
    assert read_scores(tmp_path / "kept").aesthetic.distribution().reasons["zero"] == 1
    again = select_dataset(tmp_path / "kept", tmp_path / "best", top=10)
    assert (again.kept, table(tmp_path / "best").schema.names) == (10, kept.schema.names)


def test_scores_of_which_lower_ones_are_better(source, tmp_path):
    predictor = several.unsafe()
    predictor.save(tmp_path / "unsafe.safetensors")
    summary = score_dataset(source, tmp_path / "out", predictor=tmp_path / "unsafe.safetensors")
    found = table(tmp_path / "out").to_pandas()
    assert list(found.columns) == ["key", "unsafe_probability", "keep", "status"]
    assert found["keep"].tolist() == (found["unsafe_probability"] <= 0.5).tolist()
    assert summary.kept == found["keep"].sum() > 0
    frame = read_scores(tmp_path / "out")
    assert frame.aesthetic.distribution().predictor == "unsafe"
    best = found["unsafe_probability"].nsmallest(10).index
    select_dataset(tmp_path / "out", tmp_path / "best", top=10)
    assert np.flatnonzero(table(tmp_path / "best")["keep"].to_numpy()).tolist() == sorted(best)
    assert record(tmp_path / "best")["selected"]["cut"] == found["unsafe_probability"][best].max()
    assert set(frame.aesthetic.top(10)["key"].compute()) == set(found["key"][best])
    assert set(read_scores(tmp_path / "best").compute().aesthetic.top(10)["key"]) == set(found["key"][best])
    for arguments in ({"threshold": 0.499}, {"keep": [("unsafe_probability", "<=", 0.499)]}):
        chosen = select_dataset(tmp_path / "out", tmp_path / "low", **arguments, overwrite=True)
        assert (
            table(tmp_path / "low")["keep"].to_pylist() == (found["unsafe_probability"] <= np.float32(0.499)).tolist()
        )
        some = select_dataset(tmp_path / "out", tmp_path / "some", **arguments, top=chosen.kept // 2, overwrite=True)
        assert some.kept == chosen.kept // 2
        worst = found["unsafe_probability"][table(tmp_path / "some")["keep"].to_numpy()].max()
        assert worst == np.sort(found["unsafe_probability"])[some.kept - 1]
    rate = frame.aesthetic.distribution().rate(Threshold(0.5, higher_is_better=False))
    assert rate == pytest.approx(summary.kept / summary.scored)
    text = printed("score", source, tmp_path / "out", "--predictor", tmp_path / "unsafe.safetensors")
    assert "raw score <= 0.5)" in text


def test_keep_only_needs_a_threshold(source, tmp_path):
    with pytest.raises(ThresholdError, match=r"keep_only=True \(--keep-only\), got none: laion-v1-l14 has no default"):
        score_dataset(source, tmp_path / "out", predictor="laion-v1-l14", keep_only=True)
    assert not (tmp_path / "out").exists()
    score_dataset(source, tmp_path / "out", predictor=AFFINE, keep_only=True, threshold=Threshold(5.5))
    assert table(tmp_path / "out").column("keep").unique().to_pylist() == [True]


# The command


def test_the_command_takes_predictors_by_column(source, output, tmp_path, predictors):
    chosen = [f"--predictor={name}={one}" for name, one in AFFINE.items()]
    text = printed("score", source, tmp_path / "out", *chosen)
    for line in (
        "aesthetic_score  1% ",
        "      simulacra  1% ",
        "predictor  laion-v2, simulacra-l14, laion-v2-ava, for",
    ):
        assert line in text
    for name in AFFINE:
        assert values(tmp_path / "out", name) == values(output[0], name)
    done = json.loads(printed("score", source, tmp_path / "out", *chosen, "--json"))
    assert list(done["more_quantiles"]) == ["simulacra", "ava_score"]
    assert done["settings"]["more_scores"][0][0] == "simulacra"
    assert "usable" in printed("check", source / "part-1.parquet", *chosen)


def test_the_command_says_why_nothing_is_kept(source, tmp_path):
    text = printed("score", source, tmp_path / "a", "--predictor", "laion-v1-l14")
    assert "kept  no column 'keep': laion-v1-l14 has no default threshold: give one, or choose later by select" in text
    text = printed("score", source, tmp_path / "b", "--no-threshold")
    assert "kept  no column 'keep': no threshold was asked for" in text
    assert json.loads(printed("score", source, tmp_path / "b", "--no-threshold", "--json"))["kept"] is None
    assert "kept" in printed("select", tmp_path / "b", tmp_path / "c", "--threshold", "5.2")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--predictor", "a=laion-v2", "--predictor", "laion-v2-ava"], "each of several --predictor as COLUMN=NAME"),
        (["--predictor", "a=laion-v2", "--predictor", "a=laion-v2-ava"], "with a column of its own, got a=laion-v2, a"),
        (["--predictor", "a=laion-v2", "--predictor", "b=laion-v1-b32"], "expected predictors of one width"),
        (["--predictor", "a=nobody"], "got 'nobody'"),
        (["--predictor", "=laion-v2"], "to be the name of one column, got ''"),
        (
            ["--predictor", "a=laion-v2", "--predictor", "b=x.pth", "--activation", "relu"],
            "with one --predictor, got sev",
        ),
        (["--predictor", "a=laion-v2", "--score-column", "b"], "no --score-column beside predictors by column"),
        (["--threshold", "5", "--no-threshold"], "--no-threshold, got --threshold 5 and --no-threshold"),
        (["--no-threshold", "--keep-only"], "no threshold was asked for"),
    ],
)
def test_predictors_that_do_not_fit_are_bad_usage(source, tmp_path, options, message):
    ended = run("score", source, tmp_path / "out", *options)
    assert (ended.status, ended.out) == (2, "")
    assert message in ended.err
    assert not (tmp_path / "out").exists()


def test_a_path_with_an_equals_sign_is_a_path(source, tmp_path):
    folder = tmp_path / "lang=en"
    folder.mkdir()
    several.unsafe().save(folder / "unsafe.safetensors")
    printed("score", source, tmp_path / "a", "--predictor", folder / "unsafe.safetensors")
    printed("score", source, tmp_path / "b", "--predictor", f"mine={folder / 'unsafe.safetensors'}")
    assert values(tmp_path / "a", "unsafe_probability") == values(tmp_path / "b", "mine")
    assert isinstance(read_scores(tmp_path / "b")._meta, pd.DataFrame)
