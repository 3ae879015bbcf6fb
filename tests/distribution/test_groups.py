"""Distributions of groups against pandas groupby."""

from __future__ import annotations

import copy
import pickle

import dask
import dask.dataframe as dd
import matplotlib as mpl
import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest

import dask_aesthetic
from dask_aesthetic import ColumnError, ScoreDistribution, ThresholdError
from dask_aesthetic.distribution import add_groups
from dask_aesthetic.synthetic import write_demo


@pytest.mark.parametrize("dtype", ["object", "string", "category", "string[pyarrow]"])
def test_group_rates_equal_groupby(synthetic, dtype):
    source = np.array(["b", "a", None, "<c>"], object)[np.arange(len(synthetic)) * 5 // 3 % 4]
    frame = pd.DataFrame({"aesthetic_score": synthetic, "source": pd.Series(source).astype(dtype)})
    groups = frame.aesthetic.distribution(by="source")
    expected = (
        frame["aesthetic_score"].ge(5).groupby(frame["source"].astype(object), dropna=False).agg(["mean", "size"])
    )
    assert list(groups) == ["<c>", "a", "b", None]
    for name, rate, rows in expected.itertuples():
        group = groups[None if pd.isna(name) else name]
        assert (group.keep_rate(5), group.rows) == (pytest.approx(rate, abs=1e-15), rows)
    assert sum(groups.values()) == frame.aesthetic.distribution()


def test_numeric_groups_with_nulls_in_some_partitions():
    frame = pd.DataFrame({"aesthetic_score": [4.0, 5.0, 6.0, 7.0], "year": [2020, 2021, np.nan, 2020]})
    groups = dd.from_pandas(frame, npartitions=3).aesthetic.distribution(by="year")
    assert {year: group.count for year, group in groups.items()} == {2020: 2, 2021: 1, None: 1}


def test_too_many_groups_are_refused():
    frame = pd.DataFrame({"aesthetic_score": np.ones(10_001), "key": np.arange(10_001)})
    with pytest.raises(ColumnError, match="at most 10,000 groups as by, got 'key'"):
        frame.aesthetic.distribution(by="key")
    one = ScoreDistribution.of([1.0])
    few, more = dict.fromkeys(range(5000), one), dict.fromkeys(range(5000, 10_001), one)
    with pytest.raises(ColumnError, match="at most 10,000 groups as by, got 'key'"):
        add_groups([few, more], "key")
    assert len(add_groups([few, few], "key")) == 5000


@pytest.mark.parametrize(("scheduler", "partitions"), [("sync", 1), ("sync", 2), ("threads", 17)])
def test_dask_equals_pandas(unusual, scheduler, partitions):
    status = pd.Categorical(np.where(np.isfinite(unusual), "ok", "zero"))
    source = np.array(["a", "b", None, "c"], object)[np.arange(len(unusual)) % 4]
    frame = pd.DataFrame({"aesthetic_score": unusual, "status": status, "source": source})
    ddf = dd.from_pandas(frame, npartitions=partitions)
    with dask.config.set(scheduler=scheduler):
        for options in ({}, {"status_column": "status"}, {"status_column": "status", "by": "source"}):
            assert ddf.aesthetic.distribution(**options) == frame.aesthetic.distribution(**options)


@pytest.fixture
def many():
    rng = np.random.default_rng(0)
    sizes = rng.permutation(np.arange(1, 61))
    year = np.repeat(np.arange(1960, 2020), sizes)
    return pd.DataFrame({"aesthetic_score": rng.normal(5, 1, len(year)), "year": year})


def test_a_table_of_groups_has_the_numbers_of_groupby(many):
    few = many[many["year"] < 1965]
    groups = few.aesthetic.distribution(by="year", predictor="laion-v2")
    title, head, *lines = repr(groups).splitlines()
    assert title == f"Scores by 'year': 5 groups, {len(few):,} rows"
    assert head.split() == ["year", "rows", "scored", "1%", "25%", "50%", "75%", "99%", ">=", "5"]
    expected = few["aesthetic_score"].groupby(few["year"])
    for line, (year, scores) in zip(lines, expected, strict=False):
        name, rows, scored, *quantiles, kept = line.split()
        assert (name, int(rows), int(scored)) == (str(year), len(scores), len(scores))
        exact = np.quantile(scores, [0.01, 0.25, 0.5, 0.75, 0.99], method="inverted_cdf")
        assert np.abs(np.array(quantiles, float) - exact).max() <= 0.0101
        assert kept == f"{(scores >= 5).mean():.2%}"
    assert lines[-1].split()[:3] == ["all", f"{len(few):,}", f"{len(few):,}"]
    assert lines[-1].split()[-1] == f"{(few['aesthetic_score'] >= 5).mean():.2%}"


def test_a_long_table_has_the_largest_groups_in_order(many):
    groups = many.aesthetic.distribution(by="year")
    lines = repr(groups).splitlines()[2:]
    sizes = many["year"].value_counts()
    assert [line.split()[0] for line in lines[:20]] == [str(year) for year in sorted(sizes.index[:20])]
    assert lines[20].strip() == "... and 40 more groups, of up to 40 rows each"
    assert lines[21].split()[:2] == ["all", f"{len(many):,}"]
    assert len(lines) == 22
    assert groups._repr_html_().count("<tr>") == 23


def test_groups_are_in_the_order_of_their_values():
    frame = pd.DataFrame({"aesthetic_score": [5.0] * 4, "n": [10, 9, 100, 1], "mixed": [2, "b", None, "a"]})
    assert list(frame.aesthetic.distribution(by="n")) == [1, 9, 10, 100]
    assert list(frame.aesthetic.distribution(by="mixed")) == [2, "a", "b", None]


def test_the_threshold_of_a_table_is_the_runs_or_the_predictors(tmp_path):
    write_demo(tmp_path / "in", rows=200)
    both = {"aesthetic_score": "laion-v2", "unsafe": "nsfw-l14"}
    dask_aesthetic.score_dataset(tmp_path / "in", tmp_path / "out", predictor=both, threshold=4.25)
    scores = dask_aesthetic.read_scores(tmp_path / "out")
    kept = scores.aesthetic.distribution(by="status")
    assert " >= 4.25" in repr(kept).splitlines()[1]
    values = scores.compute()
    assert kept.to_frame()["kept"]["ok"] == pytest.approx((values["aesthetic_score"] >= 4.25).sum() / kept["ok"].count)
    unknown = scores.aesthetic.distribution("unsafe", by="status")
    assert repr(unknown).splitlines()[1].split()[-2:] == ["<=", "0.5"]  # The run has none for it: the predictor's.
    frame = values[["unsafe", "status"]].rename(columns={"unsafe": "p"})
    named = frame.aesthetic.distribution("p", by="status", predictor="nsfw-l14")
    assert repr(named).splitlines()[1].endswith(" <= 0.5")
    assert repr(named).splitlines()[-1].split()[-1] == "100.00%"
    best = 100 * (frame["p"] <= 0.01).sum() / frame["p"].notna().sum()
    assert 0 < best < 100
    assert 100 * named.to_frame(threshold=dask_aesthetic.Threshold(0.01))["kept"]["ok"] == pytest.approx(best, abs=1)


def test_numbers_of_groups_as_a_frame(many):
    groups = many.assign(year=many["year"].where(many["year"] > 1962)).aesthetic.distribution(by="year")
    frame = groups.to_frame(threshold=5.5)
    assert frame.index.tolist()[-1] is None
    assert frame.index.name == "year"
    for year, row in frame.iterrows():
        assert row["rows"] == groups[year].rows
        assert (row["mean"], row["q50"]) == (groups[year].mean, groups[year].quantile(0.5))
        assert row["kept"] == groups[year].rate(5.5)


def test_terms_are_in_the_order_in_which_they_were_given():
    frame = pd.DataFrame({"aesthetic_score": [4.0, 6.0, 5.0], "caption": ["a zebra", "an ape", "zebra and ape"]})
    groups = frame.aesthetic.distribution(terms=["zebra", "ape"])
    lines = [line.split() for line in repr(groups).splitlines()]
    assert " ".join(lines[0]).startswith("Scores by term in 'caption': 2 terms; a row counts")
    assert [line[:2] for line in lines[1:]] == [["term", "rows"], ["zebra", "2"], ["ape", "2"], ["(none)", "0"]]


def test_a_dict_of_groups_survives_pickling_and_copies(many):
    groups = many.aesthetic.distribution(by="year")
    for again in (pickle.loads(pickle.dumps(groups)), copy.copy(groups)):
        assert again == groups
        assert repr(again) == repr(groups)


def test_boxes_stand_at_the_quantiles(many):
    mpl.use("agg")
    plain = many.assign(year=many["year"].map(lambda year: f"$\\frac{{{year}<b>"))
    groups = plain.aesthetic.distribution(by="year")
    figure, ax = plt.subplots()
    assert groups.plot(ax=ax, threshold=5.5, color="red", height=0.5) is ax
    figure.canvas.draw()
    bars = ax.patches
    shown = [label.get_text() for label in ax.get_yticklabels()]
    assert len(bars) == len(shown) == 20
    for bar, name in zip(bars, shown, strict=True):
        assert bar.get_x() == pytest.approx(groups[name].quantile(0.25))
        assert bar.get_x() + bar.get_width() == pytest.approx(groups[name].quantile(0.75))
        assert bar.get_facecolor()[:3] == (1, 0, 0)
    assert any(line.get_xdata()[0] == 5.5 for line in ax.lines)
    assert ax.get_ylim()[0] > ax.get_ylim()[1]  # The first group is on top.
    with pytest.raises(ThresholdError, match=r"did you mean 5\.5"):
        groups.plot(ax=ax, threshold=0.55)
    plt.close(figure)
