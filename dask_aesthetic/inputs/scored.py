"""Parquet files as a Dask frame of scores: embeddings are scored while they are read, and never held."""

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

from dask_aesthetic.embeddings.arrow import type_width
from dask_aesthetic.errors import ColumnError
from dask_aesthetic.frame import graph_ready
from dask_aesthetic.inputs import cudf, hive, parquet
from dask_aesthetic.inputs.file import File
from dask_aesthetic.inputs.files import Source, find_files
from dask_aesthetic.inputs.layouts import look_at_all
from dask_aesthetic.inputs.partitions import Ranges, Span, check_rows, cut, from_spans, meta_of, to_pandas
from dask_aesthetic.predictors import DEFAULT, Predictor
from dask_aesthetic.scoring import ScoreSpec, refuse_replacing, refuse_width, score_array
from dask_aesthetic.thresholds import Threshold
from dask_aesthetic.unusable import count_in, watch

# Where a partition's embeddings lie: the same text on each row, stored once.
PLACE = pa.dictionary(pa.int8(), pa.string())


@dataclass(frozen=True)
class Table:
    """A Parquet file, and the columns in the names of its folders."""

    file: File
    folders: hive.Partitions


def read_and_score(
    path: Source,
    columns: str | Sequence[str] | None = None,
    *,
    embedding_column: str = "image_embedding",
    predictor: str | os.PathLike[str] | Predictor = DEFAULT,
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
    """Read Parquet files as a lazy Dask frame that holds scores in place of embeddings.

    The same scores as ``dd.read_parquet(path, dtype_backend="pyarrow").aesthetic.score()``, but the embedding column is
    scored and dropped batch by batch, so that a partition never holds it.

    Parameters
    ----------
    path : str, path, or list of them
        A Parquet file, a folder of them (searched through) or a glob; here, or an fsspec URL.
    columns : list of str, optional
        Columns to carry; if not given those of ids (key, uid, url, hash, id, image_path, in any case), all but the
        embedding if "all". Folders called ``lang=en`` make a column ``lang`` of strings, which can be asked for by
        name and comes with "all".
    embedding_column, predictor, threshold, scale, score_column, keep_column, on_invalid, batch_size, replace_columns
        As in ``.aesthetic.score``.
    rows_per_partition : int or None
        Row groups of a file are put together until a partition has so many rows; None for a partition per file (with
        cuDF, whose columns hold at most 2,147,483,647 floats, for as few as can be).
    storage_options : mapping, optional
        For fsspec.

    Returns
    -------
    dask.dataframe.DataFrame
        The carried columns with their Arrow types, ``aesthetic_score`` (float32, NaN where a row has no usable
        embedding) and ``keep`` (bool); the index numbers the rows through all files. What is not asked for is not
        read: without the score and ``keep`` neither are the embeddings. With Dask's ``dataframe.backend`` set to
        "cudf" the partitions are cuDF, read and scored on the GPU, where a partition's embeddings are held while it is
        scored; columns have the types that cuDF has for them.

    Raises
    ------
    InputError
        There is nothing to read, a file is damaged, or a column's type differs between files.
    ColumnError, ThresholdError, PredictorError, ArgumentError
        As in ``.aesthetic.score``.
    InvalidEmbeddingError
        Under ``on_invalid="raise"``, with file, row in the file and reason; lazily.

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
    footers = look_at_all([file for file, _ in found], parquet.read_footer)
    for footer in footers:
        parquet.check_embedding(footer.schema, embedding_column)
        refuse_width(type_width(footer.schema.field(embedding_column).type), spec.predictor, embedding_column)
    tables = [Table(one[0], hive.of_file(one, footer.schema)) for one, footer in zip(found, footers, strict=True)]
    schemas = [
        hive.extended(footer.schema, table.folders, pa.string()) for table, footer in zip(tables, footers, strict=True)
    ]
    names = parquet.choose_columns(schemas[0], "ids" if columns is None else columns, embedding_column)
    if embedding_column in names:
        raise ColumnError(
            f"expected columns to carry beside the scores, got the embedding column {embedding_column!r}, which is not "
            "kept: leave it out, or use dask.dataframe.read_parquet and .aesthetic.score"
        )
    refuse_replacing(names, spec.added, replace_columns)
    names = [name for name in dict.fromkeys(names) if name not in spec.added.values()]
    carried = parquet.common_schema(zip((file for file, _ in found), schemas, strict=True), names)
    on_gpu = dask.config.get("dataframe.backend") == "cudf"
    most = cudf.most_rows(spec.predictor.width) if on_gpu else None
    sources, spans = cut(tables, [_whole_groups(footer.groups, rows_per_partition, most) for footer in footers])
    if on_gpu:
        for footer in footers:
            cudf.check_type(footer.schema.field(embedding_column).type, embedding_column)
        cudf.check_spans(sources, spans, spec.predictor.width)
        return cudf.read_spans(sources, spans, carried, embedding_column, spec)
    # The score's column first says where to score, then is assigned the scores. As in `frame.score`, a Series is what
    # Dask leaves out where no score is asked for; and it leaves an assignment out only where the frame has a column
    # more than is asked for, which this one is.
    frame = from_spans(_read, sources, spans, meta_of(carried.append(pa.field(score_column, PLACE))), carried=carried)
    meta = pd.Series([], dtype="float32", name=score_column, index=frame._meta.index)
    watch()
    scores = frame[score_column].map_partitions(
        _score,
        embedding_column,
        spec=graph_ready(spec),
        options=storage_options or {},
        call=frame._name,
        meta=meta,
    )
    return frame.assign(**{score_column: scores, keep_column: scores >= spec.threshold.cut})


def _whole_groups(groups: list[int], least: int | None, most: int | None) -> Ranges:
    cuts, rows = [0], 0
    for group in groups:
        if most is not None and rows > cuts[-1] and rows + group - cuts[-1] > most:
            cuts.append(rows)
        rows += group
        if least is not None and rows - cuts[-1] >= least:
            cuts.append(rows)
    if rows > cuts[-1]:
        cuts.append(rows)
    return list(pairwise(cuts))


def _read(table: Table, span: Span, columns: list[str], carried: pa.Schema) -> pd.DataFrame:
    folders = dict(table.folders)
    own = pa.schema([field for field in carried if field.name in columns and field.name not in folders])
    read = parquet.read_rows(table.file, own, span.start, span.stop) if own.names else None
    made = {name: hive.constant(folders[name], len(span), pa.string()) for name in columns if name in folders}
    for name in columns:
        if name not in carried.names:
            made[name] = pa.DictionaryArray.from_arrays(
                pa.array(np.zeros(len(span), np.int8)), pa.array([_told(table.file, span.start)])
            )
    for name, values in made.items():
        read = pa.table({name: values}) if read is None else read.append_column(name, values)
    return to_pandas(read, span)[columns]


def _score(
    places: pd.Series, embedding_column: str, spec: ScoreSpec, options: Mapping[str, Any], call: str
) -> pd.Series:
    parts = [np.empty(0, np.float32)]
    if len(places):
        file, start = _understood(places.iloc[0], options)
        at, stop = start, start + len(places)
        for batch in parquet.batches(file, [embedding_column], start, stop):
            if not batch.num_columns:
                break
            scores, status = score_array(batch.column(0), spec, embedding_column, file.name, at)
            count_in(call, batch.column(0), spec, embedding_column)(torch.from_numpy(status))
            parts.append(scores)
            at += len(batch)
        if at != stop:
            raise parquet.changed(file, start, stop, at - start)
    return pd.Series(np.concatenate(parts), index=places.index, name=spec.score_column, copy=False)


def _told(file: File, start: int) -> str:
    return f"{start} {file.size} {file.path}"


def _understood(place: str, options: Mapping[str, Any]) -> tuple[File, int]:
    start, size, path = place.split(" ", 2)
    return File(path, int(size), "", options), int(start)
