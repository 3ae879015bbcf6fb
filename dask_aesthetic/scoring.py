"""The way, for one partition: column -> runs of vectors -> scores and statuses -> columns. It knows no Dask."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
import torch

from dask_aesthetic import embeddings
from dask_aesthetic.embeddings import Run
from dask_aesthetic.embeddings.arrow import array_runs, plain
from dask_aesthetic.errors import ArgumentError, ColumnError, InvalidEmbeddingError
from dask_aesthetic.kernels import norms
from dask_aesthetic.predictors import Predictor, list_predictors, load_predictor
from dask_aesthetic.status import STATUS_DTYPE, STATUSES, Status
from dask_aesthetic.thresholds import SCALES, Threshold, find_threshold
from dask_aesthetic.validation import check_integer

ON_INVALID = ("null", "raise")


@dataclass(frozen=True)
class ScoreSpec:
    """What is asked of a scoring, checked and complete.

    Attributes
    ----------
    predictor : Predictor
    threshold : Threshold
        On the scale of the scores.
    score_column, keep_column : str
    on_invalid : {"null", "raise"}
    batch_size : int or None
    """

    predictor: Predictor
    threshold: Threshold
    score_column: str
    keep_column: str
    on_invalid: str = "null"
    batch_size: int | None = None

    @property
    def added(self) -> dict[str, str]:
        """The columns that a score adds, by role."""
        return {"score_column": self.score_column, "keep_column": self.keep_column}

    @classmethod
    def of(
        cls,
        embedding_column: str,
        predictor: Any,
        threshold: Any,
        scale: str,
        score_column: str,
        keep_column: str,
        on_invalid: str,
        batch_size: int | None,
    ) -> ScoreSpec:
        """Check the arguments of ``.aesthetic.score`` and load the predictor."""
        for role, column, other in (
            ("score_column", score_column, embedding_column),
            ("keep_column", keep_column, embedding_column),
            ("keep_column", keep_column, score_column),
        ):
            if column == other:
                raise ColumnError.clash(
                    role, column, "the embedding column" if other == embedding_column else "score_column"
                )
        if on_invalid not in ON_INVALID:
            raise ArgumentError.choice("on_invalid", on_invalid, ON_INVALID)
        if batch_size is not None:
            check_integer("batch_size", batch_size, minimum=1, unit="rows", default="None")
        loaded = load_predictor(predictor)
        cut = find_threshold(threshold, scale, loaded.info.scale, loaded.info.name)
        return cls(loaded, cut, score_column, keep_column, on_invalid, batch_size)


def refuse_replacing(columns: Iterable[object], added: Mapping[str, str], replace_columns: bool) -> None:
    """Refuse to add columns, by role, that are there already, unless they are to be replaced.

    Raises
    ------
    ColumnError
    """
    held = set(columns)
    for role, name in ({} if replace_columns else added).items():
        if name in held:
            raise ColumnError(
                f"expected {role}={name!r} to be a new column, got one that is there already: choose another name, "
                "leave that one out, or say replace_columns=True (--replace-columns), which drops what it holds"
            )


def refuse_width(width: int | None, predictor: Predictor, embedding_column: str) -> None:
    """Refuse a column whose type says that its lists are of another width than a predictor takes.

    Raises
    ------
    ColumnError
        With the predictors that take that width.
    """
    if width is not None and width != predictor.width:
        raise width_error([width], predictor, embedding_column)


def width_error(widths: Sequence[int], predictor: Predictor, embedding_column: str, where: str = "") -> ColumnError:
    """The error of embeddings of other widths than a predictor takes, with the predictors that take these."""
    told = ", ".join(map(str, widths[:5]))
    return ColumnError(
        f"expected {predictor.width} floats per row in {embedding_column!r} for {predictor.info.name}, got {told}"
        f"{where}{width_hint(widths)}"
    )


def width_hint(widths: Sequence[int]) -> str:
    """The shipped predictors that take some of these widths, as the end of a sentence; empty if there are none."""
    names = [f"{name} ({info.width})" for name, info in list_predictors().items() if info.width in widths]
    return f". Predictors that take such: {', '.join(names)}" if names else ""


def score_column(
    column: Any, spec: ScoreSpec, partition: int | None = None, seen: Callable[[torch.Tensor], None] | None = None
) -> Any:
    """Score a column of embeddings.

    Parameters
    ----------
    column : pandas.Series or cudf.Series
        A list of `spec.predictor.width` floats per row, or null.
    spec : ScoreSpec
    partition : int, optional
        Its number, for errors.
    seen : callable, optional
        Is given the `Status` codes of all rows.

    Returns
    -------
    pandas.Series or cudf.Series of float32, with the column's index
        NaN where a row has no usable embedding.

    Raises
    ------
    InvalidEmbeddingError
        A row has no usable embedding and ``spec.on_invalid`` is "raise".
    """
    with embeddings.stream(column):
        scores, status = score_runs(embeddings.runs(column, spec.predictor.width), spec)
        row = _first_invalid(status) if spec.on_invalid == "raise" else None
        if row is not None:
            raise _invalid(column.name, partition, row, column.index[row], status[row], spec)
        if seen is not None:
            seen(status)
        return embeddings.labelled(scores, column, spec.score_column)


def score_runs(runs: Iterable[Run], spec: ScoreSpec) -> tuple[torch.Tensor, torch.Tensor]:
    """Scores on the asked scale, float32 and NaN where there is none, and `Status` codes, uint8, of every row."""
    scored = [_score_run(run, spec) for run in runs]
    return _joined([scores for scores, _ in scored], torch.float32), _joined(
        [status for _, status in scored], torch.uint8
    )


def score_array(
    lists: Any, spec: ScoreSpec, embedding_column: str, file: str, start: int
) -> tuple[np.ndarray, np.ndarray]:
    """Score some rows of a file.

    Parameters
    ----------
    lists : pyarrow.Array
        A list of floats per row.
    spec : ScoreSpec
    embedding_column, file : str
        Their names, for errors.
    start : int
        Position of the first row in the file, for errors.

    Returns
    -------
    scores : numpy.ndarray of float32
        On the asked scale, NaN where there is none.
    status : numpy.ndarray of uint8
        `Status` codes.

    Raises
    ------
    InvalidEmbeddingError
        A row has no usable embedding and ``spec.on_invalid`` is "raise".
    """
    vectors = plain(lists, spec.predictor.width)
    quick = None if vectors is None else _score_plain(vectors, spec)
    if quick is not None:
        return quick, np.zeros(len(quick), np.uint8)
    scores, status = score_runs(array_runs(lists, spec.predictor.width), spec)
    row = _first_invalid(status) if spec.on_invalid == "raise" else None
    if row is not None:
        raise _invalid(embedding_column, file, start + row, None, status[row], spec)
    return scores.numpy(), status.numpy()


def _score_plain(vectors: np.ndarray, spec: ScoreSpec) -> np.ndarray | None:
    """What `score_runs` gives where nothing is odd, by an eighth of its calls: they cost more than small batches do."""
    scores = None if spec.batch_size else spec.predictor.score_plain(vectors)
    if scores is not None:
        scores /= np.float32(SCALES[spec.threshold.scale])
    return scores


def _first_invalid(status: torch.Tensor) -> int | None:
    """Position of the first row without a usable embedding, None if all have one."""
    invalid = torch.nonzero(status != Status.OK)
    return int(invalid[0, 0]) if len(invalid) else None


def _invalid(
    column: object, place: int | str | None, row: int, label: object, status: torch.Tensor, spec: ScoreSpec
) -> InvalidEmbeddingError:
    return InvalidEmbeddingError(column, place, row, label, STATUSES[int(status)], spec.predictor.width)


def status_column(column: Any, width: int) -> Any:
    """Status of every row of a column as a categorical Series with its index; reads norms alone, no predictor."""
    codes = []
    with embeddings.stream(column):
        for run in embeddings.runs(column, width):
            status, _ = _look_again(run.vectors, embeddings.suspicious(norms(run.vectors)))
            codes.append(_merged(run, status))
    labels = pd.Categorical.from_codes(_joined(codes, torch.uint8).cpu().numpy(), dtype=STATUS_DTYPE)
    return type(column)(labels, index=column.index, name="status")


def _score_run(run: Run, spec: ScoreSpec) -> tuple[torch.Tensor, torch.Tensor]:
    if run.vectors.dtype == torch.float32 and run.vectors.device.type == "cpu" and run.whole:
        quick = _score_plain(run.vectors.numpy(), spec)
        if quick is not None:
            return torch.from_numpy(quick), run.status
    scores, lengths = spec.predictor.score(run.vectors, spec.batch_size)
    odd = embeddings.suspicious(lengths)
    if not len(odd) and run.whole:
        return scores.div_(SCALES[spec.threshold.scale]), run.status
    status, units = _look_again(run.vectors, odd)
    scores[odd] = spec.predictor.score_units(units)
    scores /= SCALES[spec.threshold.scale]
    merged = _merged(run, status)
    return torch.where(merged == Status.OK, run.spread(scores, torch.nan), torch.nan), merged


def _look_again(vectors: torch.Tensor, odd: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Status of every vector, and the unit vectors of the odd ones, which only float64 can tell or normalize."""
    status = torch.full((len(vectors),), Status.OK, dtype=torch.uint8, device=vectors.device)
    if not len(odd):
        return status, vectors[:0].to(torch.float64)
    units, status[odd] = embeddings.unit_vectors(vectors[odd])
    return status, units


def _merged(run: Run, status: torch.Tensor) -> torch.Tensor:
    return torch.where(run.status == Status.OK, run.spread(status, Status.OK), run.status)


def _joined(parts: list[torch.Tensor], dtype: torch.dtype) -> torch.Tensor:
    if len(parts) == 1:
        return parts[0]
    return torch.cat(parts) if parts else torch.empty(0, dtype=dtype)
