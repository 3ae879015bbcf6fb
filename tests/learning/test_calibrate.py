"""Thresholds by keep fraction, number of rows and labels, against counts row by row."""

from __future__ import annotations

import pickle
import sys

import dask.dataframe as dd
import numpy as np
import pandas as pd
import pytest

from dask_aesthetic import (
    ArgumentError,
    Calibration,
    ColumnError,
    MissingDependencyError,
    ScoreDistribution,
    Threshold,
    ThresholdError,
)
from dask_aesthetic.errors import AestheticWarning
from dask_aesthetic.learning import calibrate
from helpers import columns
from helpers.laziness import no_compute


@pytest.fixture(scope="module")
def scored(verite, shared) -> pd.DataFrame:
    """Real scores with two label columns: captions labeled true, and noisy likes with a third of the labels missing."""
    frame = columns.frame(verite, "list").aesthetic.score()[["aesthetic_score"]]
    true = pd.read_csv(shared / "data/verite_l14/captions.csv")["label"].eq("true").astype("boolean")
    noise = np.random.default_rng(0).normal(0, 0.3, len(frame))
    liked = pd.Series(frame["aesthetic_score"] + noise > 4.6, dtype="boolean")
    return frame.assign(true=true, liked=liked.where(np.arange(len(frame)) % 3 > 0))


def labeled(rows: int = 300, seed: int = 0, ties: bool = False) -> pd.DataFrame:
    rng = np.random.default_rng(seed)
    scores = rng.normal(4.5, 0.8, rows)
    scores = (scores.round(1) if ties else scores).astype(np.float32)
    return pd.DataFrame({"aesthetic_score": scores, "liked": (scores + rng.normal(0, 0.6, rows) > 4.8).astype(float)})


def by_counting(scores, liked) -> dict[float, tuple[float, float, float, int]]:
    """Precision, recall, F1 and kept rows at every score."""
    found = {}
    for threshold in sorted(set(scores.tolist())):
        kept = scores >= np.float32(threshold)
        right = int((kept & (liked == 1)).sum())
        precision, recall = right / int(kept.sum()), right / int((liked == 1).sum())
        f1 = 2 * precision * recall / (precision + recall) if right else 0.0
        found[threshold] = precision, recall, f1, int(kept.sum())
    return found


def best_f1(frame) -> tuple[float, float]:
    """Highest threshold with the best F1, and that F1."""
    curve = by_counting(frame["aesthetic_score"].to_numpy(), frame["liked"].to_numpy())
    return max(((threshold, f1) for threshold, (_, _, f1, _) in curve.items()), key=lambda pair: (pair[1], pair[0]))


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("ties", [False, True])
def test_curve_and_best_f1_equal_counts(seed, ties):
    frame = labeled(seed=seed, ties=ties)
    found = frame.aesthetic.calibrate(label_column="liked")
    expected = by_counting(frame["aesthetic_score"].to_numpy(), frame["liked"].to_numpy())
    assert found.curve.index.tolist() == list(expected)
    assert found.curve.to_numpy() == pytest.approx(np.array(list(expected.values())), abs=1e-12)
    most = max(f1 for _, _, f1, _ in expected.values())
    assert found.value == max(threshold for threshold, (_, _, f1, _) in expected.items() if f1 > most - 1e-12)
    assert found.best["f1"] == pytest.approx(most)
    assert (found.rows, found.left_out) == (300, {})
    assert found.name == f"best F1, {most:.3f}, of 300 labeled rows"


def test_ties_of_f1_choose_the_highest_threshold():
    # F1 at 4 is 2 * 2 / (4 + 2), and at 6 it is 2 * 1 / (1 + 2): the same.
    frame = pd.DataFrame({"aesthetic_score": [4.0, 5.0, 5.5, 6.0], "liked": [True, False, False, True]})
    for order in ([0, 1, 2, 3], [3, 1, 0, 2]):
        found = frame.iloc[order].aesthetic.calibrate(label_column="liked")
        assert found.curve["f1"].tolist() == [2 / 3, 0.4, 0.5, 2 / 3]
        assert found.value == 6.0


