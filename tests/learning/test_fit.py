"""Predictors fitted to ratings, against least squares over the rows in float64."""

from __future__ import annotations

import json
import math
import pickle

import dask
import dask.dataframe as dd
import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from safetensors import safe_open

from dask_aesthetic import (
    ArgumentError,
    ColumnError,
    FittedPredictor,
    PredictorError,
    PredictorInfo,
    Threshold,
    ThresholdError,
    load_predictor,
)
from dask_aesthetic.hashing import hash_rows
from dask_aesthetic.learning import FitSpec, add_sums, fit, fit_predictor, sum_rows
from dask_aesthetic.predictors import AffinePredictor
from dask_aesthetic.synthetic import synthetic_embeddings
from helpers import columns
from helpers.laziness import no_compute
from helpers.parquet_files import spoil

WIDTH = 12


def unit(vectors) -> np.ndarray:
    wide = np.asarray(vectors, np.float64)
    return wide / np.linalg.norm(wide, axis=1, keepdims=True)


def small(rows: int = 200, seed: int = 0, noise: float = 0.1) -> tuple[pd.DataFrame, np.ndarray]:
    """A frame of narrow embeddings with ratings, and the weights that made the ratings."""
    rng = np.random.default_rng(seed)
    vectors, weight = rng.standard_normal((rows, WIDTH)) + 0.5, rng.standard_normal(WIDTH)
    frame = columns.frame(vectors, "list", "float64")
    frame["rating"] = 5 + unit(vectors) @ weight + noise * rng.standard_normal(rows)
    return frame, weight


def narrow(frame, **options):
    return frame.aesthetic.fit("rating", **{"prior": None, "width": WIDTH, **options})


def ridge(x, y, alpha, prior=None) -> tuple[np.ndarray, float]:
    """Least squares over w, b and a, with an extra row for every weight: sqrt(alpha) (w - a w0) = 0."""
    width = x.shape[1]
    columns_ = [x, np.ones((len(x), 1))]
    pull = [np.sqrt(alpha) * np.eye(width), np.zeros((width, 1))]
    if prior is not None:
        columns_.append(np.zeros((len(x), 1)))
        pull.append(-np.sqrt(alpha) * prior[:, None])
    system = np.vstack([np.hstack(columns_), np.hstack(pull)])
    found = np.linalg.lstsq(system, np.concatenate([y, np.zeros(width)]), rcond=None)[0]
    return found[:width], found[width]


def folds_of(frame, folds: int, seed: int) -> np.ndarray:
    """Fold of each row."""
    return fit.fold_of(hash_rows(torch.from_numpy(np.stack(frame["image_embedding"].to_numpy())), seed), folds)


def ranks(values) -> np.ndarray:
    """Mean ranks of values."""
    values = np.asarray(values)
    return np.array([(values < value).sum() + ((values == value).sum() + 1) / 2 for value in values])


@pytest.fixture(scope="module")
def rated(verite, reference) -> pd.DataFrame:
    """Real embeddings with the reference scores of laion-v2, in float64, as ratings."""
    frame = columns.frame(verite, "list")
    frame["score"] = reference["sac+logos+ava1-l14-linearMSE"].to_numpy()
    return frame


@pytest.fixture(scope="module")
def slim(verite, rated) -> pd.DataFrame:
    """First 64 floats of real embeddings, which are faster to fit, with noisy ratings."""
    noise = 0.2 * np.random.default_rng(2).standard_normal(len(verite))
    return columns.frame(verite[:, :64].copy(), "list").assign(rating=rated["score"] + noise)


@pytest.fixture(scope="module")
def slim_prior() -> AffinePredictor:
    """Weights of laion-v2 for these floats."""
    laion = load_predictor()
    return AffinePredictor(
        laion.weight[:64], laion.bias, PredictorInfo(name="slim", width=64, encoder=laion.info.encoder)
    )


@pytest.fixture(scope="module")
def many() -> tuple[pd.DataFrame, np.ndarray]:
    """Enough synthetic embeddings to determine 128 weights, with ratings by these weights and a little noise."""
    vectors, weight = synthetic_embeddings(600)[:, :128].copy(), load_predictor().weight[:128]
    frame = columns.frame(vectors, "fixed_size_list")
    frame["rating"] = unit(vectors) @ weight + 0.02 * np.random.default_rng(3).standard_normal(len(vectors))
    return frame, weight


