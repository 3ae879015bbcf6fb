"""Scoring of one partition: column -> runs of vectors -> scores and statuses -> columns. It knows no Dask."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from dask_aesthetic import embeddings
from dask_aesthetic.embeddings import Run
from dask_aesthetic.embeddings.arrow import array_runs
from dask_aesthetic.errors import ArgumentError, ColumnError, InvalidEmbeddingError
from dask_aesthetic.kernels import Vectors, back_off, norms
from dask_aesthetic.predictors import AffinePredictor, Predictor, list_predictors, load_predictor
from dask_aesthetic.status import STATUSES, Status
from dask_aesthetic.thresholds import SCALES, Threshold, find_threshold
from dask_aesthetic.validation import check_batch_size, check_column_name, check_new_name

ON_INVALID = ("null", "raise")
CPU_RECHECKED, GPU_RECHECKED = 1 << 10, 1 << 15  # Rows that are held in float64 at a time, a few times 6 KB each.


@dataclass(frozen=True)
class ScoreSpec:
    """Checked arguments of a scoring run.

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
        """Names of the columns that scoring adds, by role."""
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
        check_column_name("embedding_column", embedding_column)
        check_new_name("score_column", score_column)
        check_new_name("keep_column", keep_column)
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
        batch_size = check_batch_size(batch_size)
        loaded = load_predictor(predictor)
        found = find_threshold(threshold, scale, loaded.info.scale, loaded.info.name)
        return cls(loaded, found, score_column, keep_column, on_invalid, batch_size)

    def invalid(
        self, column: object, place: int | str | None, row: int, label: object, status: Any, kind: str = ""
    ) -> InvalidEmbeddingError:
        """Error for a row without a usable embedding; `kind` is the row's type if that is the reason."""
        return InvalidEmbeddingError(column, place, row, label, STATUSES[int(status)], self.predictor.width, kind)


def refuse_replacing(columns: Iterable[object], added: Mapping[str, str], replace_columns: bool) -> None:
    """Refuse to add columns that the frame has already, unless `replace_columns` is true.

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


def refuse_width(width: int | None, predictor: Predictor, embedding_column: str, where: str = "") -> None:
    """Refuse a column whose type has another width than the predictor takes; `where` ends the sentence.

    Raises
    ------
    ColumnError
        The message lists the predictors that take that width.
    """
    if width is not None and width != predictor.width:
        raise width_error([width], predictor, embedding_column, where)


def width_error(widths: Sequence[int], predictor: Predictor, embedding_column: str, where: str = "") -> ColumnError:
    """Error for embeddings of other widths than a predictor takes, with the predictors that take these."""
    got = ", ".join(map(str, widths[:5]))
    return ColumnError(
        f"expected {predictor.width} floats per row in {embedding_column!r} for {predictor.info.name}, got {got}"
        f"{where}{width_hint(widths)}"
    )


def width_hint(widths: Sequence[int]) -> str:
    """End of a message: shipped predictors that take one of these widths, or an empty string."""
    names = [f"{name} ({info.width})" for name, info in list_predictors().items() if info.width in widths]
    return f". Predictors that take such: {', '.join(names)}" if names else ""


def score_column(
    column: Any, spec: ScoreSpec, partition: int | None = None, seen: Callable[[torch.Tensor], None] | None = None
) -> Any:
    """Scores of a column of embeddings.

    Parameters
    ----------
    column : pandas.Series or cudf.Series
        A list of `spec.predictor.width` floats per row, or null.
    spec : ScoreSpec
    partition : int, optional
        Number of the partition, for errors.
    seen : callable, optional
        Called with the `Status` codes of all rows, or of one if all are OK.

    Returns
    -------
    pandas.Series or cudf.Series of float32, with the column's index
        NaN where a row has no usable embedding.

    Raises
    ------
    InvalidEmbeddingError
        A row has no usable embedding and ``spec.on_invalid`` is "raise".
    """

    def build(scores: torch.Tensor) -> Any:
        return embeddings.to_series(scores, column, spec.score_column)

    with embeddings.stream(column):
        return _score(column, spec, partition, seen, build)


def score_frame(frame: Any, column: Any, spec: ScoreSpec, seen: Callable[[torch.Tensor], None]) -> Any:
    """Frame in memory with scores of its `column` and keep added; arguments and errors as of `score_column`."""
    cut = spec.threshold.cut

    def build(scores: torch.Tensor) -> Any:
        # numpy compares on a CPU: torch would wake its threads, for which cores may be busy.
        keep = scores >= cut if scores.is_cuda else torch.from_numpy(scores.numpy() >= cut)
        return embeddings.add_columns(frame, column, {spec.score_column: scores, spec.keep_column: keep})

    with embeddings.stream(column):
        return _score(column, spec, None, seen, build)


def _score(
    column: Any,
    spec: ScoreSpec,
    partition: int | None,
    seen: Callable[[torch.Tensor], None] | None,
    build: Callable[[torch.Tensor], Any],
) -> Any:
    """What `build` makes of a column's scores; on a GPU it works while the device computes them."""
    with embeddings.guess(column, spec.predictor.width) as guess:
        if guess is not None:
            scores, lengths = spec.predictor.score(guess.vectors, spec.batch_size)
            built = build(_to_scale(scores, spec))
            if guess.holds(lengths):
                if seen is not None:
                    seen(torch.zeros(1, dtype=torch.uint8, device="cpu"))
                return built
    scores, status = score_runs(embeddings.runs(column, spec.predictor.width), spec)
    row = first_invalid(status) if spec.on_invalid == "raise" else None
    if row is not None:
        kind = embeddings.describe(column.iloc[row]) if status[row] == Status.WRONG_TYPE else ""
        raise spec.invalid(column.name, partition, row, column.index[row], status[row], kind)
    if seen is not None:
        seen(status)
    return build(scores)