def test_threshold_by_labels_keeps_the_best_f1_in_score(verite, scored):
    threshold = scored.aesthetic.calibrate(label_column="liked", predictor="laion-v2")
    rows = scored["liked"].notna().to_numpy()
    scores, liked = scored["aesthetic_score"].to_numpy()[rows], scored["liked"][rows].astype(int).to_numpy()
    f1 = max(f1 for _, _, f1, _ in by_counting(scores, liked).values())
    kept = columns.frame(verite, "list").aesthetic.score(threshold=threshold)["keep"].to_numpy()[rows]
    right = (kept & (liked == 1)).sum()
    assert 2 * right / (kept.sum() + liked.sum()) == pytest.approx(f1)
    assert kept.sum() == threshold.best["kept"]
    assert 0.7 < f1 < 1
    assert (threshold.rows, threshold.left_out) == (339, {"unlabeled": 170})
    assert (threshold.predictor, threshold.scale) == ("laion-v2", "raw")
    assert scored.aesthetic.distribution(predictor="laion-v2").kept(threshold) == pytest.approx(
        (scored["aesthetic_score"] >= threshold.cut).sum(), abs=9
    )


def test_labels_independent_of_scores_keep_nearly_all(scored):
    found = scored.aesthetic.calibrate(label_column="true")
    assert found.best["recall"] > 0.9
    assert found.best["f1"] < 0.6


def test_any_partitioning_gives_the_same_threshold_curve_and_interval(scored):
    whole = scored.aesthetic.calibrate(label_column="liked")
    for frame in (scored, scored.iloc[::-1], scored.sample(frac=1, random_state=1)):
        for parts in (1, 20):
            ddf = dd.from_pandas(frame.reset_index(drop=True), npartitions=parts)
            found = ddf.aesthetic.calibrate(label_column="liked")
            assert found == whole
            assert (found.interval, found.f1_interval) == (whole.interval, whole.f1_interval)
            pd.testing.assert_frame_equal(found.curve, whole.curve)


def test_bootstrap_intervals_cover_other_samples():
    found = labeled(seed=0).aesthetic.calibrate(label_column="liked")
    others = [best_f1(labeled(seed=seed)) for seed in range(1, 41)]
    low, high = found.interval
    assert low < found.value < high
    assert sum(low <= threshold <= high for threshold, _ in others) >= 30
    assert found.f1_interval[0] < found.best["f1"] < found.f1_interval[1] + 0.05
    assert sum(found.f1_interval[0] <= f1 <= found.f1_interval[1] for _, f1 in others) >= 25
    again = labeled(seed=0).aesthetic.calibrate(label_column="liked")
    other = labeled(seed=0).aesthetic.calibrate(label_column="liked", seed=1)
    assert again.f1_interval == found.f1_interval != other.f1_interval
    wide = labeled(rows=30).aesthetic.calibrate(label_column="liked")
    assert np.ptp(wide.f1_interval) > np.ptp(found.f1_interval)


@pytest.mark.parametrize("share", [0.05, 0.2, 0.9])
def test_keep_fraction_and_n_are_exact_to_the_row(verite, scored, share):
    scores = scored["aesthetic_score"].to_numpy()
    asked = int(np.ceil(share * len(scores)))
    for frame in (scored, dd.from_pandas(scored, npartitions=9)):
        for options in ({"keep_fraction": share}, {"n": asked}):
            threshold = frame.aesthetic.calibrate(predictor="laion-v2", **options)
            assert threshold.value == np.sort(scores)[::-1][asked - 1]
            kept = columns.frame(verite, "list").aesthetic.filter(threshold=threshold)
            assert (scores > threshold.value).sum() < asked <= len(kept) == (scores >= threshold.value).sum()
            assert threshold.predictor == "laion-v2"
            assert threshold.rows == len(scores)
    for score, row in threshold.curve[::7].iterrows():
        assert row["kept"] == (scores >= np.float32(score)).sum()
    assert threshold.curve["kept"].iloc[0] == len(scores)
    assert threshold.curve["kept"].iloc[-1] == 0
    assert (threshold.interval, threshold.f1_interval) == (None, None)


