"""Histogram of norms and sample of duplicates against NumPy, for every partitioning."""

from __future__ import annotations

import json

import numpy as np
import pandas as pd
import pytest
import torch

from dask_aesthetic import hashing
from dask_aesthetic.check.statistics import MAX_DISTINCT, DuplicateSample, NormHistogram
from dask_aesthetic.hashing import splitmix64


@pytest.mark.parametrize("norms", [[1.0], [1e-30, 1.0, 1e30], [0.995, 1.0, 1.02], list(np.geomspace(1e-3, 1e3, 4001))])
def test_norm_histogram_equals_numpy(norms):
    norms = np.random.default_rng(1).permutation(norms)
    parts = [NormHistogram.of(part) for part in np.array_split(norms, 3)]
    found = parts[2] + parts[0] + parts[1]
    assert found == NormHistogram.of(norms)
    assert (found.min, found.max, found.count) == (norms.min(), norms.max(), len(norms))
    assert found.median == pytest.approx(np.sort(norms)[(len(norms) - 1) // 2], rel=1e-3)
    assert found.unit == (np.abs(norms - 1) <= 0.01).sum()


def test_duplicate_sample_has_exact_counts():
    rng = np.random.default_rng(9)
    rows = rng.integers(0, 1 << 30, (40_000, 2)).astype(np.float32)
    rows = rows[np.concatenate([np.arange(40_000), rng.integers(0, 40_000, 20_000)])]
    whole = DuplicateSample.of(torch.from_numpy(rows))
    parts = [DuplicateSample.of(torch.from_numpy(part)) for part in np.array_split(rng.permutation(rows), 7)]
    total = parts[6] + sum(parts[1:6], parts[0])
    assert np.array_equal(total.hashes, whole.hashes)
    assert np.array_equal(total.counts, whole.counts)
    _, counts = np.unique(rows, axis=0, return_counts=True)
    assert whole.distinct == MAX_DISTINCT
    assert whole.share == pytest.approx(1 - len(counts) / len(rows), abs=0.01)


def test_nearly_equal_vectors_are_no_duplicates():
    one = np.random.default_rng(2).standard_normal(768).astype(np.float32)
    rows = np.repeat(one[None], 2000, axis=0)
    for at in range(1, 768):
        rows[at, at] = np.nextafter(rows[at, at], np.float32(np.inf))
    for at in range(768, 1536):
        rows[at] = np.roll(one, at - 767)
    found = DuplicateSample.of(torch.from_numpy(rows))
    assert found.distinct == len(np.unique(rows, axis=0)) == 768 + 767
    assert (found.rows, found.most) == (2000, 2000 - 768 - 767 + 1)


def test_gpus_and_cpus_have_the_same_hashes():
    rows = torch.randn(100, 768)
    factors = splitmix64(np.arange(1, 769, dtype=np.uint64)) | np.uint64(1)
    assert np.array_equal(hashing._sum_on_cpu(rows, factors), hashing._sum_on_gpu(rows, factors))


@pytest.mark.parametrize("value", [3e38, 1e300, 1.7e308])
def test_norms_beyond_float32_and_float64_stay_numbers(value):
    rows = [np.full(768, value), np.full(768, value), None]
    check = pd.DataFrame({"image_embedding": rows}).aesthetic.check()
    wanted = min(value * 768**0.5, float(np.finfo(np.float64).max))
    for found in (check.norm_min, check.norm_median, check.norm_max):
        assert found == pytest.approx(wanted)
    assert json.loads(check.to_json())["norm_median"] == check.norm_median
