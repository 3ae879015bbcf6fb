"""Columns computed from the embeddings of a Dask frame: from partitions that hold them, or while files are read."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import dask
import numpy as np
import pandas as pd
import pyarrow as pa
import torch

from dask_aesthetic import embeddings
from dask_aesthetic.errors import ColumnError
from dask_aesthetic.keep_rule import KeepSpec, type_of
from dask_aesthetic.predictors import AffinePredictor, PredictorInfo
from dask_aesthetic.score_spec import ScoreSpec
from dask_aesthetic.scoring import score_column, status_column
from dask_aesthetic.status import STATUS_DTYPE, STATUSES
from dask_aesthetic.warn_unusable import count_unusable

# Names on Dask's dashboard. It joins those of fused steps up to their first dash, and hides what lies in the middle of
# more than four; it cuts a joined name at the first word with an underscore, unless that is the first of all.
SCORE_TASK, STATUS_TASK, READ_AND_SCORE = "score-embeddings", "status-of-embeddings", "read_and_score"


class EmbeddingColumns(ABC):
    """Columns computed from embeddings. A reader computes one value per row, and the columns are made from these."""

    @property
    @abstractmethod
    def names(self) -> list[str]:
        """Names of the columns."""

    @property
    @abstractmethod
    def read_name(self) -> str:
        """Name of the tasks of a reader that computes them, on Dask's dashboard."""

    @property
    @abstractmethod
    def read_spec(self) -> ScoreSpec:
        """How a reader scores rows; it gets scores and statuses."""

    @abstractmethod
    def from_partitions(self, frame: Any, embedding_column: str) -> dict[str, Any]:
        """Columns, by name, computed from the partitions of a Dask frame that holds the embeddings."""

    @abstractmethod
    def add(self, frame: Any, embedding_column: str, wanted: list[str], meta: Any) -> Any:
        """Wanted columns of a Dask frame that holds the embeddings, these among them, by one task per partition."""

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
    """Score columns, and the keep column if there is one."""

    spec: ScoreSpec

    def __repr__(self) -> str:
        names = ", ".join(repr(predictor.info.name) for predictor in self.spec.predictors)
        columns = ", ".join(map(repr, self.spec.score_columns))
        keep = "" if self.spec.threshold is None else f", {self.spec.keep_column}: {self.spec.threshold}"
        return f"ScoreColumns({names}, {columns}{keep})"

    @property
    def names(self) -> list[str]:
        return list(self.spec.columns)

    @property
    def read_name(self) -> str:
        return READ_AND_SCORE

    @property
    def read_spec(self) -> ScoreSpec:
        return self.spec

    def from_partitions(self, frame: Any, embedding_column: str) -> dict[str, Any]:
        # A Series and `assign` keep column projection: the embedding is read once, and not at all where no score
        # is requested. `map_partitions` over the frame, even with `required_columns`, reads or scores more.
        column = frame[embedding_column]
        meta = empty_scores(column._meta, self.spec)
        return self.from_scores(
            column.map_partitions(
                _score_partition, spec=graph_ready(self.spec), call=column._name, meta=meta, token=SCORE_TASK
            )
        )

    def add(self, frame: Any, embedding_column: str, wanted: list[str], meta: Any) -> Any:
        return frame.map_partitions(
            _add_scores,
            embedding_column,
            wanted,
            spec=graph_ready(self.spec),
            call=frame._name,
            meta=meta,
            token=SCORE_TASK,
        )

    def from_scores(self, scores: Any) -> dict[str, Any]:
        """Columns, by name, from what `score_column` returns: a Series, or a frame of several predictors' scores."""
        found = {name: scores[name] if scores.ndim > 1 else scores for name in self.spec.score_columns}
        return {**found, **self.spec.keep(found)}

    def from_values(self, values: Any) -> dict[str, Any]:
        if len(self.spec.predictors) == 1:
            return self.from_scores(values)
        if not hasattr(values, "map_partitions"):
            return self.from_scores(_unpack(values, self.spec.score_columns))
        meta = _unpack(values._meta, self.spec.score_columns)
        return self.from_scores(values.map_partitions(_unpack, self.spec.score_columns, meta=meta))

    def values(self, scores: torch.Tensor, status: torch.Tensor, like: Any) -> Any:  # noqa: ARG002
        if len(scores) == 1:
            return embeddings.to_series(scores[0], like, self.spec.score_column)
        # One value per row: what lies between the reader and the columns, such as a filter, passes one Series on.
        rows = pa.StructArray.from_arrays([pa.array(one.numpy()) for one in scores], list(self.spec.score_columns))
        return pd.Series(pd.arrays.ArrowExtensionArray(pa.chunked_array([rows])), index=like.index, name=like.name)

    def empty(self, like: Any) -> Any:
        if len(self.spec.predictors) == 1:
            return empty_series(like, self.spec.score_column, "float32")
        return empty_series(like, like.name, _struct(self.spec.score_columns))

    def count(self, call: str, values: Any, column: str, status: torch.Tensor) -> None:
        count_unusable(call, values, self.spec, column)(status)