def test_unit_scores_give_unit_thresholds(verite):
    frame = columns.frame(verite, "list")
    unit = frame.aesthetic.score(scale="unit")
    unit["liked"] = unit["aesthetic_score"] > 0.45
    for options in ({"keep_fraction": 0.2}, {"label_column": "liked"}):
        threshold = unit.aesthetic.calibrate(scale="unit", **options)
        assert threshold.scale == "unit"
        assert 0.2 < threshold.value < 0.7
        kept = frame.aesthetic.filter(threshold=threshold, scale="unit")
        assert len(kept) == (unit["aesthetic_score"] >= threshold.cut).sum()
        assert abs(len(frame.aesthetic.filter(threshold=threshold)) - len(kept)) <= 3  # Conversion to raw rounds again.


@pytest.mark.parametrize("dtype", ["object", "boolean", "Int8", "float32", "bool[pyarrow]", "int64[pyarrow]"])
def test_label_dtypes(dtype):
    frame = labeled()
    frame.loc[::4, "liked"] = np.nan
    expected = frame.aesthetic.calibrate(label_column="liked")
    liked = frame["liked"].astype("boolean")
    if dtype == "object":
        liked = pd.Series([None if value is pd.NA else bool(value) for value in liked], dtype=object)
    else:
        liked = (
            liked.astype("Int8").astype(dtype) if "int" in dtype.lower() or "float" in dtype else liked.astype(dtype)
        )
    found = frame.assign(liked=liked).aesthetic.calibrate(label_column="liked")
    assert found == expected
    assert found.left_out == {"unlabeled": 75}


def test_labeled_rows_without_a_score_are_left_out_and_counted():
    frame = labeled()
    more = pd.concat([frame, pd.DataFrame({"aesthetic_score": [np.nan, np.inf, np.nan], "liked": [1, 0, np.nan]})])
    more = more.astype({"aesthetic_score": "float32"})
    found = more.aesthetic.calibrate(label_column="liked")
    assert found == frame.aesthetic.calibrate(label_column="liked")
    assert found.left_out == {"unlabeled": 1, "unscored": 2}
    assert more.aesthetic.calibrate(n=3).left_out == {"unscored": 3}


@pytest.mark.parametrize(
    ("change", "options", "error", "message"),
    [
        (
            {"liked": 1},
            {"label_column": "liked"},
            ColumnError,
            "and rows labeled drop, got 300 labeled keep: label some",
        ),
        ({"liked": 0}, {"label_column": "liked"}, ColumnError, "got 300 labeled drop: label some keep"),
        ({"liked": np.nan}, {"label_column": "liked"}, ColumnError, "got none: 300 without a label. Label a few"),
        (
            {"aesthetic_score": np.nan},
            {"label_column": "liked"},
            ColumnError,
            "got none: 0 without a label and 300 with a label but no score",
        ),
        ({"liked": 7}, {"label_column": "liked"}, ColumnError, "null for rows without a label .*, got 7: for ratings"),
        (
            {"liked": "keep"},
            {"label_column": "liked"},
            ColumnError,
            "numbers in label_column='liked', got .* == 'keep'",
        ),
        ({}, {"label_column": "loved"}, ColumnError, "label_column='loved' to be a column"),
        ({}, {"score_column": "score", "n": 3}, ColumnError, "score_column='score' to be a column"),
        ({}, {}, ArgumentError, "one of keep_fraction, n and label_column, got none of them"),
        ({}, {"n": 3, "keep_fraction": 0.1}, ArgumentError, "got keep_fraction=0.1 and n=3"),
        ({}, {"n": 3, "label_column": "liked"}, ArgumentError, "got n=3 and label_column='liked'"),
        ({}, {"n": 301}, ArgumentError, "rows from 1 to 300"),
        ({}, {"keep_fraction": 20}, ArgumentError, "did you mean 0.2"),
        ({}, {"label_column": "liked", "scale": "percent"}, ArgumentError, "scale"),
        ({"aesthetic_score": np.nan}, {"n": 3}, ThresholdError, "got none in 300 rows"),
    ],
)
def test_invalid_calibrations_are_refused(change, options, error, message):
    frame = labeled().assign(**change)
    for frames in (frame, dd.from_pandas(frame, npartitions=3)):
        with pytest.raises(error, match=message):
            frames.aesthetic.calibrate(**options)


