"""Thresholds from shares, numbers of rows and labels, against counting row by row."""

from __future__ import annotations

import json
import pickle

import dask.dataframe as dd
import numpy as np
import pandas as pd
import pytest

from dask_aesthetic import ArgumentError, Calibration, ColumnError, ScoreDistribution, Threshold, ThresholdError
from dask_aesthetic.errors import AestheticWarning
from dask_aesthetic.learning import labels
from helpers import columns
from helpers.laziness import no_compute


@pytest.fixture(scope="module")
def scored(verite, shared) -> pd.DataFrame:
    """Real scores, and labels: true pictures are kept, a third of all is not labelled."""
    frame = columns.frame(verite, "list").aesthetic.score()[["aesthetic_score"]]
    true = pd.read_csv(shared / "data/verite_l14/captions.csv")["label"].eq("true").astype("boolean")
    noise = np.random.default_rng(0).normal(0, 0.3, len(frame))
    liked = pd.Series(frame["aesthetic_score"] + noise > 4.6, dtype="boolean")
    return frame.assign(true=true, liked=liked.where(np.arange(len(frame)) % 3 > 0))


def labelled(rows: int = 300, seed: int = 0, ties: bool = False) -> pd.DataFrame:
    rng = np.random.default_rng(seed)
    scores = rng.normal(4.5, 0.8, rows)
    scores = (scores.round(1) if ties else scores).astype(np.float32)
    return pd.DataFrame({"aesthetic_score": scores, "liked": (scores + rng.normal(0, 0.6, rows) > 4.8).astype(float)})


def by_counting(scores, liked) -> dict[float, tuple[float, float, float, int]]:
    """Precision, recall, F1 and kept rows at every score."""
    found = {}
    for cut in sorted(set(scores.tolist())):
        kept = scores >= np.float32(cut)
        right = int((kept & (liked == 1)).sum())
        precision, recall = right / int(kept.sum()), right / int((liked == 1).sum())
        f1 = 2 * precision * recall / (precision + recall) if right else 0.0
        found[cut] = precision, recall, f1, int(kept.sum())
    return found


@pytest.mark.parametrize("seed", range(6))
@pytest.mark.parametrize("ties", [False, True])
def test_the_curve_and_its_best_are_those_of_counting(seed, ties):
    frame = labelled(seed=seed, ties=ties)
    found = frame.aesthetic.calibrate(label_column="liked")
    expected = by_counting(frame["aesthetic_score"].to_numpy(), frame["liked"].to_numpy())
    assert found.curve.index.tolist() == list(expected)
    assert found.curve.to_numpy() == pytest.approx(np.array(list(expected.values())), abs=1e-12)
    most = max(f1 for _, _, f1, _ in expected.values())
    assert found.value == max(cut for cut, (_, _, f1, _) in expected.items() if f1 > most - 1e-12)
    assert found.best["f1"] == pytest.approx(most)
    assert (found.rows, found.left_out) == (300, {})
    assert found.name == f"best F1, {most:.3f}, of 300 labelled rows"


def test_of_equally_good_thresholds_the_highest_is_chosen():
    # F1 at 4 is 2 * 2 / (4 + 2), and at 6 it is 2 * 1 / (1 + 2): the same.
    frame = pd.DataFrame({"aesthetic_score": [4.0, 5.0, 5.5, 6.0], "liked": [True, False, False, True]})
    for order in ([0, 1, 2, 3], [3, 1, 0, 2]):
        found = frame.iloc[order].aesthetic.calibrate(label_column="liked")
        assert found.curve["f1"].tolist() == [2 / 3, 0.4, 0.5, 2 / 3]
        assert found.value == 6.0


def test_labels_on_real_scores_round_trip_through_score(verite, scored):
    cut = scored.aesthetic.calibrate(label_column="liked", predictor="laion-v2")
    rows = scored["liked"].notna().to_numpy()
    scores, liked = scored["aesthetic_score"].to_numpy()[rows], scored["liked"][rows].astype(int).to_numpy()
    f1 = max(f1 for _, _, f1, _ in by_counting(scores, liked).values())
    kept = columns.frame(verite, "list").aesthetic.score(threshold=cut)["keep"].to_numpy()[rows]
    right = (kept & (liked == 1)).sum()
    assert 2 * right / (kept.sum() + liked.sum()) == pytest.approx(f1)
    assert kept.sum() == cut.best["kept"]
    assert 0.7 < f1 < 1
    assert (cut.rows, cut.left_out) == (339, {"unlabelled": 170})
    assert (cut.predictor, cut.scale) == ("laion-v2", "raw")
    assert scored.aesthetic.distribution(predictor="laion-v2").kept(cut) == pytest.approx(
        (scored["aesthetic_score"] >= cut.cut).sum(), abs=9
    )


def test_labels_that_scores_know_nothing_of_keep_nearly_all(scored):
    found = scored.aesthetic.calibrate(label_column="true")
    assert found.best["recall"] > 0.9
    assert found.best["f1"] < 0.6


