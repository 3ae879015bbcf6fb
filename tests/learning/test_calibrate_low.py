"""Thresholds of scores where lower is better, against those of the negated scores and against NumPy."""

from __future__ import annotations

import dask.dataframe as dd
import numpy as np
import pandas as pd
import pytest

from dask_aesthetic import ArgumentError, read_scores, score_dataset, score_embeddings, select_dataset
from dask_aesthetic.errors import AestheticWarning
from helpers import chaos
from helpers.several import unsafe

ROWS = 400


@pytest.fixture(scope="module")
def frame() -> pd.DataFrame:
    """Probabilities, most of them near 0, and labels that prefer low ones; some missing."""
    random = np.random.default_rng(4)
    scores = (random.random(ROWS) ** 8).astype(np.float32)
    liked = (scores + random.normal(0, 0.02, ROWS) < 0.01).astype(float)
    liked[::7], scores[::31] = np.nan, np.nan
    return pd.DataFrame({"unsafe": scores, "liked": liked})


@pytest.mark.parametrize("partitions", [None, 3])
@pytest.mark.parametrize("options", [{"keep_fraction": 0.3}, {"keep_fraction": 1.0}, {"n": 1}, {"n": 57}])
def test_a_share_keeps_the_lowest_scores_exactly(frame, options, partitions):
    scores = np.sort(frame["unsafe"].dropna().to_numpy())
    wanted = options.get("n") or int(np.ceil(options["keep_fraction"] * len(scores)))
    given = frame if partitions is None else dd.from_pandas(frame, npartitions=partitions)
    found = given.aesthetic.calibrate("unsafe", predictor=unsafe(), **options)
    assert found.value == float(scores[wanted - 1])
    assert found.keeps(frame["unsafe"]).sum() == wanted
    assert (found.higher_is_better, found.predictor) == (False, "unsafe")
    assert str(found).startswith("raw score <= ")
    for threshold, kept in found.curve["kept"].items():
        assert kept == (scores <= np.float32(threshold)).sum() or kept == (scores < np.float32(threshold)).sum()
    assert found.curve.index.is_monotonic_increasing


def test_labels_choose_as_by_the_negated_scores(frame):
    found = frame.aesthetic.calibrate("unsafe", label_column="liked", predictor=unsafe())
    turned = frame.assign(unsafe=-frame["unsafe"]).aesthetic.calibrate("unsafe", label_column="liked")
    assert found.value == -turned.value
    assert found.interval == (-turned.interval[1], -turned.interval[0])
    kept, liked = found.keeps(frame["unsafe"]), frame["liked"]
    precision, recall = (
        liked[kept].mean(),
        (kept & (liked == 1)).sum() / (liked.notna() & frame["unsafe"].notna() & (liked == 1)).sum(),
    )
    assert found.best["f1"] == pytest.approx(2 * precision * recall / (precision + recall))
    assert found.best["f1"] > 0.8


def test_the_scores_of_a_job_say_it_and_the_threshold_keeps_the_same_rows_there(tmp_path):
    source = chaos.write_shards(tmp_path / "in", shards=2, rows=100)
    score_dataset(source, tmp_path / "out", predictor=unsafe())
    scores = read_scores(tmp_path / "out")
    found = scores.aesthetic.calibrate(keep_fraction=0.25)
    rows = scores.compute()["unsafe_probability"].astype(float)
    assert found.value == rows.sort_values().iloc[int(np.ceil(0.25 * rows.count())) - 1]
    select_dataset(tmp_path / "out", tmp_path / "best", threshold=found)
    select_dataset(tmp_path / "out", tmp_path / "top", keep_fraction=0.25)
    best, top = (read_scores(tmp_path / name).compute()["keep"] for name in ("best", "top"))
    assert best.tolist() == (rows <= found.value).tolist()
    assert best[top].all()


def test_a_name_that_says_nothing_of_its_direction_is_refused():
    scores = score_embeddings(np.ones((3, 768)), predictor="nsfw-l14")
    frame = pd.DataFrame({"unsafe_probability": scores})
    with pytest.raises(ArgumentError, match="expected predictor with scores in 'unsafe_probability', got none"):
        frame.aesthetic.calibrate("unsafe_probability", n=1)
    with pytest.warns(AestheticWarning, match=r"got 1\.[0-9]+e-05 on raw scores, which keeps 100"):
        found = frame.aesthetic.calibrate("unsafe_probability", n=1, predictor="nsfw-l14")
    assert found.value == float(scores[0])
    assert not found.higher_is_better
