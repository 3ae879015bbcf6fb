"""Row rules for every kind of column: status by length, nulls and norm.

A column is a flat array of leaves, split into rows by their lengths. Null and empty rows both have length 0 here.
`runs` of every backend yields a column as `Run`s; `scoring` never sees a column.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch

from dask_aesthetic.kernels import SAFE_NORM, Vectors, norms
from dask_aesthetic.status import Status


@dataclass(frozen=True)
class Run:
    """Consecutive rows of a column.

    Attributes
    ----------
    status : torch.Tensor, shape (n,), uint8
        `Status` of every row, as far as it follows from lengths and nulls.
    vectors : torch.Tensor, shape (m, width), or ScatteredRows
        The leaves, float16, bfloat16, float32 or float64, on the column's own device; its own memory where that is
        possible. Read only.
    present : torch.Tensor, shape (n,), bool, or None
        Rows with a vector in `vectors`, in order; None where all n have one. Such a row counts only if its status is
        OK: a fixed-size list has leaves under its null rows as well.
    all_valid : bool
        Whether every row is known to have a vector and status OK.
    """

    status: torch.Tensor
    vectors: Vectors
    present: torch.Tensor | None = None
    all_valid: bool = False

    @classmethod
    def of_valid(cls, vectors: Vectors) -> Run:
        """Run of rows that all have a vector and status OK."""
        if vectors.device.type == "cpu":  # torch's own zeros would wake its threads, for which cores may be busy.
            status = torch.from_numpy(np.zeros(len(vectors), np.uint8))
        else:
            status = torch.zeros(len(vectors), dtype=torch.uint8, device=vectors.device)
        return cls(status, vectors, all_valid=True)

    @classmethod
    def of_missing(cls, rows: int, width: int) -> Run:
        """Run of rows that are all missing."""
        status = torch.from_numpy(np.full(rows, Status.MISSING, np.uint8))
        vectors = torch.from_numpy(np.empty((0, width), np.float32))
        return cls(status, vectors, torch.from_numpy(np.zeros(rows, bool)))

    def spread(self, values: torch.Tensor, fill: float) -> torch.Tensor:
        """Per-row values, shape (..., n), from per-vector values; `fill` where a row has no vector."""
        if self.present is None:
            return values
        shape = (*values.shape[:-1], len(self.status))
        spread = torch.full(shape, fill, dtype=values.dtype, device=values.device)
        spread[..., self.present] = values
        return spread


@dataclass(frozen=True)
class Guess:
    """Vectors of a column by a guess of where its rows lie, which the device has not confirmed yet.

    Attributes
    ----------
    vectors : torch.Tensor, shape (n, width)
    offsets : torch.Tensor, shape (n + 1,), int32
        Ends of the rows among the leaves, the start of the first included.
    start : int
        Where the first row begins by the guess.
    """

    vectors: torch.Tensor
    offsets: torch.Tensor
    start: int

    def holds(self, lengths: torch.Tensor) -> bool:
        """Whether the rows lie where they should, and all norms, `lengths`, are safe; it waits for the device, once."""
        rows, width = self.vectors.shape
        ends = torch.arange(
            self.start, self.start + rows * width + 1, width, dtype=self.offsets.dtype, device=self.offsets.device
        )
        others = (self.offsets != ends).sum(dtype=lengths.dtype)
        least, most, count = torch.stack([*torch.aminmax(lengths), others]).tolist()
        return count == 0 and SAFE_NORM[0] <= least and most <= SAFE_NORM[1]


def status_of_lengths(lengths: torch.Tensor, width: int) -> torch.Tensor:
    """Status by the length of each row: `width` is OK, 0 MISSING, all else WRONG_WIDTH."""
    good = lengths == width
    if bool(good.all()):  # The common case, at no measurable cost.
        return torch.zeros_like(good, dtype=torch.uint8)
    status = torch.full_like(good, Status.WRONG_WIDTH, dtype=torch.uint8)
    status[good] = Status.OK
    status[lengths == 0] = Status.MISSING
    return status


def mark_nulls(status: torch.Tensor, has_nulls: torch.Tensor) -> torch.Tensor:
    """Status of rows by whether a null is among their values: it makes an OK row NOT_FINITE."""
    status[(status == Status.OK) & has_nulls] = Status.NOT_FINITE
    return status


def suspicious(lengths: torch.Tensor) -> torch.Tensor:
    """Positions of rows whose float32 norm is not safe: NaN, infinite, zero, or outside `SAFE_NORM`."""
    low, high = SAFE_NORM
    if len(lengths):
        on_cpu = lengths.device.type == "cpu"
        ends = (
            (lengths.numpy().min(), lengths.numpy().max()) if on_cpu else torch.stack(torch.aminmax(lengths)).tolist()
        )
        if ends[0] >= low and ends[1] <= high:  # Both are NaN where one norm is.
            return torch.empty(0, dtype=torch.int64, device=lengths.device)
    safe = (lengths >= low) & (lengths <= high)
    return torch.nonzero(~safe).flatten()


def scale_rows(vectors: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Vectors divided by their largest entry, which cannot overflow any more, and their status.

    Returns
    -------
    scaled : torch.Tensor, shape (n, width), float64
        Meaningless where the status is not OK.
    status : torch.Tensor, shape (n,), uint8
        OK, NOT_FINITE or ZERO.
    """
    x = vectors.to(torch.float64)
    largest = x.abs().amax(dim=1)
    status = torch.full_like(largest, Status.OK, dtype=torch.uint8)
    status[largest == 0] = Status.ZERO
    status[~torch.isfinite(largest)] = Status.NOT_FINITE
    x = torch.nan_to_num(x, nan=0.0, posinf=0.0, neginf=0.0)
    return x / torch.where(status == Status.OK, largest, 1.0)[:, None], status


def unit_vectors(vectors: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Unit vectors, shape (n, width), float64, and status, both as from `scale_rows`."""
    scaled, status = scale_rows(vectors)
    return scaled / norms(scaled, np.float64)[:, None], status