def cosine(a, b) -> float:
    return a @ b / np.linalg.norm(a) / np.linalg.norm(b)


def test_laion_is_recovered_from_noisy_scores_of_real_images(rated):
    noise = 0.6 * np.random.default_rng(1).standard_normal(len(rated))
    frame, laion = rated.assign(rating=3 * rated["score"] - 7 + noise), load_predictor()
    taste = frame.aesthetic.fit("rating", folds=2)
    assert np.abs(taste.weight / 3 - laion.weight).max() < 0.2
    assert cosine(taste.weight, laion.weight) > 0.999
    assert taste.held_out.pearson == pytest.approx(np.corrcoef(frame["score"], frame["rating"])[0, 1], abs=0.01)
    assert taste.held_out.rmse == pytest.approx(0.6, rel=0.1)
    assert taste.prior == "laion-v2"
    assert taste.spread == pytest.approx(frame["rating"].std(ddof=0))


def test_taste_is_learned_from_real_images_without_the_right_prior(verite):
    vectors, laion, other = verite[:, :256].copy(), load_predictor(), load_predictor("laion-v2-ava")
    frame = columns.frame(vectors, "list").assign(rating=unit(vectors) @ laion.weight[:256])
    info = PredictorInfo(name="other", width=256)
    for prior in (None, AffinePredictor(other.weight[:256], other.bias, info)):
        taste = frame.aesthetic.fit("rating", prior=prior, width=256, folds=2)  # 254 training rows, 256 weights.
        assert taste.held_out.pearson > 0.8
        assert taste.held_out.spearman > 0.8
        assert taste.held_out.rmse < 0.55 * taste.spread
        if prior is not None:
            assert taste.held_out.rmse < taste.prior_held_out.rmse


def test_weights_are_recovered_without_a_prior_from_enough_rows(many):
    frame, weight = many
    taste = frame.aesthetic.fit("rating", prior=None, width=128, folds=2)
    assert cosine(taste.weight, weight) > 0.999
    assert np.abs(taste.weight - weight).max() < 0.1
    assert taste.held_out.pearson > 0.999
    assert (taste.prior, taste.prior_held_out) == ("", None)


@pytest.mark.parametrize("alpha", [0, 1e-3, 300.0])
@pytest.mark.parametrize("with_prior", [False, True])
def test_fit_equals_least_squares(slim, slim_prior, alpha, with_prior):
    x, y = unit(np.stack(slim["image_embedding"].to_numpy())), slim["rating"].to_numpy()
    prior = slim_prior if with_prior else None
    weight, bias = ridge(x, y, alpha, slim_prior.weight if with_prior and alpha else None)
    taste = slim.aesthetic.fit("rating", prior=prior, alpha=alpha, width=64)
    assert taste.weight == pytest.approx(weight, abs=1e-7)
    assert taste.bias == pytest.approx(bias, abs=1e-7)
    assert taste.alpha == alpha


def test_fit_equals_least_squares_with_fewer_rows_than_weights(slim, slim_prior):
    few = slim.iloc[:40]
    weight, bias = ridge(unit(np.stack(few["image_embedding"].to_numpy())), few["rating"], 0.5, slim_prior.weight)
    taste = few.aesthetic.fit("rating", prior=slim_prior, alpha=0.5, folds=2)
    assert taste.weight == pytest.approx(weight, abs=1e-6)
    assert taste.bias == pytest.approx(bias, abs=1e-6)


def test_held_out_figures_equal_fits_without_the_fold():
    frame, _ = small(noise=1.0)
    frame["image_embedding"] = frame["image_embedding"].repeat(2)[:200].to_numpy()  # Each embedding comes twice.
    x, y = unit(np.stack(frame["image_embedding"].to_numpy())), frame["rating"].to_numpy()
    fold = folds_of(frame, 3, seed=4)
    assert (fold[::2] == fold[1::2]).all()
    assert set(fold) == {0, 1, 2}
    predicted = np.empty(len(y))
    for number in range(3):
        weight, bias = ridge(x[fold != number], y[fold != number], 2.0)
        predicted[fold == number] = x[fold == number] @ weight + bias
    found = narrow(frame, alpha=2.0, folds=3, seed=4).held_out
    assert found.rmse == pytest.approx(np.sqrt(((predicted - y) ** 2).mean()), rel=1e-9)
    assert found.pearson == pytest.approx(np.corrcoef(predicted, y)[0, 1], rel=1e-9)
    pairs = predicted.round(9), y
    assert found.spearman == pytest.approx(np.corrcoef(ranks(pairs[0]), ranks(pairs[1]))[0, 1], abs=1e-9)


