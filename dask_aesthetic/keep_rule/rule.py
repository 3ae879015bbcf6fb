"""Rule for keep: clauses that a row must satisfy together, and alternatives to them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import reduce
from operator import and_, or_
from typing import Any

import pyarrow as pa

from dask_aesthetic.errors import ArgumentError, ThresholdError
from dask_aesthetic.keep_rule.clause import ORDERED, Clause, missing_column
from dask_aesthetic.keep_rule.masks import Mask, clause_mask, count
from dask_aesthetic.thresholds import Threshold


@dataclass(frozen=True)
class RuleCounts:
    """Numbers of rows by what a rule and an override keep of them; add them with ``+``.

    Attributes
    ----------
    rows : int
    clauses : dict of str to int
        Rows that each clause keeps alone.
    alternatives : dict of str to int
        Rows that each alternative keeps; empty where there is just one.
    kept : int
        Rows that the rule keeps.
    nulls : dict of str to int
        Rows without a value in each column of the rule, null or NaN.
    override_kept, override_dropped : int
        Rows that an override column alone keeps, and drops.
    """

    rows: int = 0
    clauses: Mapping[str, int] = field(default_factory=dict)
    alternatives: Mapping[str, int] = field(default_factory=dict)
    kept: int = 0
    nulls: Mapping[str, int] = field(default_factory=dict)
    override_kept: int = 0
    override_dropped: int = 0

    def __add__(self, other: RuleCounts) -> RuleCounts:
        return RuleCounts(
            self.rows + other.rows,
            _add(self.clauses, other.clauses),
            _add(self.alternatives, other.alternatives),
            self.kept + other.kept,
            _add(self.nulls, other.nulls),
            self.override_kept + other.override_kept,
            self.override_dropped + other.override_dropped,
        )

    @property
    def lines(self) -> list[str]:
        """Text for people, a line each: rows that each clause keeps alone, and all together; rows without a value."""
        found = [f"{kept:,} rows: {text}" for text, kept in self.clauses.items()]
        found += [f"{kept:,} rows together: {text}" for text, kept in self.alternatives.items()]
        if self.clauses:
            found += [f"{self.kept:,} rows {'by any alternative' if self.alternatives else 'together'}"]
        found += [f"{rows:,} rows without {name}" for name, rows in self.nulls.items() if rows]
        if self.override_kept or self.override_dropped:
            found += [f"{self.override_kept:,} rows kept and {self.override_dropped:,} dropped by the override alone"]
        return found


@dataclass(frozen=True)
class KeepRule:
    """Rule for keep.

    Attributes
    ----------
    alternatives : tuple of tuple of Clause
        A row is kept if it satisfies all clauses of one of them. A row without a value, null or NaN, in a clause's
        column does not satisfy the clause, whatever its operator.

    Examples
    --------
    >>> rule = KeepRule.of([("aesthetic_score", ">=", 5.5), ("unsafe", "<", 0.1)])
    >>> print(rule)
    aesthetic_score >= 5.5 and unsafe < 0.1
    >>> rule.mask({"aesthetic_score": pa.array([6.0, 6.0, 5.0]), "unsafe": pa.array([0.05, None, 0.0])})
    array([ True, False, False])
    """

    alternatives: tuple[tuple[Clause, ...], ...]

    @classmethod
    def of(cls, keep: Keep) -> KeepRule:
        """Rule as ``filters`` of Dask and pyarrow spell it, a list of tuples, or a list of such lists: alternatives.

        Raises
        ------
        ArgumentError
            It is something else.
        """
        if isinstance(keep, KeepRule):
            return keep
        if _is_clause(keep) and len(keep) == 3:
            raise ArgumentError(f"expected a list of clauses as keep, got one clause: keep=[{keep!r}]")
        if not isinstance(keep, list | tuple) or not keep or _is_clause(keep):
            raise ArgumentError(f'expected keep as a list of clauses such as [("unsafe", "<", 0.1)], got {keep!r}')
        # As in pyarrow and Dask, the first element decides.
        lists = [keep] if _is_clause(keep[0]) else keep
        return cls(tuple(_conjunction(one) for one in lists))

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> KeepRule:
        """Rule from the dict of `to_dict`.

        Raises
        ------
        ArgumentError
        """
        if not isinstance(values, Mapping) or "any" not in values:
            raise ArgumentError(f"expected a rule as KeepRule.to_dict returns it, got {values!r}")
        return cls.of(values["any"])

    def to_dict(self) -> dict[str, Any]:
        """Dict of JSON values, for provenance and `from_dict`.

        Examples
        --------
        >>> KeepRule.of([("width", ">=", 512.0)]).to_dict()
        {'any': [[['width', '>=', 512]]]}
        """
        return {"any": [[clause.to_list() for clause in one] for one in self.alternatives]}

    @property
    def clauses(self) -> list[Clause]:
        """Clauses of all alternatives, each once."""
        return list(dict.fromkeys(clause for one in self.alternatives for clause in one))

    @property
    def columns(self) -> list[str]:
        """Names of the columns that decide."""
        return list(dict.fromkeys(clause.column for clause in self.clauses))

    def with_thresholds(self, scores: Mapping[str, Callable[[Any], Threshold]]) -> KeepRule:
        """Rule whose bounds of scores are numbers on the scale of the scores.

        Parameters
        ----------
        scores : dict of str to callable
            For each column of scores a function that finds the threshold from a number, preset or `Threshold`, as
            `find_threshold` does.

        Raises
        ------
        ThresholdError
            A bound is of another scale; or a preset or Threshold bounds a column that is not of scores.
        """

        def resolve(clause: Clause) -> Clause:
            find = scores.get(clause.column)
            if find is not None and clause.operator in ORDERED:
                try:
                    return replace(clause, value=find(clause.value).value)
                except ThresholdError as error:
                    raise ThresholdError(f"{error} (in keep: {clause})") from error
            if isinstance(clause.value, Threshold):
                known = ", ".join(map(repr, scores)) or "none"
                raise ThresholdError(
                    f"expected a number in keep, got a Threshold: {clause}. Thresholds are lower or upper bounds of "
                    f"columns of known scores ({known})"
                )
            return clause

        return KeepRule(tuple(tuple(map(resolve, one)) for one in self.alternatives))

    def check(self, types: Mapping[str, pa.DataType]) -> None:
        """Refuse columns that do not exist, and values that cannot be compared with them.

        Parameters
        ----------
        types : dict of str to pyarrow.DataType
            Types of all columns; null where only the rows can tell.

        Raises
        ------
        ColumnError, ArgumentError
        """
        for clause in self.clauses:
            if clause.column not in types:
                raise missing_column(f"column {clause.column!r} in keep ({clause})", clause.column, types)
            clause.bind(types[clause.column])

    def mask(self, columns: Mapping[str, Any]) -> Mask:
        """Whether each row is kept.

        Parameters
        ----------
        columns : dict of str to pyarrow.Array, numpy.ndarray, pandas.Series or cudf.Series
            Columns of the rule, all on the CPU or all of cuDF.

        Returns
        -------
        numpy.ndarray or cudf.Series of bool
        """
        satisfied = {clause: clause_mask(clause, columns[clause.column])[0] for clause in self.clauses}
        return self._any(satisfied)[0]

    def evaluate(self, columns: Mapping[str, Any]) -> tuple[Mask, RuleCounts]:
        """`mask` of some rows, with counts of what each clause and alternative keeps."""
        masks = {clause: clause_mask(clause, columns[clause.column]) for clause in self.clauses}
        keep, alternatives = self._any({clause: satisfied for clause, (satisfied, _) in masks.items()})
        texts = [_text(one) for one in self.alternatives] if len(alternatives) > 1 else []
        valid = {clause.column: valid for clause, (_, valid) in masks.items()}
        return keep, RuleCounts(
            len(keep),
            {str(clause): count(satisfied) for clause, (satisfied, _) in masks.items()},
            {text: count(one) for text, one in zip(texts, alternatives, strict=False)},
            count(keep),
            {name: len(keep) - count(one) for name, one in valid.items()},
        )

    def _any(self, satisfied: Mapping[Clause, Mask]) -> tuple[Mask, list[Mask]]:
        alternatives = [reduce(and_, [satisfied[clause] for clause in one]) for one in self.alternatives]
        return reduce(or_, alternatives), alternatives

    def __str__(self) -> str:
        if len(self.alternatives) == 1:
            return _text(self.alternatives[0])
        return " or ".join(f"({_text(one)})" if len(one) > 1 else _text(one) for one in self.alternatives)


Keep = KeepRule | Sequence[Clause | Sequence[Any]]  # Clauses, or lists of them.


def add_rule_counts(counts: Iterable[RuleCounts | None]) -> RuleCounts | None:
    """Sum of the counts of files or partitions; None if none has any."""
    found = [one for one in counts if one is not None]
    return sum(found, RuleCounts()) if found else None


def both_error(threshold: Any, score_column: str) -> ArgumentError:
    """Error for a rule and a threshold in one call."""
    return ArgumentError(
        f"expected keep or threshold, got both: threshold={threshold!r} is short for a clause of keep such as "
        f"({score_column!r}, '>=', {threshold!r})"
    )


def _is_clause(value: Any) -> bool:
    return isinstance(value, Clause) or (isinstance(value, list | tuple) and bool(value) and isinstance(value[0], str))


def _conjunction(clauses: Any) -> tuple[Clause, ...]:
    if not isinstance(clauses, list | tuple) or not clauses or _is_clause(clauses):
        raise ArgumentError(f'expected a list of clauses such as [("unsafe", "<", 0.1)] in keep, got {clauses!r}')
    return tuple(map(_clause, clauses))


def _clause(value: Any) -> Clause:
    if isinstance(value, Clause):
        return value
    if not isinstance(value, list | tuple) or len(value) != 3:
        raise ArgumentError(f'expected a column, an operator and a value such as ("unsafe", "<", 0.1), got {value!r}')
    return Clause(*value)


def _text(clauses: Sequence[Clause]) -> str:
    return " and ".join(map(str, clauses))


def _add(one: Mapping[str, int], other: Mapping[str, int]) -> dict[str, int]:
    total = Counter(one)
    total.update(other)
    return {name: total[name] for name in dict.fromkeys([*one, *other])}
