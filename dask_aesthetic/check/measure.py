"""Statistics of a partition's rows, and the choice of the rows that a sample inspects."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import torch

from dask_aesthetic import embeddings
from dask_aesthetic.check.signature import KINDS, has_signature, load_signature
from dask_aesthetic.check.statistics import (
    PROBABILITY_STEPS,
    DuplicateSample,
    NormHistogram,
    Statistics,
    StorageStats,
    sum_statistics,
)
from dask_aesthetic.distribution import ScoreDistribution
from dask_aesthetic.errors import ColumnError
from dask_aesthetic.kernels import Heads, Vectors, norms, scores_and_norms
from dask_aesthetic.predictors import Predictor, list_predictors
from dask_aesthetic.score_spec import ScoreSpec
from dask_aesthetic.scoring import score_runs
from dask_aesthetic.status import STATUSES, Status
from dask_aesthetic.validation import check_integer

LOW, HIGH = 1.0, 10.0
MIN_TIMED, MAX_TIMED = 2048, 16384  # Rows that scoring is timed on.
SLICES = 32
SLICE_ROWS = 1000


def check_sample(sample: Any) -> int | None:
    """Number of rows to inspect, None for all.

    Raises
    ------
    ArgumentError
        `sample` is no whole number from 1.
    """
    return None if sample is None else check_integer("sample", sample, minimum=1, unit="rows", default="None")


def choose_partitions(partitions: int, sample: int | None) -> list[int]:
    """Numbers of the partitions to inspect: all, or 32 or one per 1,000 rows of the sample, evenly spread.

    Examples
    --------
    >>> choose_partitions(4, 100), choose_partitions(100, 10)[:4], len(choose_partitions(100, 50_000))
    ([0, 1, 2, 3], [0, 3, 6, 9], 50)
    """
    count = partitions if sample is None else min(partitions, max(SLICES, sample // SLICE_ROWS))
    return [at * partitions // count for at in range(count)]


def rows_per_partition(sample: int | None, partitions: int) -> int | None:
    """Number of first rows to inspect in each of the chosen partitions, None for all."""
    return None if sample is None else -(-sample // partitions)


def slice_column(column: Any, sample: int | None) -> list[Any]:
    """Slices of a column in memory to inspect: the whole column, or the first rows of each of its 32nd parts."""
    rows = len(column)
    if sample is None or sample >= rows:
        return [column]
    starts = [part * rows // SLICES for part in choose_partitions(SLICES, sample)]
    stops = [*starts[1:], rows]
    each = rows_per_partition(sample, SLICES) or 0
    return [
        column.iloc[start : min(start + each, stop)] for start, stop in zip(starts, stops, strict=True) if start < stop
    ]


def check_spec(predictor: Predictor, embedding_dtype: str | None = None) -> ScoreSpec:
    """Spec of raw scores, as a check computes them."""
    dtype = embeddings.check_embedding_dtype(embedding_dtype)
    return ScoreSpec((predictor,), ("score",), embedding_dtype=dtype)


def find_refusal(meta: Any, embedding_column: str, embedding_dtype: str | None = None) -> str | None:
    """Message of the error that `score` raises for a column of an empty frame; None if it raises none."""
    try:
        column = meta[embedding_column]
        embeddings.check(embeddings.unpack(column[:0] if embedding_dtype else column, embedding_dtype), meta)
    except ColumnError as error:
        return str(error)
    return None


def measure_partition(slices: Sequence[Any], rows: int, spec: ScoreSpec, timed: bool = True) -> Statistics:
    """Statistics of slices of a partition.

    Parameters
    ----------
    slices : sequence of pandas.Series or cudf.Series
    rows : int
        Rows of the whole partition.
    spec : ScoreSpec
        As `check_spec` gives it.
    timed : bool
        Time scoring, on the first slice that has rows.
    """
    parts = [replace(_zero(spec), partition_rows=rows)]
    for column in slices:
        parts.append(_measure_slice(column, spec, timed))
        timed = timed and not parts[-1].timed_rows
    return sum_statistics(parts)


def measure_each(slices: Sequence[Any], rows: int, specs: Sequence[ScoreSpec], timed: bool = True) -> list[Statistics]:
    """Statistics of slices of a partition for each spec, as of `measure_partition`."""
    return [measure_partition(slices, rows, spec, timed) for spec in specs]


def _zero(spec: ScoreSpec) -> Statistics:
    return Statistics(ScoreDistribution(**_known(spec)))


def _known(spec: ScoreSpec) -> dict[str, Any]:
    return {"predictor": spec.predictor.info.name, "predictor_scale": spec.predictor.info.scale}


def _measure_slice(column: Any, spec: ScoreSpec, timed: bool) -> Statistics:
    rows, zero = len(column), _zero(spec)
    try:
        column = embeddings.unpack(column, spec.embedding_dtype)
        embeddings.runs(column, spec.predictor.width)
    except ColumnError as error:
        return replace(zero, rows=rows, refused=Counter({str(error): rows}))
    storage = StorageStats.of(column)
    known = {spec.predictor.width} | {info.width for info in list_predictors().values()}
    with embeddings.stream(column):
        parts = [replace(zero, rows=rows, **vars(storage)), _measure_scores(column, spec)]
        for width in sorted(known & set(storage.widths)):
            for run in embeddings.runs(column, width):
                status = run.status if run.present is None else run.status[run.present]
                parts.append(measure_vectors(run.vectors, status, spec))
        if timed and rows:
            timed_rows, seconds = _time_scoring(column, spec)
            parts.append(replace(zero, timed_rows=timed_rows, seconds=seconds))
    return sum_statistics(parts)


def _measure_scores(column: Any, spec: ScoreSpec) -> Statistics:
    (scores,), codes = (part.cpu().numpy() for part in score_runs(embeddings.runs(column, spec.width), spec))
    counts = np.bincount(codes, minlength=len(STATUSES)).tolist()
    low, high = (0.0, 1.0) if spec.predictor.info.is_probability else (LOW, HIGH)
    return replace(
        _zero(spec),
        scores=ScoreDistribution.of(scores, status=np.array(STATUSES)[codes], **_known(spec)),
        status=Counter(dict(zip(STATUSES, counts, strict=True))),
        below=int((scores < low).sum()),
        above=int((scores > high).sum()),
    )


def _time_scoring(column: Any, spec: ScoreSpec) -> tuple[int, float]:
    """Number of rows and seconds of scoring them once more; few rows are repeated, lest the fixed cost dominate."""
    rows = len(column)
    part = column.iloc[:MAX_TIMED] if rows >= MIN_TIMED else column.iloc[np.resize(np.arange(rows), MIN_TIMED)]
    start = time.perf_counter()
    scores, _ = score_runs(embeddings.runs(part, spec.predictor.width), spec)
    scores.cpu()  # Synchronizes with a GPU.
    return len(part), time.perf_counter() - start


def measure_vectors(vectors: Vectors, status: torch.Tensor, spec: ScoreSpec) -> Statistics:
    """Statistics of vectors of one width, shape (n, width), with their status codes so far, shape (n,)."""
    lengths = norms(vectors)
    unusual = embeddings.suspicious(lengths)  # Zero, not finite, or beyond the range of float32.
    lengths, status = lengths.double(), status.clone()
    units, found = embeddings.unit_vectors(vectors[unusual])
    lengths[unusual] = _float64_norms(vectors[unusual])
    status[unusual] = torch.where(status[unusual] == Status.OK, found, status[unusual])
    ok = status == Status.OK
    statistics = replace(
        _zero(spec),
        norms=NormHistogram.of(lengths[ok].cpu().numpy()),
        not_finite=int((status == Status.NOT_FINITE).sum()),
        zero=int((status == Status.ZERO).sum()),
    )
    if vectors.shape[1] != spec.predictor.width:
        return statistics
    statistics = replace(statistics, duplicates=DuplicateSample.of(vectors if bool(ok.all()) else vectors[ok]))
    if not has_signature(spec.predictor):
        return statistics
    probabilities = load_signature().probabilities(_cosines(vectors, unusual, units)[ok.cpu().numpy()])
    kinds = np.bincount(probabilities.argmax(axis=1), minlength=len(KINDS)).tolist()
    steps = np.rint(probabilities * PROBABILITY_STEPS).astype(np.int64).sum(axis=0).tolist()
    return replace(
        statistics,
        kinds=Counter(dict(zip(KINDS, kinds, strict=True))),
        probabilities=Counter(dict(zip(KINDS, steps, strict=True))),
    )


def _float64_norms(vectors: torch.Tensor) -> torch.Tensor:
    """Norms in float64 of vectors whose norms overflow or underflow in float32, shape (n,)."""
    largest = vectors.double().abs().amax(dim=1)
    return norms(vectors.double() / largest[:, None], np.float64) * largest


def _cosines(vectors: Vectors, unusual: torch.Tensor, units: torch.Tensor) -> np.ndarray:
    """Cosines with the signature's directions, shape (n, 2); those of the unusual vectors from their unit vectors."""
    directions = np.asarray(load_signature().directions)
    cosines, _ = scores_and_norms(vectors, Heads.of(directions, np.zeros(len(directions)), np.float32))
    cosines[:, unusual], _ = scores_and_norms(units, Heads.of(directions, np.zeros(len(directions)), np.float64))
    return cosines.T.cpu().numpy()