def test_alpha_is_chosen_by_held_out_rows():
    frame, _ = small(rows=40, noise=1.0)
    x, y = unit(np.stack(frame["image_embedding"].to_numpy())), frame["rating"].to_numpy()
    fold = folds_of(frame, 5, seed=0)

    def error(alpha, folds) -> float:
        squares = 0.0
        for number in folds:
            w, b = ridge(x[fold != number], y[fold != number], alpha)
            squares += ((x[fold == number] @ w + b - y[fold == number]) ** 2).sum()
        return squares

    found, folds = narrow(frame), set(fold.tolist())
    everywhere = np.logspace(-4, 6, 41)
    assert found.alpha == pytest.approx(min(everywhere, key=lambda alpha: error(alpha, folds)))
    # Rows of a fold do not influence its alpha.
    nested = sum(error(min(everywhere, key=lambda alpha: error(alpha, folds - {number})), {number}) for number in folds)
    assert found.held_out.rmse == pytest.approx(np.sqrt(nested / len(y)))


def test_ratings_by_the_prior_return_the_prior(slim, slim_prior):
    scores = unit(np.stack(slim["image_embedding"].to_numpy())) @ slim_prior.weight + slim_prior.bias
    taste = slim.assign(rating=40 - 5 * scores).aesthetic.fit("rating", prior=slim_prior)
    assert taste.alpha == math.inf
    assert taste.weight == pytest.approx(-5 * slim_prior.weight, abs=1e-8)
    assert taste.bias == pytest.approx(40 - 5 * slim_prior.bias, abs=1e-8)
    assert taste.held_out == taste.prior_held_out
    assert taste.held_out.pearson == pytest.approx(1, abs=1e-9)
    assert taste.held_out.rmse == pytest.approx(0, abs=1e-6)


def test_any_partitioning_gives_the_same_fit(slim, slim_prior):
    shuffled = slim.sample(frac=1, random_state=0).reset_index(drop=True)
    for prior in (slim_prior, None):
        whole = slim.aesthetic.fit("rating", prior=prior, width=64)
        for parts in (dd.from_pandas(slim, npartitions=20), dd.from_pandas(shuffled, npartitions=7)):
            found = parts.aesthetic.fit("rating", prior=prior, width=64)
            assert np.abs(found.weight - whole.weight).max() < 1e-6
            assert found.bias == pytest.approx(whole.bias, abs=1e-6)
            assert (found.alpha, found.rows, found.left_out) == (whole.alpha, 509, {})
            assert vars(found.held_out) == pytest.approx(vars(whole.held_out), abs=1e-6)


def test_column_kinds_give_the_same(verite, slim, slim_prior, kind):
    frame = columns.frame(7 * verite[:120, :64], kind)  # Vectors are scaled to norm 1.
    frame["rating"] = slim["rating"].iloc[:120].astype("float64[pyarrow]" if kind == "list" else "float64")
    found, expected = (some.aesthetic.fit("rating", prior=slim_prior) for some in (frame, slim.iloc[:120]))
    assert found.held_out.rmse == pytest.approx(expected.held_out.rmse, rel=0.3)  # Other bytes give other folds.
    found, expected = (some.aesthetic.fit("rating", prior=slim_prior, alpha=0.1) for some in (frame, slim.iloc[:120]))
    assert found.weight == pytest.approx(expected.weight, abs=1e-5)
    assert found.rows == 120


