"""The way as a Dask graph, and as it is on frames that hold their rows."""

from __future__ import annotations

from typing import Any

import dask
import dask.dataframe as dd
import pandas as pd

from dask_aesthetic import embeddings
from dask_aesthetic.distribution import add_groups, count_groups
from dask_aesthetic.errors import ColumnError
from dask_aesthetic.predictors import NetworkPredictor
from dask_aesthetic.scoring import STATUS_DTYPE, ScoreSpec, score_column, status_column
from dask_aesthetic.thresholds import check_scale

FAN_IN = 16  # Distributions added in one task.


def score(frame: Any, embedding_column: str, spec: ScoreSpec) -> Any:
    """The frame with score and keep columns added; lazy on Dask frames."""
    column = _column(frame, embedding_column)
    if isinstance(frame, dd.DataFrame):
        # A Series and `assign` keep column projection: the embedding is read once, and not at all where no score
        # is asked for. `map_partitions` over the frame, even with `required_columns`, reads or scores more.
        meta = _meta(column, spec.score_column, "float32")
        scores = column.map_partitions(_score_partition, spec=graph_ready(spec), meta=meta)
    else:
        scores = score_column(column, spec)
    return frame.assign(**{spec.score_column: scores, spec.keep_column: scores >= spec.threshold.cut})


def status(frame: Any, embedding_column: str, width: int) -> Any:
    """The status of every row as a Series named "status"; lazy on Dask frames."""
    column = _column(frame, embedding_column)
    if isinstance(frame, dd.DataFrame):
        return column.map_partitions(status_column, width, meta=_meta(column, "status", STATUS_DTYPE))
    return status_column(column, width)


def distribution(
    frame: Any, score_column: str, status_column: str | None, by: str | None, known: dict[str, str]
) -> Any:
    """The distribution of a frame's scores, or of each group's; computed at once, in one pass over these columns."""
    names = {"score_column": score_column, "status_column": status_column, "by": by}
    columns = {role: name for role, name in names.items() if name is not None}
    check_scale(known["scale"])
    _check_scores(frame._meta if isinstance(frame, dd.DataFrame) else frame, columns)
    frame = frame[list(dict.fromkeys(columns.values()))]
    if isinstance(frame, dd.DataFrame):
        parts = [dask.delayed(count_groups)(part, columns, known) for part in frame.to_delayed()]
        while len(parts) > 1:
            parts = [dask.delayed(add_groups)(parts[at : at + FAN_IN], by) for at in range(0, len(parts), FAN_IN)]
        counted = parts[0].compute()
    else:
        counted = count_groups(frame, columns, known)
    if by is None:
        return counted[None]
    return dict(sorted(counted.items(), key=lambda item: (item[0] is None, str(item[0]))))


def _is_float(dtype: Any) -> bool:
    return getattr(dtype, "kind", "") == "f"  # pandas' is_float_dtype fails on cuDF's list dtype.


def _check_scores(meta: Any, columns: dict[str, str]) -> None:
    floats = [str(name) for name, dtype in meta.dtypes.items() if _is_float(dtype)]
    held = ", ".join(repr(name) for name in meta.columns) or "no columns"
    hint = f"Columns of floats: {', '.join(map(repr, floats))}" if floats else "frame.aesthetic.score() adds scores"
    for role, name in columns.items():
        if name not in meta.columns:
            hint = f". {hint}" if role == "score_column" else ""
            raise ColumnError(f"expected {role}={name!r} to be a column; the frame has {held}{hint}")
        if list(meta.columns).count(name) > 1:
            raise ColumnError.repeated(name)
    score = columns["score_column"]
    if not _is_float(meta[score].dtype):
        raise ColumnError(
            f"expected scores, a column of floats, in {score!r}, got {meta[score].dtype}. {hint}. "
            f".astype({{{score!r}: 'float32'}}) turns other numbers into floats"
        )


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


def graph_ready(spec: ScoreSpec) -> Any:
    """The spec as an argument of tasks: as it is with a folded predictor, as one key of the graph with a network."""
    if isinstance(spec.predictor, NetworkPredictor):
        return dask.delayed(spec, name=f"aesthetic-spec-{dask.base.tokenize(spec)}", pure=True)
    return spec