def test_too_many_distinct_scores_are_refused(monkeypatch):
    monkeypatch.setattr(calibrate, "MOST_SCORES", 100)
    with pytest.raises(ArgumentError, match="at most 100 different scores"):
        dd.from_pandas(labeled(), npartitions=3).aesthetic.calibrate(label_column="liked")
    with pytest.raises(ArgumentError, match="at most 100 different scores"):
        labeled().aesthetic.calibrate(label_column="liked")
    assert labeled(ties=True).aesthetic.calibrate(label_column="liked").rows == 300


def test_missing_columns_are_refused_before_computing():
    ddf = dd.from_pandas(labeled(), npartitions=3)
    with no_compute(), pytest.raises(ColumnError, match="label_column='loved'"):
        ddf.aesthetic.calibrate(label_column="loved")


def test_ties_that_keep_nearly_all_warn():
    frame = pd.DataFrame({"aesthetic_score": np.full(100, 5.5)})
    with pytest.warns(AestheticWarning, match="which keeps 100"):
        frame.aesthetic.calibrate(keep_fraction=0.2)


def test_calibration_is_a_threshold():
    found = labeled().aesthetic.calibrate(label_column="liked", predictor="laion-v2")
    assert Threshold.from_dict(found.to_dict()) == found.on("raw")
    assert isinstance(found, Calibration)
    assert pickle.loads(pickle.dumps(found)).interval == found.interval


def test_a_threshold_is_refused_for_scores_of_another_predictor(verite):
    frame = columns.frame(verite, "list")
    threshold = frame.aesthetic.score().aesthetic.calibrate(keep_fraction=0.2, predictor="laion-v2")
    message = r"for scores of laion-v1-l14, got one that was chosen by scores of laion-v2 .* is taken as it stands"
    with pytest.raises(ThresholdError, match=message):
        frame.aesthetic.score(predictor="laion-v1-l14", threshold=threshold)
    with pytest.raises(ThresholdError, match=message):
        ScoreDistribution.of([5.0], predictor="laion-v1-l14", predictor_scale="laion-v1").keep_rate(threshold)
    assert len(frame.aesthetic.filter(predictor="laion-v1-l14", threshold=Threshold(threshold.value))) > 0
    assert len(frame.aesthetic.filter(threshold=threshold, scale="unit")) == 102
    assert threshold.on("unit").predictor == "laion-v2"
    anonymous = frame.aesthetic.score().aesthetic.calibrate(keep_fraction=0.2)
    assert anonymous.predictor == "unknown"
    assert frame.aesthetic.score(threshold=anonymous)["keep"].any()
    with pytest.raises(ThresholdError, match=r"of an unknown predictor .* with predictor='laion-v1-l14'"):
        frame.aesthetic.score(predictor="laion-v1-l14", threshold=anonymous)


def test_plot_draws_the_curve():
    matplotlib = pytest.importorskip("matplotlib")
    matplotlib.use("agg")
    from matplotlib.figure import Figure

    found = labeled().aesthetic.calibrate(label_column="liked", predictor="laion-v2")
    ax = found.plot(Figure().subplots())
    names = [text.get_text() for text in ax.get_legend().get_texts()]
    assert names == ["precision", "recall", "f1", "kept", f"threshold {found.value:g}"]
    drawn = {line.get_label(): line for line in ax.get_lines()}
    assert drawn["f1"].get_ydata().tolist() == found.curve["f1"].tolist()
    assert drawn["kept"].get_ydata().max() == 1
    assert ax.get_xlabel() == "laion-v2 score (raw)"
    ax = labeled().aesthetic.calibrate(n=30).plot(Figure().subplots())
    assert len(ax.get_lines()) == 2


def test_plot_without_matplotlib_names_the_extra(monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    monkeypatch.delitem(sys.modules, "matplotlib.pyplot", raising=False)
    for plottable in (labeled().aesthetic.calibrate(n=1), ScoreDistribution.of([5.0])):
        with pytest.raises(MissingDependencyError, match=r"^a plot needs matplotlib, .*: pip install 'dask-aesthetic"):
            plottable.plot()
