"""Distributions of groups against pandas groupby."""

from __future__ import annotations

import dask
import dask.dataframe as dd
import numpy as np
import pandas as pd
import pytest

from dask_aesthetic import ColumnError, ScoreDistribution
from dask_aesthetic.distribution import add_groups


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
