"""Reader of files that scores the embeddings while it reads them, and never holds the column."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from typing import Any

import dask
import dask.dataframe as dd
import numpy as np
import pandas as pd
import pyarrow as pa
import torch

from dask_aesthetic.choices import EmbeddingDtype, Format, OnInvalid, Scale
from dask_aesthetic.defaults import HASH_COLUMN, PREDICTOR, SIMILARITY_COLUMN, TEXT_KEY, THRESHOLD
from dask_aesthetic.embedding_hash import hash_embeddings
from dask_aesthetic.errors import ArgumentError, ColumnError, InvalidEmbeddingError
from dask_aesthetic.frame_columns import READ_AND_SCORE, SCORE_TASK, ScoreColumns, add_keep, empty_scores, scores_of
from dask_aesthetic.io import cudf, parquet, split
from dask_aesthetic.io.formats import choose_format, warn_left_out
from dask_aesthetic.io.listing import Source, list_files
from dask_aesthetic.io.shards import LOCATION, ParquetShard, Shard, find_shards
from dask_aesthetic.keep_rule import Keep
from dask_aesthetic.predictors import Predictors
from dask_aesthetic.readers.partitions import (
    check_rows_per_partition,
    empty_frame,
    from_shards,
    to_pandas,
    with_rows,
)
from dask_aesthetic.score_spec import ScoreSpec, refuse_replacing, refuse_same_names, refuse_width
from dask_aesthetic.scoring import score_array, score_column
from dask_aesthetic.shard_scores import row_scores
from dask_aesthetic.shard_texts import TextSide
from dask_aesthetic.similarity import SimilaritySpec
from dask_aesthetic.thresholds import Threshold
from dask_aesthetic.warn_unusable import count_unusable, warn_after_compute


@dataclass(frozen=True)
class _Scoring:
    """Spec and shards of a frame: a key of its graph that all tasks share."""

    spec: ScoreSpec
    shards: Sequence[Shard]
    firsts: Sequence[int]
    embedding_hash: bool = False
    texts: TextSide | None = None

    @property
    def more(self) -> list[str]:
        """Names of the columns that are computed beside the scores."""
        similarity = [] if self.texts is None else [self.texts.spec.similarity_column]
        return [*([HASH_COLUMN] if self.embedding_hash else []), *similarity]

    def shard_at(self, row: int) -> Shard:
        """Shard that holds the row with this index label."""
        return self.shards[bisect_right(self.firsts, row) - 1]


def read_and_score(
    path: Source,
    columns: str | Sequence[str] | None = None,
    *,
    embedding_column: str = "image_embedding",
    predictor: Predictors = PREDICTOR,
    threshold: float | str | Threshold | None = THRESHOLD,
    keep: Keep | None = None,
    override_column: str | None = None,
    scale: Scale = "raw",
    score_column: str | None = None,
    keep_column: str = "keep",
    on_invalid: OnInvalid = "null",
    batch_size: int | None = None,
    rows_per_partition: int | None = 100_000,
    storage_options: Mapping[str, Any] | None = None,
    replace_columns: bool = False,
    embedding_hash: bool = False,
    embedding_dtype: EmbeddingDtype | None = None,
    embedding_zero_point: int | None = None,
    format: Format = "auto",  # noqa: A002
    matrix_key: str | None = None,
    text_column: str | None = None,
    text_key: str = TEXT_KEY,
    similarity_column: str = SIMILARITY_COLUMN,
) -> dd.DataFrame:
    """Read files and score their embeddings, as a lazy Dask DataFrame of scores without the embedding column.

    Scores of Parquet files equal those of ``dd.read_parquet(path, dtype_backend="pyarrow").aesthetic.score()``, but the
    embedding column is scored and dropped batch by batch, so that a partition never holds it.

    Parameters
    ----------
    path : str, path, or list of them
        A Parquet file, a folder of them (searched recursively) or a glob; local, or an fsspec URL. Or any other layout
        that `score_dataset` reads: see `format`.
    columns : list of str, optional
        Passthrough columns; default: id columns (key, uid, url, hash, id, image_path, in any case). "all" takes all but
        the embedding column. Hive folders such as ``lang=en`` make a string column ``lang``, which can be named and
        is among "all".
    embedding_column, predictor, threshold, keep, override_column, scale, score_column, keep_column, on_invalid, \
