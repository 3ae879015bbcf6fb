"""Bins and exact sums against numpy and fractions."""

from __future__ import annotations

import math
from fractions import Fraction

import numpy as np
import pandas as pd
import pytest

from dask_aesthetic import ScoreDistribution, Threshold

QS = (0.0, 0.001, 0.125, 0.25, 1 / 3, 0.5, 0.9, 0.999, 1.0)


def exact(scores) -> list[Fraction]:
    return [Fraction(float(score)) for score in scores if np.isfinite(score)]


@pytest.mark.parametrize("scale", ["raw", "unit"])
def test_bins_equal_a_binary_search(unusual, scale):
    hundredths = (np.arange(-1500, 2501) / (100 if scale == "raw" else 1000)).astype(np.float32)
    steps = [np.arange(-1500, 0) / 100, np.arange(100) / 10_000, np.arange(10, 1000) / 1000, np.arange(100, 2501) / 100]
    edges = (np.concatenate(steps) / (1 if scale == "raw" else 10)).astype(np.float32)
    near = [edges, np.nextafter(edges, np.float32(-99)), np.nextafter(edges, np.float32(99))]
    values = np.concatenate([*near, unusual[np.isfinite(unusual)]])
    found = ScoreDistribution.of(values, scale=scale)
    for bins, of_bins in ((found.bins, edges), (found.hundredths, hundredths)):
        expected = np.bincount(np.searchsorted(of_bins, values, side="right"), minlength=len(of_bins) + 1)
        assert np.array_equal(bins, expected)


def test_shares_of_low_probabilities_are_those_of_the_rows():
    """Most of the images are safe: two of three lie below 0.001."""
    scores = np.random.default_rng(0).lognormal(-7.5, 2, 50_000).clip(0, 1).astype(np.float32)
    found = ScoreDistribution.of(scores, predictor="nsfw-l14", predictor_scale="nsfw-l14")
    for threshold in (0.0001, 0.0005, 0.001, 0.002, 0.01, 0.1, 0.5, 0.999):
        assert found.rate(threshold) == pytest.approx((scores <= np.float32(threshold)).mean(), abs=1e-4)
    for threshold in (0.00025, 0.00333, 0.0155):  # Inside bins.
        assert found.rate(threshold) == pytest.approx((scores <= np.float32(threshold)).mean(), abs=5e-3)
    for q in (0.05, 0.25, 0.5, 0.75, 0.99):
        exact = np.quantile(scores, q, method="inverted_cdf")
        assert abs(found.quantile(q) - exact) <= (0.00005 if exact < 0.01 else 0.0005) * 1.001


def test_mean_and_std_are_exact(unusual):
    distribution, values = ScoreDistribution.of(unusual), exact(unusual)
    mean = sum(values) / len(values)
    assert distribution.count == len(values)
    assert distribution.mean == float(mean)
    assert distribution.std == math.sqrt(float(sum((value - mean) ** 2 for value in values) / len(values)))


def test_more_rows_than_a_block_are_counted(synthetic):
    many = np.concatenate([synthetic] * 60)  # More than 2**20 rows.
    distribution = ScoreDistribution.of(many)
    assert distribution == sum([ScoreDistribution.of(synthetic)] * 60)
    assert distribution.mean == ScoreDistribution.of(synthetic).mean


def test_negative_zero_counts_as_zero():
    zeros = [ScoreDistribution.of(np.float32(pair)) for pair in ([0.0, -0.0], [-0.0, 0.0], [-0.0, -0.0])]
    assert len({zero.to_json() for zero in zeros}) == 1


def test_float64_scores_are_converted_to_float32():
    scores = [4.1, 5.0 - 1e-9, 1e300, -1e300]
    distribution = ScoreDistribution.of(pd.Series(scores))
    assert (distribution.count, distribution.missing) == (2, 2)
    assert (distribution.min, distribution.max) == (np.float32(4.1), 5.0)


def test_scores_beyond_the_bins_are_counted_in_the_outermost_bins(unusual):
    distribution, found = ScoreDistribution.of(unusual), unusual[np.isfinite(unusual)]
    assert (distribution.bins[0], distribution.bins[-1]) == ((found < -15).sum(), (found >= 25).sum())
    assert (distribution.min, distribution.max) == (found.min(), found.max())
    assert distribution.quantile(0.01) == found.min()
    assert distribution.quantile(0.99) == found.max()
    for q in QS:
        assert distribution.quantile(q, unusual) == np.quantile(found, q, method="inverted_cdf")
    assert distribution.kept(Threshold(25)) == (found >= 25).sum()
    assert distribution.kept(Threshold(-15)) == (found >= -15).sum()
    assert distribution.threshold_for(keep_fraction=1.0).value == found.min()
