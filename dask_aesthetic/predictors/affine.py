"""Predictors that are one affine map of the unit vector: ``score = weight . x / |x| + bias``."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import save_file

from dask_aesthetic.kernels import contiguous_dots_and_norms, dots_and_norms, row_dots
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

    Examples
    --------
    >>> import numpy as np, torch
    >>> predictor = AffinePredictor(np.array([3.0, 4.0]), 5.0, PredictorInfo(name="toy", width=2))
    >>> scores, norms = predictor.score(torch.tensor([[1.0, 0.0], [0.0, 20.0]]))
    >>> scores.tolist(), norms.tolist()
    ([8.0, 9.0], [1.0, 20.0])
    """

    def __init__(self, weight: np.ndarray, bias: float, info: PredictorInfo) -> None:
        self.weight = np.ascontiguousarray(weight, dtype=np.float64)
        self.weight.setflags(write=False)
        self.bias = float(bias)
        self.info = info
        self._cast = _cast(self.weight)
        self.token = hashlib.sha256(self.weight.tobytes() + np.float64(bias).tobytes()).hexdigest()

    def __getstate__(self) -> dict[str, Any]:
        # Making the cast tensor anew is faster than pickling it.
        return {name: value for name, value in self.__dict__.items() if name != "_cast"}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state, _cast=_cast(state["weight"]))

    def score(self, vectors: torch.Tensor, batch_size: int | None = None) -> tuple[torch.Tensor, torch.Tensor]:
        dots, norms = dots_and_norms(vectors, self._cast.to(vectors.device), batch_size)
        return dots.div_(norms).add_(self.bias).to(torch.float32), norms.to(torch.float32)

    def score_contiguous(self, vectors: np.ndarray) -> np.ndarray | None:
        if self._cast.dtype != torch.float32:
            return None
        found = contiguous_dots_and_norms(vectors, self._cast.numpy())
        if found is None:
            return None
        scores, norms = found
        scores /= norms
        scores += np.float32(self.bias)
        return scores

    def score_units(self, units: torch.Tensor) -> torch.Tensor:
        weight = torch.tensor(self.weight, device=units.device)
        return (row_dots(units, weight) + self.bias).to(torch.float32)

    def save(self, path: str | Path, **more: Any) -> None:
        tensors = {"weight": torch.tensor(self.weight)[None], "bias": torch.tensor([self.bias], dtype=torch.float64)}
        save_file(tensors, str(path), to_header(self.info, **more))


def _cast(weight: np.ndarray) -> torch.Tensor:
    """Weight in the precision of its dot products."""
    return torch.tensor(weight, dtype=torch.float32 if np.linalg.norm(weight) < LARGE_WEIGHT else torch.float64)
