"""Scoring of one partition: column -> runs of vectors -> scores and statuses -> columns. It knows no Dask."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import numpy as np
import pyarrow as pa
import torch

from dask_aesthetic import embeddings
from dask_aesthetic.defaults import KEEP_COLUMN, THRESHOLD
from dask_aesthetic.embeddings import Run
from dask_aesthetic.embeddings.arrow import array_runs
from dask_aesthetic.errors import ArgumentError, ColumnError, InvalidEmbeddingError, ThresholdError
from dask_aesthetic.keep_rule import Keep, KeepRule, KeepSpec, both_error
from dask_aesthetic.kernels import Vectors, back_off, norms
from dask_aesthetic.predictors import (
    Pass,
    Predictor,
    PredictorInfo,
    in_order,
    list_predictors,
    load_predictors,
    passes,
)
from dask_aesthetic.status import STATUSES, Status
from dask_aesthetic.thresholds import (
    DEFAULT_PRESET,
    SCALES,
    Threshold,
    check_scale,
    find_threshold,
    is_on_preset_scale,
)
from dask_aesthetic.validation import check_batch_size, check_column_name, check_new_name

ON_INVALID = ("null", "raise")
CPU_RECHECKED, GPU_RECHECKED = 1 << 10, 1 << 15  # Rows that are held in float64 at a time, a few times 6 KB each.


@dataclass(frozen=True)
class ScoreSpec:
    """Checked arguments of a scoring run.

    Attributes
    ----------
    predictors : tuple of Predictor
        All of one width. What concerns one predictor alone, such as the threshold, concerns the first.
    score_columns : tuple of str
        Column of each predictor's scores.
    threshold : Threshold or None
        Of the first predictor's scores, on their scale.
    scale : {"raw", "unit"}
        Of all scores but probabilities.
    keep_column : str
    on_invalid : {"null", "raise"}
    batch_size : int or None
    rule : KeepRule or None
        Instead of a threshold; without both there is no keep column.
    override_column : str or None
        Column whose values win over rule or threshold.
    embedding_dtype : str or None
        Of packed embeddings; None where rows are lists.
    """

    predictors: tuple[Predictor, ...]
    score_columns: tuple[str, ...]
    threshold: Threshold | None = None
    scale: str = "raw"
    keep_column: str = KEEP_COLUMN
    on_invalid: str = "null"
    batch_size: int | None = None
    rule: KeepRule | None = None
    override_column: str | None = None
    embedding_dtype: str | None = None

    @property
    def predictor(self) -> Predictor:
        """The first predictor."""
        return self.predictors[0]

    @property
    def score_column(self) -> str:
        """Column of the first predictor's scores."""
        return self.score_columns[0]

    @property
    def width(self) -> int:
        """Floats per row."""
        return self.predictor.width

    @property
    def columns(self) -> tuple[str, ...]:
        """Names of the columns that scoring adds."""
        return (*self.score_columns, self.keep_column) if self.has_keep else self.score_columns

    @property
    def added(self) -> dict[str, str]:
        """Names of the columns that scoring adds, by role."""
        return dict(zip(self._roles, self.columns, strict=False))

    @property
    def _roles(self) -> list[str]:
        count = len(self.predictors)
        scores = ["score_column"] if count == 1 else [f"column {at} of predictor" for at in range(1, count + 1)]
        return [*scores, "keep_column"]

    def keep(self, scores: Mapping[str, Any]) -> dict[str, Any]:
        """The keep column, if a threshold alone decides, by its name, from arrays, tensors or Series of the scores."""
        if self.threshold is None or self.override_column is not None:
            return {}
        return {self.keep_column: self.threshold.keeps(scores[self.score_column])}

    @property
    def has_keep(self) -> bool:
        """Whether there is a keep column."""
        return self.threshold is not None or self.rule is not None

    @property
    def keep_spec(self) -> KeepSpec | None:
        """Rule and override of the keep column; None where a threshold alone decides, or nothing."""
        if self.rule is not None:
            return KeepSpec(self.rule, self.override_column)
        if self.threshold is None or self.override_column is None:
            return None
        operator = ">=" if self.threshold.higher_is_better else "<="
        rule = KeepRule.of([(self.score_column, operator, self.threshold.value)])
        return KeepSpec(rule, self.override_column)

    @property
    def rule_columns(self) -> list[str]:
        """Columns that rule and override take from the frame or files."""
        keep = self.keep_spec
        return [] if keep is None else [name for name in keep.columns if name not in self.score_columns]

    @property
    def condition(self) -> str:
        """What is kept, for people; empty without a keep column."""
        if self.rule is not None:
            return str(self.rule)
        return "" if self.threshold is None else self.threshold.condition()

    def check_rule(self, types: Mapping[str, pa.DataType]) -> None:
        """Refuse a rule or override that does not fit columns of these types, to which scores are added.

        Raises
        ------
        ColumnError, ArgumentError
        """
        if self.keep_spec is not None:
            self.keep_spec.check({**types, **dict.fromkeys(self.score_columns, pa.float32())})

    @property
    def without_keep(self) -> ScoreSpec:
        """The same scores without a keep column."""
        return replace(self, threshold=None, rule=None, override_column=None)

    @property
    def why_no_keep(self) -> str:
        """Why there is no keep column; empty if there is one."""
        if self.has_keep:
            return ""
        if _default_threshold(self.predictor.info) is not None:
            return "no threshold was asked for"
        return f"{self.predictor.info.name} has no default threshold: give one, or choose later by select"

    def require_keep(self, what: str) -> None:
        """Refuse what keeps rows where nothing says which.

        Raises
        ------
        ThresholdError
        """
        if not self.has_keep:
            raise ThresholdError(f"expected a threshold with {what}, got none: {self.why_no_keep}")

    def scale_of(self, at: int) -> str:
        """Scale of the scores of a predictor: probabilities are raw and unit at once."""
        return "raw" if self.predictors[at].info.is_probability else self.scale

    @classmethod
    def of(
        cls,
        embedding_column: str,
        predictor: Any,
        threshold: Any,
        scale: str,
        score_column: str | None,
        keep_column: str,
        on_invalid: str,
        batch_size: int | None,
        keep: Keep | None = None,
        override_column: str | None = None,
        embedding_dtype: str | None = None,
    ) -> ScoreSpec:
        """Check the arguments of ``.aesthetic.score`` and load the predictors."""
        check_column_name("embedding_column", embedding_column)
        check_scale(scale)
        if on_invalid not in ON_INVALID:
            raise ArgumentError.choice("on_invalid", on_invalid, ON_INVALID)
        check_new_name("keep_column", keep_column)
        predictors = load_predictors(predictor, score_column)
        first = next(iter(predictors.values()))
        rule = None if keep is None else _find_rule(keep, threshold, scale, predictors)
        spec = cls(
            tuple(predictors.values()),
            tuple(predictors),
            _find_threshold(threshold, scale, first.info) if rule is None else None,
            scale,
            keep_column,
            on_invalid,
            check_batch_size(batch_size),
            rule,
            override_column,
            embeddings.check_embedding_dtype(embedding_dtype),
        )
        if override_column is not None:
            check_column_name("override_column", override_column)
            spec.require_keep("override_column")
        for role, column in spec.added.items():
            if column == embedding_column:
                raise ColumnError.clash(role, column, "the embedding column")
        if spec.has_keep and keep_column in spec.score_columns:
            raise ColumnError.clash("keep_column", keep_column, spec._roles[spec.score_columns.index(keep_column)])
        if keep_column in spec.rule_columns:
            raise ColumnError.clash("keep_column", keep_column, "the columns of keep and override_column")
        return spec

    def invalid(
        self, column: object, place: int | str | None, row: int, label: object, status: Any, kind: str = ""
    ) -> InvalidEmbeddingError:
        """Error for a row without a usable embedding; `kind` is the row's type if that is the reason."""
        return InvalidEmbeddingError(column, place, row, label, STATUSES[int(status)], self.width, kind)


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
        for run in embeddings.runs(column, width):
            _, status = _recheck(run.vectors, embeddings.suspicious(norms(run.vectors)))
            codes.append(_merge_status(run, status))
    found = _concatenate(codes[1:] or codes)
    return embeddings.to_categories(found, STATUSES, column, "status")


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


