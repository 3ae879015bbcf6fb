"""Distributions against numpy and pandas: exact counts, any partitioning, thresholds that keep what they say."""

from __future__ import annotations

import json
import math
import pickle
import warnings
from fractions import Fraction

import dask
import dask.dataframe as dd
import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from dask_aesthetic import ArgumentError, ColumnError, InputError, ScoreDistribution, Threshold, ThresholdError
from dask_aesthetic.distribution import LAION_COUNTS, LAION_SHARES
from dask_aesthetic.distribution.counting import EDGES, bin_of
from dask_aesthetic.errors import AestheticWarning
from dask_aesthetic.job import score_dataset
from dask_aesthetic.synthetic import synthetic_embeddings
from helpers import columns
from helpers.parquet_files import spoil

QS = (0.0, 0.001, 0.125, 0.25, 1 / 3, 0.5, 0.9, 0.999, 1.0)
HALF = 0.005 + 1e-6


@pytest.fixture(scope="module")
def real(verite) -> np.ndarray:
    """Scores of real pictures; one picture has several captions, so there are ties."""
    return columns.frame(verite, "list").aesthetic.score()["aesthetic_score"].to_numpy()


@pytest.fixture(scope="module")
def synthetic() -> np.ndarray:
    return columns.frame(synthetic_embeddings(20_000), "list").aesthetic.score()["aesthetic_score"].to_numpy()


@pytest.fixture(scope="module")
def odd() -> np.ndarray:
    """Scores of every kind: far outside the bins, at edges, tiny, zeros of both signs, missing, infinite."""
    rng = np.random.default_rng(5)
    special = [-1e30, 3.4e38, -15, 25, np.nextafter(np.float32(25), np.float32(0)), 1e-45, -1e-40, 0.0, -0.0, 5.0, 4.99]
    parts = [rng.normal(4.5, 1, 3000), rng.normal(5, 40, 500), special, [np.nan] * 30, [np.inf, -np.inf]]
    return rng.permutation(np.concatenate(parts).astype(np.float32))


def exact(scores) -> list[Fraction]:
    return [Fraction(float(score)) for score in scores if np.isfinite(score)]


def test_ends_counts_mean_and_deviation_are_those_of_numpy(real, synthetic):
    for scores in (real, synthetic):
        distribution, wide = ScoreDistribution.of(scores), scores.astype(np.float64)
        assert (distribution.rows, distribution.count, distribution.missing) == (len(scores), len(scores), 0)
        assert (distribution.min, distribution.max) == (scores.min(), scores.max())
        assert distribution.mean == pytest.approx(wide.mean(), rel=1e-12)
        assert distribution.std == pytest.approx(wide.std(), rel=1e-12)


def test_the_real_distribution_is_that_of_the_reference(verite, reference):
    scored = columns.frame(verite, "list").aesthetic.score()
    expected = reference["sac+logos+ava1-l14-linearMSE"]
    distribution = scored.aesthetic.distribution(predictor="laion-v2")
    assert distribution.mean == pytest.approx(expected.mean(), abs=1e-6)
    assert distribution.kept("standard") == (expected >= 5).sum()
    assert distribution.quantile(0.9) == pytest.approx(np.quantile(expected, 0.9, method="inverted_cdf"), abs=HALF)


def test_sums_are_exact_whatever_is_added(odd):
    distribution, values = ScoreDistribution.of(odd), exact(odd)
    mean = sum(values) / len(values)
    assert distribution.count == len(values)
    assert distribution.mean == float(mean)
    assert distribution.std == math.sqrt(float(sum((value - mean) ** 2 for value in values) / len(values)))


def test_more_rows_than_are_counted_at_a_time_add_up(synthetic):
    many = np.concatenate([synthetic] * 60)  # More than 2**20 rows.
    distribution = ScoreDistribution.of(many)
    assert distribution == sum([ScoreDistribution.of(synthetic)] * 60)
    assert distribution.mean == ScoreDistribution.of(synthetic).mean


