"""Methods that analyze embeddings and scores."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, overload

from dask_aesthetic.choices import EmbeddingDtype, Scale
from dask_aesthetic.defaults import CAPTION_COLUMN, EMBEDDING_COLUMN, IMAGE_EXTENSIONS, PREDICTOR
from dask_aesthetic.errors import ArgumentError
from dask_aesthetic.proxies import through_proxies

if TYPE_CHECKING:
    from pathlib import Path

    from dask_aesthetic.check import Check
    from dask_aesthetic.distribution import GroupDistributions, ScoreDistribution
    from dask_aesthetic.predictors import Predictor, Predictors
    from dask_aesthetic.thresholds import Threshold


class AnalyzeMethods:
    """Methods that return numbers and pages: they compute at once."""

    _frame: Any

    def check(
        self,
        embedding_column: str = EMBEDDING_COLUMN,
        *,
        sample: int | None = None,
        predictor: Predictors = PREDICTOR,
        embedding_dtype: EmbeddingDtype | None = None,
        embedding_zero_point: int | None = None,
    ) -> Check:
        """Check whether the embeddings can be scored, and list problems with their fixes.

        It computes at once on Dask frames too, in one pass that reads the embedding column alone.

        Parameters
        ----------
        embedding_column : str
            As in `score`.
        sample : int, optional
            About the number of rows to read; all if not given. A Dask frame gives the first rows of every partition,
            or, where it has many, of 32 or one per 1,000 requested rows, evenly spread. Each gives the same number, so
            small partitions give fewer rows than requested. Only these partitions are read. A pandas or cuDF frame
            gives the first rows of each of 32 equal slices. The rows are the same every time: far apart, but no random
            sample.
        predictor : str, path, Predictor, or mapping of str to one of them
            Predictor to check against, as in `score`; of several, each, by one reading: see ``Check.others``.
        embedding_dtype, embedding_zero_point
            As in `score`.

        Returns
        -------
        Check
            Not usable, instead of an error, where the column exists but holds something else, or nothing. Counts are
            the same on every partitioning. The check also estimates the time that scoring takes.

        Raises
        ------
        ColumnError
            The embedding column does not exist.
        PredictorError, ArgumentError

        Notes
        -----
        The check recognizes image embeddings of OpenAI's ViT-L/14 by their position in space: see
        `dask_aesthetic.check.signature.Signature` for the method and its error rates. The result never makes
        embeddings unusable.

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
        from dask_aesthetic import frame as frames
        from dask_aesthetic.embeddings import check_embedding_dtype
        from dask_aesthetic.predictors import load_predictors

        packed = check_embedding_dtype(embedding_dtype, embedding_zero_point)
        loaded = load_predictors(predictor, together=False)
        return through_proxies(frames.check, self._frame, embedding_column, sample, loaded, packed)

    @overload
    def distribution(
        self,
        score_column: str | None = ...,
        *,
        status_column: str | None = ...,
        scale: Scale | None = ...,
        by: None = None,
        terms: None = None,
        caption_column: str = ...,
        predictor: str | os.PathLike[str] | Predictor | None = ...,
    ) -> ScoreDistribution: ...

    @overload
    def distribution(
        self,
        score_column: str | None = ...,
        *,
        status_column: str | None = ...,
        scale: Scale | None = ...,
        by: str | None = None,
        terms: Iterable[str] | Mapping[str, Iterable[str]] | None = None,
        caption_column: str = ...,
        predictor: str | os.PathLike[str] | Predictor | None = ...,
    ) -> GroupDistributions: ...

    def distribution(
        self,
        score_column: str | None = None,
        *,
        status_column: str | None = None,
        scale: Scale | None = None,
        by: str | None = None,
        terms: Iterable[str] | Mapping[str, Iterable[str]] | None = None,
        caption_column: str = CAPTION_COLUMN,
        predictor: str | os.PathLike[str] | Predictor | None = None,
    ) -> ScoreDistribution | GroupDistributions:
        """Distribution of the scores: histogram, quantiles, keep rates, thresholds that keep a given share.

        It returns numbers, so it computes at once on Dask frames too: one pass that reads the columns named here and,
        where scores are lazy, the embeddings.

        Parameters
        ----------
        score_column : str, optional
            Column of float, as `score` adds it; by default the first score of `read_scores`, else ``aesthetic_score``.
        status_column : str, optional
            Column of statuses as `status` returns them, the reasons why rows have no score; by default that of
            `read_scores`.
        scale : {"raw", "unit"}, optional
            Scale of the scores; by default that of the files of `read_scores`, else "raw".
        by : str, optional
            Column of groups, such as the source, of at most 10,000 values.
        terms : list of str, or dict of str to list of str, optional
            Words to search in captions, or names of terms with their words; instead of `by`. Such predictors rate some
            people and subjects higher than others [1]_: compare their keep rates.
        caption_column : str
            Column of text to search for terms: whole words, in any case.
        predictor : str, path or Predictor, optional
            Predictor of the scores, as in `score`; by default that of the files of `read_scores`. Presets are refused
            where they do not apply to it.

        Returns
        -------
        ScoreDistribution, or GroupDistributions: a dict of group to ScoreDistribution
            With `by` or `terms` a dict that prints as a table and has ``plot()`` and ``to_frame()``. Nulls in `by` are
            the group None. A row counts under each of the `terms` that its caption contains, and under None if it
            contains no term. The same on every partitioning.

        Raises
        ------
        ColumnError
            A column does not exist, or the score column holds no floats.
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
        from dask_aesthetic import frame as frames
        from dask_aesthetic.distribution import find_terms
        from dask_aesthetic.frame_provenance import find_provenance
        from dask_aesthetic.predictors import load_predictor
        from dask_aesthetic.provenance import Provenance
        from dask_aesthetic.thresholds import check_scale

        score_column = Provenance.first_score(self._frame) if score_column is None else score_column
        said = find_provenance(self._frame, score_column)
        info = load_predictor(predictor).info if predictor is not None else None
        known = said.describe(scale, info)
        status_column = status_column or said.columns.get("status_column")
        if by is None and terms is None:
            return frames.distribution(self._frame, score_column, status_column, None, known)
        if by is not None and terms is not None:
            raise ArgumentError(f"expected either by or terms, got by={by!r} and terms={terms!r}: ask one by one")
        found, captions = (None, None) if terms is None else (find_terms(terms), caption_column)
        check_scale(known["scale"])
        threshold = said.usual_threshold(known, info)
        # Not through the proxies: the result is no frame.
        return frames.distribution(
            self._frame, score_column, status_column, by, known, found, captions, threshold=threshold
        )

    def report(
        self,
        path: str | os.PathLike[str],
        *,
        score_column: str | None = None,
        status_column: str | None = None,
        threshold: float | str | Threshold | None = None,
        scale: Scale | None = None,
        by: str | None = None,
        image_column: str | None = None,
        url_column: str | None = None,
        key_column: str | None = None,
        samples: int = 6,
        seed: int = 0,
        title: str = "Aesthetic scores",
        predictor: str | os.PathLike[str] | Predictor | None = None,
        tars: str | os.PathLike[str] | Sequence[str | os.PathLike[str]] | None = None,
        images: str | os.PathLike[str] | Sequence[str | os.PathLike[str]] | None = None,
        image_extensions: Sequence[str] = IMAGE_EXTENSIONS,
        storage_options: Mapping[str, Any] | None = None,
    ) -> Path:
        """Write an HTML report of the scores: one file that loads nothing from elsewhere.

        The page has a summary, a histogram with a slider for the threshold, keep rates beside LAION's, sampled rows
        with their images, failures by reason, groups, the run's rule for keep and provenance. It computes at once on
        Dask frames too: one pass over scores, statuses, groups, keys and the rule's columns, then one over images and
        URLs of the sampled rows alone.

        Parameters
        ----------
        path : str or path
            The file to write; an earlier one of that name is replaced once the page is whole.
        score_column, status_column, scale, by, predictor
            As in `distribution`.
        threshold : float, str or Threshold, optional
            As in `score`; by default that of the files of `read_scores`, else the predictor's own, else "standard".
        image_column : str, optional
            Column of images, shown as thumbnails: encoded bytes, a struct of bytes and path as Hugging Face writes
            it, or local paths.
        url_column : str, optional
            Column of URLs, shown as links; the page does not load them.
        key_column : str, optional
            Column that identifies rows, and decides which are sampled; if not given, the first that exists of key,
            uid, id, hash, url and image_path.
        samples : int
            Rows shown for every half point of raw score, and on either side of the threshold; up to 24.
        seed : int
            Seed of the sampling. The sampled rows do not depend on the partitioning.
        title : str
        tars : str, path, or list of them, optional
            The tars that were scored: a folder, file, glob or URL. Their images are shown as thumbnails; rows are
            joined by ``key``, and by ``shard`` if there is such a column, as `read_webdataset` and jobs over tars give
            them. Of tars with a sampled row, headers and the members of sampled rows are read; of every tar, if there
            is no ``shard``.
        images : str, path, or list of them, optional
            Image files that were scored, or folders of them, shown as thumbnails; rows are joined by ``image_path``:
            the file's own path, or one relative to the working folder or to the folder in `images`.
        image_extensions : list of str
            Extensions of images in tars.
        storage_options : mapping, optional
            fsspec's options of `tars` or `images`.

        Returns
        -------
        pathlib.Path
            `path`.

        Raises
        ------
        ColumnError, ArgumentError, ThresholdError, PredictorError
        InputError
            The folder to write to does not exist, or the frame holds other rows each time that it is computed.
        MissingDependencyError
            ``pip install 'dask-aesthetic[report]'`` installs the dependencies.

        Examples
        --------
        >>> scored = ddf.aesthetic.score()  # doctest: +SKIP
        >>> scored.aesthetic.report("report.html", image_column="image")  # doctest: +SKIP
        PosixPath('report.html')
        """
        from dask_aesthetic.frame_provenance import find_provenance
        from dask_aesthetic.predictors import load_predictor
        from dask_aesthetic.provenance import Provenance
        from dask_aesthetic.report import write_report

        info = load_predictor(predictor).info if predictor is not None else None
        score_column = Provenance.first_score(self._frame) if score_column is None else score_column
        said = find_provenance(self._frame, score_column)
        columns = {
            "score_column": score_column,
            "status_column": status_column or said.columns.get("status_column"),
            "by": by,
            "key_column": key_column,
            "image_column": image_column,
            "url_column": url_column,
        }
        return write_report(
            self._frame,
            path,
            columns=columns,
            threshold=said.find_threshold(threshold, info),
            known=said.describe(scale, info),
            samples=samples,
            seed=seed,
            title=title,
            provenance={**said.record, **({"predictor": info.to_dict()} if info else {})},
            tars=tars,
            images=images,
            image_extensions=image_extensions,
            storage_options=storage_options,
        )
