"""Rewriting of Parquet files into the layout of embeddings that reads fastest, or takes least space."""

from __future__ import annotations

from dask_aesthetic.repack.gain import Gain, measure_gain
from dask_aesthetic.repack.plan import RepackPlan, RepackSummary, plan_repack, repack_dataset, summary

__all__ = ["Gain", "RepackPlan", "RepackSummary", "measure_gain", "plan_repack", "repack_dataset", "summary"]
