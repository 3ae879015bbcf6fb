"""``frame.aesthetic``: short methods, and no state but the frame.

Its modules import nothing heavy, so that they cost nothing at ``import pandas``: each method imports the code that it
calls.
"""

from __future__ import annotations

from typing import Any

from dask_aesthetic.accessor.analyze import AnalyzeMethods
from dask_aesthetic.accessor.embed import EmbedMethods
from dask_aesthetic.accessor.learn import LearnMethods
from dask_aesthetic.accessor.score import ScoreMethods
from dask_aesthetic.accessor.similarity import SimilarityMethods

__all__ = ["AestheticAccessor"]


class AestheticAccessor(ScoreMethods, SimilarityMethods, EmbedMethods, AnalyzeMethods, LearnMethods):
    """Aesthetic scores of the image embeddings, or images, that a frame holds.

    On Dask and dask-cuDF frames, methods that return frames are lazy; on pandas and cuDF frames they return at once.
    """

    def __init__(self, frame: Any) -> None:
        self._frame = frame
