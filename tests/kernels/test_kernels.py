"""Row-wise arithmetic against float64, and what happens when a device is full."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from dask_aesthetic import kernels


@pytest.mark.parametrize("dtype", [torch.float16, torch.float32, torch.float64])
@pytest.mark.parametrize("working", [torch.float32, torch.float64])
def test_dots_and_norms_against_float64(vectors, dtype, working):
    x = torch.from_numpy(vectors * 5).to(dtype)
    weight = torch.linspace(-1, 1, 768, dtype=working)
    dots, norms = kernels.dots_and_norms(x, weight)
    limit = 2e-6 if working == torch.float32 else 1e-13
    assert (dots.double() - x.double() @ weight.double()).abs().max() <= limit * weight.norm()
    assert (norms.double() / x.double().norm(dim=1) - 1).abs().max() <= limit


@pytest.mark.parametrize("dtype", [torch.float16, torch.float32, torch.float64])
def test_a_row_gets_the_same_bytes_in_any_block(vectors, dtype):
    x, weight = torch.from_numpy(vectors).to(dtype), torch.linspace(-1, 1, 768)
    dots, norms = kernels.dots_and_norms(x, weight)
    for rows in (1, 7, 299):
        got = kernels.dots_and_norms(x, weight, rows)
        assert torch.equal(got[0], dots)
        assert torch.equal(got[1], norms)
    for at in (0, 13, 299):
        assert torch.equal(kernels.dots_and_norms(x[at:], weight)[0], dots[at:])
    assert torch.equal(kernels.norms(x, 11), norms)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_the_arithmetic_of_devices_agrees_with_that_of_cpus(vectors, dtype):
    """The branch that tensors of a GPU take, here on tensors of the CPU."""
    x, weight = torch.from_numpy(vectors * 3).to(dtype), torch.linspace(-1, 1, 768, dtype=dtype)
    dots, norms = torch.empty(300, dtype=dtype), torch.empty(300, dtype=dtype)
    kernels._dots(x, weight, dots)
    kernels._norms(x, norms)
    expected = kernels.dots_and_norms(x, weight)
    torch.testing.assert_close(dots, expected[0], rtol=0, atol=2e-5)
    torch.testing.assert_close(norms, expected[1], rtol=1e-6, atol=0)


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


def test_row_dots_of_pairs_and_of_one_vector(vectors):
    x = torch.from_numpy(vectors).double()
    np.testing.assert_allclose(kernels.row_dots(x, x), 1, atol=1e-6)
    np.testing.assert_allclose(kernels.row_dots(x, x[0]), (x @ x[0]).numpy(), atol=1e-12)
