"""Arguments of a scoring run, checked: predictors, score columns, and what is kept."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import pyarrow as pa

from dask_aesthetic import embeddings
from dask_aesthetic.defaults import COSINE, KEEP_COLUMN, SIMILARITY, THRESHOLD
from dask_aesthetic.errors import ArgumentError, ColumnError, InvalidEmbeddingError, ThresholdError
from dask_aesthetic.keep_rule import Keep, KeepRule, KeepSpec, both_error
from dask_aesthetic.predictors import (
    Predictor,
    PredictorInfo,
    list_predictors,
    load_predictors,
)
from dask_aesthetic.status import STATUSES
from dask_aesthetic.thresholds import (
    DEFAULT_PRESET,
    Threshold,
    check_scale,
    find_threshold,
    is_on_preset_scale,
)
from dask_aesthetic.validation import check_batch_size, check_column_name, check_new_name

ON_INVALID = ("null", "raise")


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
        Of packed embeddings, with the zero point of 8-bit integers: "uint8-128"; None where rows are lists.
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
        if default_threshold(self.predictor.info) is not None:
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
        zero_point: int | None = None,
        similarity_column: str = "",
    ) -> ScoreSpec:
        """Check the arguments of ``.aesthetic.score`` and load the predictors.

        `similarity_column` names the similarity that is computed beside the scores, empty for none.
        """
        check_column_name("embedding_column", embedding_column)
        check_scale(scale)
        if on_invalid not in ON_INVALID:
            raise ArgumentError.choice("on_invalid", on_invalid, ON_INVALID)
        check_new_name("keep_column", keep_column)
        predictors = load_predictors(predictor, score_column)
        first = next(iter(predictors.values()))
        rule = None if keep is None else _find_rule(keep, threshold, scale, predictors, similarity_column)
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
            embeddings.check_embedding_dtype(embedding_dtype, zero_point),
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


def refuse_same_names(added: Mapping[str, str]) -> None:
    """Refuse to add several columns of one name.

    Raises
    ------
    ColumnError
    """
    roles: dict[str, str] = {}
    for role, name in added.items():
        if name in roles:
            raise ColumnError.clash(role, name, roles[name])
        roles[name] = role


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


def default_threshold(info: PredictorInfo) -> Threshold | str | None:
    """Default threshold of a predictor, if it has one: its own, or the preset of its scale."""
    if info.threshold is not None:
        return Threshold(info.threshold, name="default")
    return DEFAULT_PRESET if is_on_preset_scale(info.scale, info.name) else None


def _find_rule(
    keep: Keep, threshold: Any, scale: str, predictors: Mapping[str, Predictor], similarity_column: str
) -> KeepRule:
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
    if similarity_column:
        check_new_name("similarity_column", similarity_column)
        find[similarity_column] = partial(find_threshold, scale="raw", predictor_scale=COSINE, predictor=SIMILARITY)
    return rule.with_thresholds(find)


def _find_threshold(threshold: Any, scale: str, info: PredictorInfo) -> Threshold | None:
    if isinstance(threshold, str) and threshold == THRESHOLD:
        threshold = default_threshold(info)
    if threshold is None:
        return None
    return find_threshold(threshold, scale, info.scale, info.name, info.higher_is_better, info.is_probability)
