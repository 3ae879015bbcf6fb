"""``frame.aesthetic``: short methods, and no state but the frame.

Its modules import nothing heavy, so that they cost nothing at ``import pandas``: each method imports the code that it
calls.
"""

from __future__ import annotations

from typing import Any, Generic

from dask_aesthetic.accessor.analyze import AnalyzeMethods
from dask_aesthetic.accessor.embed import EmbedMethods
from dask_aesthetic.accessor.learn import LearnMethods
from dask_aesthetic.accessor.score import ScoreMethods
from dask_aesthetic.accessor.similarity import SimilarityMethods
from dask_aesthetic.choices import Frame
from dask_aesthetic.errors import ArgumentError

__all__ = ["AestheticAccessor", "aesthetic"]


class AestheticAccessor(
    ScoreMethods[Frame], SimilarityMethods[Frame], EmbedMethods[Frame], AnalyzeMethods, LearnMethods, Generic[Frame]
):
    """Aesthetic scores of the image embeddings, or images, that a frame holds.

    On Dask and dask-cuDF frames, methods that return frames are lazy; on pandas and cuDF frames they return at once.
    """

    def __init__(self, frame: Any) -> None:
        self._frame = frame

    def __repr__(self) -> str:
        from dask_aesthetic.accessor.describe import describe
        from dask_aesthetic.tables import format_text

        return format_text(*describe(self))

    def _repr_html_(self) -> str:
        from dask_aesthetic.accessor.describe import describe
        from dask_aesthetic.tables import format_html

        return format_html(*describe(self))


def aesthetic(frame: Frame) -> AestheticAccessor[Frame]:
    """``frame.aesthetic`` with static types: editors complete its methods, type checkers know what they return.

    Parameters
    ----------
    frame : DataFrame
        Of pandas, Dask, cuDF or dask-cuDF.

    Returns
    -------
    AestheticAccessor
        The same as ``frame.aesthetic``, which type checkers do not know.

    Raises
    ------
    ArgumentError
        `frame` is no dataframe.

    Examples
    --------
    >>> import pandas as pd
    >>> frame = pd.DataFrame({"key": ["a", "b"], "aesthetic_score": [4.0, 6.0]})
    >>> aesthetic(frame).top(1)["key"].tolist()
    ['b']
    """
    found = getattr(frame, "aesthetic", None)
    if not isinstance(found, AestheticAccessor):
        raise ArgumentError(f"expected a dataframe of pandas, Dask or cuDF, got {type(frame).__name__}: {frame!r:.60}")
    return found
