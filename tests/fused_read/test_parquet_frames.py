"""Frames of every way to read Parquet: scored while they are read, they equal those that hold the embeddings."""

from __future__ import annotations

import dask.dataframe as dd
import pytest

from helpers.parquet_frames import EMBEDDING, SCORE, assert_same, by_partition, is_scored, reads

ADDED = ["aesthetic_score", "keep"]
SCORED = {
    "default dtypes": ("plain", {}),
    "pyarrow dtypes": ("plain", {"dtype_backend": "pyarrow"}),
    "nullable dtypes": ("plain", {"dtype_backend": "numpy_nullable"}),
    "columns": ("plain", {"columns": ["key", EMBEDDING, "width"]}),
    "only embeddings": ("plain", {"columns": [EMBEDDING]}),
    "index": ("plain", {"index": "key"}),
    "index and divisions": ("plain", {"index": "num", "calculate_divisions": True}),
    "no index": ("indexed", {"index": False}),
    "pandas index": ("indexed", {}),
    "pandas index and divisions": ("indexed", {"calculate_divisions": True}),
    "pandas range": ("ranged", {}),
    "pandas range and pyarrow dtypes": ("ranged", {"dtype_backend": "pyarrow"}),
    "filters": ("plain", {"filters": [("width", ">", 900)]}),
    "filters of two kinds": (
        "plain",
        {"filters": [[("width", ">", 900), ("num", "<", 120)], [("num", ">=", 300)]], "dtype_backend": "pyarrow"},
    ),
    "filters and an index": ("indexed", {"filters": [("width", ">", 900)], "calculate_divisions": True}),
    "filters and row groups": ("plain", {"filters": [("num", ">=", 160)], "split_row_groups": True}),
    "hive": ("hive", {}),
    "hive, filtered by folders": ("hive", {"filters": [("year", "==", 2021)]}),
    "hive, filtered by rows too": ("hive", {"filters": [("year", "==", 2021), ("width", ">", 900)]}),
    "hive, aggregated": (
        "hive",
        {"aggregate_files": "year", "blocksize": "4kB", "split_row_groups": "adaptive", "index": "num"},
    ),
    "each row group": ("plain", {"split_row_groups": True}),
    "three row groups each": ("plain", {"split_row_groups": 3}),
    "adaptive": ("plain", {"split_row_groups": "adaptive", "blocksize": "3kB"}),
    "blocksize": ("plain", {"blocksize": "2kB"}),
    "aggregated": ("many", {"aggregate_files": True, "blocksize": "8kB", "split_row_groups": "adaptive"}),
    "many files": ("many", {}),
    "few columns": ("narrow", {}),
    "fixed-size lists": ("fixed", {"dtype_backend": "pyarrow"}),
    "fixed-size lists as objects": ("fixed", {}),
    "float16": ("half", {}),
    "integers": ("integers", {}),
    "integers and pyarrow dtypes": ("integers", {"dtype_backend": "pyarrow"}),
    "nulls of no type in one file": ("mixed", {}),
    "arrow": ("plain", {"filesystem": "arrow"}),
    "arrow, many files": ("many", {"filesystem": "arrow"}),
    "arrow, filters": ("plain", {"filesystem": "arrow", "filters": [("width", ">", 900)], "dtype_backend": "pyarrow"}),
    "arrow, index and divisions": ("indexed", {"filesystem": "arrow", "index": "num", "calculate_divisions": True}),
}


@pytest.mark.parametrize("case", SCORED)
def test_frames_straight_from_read_parquet_equal_those_that_hold_the_embeddings(folders, case):
    name, options = SCORED[case]
    path = f"file://{folders / name}" if options.get("filesystem") else str(folders / name)
    frame = dd.read_parquet(path, **options)
    fused = frame.aesthetic.score(**SCORE)
    with by_partition():
        plain = frame.aesthetic.score(**SCORE)
    others = [column for column in plain.columns if column != EMBEDDING]
    for columns in (others, ADDED):
        assert is_scored(fused[columns])
        assert_same(plain[columns], fused[columns])
    if others != ADDED:
        assert [EMBEDDING in columns for _, columns in reads(fused[others[:1]])] == [False]


@pytest.mark.parametrize("case", ["default dtypes", "pyarrow dtypes", "arrow"])
def test_frames_with_their_embeddings_read_them_once(folders, case):
    name, options = SCORED[case]
    path = f"file://{folders / name}" if options.get("filesystem") else str(folders / name)
    frame = dd.read_parquet(path, **options)
    fused = frame.aesthetic.score(**SCORE)
    with by_partition():
        plain = frame.aesthetic.score(**SCORE)
    ((kind, columns),) = reads(fused)
    assert kind != "scored"
    assert EMBEDDING in columns
    assert_same(plain, fused)
    assert len(fused) == len(plain)
