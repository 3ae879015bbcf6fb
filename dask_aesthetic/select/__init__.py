"""Another selection from scores that are there, and lists of what is selected."""

from __future__ import annotations

from dask_aesthetic.select.plan import SelectPlan
from dask_aesthetic.select.writing import SelectSummary, plan_select, select_dataset, summary

__all__ = ["SelectPlan", "SelectSummary", "plan_select", "select_dataset", "summary"]
