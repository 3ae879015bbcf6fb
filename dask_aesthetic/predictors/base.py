"""What every predictor is: vectors in, raw scores out, and a name for where it comes from."""

from __future__ import annotations

import json
from abc import ABC, abstractmethod
from dataclasses import asdict, dataclass, replace
from html import escape
from pathlib import Path
from typing import Any

import numpy as np
import torch

from dask_aesthetic.errors import PredictorError

HEADER = "dask_aesthetic"


@dataclass(frozen=True, kw_only=True)
class PredictorInfo:
    """Where a predictor comes from and what it expects.

    Attributes
    ----------
    name : str
        Catalog name, or the file's or repository's own.
    encoder : str
        The image encoder whose embeddings it takes, as open_clip names it; "unknown" if nothing says.
    width : int
        Floats per embedding.
    scale : str
        The family whose scores can be compared with its own: "laion-v2", "laion-v1", "simulacra" or "unknown"; the
        name of a predictor that was fitted to ratings, since it has a scale of its own.
    source, revision, sha256, license : str
        Repository, 40-digit revision, sha256 of the published file, SPDX license; empty if nothing says. The source
        of a fitted predictor says what it was fitted to.
    """

    name: str
    width: int
    encoder: str = "unknown"
    scale: str = "unknown"
    source: str = ""
    revision: str = ""
    sha256: str = ""
    license: str = ""


class Predictor(ABC):
    """Scores embeddings, raw: about 1..10, higher is better. Immutable, and equal by `token`.

    Attributes
    ----------
    info : PredictorInfo
    token : str
        sha256 of all that decides a score; two predictors share it only if they give the same scores.
    """

    info: PredictorInfo
    token: str

    @property
    def width(self) -> int:
        """Floats per embedding."""
        return self.info.width

    @abstractmethod
    def score(self, vectors: torch.Tensor, batch_size: int | None = None) -> tuple[torch.Tensor, torch.Tensor]:
        """Score vectors of any length, and tell their norms.

        Parameters
        ----------
        vectors : torch.Tensor, shape (n, width), float16, float32 or float64
            Normalized on the way. Read only.
        batch_size : int, optional
            The most rows worked on at a time; changes memory and speed, never a score.

        Returns
        -------
        scores : torch.Tensor, shape (n,), float32
            Meaningless where the norm is not an ordinary float32.
        norms : torch.Tensor, shape (n,), float32
        """

    @abstractmethod
    def score_units(self, units: torch.Tensor) -> torch.Tensor:
        """Score unit vectors of float64, shape (n, width), for the rows that float32 cannot normalize."""

    def score_plain(self, vectors: np.ndarray) -> np.ndarray | None:  # noqa: ARG002
        """Scores of float32 vectors, shape (n, width), the same bytes by a shorter way; None where there is none."""
        return None

    @abstractmethod
    def save(self, path: str | Path) -> None:
        """Write a safetensors file that `load_predictor` takes."""

    def named(self, name: str) -> Predictor:
        """The same predictor under another name."""
        twin = object.__new__(type(self))
        twin.__dict__.update(self.__dict__, info=replace(self.info, name=name))
        return twin

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
        rows = {"kind": type(self).__name__, **asdict(self.info), "token": self.token}
        cells = "".join(f"<tr><th>{escape(k)}</th><td>{escape(str(v))}</td></tr>" for k, v in rows.items() if v)
        return f"<table>{cells}</table>"


def to_header(info: PredictorInfo, **more: Any) -> dict[str, str]:
    """The header of a saved predictor; one key, since safetensors keeps no order of several."""
    return {HEADER: json.dumps({**asdict(info), **more}, sort_keys=True)}


def from_header(header: dict[str, str]) -> tuple[PredictorInfo | None, dict[str, Any]]:
    """What `to_header` wrote, and None where another program wrote the file.

    Raises
    ------
    PredictorError
        The header is damaged.
    """
    if HEADER not in header:
        return None, {}
    try:
        told = json.loads(header[HEADER])
        info = PredictorInfo(**{name: told.pop(name) for name in PredictorInfo.__dataclass_fields__ if name in told})
    except (TypeError, ValueError, AttributeError) as error:
        raise PredictorError(f"expected a header that this package wrote, got {header[HEADER][:80]!r}") from error
    return info, told
