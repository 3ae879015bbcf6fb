"""Predictors that do not fold, such as heads with ReLU: torch networks, built once per process."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import save_file

from dask_aesthetic.kernels import Vectors, back_off, blocks, norms
from dask_aesthetic.kernels.full_precision import full_precision
from dask_aesthetic.kernels.one_thread import one_thread
from dask_aesthetic.kernels.sigmoid import sigmoid
from dask_aesthetic.predictors.base import Predictor, PredictorInfo, to_header
from dask_aesthetic.predictors.layers import Stack
from dask_aesthetic.predictors.norms import EPSILON

# Rows of every batch, the last one padded: matrix products of one shape treat each row alike, so a row's score depends
# neither on the number of rows nor on the requested batch size.
CPU_BATCH = 256
GPU_BATCH = 1 << 12  # 16 MB of a layer with 1,024 floats per row.


class NetworkPredictor(Predictor):
    """A stack of Linear layers with an activation, or layer norms, between them.

    Its weights are float32 arrays; torch's tensors of them are made at the first score, and cached in the process.

    The products are full float32, whatever torch is set to. On one kind of machine a row's score is the same bytes in
    any batch and partition; another processor, or a GPU, adds in another order, so its scores differ by some 1e-6.
    """

    def __init__(self, stack: Stack, info: PredictorInfo) -> None:
        # What was folded in float64 is rounded once, here, so that a saved file holds what scores are made of.
        rounded = ((weight.astype(np.float32), bias.astype(np.float32)) for weight, bias in stack.layers)
        self.stack = replace(stack, layers=tuple(rounded))
        self.info = info
        self.token = self.stack.digest

    def score(self, vectors: Vectors, batch_size: int | None = None) -> tuple[torch.Tensor, torch.Tensor]:
        network = _network(self.stack, self.token, vectors.device)
        batch = CPU_BATCH if vectors.device.type == "cpu" else GPU_BATCH
        lengths = norms(vectors)
        scores = torch.empty_like(lengths)

        def fill(rows: int) -> None:
            # Every block is computed in the same aligned memory: a BLAS may add in another order elsewhere.
            inputs, *outputs = (
                torch.zeros(batch, width, dtype=torch.float32, device=vectors.device) for width in network.widths
            )
            for at, block in blocks(vectors, rows):
                torch.div(block, lengths[at, None] / self.stack.input_scale, out=inputs[: len(block)])
                scores[at] = network(inputs, outputs)[: len(block)]

        with torch.inference_mode(), full_precision(), one_thread(vectors.device):
            # Fewer rows, asked for or for want of memory, are converted at a time; the products keep their shape.
            back_off(fill, min(batch_size or batch, batch))
        # Outside of inference mode, whose tensors nobody may change afterwards.
        return sigmoid(scores) if self.stack.output_activation == "sigmoid" else scores, lengths

    def score_float64(self, vectors: torch.Tensor) -> torch.Tensor:
        return self.score(vectors)[0]

    def save(self, path: str | Path, **more: Any) -> None:
        # The numbers are those of an nn.Sequential: a norm right after a layer, or right before the next.
        tensors = {}
        for at, (weight, bias) in enumerate(self.stack.layers, start=1):
            tensors[f"layers.{4 * at}.weight"], tensors[f"layers.{4 * at}.bias"] = weight, bias
        for norm in self.stack.norms:
            at = 4 * norm.layer + (3 if norm.activated else 1)
            tensors[f"layers.{at}.weight"], tensors[f"layers.{at}.bias"] = norm.weight, norm.bias
        more |= {"activation": self.stack.activation, "input_scale": self.stack.input_scale}
        if self.stack.output_activation != "none":
            more["output_activation"] = self.stack.output_activation
        held = {name: torch.tensor(array) for name, array in tensors.items()}
        save_file(held, str(path), to_header(self.info, **more))


_lock = threading.Lock()
_networks: dict[tuple[str, str], _Network] = {}
_builds: dict[str, int] = {}


class _Network:
    """Parameters of a stack on a device, and its products."""

    def __init__(self, stack: Stack, device: torch.device) -> None:
        def parameter(array: np.ndarray) -> torch.Tensor:
            return torch.tensor(np.ascontiguousarray(array), dtype=torch.float32, device=device)

        self.layers = [(parameter(weight.T), parameter(bias)) for weight, bias in stack.layers]
        self.widths = [stack.width, *(len(bias) for _, bias in stack.layers)]
        self._is_relu = stack.activation == "relu"
        self._norms = {
            (norm.layer, norm.activated): (parameter(norm.weight), parameter(norm.bias)) for norm in stack.norms
        }

    def __call__(self, inputs: torch.Tensor, outputs: Sequence[torch.Tensor]) -> torch.Tensor:
        """Value of the last layer for each row, shape (n,), in the memory of the last of `outputs`.

        Parameters
        ----------
        inputs : torch.Tensor, shape (n, width)
        outputs : sequence of torch.Tensor, shape (n, values of the layer)
            Memory for what each layer gives.
        """
        x = inputs
        for at, ((weight, bias), output) in enumerate(zip(self.layers, outputs, strict=True)):
            if at and self._is_relu:
                x = x.clamp_(min=0)
            x = torch.addmm(bias, self._norm(x, at, True), weight, out=output)
            x = self._norm(x, at + 1, False)
        return x[:, 0]

    def _norm(self, x: torch.Tensor, layer: int, activated: bool) -> torch.Tensor:
        found = self._norms.get((layer, activated))
        return x if found is None else torch.nn.functional.layer_norm(x, x.shape[1:], *found, EPSILON)


def builds() -> dict[str, int]:
    """Number of times that this process has built each network, by the predictor's token."""
    return dict(_builds)


def _network(stack: Stack, token: str, device: torch.device) -> _Network:
    with _lock:
        key = token, str(device)
        if key not in _networks:
            _networks[key] = _Network(stack, device)
            _builds[token] = _builds.get(token, 0) + 1
        return _networks[key]