@dataclass(frozen=True)
class StatusColumn(EmbeddingColumns):
    """Status of each row, by the width that it should have."""

    width: int
    embedding_dtype: str | None = None
    name: str = "status"

    @property
    def names(self) -> list[str]:
        return [self.name]

    @property
    def read_name(self) -> str:
        return "read_status"

    @cached_property
    def read_spec(self) -> ScoreSpec:
        nothing = AffinePredictor(np.zeros(self.width), 0.0, PredictorInfo(name="status", width=self.width))
        return ScoreSpec((nothing,), ("score",), embedding_dtype=self.embedding_dtype)

    def from_partitions(self, frame: Any, embedding_column: str) -> dict[str, Any]:
        column = frame[embedding_column]
        meta = empty_series(column._meta, self.name, STATUS_DTYPE)
        status = column.map_partitions(status_column, self.width, self.embedding_dtype, meta=meta, token=STATUS_TASK)
        return self.from_values(status)

    def add(self, frame: Any, embedding_column: str, wanted: list[str], meta: Any) -> Any:
        return frame.map_partitions(_add_status, embedding_column, wanted, computed=self, meta=meta, token=STATUS_TASK)

    def from_values(self, values: Any) -> dict[str, Any]:
        return {self.name: values}

    def values(self, scores: torch.Tensor, status: torch.Tensor, like: Any) -> Any:  # noqa: ARG002
        return embeddings.to_categories(status, STATUSES, like, self.name)

    def empty(self, like: Any) -> Any:
        return empty_series(like, self.name, STATUS_DTYPE)

    def count(self, call: str, values: Any, column: str, status: torch.Tensor) -> None:
        pass


def check_rule(frame: Any, spec: ScoreSpec) -> None:
    """Refuse a rule or override that does not fit the columns of a frame, to which scores are added.

    Raises
    ------
    ColumnError, ArgumentError
    """
    meta = getattr(frame, "_meta", frame).iloc[:0]
    for name in spec.rule_columns:
        if list(meta.columns).count(name) > 1:
            raise ColumnError.repeated(name)
    # The types of other columns are not needed, and may be of any kind.
    spec.check_rule({name: type_of(meta[name], name) if name in spec.rule_columns else pa.null() for name in meta})


def add_keep(frame: Any, name: str, keep: KeepSpec) -> Any:
    """Frame of scores with the keep column of a rule added: lazily to a Dask frame, in place to others."""
    if not hasattr(frame, "map_partitions"):
        frame[name] = keep.series(frame)
        return frame
    # Series keep column projection, as in `ScoreColumns.from_partitions`.
    first, *others = (frame[column] for column in keep.columns)
    meta = empty_series(first._meta, name, bool)
    return frame.assign(
        **{name: first.map_partitions(_keep_partition, *others, keep=keep, meta=meta, token="keep-by-rule")}
    )


def _keep_partition(*columns: Any, keep: KeepSpec) -> Any:
    return keep.series(dict(zip(keep.columns, columns, strict=True)))


def scores_of(scores: np.ndarray, index: Any, spec: ScoreSpec) -> Any:
    """What `score_column` returns, in pandas, from scores of shape (k, n)."""
    if len(scores) == 1:
        return pd.Series(scores[0], index=index, name=spec.score_column, copy=False)
    return pd.DataFrame(dict(zip(spec.score_columns, scores, strict=True)), index=index, copy=False)


def empty_scores(like: Any, spec: ScoreSpec) -> Any:
    """What `score_column` returns of an empty column: the meta of its result."""
    if len(spec.predictors) == 1:
        return empty_series(like, spec.score_column, "float32")
    return like.to_frame()[[]].assign(**{name: empty_series(like, name, "float32") for name in spec.score_columns})


def _struct(names: Sequence[str]) -> pd.ArrowDtype:
    return pd.ArrowDtype(pa.struct([pa.field(name, pa.float32()) for name in names]))


def _unpack(values: pd.Series, names: Sequence[str]) -> pd.DataFrame:
    """Frame of the scores that a Series of structs holds."""
    rows = pa.array(values)
    chunks = rows.chunks if isinstance(rows, pa.ChunkedArray) else [rows]
    each = [[np.empty(0, np.float32), *(chunk.field(name).to_numpy() for chunk in chunks)] for name in names]
    scores = dict(zip(names, map(np.concatenate, each), strict=True))
    return pd.DataFrame(scores, index=values.index, copy=False)


def empty_series(like: Any, name: str, dtype: Any) -> Any:
    """Empty Series of the library of another, with its index: the meta of a column."""
    if isinstance(dtype, pd.CategoricalDtype):
        return type(like)(pd.Categorical([], dtype=dtype), index=like.index, name=name)
    return type(like)([], dtype=dtype, index=like.index, name=name)


def graph_ready(spec: ScoreSpec) -> Any:
    """Spec as an argument of tasks: itself with an affine predictor, one key of the graph with a network."""
    if not all(isinstance(predictor, AffinePredictor) for predictor in spec.predictors):
        return dask.delayed(spec, name=f"aesthetic-spec-{dask.base.tokenize(spec)}", pure=True)
    return spec


def _score_partition(column: Any, spec: Any, call: str, partition_info: dict[str, Any] | None = None) -> Any:
    number = partition_info["number"] if partition_info else None
    return score_column(column, spec, number, count_unusable(call, column, spec, str(column.name)))


def _add_scores(
    frame: Any,
    embedding_column: str,
    wanted: list[str],
    spec: ScoreSpec,
    call: str,
    partition_info: dict[str, Any] | None = None,
) -> Any:
    scores = _score_partition(frame[embedding_column], spec, call, partition_info)
    return frame.assign(**ScoreColumns(spec).from_scores(scores))[wanted]


def _add_status(frame: Any, embedding_column: str, wanted: list[str], computed: StatusColumn) -> Any:
    status = status_column(frame[embedding_column], computed.width, computed.embedding_dtype)
    return frame.assign(**computed.from_values(status))[wanted]
