"""Check of an embedding column: can it be scored, and what to do if not."""

from __future__ import annotations

from dask_aesthetic.check.check import Check, find_encoder_caution
from dask_aesthetic.check.findings import Finding
from dask_aesthetic.check.measure import (
    check_sample,
    check_spec,
    choose_partitions,
    find_refusal,
    measure_each,
    rows_per_partition,
    slice_column,
)
from dask_aesthetic.check.statistics import Statistics, StorageStats, sum_each

__all__ = [
    "Check",
    "Finding",
    "Statistics",
    "StorageStats",
    "check_sample",
    "check_spec",
    "choose_partitions",
    "find_refusal",
    "find_encoder_caution",
    "measure_each",
    "rows_per_partition",
    "slice_column",
    "sum_each",
]
