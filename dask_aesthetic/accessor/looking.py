"""Verbs that look at what a frame holds."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from dask_aesthetic import frame as frames
from dask_aesthetic.accessor.columns import CAPTION_COLUMN, EMBEDDING_COLUMN, SCORE_COLUMN
from dask_aesthetic.check import Check
from dask_aesthetic.distribution import ScoreDistribution, find_terms
from dask_aesthetic.errors import ArgumentError
from dask_aesthetic.predictors import DEFAULT, Predictor, load_predictor
from dask_aesthetic.proxies import through_proxies
from dask_aesthetic.report import write_report
from dask_aesthetic.thresholds import Threshold


class Looking:
    """Verbs that give numbers and pages: they compute at once."""

    _frame: Any

    def check(
        self,
        embedding_column: str = EMBEDDING_COLUMN,
        *,
        sample: int | None = None,
        predictor: str | os.PathLike[str] | Predictor = DEFAULT,
    ) -> Check:
        """Whether the embeddings can be scored, what is odd about them, and what to do about it.

        It computes at once on Dask frames too, in one pass that reads the embedding column alone.

        Parameters
        ----------
        embedding_column : str
            As in `score`.
        sample : int, optional
            Look at about so many rows; all if not given. A Dask frame gives the first rows of every partition, or of
            32 or one per 1,000 rows asked for, evenly spread, where it has more; as many of each, so fewer than asked
            where partitions are small. Only those partitions are read. A pandas or cuDF frame gives the first rows of
            each of its 32nd parts. The same rows every time; rows far apart, but no random sample.
        predictor : str, path or Predictor
            What the embeddings are to be scored with, as in `score`.

        Returns
        -------
        Check
            Not usable, instead of an error, where the column is there but holds something else, or nothing. Its
            counts are the same on every partitioning; the time that scoring takes is measured on the way.

        Raises
        ------
        ColumnError
            The embedding column is not there.
        PredictorError, ArgumentError

        Notes
        -----
        Whether pictures of OpenAI's ViT-L/14 made the embeddings is told by where they lie: see
        `dask_aesthetic.check.signature.Signature` for how, and for how often it errs. It never makes them unusable.

        Examples
        --------
        >>> import pandas as pd, pyarrow as pa, dask_aesthetic
        >>> embeddings = pd.array([[0.1] * 512, [0.2] * 512, None], dtype=pd.ArrowDtype(pa.list_(pa.float32())))
        >>> check = pd.DataFrame({"image_embedding": embeddings}).aesthetic.check()
        >>> check.usable, check.widths, check.nulls
        (False, {512: 2}, 1)
        >>> print(check.verdict)
        not usable: 2 rows (66.7%) of 512 floats, and laion-v2 takes 768
        >>> print(check.findings[0].do.partition(" if ")[0])
        say predictor='laion-v1-b32'
        """
        return through_proxies(frames.check, self._frame, embedding_column, sample, load_predictor(predictor))

    def distribution(
        self,
        score_column: str = SCORE_COLUMN,
        *,
        status_column: str | None = None,
        scale: str = "raw",
        by: str | None = None,
        terms: Iterable[str] | Mapping[str, Iterable[str]] | None = None,
        caption_column: str = CAPTION_COLUMN,
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
        terms : list of str, or dict of str to list of str, optional
            Words to look for in captions, or names of terms with the words that stand for them; instead of `by`. Such
            predictors rate some people and subjects higher than others [1]_: compare what they keep.
        caption_column : str
            Column of text in which to look for them: whole words, in any case.
        predictor : str, path or Predictor, optional
            What made the scores, as in `score`. Presets are then refused where they do not apply.

        Returns
        -------
        ScoreDistribution, or dict of group to ScoreDistribution
            Nulls in `by` are the group None. Of `terms`, a row counts under each that its caption speaks of, and
            under None if that is none. The same on every partitioning.

        Raises
        ------
        ColumnError
            A column is not there, or the score column holds no floats.
        ArgumentError, PredictorError

        Notes
        -----
        A word is a run of letters, marks, digits and underscores. Languages that put no spaces between words have no
        whole words in this sense, so their terms are found only where they stand alone.

        References
        ----------
        .. [1] https://arxiv.org/abs/2601.09896

        Examples
        --------
        >>> import pandas as pd, dask_aesthetic
        >>> frame = pd.DataFrame({"aesthetic_score": [4.0, 5.0, 5.5, None], "source": ["a", "a", "b", "b"]})
        >>> distribution = frame.aesthetic.distribution()
        >>> distribution.count, distribution.missing, distribution.kept("standard")
        (3, 1, 2)
        >>> {source: part.count for source, part in frame.aesthetic.distribution(by="source").items()}
        {'a': 2, 'b': 1}
        >>> frame["caption"] = ["A woman reading", "Her bicycle", "Mountains", None]
        >>> groups = frame.aesthetic.distribution(terms={"women": ["woman", "women", "her"], "peaks": ["mountains"]})
        >>> {term: (group.rows, group.mean) for term, group in groups.items() if group.count}
        {'women': (2, 4.5), 'peaks': (1, 5.5)}
        """
        info = load_predictor(predictor).info if predictor is not None else None
        known = {"predictor": info.name, "predictor_scale": info.scale} if info else {}
        # Not through the proxies: what comes out is no frame.
        if terms is None:
            return frames.distribution(self._frame, score_column, status_column, by, {"scale": scale, **known})
        if by is not None:
            raise ArgumentError(f"expected either by or terms, got by={by!r} and terms={terms!r}: ask one by one")
        found = find_terms(terms)
        return frames.distribution(
            self._frame, score_column, status_column, None, {"scale": scale, **known}, found, caption_column
        )

    def report(
        self,
        path: str | os.PathLike[str],
        *,
        score_column: str = SCORE_COLUMN,
        status_column: str | None = None,
        threshold: float | str | Threshold = "standard",
        scale: str = "raw",
        by: str | None = None,
        image_column: str | None = None,
        url_column: str | None = None,
        key_column: str | None = None,
        samples: int = 6,
        seed: int = 0,
        title: str = "Aesthetic scores",
        predictor: str | os.PathLike[str] | Predictor | None = None,
    ) -> Path:
        """Write a page of what the scores look like: one HTML file that loads nothing from elsewhere.

        JobSummary, histogram with a slider for the threshold, keep rates beside LAION's, sampled rows with their
        pictures, failures by reason, groups, provenance. It computes at once on Dask frames too: one pass over scores,
        statuses, groups and keys, then a look at pictures and URLs of the sampled rows alone.

        Parameters
        ----------
        path : str or path
            The file to write; an earlier one of that name is replaced once the page is whole.
        score_column, status_column, scale, by, predictor
            As in `distribution`.
        threshold : float, str or Threshold
            As in `score`.
        image_column : str, optional
            Column of pictures, shown as thumbnails: encoded bytes, a struct of bytes and path as Hugging Face writes
            it, or local paths.
        url_column : str, optional
            Column of URLs, shown as links; the page does not load them.
        key_column : str, optional
            Column that names rows, and that the draw goes by; if not given, the first there is of key, uid, id, hash,
            url and image_path.
        samples : int
            Rows shown of every half point of raw score, and on either side of the threshold; up to 24.
        seed : int
            Another one draws other rows. Which rows are drawn does not depend on the partitioning.
        title : str

        Returns
        -------
        pathlib.Path
            `path`.

        Raises
        ------
        ColumnError, ArgumentError, ThresholdError, PredictorError
        InputError
            There is no folder to write to, or the frame holds other rows each time that it is computed.
        MissingDependencyError
            ``pip install 'dask-aesthetic[report]'`` has what it needs.

        Examples
        --------
        >>> scored = ddf.aesthetic.score()  # doctest: +SKIP
        >>> scored.aesthetic.report("report.html", image_column="image")  # doctest: +SKIP
        PosixPath('report.html')
        """
        info = load_predictor(predictor).info if predictor is not None else None
        known = {"predictor": info.name, "predictor_scale": info.scale} if info else {}
        columns = {
            "score_column": score_column,
            "status_column": status_column,
            "by": by,
            "key_column": key_column,
            "image_column": image_column,
            "url_column": url_column,
        }
        return write_report(
            self._frame,
            path,
            columns=columns,
            threshold=threshold,
            known={"scale": scale, **known},
            samples=samples,
            seed=seed,
            title=title,
            provenance={"predictor": asdict(info)} if info else {},
        )