def test_any_partitioning_gives_the_same_threshold_curve_and_interval(scored):
    whole = scored.aesthetic.calibrate(label_column="liked")
    for frame in (scored, scored.iloc[::-1], scored.sample(frac=1, random_state=1)):
        for parts in (1, 7, 50):
            ddf = dd.from_pandas(frame.reset_index(drop=True), npartitions=parts)
            found = ddf.aesthetic.calibrate(label_column="liked")
            assert found == whole
            assert (found.interval, found.f1_interval) == (whole.interval, whole.f1_interval)
            pd.testing.assert_frame_equal(found.curve, whole.curve)


def test_intervals_hold_what_other_samples_give():
    found = labelled(seed=0).aesthetic.calibrate(label_column="liked")
    others = [labelled(seed=seed).aesthetic.calibrate(label_column="liked") for seed in range(1, 41)]
    low, high = found.interval
    assert low < found.value < high
    assert sum(low <= other.value <= high for other in others) >= 30
    assert found.f1_interval[0] < found.best["f1"] < found.f1_interval[1] + 0.05
    assert sum(found.f1_interval[0] <= other.best["f1"] <= found.f1_interval[1] for other in others) >= 25
    again = labelled(seed=0).aesthetic.calibrate(label_column="liked")
    other = labelled(seed=0).aesthetic.calibrate(label_column="liked", seed=1)
    assert again.f1_interval == found.f1_interval != other.f1_interval
    wide = labelled(rows=30).aesthetic.calibrate(label_column="liked")
    assert np.ptp(wide.f1_interval) > np.ptp(found.f1_interval)


@pytest.mark.parametrize("share", [0.05, 0.2, 0.9])
def test_shares_and_numbers_are_kept_to_the_row(verite, scored, share):
    scores = scored["aesthetic_score"].to_numpy()
    asked = int(np.ceil(share * len(scores)))
    for frame in (scored, dd.from_pandas(scored, npartitions=9)):
        for options in ({"keep_fraction": share}, {"n": asked}):
            cut = frame.aesthetic.calibrate(predictor="laion-v2", **options)
            assert cut.value == np.sort(scores)[::-1][asked - 1]
            kept = columns.frame(verite, "list").aesthetic.filter(threshold=cut)
            assert (scores > cut.value).sum() < asked <= len(kept) == (scores >= cut.value).sum()
            assert cut.predictor == "laion-v2"
            assert cut.rows == len(scores)
    for threshold in cut.curve.index[::7]:
        assert cut.curve.loc[threshold, "kept"] == (scores >= np.float32(threshold)).sum()
    assert cut.curve["kept"].iloc[0] == len(scores)
    assert cut.curve["kept"].iloc[-1] == 0
    assert (cut.interval, cut.f1_interval) == (None, None)


def test_unit_scores_give_unit_thresholds(verite):
    frame = columns.frame(verite, "list")
    unit = frame.aesthetic.score(scale="unit")
    unit["liked"] = unit["aesthetic_score"] > 0.45
    for options in ({"keep_fraction": 0.2}, {"label_column": "liked"}):
        cut = unit.aesthetic.calibrate(scale="unit", **options)
        assert cut.scale == "unit"
        assert 0.2 < cut.value < 0.7
        kept = frame.aesthetic.filter(threshold=cut, scale="unit")
        assert len(kept) == (unit["aesthetic_score"] >= cut.cut).sum()
        assert abs(len(frame.aesthetic.filter(threshold=cut)) - len(kept)) <= 3  # As raw, it is rounded anew.


@pytest.mark.parametrize("dtype", ["object", "boolean", "Int8", "float32", "bool[pyarrow]", "int64[pyarrow]"])
def test_labels_of_every_kind(dtype):
    frame = labelled()
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
    assert found.left_out == {"unlabelled": 75}


def test_labelled_rows_without_a_score_are_left_out_and_counted():
    frame = labelled()
    more = pd.concat([frame, pd.DataFrame({"aesthetic_score": [np.nan, np.inf, np.nan], "liked": [1, 0, np.nan]})])
    more = more.astype({"aesthetic_score": "float32"})
    found = more.aesthetic.calibrate(label_column="liked")
    assert found == frame.aesthetic.calibrate(label_column="liked")
    assert found.left_out == {"unlabelled": 1, "unscored": 2}
    assert more.aesthetic.calibrate(n=3).left_out == {"unscored": 3}


