"""Scores of real embeddings, against float64 references computed layer by layer by others."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest

from dask_aesthetic import Threshold, load_predictor
from dask_aesthetic.score_spec import ScoreSpec
from dask_aesthetic.scoring import score_array, score_column
from helpers import columns
from helpers.predictors import HEADS, head


@pytest.mark.parametrize("column", HEADS)
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_real_embeddings_score_as_the_layers_do_in_float64(shared, verite, reference, kind, dtype, column):
    scored = columns.frame(verite, kind, dtype).aesthetic.score(predictor=head(HEADS[column], shared), threshold=5)
    assert scored["aesthetic_score"].dtype == np.float32
    assert np.abs(scored["aesthetic_score"] - reference[column]).max() <= 2e-6


@pytest.mark.parametrize("column", HEADS)
def test_float16_embeddings_score_within_what_float16_loses(shared, verite, reference, kind, column):
    scored = columns.frame(verite, kind, "float16").aesthetic.score(predictor=head(HEADS[column], shared), threshold=5)
    # Simulacra's weights are 374 long, LAION's 12 to 28: rounding the embeddings themselves moves its scores more.
    limit = 1e-2 if column.startswith("simulacra") else 1e-3
    assert np.abs(scored["aesthetic_score"] - reference[column]).max() <= limit


@pytest.mark.parametrize("name", ["laion-v2", "laion-v2-ava", "laion-v1-l14", "simulacra-l14"])
def test_float16_embeddings_lose_nothing_in_the_arithmetic(verite, kind, name):
    """Against float64 arithmetic on the very same rounded values: what is lost is lost in their storage."""
    half = verite.astype(np.float16)
    predictor = load_predictor(name)
    x = half.astype(np.float64)
    expected = x @ predictor.weight / np.linalg.norm(x, axis=1) + predictor.bias
    scored = columns.frame(half, kind, "float16").aesthetic.score(predictor=name, threshold=5)
    assert np.abs(scored["aesthetic_score"] - expected).max() <= 2e-6


def test_the_published_ratings_score_as_published(ratings, rating_scores, kind):
    scored = columns.frame(ratings, kind).aesthetic.score()
    assert scored["aesthetic_score"].round(3).tolist() == pytest.approx(rating_scores, abs=1.01e-3)


def test_repeated_rows_score_the_same_bit_for_bit(verite, kind):
    scores = columns.frame(verite, kind).aesthetic.score()["aesthetic_score"]
    _, group = np.unique(verite, axis=0, return_inverse=True)
    assert len(np.unique(group)) < len(verite)
    assert scores.groupby(group).nunique().eq(1).all()


def test_all_kinds_and_float_widths_give_the_same_bytes(verite):
    """Values are exact in every wider float, so how they are stored cannot matter."""
    for dtypes in (("float16", "float32", "float64"), ("float32", "float64")):
        values = verite.astype(dtypes[0])
        expected = columns.frame(values, "list", dtypes[0]).aesthetic.score()["aesthetic_score"].to_numpy().tobytes()
        for kind in columns.KINDS:
            for dtype in dtypes:
                got = columns.frame(values, kind, dtype).aesthetic.score()["aesthetic_score"]
                assert got.to_numpy().tobytes() == expected, (kind, dtype)


@pytest.mark.parametrize("factor", [0.01, 13, 20, 1e-18, 1e15])
def test_unnormalised_embeddings_score_as_normalised_ones(verite, factor):
    plain = columns.frame(verite, "list").aesthetic.score()["aesthetic_score"]
    scaled = columns.frame(verite * np.float32(factor), "list").aesthetic.score()["aesthetic_score"]
    assert np.abs(plain - scaled).max() <= 2e-6


def test_512_wide_heads_score_512_wide_embeddings(shared):
    vectors = np.load(shared / "data/clip_retrieval_b32/img_emb/img_emb_0.npy")
    predictor = load_predictor("laion-v1-b32")
    x = vectors.astype(np.float64)
    expected = x @ predictor.weight / np.linalg.norm(x, axis=1) + predictor.bias
    scored = columns.frame(vectors, "list", "float16").aesthetic.score(predictor="laion-v1-b32", threshold=5)
    assert vectors.shape == (9, 512)
    assert np.abs(scored["aesthetic_score"] - expected).max() <= 2e-6


def test_unit_scale_is_a_tenth_and_keeps_the_same_rows(verite):
    raw = columns.frame(verite, "list").aesthetic.score(threshold=5.25)
    unit = columns.frame(verite, "list").aesthetic.score(threshold=0.525, scale="unit")
    np.testing.assert_allclose(unit["aesthetic_score"], raw["aesthetic_score"] / 10, rtol=1e-6)
    assert unit["keep"].tolist() == raw["keep"].tolist()
    assert 0 < raw["keep"].sum() < len(raw)


def test_keep_is_score_at_or_above_the_threshold_and_filter_returns_those_rows(verite, kind):
    frame = columns.frame(verite, kind)
    scored = frame.aesthetic.score(threshold="high")
    assert scored["keep"].tolist() == (scored["aesthetic_score"].to_numpy() >= 6).tolist()
    exact = float(scored["aesthetic_score"].iloc[0])
    assert frame.aesthetic.score(threshold=exact)["keep"].iloc[0]
    kept = frame.aesthetic.filter(threshold=5.5)
    assert kept["key"].tolist() == frame["key"][scored["aesthetic_score"] >= 5.5].tolist()


def test_index_columns_order_and_the_frame_itself_stay(verite):
    frame = columns.frame(verite[:5], "list").assign(other=range(5))
    frame.index = [7, 7, 3, 9, 1]
    before = frame.copy()
    scored = frame.aesthetic.score(score_column="laion", keep_column="take")
    assert list(scored.columns) == ["key", "image_embedding", "other", "laion", "take"]
    assert scored.index.tolist() == [7, 7, 3, 9, 1]
    assert list(frame.columns) == list(before.columns)
    assert scored["take"].dtype == bool
    again = scored.aesthetic.score(score_column="laion", keep_column="take", threshold=3, replace_columns=True)
    assert list(again.columns) == list(scored.columns)
    assert again["take"].all()


@pytest.mark.parametrize("kind", columns.KINDS)
def test_an_empty_frame_gets_empty_columns(kind):
    scored = columns.frame(np.empty((0, 768), np.float32), kind).aesthetic.score()
    assert scored.dtypes[["aesthetic_score", "keep"]].astype(str).tolist() == ["float32", "bool"]
    assert len(scored) == 0


@pytest.mark.parametrize("predictor", ["laion-v2", "simulacra-l14"])
@pytest.mark.parametrize("scale", ["raw", "unit"])
@pytest.mark.parametrize("odd", ["none", "zero", "nan", "huge", "tiny", "null"])
def test_rows_of_a_file_get_the_bytes_that_a_column_gets(vectors, predictor, scale, odd):
    rows = list(vectors)
    strange = {
        "zero": np.zeros(768),
        "nan": np.full(768, np.nan),
        "huge": vectors[7] * 1e30,
        "tiny": vectors[7] * 1e-30,
    }
    if odd != "none":
        rows[700 % len(rows)] = strange.get(odd)
    array = columns.array(rows, "list")
    spec = ScoreSpec.of("image_embedding", predictor, Threshold(0.5, scale), scale, "s", "k", "null", None)
    (scores,), status = score_array(array, spec, "image_embedding", "file", 0)
    column = pd.Series(pd.arrays.ArrowExtensionArray(pa.chunked_array([array])), name="image_embedding")
    assert scores.tobytes() == score_column(column, spec).to_numpy().tobytes()
    assert np.isfinite(scores).tolist() == (status == 0).tolist()
    assert (status != 0).sum() == (odd in ("zero", "nan", "null"))
