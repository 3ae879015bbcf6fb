"""Tars of the samples to keep."""

from __future__ import annotations

from dask_aesthetic.tars.copying import Copiers
from dask_aesthetic.tars.plan import Plan
from dask_aesthetic.tars.writing import Filtered, plan_webdataset, summary, write_webdataset

__all__ = ["Copiers", "Filtered", "Plan", "plan_webdataset", "summary", "write_webdataset"]
