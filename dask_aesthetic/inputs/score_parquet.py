"""Reader of Parquet files that scores the embeddings while it reads them, and never holds the column."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import dask
import dask.dataframe as dd
import numpy as np
import pandas as pd
import pyarrow as pa
import torch

from dask_aesthetic.defaults import PREDICTOR
from dask_aesthetic.embeddings.arrow import type_width
from dask_aesthetic.errors import ColumnError
from dask_aesthetic.frame import graph_ready
from dask_aesthetic.inputs import cudf, hive, parquet
from dask_aesthetic.inputs.file import File
from dask_aesthetic.inputs.files import Source, find_files
from dask_aesthetic.inputs.layouts import inspect_all
from dask_aesthetic.inputs.partitions import (
    Ranges,
    Span,
    check_rows,
    empty_frame,
    from_spans,
    partition_spans,
    to_pandas,
)
from dask_aesthetic.inputs.row_scores import row_scores
from dask_aesthetic.predictors import Predictor
from dask_aesthetic.scoring import ScoreSpec, refuse_replacing, refuse_width
from dask_aesthetic.thresholds import Threshold
from dask_aesthetic.warn_unusable import count_unusable, warn_after_compute

# Location of a partition's embeddings: a constant text column, stored once.
_LOCATION_TYPE = pa.dictionary(pa.int8(), pa.string())


@dataclass(frozen=True)
class Table:
    """A Parquet file and its hive partition columns."""

    file: File
    folders: hive.Partitions


def read_and_score(
    path: Source,
    columns: str | Sequence[str] | None = None,
    *,
    embedding_column: str = "image_embedding",
    predictor: str | os.PathLike[str] | Predictor = PREDICTOR,
    threshold: float | str | Threshold = "standard",
    scale: str = "raw",
    score_column: str = "aesthetic_score",
    keep_column: str = "keep",
    on_invalid: str = "null",
    batch_size: int | None = None,
    rows_per_partition: int | None = 100_000,
    storage_options: Mapping[str, Any] | None = None,
    replace_columns: bool = False,
) -> dd.DataFrame:
    """Read Parquet files and score their embeddings, as a lazy Dask DataFrame of scores without the embedding column.

    Scores equal those of ``dd.read_parquet(path, dtype_backend="pyarrow").aesthetic.score()``, but the embedding column
    is scored and dropped batch by batch, so that a partition never holds it.

    Parameters
    ----------
    path : str, path, or list of them
        A Parquet file, a folder of them (searched recursively) or a glob; local, or an fsspec URL.
    columns : list of str, optional
        Passthrough columns; default: id columns (key, uid, url, hash, id, image_path, in any case). "all" takes all but
        the embedding column. Hive folders such as ``lang=en`` make a string column ``lang``, which can be named and
        is among "all".
    embedding_column, predictor, threshold, scale, score_column, keep_column, on_invalid, batch_size, replace_columns
        As in ``.aesthetic.score``.
    rows_per_partition : int or None
        Row groups of a file are combined until a partition has at least this many rows; None for a partition per file
        (with cuDF, whose columns hold at most 2,147,483,647 floats, for as few partitions as possible).
    storage_options : mapping, optional
        Options of the fsspec file system.

    Returns
    -------
    dask.dataframe.DataFrame
        The passthrough columns with their Arrow types, ``aesthetic_score`` (float32, NaN where a row has no usable
        embedding) and ``keep`` (bool); the index numbers the rows through all files. Columns that are not used are not
        read: without the score and ``keep``, embeddings are not read either. With Dask's ``dataframe.backend`` set to
        "cudf" the partitions are cuDF, read and scored on the GPU, which holds a partition's embeddings while it scores
        them; columns have the types that cuDF has for them.

    Raises
    ------
    InputError
        No files to read exist, a file is damaged, or a column's type differs between files.
    ColumnError, ThresholdError, PredictorError, ArgumentError
        As in ``.aesthetic.score``.
    InvalidEmbeddingError
        With ``on_invalid="raise"``, when it is computed; names the file, the row in the file and the reason.

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
        embedding_column, predictor, threshold, scale, score_column, keep_column, on_invalid, batch_size
    )
    check_rows(rows_per_partition)
    found = find_files(path, ".parquet", storage_options)
    footers = inspect_all([file for file, _ in found], parquet.read_footer)
    for footer in footers:
        parquet.check_embedding(footer.schema, embedding_column)
        refuse_width(type_width(footer.schema.field(embedding_column).type), spec.predictor, embedding_column)
    tables = [
        Table(one[0], hive.partitions_of_file(one, footer.schema)) for one, footer in zip(found, footers, strict=True)
    ]
    schemas = [
        hive.add_partition_fields(footer.schema, table.folders, pa.string())
        for table, footer in zip(tables, footers, strict=True)
    ]
    names = parquet.choose_columns(schemas[0], "ids" if columns is None else columns, embedding_column)
    if embedding_column in names:
        raise ColumnError(
            f"expected passthrough columns, got the embedding column {embedding_column!r}, which is not "
            "kept: leave it out, or use dask.dataframe.read_parquet and .aesthetic.score"
        )
    refuse_replacing(names, spec.added, replace_columns)
    names = [name for name in dict.fromkeys(names) if name not in spec.added.values()]
    passthrough = parquet.common_schema(zip((file for file, _ in found), schemas, strict=True), names)
    on_gpu = dask.config.get("dataframe.backend") == "cudf"
    max_rows = cudf.max_rows(spec.predictor.width) if on_gpu else None
    sources, spans = partition_spans(
        tables, [_combine_row_groups(footer.groups, rows_per_partition, max_rows) for footer in footers]
    )
    if on_gpu:
        for footer in footers:
            cudf.check_type(footer.schema.field(embedding_column).type, embedding_column)
        cudf.check_spans(sources, spans, spec.predictor.width)
        return cudf.read_spans(sources, spans, passthrough, embedding_column, spec)
    # The score column first holds locations, then is assigned the scores. As in `frame.score`, Dask's optimizer drops
    # the Series if no score is used; and it drops an assignment only if the frame has a column that is not used,
    # which this column is.
    frame = from_spans(
        _read,
        sources,
        spans,
        empty_frame(passthrough.append(pa.field(score_column, _LOCATION_TYPE))),
        passthrough=passthrough,
    )
    meta = pd.Series([], dtype="float32", name=score_column, index=frame._meta.index)
    warn_after_compute()
    scores = frame[score_column].map_partitions(
        _score,
        embedding_column,
        spec=graph_ready(spec),
        options=storage_options or {},
        call=frame._name,
        meta=meta,
    )
    return frame.assign(**{score_column: scores, keep_column: scores >= spec.threshold.cut})


