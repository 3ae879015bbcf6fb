"""How scores lie: a histogram that adds up over partitions, and the thresholds that can be read off it."""

from __future__ import annotations

from dask_aesthetic.distribution.groups import add_groups, count_groups
from dask_aesthetic.distribution.published import LAION_COUNTS, LAION_PAIRS, LAION_SHARES
from dask_aesthetic.distribution.scores import ScoreDistribution

__all__ = ["LAION_COUNTS", "LAION_PAIRS", "LAION_SHARES", "ScoreDistribution", "add_groups", "count_groups"]
