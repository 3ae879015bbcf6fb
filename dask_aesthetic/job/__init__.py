"""Durable scoring of what lies on disk, shard by shard."""

from __future__ import annotations

from dask_aesthetic.job.dataset import STYLES, open_crew, plan_dataset, score_dataset
from dask_aesthetic.job.plan import Plan
from dask_aesthetic.job.running import run
from dask_aesthetic.job.summary import Summary

__all__ = ["STYLES", "Plan", "Summary", "open_crew", "plan_dataset", "run", "score_dataset"]
