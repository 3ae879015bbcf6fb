"""Hashes against a published value and integers of Python, which have no word size."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from dask_aesthetic.hashing import hash_rows, splitmix64

WORD = 2**64


def mix(value: int) -> int:
    """Finalizer of splitmix64."""
    value = (value ^ (value >> 30)) * 0xBF58476D1CE4E5B9 % WORD
    value = (value ^ (value >> 27)) * 0x94D049BB133111EB % WORD
    return value ^ (value >> 31)


def hash_row(row: np.ndarray, seed: int) -> int:
    """Hash of a row of float32."""
    start = mix(seed) if seed else 0
    bits = (row + np.float32(0)).view(np.uint32).tolist()
    return mix(sum(bit * (mix(start + at) | 1) for at, bit in enumerate(bits, 1)) % WORD)


def test_splitmix64_returns_the_first_number_of_the_generator():
    golden = np.array([0x9E3779B97F4A7C15], np.uint64)  # The generator adds it to its seed, here 0.
    assert splitmix64(golden).tolist() == [0xE220A8397B1DCDAF]


@pytest.mark.parametrize("seed", [0, 7])
def test_row_hashes_equal_integer_arithmetic(seed):
    rows = np.random.default_rng(0).standard_normal((20, 33)).astype(np.float32)
    found = hash_rows(torch.from_numpy(rows), seed)
    assert found.dtype == np.uint64
    assert found.tolist() == [hash_row(row, seed) for row in rows]


def test_equal_rows_have_equal_hashes():
    rows = torch.from_numpy(np.random.default_rng(1).standard_normal((6000, 5)).astype(np.float16))
    hashes = hash_rows(rows)
    assert len(set(hashes.tolist())) == len(np.unique(rows.numpy(), axis=0))
    for dtype in (torch.float32, torch.float64):
        assert np.array_equal(hash_rows(rows.to(dtype)), hashes)
    assert np.array_equal(hash_rows(rows.flip(0)), hashes[::-1])
    assert hash_rows(rows[1234:1235])[0] == hashes[1234]
    assert not (hash_rows(rows, seed=1) == hashes).any()
    assert hash_rows(torch.tensor([[0.0, 1.0]])) == hash_rows(torch.tensor([[-0.0, 1.0]]))
    assert hash_rows(torch.tensor([[0.0, 1.0]])) != hash_rows(torch.tensor([[1.0, 0.0]]))
