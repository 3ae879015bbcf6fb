"""What follows a GPU's kernel, on a CPU's tensors, and a machine on which no kernel runs."""

from __future__ import annotations

import pickle
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from dask_aesthetic import load_predictor
from dask_aesthetic.errors import AestheticError, KernelError
from dask_aesthetic.kernels import gpu
from dask_aesthetic.kernels.lanes import Heads
from helpers import lanes


@pytest.mark.parametrize("working", [np.float32, np.float64])
def test_scores_and_norms_have_the_bits_of_the_lanes_in_numpy(ratings, working):
    weight, bias = load_predictor().weight.astype(working), load_predictor().bias
    rows = np.concatenate([ratings, ratings * np.float32(1e-18), np.random.default_rng(0).standard_normal((999, 768))])
    rows = rows.astype(np.float32)
    dot, square = lanes.dots_and_squares(rows, weight)
    biases = torch.tensor([bias, -bias], dtype=torch.from_numpy(weight).dtype)
    scores, norms = gpu.finish(torch.from_numpy(np.stack([dot, -dot])), torch.from_numpy(square), biases)
    for sign, got in zip((1, -1), scores, strict=True):
        expected = lanes.scores_and_norms(rows, sign * weight, sign * bias)
        assert got.dtype == torch.float32
        np.testing.assert_array_equal(got.numpy(), expected[0])
        np.testing.assert_array_equal(norms.numpy(), expected[1])


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_where_no_kernel_runs_the_error_names_both_compilers_and_what_they_need():
    with pytest.raises(
        KernelError, match=r"cuda:0.*Triton: .*CuPy: .*install gcc or clang, or set CC.*cupy-cuda"
    ) as caught:
        gpu.kernel(torch.device("cuda", 0))
    assert isinstance(caught.value, AestheticError)
    assert caught.value.causes.keys() == {"Triton", "CuPy"}
    again = pickle.loads(pickle.dumps(caught.value))
    assert (str(again), again.device, again.causes) == (str(caught.value), "cuda:0", caught.value.causes)


def test_weights_are_copied_once_for_each_stream_and_copies_are_bounded(monkeypatch):
    heads = Heads.of(np.arange(6.0).reshape(2, 3), np.array([7.0, 8.0]), np.float32)
    stream = SimpleNamespace(cuda_stream=0)
    monkeypatch.setattr(torch.cuda, "current_stream", lambda _: stream)
    cpu = torch.device("cpu")
    weights, biases = gpu.operands(heads, cpu)
    assert weights.tolist() == [[0, 1, 2], [3, 4, 5]]
    assert biases.tolist() == [7, 8]
    assert gpu.operands(heads, cpu)[0] is weights
    for stream.cuda_stream in range(1, 3 * gpu.MOST_COPIES):
        assert torch.equal(gpu.operands(heads, cpu)[0], weights)
        assert len(heads.copies) <= gpu.MOST_COPIES
    assert gpu.operands(pickle.loads(pickle.dumps(heads)), cpu)[1].tolist() == [7, 8]
