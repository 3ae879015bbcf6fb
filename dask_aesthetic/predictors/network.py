"""Predictors that do not fold, such as heads with ReLU: torch networks, built once per process."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import save_file
from torch import nn

from dask_aesthetic.kernels import Vectors, back_off, blocks, norms
from dask_aesthetic.kernels.full_precision import full_precision
from dask_aesthetic.predictors.base import Predictor, PredictorInfo, to_header
from dask_aesthetic.predictors.layers import Stack

# Rows of every batch, the last one padded: matrix products of one shape treat each row alike, so a row's score depends
# neither on the number of rows nor on the requested batch size.
CPU_BATCH = 256
GPU_BATCH = 1 << 12  # 16 MB of a layer with 1,024 floats per row.


class NetworkPredictor(Predictor):
    """A stack of Linear layers with an activation between them.

    Its weights are arrays; the torch module is built at the first score and cached in the process by its weights.

    The products are full float32, whatever torch is set to. On one kind of machine a row's score is the same bytes in
    any batch and partition; another processor, or a GPU, adds in another order, so its scores differ by some 1e-6.
    """

    def __init__(self, stack: Stack, info: PredictorInfo) -> None:
        self.stack = stack
        self.info = info
        self.token = stack.digest

    def score(self, vectors: Vectors, batch_size: int | None = None) -> tuple[torch.Tensor, torch.Tensor]:
        module = _module(self.stack, self.token, vectors.device)
        batch = CPU_BATCH if vectors.device.type == "cpu" else GPU_BATCH
        lengths = norms(vectors)
        scores = torch.empty_like(lengths)

        def fill(rows: int) -> None:
            for at, block in blocks(vectors, rows):
                units = block / lengths[at, None]
                scores[at] = _forward(module, units * self.stack.input_scale, batch)

        # Fewer rows, asked for or for want of memory, are converted at a time; the products keep their shape.
        back_off(fill, min(batch_size or batch, batch))
        return scores, lengths

    def score_float64(self, vectors: torch.Tensor) -> torch.Tensor:
        return self.score(vectors)[0]

    def save(self, path: str | Path) -> None:
        tensors = {}
        for at, (weight, bias) in enumerate(self.stack.layers):
            tensors[f"layers.{at}.weight"], tensors[f"layers.{at}.bias"] = torch.tensor(weight), torch.tensor(bias)
        header = to_header(self.info, activation=self.stack.activation, input_scale=self.stack.input_scale)
        save_file(tensors, str(path), header)


_lock = threading.Lock()
_modules: dict[tuple[str, str], nn.Module] = {}
_builds: dict[str, int] = {}


def builds() -> dict[str, int]:
    """Number of times that this process has built each network, by the predictor's token."""
    return dict(_builds)


def _module(stack: Stack, token: str, device: torch.device) -> nn.Module:
    with _lock:
        key = token, str(device)
        if key not in _modules:
            parts: list[nn.Module] = []
            for weight, bias in stack.layers:
                linear = nn.Linear(weight.shape[1], weight.shape[0], device="meta")
                linear.weight = nn.Parameter(_parameter(weight, device), requires_grad=False)
                linear.bias = nn.Parameter(_parameter(bias, device), requires_grad=False)
                parts += [linear, nn.ReLU()]
            _modules[key] = nn.Sequential(*parts[:-1]).eval()
            _builds[token] = _builds.get(token, 0) + 1
        return _modules[key]


def _parameter(array: np.ndarray, device: torch.device) -> torch.Tensor:
    return torch.tensor(array, dtype=torch.float32, device=device)


@contextmanager
def _one_thread() -> Iterator[None]:
    """Limit torch to one thread: MKL's products have other last bits in two; the limit is per calling thread."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def _forward(module: nn.Module, x: torch.Tensor, batch: int) -> torch.Tensor:
    """Output per row of at most `batch` rows, computed as `batch` rows."""
    with torch.inference_mode(), full_precision(), _one_thread() if x.device.type == "cpu" else nullcontext():
        padded = x.new_zeros(batch, x.shape[1])
        padded[: len(x)] = x
        return module(padded)[: len(x), 0]
