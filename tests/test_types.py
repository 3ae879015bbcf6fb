"""Static types, which mypy and basedpyright check (``make types``), and which are true when it runs."""

from __future__ import annotations

from typing import assert_type

import dask.dataframe as dd
import numpy as np
import pandas as pd
import pytest

from dask_aesthetic import (
    AestheticAccessor,
    ArgumentError,
    Calibration,
    Check,
    GroupDistributions,
    PredictorError,
    ScoreDistribution,
    aesthetic,
    load_predictor,
    score_dataset,
)


@pytest.fixture
def frame() -> pd.DataFrame:
    vectors = np.random.default_rng(0).standard_normal((20, 768)).astype(np.float32)
    return pd.DataFrame({"key": [f"{at:02d}" for at in range(20)], "image_embedding": list(vectors)})


def test_methods_return_the_type_of_their_frame(frame: pd.DataFrame) -> None:
    assert_type(aesthetic(frame), AestheticAccessor[pd.DataFrame])
    scored = aesthetic(frame).score(threshold="high", scale="raw", on_invalid="null")
    assert_type(scored, pd.DataFrame)
    assert_type(aesthetic(scored).top(3), pd.DataFrame)
    assert_type(aesthetic(frame).filter(threshold=5.5), pd.DataFrame)
    assert type(scored) is pd.DataFrame
    assert len(aesthetic(scored).top(3)) == 3


def test_methods_return_frames_of_dask(frame: pd.DataFrame) -> None:
    ddf: dd.DataFrame = dd.from_pandas(frame[["key"]].assign(aesthetic_score=np.float32(5)), npartitions=2)
    assert type(aesthetic(ddf)) is AestheticAccessor
    best: dd.DataFrame = aesthetic(ddf).top(3)
    assert isinstance(best, dd.DataFrame)


def test_analyses_return_what_they_say(frame: pd.DataFrame) -> None:
    scored = aesthetic(frame).score().assign(source=["a", "b"] * 10)
    assert_type(aesthetic(frame).check(), Check)
    assert_type(aesthetic(scored).distribution(), ScoreDistribution)
    assert_type(aesthetic(scored).distribution(by="source"), GroupDistributions)
    assert_type(aesthetic(scored).calibrate(keep_fraction=0.5, scale="raw"), Calibration)
    assert isinstance(aesthetic(scored).distribution(), ScoreDistribution)
    assert isinstance(aesthetic(scored).distribution(by="source"), dict)


def test_choices_are_literals(frame: pd.DataFrame) -> None:
    # Unused ignores are errors, so these lines say that the checkers find the mistake.
    with pytest.raises(ArgumentError):
        aesthetic(frame).score(scale="percent")  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    with pytest.raises(ArgumentError):
        aesthetic(frame).score(on_invalid="drop")  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    with pytest.raises(PredictorError):
        load_predictor("laion-v2", activation="gelu")  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    with pytest.raises(ArgumentError):
        score_dataset("in", "out", style="coco")  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]


def test_other_things_have_no_accessor() -> None:
    with pytest.raises(ArgumentError, match="expected a dataframe of pandas, Dask or cuDF, got list"):
        aesthetic([1, 2])
