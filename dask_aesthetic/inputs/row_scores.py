"""Scores of a Parquet file's embeddings, row group by row group: where they lie if possible, else as Arrow lists."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from itertools import pairwise

import numpy as np
import pyarrow as pa

from dask_aesthetic.inputs import parquet
from dask_aesthetic.inputs.file import File
from dask_aesthetic.inputs.pages import Pages, open_pages
from dask_aesthetic.predictors import AffinePredictor
from dask_aesthetic.scoring import ScoreSpec, finish_scores, score_array

log = logging.getLogger(__name__)
RowScores = tuple[np.ndarray, np.ndarray, pa.Array | None]


def row_scores(
    file: File, column: str, spec: ScoreSpec, start: int, stop: int, place: str, first: int = 0, access: str = "read"
) -> Iterator[RowScores]:
    """Scores of the rows from `start` to `stop`, in order; fewer if the file has changed and has fewer.

    Parameters
    ----------
    file : File
    column : str
        Embedding column.
    spec : ScoreSpec
    start, stop : int
    place : str
        What errors name as the rows' place; they count its rows from `first` on.
    first : int
    access : {"read", "mapped"}
        As of `parquet.batches`.

    Yields
    ------
    scores, status : numpy.ndarray
        As of `score_array`.
    lists : pyarrow.Array or None
        The embeddings; None where all rows have a usable one and were scored in place.

    Raises
    ------
    InputError
        pyarrow cannot read a row group that cannot be scored in place.
    InvalidEmbeddingError
        A row has no usable embedding and ``spec.on_invalid`` is "raise".
    """

    def by_pyarrow(begin: int, end: int) -> Iterator[RowScores]:
        at = begin
        for batch in parquet.batches(file, [column], begin, end, access=access) if begin < end else ():
            if not batch.num_columns:
                return
            lists = batch.column(0)
            yield *score_array(lists, spec, column, place, at - first), lists
            at += len(lists)

    predictor, waiting = spec.predictor, start
    if isinstance(predictor, AffinePredictor):
        with open_pages(file, column, predictor.heads, stop - start) as pages:
            groups = _groups(pages, start, stop) if pages is not None else []
            if pages is not None:
                pages.read_ahead([group for group, _, _ in groups])
            in_place = 0
            for at, (group, begin, end) in enumerate(groups):
                if not file.is_local and at > 2 * in_place + 1:  # What is declined is fetched again.
                    break
                found = _in_place(pages, group, spec) if pages is not None else None
                if found is not None:
                    # pyarrow reads row groups together where several follow one another.
                    yield from by_pyarrow(waiting, begin)
                    yield *found, None
                    in_place, waiting = in_place + 1, end
            log.debug("%s: %d of %d row groups scored in place", file.path, in_place, len(groups))
    yield from by_pyarrow(waiting, stop)


def _groups(pages: Pages, start: int, stop: int) -> list[tuple[int, int, int]]:
    """Row groups from `start` to `stop`, as (index, begin, end), without row groups that are needed in part."""
    edges = np.cumsum([0, *pages.groups]).tolist()
    return [(at, begin, end) for at, (begin, end) in enumerate(pairwise(edges)) if start <= begin < end <= stop]


def _in_place(pages: Pages, group: int, spec: ScoreSpec) -> tuple[np.ndarray, np.ndarray] | None:
    found = pages.scores_and_norms(group)
    if found is None:
        return None
    (scores,), norms = found
    return finish_scores(scores, norms, spec)
