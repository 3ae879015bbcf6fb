"""What is counted of embeddings; facts of parts add up, in any order."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field, fields

from dask_aesthetic.check.norms import Norms
from dask_aesthetic.check.repeats import Repeats
from dask_aesthetic.distribution import ScoreDistribution


@dataclass(frozen=True)
class Facts:
    """Counts over some rows.

    Attributes
    ----------
    held : int
        Rows of the partitions that were looked into.
    rows : int
        Rows that were looked at.
    refused : Counter of str
        Rows of partitions that hold no lists of floats, by what the refusal says.
    storage, leaves : Counter of str; widths : Counter of int; nulls, empty, not_lists : int
        As in `Make`.
    status : Counter of str
        By what ``.aesthetic.status()`` says.
    not_finite, zero : int
        Rows with NaN, infinity or a null, but not nulls alone, and rows that are all zero, of any width that a shipped
        predictor takes.
    norms : Norms
        Of the other rows of those widths.
    repeats : Repeats
        Of the rows with status ok.
    scores : ScoreDistribution
        Raw.
    below, above : int
        Scores below 1 and above 10.
    kinds : Counter of str
        Rows by what their place looks most like: "image", "text" or "other".
    sureness : Counter of str
        The sum over rows of how likely each kind is, in steps of 2**-20.
    seconds, timed : float, int
        How long scoring took, and for how many rows.
    """

    scores: ScoreDistribution
    held: int = 0
    rows: int = 0
    refused: Counter[str] = field(default_factory=Counter)
    storage: Counter[str] = field(default_factory=Counter)
    leaves: Counter[str] = field(default_factory=Counter)
    widths: Counter[int] = field(default_factory=Counter)
    nulls: int = 0
    empty: int = 0
    not_lists: int = 0
    status: Counter[str] = field(default_factory=Counter)
    not_finite: int = 0
    zero: int = 0
    norms: Norms = field(default_factory=Norms)
    repeats: Repeats = field(default_factory=Repeats)
    below: int = 0
    above: int = 0
    kinds: Counter[str] = field(default_factory=Counter)
    sureness: Counter[str] = field(default_factory=Counter)
    seconds: float = 0.0
    timed: int = 0

    def __add__(self, other: Facts) -> Facts:
        return Facts(**{each.name: getattr(self, each.name) + getattr(other, each.name) for each in fields(self)})


def sum_facts(parts: Sequence[Facts]) -> Facts:
    """Facts of all the rows of one part or more."""
    total = parts[0]
    for part in parts[1:]:
        total = total + part
    return total
