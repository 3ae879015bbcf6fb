"""What happens when a device is full."""

from __future__ import annotations

import pytest
import torch

from dask_aesthetic import kernels


@pytest.mark.parametrize("error", [torch.OutOfMemoryError, MemoryError, RuntimeError])
def test_back_off_halves_until_the_work_fits(error):
    """Work with memory for 100 rows, as on a full device; torch's error, RMM's, and RMM's raised by torch."""
    done: list[int] = []

    def run(rows: int) -> int:
        if rows > 100:
            raise error("std::bad_alloc: out_of_memory")
        done.append(rows)
        return rows

    assert kernels.back_off(run, 1000) == 62
    assert done == [62]


def test_back_off_gives_up_at_one_row_and_hides_no_other_error():
    asked: list[int] = []

    def full(rows: int) -> None:
        asked.append(rows)
        raise MemoryError("full")

    with pytest.raises(MemoryError, match="full"):
        kernels.back_off(full, 8)
    assert asked == [8, 4, 2, 1]
    with pytest.raises(ZeroDivisionError):
        kernels.back_off(lambda rows: rows // 0, 8)
    with pytest.raises(RuntimeError, match="size"):
        kernels.back_off(lambda rows: torch.ones(rows) @ torch.ones(rows + 1), 8)
