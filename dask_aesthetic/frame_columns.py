"""Columns computed from the embeddings of a Dask frame: from partitions that hold them, or while files are read."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import dask
import numpy as np
import pandas as pd
import torch

from dask_aesthetic import embeddings
from dask_aesthetic.predictors import AffinePredictor, NetworkPredictor, PredictorInfo
from dask_aesthetic.scoring import ScoreSpec, score_column, status_column
from dask_aesthetic.status import STATUS_DTYPE, STATUSES
from dask_aesthetic.thresholds import Threshold
from dask_aesthetic.warn_unusable import count_unusable


class EmbeddingColumns(ABC):
    """Columns computed from embeddings. A reader computes one value per row, and the columns are made from these."""

    @property
    @abstractmethod
    def names(self) -> list[str]:
        """Names of the columns."""

    @property
    @abstractmethod
    def read_spec(self) -> ScoreSpec:
        """How a reader scores rows; it gets scores and statuses."""

    @abstractmethod
    def from_partitions(self, frame: Any, embedding_column: str) -> dict[str, Any]:
        """Columns, by name, computed from the partitions of a Dask frame that holds the embeddings."""

    @abstractmethod
    def from_values(self, values: Any) -> dict[str, Any]:
        """Columns, by name, made from a Series of what `values` returns."""

    @abstractmethod
    def values(self, scores: torch.Tensor, status: torch.Tensor, like: Any) -> Any:
        """Series of one value per row, of the library and with the index of a Series."""

    @abstractmethod
    def empty(self, like: Any) -> Any:
        """The same without rows, of a Series without rows."""

    @abstractmethod
    def count(self, call: str, values: Any, column: str, status: torch.Tensor) -> None:
        """Count statuses of rows that a reader has scored, for warnings."""


@dataclass(frozen=True, repr=False)
class ScoreColumns(EmbeddingColumns):
    """Score and keep column."""

    spec: ScoreSpec

    def __repr__(self) -> str:
        cut = f"{self.spec.keep_column} >= {self.spec.threshold.cut:g}"
        return f"ScoreColumns({self.spec.predictor.info.name!r}, {self.spec.score_column!r}, {cut})"

    @property
    def names(self) -> list[str]:
        return [self.spec.score_column, self.spec.keep_column]

    @property
    def read_spec(self) -> ScoreSpec:
        return self.spec

    def from_partitions(self, frame: Any, embedding_column: str) -> dict[str, Any]:
        # A Series and `assign` keep column projection: the embedding is read once, and not at all where no score
        # is requested. `map_partitions` over the frame, even with `required_columns`, reads or scores more.
        column = frame[embedding_column]
        meta = empty_series(column._meta, self.spec.score_column, "float32")
        return self.from_values(
            column.map_partitions(_score_partition, spec=graph_ready(self.spec), call=column._name, meta=meta)
        )

    def from_values(self, values: Any) -> dict[str, Any]:
        return {self.spec.score_column: values, self.spec.keep_column: values >= self.spec.threshold.cut}

    def values(self, scores: torch.Tensor, status: torch.Tensor, like: Any) -> Any:  # noqa: ARG002
        return embeddings.to_series(scores, like, self.spec.score_column)

    def empty(self, like: Any) -> Any:
        return empty_series(like, self.spec.score_column, "float32")

    def count(self, call: str, values: Any, column: str, status: torch.Tensor) -> None:
        count_unusable(call, values, self.spec, column)(status)


@dataclass(frozen=True)
class StatusColumn(EmbeddingColumns):
    """Status of each row, by the width that it should have."""

    width: int
    name: str = "status"

    @property
    def names(self) -> list[str]:
        return [self.name]

    @cached_property
    def read_spec(self) -> ScoreSpec:
        nothing = AffinePredictor(np.zeros(self.width), 0.0, PredictorInfo(name="status", width=self.width))
        return ScoreSpec(nothing, Threshold(5.0), "score", "keep")

    def from_partitions(self, frame: Any, embedding_column: str) -> dict[str, Any]:
        column = frame[embedding_column]
        meta = empty_series(column._meta, self.name, STATUS_DTYPE)
        return self.from_values(column.map_partitions(status_column, self.width, meta=meta))

    def from_values(self, values: Any) -> dict[str, Any]:
        return {self.name: values}

    def values(self, scores: torch.Tensor, status: torch.Tensor, like: Any) -> Any:  # noqa: ARG002
        return embeddings.to_categories(status, STATUSES, like, self.name)

    def empty(self, like: Any) -> Any:
        return empty_series(like, self.name, STATUS_DTYPE)

    def count(self, call: str, values: Any, column: str, status: torch.Tensor) -> None:
        pass


def empty_series(like: Any, name: str, dtype: Any) -> Any:
    """Empty Series of the library of another, with its index: the meta of a column."""
    if isinstance(dtype, pd.CategoricalDtype):
        return type(like)(pd.Categorical([], dtype=dtype), index=like.index, name=name)
    return type(like)([], dtype=dtype, index=like.index, name=name)


def graph_ready(spec: ScoreSpec) -> Any:
    """Spec as an argument of tasks: itself with an affine predictor, one key of the graph with a network."""
    if isinstance(spec.predictor, NetworkPredictor):
        return dask.delayed(spec, name=f"aesthetic-spec-{dask.base.tokenize(spec)}", pure=True)
    return spec


def _score_partition(column: Any, spec: Any, call: str, partition_info: dict[str, Any] | None = None) -> Any:
    number = partition_info["number"] if partition_info else None
    return score_column(column, spec, number, count_unusable(call, column, spec, str(column.name)))