@pytest.mark.parametrize("scale", ["raw", "unit"])
def test_bins_are_those_that_a_search_finds(odd, scale):
    edges = EDGES[scale][1:-1]
    near = [edges, np.nextafter(edges, np.float32(-99)), np.nextafter(edges, np.float32(99))]
    values = np.concatenate([*near, odd[np.isfinite(odd)]])
    assert np.array_equal(bin_of(values, scale), np.searchsorted(EDGES[scale], values, side="right") - 1)


@pytest.mark.parametrize("q", QS)
def test_quantiles_lie_within_their_bin_and_are_exact_at_a_second_look(real, synthetic, q):
    for scores in (real, synthetic):
        distribution, expected = ScoreDistribution.of(scores), np.quantile(scores, q, method="inverted_cdf")
        assert distribution.quantile(q) == pytest.approx(expected, abs=HALF)
        assert distribution.quantile(q, pd.Series(scores)) == expected
        unit = ScoreDistribution.of(scores / np.float32(10), scale="unit")
        assert unit.quantile(q) == pytest.approx(expected / 10, abs=HALF / 10)
    assert ScoreDistribution.of(scores).quantile(0.0) == scores.min()
    assert ScoreDistribution.of(scores).quantile(1.0) == scores.max()


def test_a_share_of_rows_is_what_people_mean_by_it():
    scores = (np.arange(100) / 10).astype(np.float32)
    distribution = ScoreDistribution.of(scores)
    assert distribution.quantile(0.07, scores) == scores[6]  # 0.07 * 100 is a little more than 7 in float64.
    assert distribution.threshold_for(keep_fraction=0.07, scores=scores).cut == scores[93]


def test_scores_outside_the_bins_are_counted_at_their_ends(odd):
    distribution, found = ScoreDistribution.of(odd), odd[np.isfinite(odd)]
    assert (distribution.bins[0], distribution.bins[-1]) == ((found < -15).sum(), (found >= 25).sum())
    assert (distribution.min, distribution.max) == (found.min(), found.max())
    assert distribution.quantile(0.01) == found.min()
    assert distribution.quantile(0.99) == found.max()
    for q in QS:
        assert distribution.quantile(q, odd) == np.quantile(found, q, method="inverted_cdf")
    assert distribution.kept(Threshold(25)) == (found >= 25).sum()
    assert distribution.kept(Threshold(-15)) == (found >= -15).sum()
    assert distribution.threshold_for(keep_fraction=1.0).value == found.min()


def test_kept_counts_are_exact_at_every_hundredth_and_near_between(synthetic):
    distribution = ScoreDistribution.of(synthetic, predictor_scale="laion-v2")
    unit = ScoreDistribution.of(synthetic / np.float32(10), scale="unit")
    for hundredths in range(310, 620, 7):
        cut = hundredths / 100
        assert distribution.kept(cut) == (synthetic >= np.float32(cut)).sum()
        assert unit.kept(cut / 10) == (synthetic / np.float32(10) >= np.float32(cut / 10)).sum()
        inside = (synthetic >= cut - 0.01).sum() - (synthetic >= cut + 0.01).sum()
        assert abs(distribution.kept(cut + 0.003) - (synthetic >= np.float32(cut + 0.003)).sum()) <= inside
        assert distribution.keep_rate(cut) == distribution.kept(cut) / len(synthetic)
        assert distribution.percentile(cut) == pytest.approx(100 * (synthetic < np.float32(cut)).mean())
    assert distribution.kept("high") == distribution.kept(Threshold(0.6, "unit")) == (synthetic >= 6).sum()
    rates = [distribution.keep_rate(cut) for cut in np.linspace(3.1, 6.2, 2000)]
    assert rates == sorted(rates, reverse=True)


