"""Thresholds chosen by keep fraction or labels, and predictors fitted to ratings."""

from __future__ import annotations

from dask_aesthetic.learning.calibrate import Calibration, add_labels, by_labels, by_share, count_labels
from dask_aesthetic.learning.fit import FitSpec, add_sums, fit_predictor, sum_rows
from dask_aesthetic.learning.predictor import FittedPredictor, HeldOut

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
    "fit_predictor",
    "sum_rows",
]
