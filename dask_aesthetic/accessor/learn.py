"""Methods that learn thresholds and predictors from people's labels and ratings."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any, Literal

from dask_aesthetic.choices import EmbeddingDtype, Scale
from dask_aesthetic.defaults import EMBEDDING_COLUMN, PREDICTOR
from dask_aesthetic.proxies import through_proxies

if TYPE_CHECKING:
    from dask_aesthetic.learning import Calibration, FittedPredictor
    from dask_aesthetic.predictors import Predictor


class LearnMethods:
    """Methods that return thresholds and predictors: they compute at once."""

    _frame: Any

    def calibrate(
        self,
        score_column: str | None = None,
        *,
        keep_fraction: float | None = None,
        n: int | None = None,
        label_column: str | None = None,
        predictor: str | os.PathLike[str] | Predictor | None = None,
        scale: Scale | None = None,
        seed: int = 0,
    ) -> Calibration:
        """Choose a threshold: by the share or number of rows to keep, or by labels of keep or drop.

        It computes at once on Dask frames too: two passes over the score column, the second to be exact, or one over
        scores and labels.

        Parameters
        ----------
        score_column : str, optional
            Column of float, as `score` adds it; by default the first score of `read_scores`, else ``aesthetic_score``.
        keep_fraction : float, optional
            Share of the scored rows to keep.
        n : int, optional
            Rows to keep.
        label_column : str, optional
            Column of True or 1 for keep, False or 0 for drop, null for rows without a label. A few hundred labels
            suffice. The threshold is the score with the best F1, the highest among equals.
        predictor : str, path or Predictor, optional
            Predictor of the scores, as in `score`; by default that of the files of `read_scores`. The threshold is then
            refused for scores of another.
        scale : {"raw", "unit"}, optional
            Scale of the scores; by default that of the files of `read_scores`, else "raw".
        seed : int
            Seed of the bootstrap, which gives the confidence interval of a threshold by labels.

        Returns
        -------
        Calibration
            A `Threshold` for ``score(threshold=...)``, with the curve that it was chosen from. It is one of the scores,
            the lowest to keep, or the highest where lower scores are better, and the same on every partitioning. Rows
            without a score, or a label, are ignored.

        Raises
        ------
        ColumnError
            A column does not exist or holds something else; no row is labeled and scored; or all such rows have the
            same label.
        ArgumentError, PredictorError, ThresholdError
            Not exactly one of `keep_fraction`, `n` and `label_column` is given, it exceeds the rows, no row is scored,
            or labels stand on more than 1,000,000 different scores.

        Warns
        -----
        AestheticWarning
            As in `ScoreDistribution.threshold_for`.

        Examples
        --------
        >>> import pandas as pd, dask_aesthetic
        >>> frame = pd.DataFrame({"aesthetic_score": [4.0, 4.5, 5.0, 5.5, 6.0], "liked": [0, 0, 1, 1, None]})
        >>> print(frame.aesthetic.calibrate(keep_fraction=0.4, predictor="laion-v2"))
        raw score >= 5.5 for laion-v2: keeps 0.4 of 5 scored rows
        >>> threshold = frame.aesthetic.calibrate(label_column="liked")
        >>> print(threshold)
        raw score >= 5: best F1, 1.000, of 4 labeled rows
        >>> threshold.curve["recall"].tolist()
        [1.0, 1.0, 1.0, 0.5]
        """
        from dask_aesthetic import frame as frames
        from dask_aesthetic.frame_provenance import find_provenance
        from dask_aesthetic.predictors import load_predictor
        from dask_aesthetic.provenance import Provenance, refuse_unknown_direction

        info = load_predictor(predictor).info if predictor is not None else None
        score_column = Provenance.first_score(self._frame) if score_column is None else score_column
        said = find_provenance(self._frame, score_column)
        known = said.describe(scale, info)
        if info is None and not said.known:
            refuse_unknown_direction(score_column, "predictor")
        direction = said.higher_is_better if info is None else info.higher_is_better
        # Not through the proxies: the result is no frame.
        return frames.calibrate(self._frame, score_column, label_column, known, keep_fraction, n, seed, direction)

    def fit(
        self,
        rating_column: str,
        embedding_column: str = EMBEDDING_COLUMN,
        *,
        name: str = "taste",
        prior: str | os.PathLike[str] | Predictor | None = PREDICTOR,
        alpha: float | Literal["auto"] = "auto",
        folds: int = 5,
        seed: int = 0,
        width: int | None = None,
        embedding_dtype: EmbeddingDtype | None = None,
        embedding_zero_point: int | None = None,
    ) -> FittedPredictor:
        """Fit a predictor to the ratings in a column, by ridge regression on the embeddings.

        It computes at once on Dask frames too, in one pass over the two columns.

        Parameters
        ----------
        rating_column : str
            Column of numbers, higher is better; null for rows without a rating. Ratings of 1 to 10 give scores like
            those of other predictors. Other ranges work as well, but distributions count scores outside -15..25
            together.
        embedding_column : str
            As in `score`.
        name : str
            Name of the predictor, and of the scale of its scores.
        prior : str, path or Predictor, optional
            Predictor towards which the weights are shrunk, stretched to the scale of the ratings; None for zero.
        alpha : float or "auto"
            Strength of the shrinkage; chosen by cross-validation unless given. 0 is least squares.
        folds : int
            Folds of the cross-validation, 2 or more.
        seed : int
            Seed of the folds.
        width : int, optional
            Floats per embedding, 768 if not given; the prior's where there is one.
        embedding_dtype, embedding_zero_point
            As in `score`.

        Returns
        -------
        FittedPredictor
            A `Predictor` for ``score(predictor=...)``, with its error and correlations on held-out ratings.
            ``save("taste.safetensors")`` writes it, and ``predictor="taste.safetensors"`` reads it. Weights are the
            same on every partitioning but for rounding.

        Raises
        ------
        ColumnError
            A column does not exist or holds something else; no row is rated and has a usable embedding; or all ratings
            or all embeddings are the same.
        ArgumentError
            There are fewer rated rows than folds, `alpha` is too small for so few of them, or an argument is not
            usable.
        PredictorError
            The prior is unknown or no affine map.

        Notes
        -----
        With x the unit vectors, y the ratings and w0 the prior's weights, the fit minimizes
        ``sum (y - b - w . x)^2 + alpha * |w - a w0|^2`` over w, b and a. It is exact: normal equations of float64
        are added up over partitions, and solved for every alpha by one eigendecomposition.

        A row's fold follows from the content of its embedding, so repeated images stay together and partitions do
        not matter. Held-out error and correlation follow exactly from the sums of each fold, with the alpha for a fold
        chosen by the others. Rank correlation is that of 8,192 held-out rows sampled by the same hash, or of all if
        there are fewer.

        Rows without a finite rating or a usable embedding are ignored, and counted.

        Examples
        --------
        >>> import pandas as pd, dask_aesthetic
        >>> from dask_aesthetic.synthetic import synthetic_embeddings
        >>> frame = pd.DataFrame({"image_embedding": list(synthetic_embeddings(500))}).aesthetic.score()
        >>> frame["rating"] = (2 * frame["aesthetic_score"]).round() / 2 + 1  # Rounds, and rates a point higher.
        >>> taste = frame.aesthetic.fit("rating")
        >>> round(taste.held_out.pearson, 2)
        0.98
        >>> scored = frame.aesthetic.score(predictor=taste, threshold=6, replace_columns=True)
        >>> bool((scored["aesthetic_score"] - frame["rating"]).abs().max() < 0.5)
        True
        """
        from dask_aesthetic import frame as frames
        from dask_aesthetic.embeddings import check_embedding_dtype
        from dask_aesthetic.learning import FitSpec

        packed = check_embedding_dtype(embedding_dtype, embedding_zero_point)
        spec = FitSpec.of(embedding_column, rating_column, name, prior, alpha, width, folds, seed, packed)
        return through_proxies(frames.fit, self._frame, spec)
