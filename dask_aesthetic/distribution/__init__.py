"""Histogram of scores that adds up over partitions, and the keep rates, quantiles and thresholds that it gives."""

from __future__ import annotations

from dask_aesthetic.distribution._bins import on_host
from dask_aesthetic.distribution._choose import choose, warn_if_extreme
from dask_aesthetic.distribution._describe import QUANTILES
from dask_aesthetic.distribution.distribution import ScoreDistribution
from dask_aesthetic.distribution.grouped import GroupDistributions
from dask_aesthetic.distribution.groups import (
    add_groups,
    check_groups,
    count_groups,
    on_host_labels,
    refuse_nested,
    rows_by_group,
)
from dask_aesthetic.distribution.laion import LAION_COUNTS, LAION_PAIRS, LAION_SHARES
from dask_aesthetic.distribution.terms import Terms, count_terms, find_terms

__all__ = [
    "GroupDistributions",
    "LAION_COUNTS",
    "LAION_PAIRS",
    "LAION_SHARES",
    "QUANTILES",
    "ScoreDistribution",
    "Terms",
    "add_groups",
    "choose",
    "count_groups",
    "check_groups",
    "on_host",
    "on_host_labels",
    "refuse_nested",
    "rows_by_group",
    "count_terms",
    "find_terms",
    "warn_if_extreme",
]
