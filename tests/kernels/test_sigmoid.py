"""The sigmoid: rounded as the exact one is, and the same bits by numpy and by torch."""

from __future__ import annotations

import math

import numpy as np
import torch

from dask_aesthetic.kernels import sigmoid as module
from dask_aesthetic.kernels.sigmoid import sigmoid

X = np.concatenate([np.linspace(-110, 110, 20_001), [0.0, -0.0, 1e-30, -1e-30, 3e38, -3e38]]).astype(np.float32)


def test_scores_are_the_exact_sigmoid_rounded_once():
    exact = [1 / (1 + math.exp(-x)) if x > -700 else 0.0 for x in X.astype(np.float64).tolist()]
    assert sigmoid(torch.from_numpy(X)).tolist() == np.array(exact).astype(np.float32).tolist()


def test_infinite_scores_are_0_and_1_and_nan_stays():
    found = sigmoid(torch.tensor([torch.inf, -torch.inf, torch.nan, 0.0]))
    assert found[[0, 1, 3]].tolist() == [1.0, 0.0, 0.5]
    assert found[2].isnan()
    assert sigmoid(torch.empty(0)).shape == (0,)


def test_torch_which_computes_on_gpus_gives_the_same_bits():
    by_torch = module._sigmoid(torch.from_numpy(X).double(), torch, lambda k: k.to(torch.int64)).float()
    assert by_torch.numpy().tobytes() == sigmoid(torch.from_numpy(X)).numpy().tobytes()
