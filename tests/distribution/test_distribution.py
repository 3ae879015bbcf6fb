"""Keep rates, quantiles and thresholds of distributions against numpy, on pandas and Dask."""

from __future__ import annotations

import math
import warnings

import dask.dataframe as dd
import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from dask_aesthetic import ArgumentError, ColumnError, ScoreDistribution, Threshold, ThresholdError
from dask_aesthetic.distribution import LAION_COUNTS, LAION_SHARES
from dask_aesthetic.errors import AestheticWarning
from dask_aesthetic.jobs import score_dataset
from dask_aesthetic.synthetic import synthetic_embeddings
from helpers import columns
from helpers.parquet_files import spoil

QS = (0.0, 0.001, 0.125, 0.25, 1 / 3, 0.5, 0.9, 0.999, 1.0)
HALF = 0.005 + 1e-6


def test_counts_mean_and_std_equal_numpy(real, synthetic):
    for scores in (real, synthetic):
        distribution, wide = ScoreDistribution.of(scores), scores.astype(np.float64)
        assert (distribution.rows, distribution.count, distribution.missing) == (len(scores), len(scores), 0)
        assert (distribution.min, distribution.max) == (scores.min(), scores.max())
        assert distribution.mean == pytest.approx(wide.mean(), rel=1e-12)
        assert distribution.std == pytest.approx(wide.std(), rel=1e-12)


def test_distribution_of_real_scores_matches_the_reference(verite, reference):
    scored = columns.frame(verite, "list").aesthetic.score()
    expected = reference["sac+logos+ava1-l14-linearMSE"]
    distribution = scored.aesthetic.distribution(predictor="laion-v2")
    assert distribution.mean == pytest.approx(expected.mean(), abs=1e-6)
    assert distribution.kept("standard") == (expected >= 5).sum()
    assert distribution.quantile(0.9) == pytest.approx(np.quantile(expected, 0.9, method="inverted_cdf"), abs=HALF)


@pytest.mark.parametrize("q", QS)
def test_quantiles_are_within_a_bin_and_exact_with_scores(real, synthetic, q):
    for scores in (real, synthetic):
        distribution, expected = ScoreDistribution.of(scores), np.quantile(scores, q, method="inverted_cdf")
        assert distribution.quantile(q) == pytest.approx(expected, abs=HALF)
        assert distribution.quantile(q, pd.Series(scores)) == expected
        unit = ScoreDistribution.of(scores / np.float32(10), scale="unit")
        assert unit.quantile(q) == pytest.approx(expected / 10, abs=HALF / 10)
    assert ScoreDistribution.of(scores).quantile(0.0) == scores.min()
    assert ScoreDistribution.of(scores).quantile(1.0) == scores.max()


def test_decimal_fractions_of_rows_are_not_rounded_up():
    scores = (np.arange(100) / 10).astype(np.float32)
    distribution = ScoreDistribution.of(scores)
    assert distribution.quantile(0.07, scores) == scores[6]  # 0.07 * 100 is a little more than 7 in float64.
    assert distribution.threshold_for(keep_fraction=0.07, scores=scores).cut == scores[93]


def test_kept_is_exact_at_hundredths_and_close_between_them(synthetic):
    distribution = ScoreDistribution.of(synthetic, predictor_scale="laion-v2")
    unit = ScoreDistribution.of(synthetic / np.float32(10), scale="unit")
    for hundredths in range(310, 620, 7):
        threshold = hundredths / 100
        assert distribution.kept(threshold) == (synthetic >= np.float32(threshold)).sum()
        assert unit.kept(threshold / 10) == (synthetic / np.float32(10) >= np.float32(threshold / 10)).sum()
        inside = (synthetic >= threshold - 0.01).sum() - (synthetic >= threshold + 0.01).sum()
        assert abs(distribution.kept(threshold + 0.003) - (synthetic >= np.float32(threshold + 0.003)).sum()) <= inside
        assert distribution.keep_rate(threshold) == distribution.kept(threshold) / len(synthetic)
        assert distribution.percentile(threshold) == pytest.approx(100 * (synthetic < np.float32(threshold)).mean())
    assert distribution.kept("high") == distribution.kept(Threshold(0.6, "unit")) == (synthetic >= 6).sum()
    rates = [distribution.keep_rate(threshold) for threshold in np.linspace(3.1, 6.2, 2000)]
    assert rates == sorted(rates, reverse=True)


