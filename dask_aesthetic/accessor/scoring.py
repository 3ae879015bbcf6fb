"""Verbs that score."""

from __future__ import annotations

import os
from typing import Any

from dask_aesthetic import frame as frames
from dask_aesthetic.accessor.columns import EMBEDDING_COLUMN, KEEP_COLUMN, SCORE_COLUMN
from dask_aesthetic.predictors import DEFAULT, Predictor, load_predictor
from dask_aesthetic.proxies import through_proxies
from dask_aesthetic.scoring import ScoreSpec
from dask_aesthetic.thresholds import Threshold


class Scoring:
    """Verbs that give frames and columns: lazy on Dask frames."""

    _frame: Any

    def score(
        self,
        embedding_column: str = EMBEDDING_COLUMN,
        *,
        predictor: str | os.PathLike[str] | Predictor = DEFAULT,
        threshold: float | str | Threshold = "standard",
        scale: str = "raw",
        score_column: str = SCORE_COLUMN,
        keep_column: str = KEEP_COLUMN,
        on_invalid: str = "null",
        batch_size: int | None = None,
        replace_columns: bool = False,
    ) -> Any:
        """Add a score and a keep column.

        Parameters
        ----------
        embedding_column : str
            Column with a list of floats (float16, float32 or float64) per row, as many as the predictor takes
            (`laion-v2`: 768). They are normalized first, so unnormalized ones score the same.
        predictor : str, path or Predictor
            Whatever `load_predictor` takes.
        threshold : float, str or Threshold
            The lowest score that is kept, on the chosen scale; or a preset: permissive 3, standard 5, high 6,
            premium 7 (raw, for `laion-v2` scores). See `Threshold` on what share they keep.
        scale : {"raw", "unit"}
            "raw" as the predictor gives it, about 1..10; "unit" is raw / 10.
        score_column, keep_column : str
            Names of the added columns.
        on_invalid : {"null", "raise"}
            What a row without a usable embedding does: gets a missing score, or ends the run.
        batch_size : int, optional
            The most rows worked on at a time. It changes memory and speed, never a score.
        replace_columns : bool
            Let the added columns replace those of the frame that have their names, which is refused otherwise.

        Returns
        -------
        DataFrame
            The same frame, rows, order and index, with ``aesthetic_score`` (float32, NaN where a row has no usable
            embedding) and ``keep`` (bool, False there).

        Raises
        ------
        ColumnError
            The embedding column is not there, holds no lists of floats, or by its type lists of another width than the
            predictor takes; or an added column is there already.
        ThresholdError, PredictorError, ArgumentError
            The argument is not usable; the message says what is expected.
        InvalidEmbeddingError
            Under ``on_invalid="raise"``, with partition, row and reason; lazily on Dask frames.

        Warns
        -----
        AestheticWarning
            No row has a usable embedding, so that all scores are missing; once, when a Dask frame is computed. (On a
            cluster, where a worker has seen no usable row, and some of another width.)

        Notes
        -----
        ``score = w . x / |x| + b`` for the affine predictors, which all shipped ones are. A row's score does not
        depend on its neighbours, its partition or `batch_size`.

        Examples
        --------
        >>> import pandas as pd, pyarrow as pa, dask_aesthetic
        >>> embeddings = pd.array([[0.1] * 768, None, [2.0] * 768], dtype=pd.ArrowDtype(pa.list_(pa.float32())))
        >>> frame = pd.DataFrame({"key": ["a", "b", "c"], "image_embedding": embeddings})
        >>> frame.aesthetic.score(threshold=4.5)[["key", "aesthetic_score", "keep"]].round(3)
          key  aesthetic_score   keep
        0   a            4.883   True
        1   b              NaN  False
        2   c            4.883   True
        """
        spec = ScoreSpec.of(
            embedding_column, predictor, threshold, scale, score_column, keep_column, on_invalid, batch_size
        )
        return through_proxies(frames.score, self._frame, embedding_column, spec, replace_columns)

    def filter(
        self,
        embedding_column: str = EMBEDDING_COLUMN,
        *,
        predictor: str | os.PathLike[str] | Predictor = DEFAULT,
        threshold: float | str | Threshold = "standard",
        scale: str = "raw",
        score_column: str = SCORE_COLUMN,
        keep_column: str = KEEP_COLUMN,
        on_invalid: str = "null",
        batch_size: int | None = None,
        replace_columns: bool = False,
    ) -> Any:
        """The rows to keep, with their scores: `score`, then the rows whose ``keep`` is True.

        Parameters
        ----------
        embedding_column, predictor, threshold, scale, score_column, keep_column, on_invalid, batch_size, \
replace_columns
            As in `score`.

        Returns
        -------
        DataFrame
            Rows that score at least `threshold`; those without a usable embedding are left out.

        Raises
        ------
        ColumnError, ThresholdError, PredictorError, ArgumentError, InvalidEmbeddingError
            As in `score`.

        Examples
        --------
        >>> import pandas as pd, pyarrow as pa, dask_aesthetic
        >>> embeddings = pd.array([[0.1] * 768, None], dtype=pd.ArrowDtype(pa.list_(pa.float32())))
        >>> frame = pd.DataFrame({"key": ["a", "b"], "image_embedding": embeddings})
        >>> frame.aesthetic.filter(threshold=4.5)["key"].tolist()
        ['a']
        """
        scored = self.score(
            embedding_column,
            predictor=predictor,
            threshold=threshold,
            scale=scale,
            score_column=score_column,
            keep_column=keep_column,
            on_invalid=on_invalid,
            batch_size=batch_size,
            replace_columns=replace_columns,
        )
        return scored[scored[keep_column]]

    def status(
        self,
        embedding_column: str = EMBEDDING_COLUMN,
        *,
        predictor: str | os.PathLike[str] | Predictor = DEFAULT,
    ) -> Any:
        """Whether each row has a usable embedding, and if not, why.

        Parameters
        ----------
        embedding_column : str
            As in `score`.
        predictor : str, path or Predictor
            Says how many floats a row should have.

        Returns
        -------
        Series of category, named "status"
            ``ok``; ``missing``: null, empty, or nulls alone; ``wrong_width``: another number of floats;
            ``not_finite``: NaN, infinity or some nulls among them; ``zero``: all zero. Only ``ok`` rows get a score.

        Raises
        ------
        ColumnError, PredictorError
            As in `score`.

        Examples
        --------
        >>> import pandas as pd, pyarrow as pa, dask_aesthetic
        >>> embeddings = pd.array([[0.1] * 768, None, [0.1] * 512], dtype=pd.ArrowDtype(pa.list_(pa.float32())))
        >>> pd.DataFrame({"image_embedding": embeddings}).aesthetic.status().tolist()
        ['ok', 'missing', 'wrong_width']
        """
        return through_proxies(frames.status, self._frame, embedding_column, load_predictor(predictor).width)
