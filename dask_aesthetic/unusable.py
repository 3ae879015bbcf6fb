"""A warning, once, where no row of a computed frame has a usable embedding: its scores would all be missing."""

from __future__ import annotations

import sys
import warnings
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from threading import Lock
from typing import Any

import pandas as pd
import pyarrow as pa
import torch
from dask.callbacks import Callback

from dask_aesthetic.check.columns import Make
from dask_aesthetic.errors import AestheticWarning
from dask_aesthetic.scoring import ScoreSpec, width_hint
from dask_aesthetic.status import STATUSES, Status

MOST_CALLS = 1000  # A worker lives long and is told of no computation's end.


@dataclass
class Seen:
    """Rows of a column that were scored, by status, as long as none of them is usable.

    Attributes
    ----------
    column : str
    spec : ScoreSpec
    usable : bool
        Whether a row was; then nothing more is counted.
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
        """Take in rows, as a Series or Arrow array, and their `Status` codes."""
        if self.usable or not len(status):
            return
        self.usable = bool((status == Status.OK).any())
        if not self.usable:
            counts = torch.bincount(status.cpu(), minlength=len(STATUSES)).tolist()
            self.rows.update({name: count for name, count in zip(STATUSES, counts, strict=True) if count})
            if isinstance(values, pa.Array):
                values = pd.Series(pd.arrays.ArrowExtensionArray(pa.chunked_array([values])))
            self.widths.update(Make.of(values).widths)

    @property
    def none_usable(self) -> bool:
        """Whether there were rows, and none could be scored."""
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


def warn_of(column: Any, spec: ScoreSpec) -> Callable[[torch.Tensor], None]:
    """What is to see the statuses of a frame's whole column, and warns if no row of it is usable."""

    def see(status: torch.Tensor) -> None:
        seen = Seen(str(column.name), spec)
        seen.add(column, status)
        if seen.none_usable:
            warnings.warn(str(seen), AestheticWarning, stacklevel=2)

    return see


def count_in(call: str, values: Any, spec: ScoreSpec, column: str) -> Callable[[torch.Tensor], None]:
    """What is to see the statuses of some rows of a lazy score, which `call` tells from others.

    In threads of this process the warning comes when a computation ends. A worker of a cluster sees some partitions
    alone: it warns, there and in the client, as soon as it has seen none but unusable rows, some of another width.
    """

    def see(status: torch.Tensor) -> None:
        with _lock:
            seen = _seen.setdefault(call, Seen(column, spec))
            seen.add(values, status)
            while len(_seen) > MOST_CALLS:
                del _seen[next(iter(_seen))]
            if seen.warned or not (seen.none_usable and seen.rows["wrong_width"]) or not _on_worker():
                return
            seen.warned = True
        from distributed import warn

        warn(str(seen), AestheticWarning)

    return see


def watch() -> None:
    """Have computations in this process warn as they end."""
    _watching.register()  # Which is a set's addition.


def _begin(graph: Any) -> None:  # noqa: ARG001
    _taken()


def _end(graph: Any, state: Any, failed: bool) -> None:  # noqa: ARG001
    for seen in [] if failed else _taken():
        warnings.warn(str(seen), AestheticWarning, stacklevel=2)


def _taken() -> list[Seen]:
    """Take out what has no usable row; what has one stays, since Dask tells of one computation while others go on."""
    with _lock:
        unusable = {call: seen for call, seen in _seen.items() if not seen.usable}
        for call in unusable:
            del _seen[call]
    return [seen for seen in unusable.values() if seen.rows]


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
_seen: dict[str, Seen] = {}
_watching = Callback(start=_begin, finish=_end)
