"""Base class of predictors, their provenance, and the header of a saved predictor."""

from __future__ import annotations

import json
import math
from abc import ABC, abstractmethod
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import torch

from dask_aesthetic.defaults import SCORE_COLUMN
from dask_aesthetic.errors import PredictorError
from dask_aesthetic.kernels import Vectors
from dask_aesthetic.tables import format_html

HEADER = "dask_aesthetic"


@dataclass(frozen=True, kw_only=True)
class PredictorInfo:
    """Provenance of a predictor and the embeddings that it expects.

    Attributes
    ----------
    name : str
        Name in the catalog, or of the file or repository.
    encoder : str
        open_clip's name of the image encoder whose embeddings the predictor takes, or "unknown".
    width : int
        Floats per embedding.
    scale : str
        Family of comparable scores: "laion-v2", "laion-v1", "simulacra" or "unknown". A predictor that was fitted to
        ratings has a scale of its own, named after it.
    source, revision, sha256, license : str
        Repository, 40-digit revision, sha256 of the published file, SPDX license; empty if unknown. The source of a
        fitted predictor names the ratings that it was fitted to.
    score_column : str
        Default name of the column of its scores.
    higher_is_better : bool
        Whether rows with high scores are kept, as of quality, or with low ones, as of a probability to be unsafe.
    is_probability : bool
        Whether raw scores run from 0 to 1, which is their unit scale as well.
    threshold : float or None
        Default threshold, raw. Without one, predictors on the "laion-v2" scale have the preset "standard", others none.
    """

    name: str
    width: int
    encoder: str = "unknown"
    scale: str = "unknown"
    source: str = ""
    revision: str = ""
    sha256: str = ""
    license: str = ""
    score_column: str = SCORE_COLUMN
    higher_is_better: bool = True
    is_probability: bool = False
    threshold: float | None = None

    def to_dict(self) -> dict[str, Any]:
        """Values for JSON; defaults that a predictor leaves as they are do not appear."""
        values = asdict(self)
        for name in _OPTIONAL:
            if values[name] == self.__dataclass_fields__[name].default:
                del values[name]
        return values


_OPTIONAL = ("score_column", "higher_is_better", "is_probability", "threshold")


class Predictor(ABC):
    """Raw scores of embeddings, mostly about 1..10. Predictors are immutable and equal by `token`.

    Attributes
    ----------
    info : PredictorInfo
    token : str
        sha256 of all that decides a score; predictors with equal tokens give equal scores.
    """

    info: PredictorInfo
    token: str

    @property
    def width(self) -> int:
        """Floats per embedding."""
        return self.info.width

    @abstractmethod
    def score(self, vectors: Vectors, batch_size: int | None = None) -> tuple[torch.Tensor, torch.Tensor]:
        """Scores and norms of vectors of any length.

        Parameters
        ----------
        vectors : torch.Tensor, shape (n, width), or ScatteredRows
            float16, bfloat16, float32 or float64; not normalized yet. Read only.
        batch_size : int, optional
            Most rows in work at a time; it changes memory and speed, never a score.

        Returns
        -------
        scores : torch.Tensor, shape (n,), float32
            Meaningless where the norm is outside `kernels.SAFE_NORM`.
        norms : torch.Tensor, shape (n,), float32
        """

    @abstractmethod
    def score_float64(self, vectors: torch.Tensor) -> torch.Tensor:
        """Scores, shape (n,), float32, of float64 vectors of moderate norm, for rows that float32 cannot normalize."""

    @abstractmethod
    def save(self, path: str | Path) -> None:
        """Write a safetensors file that `load_predictor` reads."""

    def named(self, name: str) -> Predictor:
        """Copy of the predictor under another name."""
        renamed = object.__new__(type(self))
        renamed.__dict__.update(self.__dict__, info=replace(self.info, name=name))
        return renamed

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Predictor) and self.token == other.token

    def __hash__(self) -> int:
        return hash(self.token)

    def __dask_tokenize__(self) -> tuple[str, str]:
        return "dask_aesthetic.Predictor", self.token

    def __repr__(self) -> str:
        info = self.info
        return (
            f"<{type(self).__name__} {info.name!r}: {info.width} floats of {info.encoder} -> raw score "
            f"(scale {info.scale}), sha256 {self.token[:12]}>"
        )

    def _repr_html_(self) -> str:
        facts = {name: str(value) for name, value in self.info.to_dict().items() if value}
        return format_html(type(self).__name__, {**facts, "token": self.token})


def to_header(info: PredictorInfo, **more: Any) -> dict[str, str]:
    """Header of a saved predictor, in one key, since safetensors does not keep the order of several."""
    return {HEADER: json.dumps({**info.to_dict(), **more}, sort_keys=True)}


def from_header(header: dict[str, str]) -> tuple[PredictorInfo | None, dict[str, Any]]:
    """Info and extra values that `to_header` wrote; None and no values for files of other programs.

    Raises
    ------
    PredictorError
        The header is damaged.
    """
    if HEADER not in header:
        return None, {}
    try:
        values = json.loads(header[HEADER])
        info = PredictorInfo(
            **{name: values.pop(name) for name in PredictorInfo.__dataclass_fields__ if name in values}
        )
        _check_defaults(info)
    except (TypeError, ValueError, AttributeError) as error:
        raise PredictorError(f"expected a header that this package wrote, got {header[HEADER][:80]!r}") from error
    return info, values


def _check_defaults(info: PredictorInfo) -> None:
    """Raise ValueError if the defaults of a file's predictor are of another kind."""
    flags, threshold = (info.higher_is_better, info.is_probability), info.threshold
    is_number = isinstance(threshold, int | float) and not isinstance(threshold, bool) and math.isfinite(threshold)
    if (
        not (isinstance(info.score_column, str) and info.score_column)
        or not all(isinstance(flag, bool) for flag in flags)
        or not (threshold is None or is_number)
    ):
        raise ValueError("a default is of another kind")
