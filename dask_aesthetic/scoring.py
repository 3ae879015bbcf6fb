"""Scoring of one partition: column -> runs of vectors -> scores and statuses -> columns. It knows no Dask."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any

import numpy as np
import torch

from dask_aesthetic import embeddings
from dask_aesthetic.embeddings import Run
from dask_aesthetic.embeddings.arrow import array_runs
from dask_aesthetic.kernels import Vectors, back_off, norms
from dask_aesthetic.predictors import (
    Pass,
    in_order,
    passes,
)
from dask_aesthetic.score_spec import ScoreSpec
from dask_aesthetic.status import STATUSES, Status
from dask_aesthetic.thresholds import (
    SCALES,
)

CPU_RECHECKED, GPU_RECHECKED = 1 << 10, 1 << 15  # Rows that are held in float64 at a time, a few times 6 KB each.


def score_column(
    column: Any, spec: ScoreSpec, partition: int | None = None, seen: Callable[[torch.Tensor], None] | None = None
) -> Any:
    """Scores of a column of embeddings.

    Parameters
    ----------
    column : pandas.Series or cudf.Series
        A list of `spec.width` floats per row, or null.
    spec : ScoreSpec
    partition : int, optional
        Number of the partition, for errors.
    seen : callable, optional
        Called with the `Status` codes of all rows, or of one if all are OK.

    Returns
    -------
    Series of float32, or DataFrame of several predictors' scores, of pandas or cuDF, with the column's index
        NaN where a row has no usable embedding.

    Raises
    ------
    InvalidEmbeddingError
        A row has no usable embedding and ``spec.on_invalid`` is "raise".
    """

    def build(scores: torch.Tensor) -> Any:
        if len(scores) == 1:
            return embeddings.to_series(scores[0], column, spec.score_column)
        return embeddings.add_columns(column.to_frame()[[]], column, _named(scores, spec))

    column = embeddings.unpack(column, spec.embedding_dtype)
    with embeddings.stream(column):
        return _score(column, spec, partition, seen, build)


def score_frame(frame: Any, column: Any, spec: ScoreSpec, seen: Callable[[torch.Tensor], None]) -> Any:
    """Frame in memory with scores of its `column` and keep added; arguments and errors as of `score_column`."""

    def build(scores: torch.Tensor) -> Any:
        added = _named(scores, spec)
        if scores.is_cuda:
            return embeddings.add_columns(frame, column, {**added, **spec.keep(added)})
        # numpy compares on a CPU: torch would wake its threads, for which cores may be busy.
        keep = spec.keep({name: values.numpy() for name, values in added.items()})
        added.update((name, torch.from_numpy(values)) for name, values in keep.items())
        return embeddings.add_columns(frame, column, added)

    column = embeddings.unpack(column, spec.embedding_dtype)
    with embeddings.stream(column):
        return _score(column, spec, None, seen, build)


def _named(scores: torch.Tensor, spec: ScoreSpec) -> dict[str, torch.Tensor]:
    return dict(zip(spec.score_columns, scores, strict=True))


def _score(
    column: Any,
    spec: ScoreSpec,
    partition: int | None,
    seen: Callable[[torch.Tensor], None] | None,
    build: Callable[[torch.Tensor], Any],
) -> Any:
    """What `build` makes of a column's scores; on a GPU it works while the device computes them."""
    with embeddings.guess(column, spec.width) as guess:
        if guess is not None:
            found = [(one, *one.score(guess.vectors, spec.batch_size)) for one in passes(spec.predictors)]
            built = build(_to_scale(in_order([(one, scores) for one, scores, _ in found]), spec))
            if all(guess.holds(lengths) for _, _, lengths in found):
                if seen is not None:
                    seen(torch.zeros(1, dtype=torch.uint8, device="cpu"))
                return built
    scores, status = score_runs(embeddings.runs(column, spec.width), spec)
    row = first_invalid(status) if spec.on_invalid == "raise" else None
    if row is not None:
        kind = embeddings.describe(column.iloc[row]) if status[row] == Status.WRONG_TYPE else ""
        raise spec.invalid(column.name, partition, row, column.index[row], status[row], kind)
    if seen is not None:
        seen(status)
    return build(scores)


def score_runs(runs: Iterable[Run], spec: ScoreSpec) -> tuple[torch.Tensor, torch.Tensor]:
    """Scores, shape (k, n), float32, NaN where the status is not OK, and `Status` codes, (n,), uint8, of every row."""
    scored = [_score_run(run, spec) for run in runs]
    if not scored:
        nothing = np.empty((len(spec.predictors), 0), np.float32), np.empty(0, np.uint8)
        return torch.from_numpy(nothing[0]), torch.from_numpy(nothing[1])
    return _concatenate([scores for scores, _ in scored]), _concatenate([status for _, status in scored])


