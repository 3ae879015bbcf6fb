"""Parquet files of many writers, by `tools/write_parquet_samples.py`: which row groups are scored in their pages."""

from __future__ import annotations

import json
import logging
from pathlib import Path

import dask.dataframe as dd
import numpy as np
import pandas as pd
import pyarrow as pa
import pytest

from dask_aesthetic.predictors import AffinePredictor, PredictorInfo
from dask_aesthetic.readers import read_and_score
from helpers.page_files import by_pyarrow, heads, in_place
from helpers.shards import assert_same_scores

pytestmark = pytest.mark.usefixtures("in_pages")

FOLDER = Path(__file__).parents[1] / "data/writers"
FILES = sorted(json.loads((FOLDER / "samples.json").read_text()))
# Row groups that pyarrow reads although all their rows are of the width.
DECLINED = {"spark-lz4-float32-3.parquet": "pages in Hadoop's own frames of LZ4, which pyarrow's metadata do not name"}


def version(module) -> int:
    return int(module.__version__.split(".")[0])


def skip_if_too_old(file: str) -> None:
    if version(pa) < 18 and ("fixed-mixed" in file or "array-mixed" in file):
        pytest.skip("pyarrow 17 reads no null among lists of a fixed size")


def width(file: str) -> int:
    return int(file.removesuffix(".parquet").rpartition("-")[2])


def test_every_sample_is_listed():
    assert sorted(file.name for file in FOLDER.glob("*.parquet")) == FILES


@pytest.mark.parametrize("file", FILES)
def test_all_row_groups_without_nulls_and_other_widths_are_scored_in_place(file):
    skip_if_too_old(file)
    content = (FOLDER / file).read_bytes()
    found = in_place(content, heads(width(file)))
    wanted = [by_pyarrow(content, heads(width(file)), group) for group in range(len(found))]
    if file in DECLINED:
        assert None not in wanted
        assert found == [None] * len(wanted)
        return
    assert found == wanted
    is_whole = [one is not None for one in wanted]
    assert all(is_whole) == ("mixed" not in file)
    # pandas has them all in one row group.
    assert any(is_whole) == (file != "pandas-arrow-mixed-float32-3.parquet")


@pytest.mark.parametrize("file", FILES)
def test_scores_are_those_of_the_accessor(file, caplog):
    skip_if_too_old(file)
    if version(pd) < 3 and file.startswith("pandas-arrow"):
        pytest.skip("pandas 2 does not read the names of types that pandas 3 writes")
    random = np.random.default_rng(1)
    info = PredictorInfo(name="random", width=width(file))
    arguments = {"predictor": AffinePredictor(random.standard_normal(info.width), 5.0, info), "threshold": 5.0}
    wanted = dd.read_parquet(FOLDER / file, dtype_backend="pyarrow").aesthetic.score(**arguments).compute()
    caplog.set_level(logging.DEBUG, "dask_aesthetic.shard_scores")
    scored = read_and_score(FOLDER / file, ["key"], rows_per_partition=None, **arguments).compute(scheduler="sync")
    assert_same_scores(scored, wanted)
    assert scored["aesthetic_score"].notna().any()
    (way,) = (message for message in caplog.messages if "scored in place" in message)
    assert (": 0 of" not in way) == (file not in DECLINED and file != "pandas-arrow-mixed-float32-3.parquet")