def test_a_threshold_says_which_share_it_keeps_where_a_bin_holds_many_rows():
    scores = np.linspace(2, 2.0499, 1_000, dtype=np.float32)  # As of a head of one's own: five bins hold all of them.
    threshold = ScoreDistribution.of(scores).threshold_for(keep_fraction=0.1)
    share = (scores >= threshold.cut).mean()
    assert share > 0.15
    assert threshold.name == f"keeps {share:.3g} of 1,000 scored rows (0.1 asked)"
    exact = ScoreDistribution.of(scores).threshold_for(keep_fraction=0.1, scores=scores)
    assert ((scores >= exact.cut).mean(), exact.name) == (0.1, "keeps 0.1 of 1,000 scored rows")


@pytest.mark.parametrize("share", [0.003, 0.05, 0.2, 0.5, 0.97])
def test_threshold_for_keeps_the_requested_rows_and_at_most_a_bin_more(real, synthetic, share):
    for scores in (real, synthetic):
        distribution = ScoreDistribution.of(scores)
        asked = math.ceil(round(share * len(scores), 6))
        threshold = distribution.threshold_for(keep_fraction=share)
        kept = (scores >= threshold.cut).sum()
        assert kept == distribution.kept(threshold) >= asked
        assert (scores >= np.float32(threshold.value + 0.01)).sum() < asked
        if kept <= 1.1 * share * len(scores):
            assert threshold.name == f"keeps {share:g} of {len(scores):,} scored rows"
        assert distribution.threshold_for(n=asked).value == threshold.value
        close = distribution.threshold_for(n=asked, scores=pd.Series(scores))
        assert close.cut == np.sort(scores)[::-1][asked - 1]
        assert (scores > close.cut).sum() < asked <= (scores >= close.cut).sum()


def test_threshold_for_works_in_filter(verite, real):
    frame = columns.frame(verite, "list")
    threshold = ScoreDistribution.of(real / np.float32(10), scale="unit").threshold_for(keep_fraction=0.2)
    assert threshold.scale == "unit"
    kept = frame.aesthetic.filter(threshold=threshold, scale="unit")
    assert 102 <= len(kept) == ScoreDistribution.of(real / np.float32(10), scale="unit").kept(threshold)


def test_exact_quantiles_of_dask_scores(real):
    frame = pd.DataFrame({"aesthetic_score": real})
    ddf = dd.from_pandas(frame, npartitions=5)
    distribution = ddf.aesthetic.distribution()
    scores = ddf["aesthetic_score"]
    assert distribution.threshold_for(n=50, scores=scores).cut == np.sort(real)[-50]
    assert distribution.quantile(0.5, scores) == np.quantile(real, 0.5, method="inverted_cdf")
    for others in (real[:100], real + np.float32(3), scores[scores > 100]):
        with pytest.raises(ArgumentError, match="expected the scores that were counted"):
            distribution.quantile(0.5, others)


def test_dask_reads_only_the_needed_columns(tmp_path, synthetic):
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


def test_lazy_scores_are_computed(verite, real):
    ddf = dd.from_pandas(columns.frame(verite, "list"), npartitions=3).aesthetic.score()
    assert ddf.aesthetic.distribution() == ScoreDistribution.of(real)


@pytest.mark.parametrize(
    "dtype", ["float16", "float32", "float64", "Float32", "Float64", "float[pyarrow]", "double[pyarrow]"]
)
def test_float_dtypes(real, dtype):
    values = real.astype(np.float16).astype(np.float32) if dtype == "float16" else real
    holes = pd.Series(values).where(np.arange(len(real)) % 5 > 0)
    frame = pd.DataFrame({"aesthetic_score": holes.astype(dtype)}).set_axis(range(7, 7 + len(real)))
    assert frame.aesthetic.distribution() == ScoreDistribution.of(holes.to_numpy())
    assert frame.aesthetic.distribution().missing == holes.isna().sum()
    assert frame.aesthetic.distribution().quantile(0.5, frame["aesthetic_score"]) == holes.quantile(
        0.5, interpolation="lower"
    )


def test_distribution_without_scores():
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


def test_distribution_of_one_score():
    one = ScoreDistribution.of(np.float32([5.123]))
    value = float(np.float32(5.123))
    assert (one.min, one.max, one.mean, one.std) == (value, value, value, 0.0)
    assert {one.quantile(q) for q in QS} == {value}
    assert one.percentile(5.2) == 100.0
    with pytest.warns(AestheticWarning, match=r"keeps 100\.000%"):
        assert one.kept(one.threshold_for(n=1)) == 1
    with pytest.warns(AestheticWarning, match=r"keeps 0\.000%"):
        assert one.kept(5.2) == 0


