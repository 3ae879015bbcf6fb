"""Scores have the bits of the slow reference: compiled and in numpy, for every dtype, width, address and stride."""

from __future__ import annotations

import itertools
import pickle
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import torch

from dask_aesthetic import kernels
from dask_aesthetic.errors import ArgumentError
from dask_aesthetic.kernels import Heads, lanes
from dask_aesthetic.predictors import list_predictors, load_predictor
from helpers.lanes import assert_same_bits, dots_and_squares, scores_and_norms

DTYPES = torch.float16, torch.bfloat16, torch.float32, torch.float64
WORKING = np.float32, np.float64
WIDTHS = 1, 3, 31, 512, 768, 1152


def heads(count: int, width: int, working: type, seed: int = 1) -> Heads:
    random = np.random.default_rng(seed)
    return Heads.of(random.standard_normal((count, width)), random.standard_normal(count), working)


def values(vectors: torch.Tensor) -> np.ndarray:
    """The same values as an array; numpy has no bfloat16."""
    return vectors.to(torch.float32 if vectors.dtype == torch.bfloat16 else vectors.dtype).numpy()


def expect(vectors: torch.Tensor, of: Heads, found: tuple) -> None:
    """Assert the bits of the reference for every head."""
    scores, norms = (np.asarray(part) for part in found)
    assert scores.shape == (len(of.weights), len(vectors))
    with np.errstate(all="ignore"):
        for head, weight in enumerate(of.weights):
            score, norm = scores_and_norms(values(vectors), weight[: of.width], of.biases[head])
            assert_same_bits(scores[head], score)
            assert_same_bits(norms, norm)
        np.testing.assert_array_equal(
            norms, np.sqrt(dots_and_squares(values(vectors), np.zeros(of.width, norms.dtype))[1])
        )


def matrix(rows: int, width: int, dtype: torch.dtype, seed: int = 0) -> torch.Tensor:
    return torch.from_numpy(np.random.default_rng(seed).standard_normal((rows, width)) * 5).to(dtype)


@pytest.mark.parametrize("working", WORKING)
@pytest.mark.parametrize("dtype", DTYPES)
def test_every_width_has_the_bits_of_the_reference(dtype, working):
    for width in WIDTHS:
        x, of = matrix(37, width, dtype), heads(1, width, working)
        expect(x, of, kernels.scores_and_norms(x, of))
        expect(x, of, lanes.scores_and_norms(x, of))


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("width", [31, 768])
def test_any_address_and_stride_gives_the_same_bits(dtype, width):
    """Views that begin at any value, rows apart, backwards, columns of a transposed matrix."""
    of = heads(1, width, np.float32)
    wide = matrix(20, 3 * width, dtype)
    flat = wide.flatten()
    for start in (0, 1, 2, 3, 5, 7):
        x = flat[start : start + 20 * width].view(20, width)
        expect(x, of, kernels.scores_and_norms(x, of))
        expect(x[3:4], of, kernels.scores_and_norms(x[3:4], of))
    for x in (wide[:, :width], wide[:, 5 : 5 + width], wide[::2, 1 : 1 + width], wide.T[:width].T, wide[:0, :width]):
        expect(x, of, kernels.scores_and_norms(x, of))
    apart = wide[:, : 2 * width : 2]
    assert apart.stride(1) == 2
    expect(apart, of, kernels.scores_and_norms(apart, of))
    turned = wide[:, :width].T.contiguous().T
    assert turned.stride(0) == 1
    expect(turned, of, kernels.scores_and_norms(turned, of))
    expect(wide[:1, :width].expand(5, width), of, kernels.scores_and_norms(wide[:1, :width].expand(5, width), of))


def test_bytes_of_a_file_are_scored_at_any_address(tmp_path):
    """Pages of a file begin at any byte, even at an odd one."""
    of = heads(1, 768, np.float32)
    for dtype, start in itertools.product(("f2", "f4", "f8"), (1, 2, 3, 5, 7)):
        x = np.random.default_rng(0).standard_normal((9, 768)).astype(dtype)
        memory = np.zeros(x.nbytes + start, np.uint8)
        memory[start:] = x.view(np.uint8).reshape(-1)
        unaligned = np.ndarray(x.shape, x.dtype, memory, start)
        scattered = np.empty(9, object)
        scattered[:] = list(unaligned)
        found, addresses = kernels.find_rows(scattered, 768)
        rows = kernels.ScatteredRows(scattered, x.dtype, 768, addresses)
        assert set(found.tolist()) == {kernels.DTYPES.index(x.dtype)}
        expect(torch.from_numpy(x), of, kernels.scores_and_norms(rows, of))


