"""Distributions of groups side by side: a dict with a table and a plot."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace
from functools import reduce
from operator import add
from typing import TYPE_CHECKING, Any

import pandas as pd

from dask_aesthetic.distribution import plot
from dask_aesthetic.distribution._describe import QUANTILES
from dask_aesthetic.distribution.distribution import ScoreDistribution
from dask_aesthetic.tables import Grid
from dask_aesthetic.thresholds import SCALES, Threshold

if TYPE_CHECKING:
    from matplotlib.axes import Axes

MOST_SHOWN = 20  # Groups in a printed table and in a plot.


class GroupDistributions(dict[Any, ScoreDistribution]):
    """Distributions of scores by group, a dict, with a table and a plot of them.

    Made by ``frame.aesthetic.distribution(by=)`` and ``distribution(terms=)``. Groups are in order, numbers and dates
    by value and others by their text, terms as they were given; the group None, of rows without one, comes last. A
    long list prints the groups with the most rows.

    Attributes
    ----------
    by : str
        Column of the groups, or of the captions that were searched for terms.
    threshold : Threshold or None
        Threshold of the share that is printed: that of the run whose files were read, else the predictor's default.
    overlap : bool
        Whether a row may count in several groups, as with terms.

    Examples
    --------
    >>> import pandas as pd, dask_aesthetic
    >>> frame = pd.DataFrame({"aesthetic_score": [4.0, 5.0, 5.5, None], "year": [2020, 2020, 2021, 2021]})
    >>> groups = frame.aesthetic.distribution(by="year")
    >>> groups
    Scores by 'year': 2 groups, 4 rows
      year  rows  scored    1%   25%   50%   75%   99%     >= 5
      2020     2       2  4.00  4.00  4.00  5.00  5.00   50.00%
      2021     2       1  5.50  5.50  5.50  5.50  5.50  100.00%
      all      4       3  4.00  4.00  5.00  5.50  5.50   66.67%
    >>> groups[2020].mean
    4.5
    """

    by: str
    threshold: Threshold | None
    overlap: bool

    def __init__(
        self,
        groups: Mapping[Any, ScoreDistribution],
        by: str,
        threshold: Threshold | None = None,
        *,
        overlap: bool = False,
    ) -> None:
        super().__init__(groups if overlap else {group: groups[group] for group in _in_order(groups)})
        self.by, self.threshold, self.overlap = by, threshold, overlap

    def to_frame(self, threshold: float | str | Threshold | None = None) -> pd.DataFrame:
        """Numbers of all groups as a pandas frame, for sorting and saving.

        Parameters
        ----------
        threshold : float, str or Threshold, optional
            Threshold of the column ``kept``, as in `ScoreDistribution.keep_rate`; the attribute if not given.

        Returns
        -------
        pandas.DataFrame, by group
            ``rows``, ``scored``, ``mean``, ``std``, ``min``, ``max``, quantiles as ``q01`` to ``q99``, and ``kept``,
            the share of the scored rows that the threshold keeps, if there is one.

        Raises
        ------
        ThresholdError
            The threshold belongs to another scale or predictor.

        Examples
        --------
        >>> import pandas as pd, dask_aesthetic
        >>> frame = pd.DataFrame({"aesthetic_score": [4.0, 5.0, 5.5], "source": ["a", "a", "b"]})
        >>> frame.aesthetic.distribution(by="source").to_frame(threshold=4.5)["kept"].to_dict()
        {'a': 0.5, 'b': 1.0}
        """
        asked = self._find(threshold)
        rows = [
            {
                "rows": one.rows,
                "scored": one.count,
                **{name: getattr(one, name) for name in ("mean", "std", "min", "max")},
                **{f"q{round(q * 100):02d}": one.quantile(q) for q in QUANTILES},
                **({} if asked is None else {"kept": one.rate(asked)}),
            }
            for one in self.values()
        ]
        return pd.DataFrame(rows, index=pd.Index(list(self), dtype=object, name=self.by))

    def plot(self, ax: Axes | None = None, threshold: float | str | Threshold | None = None, **style: Any) -> Axes:
        """Draw a box per group with matplotlib: its quarters, from 1 % to 99 %, and the middle.

        Parameters
        ----------
        ax : matplotlib.axes.Axes, optional
            The current axes if not given, as with pandas.
        threshold : float, str or Threshold, optional
            As in `to_frame`; drawn as a line.
        **style
            Style of the boxes, for ``Axes.barh``: color, alpha, height.

        Returns
        -------
        matplotlib.axes.Axes
            Of more than 20 groups, those with the most rows.

        Raises
        ------
        ThresholdError
            The threshold belongs to another scale or predictor.
        MissingDependencyError
            matplotlib is missing: ``pip install 'dask-aesthetic[report]'``.

        Examples
        --------
        >>> ax = groups.plot(threshold="standard", color="tab:blue")  # doctest: +SKIP
        >>> ax.figure.savefig("groups.png")  # doctest: +SKIP
        """
        line = self._find(threshold)
        shown = {group: self[group] for group in self._shown() if self[group].count}
        first = next(iter(self.values()), ScoreDistribution())
        boxes = {_name(group): [one.quantile(q) for q in QUANTILES] for group, one in shown.items()}
        return plot.draw_groups(boxes, self.by, first.scale, first.predictor, ax, line, style)

    def _find(self, threshold: float | str | Threshold | None) -> Threshold | None:
        """The requested threshold, in the direction of the groups' own, or their own."""
        if threshold is None or not self:
            return self.threshold
        found = next(iter(self.values())).find_threshold(threshold)
        return found if self.threshold is None else replace(found, higher_is_better=self.threshold.higher_is_better)

    def __repr__(self) -> str:
        return self._grid().text(self._title())

    def _repr_html_(self) -> str:
        return self._grid().html(self._title())

    def _title(self) -> str:
        if self.overlap:
            terms = len(self) - (None in self)
            return f"Scores by term in {self.by!r}: {terms:,} terms; a row counts under each term that it mentions"
        rows = sum(one.rows for one in self.values())
        return f"Scores by {self.by!r}: {len(self):,} groups, {rows:,} rows"

    def _shown(self) -> list[Any]:
        """Groups in a printed table, in their order: those with the most rows if there are many."""
        if len(self) <= MOST_SHOWN:
            return list(self)
        largest = set(sorted(self, key=lambda group: -self[group].rows)[:MOST_SHOWN])
        return [group for group in self if group in largest]

    def _grid(self) -> Grid:
        shown = self._shown()
        columns = ["term" if self.overlap else self.by, "rows", "scored", *(f"{q:.0%}" for q in QUANTILES)]
        if self.threshold is not None:
            columns.append(f"{'>=' if self.threshold.higher_is_better else '<='} {self.threshold.value:g}")
        rows = [self._row(_name(group), self[group]) for group in shown]
        total = self._row("all", reduce(add, self.values())) if self and not self.overlap else []
        left_out = [one.rows for group, one in self.items() if group not in shown]
        more = f"... and {len(left_out):,} more groups, of up to {max(left_out):,} rows each" if left_out else ""
        return Grid(columns, rows, more, total)

    def _row(self, name: str, one: ScoreDistribution) -> list[str]:
        digits = 2 if SCALES[one.scale] == 1 else 3
        quantiles = [f"{one.quantile(q):.{digits}f}" if one.count else "" for q in QUANTILES]
        share = [] if self.threshold is None else [one.rate(self.threshold)]
        return [name, f"{one.rows:,}", f"{one.count:,}", *quantiles, *(f"{x:.2%}" if one.count else "" for x in share)]


def _name(group: Any) -> str:
    return "(none)" if group is None else str(group)


def _in_order(groups: Iterable[Any]) -> list[Any]:
    """Groups by value, or by text if they cannot be compared, and None last."""
    named = [group for group in groups if group is not None]
    try:
        ordered = sorted(named)
    except TypeError:
        ordered = sorted(named, key=str)
    return [*ordered, *([None] if None in groups else [])]