@pytest.mark.parametrize("dtype", ["float16", "float64"])
def test_float_dtypes_fall_into_the_same_folds(slim, slim_prior, verite, dtype):
    half = verite[:, :64].astype(np.float16)
    frames = [columns.frame(half, "list", some).assign(rating=slim["rating"]) for some in (dtype, "float32")]
    found, expected = (frame.aesthetic.fit("rating", prior=slim_prior) for frame in frames)
    assert vars(found.held_out) == pytest.approx(vars(expected.held_out), abs=1e-9)
    assert found.weight == pytest.approx(expected.weight, abs=1e-9)


def test_fit_on_a_cluster_of_processes(cluster):
    frame, _ = small()
    ddf = dd.from_pandas(frame, npartitions=4)
    with dask.config.set(scheduler=cluster):
        found = narrow(ddf)
    assert found.weight == pytest.approx(narrow(frame).weight, abs=1e-6)


def test_unusable_rows_are_left_out_and_counted(verite, slim, slim_prior):
    short = verite[:, :64]
    vectors = [*short, None, np.zeros(64), np.full(64, np.nan), np.ones(32), None, short[0], short[1]]
    bad = columns.frame(vectors, "list")
    bad["rating"] = pd.array([*slim["rating"], 5, 5, 5, 5, None, None, np.inf], "Float64")
    whole = slim.aesthetic.fit("rating", prior=slim_prior)
    for frames in (bad, dd.from_pandas(bad, npartitions=20), bad.iloc[::-1]):
        found = frames.aesthetic.fit("rating", prior=slim_prior)
        assert found.weight == pytest.approx(whole.weight, abs=1e-6)
        assert (found.rows, whole.rows) == (509, 509)
        assert found.left_out == {"missing": 1, "zero": 1, "not_finite": 1, "wrong_width": 1, "unrated": 3}
        assert "1 missing, 1 not_finite, 3 unrated, 1 wrong_width, 1 zero" in repr(found)
    assert whole.left_out == {}


@pytest.mark.parametrize("dtype", ["int64", "Int64", "int8", "float32", "int64[pyarrow]", "object"])
def test_rating_dtypes(dtype):
    frame, _ = small()
    stars = frame["rating"].round()
    assert narrow(frame.assign(rating=stars.astype("int64").astype(dtype))).weight == pytest.approx(
        narrow(frame.assign(rating=stars)).weight, abs=1e-9
    )
    if dtype in ("Int64", "object"):
        holes = stars.astype("Int64").where(np.arange(len(stars)) % 3 > 0).astype(dtype)
        assert narrow(frame.assign(rating=holes)).left_out == {"unrated": 67}
    liked = frame.assign(rating=frame["rating"] > 5)
    assert narrow(liked).weight == pytest.approx(narrow(liked.astype({"rating": "float64"})).weight)


def test_saved_predictor_scores_the_same(tmp_path, slim, slim_prior):
    taste = slim.aesthetic.fit("rating", name="mine", prior=slim_prior, alpha=1.0, folds=2)
    taste.save(tmp_path / "a.safetensors")
    pickle.loads(pickle.dumps(taste)).save(tmp_path / "b.safetensors")
    assert (tmp_path / "a.safetensors").read_bytes() == (tmp_path / "b.safetensors").read_bytes()
    loaded = load_predictor(tmp_path / "a.safetensors")
    assert loaded == taste
    assert loaded.info == taste.info
    assert (loaded.info.name, loaded.info.scale, loaded.info.encoder) == ("mine", "mine", "ViT-L-14-quickgelu (openai)")
    assert loaded.info.source == "fitted to 509 ratings in 'rating', shrunk towards slim"
    with safe_open(tmp_path / "a.safetensors", "np") as file:
        header = file.metadata()
    assert list(header) == ["dask_aesthetic"]
    values = json.loads(header["dask_aesthetic"])["fitted"]
    assert (values["alpha"], values["rows"], values["prior"]) == (1.0, 509, "slim")
    assert values["held_out"]["pearson"] == pytest.approx(taste.held_out.pearson, rel=1e-5)
    threshold = Threshold(slim["rating"].mean())
    expected = unit(np.stack(slim["image_embedding"].to_numpy())) @ taste.weight + taste.bias
    scores = slim.aesthetic.score(predictor=taste, threshold=threshold)["aesthetic_score"]
    assert scores.to_numpy() == pytest.approx(expected, abs=1e-4)
    for predictor in (loaded, tmp_path / "a.safetensors"):
        assert slim.aesthetic.score(predictor=predictor, threshold=5)["aesthetic_score"].tolist() == scores.tolist()
    lazy = dd.from_pandas(slim, npartitions=3).aesthetic.score(predictor=taste, threshold=threshold)
    assert lazy["aesthetic_score"].compute().tolist() == scores.tolist()
    assert slim.aesthetic.filter(predictor=taste, threshold=threshold)["rating"].mean() > slim["rating"].mean()


