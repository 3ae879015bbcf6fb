"""Check of the embeddings in files, as ``frame.aesthetic.check()`` does it for a frame."""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from itertools import islice
from typing import Any

import pandas as pd
import pyarrow as pa

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
    sum_each,
)
from dask_aesthetic.choices import EmbeddingDtype
from dask_aesthetic.defaults import PREDICTOR
from dask_aesthetic.errors import AestheticWarning, ColumnError, InputError
from dask_aesthetic.io import formats, parquet, split
from dask_aesthetic.io.empty_table import empty_table
from dask_aesthetic.io.listing import Source, list_files
from dask_aesthetic.io.shard import first_of_each
from dask_aesthetic.io.shards import Shard, find_shards
from dask_aesthetic.predictors import Predictor, Predictors, load_predictors
from dask_aesthetic.score_spec import ScoreSpec, refuse_width
from dask_aesthetic.validation import check_column_name

ROWS = 100_000  # Rows of a shard: a sample takes the first rows of each.
BATCHES = 16  # Batches that are measured together.


def check_dataset(
    source: Source,
    embedding_column: str = "image_embedding",
    *,
    sample: int | None = None,
    predictor: Predictors = PREDICTOR,
    format: str = "auto",  # noqa: A002
    storage_options: Mapping[str, Any] | None = None,
    embedding_dtype: EmbeddingDtype | None = None,
    embedding_zero_point: int | None = None,
    matrix_key: str | None = None,
) -> Check:
    """Check whether the embeddings in files can be scored, in one pass over them or over a sample.

    Parameters
    ----------
    source, format, storage_options
        As of `find_shards`.
    embedding_column, sample, predictor, embedding_dtype, embedding_zero_point
        As of ``frame.aesthetic.check()``; the zero point is that of matrices, too.
    matrix_key : str, optional
        As of `score_dataset`.

    Returns
    -------
    Check

    Raises
    ------
    InputError
        No files to read exist, or files are damaged or do not fit together.
    ColumnError
        A file has no such column.
    ArgumentError, PredictorError
    """
    loaded = load_predictors(predictor, together=False)
    check_column_name("embedding_column", embedding_column)
    sample, specs = check_sample(sample), [check_spec(one) for one in loaded.values()]
    found = list_files(source, storage_options)
    layout = formats.choose_format(found, source, format)
    if layout in formats.MATRICES:
        formats.warn_text_matrices(found)
    shards = find_shards(
        source,
        format=layout,
        embedding_column=embedding_column,
        key=matrix_key,
        rows_per_shard=ROWS,
        found=found,
        into=partial(split.combine_row_groups, min_rows=ROWS),
        check=_check_column,
        embedding_dtype=embedding_dtype,
        zero_point=embedding_zero_point,
    )
    formats.warn_left_out(found, [file for shard in shards for file in shard.files])
    _warn_unlike_columns(shards, embedding_column)
    empty = _empty(shards)
    refusal = find_refusal(empty, embedding_column)
    refusals = [refusal or _other_width(shards, one) for one in loaded.values()]
    chosen = [shards[at] for at in choose_partitions(len(shards), sample)]
    rows = rows_per_partition(sample, len(chosen))
    with ThreadPoolExecutor() as threads:
        parts = list(threads.map(partial(_measure, rows=rows, specs=specs), chosen, [True] + [False] * len(chosen)))
    total = measure_each([], sum(shard.rows for shard in shards), specs)
    candidates = tuple(name for name in embeddings.candidates(empty) if name != embedding_column)
    return Check.of_each(sum_each([total, *parts]), embedding_column, loaded, None, refusals, candidates)


def _warn_unlike_columns(shards: Sequence[Shard], embedding_column: str) -> None:
    """Warn of identifiers that have no common type, or that files lack: a job refuses them."""
    unlike = first_of_each(shards, lambda shard: id(shard.schema))
    names = parquet.choose_columns(shards[0].schema, "ids", embedding_column)
    try:
        parquet.common_schema([(shard.files[-1], shard.schema) for shard in unlike], names)
    except (ColumnError, InputError) as error:
        what = f"scoring these files together needs other columns than 'ids', by columns= (--columns): {error}"
        warnings.warn(what, AestheticWarning, stacklevel=3)


def _check_column(schema: pa.Schema, column: str) -> None:
    """Raise ColumnError unless the column exists; whether it holds embeddings is what the check says."""
    if column not in schema.names:
        raise ColumnError.missing(column, schema.names, embeddings.candidates(_frame(empty_table(schema))))
    parquet.refuse_repeated_name(schema, column)


def _empty(shards: Sequence[Shard]) -> pd.DataFrame:
    """Empty frame of the columns of the first shard whose embeddings have a type."""
    first = next((shard for shard in shards if not pa.types.is_null(shard.scored_type)), shards[0])
    others = [field for field in first.schema if field.name != first.column]
    return _frame(empty_table(pa.schema([*others, pa.field(first.column, first.scored_type)])))


def _other_width(shards: Sequence[Shard], predictor: Predictor) -> str | None:
    """Message of the error that a job raises for shards of another width by their type; None if there are none."""
    try:
        for shard in first_of_each((one for one in shards if one.rows), lambda one: one.scored_type):
            refuse_width(shard.width, predictor, shard.column, f" in shard {shard.name}")
    except ColumnError as error:
        return str(error)
    return None


def _frame(table: pa.Table) -> pd.DataFrame:
    frame: pd.DataFrame = table.to_pandas(types_mapper=pd.ArrowDtype, ignore_metadata=True)
    return frame


def _measure(shard: Shard, timed: bool, rows: int | None, specs: Sequence[ScoreSpec]) -> list[Statistics]:
    left = shard.rows if rows is None else min(rows, shard.rows)
    batches = shard.batches([], paged=left < shard.rows)
    parts = [measure_each([], 0, specs)]
    while left:
        lists = [values for _, values in islice(batches, BATCHES)]
        column = pd.Series(pd.arrays.ArrowExtensionArray(pa.chunked_array(lists)), name=shard.column)[:left]
        parts.append(measure_each([column], 0, specs, timed))
        timed, left = False, left - len(column)
    return sum_each(parts)
