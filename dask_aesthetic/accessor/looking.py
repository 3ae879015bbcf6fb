"""Verbs that look at what a frame holds."""

from __future__ import annotations

import os
from typing import Any

from dask_aesthetic import frame as frames
from dask_aesthetic.accessor.columns import SCORE_COLUMN
from dask_aesthetic.distribution import ScoreDistribution
from dask_aesthetic.predictors import Predictor, load_predictor


class Looking:
    """Verbs that give numbers and pages: they compute at once."""

    _frame: Any

    def distribution(
        self,
        score_column: str = SCORE_COLUMN,
        *,
        status_column: str | None = None,
        scale: str = "raw",
        by: str | None = None,
        predictor: str | os.PathLike[str] | Predictor | None = None,
    ) -> ScoreDistribution | dict[Any, ScoreDistribution]:
        """How the scores that the frame holds lie: quantiles, kept shares, thresholds for a share to keep.

        It returns numbers, so it computes at once on Dask frames too: one pass that reads the columns named here and,
        where scores are yet to be made, the embeddings.

        Parameters
        ----------
        score_column : str
            Column of float, as `score` adds it.
        status_column : str, optional
            Column that holds what `status` gives, to tell why rows have no score.
        scale : {"raw", "unit"}
            What the scores are on.
        by : str, optional
            Column of groups, such as the source, of at most 10,000 values.
        predictor : str, path or Predictor, optional
            What made the scores, as in `score`. Presets are then refused where they do not apply.

        Returns
        -------
        ScoreDistribution, or dict of group to ScoreDistribution
            Nulls in `by` are the group None. The same on every partitioning.

        Raises
        ------
        ColumnError
            A column is not there, or the score column holds no floats.
        ArgumentError, PredictorError

        Examples
        --------
        >>> import pandas as pd, dask_aesthetic
        >>> frame = pd.DataFrame({"aesthetic_score": [4.0, 5.0, 5.5, None], "source": ["a", "a", "b", "b"]})
        >>> distribution = frame.aesthetic.distribution()
        >>> distribution.count, distribution.missing, distribution.kept("standard")
        (3, 1, 2)
        >>> {source: part.count for source, part in frame.aesthetic.distribution(by="source").items()}
        {'a': 2, 'b': 1}
        """
        info = load_predictor(predictor).info if predictor is not None else None
        known = {"predictor": info.name, "predictor_scale": info.scale} if info else {}
        # Not through the proxies: what comes out is no frame.
        return frames.distribution(self._frame, score_column, status_column, by, {"scale": scale, **known})
