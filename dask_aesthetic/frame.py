"""Each method of the accessor as a Dask graph, and directly on pandas and cuDF frames."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

import dask
import dask.dataframe as dd

from dask_aesthetic import embeddings
from dask_aesthetic.check import (
    Check,
    Statistics,
    check_sample,
    check_spec,
    choose_partitions,
    find_refusal,
    measure_each,
    rows_per_partition,
    slice_column,
    sum_each,
)
from dask_aesthetic.distribution import GroupDistributions, Terms, add_groups, count_groups, count_terms, refuse_nested
from dask_aesthetic.errors import PASSTHROUGH, ArgumentError, ColumnError, did_you_mean
from dask_aesthetic.frame_columns import ScoreColumns, StatusColumn, add_keep, check_rule, empty_series, graph_ready
from dask_aesthetic.fused_read import add_columns
from dask_aesthetic.images import EmbedSpec, check_images, embed_column
from dask_aesthetic.learning import (
    Calibration,
    FitSpec,
    FittedPredictor,
    add_labels,
    add_sums,
    by_labels,
    by_share,
    count_labels,
    fit_predictor,
    sum_rows,
)
from dask_aesthetic.predictors import Predictor
from dask_aesthetic.provenance import METADATA_KEY
from dask_aesthetic.score_spec import ScoreSpec, refuse_replacing, refuse_width
from dask_aesthetic.scoring import score_frame, status_column
from dask_aesthetic.similarity import SimilaritySpec, similarity_column, similarity_frame
from dask_aesthetic.thresholds import Threshold, check_scale
from dask_aesthetic.validation import check_column_name
from dask_aesthetic.warn_unusable import count_unusable, warn_after_compute, warn_if_unusable

FAN_IN = 16  # Distributions, or statistics, added in one task.
FAN_IN_LARGE = 4  # Normal equations, which are a thousand times larger.


def score(frame: Any, embedding_column: str, spec: ScoreSpec, replace_columns: bool) -> Any:
    """Frame with score and keep columns added; lazy on Dask frames."""
    column, width = _column(frame, embedding_column, spec.embedding_dtype)
    refuse_replacing(frame.columns, spec.added, replace_columns)
    refuse_width(width, spec.predictor, embedding_column)
    keep = spec.keep_spec
    if keep is not None:
        check_rule(frame, spec)
        scored = score(frame, embedding_column, spec.without_keep, replace_columns)
        return add_keep(scored, spec.keep_column, keep)
    if not isinstance(frame, dd.DataFrame):
        return score_frame(frame, column, spec, warn_if_unusable(column, spec))
    warn_after_compute()
    return add_columns(frame, embedding_column, ScoreColumns(spec))


def similarity(frame: Any, spec: SimilaritySpec, replace_columns: bool) -> Any:
    """Frame with a column of the similarity of its image and text embeddings added; lazy on Dask frames."""
    meta = frame._meta if isinstance(frame, dd.DataFrame) else frame
    for name in spec.columns:
        _check_column(meta, name)
    held = [meta[name] for name in spec.columns]
    if spec.embedding_dtype is not None and not any(
        embeddings.holds_bytes(column) or (not len(column) and column.dtype == object) for column in held
    ):
        raise ColumnError(
            f"expected bytes per row in {' or '.join(map(repr, spec.columns))} with "
            f"embedding_dtype={spec.embedding_dtype!r}, got others: leave embedding_dtype out"
        )
    found = [_column(frame, name, spec.dtype_of(column)) for name, column in zip(spec.columns, held, strict=True)]
    images, texts = (column for column, _ in found)
    refuse_replacing(frame.columns, {"similarity_column": spec.similarity_column}, replace_columns)
    width = spec.find_width(*(known for _, known in found))
    if not isinstance(frame, dd.DataFrame):
        seen = tuple(warn_if_unusable(column, spec.score_spec(width)) for column in (images, texts))
        return similarity_frame(frame, spec, width, seen)
    warn_after_compute()
    meta = empty_series(images._meta, spec.similarity_column, "float32")
    both = frame[list(spec.columns)]
    found = both.map_partitions(
        _similarity_partition, spec, width, call=both._name, meta=meta, token="similarity-of-embeddings"
    )
    return frame.assign(**{spec.similarity_column: found})


def _similarity_partition(
    frame: Any, spec: SimilaritySpec, width: int, call: str, partition_info: dict[str, Any] | None = None
) -> Any:
    images, texts = (frame[name] for name in spec.columns)
    score_spec = spec.score_spec(width)
    seen = tuple(count_unusable(call, column, score_spec, str(column.name)) for column in (images, texts))
    return similarity_column(images, texts, spec, width, partition_info["number"] if partition_info else None, seen)


def embed(frame: Any, image_column: str, spec: EmbedSpec, replace_columns: bool) -> Any:
    """Frame with embeddings of its images and their status added; lazy on Dask frames."""
    added = {"output_column": spec.output_column, "status_column": spec.status_column}
    refuse_replacing(frame.columns, added, replace_columns)
    computed = _embedded(frame, image_column, spec)
    return frame.assign(**{name: computed[name] for name in (spec.output_column, spec.status_column)})


def embed_and_score(
    frame: Any,
    image_column: str,
    spec: EmbedSpec,
    score_spec: ScoreSpec,
    keep_embedding: bool,
    replace_columns: bool,
) -> Any:
    """Frame with scores, keep and status of its images added, and their embeddings; lazy on Dask frames."""
    embedding = {"output_column": spec.output_column} if keep_embedding else {}
    refuse_replacing(
        frame.columns, {**score_spec.added, "status_column": spec.status_column, **embedding}, replace_columns
    )
    keep = score_spec.keep_spec
    if keep is not None:
        check_rule(frame, score_spec)
    computed = _embedded(frame, image_column, spec, score_spec, keep_embedding)
    added = {name: computed[name] for name in computed.columns}
    scored = frame.assign(**added, **score_spec.keep(added))
    return scored if keep is None else add_keep(scored, score_spec.keep_column, keep)


def _embedded(
    frame: Any,
    image_column: str,
    spec: EmbedSpec,
    score_spec: ScoreSpec | None = None,
    keep_embedding: bool = True,
) -> Any:
    """Columns computed from an image column in one pass; the image column is read only if one of them is."""
    meta = frame._meta if isinstance(frame, dd.DataFrame) else frame
    _check_columns(meta, {"image_column": image_column})
    check_images(meta[image_column], spec.pooling)
    if not isinstance(frame, dd.DataFrame):
        return embed_column(frame[image_column], spec, score_spec, keep_embedding)
    empty = embed_column(meta[image_column].iloc[:0], spec, score_spec, keep_embedding)
    score_ready = graph_ready(score_spec) if score_spec is not None else None
    name = "embed-images" if score_spec is None else "embed-and-score-images"
    return frame[image_column].map_partitions(
        _embed_partition, spec, score_ready, keep_embedding, meta=empty, token=name
    )


def status(frame: Any, embedding_column: str, width: int, embedding_dtype: str | None = None) -> Any:
    """Status of every row as a Series named "status"; lazy on Dask frames."""
    embedding_dtype = embeddings.check_embedding_dtype(embedding_dtype)
    column, _ = _column(frame, embedding_column, embedding_dtype)
    if isinstance(frame, dd.DataFrame):
        status = StatusColumn(width, embedding_dtype)
        return add_columns(frame, embedding_column, status)[status.name]
    return status_column(column, width, embedding_dtype)


def distribution(
    frame: Any,
    score_column: str,
    status_column: str | None,
    by: str | None,
    known: dict[str, str],
    terms: Terms | None = None,
    caption_column: str | None = None,
    threshold: Threshold | None = None,
) -> Any:
    """Distribution of a frame's scores, or of each group's or term's; computed at once, in one pass.

    Groups are printed with the share that `threshold` keeps.
    """
    names = {"score_column": score_column, "status_column": status_column, "by": by, "caption_column": caption_column}
    columns = {role: name for role, name in names.items() if name is not None}
    check_scale(known["scale"])
    frame = _scored(frame, columns)
    if by is not None:
        refuse_nested((frame._meta if isinstance(frame, dd.DataFrame) else frame)[by].dtype, by)
    if terms is not None:
        count = partial(count_terms, columns=columns, known=known, terms=terms)
        counted = _reduce("score-distribution", frame, count, _add_terms)
        return GroupDistributions(counted, columns["caption_column"], threshold, overlap=True)
    count = partial(count_groups, columns=columns, known=known)
    counted = _reduce("score-distribution", frame, count, partial(add_groups, by=by))
    return counted[None] if by is None else GroupDistributions(counted, by, threshold)


_add_terms = partial(add_groups, by="terms")


def calibrate(
    frame: Any,
    score_column: str,
    label_column: str | None,
    known: dict[str, str],
    keep_fraction: float | None,
    n: int | None,
    seed: int,
    higher_is_better: bool = True,
) -> Calibration:
    """Threshold by the share of scores that it keeps, in two passes, or by labels, in one; computed at once."""
    requested = {"keep_fraction": keep_fraction, "n": n, "label_column": label_column}
    if sum(value is not None for value in requested.values()) != 1:
        given = [f"{name}={value!r}" for name, value in requested.items() if value is not None]
        got = " and ".join(given) or "none of them"
        raise ArgumentError(f"expected one of keep_fraction, n and label_column, got {got}")
    if not higher_is_better:
        columns = {"score_column": score_column, "label_column": label_column}
        frame = _scored(frame, {role: name for role, name in columns.items() if name is not None}).copy()
        frame[score_column] = -frame[score_column]
    if label_column is None:
        counts = distribution(frame, score_column, None, None, known)
        return by_share(counts, keep_fraction, n, frame[score_column], higher_is_better)
    check_scale(known["scale"])
    frame = _scored(frame, {"score_column": score_column, "label_column": label_column})
    count = partial(count_labels, score_column=score_column, label_column=label_column)
    found = by_labels(_reduce("calibrate", frame, count, add_labels), known, seed=seed)
    return found if higher_is_better else found.mirrored()


def fit(frame: Any, spec: FitSpec) -> FittedPredictor:
    """Predictor fitted to a frame's ratings; computed at once, in one pass over the two columns."""
    _column(frame, spec.embedding_column, spec.embedding_dtype)
    meta = frame._meta if isinstance(frame, dd.DataFrame) else frame
    _check_columns(meta, {"rating_column": spec.rating_column})
    count = partial(
        sum_rows,
        embedding_column=spec.embedding_column,
        rating_column=spec.rating_column,
        width=spec.width,
        folds=spec.folds,
        seed=spec.seed,
        embedding_dtype=spec.embedding_dtype,
    )
    columns = frame[[spec.embedding_column, spec.rating_column]]
    return fit_predictor(_reduce("fit", columns, count, add_sums, FAN_IN_LARGE), spec)


