"""``frame.aesthetic``: a short method per verb, and no state but the frame."""

from __future__ import annotations

from typing import Any

from dask_aesthetic.accessor.embedding import Embedding
from dask_aesthetic.accessor.learning import Learning
from dask_aesthetic.accessor.looking import Looking
from dask_aesthetic.accessor.scoring import Scoring

__all__ = ["AestheticAccessor"]


class AestheticAccessor(Scoring, Embedding, Looking, Learning):
    """Aesthetic scores of the image embeddings, or pictures, that a frame holds.

    On Dask and dask-cuDF frames verbs that give frames are lazy; on pandas and cuDF frames they return at once.
    """

    def __init__(self, frame: Any) -> None:
        self._frame = frame
