"""Columns computed from embeddings while Dask reads Parquet files, where a frame allows it.

Of a frame that comes straight from `dask.dataframe.read_parquet`, embeddings need not become a dataframe column, only
to be computed with and dropped. `add_columns` puts one expression, `AestheticColumns`, over the frame. When Dask
optimizes, it becomes part of the reader (`ReadAestheticColumns`), which has the same partitions, row groups and other
columns; or else the graph that computes the columns from partitions that hold the embeddings. The config value
``aesthetic.fuse-read`` switches it off.
"""

from __future__ import annotations

from typing import Any

from dask_aesthetic.frame_columns import EmbeddingColumns
from dask_aesthetic.fused_read.private import is_on


def add_columns(frame: Any, embedding_column: str, columns: EmbeddingColumns) -> Any:
    """Dask frame with columns that are computed from an embedding column.

    Parameters
    ----------
    frame : dask.dataframe.DataFrame
    embedding_column : str
    columns : EmbeddingColumns
        They replace columns of the frame that have their names.
    """
    if is_on():
        from dask_aesthetic.fused_read.expression import computed

        found = computed(frame, embedding_column, columns)
        if found is not None:
            return found
    return frame.assign(**columns.from_partitions(frame, embedding_column))