@pytest.mark.parametrize("share", [0.003, 0.05, 0.2, 0.5, 0.97])
def test_a_threshold_keeps_what_was_asked_and_at_most_a_bin_more(real, synthetic, share):
    for scores in (real, synthetic):
        distribution = ScoreDistribution.of(scores)
        asked = math.ceil(round(share * len(scores), 6))
        cut = distribution.threshold_for(keep_fraction=share)
        kept = (scores >= cut.cut).sum()
        assert kept == distribution.kept(cut) >= asked
        assert (scores >= np.float32(cut.value + 0.01)).sum() < asked
        assert cut.name == f"keeps {share:g} of {len(scores):,} scored rows"
        assert distribution.threshold_for(n=asked).value == cut.value
        close = distribution.threshold_for(n=asked, scores=pd.Series(scores))
        assert close.cut == np.sort(scores)[::-1][asked - 1]
        assert (scores > close.cut).sum() < asked <= (scores >= close.cut).sum()


def test_a_threshold_goes_into_score_as_it_is(verite, real):
    frame = columns.frame(verite, "list")
    cut = ScoreDistribution.of(real / np.float32(10), scale="unit").threshold_for(keep_fraction=0.2)
    assert cut.scale == "unit"
    kept = frame.aesthetic.filter(threshold=cut, scale="unit")
    assert 102 <= len(kept) == ScoreDistribution.of(real / np.float32(10), scale="unit").kept(cut)


def test_a_second_look_on_dask_is_a_second_pass(real):
    frame = pd.DataFrame({"aesthetic_score": real})
    ddf = dd.from_pandas(frame, npartitions=5)
    distribution = ddf.aesthetic.distribution()
    scores = ddf["aesthetic_score"]
    assert distribution.threshold_for(n=50, scores=scores).cut == np.sort(real)[-50]
    assert distribution.quantile(0.5, scores) == np.quantile(real, 0.5, method="inverted_cdf")
    for others in (real[:100], real + np.float32(3), scores[scores > 100]):
        with pytest.raises(ArgumentError, match="expected the scores that were counted"):
            distribution.quantile(0.5, others)


def test_any_partitioning_and_order_give_the_same_bytes(odd):
    status = np.where(np.isfinite(odd), "ok", np.where(np.isnan(odd), "missing", "not_finite"))
    whole = ScoreDistribution.of(odd, status=status)
    assert whole.reasons == {"missing": 30, "not_finite": 2}
    rng = np.random.default_rng(11)
    for _ in range(20):
        order = rng.permutation(len(odd))
        cuts = np.sort(rng.integers(0, len(odd), rng.integers(1, 40)))
        parts = [ScoreDistribution.of(odd[at], status=status[at]) for at in np.split(order, cuts)]
        assert sum(parts).to_json() == whole.to_json()
        assert sum(parts[::-1]).to_json() == whole.to_json()
    pairs = [ScoreDistribution.of(odd[at : at + 2], status=status[at : at + 2]) for at in range(0, len(odd), 2)]
    assert sum(pairs) == whole


def test_minus_zero_does_not_tell_the_order():
    zeros = [ScoreDistribution.of(np.float32(pair)) for pair in ([0.0, -0.0], [-0.0, 0.0], [-0.0, -0.0])]
    assert len({zero.to_json() for zero in zeros}) == 1


@pytest.mark.parametrize("partitions", [1, 2, 17, 40])
@pytest.mark.parametrize("scheduler", ["threads", "sync"])
def test_dask_counts_as_pandas_does(odd, partitions, scheduler):
    status = pd.Categorical(np.where(np.isfinite(odd), "ok", "zero"))
    source = np.array(["a", "b", None, "c"], object)[np.arange(len(odd)) % 4]
    frame = pd.DataFrame({"aesthetic_score": odd, "status": status, "source": source})
    ddf = dd.from_pandas(frame, npartitions=partitions)
    with dask.config.set(scheduler=scheduler):
        for options in ({}, {"status_column": "status"}, {"status_column": "status", "by": "source"}):
            assert ddf.aesthetic.distribution(**options) == frame.aesthetic.distribution(**options)


