"""Scoring of what lies on disk, file by file."""

from __future__ import annotations

from dask_aesthetic.job.dataset import Plan, plan_dataset, score_dataset
from dask_aesthetic.job.summary import Summary

__all__ = ["Plan", "Summary", "plan_dataset", "score_dataset"]
