"""Score image embeddings for aesthetic quality inside the dataframe that holds them.

Importing this package registers ``.aesthetic`` on Dask, dask-cuDF, pandas and cuDF dataframes. It imports no cuDF and
starts no CUDA.

Examples
--------
>>> import dask.dataframe as dd
>>> import dask_aesthetic
>>> ddf = dd.read_parquet("embeddings/", dtype_backend="pyarrow")  # doctest: +SKIP
>>> scored = ddf.aesthetic.score()  # doctest: +SKIP
"""

from __future__ import annotations

from importlib import import_module as _import_module
from typing import TYPE_CHECKING
from typing import Any as _Any

from dask_aesthetic import register as _register
from dask_aesthetic.accessor import AestheticAccessor
from dask_aesthetic.check import Check
from dask_aesthetic.distribution import ScoreDistribution
from dask_aesthetic.errors import (
    AestheticError,
    ArgumentError,
    ColumnError,
    EncoderError,
    InputError,
    InvalidEmbeddingError,
    InvalidImageError,
    JobError,
    MissingDependencyError,
    PredictorError,
    ThresholdError,
    UnusableError,
)
from dask_aesthetic.learning import Calibration, FittedPredictor
from dask_aesthetic.predictors import Predictor, PredictorInfo, list_predictors, load_predictor
from dask_aesthetic.thresholds import PRESETS, Threshold
from dask_aesthetic.version import __version__

if TYPE_CHECKING:
    from dask_aesthetic.filter import FilterSummary, filter_dataset
    from dask_aesthetic.inputs import read_and_score, read_clip_retrieval, read_datacomp, read_npy, read_webdataset
    from dask_aesthetic.job import JobSummary, score_dataset

__all__ = [
    "PRESETS",
    "AestheticAccessor",
    "AestheticError",
    "ArgumentError",
    "Calibration",
    "Check",
    "ColumnError",
    "EncoderError",
    "FilterSummary",
    "FittedPredictor",
    "InputError",
    "InvalidEmbeddingError",
    "InvalidImageError",
    "JobError",
    "MissingDependencyError",
    "Predictor",
    "PredictorError",
    "PredictorInfo",
    "ScoreDistribution",
    "JobSummary",
    "Threshold",
    "ThresholdError",
    "UnusableError",
    "__version__",
    "list_predictors",
    "load_predictor",
    "read_clip_retrieval",
    "read_datacomp",
    "read_npy",
    "read_and_score",
    "read_webdataset",
    "score_dataset",
    "filter_dataset",
]

_register.register()

# What has to do with files is imported when it is asked for: whoever has a frame does not wait for it.
_LATER = {
    "inputs": ("read_clip_retrieval", "read_datacomp", "read_npy", "read_and_score", "read_webdataset"),
    "job": ("JobSummary", "score_dataset"),
    "filter": ("FilterSummary", "filter_dataset"),
}


def __getattr__(name: str) -> _Any:
    for room, names in _LATER.items():
        if name in names:
            return getattr(_import_module(f"dask_aesthetic.{room}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
