"""Thresholds: text and JSON, conversion between scales, presets, and refusal of another scale or predictor."""

from __future__ import annotations

import json

import numpy as np
import pytest

from dask_aesthetic import ArgumentError, Threshold, ThresholdError
from dask_aesthetic.thresholds import PRESETS, find_threshold


def test_text_and_html():
    threshold = Threshold(5.12, name="keeps 0.2 of 1,000 scored rows", predictor="laion-v2")
    assert str(threshold) == "raw score >= 5.12 for laion-v2: keeps 0.2 of 1,000 scored rows"
    assert str(Threshold(0.5, "unit")) == "unit score >= 0.5"
    assert Threshold(5, predictor="<b>")._repr_html_() == "<b>raw score &gt;= 5 for &lt;b&gt;</b>"


def test_json_round_trip():
    threshold = Threshold(5.12, "raw", "keeps 0.2 of 1,000 scored rows", "laion-v2")
    assert Threshold.from_dict(json.loads(json.dumps(threshold.to_dict()))) == threshold
    assert Threshold.from_dict(Threshold(np.float32(5.25)).to_dict()).value == 5.25
    with pytest.raises(ThresholdError, match=r"as Threshold\.to_dict returns it"):
        Threshold.from_dict({"value": 5, "sense": 3})


@pytest.mark.parametrize("value", [float("nan"), float("inf"), True, "5"])
def test_values_that_are_no_finite_number_are_refused(value):
    with pytest.raises(ThresholdError, match="expected a finite number as threshold"):
        Threshold(value)


def test_conversion_keeps_name_and_predictor():
    threshold = Threshold(5.5, "raw", "mine", "laion-v2")
    assert threshold.on("unit") == Threshold(0.55, "unit", "mine", "laion-v2")
    assert threshold.on("unit").on("raw") == threshold
    assert find_threshold(threshold, "unit", "unknown") == threshold.on("unit")
    for ask in (lambda: Threshold(5, "percent"), lambda: threshold.on("percent")):
        with pytest.raises(ArgumentError, match="scale"):
            ask()


@pytest.mark.parametrize("name", PRESETS)
def test_presets_apply_to_laion_v2_scores_alone(name):
    assert find_threshold(name, "raw", "laion-v2") == Threshold(PRESETS[name], "raw", name)
    assert find_threshold(name, "unit", "unknown").value == PRESETS[name] / 10
    with pytest.raises(ThresholdError, match="laion-v1 scores are on a scale of their own"):
        find_threshold(name, "raw", "laion-v1")
    with pytest.raises(ThresholdError, match="nothing says on what scale mine scores"):
        find_threshold(name, "raw", "unknown", "mine")


@pytest.mark.parametrize(
    ("value", "scale", "message"),
    [
        (0.5, "raw", "did you mean 5, or scale='unit'"),
        (50, "raw", "did you mean 5?"),
        (500, "raw", "a number from 1 to 10"),
        (5, "unit", "did you mean 0.5, or scale='raw'"),
        (50, "unit", "a number from 0.1 to 1"),
        ("great", "raw", r"presets permissive \(3 raw\)"),
        (None, "raw", "a number, a preset"),
    ],
)
def test_numbers_of_another_scale_are_refused(value, scale, message):
    with pytest.raises(ThresholdError, match=message):
        find_threshold(value, scale, "laion-v2")


@pytest.mark.parametrize("value", [-0.1, 0.01, 50])
def test_a_predictor_of_ones_own_scores_on_any_scale(value):
    assert find_threshold(value, "raw", "unknown", "mine") == Threshold(value)


def test_thresholds_of_another_predictor_are_refused():
    threshold = Threshold(5.5, predictor="laion-v2")
    assert find_threshold(threshold, "raw", "laion-v2", "laion-v2") is not None
    assert find_threshold(threshold, "raw", "unknown") is not None
    with pytest.raises(ThresholdError, match="for scores of mine, got one that was chosen by scores of laion-v2"):
        find_threshold(threshold, "raw", "unknown", "mine")
