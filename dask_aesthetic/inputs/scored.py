"""Parquet files as a Dask frame of scores: embeddings are scored while they are read, and never held."""

from __future__ import annotations

import os
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path

import dask.dataframe as dd
import numpy as np
import pandas as pd
import pyarrow as pa

from dask_aesthetic.errors import ColumnError
from dask_aesthetic.frame import graph_ready
from dask_aesthetic.inputs import parquet
from dask_aesthetic.inputs.partitions import Ranges, Span, check_rows, cut, from_spans, to_pandas
from dask_aesthetic.predictors import DEFAULT, Predictor
from dask_aesthetic.scoring import ScoreSpec, score_array
from dask_aesthetic.thresholds import Threshold

# Where a partition's embeddings lie: the same text on each row, stored once.
PLACE = pa.dictionary(pa.int8(), pa.string())


def read_scored(
    path: str | os.PathLike[str],
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
) -> dd.DataFrame:
    """Read Parquet files as a lazy Dask frame that holds scores in place of embeddings.

    The same scores as ``dd.read_parquet(path, dtype_backend="pyarrow").aesthetic.score()``, but the embedding column is
    scored and dropped batch by batch, so that a partition never holds it.

    Parameters
    ----------
    path : str or path
        A Parquet file, a folder of them (searched through) or a glob.
    columns : list of str, optional
        Columns to carry; if not given those of ids (key, uid, url, hash, id, image_path, in any case), all but the
        embedding if "all".
    embedding_column, predictor, threshold, scale, score_column, keep_column, on_invalid, batch_size
        As in ``.aesthetic.score``.
    rows_per_partition : int or None
        Row groups of a file are put together until a partition has so many rows; None for a partition per file.

    Returns
    -------
    dask.dataframe.DataFrame
        The carried columns with their Arrow types, ``aesthetic_score`` (float32, NaN where a row has no usable
        embedding) and ``keep`` (bool); the index numbers the rows through all files. What is not asked for is not
        read: without the score and ``keep`` neither are the embeddings.

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
    >>> from dask_aesthetic import read_scored
    >>> embeddings = pd.array([[0.1] * 768, None, [2.0] * 768], dtype=pd.ArrowDtype(pa.list_(pa.float32())))
    >>> frame = pd.DataFrame({"key": ["a", "b", "c"], "image_embedding": embeddings})
    >>> file = Path(tempfile.mkdtemp()) / "0.parquet"
    >>> frame.to_parquet(file)
    >>> read_scored(file, threshold=4.5).compute().round(3)
      key  aesthetic_score   keep
    0   a            4.883   True
    1   b              NaN  False
    2   c            4.883   True
    """
    spec = ScoreSpec.of(
        embedding_column, predictor, threshold, scale, score_column, keep_column, on_invalid, batch_size
    )
    check_rows(rows_per_partition)
    # Absolute, since workers may run elsewhere.
    files = [file.absolute() for file in parquet.find_files(os.fspath(path))]
    footers = [parquet.read_row_groups(file) for file in files]
    for schema, _ in footers:
        parquet.check_embedding(schema, embedding_column)
    names = parquet.choose_columns(footers[0][0], "ids" if columns is None else columns, embedding_column)
    if embedding_column in names:
        raise ColumnError(
            f"expected columns to carry beside the scores, got the embedding column {embedding_column!r}, which is not "
            "kept: leave it out, or use dask.dataframe.read_parquet and .aesthetic.score"
        )
    names = [name for name in dict.fromkeys(names) if name not in (score_column, keep_column)]
    carried = parquet.common_schema(zip(files, (schema for schema, _ in footers), strict=True), names)
    stamped = [(str(file), file.stat().st_mtime_ns) for file in files]
    sources, spans = cut(stamped, [_whole_groups(groups, rows_per_partition) for _, groups in footers])
    # The score's column first says where to score, then is assigned the scores. As in `frame.score`, a Series is what
    # Dask leaves out where no score is asked for; and it leaves an assignment out only where the frame has a column
    # more than is asked for, which this one is.
    frame = from_spans(_read, sources, spans, carried.append(pa.field(score_column, PLACE)), carried=carried)
    meta = pd.Series([], dtype="float32", name=score_column, index=frame._meta.index)
    scores = frame[score_column].map_partitions(_score, embedding_column, spec=graph_ready(spec), meta=meta)
    return frame.assign(**{score_column: scores, keep_column: scores >= spec.threshold.cut})


def _whole_groups(groups: list[int], least: int | None) -> Ranges:
    cuts, rows = [0], 0
    for group in groups:
        rows += group
        if least is not None and rows - cuts[-1] >= least:
            cuts.append(rows)
    if rows > cuts[-1]:
        cuts.append(rows)
    return list(pairwise(cuts))


def _read(source: tuple[str, int], span: Span, columns: list[str], carried: pa.Schema) -> pd.DataFrame:
    file = source[0]
    wanted = pa.schema([field for field in carried if field.name in columns])
    table = parquet.read_rows(Path(file), wanted, span.start, span.stop) if wanted.names else None
    for name in columns:
        if name not in carried.names:
            indices = pa.array(np.zeros(len(span), np.int8))
            places = pa.DictionaryArray.from_arrays(indices, pa.array([f"{span.start} {file}"]))
            table = pa.table({name: places}) if table is None else table.append_column(name, places)
    return to_pandas(table, span)


def _score(places: pd.Series, embedding_column: str, spec: ScoreSpec) -> pd.Series:
    parts = [np.empty(0, np.float32)]
    if len(places):
        first, _, name = places.iloc[0].partition(" ")
        start, file = int(first), Path(name)
        at, stop = start, start + len(places)
        for batch in parquet.batches(file, [embedding_column], start, stop):
            if not batch.num_columns:
                break
            parts.append(score_array(batch.column(0), spec, embedding_column, file.name, at)[0])
            at += len(batch)
        if at != stop:
            raise parquet.changed(file, start, stop, at - start)
    return pd.Series(np.concatenate(parts), index=places.index, name=spec.score_column, copy=False)
