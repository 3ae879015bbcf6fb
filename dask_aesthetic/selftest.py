"""Self-test: golden scores of every shipped predictor on every device."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

import torch

from dask_aesthetic.defaults import SIMILARITY_WIDTH
from dask_aesthetic.kernels.pairs import cosines
from dask_aesthetic.predictors import NetworkPredictor, list_predictors, load_predictor, passes
from dask_aesthetic.predictors.golden import SIMILARITY, golden_scores, golden_vectors

NETWORK_TOLERANCE = 1e-6  # Processors and GPUs add up a network's products in different orders.


@dataclass(frozen=True)
class SelftestResult:
    """Golden scores of one predictor, or similarities, on one device, expected and computed.

    Attributes
    ----------
    predictor, device : str
    expected, got : list of float
        Raw scores of the golden vectors.
    tolerance : float
        Largest difference that passes: 0, or that of networks.
    """

    predictor: str
    device: str
    expected: list[float]
    got: list[float]
    tolerance: float = 0.0

    @property
    def difference(self) -> float:
        """Largest difference; NaN if a score is NaN."""
        differences = [abs(e - g) for e, g in zip(self.expected, self.got, strict=True)]
        return math.nan if any(map(math.isnan, differences)) else max(differences)

    @property
    def passed(self) -> bool:
        """Whether every score has the expected bits, or is as near to them as `tolerance` says."""
        return self.difference <= self.tolerance


def selftest() -> list[SelftestResult]:
    """Results of the golden vectors for every shipped predictor, alone and together, and for similarity.

    On the CPU and every CUDA device.

    Examples
    --------
    >>> all(check.passed for check in selftest())
    True
    """
    devices = ["cpu", *(f"cuda:{at}" for at in range(torch.cuda.device_count()))]
    alone = [_check(name, device) for device in devices for name in list_predictors()]
    together = [result for device in devices for result in _check_together(device)]
    return [*alone, *together, *map(_check_similarity, devices)]


def _check(name: str, device: str) -> SelftestResult:
    predictor = load_predictor(name)
    scores, _ = predictor.score(torch.from_numpy(golden_vectors(predictor.width)).to(device))
    tolerance = NETWORK_TOLERANCE if isinstance(predictor, NetworkPredictor) else 0.0
    return SelftestResult(name, device, golden_scores(name), scores.cpu().tolist(), tolerance)


def _check_similarity(device: str) -> SelftestResult:
    vectors = torch.from_numpy(golden_vectors(SIMILARITY_WIDTH)).to(device)
    found, *_ = cosines(vectors, vectors.flip(0))
    return SelftestResult(SIMILARITY, device, golden_scores(SIMILARITY), found.cpu().tolist())


def _check_together(device: str) -> Iterator[SelftestResult]:
    """Results of the affine predictors that score vectors of one width in one pass."""
    found = [load_predictor(name) for name in list_predictors()]
    for width in sorted({predictor.width for predictor in found}):
        vectors = torch.from_numpy(golden_vectors(width)).to(device)
        for one in passes(tuple(predictor for predictor in found if predictor.width == width)):
            if len(one.at) > 1:
                names = [predictor.info.name for predictor in one.predictors]
                scores = one.score(vectors, None)[0].flatten().cpu().tolist()
                expected = [score for name in names for score in golden_scores(name)]
                yield SelftestResult(" + ".join(names), device, expected, scores)