def test_dask_reads_the_score_column_alone(tmp_path, synthetic):
    table = {
        "key": np.arange(2000),
        "aesthetic_score": synthetic[:2000],
        "source": ["a", "b"] * 1000,
        "image_embedding": columns.array(np.zeros((2000, 8), np.float32), "list"),
    }
    for number in range(3):
        pq.write_table(pa.table(table), tmp_path / f"{number}.parquet")
    ddf = dd.read_parquet(tmp_path, dtype_backend="pyarrow")
    expected, groups = ddf.aesthetic.distribution(), ddf.aesthetic.distribution(by="source")
    spoil(str(tmp_path), {"key", "image_embedding"})
    assert dd.read_parquet(tmp_path, dtype_backend="pyarrow").aesthetic.distribution(by="source") == groups
    spoil(str(tmp_path), {"source"})
    assert dd.read_parquet(tmp_path, dtype_backend="pyarrow").aesthetic.distribution() == expected
    assert expected == sum([ScoreDistribution.of(synthetic[:2000])] * 3) == sum(groups.values())
    with pytest.raises(OSError, match=r"rupt|eserializ|Unexpected|hrift"):
        dd.read_parquet(tmp_path, dtype_backend="pyarrow").aesthetic.distribution(by="source")


def test_scores_not_yet_made_are_made_on_the_way(verite, real):
    ddf = dd.from_pandas(columns.frame(verite, "list"), npartitions=3).aesthetic.score()
    assert ddf.aesthetic.distribution() == ScoreDistribution.of(real)


@pytest.mark.parametrize(
    "dtype", ["float16", "float32", "float64", "Float32", "Float64", "float[pyarrow]", "double[pyarrow]"]
)
def test_columns_of_every_float(real, dtype):
    values = real.astype(np.float16).astype(np.float32) if dtype == "float16" else real
    holes = pd.Series(values).where(np.arange(len(real)) % 5 > 0)
    frame = pd.DataFrame({"aesthetic_score": holes.astype(dtype)}).set_axis(range(7, 7 + len(real)))
    assert frame.aesthetic.distribution() == ScoreDistribution.of(holes.to_numpy())
    assert frame.aesthetic.distribution().missing == holes.isna().sum()
    assert frame.aesthetic.distribution().quantile(0.5, frame["aesthetic_score"]) == holes.quantile(
        0.5, interpolation="lower"
    )


def test_float64_scores_are_taken_as_float32():
    scores = [4.1, 5.0 - 1e-9, 1e300, -1e300]
    distribution = ScoreDistribution.of(pd.Series(scores))
    assert (distribution.count, distribution.missing) == (2, 2)
    assert (distribution.min, distribution.max) == (np.float32(4.1), 5.0)


@pytest.mark.parametrize("dtype", ["object", "string", "category", "string[pyarrow]"])
def test_group_rates_are_those_of_groupby(synthetic, dtype):
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


def test_numbers_as_groups_over_partitions_with_and_without_nulls():
    frame = pd.DataFrame({"aesthetic_score": [4.0, 5.0, 6.0, 7.0], "year": [2020, 2021, np.nan, 2020]})
    groups = dd.from_pandas(frame, npartitions=3).aesthetic.distribution(by="year")
    assert {year: group.count for year, group in groups.items()} == {2020: 2, 2021: 1, None: 1}


def test_more_groups_than_anybody_looks_at_are_refused():
    frame = pd.DataFrame({"aesthetic_score": np.ones(10_001), "key": np.arange(10_001)})
    for frames in (frame, dd.from_pandas(frame, npartitions=3)):
        with pytest.raises(ColumnError, match="at most 10,000 groups as by, got 'key'"):
            frames.aesthetic.distribution(by="key")


