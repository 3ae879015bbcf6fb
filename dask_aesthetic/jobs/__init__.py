"""Durable jobs that score files shard by shard.

`store`, `state`, `pool` and `runner` are the engine, which knows neither scores nor tars; the others use it.
"""

from __future__ import annotations

from dask_aesthetic.jobs.pool import Pool
from dask_aesthetic.jobs.score import plan_dataset, run, score_dataset
from dask_aesthetic.jobs.score_plan import ScorePlan
from dask_aesthetic.jobs.summary import JobSummary

__all__ = ["JobSummary", "Pool", "ScorePlan", "plan_dataset", "run", "score_dataset"]
