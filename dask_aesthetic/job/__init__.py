"""Durable jobs that score files shard by shard."""

from __future__ import annotations

from dask_aesthetic.job.runner import run
from dask_aesthetic.job.score import open_executor, plan_dataset, score_dataset
from dask_aesthetic.job.score_plan import ScorePlan
from dask_aesthetic.job.summary import JobSummary

__all__ = ["ScorePlan", "JobSummary", "open_executor", "plan_dataset", "run", "score_dataset"]
