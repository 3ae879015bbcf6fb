"""Reader of the scores that a job has written."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import dask.dataframe as dd
import pandas as pd
import pyarrow as pa

from dask_aesthetic.io.listing import Source
from dask_aesthetic.provenance import Provenance
from dask_aesthetic.readers.partitions import empty_frame, from_shards, to_pandas
from dask_aesthetic.score_files import ScoreFile, find_scores


def read_scores(
    path: Source,
    columns: Sequence[str] | None = None,
    *,
    allow_unfinished: bool = False,
    storage_options: Mapping[str, Any] | None = None,
) -> dd.DataFrame:
    """Read the scores that a job has written, as a lazy Dask DataFrame that knows where they come from.

    ``.aesthetic.distribution``, ``calibrate`` and ``report``, and `filter_dataset`, then take predictor, scale,
    threshold and statuses from the files, and refuse another predictor or scale.

    Parameters
    ----------
    path : str, path, or list of them
        A folder of a job's output, a file of it or a glob; local, or an fsspec URL.
    columns : list of str, optional
        Columns to read; all if not given. Columns that are not used are not read.
    allow_unfinished : bool
        Take the files that are there of a job that is not finished, with a warning; otherwise it is an error.
    storage_options : mapping, optional
        Options of the fsspec file system.

    Returns
    -------
    dask.dataframe.DataFrame
        A partition per file, with Arrow columns and one running index from 0. What the files say of the scores is in
        its ``attrs``, which pandas hands on from frame to frame; it holds for the score column as it was read.

    Raises
    ------
    InputError
        There are no such files, they are of several predictors or scales, or the job that writes them is not finished.
    ColumnError
        A column is missing from a file.

    Examples
    --------
    >>> from dask_aesthetic import read_scores
    >>> scores = read_scores("scores/")  # doctest: +SKIP
    >>> scores.aesthetic.distribution().predictor  # doctest: +SKIP
    'laion-v2'
    """
    found = find_scores(
        path, storage_options, lambda names, _: names if columns is None else list(columns), allow_unfinished
    )
    meta = found.provenance.mark(empty_frame(found.schema))
    return from_shards("read_scores", _read, found.files, meta, schema=found.schema, provenance=found.provenance)


def _read(file: ScoreFile, first: int, columns: list[str], schema: pa.Schema, provenance: Provenance) -> pd.DataFrame:
    table = file.read(pa.schema([schema.field(name) for name in columns]))
    return provenance.mark(to_pandas(table, first, file.rows))