def _default_threshold(info: PredictorInfo) -> Threshold | str | None:
    """Default threshold of a predictor, if it has one: its own, or the preset of its scale."""
    if info.threshold is not None:
        return Threshold(info.threshold, name="default")
    return DEFAULT_PRESET if is_on_preset_scale(info.scale, info.name) else None


def _find_rule(keep: Keep, threshold: Any, scale: str, predictors: Mapping[str, Predictor]) -> KeepRule:
    """Rule whose bounds of scores are on their scale."""
    rule = KeepRule.of(keep)
    if threshold is not None and not (isinstance(threshold, str) and threshold == THRESHOLD):
        raise both_error(threshold, next(iter(predictors)))
    infos = {name: predictor.info for name, predictor in predictors.items()}
    find = {
        name: partial(
            find_threshold,
            scale=scale,
            predictor_scale=info.scale,
            predictor=info.name,
            higher_is_better=info.higher_is_better,
            is_probability=info.is_probability,
        )
        for name, info in infos.items()
    }
    return rule.with_thresholds(find)


def _find_threshold(threshold: Any, scale: str, info: PredictorInfo) -> Threshold | None:
    if isinstance(threshold, str) and threshold == THRESHOLD:
        threshold = _default_threshold(info)
    if threshold is None:
        return None
    return find_threshold(threshold, scale, info.scale, info.name, info.higher_is_better, info.is_probability)
