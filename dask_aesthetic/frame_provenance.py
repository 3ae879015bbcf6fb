"""Provenance of the scores in a frame: of `read_scores`, or read by Dask from files that name it."""

from __future__ import annotations

from typing import Any

import dask.dataframe as dd

from dask_aesthetic.fused_read.private import MISSING

if not MISSING:
    from dask_aesthetic.fused_read.private import Filter, Head, Projection, ReadParquetFSSpec, ReadParquetPyarrowFS

from dask_aesthetic.provenance import Provenance


def find_provenance(frame: Any, score_column: str) -> Provenance:
    """Provenance of a column of scores; empty where nothing is known.

    A Dask frame of `read_parquet` is recognized as long as nothing but rows and columns was selected since: in its
    expression a column that was computed or replaced shows. A pandas frame shows no such thing, and is known only if
    `read_scores` made it.

    Raises
    ------
    InputError
        The files are of several predictors or scales.
    """
    known = Provenance.of_frame(frame, score_column)
    if known.record or MISSING or not isinstance(frame, dd.DataFrame):
        return known
    reader = frame.expr
    while isinstance(reader, Projection | Filter | Head):
        reader = reader.frame
    if not isinstance(reader, ReadParquetFSSpec | ReadParquetPyarrowFS) or score_column not in frame.columns:
        return known
    info = reader._dataset_info
    if isinstance(reader, ReadParquetPyarrowFS):
        fragments = [one.fragment for one in info["fragments"]]
    else:
        fragments = list(info["ds"].get_fragments())
    found = Provenance.of_files([(str(one.path), one.physical_schema) for one in fragments]).of_score(score_column)
    columns = {role: name for role, name in found.columns.items() if name in frame.columns}
    return Provenance(found.record, columns) if columns.get("score_column") == score_column else known
