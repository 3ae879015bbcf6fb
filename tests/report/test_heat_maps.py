"""Heat maps of two scores: counts against NumPy, on any partitioning, and in the page."""

from __future__ import annotations

import re

import dask.dataframe as dd
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from dask_aesthetic import read_scores, score_dataset
from helpers import columns, several

pytest.importorskip("jinja2", reason="needs pip install 'dask-aesthetic[report]'")

from dask_aesthetic.report.pairs import CELL, PROBABILITY_CELL, PairCounts, heat_map


@pytest.fixture
def scores():
    generator = np.random.default_rng(4)
    first = generator.normal(5, 1, 5000).astype(np.float32)
    second = (first + generator.normal(0, 1, 5000)).astype(np.float32)
    first[7], second[9], second[11] = np.nan, np.nan, np.inf
    return first, second


def test_counts_equal_numpys_on_any_partitioning(scores):
    first, second = scores
    whole = PairCounts.of(first, second, (CELL, CELL))
    both = np.isfinite(first) & np.isfinite(second)
    edges = np.arange(-100, 200) * CELL - 1e-5  # A float32 may lie below the edge that it stands for.
    expected, _, _ = np.histogram2d(first[both].astype(float), second[both].astype(float), bins=[edges, edges])
    assert whole.counts.total() == both.sum() == expected.sum()
    for (x, y), count in whole.counts.items():
        assert expected[x + 100, y + 100] == count
    parts = [PairCounts.of(*(one[at : at + 700] for one in scores), (CELL, CELL)) for at in range(0, 5000, 700)]
    assert sum(parts[1:], parts[0]) == whole


def test_every_row_is_drawn(scores):
    for scale in (1, 100):
        drawn = heat_map(PairCounts.of(scores[0] * scale, scores[1], (CELL, CELL)))
        assert drawn.rows == 4997
        assert 1 < sum(path.count("M") for path in drawn.paths) <= 40 * 40
    assert heat_map(PairCounts((CELL, CELL))) is None
    one = heat_map(PairCounts.of(np.float32([0.01]), np.float32([5]), (PROBABILITY_CELL, CELL)))
    assert (one.rows, one.most, [bool(path) for path in one.paths]) == (1, 1, [False] * 4 + [True])


def test_a_report_of_several_scores_shows_each_pair(vectors, tmp_path):
    file = tmp_path / "in.parquet"
    rows = columns.array(several.rows(vectors), "list")
    pq.write_table(pa.table({"key": [f"k{at}" for at in range(len(rows))], "image_embedding": rows}), file)
    predictors = {"aesthetic_score": "laion-v2", "ava_score": "laion-v2-ava", "unsafe": several.unsafe()}
    score_dataset(file, tmp_path / "out", predictor=predictors)
    pages = []
    read = read_scores(tmp_path / "out")
    for number, one in enumerate((read, dd.from_pandas(read.compute(), npartitions=3), read.compute())):
        one.aesthetic.report(tmp_path / f"{number}.html")
        pages.append((tmp_path / f"{number}.html").read_text())
    page = pages[0]
    assert pages[1:] == [page] * 2
    assert len(re.findall("296 rows have both", page)) == 2
    for name in ("ava_score", "unsafe"):
        assert f"Heat map of aesthetic_score and {name}" in page
    other = read.aesthetic.report(tmp_path / "other.html", score_column="ava_score", threshold=5).read_text()
    assert "Heat map of ava_score and aesthetic_score" in other
    read[["aesthetic_score", "status"]].aesthetic.report(tmp_path / "alone.html")
    assert "Heat map" not in (tmp_path / "alone.html").read_text()
