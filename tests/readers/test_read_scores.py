"""Frames of a job's output know predictor, scale, statuses and threshold, from the files."""

from __future__ import annotations

import json
import re
from functools import partial
from pathlib import Path

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from dask_aesthetic import ArgumentError, ColumnError, InputError, ThresholdError, read_scores, score_dataset
from dask_aesthetic.synthetic import write_demo
from helpers import commands


@pytest.fixture(scope="module")
def demo(tmp_path_factory) -> Path:
    return write_demo(tmp_path_factory.mktemp("demo"), rows=200, shards=2)


@pytest.fixture(scope="module")
def scores(demo, tmp_path_factory) -> Path:
    """Scores on the unit scale by another predictor, with a threshold and a name of the score of their own."""
    output = tmp_path_factory.mktemp("scores")
    score_dataset(
        demo, output, predictor="laion-v2-ava", threshold=0.45, scale="unit", style="laion", columns=["url", "key"]
    )
    return output


def test_rows_and_columns_are_those_of_the_files(scores):
    frame = read_scores(scores)
    expected = pd.concat([pd.read_parquet(path) for path in sorted(scores.glob("part*.parquet"))], ignore_index=True)
    got = frame.compute()
    assert (frame.npartitions, frame.divisions) == (2, (0, 100, 199))
    assert got.columns.tolist() == ["url", "key", "aesthetic", "keep", "status"]
    assert got.index.tolist() == expected.index.tolist()
    for name in expected:
        assert got[name].astype(object).where(got[name].notna(), None).tolist() == (
            expected[name].astype(object).where(expected[name].notna(), None).tolist()
        )
    assert read_scores(scores, ["key"]).compute().columns.tolist() == ["key"]
    assert len(frame) == 200


def test_a_column_that_the_job_left_out_is_asked_for_by_its_option(scores, tmp_path):
    message = r"expected by='source' to be a column; .*: a job passes other columns .* through by columns \(--columns\)"
    for frame in (read_scores(scores), read_scores(scores).compute()):
        for method in (frame.aesthetic.distribution, partial(frame.aesthetic.report, tmp_path / "report.html")):
            with pytest.raises(ColumnError, match=message):
                method(by="source")
    assert re.search(message, commands.run("report", scores, "--by", "source").err)


@pytest.mark.parametrize("kind", ["dask", "pandas", "projected"])
def test_methods_take_predictor_scale_and_statuses_from_the_files(scores, kind):
    frame = read_scores(scores)
    frame = frame.compute() if kind == "pandas" else frame
    frame = frame[~frame["url"].isna()][["aesthetic", "status"]] if kind == "projected" else frame
    found = frame.aesthetic.distribution("aesthetic")
    assert (found.scale, found.predictor, found.rows, found.count) == ("unit", "laion-v2-ava", 200, 192)
    assert found.reasons == {"missing": 2, "not_finite": 2, "wrong_width": 2, "zero": 2}
    assert frame.aesthetic.calibrate("aesthetic", keep_fraction=0.5).predictor == "laion-v2-ava"
    with pytest.raises(ArgumentError, match="expected scale='unit', as the files say, got 'raw'"):
        frame.aesthetic.distribution("aesthetic", scale="raw")
    with pytest.raises(ArgumentError, match="expected predictor='laion-v2-ava', as the files of the scores say"):
        frame.aesthetic.calibrate("aesthetic", keep_fraction=0.5, predictor="laion-v2")


def test_a_report_takes_the_threshold_of_the_run(scores, tmp_path):
    page = read_scores(scores).aesthetic.report(tmp_path / "report.html", score_column="aesthetic").read_text()
    assert "unit" in page
    assert "laion-v2-ava" in page
    assert "0.45" in page


def test_a_preset_is_refused_for_scores_of_another_family(demo, tmp_path):
    score_dataset(demo, tmp_path / "out", predictor="laion-v1-l14", threshold=5.0)
    distribution = read_scores(tmp_path / "out").aesthetic.distribution()
    with pytest.raises(ThresholdError, match="presets are set on laion-v2 scores"):
        distribution.keep_rate("standard")


def test_scores_that_replace_those_of_the_files_are_not_theirs(demo, tmp_path):
    score_dataset(demo, tmp_path / "out", columns=["key", "image_embedding"])
    frame = read_scores(tmp_path / "out")
    for one in (frame, frame.compute()):
        assert one.aesthetic.distribution().predictor == "laion-v2"
        again = one.aesthetic.score(predictor="laion-v2-ava", replace_columns=True)
        assert again.aesthetic.distribution().predictor == ""
        assert one.rename(columns={"aesthetic_score": "mine"}).aesthetic.distribution("mine").predictor == ""


def test_files_of_several_predictors_and_damaged_provenance_are_refused(scores, demo, tmp_path):
    score_dataset(demo, tmp_path / "other", style="laion", columns=["url", "key"])
    with pytest.raises(InputError, match="expected scores of one predictor on one scale, got weights_sha256"):
        read_scores([*sorted(scores.glob("part*0.parquet")), *sorted((tmp_path / "other").glob("part*1.parquet"))])
    table = pq.read_table(scores / "part-0000.parquet")
    for text in ("{", "[]", '{"predictor": 5}', json.dumps({"predictor": {"name": 5, "scale": "x"}})):
        pq.write_table(table.replace_schema_metadata({"dask_aesthetic": text}), tmp_path / "damaged.parquet")
        with pytest.raises(InputError, match=r"expected provenance as dask-aesthetic writes it in .*damaged"):
            read_scores(tmp_path / "damaged.parquet")


def test_files_without_provenance_are_scores_of_an_unknown_predictor(tmp_path):
    pq.write_table(pa.table({"aesthetic_score": pa.array([4.0, None], pa.float32())}), tmp_path / "a.parquet")
    found = read_scores(tmp_path).aesthetic.distribution()
    assert (found.predictor, found.scale, found.missing) == ("", "raw", 1)
    assert "by an unknown predictor" in repr(found)
