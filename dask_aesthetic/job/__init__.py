"""Durable scoring of what lies on disk, shard by shard."""

from __future__ import annotations

from dask_aesthetic.job.dataset import open_executor, plan_dataset, score_dataset
from dask_aesthetic.job.plan import ScorePlan
from dask_aesthetic.job.running import run
from dask_aesthetic.job.summary import JobSummary

__all__ = ["ScorePlan", "JobSummary", "open_executor", "plan_dataset", "run", "score_dataset"]
