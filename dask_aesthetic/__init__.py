"""Score image embeddings for aesthetic quality inside the dataframe that holds them.

Importing this package registers ``.aesthetic`` on pandas, Dask, cuDF and dask-cuDF dataframes, whether their libraries
are imported before or later. It imports none of them, nor torch, and starts no CUDA: a public name is imported from its
module at the first access.

Examples
--------
>>> import dask.dataframe as dd
>>> import dask_aesthetic
>>> ddf = dd.read_parquet("embeddings/")  # doctest: +SKIP
>>> scored = ddf.aesthetic.score()  # doctest: +SKIP
"""

from __future__ import annotations

from importlib import import_module as _import_module
from typing import TYPE_CHECKING
from typing import Any as _Any

from dask_aesthetic.register import register as _register
from dask_aesthetic.version import __version__

if TYPE_CHECKING:
    from dask_aesthetic.accessor import AestheticAccessor, aesthetic
    from dask_aesthetic.arrays import score_embeddings
    from dask_aesthetic.check import Check
    from dask_aesthetic.distribution import GroupDistributions, ScoreDistribution
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
    from dask_aesthetic.export import ExportSummary, export_dataset
    from dask_aesthetic.filter import FilterSummary, filter_dataset
    from dask_aesthetic.images import prompt_predictor
    from dask_aesthetic.jobs import JobSummary, score_dataset
    from dask_aesthetic.learning import Calibration, FittedPredictor
    from dask_aesthetic.predictors import Predictor, PredictorInfo, list_predictors, load_predictor
    from dask_aesthetic.readers import (
        read_and_score,
        read_clip_retrieval,
        read_datacomp,
        read_hf_dataset,
        read_images,
        read_npy,
        read_scores,
        read_tensors,
        read_webdataset,
    )
    from dask_aesthetic.repack import RepackSummary, repack_dataset
    from dask_aesthetic.select import SelectSummary, select_dataset
    from dask_aesthetic.thresholds import PRESETS, Threshold

__all__ = [
    "AestheticAccessor",
    "AestheticError",
    "ArgumentError",
    "Calibration",
    "Check",
    "ColumnError",
    "EncoderError",
    "ExportSummary",
    "FilterSummary",
    "FittedPredictor",
    "GroupDistributions",
    "InputError",
    "InvalidEmbeddingError",
    "InvalidImageError",
    "JobError",
    "JobSummary",
    "MissingDependencyError",
    "PRESETS",
    "Predictor",
    "PredictorError",
    "PredictorInfo",
    "RepackSummary",
    "ScoreDistribution",
    "SelectSummary",
    "Threshold",
    "ThresholdError",
    "UnusableError",
    "__version__",
    "aesthetic",
    "export_dataset",
    "filter_dataset",
    "list_predictors",
    "load_predictor",
    "prompt_predictor",
    "read_and_score",
    "read_clip_retrieval",
    "read_datacomp",
    "read_hf_dataset",
    "read_images",
    "read_npy",
    "read_scores",
    "read_tensors",
    "read_webdataset",
    "repack_dataset",
    "score_dataset",
    "score_embeddings",
    "select_dataset",
]

_MODULES = {
    "accessor": ("AestheticAccessor", "aesthetic"),
    "arrays": ("score_embeddings",),
    "check": ("Check",),
    "distribution": ("GroupDistributions", "ScoreDistribution"),
    "errors": (
        "AestheticError",
        "ArgumentError",
        "ColumnError",
        "EncoderError",
        "InputError",
        "InvalidEmbeddingError",
        "InvalidImageError",
        "JobError",
        "MissingDependencyError",
        "PredictorError",
        "ThresholdError",
        "UnusableError",
    ),
    "export": ("ExportSummary", "export_dataset"),
    "filter": ("FilterSummary", "filter_dataset"),
    "readers": (
        "read_and_score",
        "read_clip_retrieval",
        "read_datacomp",
        "read_hf_dataset",
        "read_images",
        "read_npy",
        "read_scores",
        "read_tensors",
        "read_webdataset",
    ),
    "images": ("prompt_predictor",),
    "jobs": ("JobSummary", "score_dataset"),
    "learning": ("Calibration", "FittedPredictor"),
    "predictors": ("Predictor", "PredictorInfo", "list_predictors", "load_predictor"),
    "repack": ("RepackSummary", "repack_dataset"),
    "select": ("SelectSummary", "select_dataset"),
    "thresholds": ("PRESETS", "Threshold"),
}


def __getattr__(name: str) -> _Any:
    for module, names in _MODULES.items():
        if name in names:
            return getattr(_import_module(f"dask_aesthetic.{module}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})


_register()