def test_presets_and_thresholds_of_another_predictor_are_refused(rated, slim, slim_prior):
    taste = slim.aesthetic.fit("rating", prior=slim_prior, alpha=1.0, folds=2)
    with pytest.raises(ThresholdError, match="taste scores are on a scale of their own"):
        slim.aesthetic.score(predictor=taste, threshold="high")
    threshold = rated.aesthetic.score().aesthetic.calibrate(keep_fraction=0.2, predictor="laion-v2")
    with pytest.raises(ThresholdError, match="for scores of taste, got one that was chosen by scores of laion-v2"):
        slim.aesthetic.score(predictor=taste, threshold=threshold)
    mine = slim.aesthetic.score(predictor=taste, threshold=5).aesthetic.calibrate(keep_fraction=0.2, predictor=taste)
    assert 102 <= len(slim.aesthetic.filter(predictor=taste, threshold=mine)) <= 110


def test_fitted_predictor_as_prior(slim, slim_prior):
    taste = slim.aesthetic.fit("rating", prior=slim_prior)
    again = slim.aesthetic.fit("rating", prior=taste, name="again")
    assert again.prior == "taste"
    assert again.held_out.rmse < taste.held_out.rmse  # The prior was fitted to all rows.


def test_repr_holds_the_held_out_figures():
    frame, _ = small()
    found = narrow(frame, name="<b>mine</b>", alpha=3)
    assert isinstance(found, FittedPredictor)
    for text in ("'rating' of 200 rows", "towards zero, alpha 3", f"rank correlation {found.held_out.spearman:.3f}"):
        assert text in repr(found)
        assert text.replace("'", "&#x27;") in found._repr_html_()
    assert "<b>" not in found._repr_html_()
    assert found.named("other").held_out == found.held_out


def test_rank_sample_is_the_same_on_any_partitioning(monkeypatch):
    frame, _ = small(rows=500, noise=1.0)
    spec = FitSpec.of("image_embedding", "rating", "mine", None, 1.0, WIDTH, 5, 0)

    def count(part):
        return sum_rows(part, "image_embedding", "rating", WIDTH, 5, 0)

    every = count(frame)
    monkeypatch.setattr(fit, "SAMPLE_ROWS", 50)
    whole, parts = count(frame), [count(frame[at : at + 9]) for at in range(0, 500, 9)]
    parted = add_sums([add_sums(parts[40:]), *parts[:40][::-1]])
    assert len(whole.sample.ratings) == 50
    lowest = np.argsort(every.sample.hashes)[:50]
    for sample in (whole.sample, parted.sample):
        assert np.array_equal(sample.ratings, every.sample.ratings[lowest])
        assert np.array_equal(sample.units, every.sample.units[lowest])
    found, expected = (fit_predictor(sums, spec).held_out for sums in (parted, every))
    assert found.rmse == pytest.approx(expected.rmse)
    assert found.spearman == fit_predictor(whole, spec).held_out.spearman
    assert found.spearman == pytest.approx(expected.spearman, abs=0.3)


def test_fit_reads_two_columns_in_one_pass(tmp_path):
    frame, _ = small()
    lists = columns.array(np.stack(frame["image_embedding"].to_numpy()), "list", "float64")
    table = pa.table({"image_embedding": lists, "heavy": lists, "rating": frame["rating"]})
    for at in range(4):
        pq.write_table(table.slice(50 * at, 50), tmp_path / f"{at}.parquet")
    spoil(str(tmp_path), {"heavy"})
    found = narrow(dd.read_parquet(tmp_path, dtype_backend="pyarrow"))
    assert found.weight == pytest.approx(narrow(frame).weight, abs=1e-6)
    reads = []
    ddf = dd.from_pandas(frame[["image_embedding", "rating"]], npartitions=3)
    narrow(ddf.map_partitions(lambda part: reads.append(len(part)) or part, meta=ddf._meta))
    assert sum(reads) == 200