@pytest.mark.parametrize("count", [0, 1, 2, 3, 4, 7, 8, 9, 16])
@pytest.mark.parametrize("working", WORKING)
def test_several_heads_in_one_pass_have_the_bits_of_each_alone(count, working):
    """More rows than two passes have between them."""
    x = matrix(2 * kernels.HEADS_ROWS + 7, 70, torch.float32)
    of = heads(count, 70, working)
    found = kernels.scores_and_norms(x, of)
    expect(x, of, found)
    expect(x, of, lanes.scores_and_norms(x, of))
    for head in range(count):
        alone = Heads.of(of.weights[head : head + 1, :70], of.biases[head : head + 1], working)
        scores, norms = kernels.scores_and_norms(x, alone)
        assert torch.equal(scores[0], found[0][head])
        assert torch.equal(norms, found[1])


def test_every_value_of_16_bits_is_converted_exactly():
    """All 65,536, one a row: subnormal, infinite and NaN ones too."""
    x = torch.arange(1 << 16, dtype=torch.int32).to(torch.int16).view(torch.float16)[:, None]
    for working in WORKING:
        of = Heads.of(np.ones((1, 1)), np.zeros(1), working)
        expect(x, of, kernels.scores_and_norms(x, of))
        norms = kernels.norms(x, working)
        np.testing.assert_array_equal(norms.numpy(), np.abs(x.numpy()[:, 0].astype(working)))
        every = x.view(torch.bfloat16)
        expect(every, of, kernels.scores_and_norms(every, of))


def test_values_that_several_dtypes_hold_score_the_same(vectors):
    for predictor, stored in itertools.product(("laion-v2", "simulacra-l14"), (torch.float16, torch.bfloat16)):
        x = torch.from_numpy(vectors * 3).to(stored)
        scores, norms = load_predictor(predictor).score(x)
        for dtype in (torch.float32, torch.float64):
            again = load_predictor(predictor).score(x.to(dtype))
            assert torch.equal(again[0], scores)
            assert torch.equal(again[1], norms)


def test_a_row_has_the_same_bits_in_any_batch_and_thread(vectors):
    x, of = torch.from_numpy(vectors), heads(1, 768, np.float32)
    scores, norms = kernels.scores_and_norms(x, of)
    with ThreadPoolExecutor(4) as pool:
        for rows in (1, 7, 299):
            parts = list(pool.map(lambda part: kernels.scores_and_norms(part, of), x.split(rows)))
            assert torch.equal(torch.cat([part[0] for part in parts], dim=1), scores)
            assert torch.equal(torch.cat([part[1] for part in parts]), norms)


def test_nan_and_infinity_disturb_no_other_row():
    x, of = matrix(9, 768, torch.float32), heads(2, 768, np.float32)
    before = kernels.scores_and_norms(x, of)[0]
    x[2, 5], x[4, 767], x[5] = torch.nan, -torch.inf, 3e38
    scores, norms = kernels.scores_and_norms(x, of)
    assert norms[2].isnan()
    assert norms[4].isinf()
    assert norms[5].isinf()
    others = [0, 1, 3, 6, 7, 8]
    assert torch.equal(scores[:, others], before[:, others])
    expect(x, of, (scores, norms))
    expect(x, of, lanes.scores_and_norms(x, of))


@pytest.mark.parametrize("name", [name for name in list_predictors() if name != "nsfw-l14"])
def test_real_embeddings_have_the_bits_of_the_reference(verite, name):
    predictor = load_predictor(name)
    real = torch.from_numpy(verite[:, : predictor.width].copy())
    for dtype in DTYPES:
        x = real.to(dtype)
        expect(x, predictor.heads, kernels.scores_and_norms(x, predictor.heads))


def test_norms_against_float64(vectors):
    x = torch.from_numpy(vectors * 5)
    exact = x.double().norm(dim=1)
    assert (kernels.norms(x).double() / exact - 1).abs().max() <= 1e-6
    assert (kernels.norms(x, np.float64) / exact - 1).abs().max() <= 1e-14


@pytest.mark.parametrize(
    "x",
    [torch.zeros(3, 767), torch.zeros(3, 769), torch.zeros(768), torch.zeros(1, 3, 768), torch.zeros(3, 768).int()],
    ids=lambda x: str((*x.shape, x.dtype)),
)
def test_vectors_of_another_width_or_type_are_refused(x):
    """Compiled code would read beyond them."""
    for call in (load_predictor().score, load_predictor("simulacra-l14").score):
        with pytest.raises(ArgumentError, match=r"expected vectors of shape \(n, 768\) of torch.float16, .* got"):
            call(x)


def test_heads_keep_no_address_of_another_process(vectors):
    of = heads(2, 768, np.float32)
    before = kernels.scores_and_norms(torch.from_numpy(vectors), of)[0]
    copied = pickle.loads(pickle.dumps(of))
    assert copied.operands[0] != of.operands[0]
    assert torch.equal(kernels.scores_and_norms(torch.from_numpy(vectors), copied)[0], before)
