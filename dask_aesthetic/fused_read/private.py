"""All names of Dask that are used and not public. Where one is missing, frames are computed partition by partition."""

from __future__ import annotations

from typing import Any

import dask

try:
    from dask._task_spec import Task
    from dask.dataframe import methods
    from dask.dataframe.dask_expr._collection import new_collection
    from dask.dataframe.dask_expr._expr import (
        Assign,
        Blockwise,
        Elemwise,
        Expr,
        Filter,
        Head,
        Projection,
        RenameFrame,
        determine_column_projection,
    )
    from dask.dataframe.dask_expr.io import (
        BlockwiseIO,
        FusedIO,
        FusedParquetIO,
        ReadParquetFSSpec,
        ReadParquetPyarrowFS,
    )
    from dask.dataframe.io.parquet.arrow import ArrowDatasetEngine, _need_filtering
    from dask.dataframe.io.parquet.core import ParquetFunctionWrapper

    _USED: dict[Any, tuple[str, ...]] = {
        Expr: ("_tune_down", "_tune_up", "_lower", "_simplify_up", "_task", "walk", "substitute"),
        Blockwise: ("_divisions", "_broadcast_dep"),
        FusedIO: ("_fusion_buckets", "_task"),
        FusedParquetIO: ("_load_multiple_files",),
        ReadParquetFSSpec: ("_plan", "_io_func", "_dataset_info", "_partitions", "engine"),
        ReadParquetPyarrowFS: (
            "_filtered_task",
            "_dataset_info",
            "_partitions",
            "_fragment_to_table",
            "_table_to_pandas",
            "fs",
        ),
        ArrowDatasetEngine: ("_read_table",),
        ParquetFunctionWrapper: ("project_columns", "__call__"),
    }
    MISSING = [
        f"{owner.__name__}.{name}" for owner, names in _USED.items() for name in names if not hasattr(owner, name)
    ]
except ImportError as error:  # pragma: no cover
    MISSING = [str(error)]


def is_on() -> bool:
    """Whether embeddings may be computed with while Dask reads, by its private names and its config."""
    return not MISSING and bool(dask.config.get("aesthetic.fuse-read", True))


__all__ = [
    "MISSING",
    "ArrowDatasetEngine",
    "Assign",
    "BlockwiseIO",
    "Elemwise",
    "Expr",
    "Filter",
    "FusedIO",
    "FusedParquetIO",
    "Head",
    "ParquetFunctionWrapper",
    "Projection",
    "ReadParquetFSSpec",
    "ReadParquetPyarrowFS",
    "RenameFrame",
    "Task",
    "_need_filtering",
    "determine_column_projection",
    "is_on",
    "methods",
    "new_collection",
]
