"""Samples of tars, or image files, to keep."""

from __future__ import annotations

from dask_aesthetic.filter.plan import FilterPlan
from dask_aesthetic.filter.writing import FilterSummary, filter_dataset, find_source, plan_filter, summary

__all__ = ["FilterSummary", "FilterPlan", "plan_filter", "summary", "filter_dataset", "find_source"]