def test_nothing_scored_is_told_as_nothing():
    for empty in (
        ScoreDistribution.of([]),
        ScoreDistribution.of([np.nan, np.inf], status=["zero", "missing"]),
        dd.from_pandas(pd.DataFrame({"aesthetic_score": pd.Series([], dtype="float32")})).aesthetic.distribution(),
    ):
        assert (empty.count, empty.missing, empty.kept(5)) == (0, empty.rows, 0)
        found = (
            empty.mean,
            empty.std,
            empty.min,
            empty.max,
            empty.quantile(0.5),
            empty.keep_rate(5),
            empty.percentile(5),
        )
        assert all(math.isnan(value) for value in (*found, empty.standard_error(5), *empty.sample_of(9).interval(5)))
        assert empty.compare_laion()["here"].isna().all()
        assert ScoreDistribution.from_json(empty.to_json()) == empty
        assert f"{empty.rows:,}" in repr(empty)
        with pytest.raises(ThresholdError, match="got none"):
            empty.threshold_for(n=1)
        with pytest.raises(ThresholdError, match="did you mean 5"):
            empty.keep_rate(0.5)
    assert empty + ScoreDistribution.of([5.0]) == ScoreDistribution.of([5.0])
    frame = pd.DataFrame({"aesthetic_score": pd.Series([], dtype="float32"), "source": pd.Series([], dtype="object")})
    assert frame.aesthetic.distribution(by="source") == {}
    assert dd.from_pandas(frame, npartitions=1).aesthetic.distribution(by="source") == {}


def test_one_row_is_everything_that_there_is():
    one = ScoreDistribution.of(np.float32([5.123]))
    value = float(np.float32(5.123))
    assert (one.min, one.max, one.mean, one.std) == (value, value, value, 0.0)
    assert {one.quantile(q) for q in QS} == {value}
    assert one.percentile(5.2) == 100.0
    with pytest.warns(AestheticWarning, match=r"keeps 100\.000%"):
        assert one.kept(one.threshold_for(n=1)) == 1
    with pytest.warns(AestheticWarning, match=r"keeps 0\.000%"):
        assert one.kept(5.2) == 0


def test_a_threshold_that_keeps_all_or_nearly_nothing_is_warned_of(synthetic):
    distribution = ScoreDistribution.of(synthetic)
    for cut in (2.0, 6.99):
        for verb in (distribution.keep_rate, distribution.kept):
            with pytest.warns(AestheticWarning, match="look at the quantiles") as caught:
                verb(cut)
            assert caught[0].filename == __file__
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        distribution.keep_rate(5)
        distribution.compare_laion()
        repr(distribution)
        distribution.threshold_for(keep_fraction=1.0)  # As asked.
        distribution.threshold_for(n=1)
    ties = ScoreDistribution.of(np.full(100, 5.5))
    for scores in (None, np.full(100, 5.5)):
        with pytest.warns(AestheticWarning, match="100"):
            ties.threshold_for(keep_fraction=0.2, scores=scores)


def test_laions_pictures_are_compared_with(synthetic):
    table = ScoreDistribution.of(synthetic, predictor_scale="laion-v2").compare_laion()
    assert list(table.index) == list(LAION_COUNTS)
    assert table["laion"].round(3).tolist() == [0.506, 0.396, 0.253, 0.005, 0.001, 0.0]
    assert table["here"].to_numpy() == pytest.approx(np.array(list(LAION_SHARES.values())), abs=0.012)
    assert table["here"].tolist() == [(synthetic >= np.float32(cut)).mean() for cut in LAION_COUNTS]
    unit = ScoreDistribution.of(synthetic / np.float32(10), scale="unit").compare_laion()
    assert unit.index.tolist() == pytest.approx([cut / 10 for cut in LAION_COUNTS])
    assert unit["here"].to_numpy() == pytest.approx(table["here"].to_numpy(), abs=1e-4)
    with pytest.raises(ThresholdError, match="laion-v1 scores, which are on a scale of their own"):
        ScoreDistribution.of(synthetic, predictor="laion-v1-l14", predictor_scale="laion-v1").compare_laion()