def score_array(
    lists: Any, spec: ScoreSpec, embedding_column: str, file: str, start: int
) -> tuple[np.ndarray, np.ndarray]:
    """Scores and statuses of consecutive rows of a file.

    Parameters
    ----------
    lists : pyarrow.Array
        A list of floats per row.
    spec : ScoreSpec
    embedding_column, file : str
        Names of the column and the file, for errors.
    start : int
        Position of the first row in the file, for errors.

    Returns
    -------
    scores : numpy.ndarray, shape (k, n), float32
        Of each predictor, on the spec's scale; NaN where the status is not OK.
    status : numpy.ndarray, shape (n,), uint8
        `Status` codes.

    Raises
    ------
    InvalidEmbeddingError
        A row has no usable embedding and ``spec.on_invalid`` is "raise".
    """
    scores, status = score_runs(array_runs(lists, spec.width), spec)
    row = first_invalid(status) if spec.on_invalid == "raise" else None
    if row is not None:
        raise spec.invalid(embedding_column, file, start + row, None, status[row])
    return scores.numpy(), status.numpy()


def finish_scores(
    found: Sequence[tuple[torch.Tensor, torch.Tensor]], spec: ScoreSpec
) -> tuple[np.ndarray, np.ndarray] | None:
    """Scores and statuses, as of `score_array`, of vectors that are scored already; None if a norm is not safe.

    Parameters
    ----------
    found : list of pair of torch.Tensor
        What the heads of each of the predictors' `passes` give: scores, shape (k, n), float32, changed in place; and
        norms, shape (n,), in any precision.
    spec : ScoreSpec
    """
    if any(len(embeddings.suspicious(lengths.to(torch.float32))) for _, lengths in found):
        return None
    each = zip(passes(spec.predictors), found, strict=True)
    scores = in_order([(one, one.finish(scores)) for one, (scores, _) in each])
    return _to_scale(scores, spec).numpy(), np.zeros(scores.shape[1], np.uint8)


def first_invalid(status: torch.Tensor) -> int | None:
    """Position of the first row without a usable embedding, None if all have one."""
    invalid = torch.nonzero(status != Status.OK)
    return int(invalid[0, 0]) if len(invalid) else None


def status_column(column: Any, width: int, embedding_dtype: str | None = None) -> Any:
    """Categorical Series of the status of every row, with the column's index; it uses norms and no predictor."""
    column = embeddings.unpack(column, embedding_dtype)
    codes = [torch.from_numpy(np.empty(0, np.uint8))]
    with embeddings.stream(column):
        codes.extend(run_status(run) for run in embeddings.runs(column, width))
    found = _concatenate(codes[1:] or codes)
    return embeddings.to_categories(found, STATUSES, column, "status")


def run_status(run: Run) -> torch.Tensor:
    """`Status` codes of the rows of a run, shape (n,), uint8, by their norms."""
    _, status = _recheck(run.vectors, embeddings.suspicious(norms(run.vectors)))
    return _merge_status(run, status)


def _score_run(run: Run, spec: ScoreSpec) -> tuple[torch.Tensor, torch.Tensor]:
    found, status, is_safe = [], run.status, run.all_valid
    for one in passes(spec.predictors):
        scores, lengths = one.score(run.vectors, spec.batch_size)
        rows = embeddings.suspicious(lengths)
        if len(rows):
            scores[:, rows], rechecked = _recheck(run.vectors, rows, one)
            status, is_safe = _merge_status(run, rechecked), False
        found.append((one, scores))
    scores = _to_scale(in_order(found), spec)
    if is_safe:
        return scores, status
    return torch.where(status == Status.OK, run.spread(scores, torch.nan), torch.nan), status


def _to_scale(scores: torch.Tensor, spec: ScoreSpec) -> torch.Tensor:
    """Raw scores, shape (k, n), on the spec's scale: one rounded quotient."""
    for at, row in enumerate(scores):
        divisor = SCALES[spec.scale_of(at)]
        if divisor != 1:
            # A tensor: torch divides a GPU's tensor by a number as by its reciprocal, which has other bits.
            row.div_(torch.tensor(divisor, dtype=torch.float32, device=scores.device))
    return scores


def _recheck(vectors: Vectors, rows: torch.Tensor, scored_by: Pass | None = None) -> tuple[torch.Tensor, torch.Tensor]:
    """Scores, shape (k, n), of `rows`, whose float32 norm is not safe, in float64, and the status of every vector."""
    count = len(scored_by.at) if scored_by is not None else 0
    scores = torch.full((count, len(rows)), torch.nan, dtype=torch.float32, device=vectors.device)
    status = torch.full((len(vectors),), Status.OK, dtype=torch.uint8, device=vectors.device)

    def recheck(count: int) -> None:
        for start in range(0, len(rows), count):
            at = slice(start, start + count)
            scaled, status[rows[at]] = embeddings.scale_rows(vectors[rows[at]])
            if scored_by is not None:
                scores[:, at] = scored_by.score_float64(scaled)

    if len(rows):
        back_off(recheck, CPU_RECHECKED if vectors.device.type == "cpu" else GPU_RECHECKED)
    return scores, status


def _merge_status(run: Run, status: torch.Tensor) -> torch.Tensor:
    return torch.where(run.status == Status.OK, run.spread(status, Status.OK), run.status)


def _concatenate(parts: list[torch.Tensor]) -> torch.Tensor:
    return parts[0] if len(parts) == 1 else torch.cat(parts, dim=-1)