@pytest.mark.parametrize(
    ("change", "options", "error", "message"),
    [
        (
            {"liked": 1},
            {"label_column": "liked"},
            ColumnError,
            "and rows labelled drop, got 300 labelled keep: label some",
        ),
        ({"liked": 0}, {"label_column": "liked"}, ColumnError, "got 300 labelled drop: label some keep"),
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
def test_what_cannot_be_calibrated_is_told(change, options, error, message):
    frame = labelled().assign(**change)
    for frames in (frame, dd.from_pandas(frame, npartitions=3)):
        with pytest.raises(error, match=message):
            frames.aesthetic.calibrate(**options)


def test_more_labels_than_are_looked_at_one_by_one_are_refused(monkeypatch):
    monkeypatch.setattr(labels, "MOST_SCORES", 100)
    with pytest.raises(ArgumentError, match="at most 100 different scores"):
        dd.from_pandas(labelled(), npartitions=3).aesthetic.calibrate(label_column="liked")
    with pytest.raises(ArgumentError, match="at most 100 different scores"):
        labelled().aesthetic.calibrate(label_column="liked")
    assert labelled(ties=True).aesthetic.calibrate(label_column="liked").rows == 300


def test_missing_columns_are_told_before_anything_is_computed():
    ddf = dd.from_pandas(labelled(), npartitions=3)
    with no_compute(), pytest.raises(ColumnError, match="label_column='loved'"):
        ddf.aesthetic.calibrate(label_column="loved")


def test_ties_that_keep_nearly_all_are_warned_of():
    frame = pd.DataFrame({"aesthetic_score": np.full(100, 5.5)})
    with pytest.warns(AestheticWarning, match="which keeps 100"):
        frame.aesthetic.calibrate(keep_fraction=0.2)


def test_thresholds_are_told_to_people_and_to_json():
    cut = Threshold(5.12, name="keeps 0.2 of 1,000 scored rows", predictor="laion-v2")
    assert str(cut) == "raw score >= 5.12 for laion-v2: keeps 0.2 of 1,000 scored rows"
    assert str(Threshold(0.5, "unit")) == "unit score >= 0.5"
    assert Threshold(5, predictor="<b>")._repr_html_() == "<b>raw score &gt;= 5 for &lt;b&gt;</b>"
    assert Threshold.from_dict(json.loads(json.dumps(cut.to_dict()))) == cut
    assert Threshold.from_dict(Threshold(np.float32(5.25)).to_dict()).value == 5.25
    found = labelled().aesthetic.calibrate(label_column="liked", predictor="laion-v2")
    assert Threshold.from_dict(found.to_dict()) == found.on("raw")
    assert isinstance(found, Calibration)
    assert pickle.loads(pickle.dumps(found)).interval == found.interval
    with pytest.raises(ThresholdError, match=r"as Threshold\.to_dict tells it"):
        Threshold.from_dict({"value": 5, "sense": 3})


def test_a_threshold_is_refused_for_scores_of_another_predictor(verite):
    frame = columns.frame(verite, "list")
    cut = frame.aesthetic.score().aesthetic.calibrate(keep_fraction=0.2, predictor="laion-v2")
    message = r"for scores of laion-v1-l14, got one that was chosen by scores of laion-v2 .* is taken as it stands"
    with pytest.raises(ThresholdError, match=message):
        frame.aesthetic.score(predictor="laion-v1-l14", threshold=cut)
    with pytest.raises(ThresholdError, match=message):
        ScoreDistribution.of([5.0], predictor="laion-v1-l14", predictor_scale="laion-v1").keep_rate(cut)
    assert len(frame.aesthetic.filter(predictor="laion-v1-l14", threshold=Threshold(cut.value))) > 0
    assert len(frame.aesthetic.filter(threshold=cut, scale="unit")) == 102
    assert cut.on("unit").predictor == "laion-v2"
    anonymous = frame.aesthetic.score().aesthetic.calibrate(keep_fraction=0.2)
    assert anonymous.predictor == ""
    assert frame.aesthetic.score(predictor="laion-v1-l14", threshold=anonymous)["keep"].any()


def test_the_curve_is_drawn():
    matplotlib = pytest.importorskip("matplotlib")
    matplotlib.use("agg")
    from matplotlib.figure import Figure

    found = labelled().aesthetic.calibrate(label_column="liked", predictor="laion-v2")
    ax = found.plot(Figure().subplots())
    names = [text.get_text() for text in ax.get_legend().get_texts()]
    assert names == ["precision", "recall", "f1", "kept", f"threshold {found.value:g}"]
    drawn = {line.get_label(): line for line in ax.get_lines()}
    assert drawn["f1"].get_ydata().tolist() == found.curve["f1"].tolist()
    assert drawn["kept"].get_ydata().max() == 1
    assert ax.get_xlabel() == "laion-v2 score (raw)"
    ax = labelled().aesthetic.calibrate(n=30).plot(Figure().subplots())
    assert len(ax.get_lines()) == 2


def test_without_matplotlib_it_is_said_what_to_install(interpreter):
    code = (
        "import sys; sys.modules['matplotlib'] = None; import pandas as pd, dask_aesthetic\n"
        "cut = pd.DataFrame({'aesthetic_score': [4.0, 5.0]}).aesthetic.calibrate(n=1)\n"
        "try:\n    cut.plot()\n"
        "except dask_aesthetic.MissingDependencyError as error:\n    print(error)"
    )
    told = interpreter.run(code).stdout
    assert told.strip() == "a plot needs matplotlib, which is not installed: pip install 'dask-aesthetic[report]'"
