"""Methods that score embeddings."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any, Generic

import numpy as np

from dask_aesthetic.choices import EmbeddingDtype, Frame, OnInvalid, Scale
from dask_aesthetic.defaults import EMBEDDING_COLUMN, KEEP_COLUMN, PREDICTOR, THRESHOLD
from dask_aesthetic.errors import ArgumentError
from dask_aesthetic.proxies import through_proxies

if TYPE_CHECKING:
    from dask_aesthetic.keep_rule import Keep
    from dask_aesthetic.predictors import Predictor, Predictors
    from dask_aesthetic.thresholds import Threshold


class ScoreMethods(Generic[Frame]):
    """Methods that return frames and columns: lazy on Dask frames."""

    _frame: Any

    def score(
        self,
        embedding_column: str = EMBEDDING_COLUMN,
        *,
        predictor: Predictors = PREDICTOR,
        threshold: float | str | Threshold | None = THRESHOLD,
        keep: Keep | None = None,
        override_column: str | None = None,
        scale: Scale = "raw",
        score_column: str | None = None,
        keep_column: str = KEEP_COLUMN,
        on_invalid: OnInvalid = "null",
        batch_size: int | None = None,
        replace_columns: bool = False,
        embedding_dtype: EmbeddingDtype | None = None,
        embedding_zero_point: int | None = None,
    ) -> Frame:
        """Add columns with each row's aesthetic score and whether to keep it.

        Parameters
        ----------
        embedding_column : str
            Column with a list of numbers per row (floats or integers), as many as the predictor takes (`laion-v2`:
            768); further axes of length 1 are dropped. They are normalized first, so unnormalized ones score the same.
        predictor : str, path, Predictor, or mapping of str to one of them
            Any that `load_predictor` accepts; or several by the columns of their scores, such as
            ``{"aesthetic_score": "laion-v2", "ava_score": "laion-v2-ava"}``. They take embeddings of one width and one
            encoder, each row is read once for all of them, and the scores are those of single calls, bit for bit.
        threshold : float, str, Threshold or None
            The lowest score that is kept, on the chosen scale (the highest, for a predictor of whose scores lower ones
            are better: see ``PredictorInfo.higher_is_better``); or a preset: permissive 3, standard 5, high 6,
            premium 7 (raw, for `laion-v2` scores). See `Threshold` on what share they keep. "default" is the
            predictor's own: "standard" for `laion-v2` scores; most others have none, and then, as with None, there is
            no ``keep``. Of several predictors it concerns the first.
        keep : list of tuples, or of lists of them, optional
            Rule over the scores and other columns of the frame, instead of `threshold`, spelled as ``filters`` of
            ``dask.dataframe.read_parquet``: ``[("aesthetic_score", ">=", 5.5), ("width", ">=", 512)]`` keeps rows that
            satisfy both clauses, and a list of such lists rows that satisfy one of them. A null or NaN satisfies no
            clause. Operators are ==, !=, <, >, <=, >=, in and not in. Bounds of scores may be presets or `Threshold`.
            Numbers are compared in the type of the column.
        override_column : str, optional
            Column of bool or null: true rows are kept and false ones are not, whatever `keep` or `threshold` say.
        scale : {"raw", "unit"}
            "raw" is the predictor's own, about 1..10; "unit" is raw / 10. Probabilities are the same on both.
        score_column : str, optional
            Name of the column of scores; by default the predictor's, ``aesthetic_score`` for most.
        keep_column : str
            Name of the column that says which rows to keep.
        on_invalid : {"null", "raise"}
            A row without a usable embedding gets a missing score, or raises.
        batch_size : int, optional
            The most rows scored at a time. It changes memory and speed, never a score.
        replace_columns : bool
            Let the added columns replace those of the frame that have their names, which is refused otherwise.
        embedding_dtype : {"float32", "float16", "float64", "bfloat16", "uint8", "int8"}, optional
            The column holds packed numbers of this dtype: Arrow (fixed-size) binary, or objects of bytes. A row of
            another length has the wrong width.
        embedding_zero_point : int, optional
            Zero point of packed "uint8", which needs one, or "int8" (0 if not given): the values are the numbers less
            it. Their scale does not matter, since they are normalized.

        Returns
        -------
        DataFrame
            The same frame, rows, order and index, with ``aesthetic_score`` (float32, NaN where a row has no usable
            embedding), or a column per predictor, and ``keep`` (bool, False there) if there is a threshold or rule.

        Raises
        ------
        ColumnError
            The embedding column does not exist, holds no lists of floats, or its type has another width than the
            predictor takes; or an added column exists already.
        ThresholdError, PredictorError, ArgumentError
            The argument is not usable; the message names the expected values.
        InvalidEmbeddingError
            Under ``on_invalid="raise"``, with partition, row and reason; lazily on Dask frames.

        Warns
        -----
        AestheticWarning
            No row has a usable embedding, so that all scores are missing; once, when a Dask frame is computed. On a
            cluster: a worker has seen no usable row, and some rows of another width.

        Notes
        -----
        All shipped predictors but `nsfw-l14`, a network, are affine: ``score = w . x / |x| + b``. A row's score does
        not depend on its neighbors, its partition or `batch_size`.

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
        from dask_aesthetic import frame as frames
        from dask_aesthetic.score_spec import ScoreSpec

        spec = ScoreSpec.of(
            embedding_column,
            predictor,
            threshold,
            scale,
            score_column,
            keep_column,
            on_invalid,
            batch_size,
            keep,
            override_column,
            embedding_dtype,
            embedding_zero_point,
        )
        return through_proxies(frames.score, self._frame, embedding_column, spec, replace_columns)

    def filter(
        self,
        embedding_column: str = EMBEDDING_COLUMN,
        *,
        predictor: Predictors = PREDICTOR,
        threshold: float | str | Threshold | None = THRESHOLD,
        keep: Keep | None = None,
        override_column: str | None = None,
        scale: Scale = "raw",
        score_column: str | None = None,
        keep_column: str = KEEP_COLUMN,
        on_invalid: OnInvalid = "null",
        batch_size: int | None = None,
        replace_columns: bool = False,
        embedding_dtype: EmbeddingDtype | None = None,
        embedding_zero_point: int | None = None,
    ) -> Frame:
        """Rows that the threshold keeps, with their scores: `score`, then the rows whose ``keep`` is True.

        Parameters
        ----------
        embedding_column, predictor, threshold, keep, override_column, scale, score_column, keep_column, on_invalid, \
batch_size, replace_columns, embedding_dtype, embedding_zero_point
            As in `score`.

        Returns
        -------
        DataFrame
            Rows that `threshold` or `keep` keep. Rows without a usable embedding satisfy no clause over scores.

        Raises
        ------
        ColumnError, ThresholdError, PredictorError, ArgumentError, InvalidEmbeddingError
            As in `score`; or there is no threshold.

        Examples
        --------
        >>> import pandas as pd, pyarrow as pa, dask_aesthetic
        >>> embeddings = pd.array([[0.1] * 768, None], dtype=pd.ArrowDtype(pa.list_(pa.float32())))
        >>> frame = pd.DataFrame({"key": ["a", "b"], "image_embedding": embeddings})
        >>> frame.aesthetic.filter(threshold=4.5)["key"].tolist()
        ['a']
        """
        from dask_aesthetic import frame as frames
        from dask_aesthetic.score_spec import ScoreSpec

        spec = ScoreSpec.of(
            embedding_column,
            predictor,
            threshold,
            scale,
            score_column,
            keep_column,
            on_invalid,
            batch_size,
            keep,
            override_column,
            embedding_dtype,
            embedding_zero_point,
        )
        spec.require_keep("filter")
        scored = through_proxies(frames.score, self._frame, embedding_column, spec, replace_columns)
        return scored[scored[keep_column]]

    def top(
        self,
        n: int,
        by: str | None = None,
        *,
        score_column: str | None = None,
        id_column: str | None = None,
        higher_is_better: bool | None = None,
    ) -> Frame:
        """The `n` best rows by score, of all or of each group, in the frame's order.

        Parameters
        ----------
        n : int
            Rows to take; all scored rows where there are fewer.
        by : str, optional
            Column of groups, such as the source, of at most 10,000 values; null is a group, too.
        score_column : str, optional
            Column of float, as `score` adds it; by default the first score of `read_scores`, else ``aesthetic_score``.
        id_column : str, optional
            Column that decides between equal scores: the lower id is taken first, rows without an id last, and of equal
            ids the row that comes first. If not given, the first that exists of key, uid, url, hash, id and image_path,
            in any case; without any of them the position decides.
        higher_is_better : bool, optional
            Whether the best rows are those that score most, or least, as of ``unsafe_probability``; by default as the
            predictor of `read_scores` has it, else true.

        Returns
        -------
        DataFrame
            Exactly `n` rows where so many are scored, the same on every partitioning. Lazy on Dask frames.

        Raises
        ------
        ColumnError
            A column does not exist, or holds something else.
        ArgumentError
            Also without `higher_is_better` where nothing but its name says whose scores a column holds, and lower ones
            are better of the predictor that gives it this name.

        Notes
        -----
        One pass counts scores in bins of their float32 bits, a second ranks the rows of the one bin that holds the last
        row to take, and a third takes: there is no sort of all rows. Each pass computes the frame again, a partition at
        a time, so that memory does not grow with the rows: write scores to files, or ``persist()`` them, first.

        Examples
        --------
        >>> import pandas as pd, dask_aesthetic
        >>> frame = pd.DataFrame({"key": ["d", "b", "a", "c"], "aesthetic_score": [4.0, 5.0, 6.0, 5.0]})
        >>> frame.aesthetic.top(2)["key"].tolist()
        ['b', 'a']
        """
        from dask_aesthetic import top
        from dask_aesthetic.frame_provenance import find_provenance
        from dask_aesthetic.provenance import Provenance, refuse_unknown_direction

        score_column = Provenance.first_score(self._frame) if score_column is None else score_column
        if higher_is_better is None:
            said = find_provenance(self._frame, score_column)
            if not said.known:
                refuse_unknown_direction(score_column, "higher_is_better")
            higher_is_better = said.higher_is_better
        elif not isinstance(higher_is_better, bool | np.bool_):
            raise ArgumentError(f"expected higher_is_better to be True or False, got {higher_is_better!r}")
        return through_proxies(top.top, self._frame, n, by, score_column, id_column, bool(higher_is_better))

    def status(
        self,
        embedding_column: str = EMBEDDING_COLUMN,
        *,
        predictor: str | os.PathLike[str] | Predictor = PREDICTOR,
        embedding_dtype: EmbeddingDtype | None = None,
        embedding_zero_point: int | None = None,
    ) -> Any:
        """Status of each row's embedding: usable, or the reason why not.

        Parameters
        ----------
        embedding_column : str
            As in `score`.
        predictor : str, path or Predictor
            Its width is the number of floats that a row should have.
        embedding_dtype, embedding_zero_point
            As in `score`.

        Returns
        -------
        Series of category, named "status"
            ``ok``; ``missing``: null or empty; ``wrong_width``: another number of them;
            ``wrong_type``: no list of numbers; ``not_finite``: NaN, infinity or some nulls among them; ``zero``: all
            zero. Only ``ok`` rows get a score.

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
        from dask_aesthetic import frame as frames
        from dask_aesthetic.embeddings import check_embedding_dtype
        from dask_aesthetic.predictors import load_predictor

        width, packed = load_predictor(predictor).width, check_embedding_dtype(embedding_dtype, embedding_zero_point)
        return through_proxies(frames.status, self._frame, embedding_column, width, packed)