def task(name: str, run: Callable[..., Any], *arguments: Any) -> Any:
    """Delayed result of ``run(*arguments)``, whose key begins with a name, for Dask's dashboard."""
    key = f"{name}-{dask.base.tokenize(run, *arguments)}"
    return dask.delayed(run, pure=True)(*arguments, dask_key_name=key)


def tree_reduce(name: str, parts: list[Any], combine: Callable[[list[Any]], Any], fan_in: int = FAN_IN) -> Any:
    """Delayed result of a tree reduction: `combine` merges up to `fan_in` delayed parts in one task."""
    while len(parts) > 1:
        parts = [task(name, combine, parts[at : at + fan_in]) for at in range(0, len(parts), fan_in)]
    return parts[0]


def _reduce(
    name: str, frame: Any, map_part: Callable[[Any], Any], combine: Callable[[list[Any]], Any], fan_in: int = FAN_IN
) -> Any:
    """Result of `map_part` on every partition, merged by `combine` in a tree; computed at once."""
    if not isinstance(frame, dd.DataFrame):
        return map_part(frame)
    parts = [task(name, map_part, part) for part in frame.to_delayed()]
    return tree_reduce(f"{name}-sum", parts, combine, fan_in).compute()


def check(
    frame: Any,
    embedding_column: str,
    sample: int | None,
    predictors: Mapping[str, Predictor],
    embedding_dtype: str | None = None,
) -> Check:
    """Check of a frame's embeddings; computed at once, in one pass over the column or a sample of it."""
    sample, specs = check_sample(sample), [check_spec(one, embedding_dtype) for one in predictors.values()]
    meta = frame._meta if isinstance(frame, dd.DataFrame) else frame
    _check_column(meta, embedding_column)
    candidates = tuple(name for name in embeddings.candidates(meta) if name != embedding_column)
    refusal = find_refusal(meta, embedding_column, embedding_dtype)
    column, whole = frame[embedding_column], None
    if isinstance(frame, dd.DataFrame):
        statistics, whole = _check_partitions(column.to_delayed(), sample, [graph_ready(one) for one in specs])
    else:
        statistics = measure_each(slice_column(column, sample), len(column), specs)
    return Check.of_each(statistics, embedding_column, predictors, whole, [refusal] * len(specs), candidates)


