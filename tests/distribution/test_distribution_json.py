"""JSON of distributions: the same text for any partitioning, and refusal of damaged text."""

from __future__ import annotations

import json
import pickle

import numpy as np
import pytest

from dask_aesthetic import InputError, ScoreDistribution


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


def test_foreign_or_damaged_json_is_refused(tmp_path, synthetic):
    text = ScoreDistribution.of(synthetic).to_json()
    values = json.loads(text)
    for wrong, message in (
        ("", "Expecting value"),
        (text[: len(text) // 2], "expected a distribution"),
        ("[1, 2]", "does not say that it is a"),
        ('{"format": "other"}', "does not say that it is a"),
        (json.dumps({**values, "version": 2}), "of version 2"),
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