def test_a_sample_tells_how_sure_it_is(synthetic):
    truth = (synthetic >= 5).mean()
    rng = np.random.default_rng(2)
    inside = 0
    for _ in range(200):
        sample = ScoreDistribution.of(rng.choice(synthetic, 500, replace=False)).sample_of(20_000)
        low, high = sample.interval(5)
        inside += low <= truth <= high
        assert sample.standard_error(5) == math.sqrt(sample.keep_rate(5) * (1 - sample.keep_rate(5)) / 500)
    assert 180 <= inside <= 200
    assert sample.kept(5) == round(sample.keep_rate(5) * 20_000)
    assert sample.threshold_for(n=4000).value == sample.threshold_for(keep_fraction=0.2).value
    assert sample.threshold_for(n=4000).name == "keeps 4,000 of 20,000 scored rows, by a sample of 500"
    assert "a sample of 20,000" in repr(sample)
    assert f"95 % interval {low:.2%} to {high:.2%}" in repr(sample)
    table = sample.compare_laion()
    assert ((table["low"] <= table["here"]) & (table["here"] <= table["high"])).all()
    assert table["high"].iloc[-1] > 0
    whole = ScoreDistribution.of(synthetic)
    assert (whole.standard_error(5), whole.interval(5)) == (0.0, (truth, truth))
    assert (sample + sample).sampled_from == 40_000
    assert whole.sample_of(fraction=0.01).sampled_from == 2_000_000
    assert ScoreDistribution.from_json(sample.to_json()) == sample


def test_what_does_not_belong_together_is_not_added():
    raw = ScoreDistribution.of([5.0])
    for other, message in (
        (ScoreDistribution.of([0.5], scale="unit"), "one scale to add, got 'raw' and 'unit'"),
        (ScoreDistribution.of([5.0], predictor="laion-v2"), "one predictor to add, got '' and 'laion-v2'"),
        (ScoreDistribution.of([5.0], predictor_scale="laion-v1"), "one predictor_scale to add"),
        (raw.sample_of(10), "got one of each"),
    ):
        for pair in ((raw, other), (other, raw)):
            with pytest.raises(ArgumentError, match=message.split(", got '")[0]):
                sum(pair)
    with pytest.raises(TypeError):
        raw + 1


@pytest.mark.parametrize(
    ("ask", "message"),
    [
        (lambda d: d.keep_rate(0.5), "did you mean 5, or scale='unit'"),
        (lambda d: d.kept("great"), "permissive"),
        (lambda d: d.quantile(50), "did you mean 0.5"),
        (lambda d: d.quantile(float("nan")), "from 0 to 1"),
        (lambda d: d.threshold_for(), "either keep_fraction or n"),
        (lambda d: d.threshold_for(0.5, n=3), "either keep_fraction or n"),
        (lambda d: d.threshold_for(20), "did you mean 0.2"),
        (lambda d: d.threshold_for(0), "keep_fraction to be a number from 0 to 1"),
        (lambda d: d.threshold_for(n=5), "from 1 to 4, got 5"),
        (lambda d: d.threshold_for(n=0), "from 1 to 4, got 0"),
        (lambda d: d.threshold_for(n=2.5), "whole number"),
        (lambda d: d.sample_of(3), "at least the 4 of the sample"),
        (lambda d: d.sample_of(), "either rows or fraction"),
        (lambda d: d.sample_of(fraction=10), "did you mean 0.1"),
        (lambda d: d.of([5.0], scale="percent"), "percent"),
        (lambda d: d.of([5.0], status=["ok", "ok"]), "a status for each of 1 scores, got 2"),
    ],
)
def test_arguments_that_cannot_be_are_refused(ask, message):
    with pytest.raises((ArgumentError, ThresholdError), match=message):
        ask(ScoreDistribution.of([4.0, 5.0, 5.5, 6.0]))


