"""The way as a Dask graph, and as it is on frames that hold their rows."""

from __future__ import annotations

from typing import Any

import dask
import dask.dataframe as dd
import pandas as pd

from dask_aesthetic import embeddings
from dask_aesthetic.errors import ColumnError
from dask_aesthetic.predictors import NetworkPredictor
from dask_aesthetic.scoring import STATUS_DTYPE, ScoreSpec, score_column, status_column


def score(frame: Any, embedding_column: str, spec: ScoreSpec) -> Any:
    """The frame with score and keep columns added; lazy on Dask frames."""
    column = _column(frame, embedding_column)
    if isinstance(frame, dd.DataFrame):
        # A Series and `assign` keep column projection: the embedding is read once, and not at all where no score
        # is asked for. `map_partitions` over the frame, even with `required_columns`, reads or scores more.
        meta = _meta(column, spec.score_column, "float32")
        scores = column.map_partitions(_score_partition, spec=_graph_ready(spec), meta=meta)
    else:
        scores = score_column(column, spec)
    return frame.assign(**{spec.score_column: scores, spec.keep_column: scores >= spec.threshold.cut})


def status(frame: Any, embedding_column: str, width: int) -> Any:
    """The status of every row as a Series named "status"; lazy on Dask frames."""
    column = _column(frame, embedding_column)
    if isinstance(frame, dd.DataFrame):
        return column.map_partitions(status_column, width, meta=_meta(column, "status", STATUS_DTYPE))
    return status_column(column, width)


def _score_partition(column: Any, spec: Any, partition_info: dict[str, Any] | None = None) -> Any:
    return score_column(column, spec, partition_info["number"] if partition_info else None)


def _column(frame: Any, name: str) -> Any:
    meta = frame._meta if isinstance(frame, dd.DataFrame) else frame
    if name not in meta.columns:
        raise ColumnError.missing(name, meta.columns, embeddings.candidates(meta))
    if list(meta.columns).count(name) > 1:
        raise ColumnError.repeated(name)
    embeddings.check(meta[name], meta)
    return frame[name]


def _meta(column: Any, name: str, dtype: Any) -> Any:
    like = column._meta
    if isinstance(dtype, pd.CategoricalDtype):
        return type(like)(pd.Categorical([], dtype=dtype), index=like.index, name=name)
    return type(like)([], dtype=dtype, index=like.index, name=name)


def _graph_ready(spec: ScoreSpec) -> Any:
    """The spec as an argument of tasks: as it is with a folded predictor, as one key of the graph with a network."""
    if isinstance(spec.predictor, NetworkPredictor):
        return dask.delayed(spec, name=f"aesthetic-spec-{dask.base.tokenize(spec)}", pure=True)
    return spec
