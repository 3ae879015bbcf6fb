"""Predictors that are one affine map of the unit vector: ``score = weight . x / |x| + bias``, or its sigmoid."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import save_file

from dask_aesthetic.kernels import Heads, Vectors, scores_and_norms
from dask_aesthetic.kernels.sigmoid import sigmoid
from dask_aesthetic.predictors.base import Predictor, PredictorInfo, to_header

# Longer weights take float64 dot products. A float32 dot product errs by up to about |w| * 3e-8: 8e-7 for LAION's
# heads, whose weights are 12 to 28 long, but 3e-6 for Simulacra's 374.
LARGE_WEIGHT = 64.0


class AffinePredictor(Predictor):
    """One weight vector and a bias: 6 KB, small enough for a Dask graph.

    Parameters
    ----------
    weight : numpy.ndarray, shape (width,), float64
    bias : float
    info : PredictorInfo
    output_activation : {"none", "sigmoid"}
        Function of the map's value, which is the score.

    Attributes
    ----------
    heads, heads_float64 : Heads
        Weight and bias in the working precision of the scores, and in float64.

    Examples
    --------
    >>> import numpy as np, torch
    >>> predictor = AffinePredictor(np.array([3.0, 4.0]), 5.0, PredictorInfo(name="toy", width=2))
    >>> scores, norms = predictor.score(torch.tensor([[1.0, 0.0], [0.0, 20.0]]))
    >>> scores.tolist(), norms.tolist()
    ([8.0, 9.0], [1.0, 20.0])
    """

    def __init__(self, weight: np.ndarray, bias: float, info: PredictorInfo, output_activation: str = "none") -> None:
        self.weight = np.ascontiguousarray(weight, dtype=np.float64)
        self.weight.setflags(write=False)
        self.bias = float(bias)
        self.info = info
        self.output_activation = output_activation
        token = hashlib.sha256(self.weight.tobytes() + np.float64(bias).tobytes())
        if output_activation != "none":
            token.update(output_activation.encode())
        self.token = token.hexdigest()
        self._prepare()

    def _prepare(self) -> None:
        weights, biases = self.weight[None], np.array([self.bias])
        self.heads_float64 = Heads.of(weights, biases, np.float64)
        is_large = np.linalg.norm(self.weight) >= LARGE_WEIGHT
        self.heads = self.heads_float64 if is_large else Heads.of(weights, biases, np.float32)

    def __getstate__(self) -> dict[str, Any]:
        # Padding the weight anew is faster than pickling it.
        return {name: value for name, value in self.__dict__.items() if name not in ("heads", "heads_float64")}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        self._prepare()

    def score(
        self,
        vectors: Vectors,
        batch_size: int | None = None,  # noqa: ARG002 (it copies no rows)
    ) -> tuple[torch.Tensor, torch.Tensor]:
        scores, norms = scores_and_norms(vectors, self.heads)
        return self.finish(scores[0]), norms.to(torch.float32)

    def score_float64(self, vectors: torch.Tensor) -> torch.Tensor:
        return self.finish(scores_and_norms(vectors, self.heads_float64)[0][0])

    def finish(self, scores: torch.Tensor) -> torch.Tensor:
        """Scores from what the weight and the bias give, float32: the same, or their sigmoid."""
        return sigmoid(scores) if self.output_activation == "sigmoid" else scores

    def save(self, path: str | Path, **more: Any) -> None:
        tensors = {"weight": torch.tensor(self.weight)[None], "bias": torch.tensor([self.bias], dtype=torch.float64)}
        if self.output_activation != "none":
            more["output_activation"] = self.output_activation
        save_file(tensors, str(path), to_header(self.info, **more))