def test_presets_are_refused_for_other_predictors(real):
    frame = pd.DataFrame({"aesthetic_score": real})
    distribution = frame.aesthetic.distribution(predictor="laion-v1-l14")
    assert (distribution.predictor, distribution.predictor_scale) == ("laion-v1-l14", "laion-v1")
    assert "laion-v1-l14" in repr(distribution)
    assert "standard" not in repr(distribution).replace("standard deviation", "")
    with pytest.raises(ThresholdError, match="presets are set on laion-v2 scores"):
        distribution.keep_rate("standard")


def test_columns_that_cannot_be_are_refused(real):
    frame = pd.DataFrame({"score": real, "keep": real > 5, "text": [str(score) for score in real]})
    twice = pd.concat([frame[["score"]], frame[["score"]]], axis=1)
    for make in (lambda frame: frame, lambda frame: dd.from_pandas(frame, npartitions=2)):
        with pytest.raises(
            ColumnError, match=r"score_column='aesthetic_score' .* 'score', .* Columns of floats: 'score'"
        ):
            make(frame).aesthetic.distribution()
        with pytest.raises(ColumnError, match=r"aesthetic\.score\(\) adds scores"):
            make(frame[["keep"]]).aesthetic.distribution()
        with pytest.raises(ColumnError, match=r"floats, in 'keep', got bool\. Columns of floats: 'score'"):
            make(frame).aesthetic.distribution("keep")
        with pytest.raises(ColumnError, match=r"floats, in 'text'"):
            make(frame).aesthetic.distribution("text")
        with pytest.raises(ColumnError, match="by='source' to be a column"):
            make(frame).aesthetic.distribution("score", by="source")
        with pytest.raises(ColumnError, match="status_column='status' to be a column"):
            make(frame).aesthetic.distribution("score", status_column="status")
        with pytest.raises(ArgumentError, match="scale"):
            make(frame).aesthetic.distribution("score", scale="percent")
    with pytest.raises(ColumnError, match="several of that name"):
        twice.aesthetic.distribution("score")


def test_json_is_read_back_bit_for_bit(tmp_path, odd):
    distribution = ScoreDistribution.of(odd, predictor="laion-v2", predictor_scale="laion-v2").sample_of(fraction=0.1)
    distribution.save(tmp_path / "distribution.json")
    back = ScoreDistribution.load(tmp_path / "distribution.json")
    assert type(back) is ScoreDistribution
    assert back.to_json() == distribution.to_json() == pickle.loads(pickle.dumps(distribution)).to_json()
    assert (back.mean, back.std, back.max) == (distribution.mean, distribution.std, distribution.max)
    assert (back + back).count == 2 * distribution.count
    assert len(ScoreDistribution.of(odd[np.abs(odd - 4.5) < 4]).to_json()) < 10_000


