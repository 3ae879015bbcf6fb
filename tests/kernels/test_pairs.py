"""Cosines of pairs of rows have the bits of the slow reference, for every dtype, width, address and stride."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from dask_aesthetic.errors import ArgumentError
from dask_aesthetic.kernels import find_rows, pairs
from dask_aesthetic.kernels.pairs import cosines
from dask_aesthetic.kernels.scattered import ScatteredRows
from dask_aesthetic.predictors.golden import SIMILARITY, golden_scores, golden_vectors
from helpers.lanes import scores_and_norms

DTYPES = torch.float16, torch.bfloat16, torch.float32, torch.float64


def values(vectors: torch.Tensor) -> np.ndarray:
    return vectors.to(torch.float32 if vectors.dtype == torch.bfloat16 else vectors.dtype).numpy()


def reference(a: torch.Tensor, b: torch.Tensor, working=np.float32) -> np.ndarray:
    """A row of `b` is the weight of a row of `a`, whose score is divided by the norm of `b`."""
    found = []
    for x, y in zip(values(a), values(b), strict=True):
        score, _ = scores_and_norms(x[None], y.astype(working), working(0))
        _, norm = scores_and_norms(y[None], np.zeros(len(y), working), working(0))
        found.append(np.float32(np.clip(working(score[0]) / norm[0], -1, 1)))
    return np.array(found, np.float32)


def matrix(rows: int, width: int, dtype: torch.dtype, seed: int) -> torch.Tensor:
    return torch.from_numpy(np.random.default_rng(seed).standard_normal((rows, width)) * 5).to(dtype)


@pytest.fixture(params=["numba", "torch"])
def path(request, monkeypatch):
    """Both paths have the same bits: numba's, and torch's, which runs on GPUs and where numba is missing."""
    if request.param == "torch":
        monkeypatch.setattr(pairs, "get_compiled", lambda: None)


@pytest.mark.parametrize("width", [1, 3, 31, 512, 768])
def test_every_dtype_and_width_has_the_bits_of_the_reference(path, width):
    for of in DTYPES:
        for other in DTYPES:
            a, b = matrix(5, width, of, 1), matrix(5, width, other, 2)
            assert cosines(a, b)[0].numpy().tobytes() == reference(a, b).tobytes(), (of, other)


def test_golden_similarities_have_the_bits_of_the_reference():
    vectors = torch.from_numpy(golden_vectors(768))
    assert np.float32(golden_scores(SIMILARITY)).tobytes() == reference(vectors, vectors.flip(0)).tobytes()


def test_norms_are_those_of_both_sides(path):
    a, b = matrix(40, 768, torch.float32, 1), matrix(40, 768, torch.float16, 2)
    _, first, second = cosines(a, b)
    for vectors, found in ((a, first), (b, second)):
        assert torch.allclose(found, vectors.double().norm(dim=1).float(), rtol=1e-6)


def test_any_address_stride_and_number_of_rows_gives_the_same_bits(path, monkeypatch):
    monkeypatch.setattr(pairs, "CPU_ROWS", 7)
    a, b = matrix(20, 768, torch.float32, 1), matrix(20, 768, torch.float32, 2)
    whole = cosines(a, b)[0].numpy()
    wide = torch.zeros(40, 3 * 768 + 1)
    wide[::2, 1:769], wide[::2, 769:1537] = a, b
    apart = wide[::2]
    for x in (a, apart[:, 1:769], a.T.contiguous().T, torch._neg_view(-a)):
        for y in (b, apart[:, 769:1537], b.T.contiguous().T):
            assert cosines(x, y)[0].numpy().tobytes() == whole.tobytes()
    assert cosines(a[3:4], b[3:4])[0].numpy().tobytes() == whole[3:4].tobytes()
    assert cosines(a[:0], b[:0])[0].shape == (0,)


def test_rows_apart_in_memory_give_the_same_bits(path):
    a, b = matrix(20, 96, torch.float32, 1), matrix(20, 96, torch.float64, 2)
    whole = cosines(a, b)[0].numpy()

    def scattered(vectors: torch.Tensor) -> ScatteredRows:
        objects = np.empty(len(vectors), object)
        for at, row in enumerate(vectors.numpy()):
            objects[at] = row.copy()
        _, addresses = find_rows(objects, vectors.shape[1])
        return ScatteredRows(objects, vectors.numpy().dtype, vectors.shape[1], addresses)

    for x, y in ((scattered(a), b), (a, scattered(b)), (scattered(a), scattered(b))):
        assert cosines(x, y)[0].numpy().tobytes() == whole.tobytes()


def test_float64_is_rounded_last():
    a, b = matrix(30, 100, torch.float64, 1), matrix(30, 100, torch.float64, 2)
    found = cosines(a, b, np.float64)[0]
    exact = (a * b).sum(dim=1) / a.norm(dim=1) / b.norm(dim=1)
    assert torch.equal(found, exact.float())


def test_equal_and_opposite_rows_are_1_and_minus_1_at_most(path):
    a = matrix(2000, 768, torch.float32, 1)
    assert cosines(a, a)[0].max() == 1
    assert cosines(a, -a)[0].min() == -1
    assert cosines(a, a * 3)[0].min() > 1 - 5e-7


def test_other_shapes_are_refused():
    for b in (torch.ones(3, 8), torch.ones(2, 7)):
        with pytest.raises(ArgumentError, match="as many vectors of the same width"):
            cosines(torch.ones(2, 8), b)