def _check_partitions(
    partitions: list[Any], sample: int | None, specs: list[Any]
) -> tuple[list[Statistics], int | None]:
    """Statistics of all or of the chosen partitions, and an estimate of all rows if some partitions are left out."""
    chosen = choose_partitions(len(partitions), sample)
    rows = rows_per_partition(sample, len(chosen))
    # Scoring is timed once, on the first of them.
    name = "check-embeddings"
    parts = [task(name, _check_partition, partitions[at], rows, specs, at == chosen[0]) for at in chosen]
    statistics = tree_reduce(f"{name}-sum", parts, sum_each).compute()
    left_out = len(chosen) < len(partitions)
    return statistics, round(statistics[0].partition_rows * len(partitions) / len(chosen)) if left_out else None


def _check_partition(column: Any, rows: int | None, specs: list[Any], timed: bool) -> list[Statistics]:
    return measure_each([column.iloc[:rows]], len(column), specs, timed)


def _is_float(dtype: Any) -> bool:
    return getattr(dtype, "kind", "") == "f"  # pandas' is_float_dtype fails on cuDF's list dtype.


def _scored(frame: Any, columns: Mapping[str, str]) -> Any:
    """The given columns of a frame that holds scores, each once."""
    check_scores(frame._meta if isinstance(frame, dd.DataFrame) else frame, columns)
    return frame[list(dict.fromkeys(columns.values()))]


