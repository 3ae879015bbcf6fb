"""Statistics of an embedding column: storage, widths, norms, duplicates, statuses and scores; all of them add up."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field, fields, replace
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc

from dask_aesthetic.distribution import ScoreDistribution
from dask_aesthetic.embeddings.axes import drop_axes, flat_type, list_storage
from dask_aesthetic.embeddings.objects import describe, is_missing, list_length
from dask_aesthetic.hashing import hash_rows
from dask_aesthetic.kernels import Vectors

MAX_WIDTH = 1 << 16  # Longer lists are counted together, so that counts stay few.
OBJECTS = "objects"
UNIT_TOLERANCE = 0.01  # Vectors stored as float16 or bfloat16 after normalization lie within this.
DROPPED_BITS = 14  # Bins are the other bits of a float32: 512 steps between powers of two, so 0.2 % wide.
MAX_DISTINCT = 10_000
PROBABILITY_STEPS = 1 << 20  # Probabilities are added in whole steps, so that the order of adding changes nothing.


@dataclass
class StorageStats:
    """Rows of a column by storage, dtype and width.

    Attributes
    ----------
    storage : Counter of str
        "Arrow list", "Arrow large_list", "Arrow fixed_size_list", "cuDF list" or "objects".
    dtypes : Counter of str
        Of the floats, "float32" and so on; in objects, the dtypes of arrays and the types of other values.
    widths : Counter of int
        Lengths of the lists that are not empty; those above 65,536 count as 65,537.
    other_types : Counter of str
        Types of the values that are no flat lists of numbers.
    nulls, empty, not_lists : int
    """

    storage: Counter[str] = field(default_factory=Counter)
    dtypes: Counter[str] = field(default_factory=Counter)
    other_types: Counter[str] = field(default_factory=Counter)
    widths: Counter[int] = field(default_factory=Counter)
    nulls: int = 0
    empty: int = 0
    not_lists: int = 0

    @classmethod
    def of(cls, column: Any) -> StorageStats:
        """Storage of a pandas or cuDF column of lists of floats, or of objects."""
        if type(column).__module__.partition(".")[0] == "cudf":
            from dask_aesthetic.embeddings.cudf import is_flat, leaf_dtype

            if not len(column):
                return cls()
            if not is_flat(column):
                stats = cls._arrow(pa.chunked_array([column.to_arrow()]))
                return replace(stats, storage=Counter({"cuDF list": len(column)}))
            lengths = column.list.len()
            valid = lengths.dropna().to_pandas().to_numpy()
            return cls._lists("cuDF list", str(leaf_dtype(column)), valid, len(column))
        if isinstance(column.dtype, pd.ArrowDtype):
            lists = pa.array(column.array)
            return cls._arrow(lists if isinstance(lists, pa.ChunkedArray) else pa.chunked_array([lists]))
        return cls._objects(column.to_numpy())

    @classmethod
    def _arrow(cls, lists: pa.ChunkedArray) -> StorageStats:
        flat = flat_type(lists.type)
        storage = f"Arrow {str(list_storage(lists.type) or lists.type).partition('<')[0]}"
        value = None if flat is None else flat.value_type
        if value is None:
            return cls(Counter({storage: len(lists)}), Counter({"null": len(lists)}), nulls=len(lists))
        lengths = [pc.list_value_length(drop_axes(chunk)).drop_null().to_numpy() for chunk in lists.chunks]
        name = f"float{value.bit_width}" if pa.types.is_floating(value) else str(value)
        return cls._lists(storage, name, np.concatenate([np.empty(0, np.int64), *lengths]), len(lists))

    @classmethod
    def _lists(cls, storage: str, dtype: str, lengths: np.ndarray, rows: int) -> StorageStats:
        widths, counts = np.unique(np.minimum(lengths, MAX_WIDTH + 1), return_counts=True)
        counted = Counter(dict(zip(widths.tolist(), counts.tolist(), strict=True)))
        empty = counted.pop(0, 0)
        nulls = rows - len(lengths)
        return cls(Counter({storage: rows}), Counter({dtype: rows}), widths=counted, nulls=nulls, empty=empty)

    @classmethod
    def _objects(cls, values: np.ndarray) -> StorageStats:
        stats = cls(Counter({OBJECTS: len(values)}))
        for value in values:
            if is_missing(value):
                stats.nulls += 1
                continue
            name, length = describe(value), list_length(value)
            stats.dtypes[name] += 1
            if length is None or name.startswith(("list of ", "tuple of ")):
                stats.not_lists += 1
                stats.other_types[name] += 1
            elif length == 0:
                stats.empty += 1
            else:
                stats.widths[min(length, MAX_WIDTH + 1)] += 1
        return stats


@dataclass(frozen=True)
class NormHistogram:
    """Histogram of Euclidean norms, with exact minimum and maximum.

    Attributes
    ----------
    bins : Counter of int
        Vectors by the upper bits of their norm as a float32.
    unit : int
        Vectors whose norm lies within 0.01 of 1.
    min, max : float
        Infinite where there are no vectors.

    Examples
    --------
    >>> norms = NormHistogram.of(np.array([3.0, 5.0])) + NormHistogram.of(np.array([1.0, 7.0, 4.0]))
    >>> norms.min, round(norms.median, 1), norms.max, norms.count, norms.unit
    (1.0, 4.0, 7.0, 5, 1)
    """

    bins: Counter[int] = field(default_factory=Counter)
    unit: int = 0
    min: float = math.inf
    max: float = -math.inf

    @classmethod
    def of(cls, norms: np.ndarray) -> NormHistogram:
        """Histogram of norms, shape (n,), float64, positive; infinite ones count as the highest float64."""
        if not len(norms):
            return cls()
        norms = np.minimum(norms, np.finfo(np.float64).max)
        limits = np.finfo(np.float32)
        bits = np.clip(norms, limits.smallest_subnormal, limits.max).astype(np.float32).view(np.uint32)
        found, counts = np.unique(bits >> DROPPED_BITS, return_counts=True)
        unit = int((np.abs(norms - 1) <= UNIT_TOLERANCE).sum())
        bins = Counter(dict(zip(found.tolist(), counts.tolist(), strict=True)))
        return cls(bins, unit, float(norms.min()), float(norms.max()))

    def __add__(self, other: NormHistogram) -> NormHistogram:
        ends = min(self.min, other.min), max(self.max, other.max)
        return NormHistogram(self.bins + other.bins, self.unit + other.unit, *ends)

    @property
    def count(self) -> int:
        """Number of vectors."""
        return self.bins.total()

    @property
    def normalized(self) -> bool:
        """Whether every vector has norm 1, within 0.01."""
        return self.unit == self.count

    @property
    def median(self) -> float:
        """Lower median, within 0.1 %; NaN without vectors."""
        rank, below = (self.count + 1) // 2, 0
        for at, count in sorted(self.bins.items()):
            below += count
            if below >= rank:
                middle = np.array([at << DROPPED_BITS | 1 << DROPPED_BITS - 1], np.uint32).view(np.float32)
                return min(max(float(middle[0]), self.min), self.max)
        return math.nan


@dataclass(frozen=True, eq=False)
class DuplicateSample:
    """Sample of distinct vectors with their counts: at most `MAX_DISTINCT`, those of the lowest hashes.

    A vector among the lowest of all rows is among the lowest of every part that holds it. Its count is exact, and sums
    of parts are the same for every partitioning.

    Attributes
    ----------
    hashes : numpy.ndarray, uint64, ascending
    counts : numpy.ndarray, int64

    Examples
    --------
    >>> import torch
    >>> first = DuplicateSample.of(torch.tensor([[1.0], [2.0], [1.0]]))
    >>> both = first + DuplicateSample.of(torch.tensor([[2.0], [1.0]]))
    >>> both.distinct, both.rows, both.most, both.share
    (2, 5, 3, 0.6)
    """

    hashes: np.ndarray = field(default_factory=lambda: np.empty(0, np.uint64))
    counts: np.ndarray = field(default_factory=lambda: np.empty(0, np.int64))

    @classmethod
    def of(cls, vectors: Vectors) -> DuplicateSample:
        """Sample of vectors, shape (n, width); vectors that are equal as float32 are duplicates."""
        return cls(*_lowest(hash_rows(vectors), np.ones(len(vectors), np.int64)))

    def __add__(self, other: DuplicateSample) -> DuplicateSample:
        hashes, counts = np.concatenate([self.hashes, other.hashes]), np.concatenate([self.counts, other.counts])
        return DuplicateSample(*_lowest(hashes, counts))

    @property
    def distinct(self) -> int:
        """Number of distinct vectors in the sample."""
        return len(self.hashes)

    @property
    def rows(self) -> int:
        """Number of rows that hold a vector of the sample."""
        return int(self.counts.sum())

    @property
    def most(self) -> int:
        """Number of rows that hold the most frequent vector of the sample."""
        return int(self.counts.max(initial=0))

    @property
    def share(self) -> float:
        """Share of the sample's rows that repeat another row; 0 without rows."""
        return 1 - self.distinct / self.rows if self.rows else 0.0