def _combine_row_groups(groups: list[int], min_rows: int | None, max_rows: int | None) -> Ranges:
    edges, rows = [0], 0
    for group in groups:
        if max_rows is not None and rows > edges[-1] and rows + group - edges[-1] > max_rows:
            edges.append(rows)
        rows += group
        if min_rows is not None and rows - edges[-1] >= min_rows:
            edges.append(rows)
    if rows > edges[-1]:
        edges.append(rows)
    return list(pairwise(edges))


def _read(table: Table, span: Span, columns: list[str], passthrough: pa.Schema) -> pd.DataFrame:
    folders = dict(table.folders)
    own = pa.schema([field for field in passthrough if field.name in columns and field.name not in folders])
    read = parquet.read_rows(table.file, own, span.start, span.stop) if own.names else None
    arrays = {name: hive.constant(folders[name], len(span), pa.string()) for name in columns if name in folders}
    for name in columns:
        if name not in passthrough.names:
            arrays[name] = pa.DictionaryArray.from_arrays(
                pa.array(np.zeros(len(span), np.int8)), pa.array([_encode_location(table.file, span.start)])
            )
    for name, values in arrays.items():
        read = pa.table({name: values}) if read is None else read.append_column(name, values)
    return to_pandas(read, span)[columns]


def _score(
    locations: pd.Series, embedding_column: str, spec: ScoreSpec, options: Mapping[str, Any], call: str
) -> pd.Series:
    parts = [np.empty(0, np.float32)]
    if len(locations):
        file, start = _decode_location(locations.iloc[0], options)
        at, stop = start, start + len(locations)
        for scores, status, lists in row_scores(file, embedding_column, spec, start, stop, file.name):
            count_unusable(call, lists, spec, embedding_column)(torch.from_numpy(status))
            parts.append(scores)
            at += len(scores)
        if at != stop:
            raise parquet.changed_error(file, start, stop, at - start)
    return pd.Series(np.concatenate(parts), index=locations.index, name=spec.score_column, copy=False)


def _encode_location(file: File, start: int) -> str:
    return f"{start} {file.size} {file.path}"


def _decode_location(location: str, options: Mapping[str, Any]) -> tuple[File, int]:
    start, size, path = location.split(" ", 2)
    return File(path, int(size), "", options), int(start)
