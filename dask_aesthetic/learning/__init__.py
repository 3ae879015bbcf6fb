"""Thresholds and predictors from what people say of pictures."""

from __future__ import annotations

from dask_aesthetic.learning.calibration import Calibration, by_labels, by_share
from dask_aesthetic.learning.fitted import FittedPredictor, HeldOut
from dask_aesthetic.learning.fitting import FitSpec, learn
from dask_aesthetic.learning.labels import add_labels, count_labels
from dask_aesthetic.learning.sums import add_sums, sum_rows

__all__ = [
    "Calibration",
    "FitSpec",
    "FittedPredictor",
    "HeldOut",
    "add_labels",
    "add_sums",
    "by_labels",
    "by_share",
    "count_labels",
    "learn",
    "sum_rows",
]