def check_scores(meta: Any, columns: Mapping[str, str]) -> None:
    """Raise if one of these columns does not exist, or the ``score_column`` holds no floats."""
    floats = [str(name) for name, dtype in meta.dtypes.items() if _is_float(dtype)]
    hint = f"Columns of floats: {', '.join(map(repr, floats))}" if floats else "frame.aesthetic.score() adds scores"
    _check_columns(meta, columns, hint)
    score = columns["score_column"]
    if not _is_float(meta[score].dtype):
        raise ColumnError(
            f"expected scores, a column of floats, in {score!r}, got {meta[score].dtype}. {hint}. "
            f".astype({{{score!r}: 'float32'}}) turns other numbers into floats"
        )


def _check_columns(meta: Any, columns: Mapping[str, str], score_hint: str = "") -> None:
    held = ", ".join(repr(name) for name in meta.columns) or "no columns"
    for role, name in columns.items():
        check_column_name(role, name)
        if name not in meta.columns:
            close = did_you_mean(name, meta.columns)
            more = f": {PASSTHROUGH}" if METADATA_KEY in getattr(meta, "attrs", {}) else ""
            end = f"{close or '.'} {score_hint}" if role == "score_column" else close or more
            raise ColumnError(f"expected {role}={name!r} to be a column; the frame has {held}{end}")
        if list(meta.columns).count(name) > 1:
            raise ColumnError.repeated(name)


def _embed_partition(
    column: Any,
    spec: EmbedSpec,
    score_spec: ScoreSpec | None = None,
    keep_embedding: bool = True,
    partition_info: dict[str, Any] | None = None,
) -> Any:
    return embed_column(column, spec, score_spec, keep_embedding, partition_info["number"] if partition_info else None)


def _column(frame: Any, name: str, embedding_dtype: str | None = None) -> tuple[Any, int | None]:
    """Embedding column, and its width by its type."""
    meta = frame._meta if isinstance(frame, dd.DataFrame) else frame
    _check_column(meta, name)
    column = meta[name]
    lists = embeddings.unpack(column[:0] if embedding_dtype else column, embedding_dtype)
    embeddings.check(lists, meta)
    return (column if meta is frame else frame[name]), embeddings.width(lists)


def _check_column(meta: Any, name: str) -> None:
    check_column_name("embedding_column", name)
    if name not in meta.columns:
        raise ColumnError.missing(name, meta.columns, embeddings.candidates(meta))
    if list(meta.columns).count(name) > 1:
        raise ColumnError.repeated(name)