def score_runs(runs: Iterable[Run], spec: ScoreSpec) -> tuple[torch.Tensor, torch.Tensor]:
    """Scores, float32, NaN where the status is not OK, and `Status` codes, uint8, of every row."""
    scored = [_score_run(run, spec) for run in runs]
    return _concatenate([scores for scores, _ in scored], torch.float32), _concatenate(
        [status for _, status in scored], torch.uint8
    )


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
    scores : numpy.ndarray of float32
        On the scale of the threshold; NaN where the status is not OK.
    status : numpy.ndarray of uint8
        `Status` codes.

    Raises
    ------
    InvalidEmbeddingError
        A row has no usable embedding and ``spec.on_invalid`` is "raise".
    """
    scores, status = score_runs(array_runs(lists, spec.predictor.width), spec)
    row = first_invalid(status) if spec.on_invalid == "raise" else None
    if row is not None:
        raise spec.invalid(embedding_column, file, start + row, None, status[row])
    return scores.numpy(), status.numpy()


def finish_scores(scores: torch.Tensor, lengths: torch.Tensor, spec: ScoreSpec) -> tuple[np.ndarray, np.ndarray] | None:
    """Scores and statuses, as of `score_array`, of vectors that are scored already; None if a norm is not safe.

    Parameters
    ----------
    scores : torch.Tensor, shape (n,), float32
        Of the heads of an affine predictor; scaled in place.
    lengths : torch.Tensor, shape (n,)
        Norms of the vectors, in any precision.
    spec : ScoreSpec
    """
    if len(embeddings.suspicious(lengths.to(torch.float32))):
        return None
    if isinstance(spec.predictor, AffinePredictor):
        scores = spec.predictor.finish(scores)
    return _to_scale(scores, spec).numpy(), np.zeros(len(scores), np.uint8)


def first_invalid(status: torch.Tensor) -> int | None:
    """Position of the first row without a usable embedding, None if all have one."""
    invalid = torch.nonzero(status != Status.OK)
    return int(invalid[0, 0]) if len(invalid) else None


def status_column(column: Any, width: int) -> Any:
    """Categorical Series of the status of every row, with the column's index; it uses norms and no predictor."""
    codes = []
    with embeddings.stream(column):
        for run in embeddings.runs(column, width):
            _, status = _recheck(run.vectors, embeddings.suspicious(norms(run.vectors)))
            codes.append(_merge_status(run, status))
    return embeddings.to_categories(_concatenate(codes, torch.uint8), STATUSES, column, "status")


def _score_run(run: Run, spec: ScoreSpec) -> tuple[torch.Tensor, torch.Tensor]:
    scores, lengths = spec.predictor.score(run.vectors, spec.batch_size)
    rows = embeddings.suspicious(lengths)
    if not len(rows) and run.all_valid:
        return _to_scale(scores, spec), run.status
    scores[rows], status = _recheck(run.vectors, rows, spec.predictor)
    status = _merge_status(run, status)
    scores = run.spread(_to_scale(scores, spec), torch.nan)
    return torch.where(status == Status.OK, scores, torch.nan), status


def _to_scale(scores: torch.Tensor, spec: ScoreSpec) -> torch.Tensor:
    """Raw scores on the threshold's scale: one rounded quotient."""
    divisor = SCALES[spec.threshold.scale]
    # A tensor: torch divides a GPU's tensor by a number as it multiplies with its reciprocal, which has other bits.
    return scores if divisor == 1 else scores.div_(torch.tensor(divisor, dtype=torch.float32, device=scores.device))


def _recheck(
    vectors: Vectors, rows: torch.Tensor, predictor: Predictor | None = None
) -> tuple[torch.Tensor, torch.Tensor]:
    """Scores of `rows`, whose float32 norm is not safe, in float64, and the status of every vector."""
    scores = torch.full((len(rows),), torch.nan, dtype=torch.float32, device=vectors.device)
    status = torch.full((len(vectors),), Status.OK, dtype=torch.uint8, device=vectors.device)

    def recheck(count: int) -> None:
        for start in range(0, len(rows), count):
            at = slice(start, start + count)
            scaled, status[rows[at]] = embeddings.scale_rows(vectors[rows[at]])
            if predictor is not None:
                scores[at] = predictor.score_float64(scaled)

    if len(rows):
        back_off(recheck, CPU_RECHECKED if vectors.device.type == "cpu" else GPU_RECHECKED)
    return scores, status


def _merge_status(run: Run, status: torch.Tensor) -> torch.Tensor:
    return torch.where(run.status == Status.OK, run.spread(status, Status.OK), run.status)


def _concatenate(parts: list[torch.Tensor], dtype: torch.dtype) -> torch.Tensor:
    if len(parts) == 1:
        return parts[0]
    return torch.cat(parts) if parts else torch.empty(0, dtype=dtype, device="cpu")