def test_thresholds_that_keep_nearly_all_or_nothing_warn(synthetic):
    distribution = ScoreDistribution.of(synthetic)
    for threshold in (2.0, 6.99):
        for verb in (distribution.keep_rate, distribution.kept):
            with pytest.warns(AestheticWarning, match="look at the quantiles") as caught:
                verb(threshold)
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


def test_compare_laion(synthetic):
    table = ScoreDistribution.of(synthetic, predictor_scale="laion-v2").compare_laion()
    assert list(table.index) == list(LAION_COUNTS)
    assert table["laion"].round(3).tolist() == [0.506, 0.396, 0.253, 0.005, 0.001, 0.0]
    assert table["here"].to_numpy() == pytest.approx(np.array(list(LAION_SHARES.values())), abs=0.012)
    assert table["here"].tolist() == [(synthetic >= np.float32(threshold)).mean() for threshold in LAION_COUNTS]
    unit = ScoreDistribution.of(synthetic / np.float32(10), scale="unit").compare_laion()
    assert unit.index.tolist() == pytest.approx([threshold / 10 for threshold in LAION_COUNTS])
    assert unit["here"].to_numpy() == pytest.approx(table["here"].to_numpy(), abs=1e-4)
    with pytest.raises(ThresholdError, match="laion-v1 scores, which are on a scale of their own"):
        ScoreDistribution.of(synthetic, predictor="laion-v1-l14", predictor_scale="laion-v1").compare_laion()


def test_sample_intervals_cover_the_true_rate(synthetic):
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
    kept = round(sample.rate(sample.threshold_for(n=4000)) * 20_000)
    expected = f"keeps {kept:,} of 20,000 scored rows, by a sample of 500 (4,000 asked)"
    assert sample.threshold_for(n=4000).name == expected
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


def test_incompatible_distributions_are_not_added():
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
        (lambda d: d.threshold_for(0), "keep_fraction to be a number above 0, up to 1, got 0"),
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
def test_invalid_arguments_are_refused(ask, message):
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


def test_invalid_columns_are_refused(real):
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


def test_text_and_html_agree_and_html_is_escaped():
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


def test_job_summary_holds_the_distribution_of_its_scores(tmp_path, synthetic):
    vectors = [*synthetic_embeddings(300), None, np.zeros(768)]
    pq.write_table(pa.table({"image_embedding": columns.array(vectors, "list")}), tmp_path / "a.parquet")
    summary = score_dataset(tmp_path / "a.parquet", tmp_path / "out")
    scored = dd.read_parquet(tmp_path / "out")
    assert summary.distribution == scored.compute().aesthetic.distribution(status_column="status")
    assert summary.failed == {"missing": 1, "zero": 1}


def some_scores(rng: np.random.Generator) -> np.ndarray:
    """Scores of a random shape: one to three clusters, with or without ties, some outside the bins, some missing."""
    clusters = [rng.normal(rng.uniform(1, 9), rng.choice([0.01, 0.5, 3.0]), rng.integers(1, 400)) for _ in range(3)]
    scores = rng.permutation(np.concatenate(clusters[: rng.integers(1, 4)])).astype(np.float32)
    if rng.random() < 0.4:
        scores = scores.round(rng.integers(0, 3))
    if rng.random() < 0.3:
        scores[rng.integers(0, len(scores), 5)] = rng.choice([-40, 1e6, -1e-30, 25, -15], 5)
    if rng.random() < 0.5 and len(scores) > 3:
        scores[1:][rng.random(len(scores) - 1) < 0.2] = np.nan
    return scores


@pytest.mark.filterwarnings("ignore:expected a threshold to keep")
@pytest.mark.parametrize("seed", range(40))
def test_invariants_of_random_scores(seed):
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


def test_thresholds_of_probabilities_to_be_unsafe_keep_what_lies_below():
    scores = np.float32([0.005, 0.05, 0.105, 0.2, 0.9])
    found = ScoreDistribution.of(scores, predictor="nsfw-l14", predictor_scale="nsfw-l14")
    for threshold in (0.1, Threshold(0.1), Threshold(0.1, predictor="nsfw-l14", higher_is_better=False)):
        assert (found.keep_rate(threshold), found.kept(threshold)) == (0.4, 2)
    assert found.percentile(0.1) == pytest.approx(40)
    with pytest.raises(ThresholdError, match="expected a probability from 0 to 1 as threshold for nsfw-l14, got 5"):
        found.keep_rate(5)
    with pytest.raises(ThresholdError, match="expected a threshold that keeps low scores"):
        found.keep_rate(Threshold(0.1, predictor="nsfw-l14"))
    with pytest.raises(ThresholdError, match=r"got those of nsfw-l14: frame\.aesthetic\.calibrate"):
        found.threshold_for(n=2)
