"""JSON of distributions: the same text for any partitioning, and refusal of damaged text."""

from __future__ import annotations

import json
import pickle

import numpy as np
import pytest

from dask_aesthetic import InputError, ScoreDistribution, Threshold

# What version 1 wrote of the scores 0.004 and 0.025, and of 4.11 and 4.125.
LOW = {
    "bins": [1, 0, 1],
    "first_bin": 1501,
    "format": "dask_aesthetic.ScoreDistribution",
    "max": 0.02500000037252903,
    "min": 0.004000000189989805,
    "predictor": "",
    "predictor_scale": "unknown",
    "reasons": {},
    "rows": 2,
    "sampled_from": None,
    "scale": "raw",
    "sha256": "bddc9d45f02ee9348c27ee9845ca4d14a1028986f43fe5ee760901b2ff0ecf42",
    "squares": "0x2a02321f8e3ac40000000000000000000000000000000000000000000000000000000000000000000000",
    "sum": "0x76c8b4600000000000000000000000000000000000",
    "version": 1,
}
HIGH = {
    **LOW,
    "bins": [1, 1],
    "first_bin": 1912,
    "max": 4.125,
    "min": 4.110000133514404,
    "sha256": "60572f6a287f813dec33636f34c42c97228e524c76b7c30bfd41101166bb4bbe",
    "squares": "0x21e860bcce704000000000000000000000000000000000000000000000000000000000000000000000000000",
    "sum": "0x83c28f80000000000000000000000000000000000000",
}


def test_json_round_trip(tmp_path, unusual):
    distribution = ScoreDistribution.of(unusual, predictor="laion-v2", predictor_scale="laion-v2").sample_of(
        fraction=0.1
    )
    distribution.save(tmp_path / "distribution.json")
    back = ScoreDistribution.load(tmp_path / "distribution.json")
    assert type(back) is ScoreDistribution
    assert back.to_json() == distribution.to_json() == pickle.loads(pickle.dumps(distribution)).to_json()
    assert (back.mean, back.std, back.max) == (distribution.mean, distribution.std, distribution.max)
    assert (back + back).count == 2 * distribution.count
    assert len(ScoreDistribution.of(unusual[np.abs(unusual - 4.5) < 4]).to_json()) < 10_000


def test_json_of_version_1_is_read():
    """With scores from 0 to 1 it has steps of 0.01 throughout, and so have sums with it."""
    high = ScoreDistribution.from_json(json.dumps(HIGH))
    assert high == ScoreDistribution.of([4.125, 4.11])
    low, same = ScoreDistribution.from_json(json.dumps(LOW)), ScoreDistribution.of([0.004, 0.025])
    assert json.loads(low.to_json()) == LOW
    assert (len(low.bins), len(same.bins)) == (4002, 4992)
    assert low.hundredths.tolist() == low.bins.tolist() == same.hundredths.tolist()
    assert (low.mean, low.min, low.rate(Threshold(0.02)), low.quantile(0.5)) == (same.mean, same.min, 0.5, same.min)
    more = ScoreDistribution.of([0.0321, 4.11, -3.0])
    for total in (low + more, more + low, sum([low, high, more]), sum([more, high, low])):
        scores = [0.004, 0.025, 0.0321, 4.11, -3.0, *([4.125, 4.11] if total.count > 5 else [])]
        assert total.bins.tolist() == ScoreDistribution.of(scores).hundredths.tolist()
        assert ScoreDistribution.from_json(total.to_json()) == total


def test_foreign_or_damaged_json_is_refused(tmp_path, synthetic):
    text = ScoreDistribution.of(synthetic).to_json()
    values = json.loads(text)
    for wrong, message in (
        ("", "Expecting value"),
        (text[: len(text) // 2], "expected a distribution"),
        ("[1, 2]", "does not say that it is a"),
        ('{"format": "other"}', "does not say that it is a"),
        (json.dumps({**values, "version": 3}), "of version 3"),
        (json.dumps({**values, "rows": values["rows"] + 1}), "truncated or changed"),
        (json.dumps({**values, "bins": values["bins"][1:]}), "truncated or changed"),
        (json.dumps({name: value for name, value in values.items() if name != "min"}), "truncated or changed"),
        (text.replace('"min": ', '"min": NaN, "was": '), "expected a distribution"),
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


def test_any_partitioning_and_order_give_the_same_json(unusual):
    status = np.where(np.isfinite(unusual), "ok", np.where(np.isnan(unusual), "missing", "not_finite"))
    whole = ScoreDistribution.of(unusual, status=status)
    assert whole.reasons == {"missing": 30, "not_finite": 2}
    rng = np.random.default_rng(11)
    for _ in range(8):
        order = rng.permutation(len(unusual))
        ends = np.sort(rng.integers(0, len(unusual), rng.integers(1, 40)))
        parts = [ScoreDistribution.of(unusual[at], status=status[at]) for at in np.split(order, ends)]
        assert sum(parts).to_json() == whole.to_json()
        assert sum(parts[::-1]).to_json() == whole.to_json()
    pairs = [ScoreDistribution.of(unusual[at : at + 2], status=status[at : at + 2]) for at in range(0, len(unusual), 2)]
    assert sum(pairs) == whole