batch_size, replace_columns, embedding_dtype, embedding_zero_point
        As in ``.aesthetic.score``. The columns of `keep` and `override_column` are passthrough columns, too.
    rows_per_partition : int or None
        Row groups of a file, or record batches of a saved data set, are combined until a partition has at least this
        many rows; matrices are split into partitions of at most so many. None for a partition per file (with cuDF,
        whose columns hold at most 2,147,483,647 floats, for as few partitions as possible).
    storage_options : mapping, optional
        Options of the fsspec file system.
    embedding_hash : bool
        Add a column ``embedding_hash`` before the score, as of `score_dataset`, of Arrow's uint64; not with cuDF.
    format, matrix_key
        As of `score_dataset`. Bare matrices have the columns ``shard`` and ``row``. cuDF reads Parquet alone.
    text_column, text_key, similarity_column
        As of `score_dataset`: adds the similarity before the score, for `keep` to use; not with cuDF.

    Returns
    -------
    dask.dataframe.DataFrame
        The passthrough columns with their Arrow types, ``similarity`` if asked (float32), ``aesthetic_score`` (float32,
        NaN where a row has no usable embedding) and ``keep`` (bool); the index numbers the rows through all files.
        Columns that are not used are not read: without the score and ``keep``, embeddings are not read either. With
        Dask's ``dataframe.backend`` set to "cudf" the partitions are cuDF, read and scored on the GPU, which holds a
        partition's embeddings while it scores them; columns have the types that cuDF has for them.

    Raises
    ------
    InputError
        No files to read exist, a file is damaged, or a column's type differs between files.
    ColumnError, ThresholdError, PredictorError, ArgumentError
        As in ``.aesthetic.score``.
    InvalidEmbeddingError
        With ``on_invalid="raise"``, when it is computed; names the column, file, row in the file and reason.

    Examples
    --------
    >>> import tempfile, pandas as pd, pyarrow as pa
    >>> from pathlib import Path
    >>> from dask_aesthetic import read_and_score
    >>> embeddings = pd.array([[0.1] * 768, None, [2.0] * 768], dtype=pd.ArrowDtype(pa.list_(pa.float32())))
    >>> frame = pd.DataFrame({"key": ["a", "b", "c"], "image_embedding": embeddings})
    >>> file = Path(tempfile.mkdtemp()) / "0.parquet"
    >>> frame.to_parquet(file)
    >>> read_and_score(file, threshold=4.5).compute().round(3)
      key  aesthetic_score   keep
    0   a            4.883   True
    1   b              NaN  False
    2   c            4.883   True
    """
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
        None if embedding_dtype is None else embedding_zero_point,
        "" if text_column is None else similarity_column,
    )
    check_rows_per_partition(rows_per_partition)
    on_gpu = dask.config.get("dataframe.backend") == "cudf"
    if on_gpu and embedding_dtype is not None:
        raise ArgumentError("expected embedding_dtype with dataframe.backend 'pandas', got 'cudf', which has no bytes")
    max_rows = cudf.max_rows(spec.width) if on_gpu else None
    found = list_files(path, storage_options)
    layout = choose_format(found, path, format)
    if on_gpu and layout != "parquet":
        raise ArgumentError(f"expected Parquet files with dataframe.backend 'cudf', got the format {layout!r}")
    shards = find_shards(
        path,
        format=layout,
        embedding_column=embedding_column,
        key=matrix_key,
        text_column=text_column or "",
        text_key=text_key,
        rows_per_shard=rows_per_partition,
        found=found,
        storage_options=storage_options,
        embedding_dtype=embedding_dtype,
        zero_point=embedding_zero_point,
        into=partial(split.combine_row_groups, min_rows=rows_per_partition, max_rows=max_rows),
        partition_type=pa.string(),
    )
    warn_left_out(found, [file for shard in shards for file in shard.files])
    for one in shards:
        refuse_width(one.width, spec.predictor, embedding_column)
    texts = None
    if text_column is not None:
        texts = TextSide(
            SimilaritySpec(
                embedding_column, text_column, similarity_column, spec.width, on_invalid, spec.embedding_dtype
            ),
            spec.width,
        )
        texts.check(shards)
        if on_gpu:
            raise ArgumentError(
                "expected text_column with pandas partitions, got the backend 'cudf': dask.dataframe.read_parquet and "
                ".aesthetic.similarity compare on GPUs"
            )
    elif (text_key, similarity_column) != (TEXT_KEY, SIMILARITY_COLUMN):
        raise ArgumentError(
            f"expected text_column with text_key and similarity_column, got {text_key!r} and {similarity_column!r} "
            "alone"
        )
    schema = shards[0].schema.append(pa.field(embedding_column, shards[0].scored_type))
    columns = "ids" if columns is None else columns
    if columns == "ids" and shards[0].schema.names == LOCATION.names:
        columns = LOCATION.names
    names = parquet.choose_columns(schema, columns, embedding_column)
    if embedding_column in names:
        raise ColumnError(
            f"expected passthrough columns, got the embedding column {embedding_column!r}, which is not "
            "kept: leave it out, or use dask.dataframe.read_parquet and .aesthetic.score"
        )
    if embedding_hash and on_gpu:
        raise ArgumentError("expected embedding_hash=True with pandas partitions, got the backend 'cudf'")
    if columns == "all" and texts is not None:
        names = [name for name in names if name != texts.column]
    computed = [*([HASH_COLUMN] if embedding_hash else []), *([similarity_column] if texts is not None else [])]
    similarities = {similarity_column: pa.float32()} if texts is not None else {}
    spec.check_rule({**dict(zip(schema.names, schema.types, strict=True)), **similarities})
    names = [*names, *(name for name in spec.rule_columns if name not in similarities)]
    added = {
        **spec.added,
        **({"embedding_hash": HASH_COLUMN} if embedding_hash else {}),
        **({"similarity_column": similarity_column} if texts is not None else {}),
    }
    refuse_same_names(added)
    refuse_replacing(names, added, replace_columns)
    names = [name for name in dict.fromkeys(names) if name not in added.values()]
    passthrough = parquet.common_schema(((shard.files[-1], shard.schema) for shard in shards), names)
    shards = with_rows(shards)
    if on_gpu:
        for one in shards:
            cudf.check_type(one.scored_type, embedding_column)
        cudf.check_rows([one for one in shards if isinstance(one, ParquetShard)], spec.width)
        cudf.require()
        schema = cudf.cudf_schema(passthrough.append(pa.field(embedding_column, shards[0].scored_type)))
        frame = from_shards(READ_AND_SCORE, _read_cudf, shards, cudf.empty_frame(schema), schema=schema)
        scored = _scored(frame, embedding_column, _score_cudf, _Scoring(spec, shards, frame.divisions[:-1]))
        return scored[[*names, *spec.columns]]
    # The first score column at first holds nothing, then gets the scores. As in `frame.score`, Dask's optimizer drops
    # the Series if no score is used; and it drops an assignment only if the frame has a column that is not used,
    # which this column is.
    meta = empty_frame(passthrough.append(pa.field(spec.score_column, pa.null())))
    frame = from_shards(READ_AND_SCORE, _read, shards, meta, passthrough=passthrough)
    scoring = _Scoring(spec, shards, frame.divisions[:-1], embedding_hash, texts)
    if computed:
        return _scored(frame, spec.score_column, _score_and_more, scoring)[[*names, *computed, *spec.columns]]
    return _scored(frame, spec.score_column, _score, scoring)


def _scored(frame: dd.DataFrame, column: str, score: Callable[..., Any], scoring: _Scoring) -> dd.DataFrame:
    """Frame of shards with scores of a column, what is computed beside them, and keep; `scoring` is one graph key."""
    spec = scoring.spec
    key = f"read-and-score-{dask.base.tokenize(scoring)}"
    warn_after_compute()
    meta = empty_scores(frame._meta[column], spec)
    if score is _score_and_more:
        empty = np.empty(0, np.float32)
        meta = _with_more(meta, pa.nulls(0, pa.uint64()), empty, scoring)
    scores = frame[column].map_partitions(
        score,
        scoring=dask.delayed(scoring, name=key, pure=True, traverse=False),
        call=frame._name,
        meta=meta,
        token=SCORE_TASK,
    )
    more = {name: scores[name] for name in scoring.more}
    scored = frame.assign(**more, **ScoreColumns(spec).from_scores(scores))
    return scored if spec.keep_spec is None else add_keep(scored, spec.keep_column, spec.keep_spec)


def _read(shard: Shard, first: int, columns: list[str], passthrough: pa.Schema) -> pd.DataFrame:
    own = shard.read(pa.schema([field for field in passthrough if field.name in columns]))
    nothing: Any = pd.array(pa.nulls(shard.rows), dtype=pd.ArrowDtype(pa.null()))
    frame = to_pandas(own, first, shard.rows)
    return frame.assign(**{name: nothing for name in columns if name not in passthrough.names})[columns]


def _score(column: pd.Series, scoring: _Scoring, call: str) -> Any:
    spec = scoring.spec
    parts = [np.empty((len(spec.predictors), 0), np.float32)]
    if len(column):
        shard = scoring.shard_at(column.index[0])
        for scores, status, lists in row_scores(shard, spec, shard.files[0].name, shard.start):
            count_unusable(call, lists, spec, shard.column)(torch.from_numpy(status))
            parts.append(scores)
    return scores_of(np.concatenate(parts, axis=1), column.index, spec)


def _score_and_more(column: pd.Series, scoring: _Scoring, call: str) -> pd.DataFrame:
    """Frame of scores, hashes and similarities; what is read is read once, and not scored where it lies in pages."""
    spec, texts = scoring.spec, scoring.texts
    parts, hashes = [np.empty((len(spec.predictors), 0), np.float32)], [pa.nulls(0, pa.uint64())]
    similarities = [np.empty(0, np.float32)]
    if len(column):
        shard = scoring.shard_at(column.index[0])
        first, place = shard.start, shard.files[0].name
        for batch, lists in shard.batches([] if texts is None else [texts.column]):
            scores, status = score_array(lists, spec, shard.column, place, first)
            count_unusable(call, lists, spec, shard.column)(torch.from_numpy(status))
            parts.append(scores)
            if scoring.embedding_hash:
                hashes.append(hash_embeddings(lists, spec.width, status))
            if texts is not None:
                held = texts.lists(batch.column(texts.column))
                found, codes = texts.similarities(lists, held, place, first)
                count_unusable(call, held, texts.spec.score_spec(texts.width), texts.column)(torch.from_numpy(codes))
                similarities.append(found)
            first += len(status)
    scored = scores_of(np.concatenate(parts, axis=1), column.index, spec)
    return _with_more(scored, pa.concat_arrays(hashes), np.concatenate(similarities), scoring)


def _with_more(scores: Any, hashes: pa.Array, similarities: np.ndarray, scoring: _Scoring) -> pd.DataFrame:
    frame = scores if scores.ndim > 1 else scores.to_frame()
    more: dict[str, Any] = {}
    if scoring.embedding_hash:
        more[HASH_COLUMN] = pd.arrays.ArrowExtensionArray(pa.chunked_array([hashes]))
    if scoring.texts is not None:
        more[scoring.texts.spec.similarity_column] = similarities
    return frame.assign(**more)


def _read_cudf(shard: ParquetShard, first: int, columns: list[str], schema: pa.Schema) -> Any:
    """Read one cuDF partition with these columns of a schema; embeddings are read only if they are among them."""
    if not shard.rows:
        return cudf.empty_frame(schema)[columns]
    own = pa.schema([field for field in schema if field.name in columns and field.name != shard.column])
    with ThreadPoolExecutor(1) as thread:
        # pyarrow reads passthrough columns, beside cuDF, which would turn some into an index, and change types.
        table = thread.submit(shard.read, own)
        embeddings = cudf.read_embeddings(shard) if shard.column in columns else None
        frame = cudf.to_cudf(table.result(), first, shard.rows)
    if embeddings is not None:
        embeddings.index = frame.index
        frame[shard.column] = embeddings
    return frame[columns]


def _score_cudf(column: Any, scoring: _Scoring, call: str) -> Any:
    try:
        return score_column(column, scoring.spec, seen=count_unusable(call, column, scoring.spec, str(column.name)))
    except InvalidEmbeddingError as error:
        shard = scoring.shard_at(column.index[0])
        row = shard.start + error.row
        raise InvalidEmbeddingError(error.column, shard.files[0].name, row, None, error.reason, error.width) from None
