"""Frames of score files that Dask or pandas read themselves: known where that is safe, and else said to be unknown."""

from __future__ import annotations

import shutil
from pathlib import Path

import dask.dataframe as dd
import pandas as pd
import pytest

from dask_aesthetic import ArgumentError, InputError, Threshold, ThresholdError, read_scores, score_dataset
from helpers import chaos


@pytest.fixture(scope="module")
def scores(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("provenance")
    source = chaos.write_shards(folder / "in", shards=2, rows=100)
    for name in ("laion-v2", "laion-v2-ava"):
        score_dataset(source, folder / name, predictor=name, threshold=4.5)
    return folder / "laion-v2-ava"


@pytest.mark.parametrize("filesystem", ["fsspec", "arrow"])
def test_what_dask_reads_is_known_while_only_rows_and_columns_are_selected(scores, filesystem, tmp_path):
    for path in scores.glob("part*.parquet"):  # By Arrow's file system Dask reads the files beside them, too.
        shutil.copy(path, tmp_path)
    frame = dd.read_parquet(scores if filesystem == "fsspec" else tmp_path, filesystem=filesystem)
    for one in (frame, frame[["aesthetic_score"]], frame[frame["keep"]][["aesthetic_score", "key"]]):
        found = one.aesthetic.distribution()
        assert (found.predictor, found.scale) == ("laion-v2-ava", "raw")
    assert frame.aesthetic.distribution() == read_scores(scores).aesthetic.distribution()
    with pytest.raises(ArgumentError, match="expected predictor='laion-v2-ava', as the files of the scores say"):
        frame.aesthetic.calibrate(keep_fraction=0.5, predictor="laion-v2")
    changed = frame.assign(aesthetic_score=frame["aesthetic_score"] + 1)
    for one in (changed, frame.rename(columns={"key": "uid"}), frame.repartition(npartitions=1)):
        assert one.aesthetic.distribution().predictor == ""


def test_files_of_several_predictors_are_refused(scores):
    both = dd.read_parquet([str(scores.parent / name / "part-0000.parquet") for name in ("laion-v2", "laion-v2-ava")])
    with pytest.raises(InputError, match="expected scores of one predictor on one scale"):
        both.aesthetic.distribution()


def test_a_threshold_of_unknown_scores_is_refused_for_another_predictor_than_the_default(scores):
    frame = pd.read_parquet(scores / "part-0000.parquet")
    distribution = frame.aesthetic.distribution()
    assert "by an unknown predictor" in repr(distribution)
    embeddings = pd.read_parquet(scores.parent / "in/part-0001.parquet", dtype_backend="pyarrow")
    for threshold in (distribution.threshold_for(0.5), frame.aesthetic.calibrate(keep_fraction=0.5)):
        assert "for " not in str(threshold).partition(":")[0]
        embeddings.aesthetic.score(threshold=threshold)
        with pytest.raises(ThresholdError, match=r"of an unknown predictor .* with predictor='laion-v2-ava'"):
            embeddings.aesthetic.score(threshold=threshold, predictor="laion-v2-ava")
        embeddings.aesthetic.score(threshold=Threshold(threshold.value), predictor="laion-v2-ava")
    known = frame.aesthetic.distribution(predictor="laion-v2-ava").threshold_for(0.5)
    embeddings.aesthetic.score(threshold=known, predictor="laion-v2-ava")
