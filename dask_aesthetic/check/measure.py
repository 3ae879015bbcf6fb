"""Facts of a partition's rows: what they are made of, their scores, lengths, repeats and places."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import torch

from dask_aesthetic import embeddings
from dask_aesthetic.check.columns import Make
from dask_aesthetic.check.facts import Facts, sum_facts
from dask_aesthetic.check.norms import Norms
from dask_aesthetic.check.repeats import Repeats
from dask_aesthetic.check.signature import ENCODER, KINDS, WIDTH, load_signature
from dask_aesthetic.distribution import ScoreDistribution
from dask_aesthetic.errors import ColumnError
from dask_aesthetic.kernels import dots_and_norms, norms
from dask_aesthetic.predictors import Predictor, list_predictors
from dask_aesthetic.scoring import ScoreSpec, score_runs
from dask_aesthetic.status import STATUSES, Status
from dask_aesthetic.thresholds import Threshold

STEPS = 1 << 20  # Sureness is added up in whole steps, so that no order of adding can change it.
LOW, HIGH = 1.0, 10.0
TIMED = (2048, 16384)  # The fewest and the most rows of a partition that scoring is timed on.


def check_spec(predictor: Predictor) -> ScoreSpec:
    """How a check scores: raw."""
    return ScoreSpec(predictor, Threshold(5.0), "score", "keep")


def facts_of(columns: Sequence[Any], held: int, spec: ScoreSpec) -> Facts:
    """Facts of pieces of a partition.

    Parameters
    ----------
    columns : sequence of pandas.Series or cudf.Series
    held : int
        Rows of the partition.
    spec : ScoreSpec
        As `check_spec` gives it.
    """
    return sum_facts([replace(_nothing(spec), held=held), *(_facts_of_piece(column, spec) for column in columns)])


def has_signature(predictor: Predictor) -> bool:
    """Whether a predictor takes, as far as is known, embeddings of the encoder whose signature ships."""
    return predictor.width == WIDTH and predictor.info.encoder in (ENCODER, "unknown")


def _nothing(spec: ScoreSpec) -> Facts:
    return Facts(ScoreDistribution(**_known(spec)))


def _known(spec: ScoreSpec) -> dict[str, Any]:
    return {"predictor": spec.predictor.info.name, "predictor_scale": spec.predictor.info.scale}


def _facts_of_piece(column: Any, spec: ScoreSpec) -> Facts:
    rows, nothing = len(column), _nothing(spec)
    try:
        embeddings.runs(column, spec.predictor.width)
    except ColumnError as error:
        return replace(nothing, rows=rows, refused=Counter({str(error): rows}))
    make = Make.of(column)
    known = {spec.predictor.width} | {info.width for info in list_predictors().values()}
    with embeddings.stream(column):
        parts = [replace(nothing, rows=rows, **vars(make)), _scored(column, spec)]
        for width in sorted(known & set(make.widths)):
            for run in embeddings.runs(column, width):
                status = run.status if run.present is None else run.status[run.present]
                parts.append(facts_of_vectors(run.vectors, status, spec))
    return sum_facts(parts)


def _scored(column: Any, spec: ScoreSpec) -> Facts:
    width = spec.predictor.width
    scores, codes = (part.cpu().numpy() for part in score_runs(embeddings.runs(column, width), spec))
    timed, seconds = _timed(column, spec)
    counts = np.bincount(codes, minlength=len(STATUSES)).tolist()
    return replace(
        _nothing(spec),
        scores=ScoreDistribution.of(scores, status=np.array(STATUSES)[codes], **_known(spec)),
        status=Counter(dict(zip(STATUSES, counts, strict=True))),
        below=int((scores < LOW).sum()),
        above=int((scores > HIGH).sum()),
        seconds=seconds,
        timed=timed,
    )


def _timed(column: Any, spec: ScoreSpec) -> tuple[int, float]:
    """How many rows were scored once more, and how long it took; few rows are repeated, lest setting up counts."""
    rows = len(column)
    if not rows:
        return 0, 0.0
    part = column.iloc[: TIMED[1]] if rows >= TIMED[0] else column.iloc[np.resize(np.arange(rows), TIMED[0])]
    start = time.perf_counter()
    scores, _ = score_runs(embeddings.runs(part, spec.predictor.width), spec)
    scores.cpu()  # A GPU is waited for.
    return len(part), time.perf_counter() - start


def facts_of_vectors(vectors: torch.Tensor, status: torch.Tensor, spec: ScoreSpec) -> Facts:
    """Facts of vectors of one width, whose status says so far which of them count."""
    lengths = norms(vectors)
    odd = embeddings.suspicious(lengths)
    lengths, status = lengths.double(), status.clone()
    units, found = embeddings.unit_vectors(vectors[odd])
    lengths[odd] = _wide_norms(vectors[odd])
    status[odd] = torch.where(status[odd] == Status.OK, found, status[odd])
    ok = status == Status.OK
    facts = replace(
        _nothing(spec),
        norms=Norms.of(lengths[ok].cpu().numpy()),
        not_finite=int((status == Status.NOT_FINITE).sum()),
        zero=int((status == Status.ZERO).sum()),
    )
    if vectors.shape[1] != spec.predictor.width:
        return facts
    facts = replace(facts, repeats=Repeats.of(vectors if bool(ok.all()) else vectors[ok]))
    return _placed(facts, _cosines(vectors, odd, units)[ok.cpu().numpy()]) if has_signature(spec.predictor) else facts


def _wide_norms(vectors: torch.Tensor) -> torch.Tensor:
    """Norms that overflow or vanish in float32, in float64, where they do not."""
    wide = vectors.double()
    largest = wide.abs().amax(dim=1)
    return torch.linalg.vector_norm(wide / largest[:, None], dim=1) * largest


def _cosines(vectors: torch.Tensor, odd: torch.Tensor, units: torch.Tensor) -> np.ndarray:
    """Cosines with the directions of the signature, shape (n, 2); of odd vectors by their unit vectors."""
    columns = []
    for figures in load_signature().directions:
        direction = torch.from_numpy(figures).to(vectors.device)
        dots, lengths = dots_and_norms(vectors, direction)
        cosines = dots / lengths
        cosines[odd] = (units @ direction.double()).float()
        columns.append(cosines.cpu().numpy())
    return np.stack(columns, axis=1)


def _placed(facts: Facts, cosines: np.ndarray) -> Facts:
    sureness = load_signature().sureness(cosines)
    kinds = np.bincount(sureness.argmax(axis=1), minlength=len(KINDS)).tolist()
    steps = np.rint(sureness * STEPS).astype(np.int64).sum(axis=0).tolist()
    return replace(
        facts,
        kinds=Counter(dict(zip(KINDS, kinds, strict=True))),
        sureness=Counter(dict(zip(KINDS, steps, strict=True))),
    )
