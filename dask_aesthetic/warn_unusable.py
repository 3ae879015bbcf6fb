"""Warning, once per computation, if no row of a scored column has a usable embedding: all its scores are missing."""

from __future__ import annotations

import sys
import warnings
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from threading import Lock
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import torch
from dask.callbacks import Callback

from dask_aesthetic.check import StorageStats
from dask_aesthetic.embeddings import unpack
from dask_aesthetic.errors import AestheticWarning
from dask_aesthetic.score_spec import ScoreSpec, width_hint
from dask_aesthetic.status import STATUSES, Status
from dask_aesthetic.warn_two_pools import warn_of_two_pools

MAX_CALLS = 1000  # A worker gets no notice of a computation's end, and lives long.


@dataclass
class UnusableCounts:
    """Counts of a column's scored rows by status and width, until a row is usable.

    Attributes
    ----------
    column : str
    spec : ScoreSpec
    usable : bool
        Whether a row was usable; nothing is counted from then on.
    rows : Counter of str
    widths : Counter of int
    warned : bool
    """

    column: str
    spec: ScoreSpec
    usable: bool = False
    rows: Counter[str] = field(default_factory=Counter)
    widths: Counter[int] = field(default_factory=Counter)
    warned: bool = False

    def add(self, values: Any, status: torch.Tensor) -> None:
        """Count rows, a Series or an Arrow array, by their `Status` codes."""
        if self.usable or not len(status):
            return
        # Mostly the first row tells, and a GPU's statuses stay where they are.
        self.usable = int(status[0]) == Status.OK or bool((status == Status.OK).any())
        if not self.usable:
            counts = np.bincount(status.cpu().numpy(), minlength=len(STATUSES)).tolist()
            self.rows.update({name: count for name, count in zip(STATUSES, counts, strict=True) if count})
            if isinstance(values, pa.Array):
                values = pd.Series(pd.arrays.ArrowExtensionArray(pa.chunked_array([values])))
            self.widths.update(StorageStats.of(unpack(values, self.spec.embedding_dtype)).widths)

    @property
    def all_unusable(self) -> bool:
        """Whether there were rows and no row was usable."""
        return not self.usable and bool(self.rows)

    def __str__(self) -> str:
        predictor = self.spec.predictor
        reasons = ", ".join(f"{count:,} {reason}" for reason, count in self.rows.most_common())
        widths = [width for width, _ in self.widths.most_common(5) if width != predictor.width]
        lengths = f"; rows hold {', '.join(map(str, widths))} floats" if widths else ""
        return (
            f"expected {predictor.width} floats per row in {self.column!r} for {predictor.info.name}, got no usable "
            f"embedding in {self.rows.total():,} rows ({reasons}){lengths}{width_hint(widths)}. All scores are missing"
        )


def warn_if_unusable(column: Any, spec: ScoreSpec) -> Callable[[torch.Tensor], None]:
    """Callback that takes the statuses of a column in memory, and warns if no row is usable."""

    def count(status: torch.Tensor) -> None:
        counts = UnusableCounts(str(column.name), spec)
        counts.add(column, status)
        if counts.all_unusable:
            warnings.warn(str(counts), AestheticWarning, stacklevel=2)

    return count


def count_unusable(call: str, values: Any, spec: ScoreSpec, column: str) -> Callable[[torch.Tensor], None]:
    """Callback that takes the statuses of a partition's rows, and adds them to the counts of the lazy score `call`.

    In threads of this process the warning comes when a computation ends. A worker of a cluster gets some partitions
    alone: it warns, there and in the client, as soon as all its rows are unusable and some have another width.
    """

    def count(status: torch.Tensor) -> None:
        if type(values).__module__.partition(".")[0] == "cudf" and _on_worker():
            warn_of_two_pools()
        with _lock:
            counts = _counts.setdefault((call, column, spec.predictor.token), UnusableCounts(column, spec))
            counts.add(values, status)
            while len(_counts) > MAX_CALLS:
                del _counts[next(iter(_counts))]
            if counts.warned or not (counts.all_unusable and counts.rows["wrong_width"]) or not _on_worker():
                return
            counts.warned = True
        from distributed import warn

        warn(str(counts), AestheticWarning)

    return count


def warn_after_compute() -> None:
    """Register the warning with Dask: computations in this process warn when they end."""
    _callback.register()  # The addition to a set: a second registration changes nothing.


def _start(graph: Any) -> None:  # noqa: ARG001
    _pop_unusable()


def _finish(graph: Any, state: Any, failed: bool) -> None:  # noqa: ARG001
    for counts in [] if failed else _pop_unusable():
        warnings.warn(str(counts), AestheticWarning, stacklevel=2)


def _pop_unusable() -> list[UnusableCounts]:
    """Remove and return the counts without a usable row.

    Counts with a usable row stay: Dask reports the end of one computation while others run.
    """
    with _lock:
        unusable = {call: counts for call, counts in _counts.items() if not counts.usable}
        for call in unusable:
            del _counts[call]
    return [counts for counts in unusable.values() if counts.rows]


def _on_worker() -> bool:
    if "distributed" not in sys.modules:
        return False
    from distributed import get_worker

    try:
        get_worker()
    except ValueError:
        return False
    return True


_lock = Lock()
_counts: dict[tuple[str, str, str], UnusableCounts] = {}
_callback = Callback(start=_start, finish=_finish)
