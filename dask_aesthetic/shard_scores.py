"""Scores of a shard's rows: pages of local Parquet files are scored where they lie, all else as Arrow lists."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from functools import partial
from itertools import pairwise
from typing import NamedTuple

import numpy as np
import pyarrow as pa
import torch

from dask_aesthetic.embeddings.packed import unpack_array
from dask_aesthetic.io import parquet
from dask_aesthetic.io.pages import Pages, open_pages
from dask_aesthetic.io.shards import ParquetShard, Shard
from dask_aesthetic.io.storage import Digests
from dask_aesthetic.kernels import Heads, RowScorer
from dask_aesthetic.predictors import passes
from dask_aesthetic.score_spec import ScoreSpec
from dask_aesthetic.scoring import finish_scores, score_array

log = logging.getLogger(__name__)
RowScores = tuple[np.ndarray, np.ndarray, pa.Array | None]


class Scored(NamedTuple):
    """Passthrough columns, scores, shape (k, n), and statuses of some rows.

    `in_place` counts rows whose Parquet pages were scored where they lie: these, or some that were read for the next.
    """

    passthrough: pa.RecordBatch
    scores: np.ndarray
    status: np.ndarray
    in_place: int = 0


def row_scores(
    shard: Shard, spec: ScoreSpec, place: str, first: int = 0, digests: Digests | None = None
) -> Iterator[RowScores]:
    """Iterate over the scores of a shard's rows, in order.

    Parameters
    ----------
    shard : Shard
        Of embeddings.
    spec : ScoreSpec
    place : str
        Name of the rows' place in errors, which count the rows there from `first` on.
    first : int
    digests : dict, optional
        As of `Shard.batches`.

    Yields
    ------
    scores, status : numpy.ndarray
        As of `score_array`.
    lists : pyarrow.Array or None
        The embeddings; None where all rows have a usable one and were scored in place.

    Raises
    ------
    InputError
        A file is damaged, or has changed since the shard was found.
    InvalidEmbeddingError
        A row has no usable embedding and ``spec.on_invalid`` is "raise".
    """
    heads = [one.heads for one in passes(spec.predictors) if one.heads is not None]
    if isinstance(shard, ParquetShard) and len(heads) == len(passes(spec.predictors)):
        yield from _parquet_scores(shard, spec, heads, place, first, digests)
        return
    for _, lists in shard.batches([], digests=digests):
        yield *score_array(lists, spec, shard.column, place, first), lists
        first += len(lists)


def score_batches(
    shard: Shard, columns: Sequence[str], spec: ScoreSpec, digests: Digests | None = None
) -> Iterator[Scored]:
    """Iterate over the scored rows of a shard in order, in batches.

    Raises
    ------
    InputError, InvalidEmbeddingError
        As of `row_scores`.
    """
    place, read = f"shard {shard.name}", 0
    if not isinstance(shard, ParquetShard):
        for passthrough, lists in shard.batches(columns, digests=digests):
            yield Scored(passthrough, *score_array(lists, spec, shard.column, place, read))
            read += len(lists)
        return
    found = row_scores(shard, spec, place, 0, digests)
    scores, status = np.empty((len(spec.predictors), 0), np.float32), np.empty(0, np.uint8)
    for passthrough in shard.passthrough(columns):
        rows, in_place = len(passthrough), 0
        while len(status) < rows:
            more = next(found, None)
            if more is None:
                raise shard.changed(f"{read + len(status):,} or other columns")
            in_place += len(more[1]) if more[2] is None else 0
            pairs = ((scores, more[0]), (status, more[1]))
            scores, status = (np.concatenate(pair, axis=-1) if pair[0].size else pair[1] for pair in pairs)
        yield Scored(passthrough, scores[:, :rows], status[:rows], in_place)
        scores, status, read = scores[:, rows:], status[rows:], read + rows
    if read != shard.rows or len(status) or next(found, None) is not None:
        raise shard.changed(f"{read:,}")


def _parquet_scores(
    shard: ParquetShard, spec: ScoreSpec, heads: Sequence[Heads], place: str, first: int, digests: Digests | None
) -> Iterator[RowScores]:
    def by_pyarrow(begin: int, end: int) -> Iterator[RowScores]:
        at = begin
        for batch in parquet.batches(shard.file, [shard.column], begin, end) if begin < end else ():
            if not batch.num_columns:
                raise shard.changed("other columns")
            lists = unpack_array(batch.column(0), shard.embedding_dtype, shard.column)
            yield *score_array(lists, spec, shard.column, place, first + at - shard.start), lists
            at += len(lists)
        if at != end:
            raise shard.changed(f"{at - shard.start:,}")

    waiting = shard.start
    with open_pages(shard.file, shard.column, spec.width, shard.rows, digests, shard.embedding_dtype) as pages:
        if pages is not None:
            groups, in_place = _groups(pages, shard), 0
            # What is declined is fetched again, so the first row group decides whether more are fetched ahead.
            pages.read_ahead([group for group, _, _ in groups[:1]])
            for at, (group, begin, end) in enumerate(groups):
                if not shard.file.is_local and at > 2 * in_place:
                    break
                if at == 1:
                    pages.read_ahead([group for group, _, _ in groups[1:]])
                found = _in_place(pages, group, spec, heads)
                if found is not None:
                    # pyarrow reads row groups together where several follow one another.
                    yield from by_pyarrow(waiting, begin)
                    yield *found, None
                    in_place, waiting = in_place + 1, end
            log.debug("%s: %d of %d row groups scored in place", shard.file.path, in_place, len(groups))
    yield from by_pyarrow(waiting, shard.stop)


def _groups(pages: Pages, shard: ParquetShard) -> list[tuple[int, int, int]]:
    """Row groups of a shard, as (index, begin, end), without row groups that are needed in part."""
    edges = np.cumsum([0, *pages.groups]).tolist()
    ranges = enumerate(pairwise(edges))
    return [(at, begin, end) for at, (begin, end) in ranges if shard.start <= begin < end <= shard.stop]


class _RowScorers:
    """Row scorers of several working precisions, one after another over the same rows."""

    function = context = 0

    def __init__(self, rows: int, dtype: torch.dtype, heads: Sequence[Heads]) -> None:
        self.each = [RowScorer(rows, dtype, one) for one in heads]
        if len(heads) == 1:
            self.function, self.context = self.each[0].function, self.each[0].context

    def __call__(self, addresses: np.ndarray, first: int) -> None:
        for scorer in self.each:
            scorer(addresses, first)


def _in_place(
    pages: Pages, group: int, spec: ScoreSpec, heads: Sequence[Heads]
) -> tuple[np.ndarray, np.ndarray] | None:
    found = pages.map_rows(group, partial(_RowScorers, heads=heads))
    if found is None:
        return None
    return finish_scores([(torch.from_numpy(one.scores), torch.from_numpy(one.norms)) for one in found.each], spec)