def _lowest(hashes: np.ndarray, counts: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    found, at = np.unique(hashes, return_inverse=True)
    total = np.zeros(len(found), np.int64)
    np.add.at(total, at, counts)
    return found[:MAX_DISTINCT], total[:MAX_DISTINCT]


@dataclass(frozen=True)
class Statistics:
    """Counts over rows of a column; the statistics of parts add up, in any order.

    Attributes
    ----------
    partition_rows : int
        Rows of the inspected partitions.
    rows : int
        Inspected rows.
    refused : Counter of str
        Rows of partitions without lists of floats, by the error message.
    storage, dtypes, other_types : Counter of str; widths : Counter of int; nulls, empty, not_lists : int
        As in `StorageStats`.
    status : Counter of str
        Rows by status, as ``.aesthetic.status()`` has it.
    not_finite, zero : int
        Rows with NaN, infinity or a null, and rows of zeros alone, of every width that a shipped predictor takes.
    norms : NormHistogram
        Of the other rows of those widths.
    duplicates : DuplicateSample
        Of the rows with status ok.
    scores : ScoreDistribution
        Raw.
    below, above : int
        Scores below 1 and above 10.
    kinds : Counter of str
        Rows by their most probable kind: "image", "text" or "other".
    probabilities : Counter of str
        Sum over rows of the probability of each kind, in steps of 2**-20.
    seconds, timed_rows : float, int
        Duration of scoring, and the number of rows that were timed.
    """

    scores: ScoreDistribution
    partition_rows: int = 0
    rows: int = 0
    refused: Counter[str] = field(default_factory=Counter)
    storage: Counter[str] = field(default_factory=Counter)
    dtypes: Counter[str] = field(default_factory=Counter)
    other_types: Counter[str] = field(default_factory=Counter)
    widths: Counter[int] = field(default_factory=Counter)
    nulls: int = 0
    empty: int = 0
    not_lists: int = 0
    status: Counter[str] = field(default_factory=Counter)
    not_finite: int = 0
    zero: int = 0
    norms: NormHistogram = field(default_factory=NormHistogram)
    duplicates: DuplicateSample = field(default_factory=DuplicateSample)
    below: int = 0
    above: int = 0
    kinds: Counter[str] = field(default_factory=Counter)
    probabilities: Counter[str] = field(default_factory=Counter)
    seconds: float = 0.0
    timed_rows: int = 0

    def __add__(self, other: Statistics) -> Statistics:
        return Statistics(**{each.name: getattr(self, each.name) + getattr(other, each.name) for each in fields(self)})


def sum_each(parts: Sequence[Sequence[Statistics]]) -> list[Statistics]:
    """Sums of the statistics of several predictors, of which each part has one for each."""
    return [sum_statistics(each) for each in zip(*parts, strict=True)]


def sum_statistics(parts: Sequence[Statistics]) -> Statistics:
    """Statistics of the rows of one or more parts together."""
    total = parts[0]
    for part in parts[1:]:
        total = total + part
    return total