@pytest.mark.parametrize(
    ("change", "options", "error", "message"),
    [
        (
            {},
            {"alpha": 0},
            ArgumentError,
            "alpha above 0, got 0: the .* rated rows outside one of the folds diff",
        ),
        ({"rating": 5.0}, {}, ColumnError, "different ratings in 'rating', got 5 in each of 10 rows"),
        ({"rating": np.nan}, {}, ColumnError, "usable floats in 'image_embedding', got none .left out: 10 unrated"),
        ({"rating": "good"}, {}, ColumnError, "expected numbers in rating_column='rating', got"),
        ({}, {"folds": 11}, ArgumentError, "a rated row for each of 11 folds, got 10 of them"),
        ({}, {"folds": 1}, ArgumentError, "folds to be a whole number, 2 or more, got 1"),
        ({}, {"seed": -1}, ArgumentError, "seed to be a whole number"),
        ({}, {"alpha": -1}, ArgumentError, "alpha to be 'auto' or a number, 0 or more, got -1"),
        ({}, {"alpha": "strong"}, ArgumentError, "got 'strong'"),
        ({}, {"alpha": float("nan")}, ArgumentError, "got nan"),
        ({}, {"name": "laion-v2"}, ArgumentError, "a name of your own for the predictor, got 'laion-v2'"),
        ({}, {"name": ""}, ArgumentError, "a name of your own"),
        ({}, {"name": "cosine similarity"}, ArgumentError, "a name of your own"),
        ({}, {"width": 0}, ArgumentError, "width"),
        ({}, {"width": 13}, ColumnError, r"10 wrong_width.*width=\.\.\. sets another width"),
        ({}, {"prior": "laion-v2", "width": 12}, ArgumentError, "width to be the prior's, 768, got 12"),
        ({}, {"prior": "nothing"}, PredictorError, "among laion-v2"),
        (
            {},
            {"prior": "laion-v2", "width": None},
            ColumnError,
            "768 usable floats .* got none .left out: 10 wrong_width",
        ),
    ],
)
def test_invalid_fits_are_refused(change, options, error, message):
    frame = small(rows=10)[0].assign(**change)
    for frames in (frame, dd.from_pandas(frame, npartitions=3)):
        with pytest.raises(error, match=message):
            narrow(frames, **options)


def test_equal_embeddings_are_refused():
    frame, _ = small(rows=20)
    same = frame.assign(image_embedding=[frame["image_embedding"][0]] * 20)
    with pytest.raises(ColumnError, match="20 that are the same or nearly so"):
        narrow(same)
    with pytest.raises(ColumnError, match="the same or nearly so"):
        narrow(
            same.assign(image_embedding=[np.array(row) * (at + 1) for at, row in enumerate(same["image_embedding"])])
        )
    flat = frame.assign(image_embedding=[np.append(np.array(row)[:-1], 0) for row in frame["image_embedding"]])
    wide = pd.concat([flat] * 10, ignore_index=True)
    with pytest.raises(ArgumentError, match="differ in 11 directions, which do not settle 12 weights"):
        narrow(wide, alpha=0)
    assert narrow(wide, alpha=0.1).weight[-1] == 0
    with pytest.raises(ColumnError, match=r"got none .left out: none"):
        narrow(frame.iloc[:0])


def test_missing_columns_are_refused():
    frame, _ = small(rows=20)
    ddf = dd.from_pandas(frame, npartitions=2)
    with no_compute():
        for frames in (frame, ddf):
            with pytest.raises(ColumnError, match="rating_column='stars' to be a column; the frame has 'key'"):
                frames.aesthetic.fit("stars")
            with pytest.raises(ColumnError, match="expected an embedding column 'emb'"):
                frames.aesthetic.fit("rating", "emb")
            with pytest.raises(ColumnError, match="differ from the embedding column"):
                frames.aesthetic.fit("image_embedding")


def test_network_is_refused_as_prior(shared, rated):
    with pytest.raises(PredictorError, match=r"one affine map, got .*, which is a network"):
        rated.aesthetic.fit("score", prior=shared / "weights/ava+logos-l14-reluMSE.pth")