def test_json_that_is_foreign_or_damaged_is_refused_by_name(tmp_path, synthetic):
    text = ScoreDistribution.of(synthetic).to_json()
    told = json.loads(text)
    for wrong, message in (
        ("", "Expecting value"),
        (text[: len(text) // 2], "expected a distribution"),
        ("[1, 2]", "does not say that it is a"),
        ('{"format": "other"}', "does not say that it is a"),
        (json.dumps({**told, "version": 2}), "of version 2"),
        (json.dumps({**told, "rows": told["rows"] + 1}), "cut short or changed"),
        (json.dumps({**told, "bins": told["bins"][1:]}), "cut short or changed"),
        (json.dumps({name: value for name, value in told.items() if name != "min"}), "cut short or changed"),
        (text.replace('"min": 2', '"min": NaN, "was": 2'), "expected a distribution"),
        ("[" * 100_000, "expected a distribution"),
    ):
        with pytest.raises(InputError, match=message):
            ScoreDistribution.from_json(wrong)
    (tmp_path / "text.json").write_text("{}")
    (tmp_path / "bytes.json").write_bytes(b"\xff\xfe\x00")
    for name in ("text.json", "bytes.json"):
        with pytest.raises(InputError, match=name):
            ScoreDistribution.load(tmp_path / name)
    with pytest.raises(FileNotFoundError):
        ScoreDistribution.load(tmp_path / "nowhere.json")


def test_tables_for_people_tell_the_same_and_escape_names():
    distribution = ScoreDistribution.of(
        [4.0, 5.0, np.nan, np.nan],
        status=["ok", "ok", "<script>", "zero"],
        predictor="<b>mine</b>",
        predictor_scale="laion-v2",
    )
    for text in ("4.000 to 5.000", "1 &lt;script&gt;, 1 zero", "&lt;b&gt;mine", "&gt;= 5", "50.00% (standard)"):
        assert text in distribution._repr_html_()
    for text in ("4.000 to 5.000", "2: 1 <script>, 1 zero", "by <b>mine</b>", ">= 5  50.00% (standard)"):
        assert text in repr(distribution)
    assert "<script>" not in distribution._repr_html_()
    assert "<b>" not in distribution._repr_html_()


def test_a_run_over_files_has_the_distribution_of_its_scores(tmp_path, synthetic):
    vectors = [*synthetic_embeddings(300), None, np.zeros(768)]
    pq.write_table(pa.table({"image_embedding": columns.array(vectors, "list")}), tmp_path / "a.parquet")
    summary = score_dataset(tmp_path / "a.parquet", tmp_path / "out")
    scored = dd.read_parquet(tmp_path / "out")
    assert summary.distribution == scored.aesthetic.distribution(status_column="status")
    assert summary.failed == {"missing": 1, "zero": 1}


def some_scores(rng: np.random.Generator) -> np.ndarray:
    """Scores of a random shape: one heap or several, with ties or without, some outside the bins, some missing."""
    heaps = [rng.normal(rng.uniform(1, 9), rng.choice([0.01, 0.5, 3.0]), rng.integers(1, 400)) for _ in range(3)]
    scores = rng.permutation(np.concatenate(heaps[: rng.integers(1, 4)])).astype(np.float32)
    if rng.random() < 0.4:
        scores = scores.round(rng.integers(0, 3))
    if rng.random() < 0.3:
        scores[rng.integers(0, len(scores), 5)] = rng.choice([-40, 1e6, -1e-30, 25, -15], 5)
    if rng.random() < 0.5 and len(scores) > 3:
        scores[1:][rng.random(len(scores) - 1) < 0.2] = np.nan
    return scores


@pytest.mark.filterwarnings("ignore:expected a threshold to keep")
@pytest.mark.parametrize("seed", range(40))
def test_what_holds_of_any_scores(seed):
    rng = np.random.default_rng(seed)
    scores, scale = some_scores(rng), str(rng.choice(["raw", "unit"]))
    part = 10 if scale == "unit" else 1
    scores = (scores / np.float32(part)).astype(np.float32)
    whole, found = ScoreDistribution.of(scores, scale=scale), np.sort(scores[~np.isnan(scores)])
    parts = [
        ScoreDistribution.of(some, scale=scale) for some in np.split(scores, np.sort(rng.integers(0, len(scores), 6)))
    ]
    left, right = sum(parts[:3]), sum(parts[3:])
    assert (left + right).to_json() == (right + left).to_json() == whole.to_json()
    assert ScoreDistribution.from_json(whole.to_json()) == whole
    assert (whole.count, whole.missing) == (len(found), np.isnan(scores).sum())
    for share in rng.uniform(0.001, 1, 8):
        exact = np.quantile(found, share, method="inverted_cdf")
        if -15 <= exact * part < 25:
            assert whole.quantile(share) == pytest.approx(exact, abs=HALF / part)
        assert whole.quantile(share, scores) == exact
        asked = math.ceil(round(share * len(found), 6))
        loose, close = whole.threshold_for(share), whole.threshold_for(share, scores=scores)
        assert asked <= (found >= loose.cut).sum() == whole.kept(loose)
        assert close.cut == found[-asked]
        assert loose.cut <= close.cut
        assert (found > close.cut).sum() < asked
        assert whole.threshold_for(n=asked).value == loose.value
        assert 0 <= whole.keep_rate(close) <= whole.keep_rate(loose)
