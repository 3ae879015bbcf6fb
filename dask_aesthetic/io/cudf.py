"""Embeddings of Parquet files as cuDF columns, and the types that cuDF has for other columns."""

from __future__ import annotations

from collections.abc import Sequence
from importlib.util import find_spec
from typing import TYPE_CHECKING

import pyarrow as pa
import torch

from dask_aesthetic.embeddings.arrow import is_without_values
from dask_aesthetic.embeddings.axes import list_storage
from dask_aesthetic.errors import ArgumentError, ColumnError, InputError, MissingDependencyError, first_line
from dask_aesthetic.io import parquet
from dask_aesthetic.io.empty_table import empty_table
from dask_aesthetic.io.shards import ParquetShard

if TYPE_CHECKING:
    import cudf


def require() -> None:
    """Raise MissingDependencyError unless cuDF is installed."""
    if find_spec("cudf") is None:
        raise MissingDependencyError("cudf", "cuda13", "dask.config's dataframe.backend='cudf'")


def check_type(dtype: pa.DataType, column: str) -> None:
    """Raise ColumnError for embeddings other than flat lists of float32, float64 or integers: cuDF has no float16."""
    value = getattr(list_storage(dtype), "value_type", None)
    is_read = value in (pa.float32(), pa.float64()) or (value is not None and pa.types.is_integer(value))
    if not is_read and not is_without_values(dtype):
        raise ColumnError(
            f"expected lists of float32, float64 or integers in column {column!r} for cuDF, which has no float16, got "
            f"{dtype}: "
            "read it under dask.config.set({'dataframe.backend': 'pandas'}), which scores on the CPU"
        )


def max_rows(width: int) -> int:
    """Maximum rows of a cuDF column of lists of `width` floats."""
    return (2**31 - 1) // width


def check_rows(shards: Sequence[ParquetShard], width: int) -> None:
    """Raise InputError for row groups of more rows than a cuDF column can hold."""
    for shard in shards:
        if shard.rows > max_rows(width):
            raise InputError(
                f"expected row groups of at most {max_rows(width):,} rows in {shard.file.name} for cuDF, whose "
                f"columns hold at most 2,147,483,647 floats, got one of {shard.rows:,}: write smaller ones, or read it "
                "under dask.config.set({'dataframe.backend': 'pandas'}), which scores on the CPU"
            )


def read_embeddings(shard: ParquetShard) -> cudf.Series:
    """Read the embeddings of a shard.

    Raises
    ------
    InputError
        The file has changed since the shard was found.
    """
    import cudf

    footer = parquet.read_footer(shard.file)
    is_typed = not is_without_values(shard.type)
    # cuDF would fetch a whole remote file for every partition, and misreads RangeIndex metadata with a step.
    if not is_typed or not shard.file.is_local or _has_steps(footer.schema):
        value_type = footer.schema.field(shard.column).type.value_type if is_typed else pa.float32()
        schema = pa.schema([pa.field(shard.column, pa.list_(value_type))])
        return cudf.Series.from_arrow(shard.read(schema)[shard.column])
    frame = cudf.read_parquet(
        shard.file.path,
        columns=[shard.column],
        row_groups=[parquet.row_groups_of(footer, shard.start, shard.stop)],
        use_pandas_metadata=False,
        dataset_kwargs={"partitioning": None},  # Hive partition columns would replace the file's own.
    )
    if len(frame) != shard.rows or shard.column not in frame.columns:
        raise shard.changed(f"{len(frame):,} or other columns")
    return frame[shard.column]


def empty_frame(schema: pa.Schema) -> cudf.DataFrame:
    """Empty cuDF frame of a `cudf_schema`: the meta of a Dask frame, for which cuDF needs a GPU.

    Raises
    ------
    ArgumentError
        This process has no GPU, as on the login node of a cluster.
    """
    try:
        return to_cudf(empty_table(schema), 0, 0)
    except Exception as error:  # The driver, the runtime and RMM have errors of their own.
        if isinstance(error, ImportError) or torch.cuda.is_available():
            raise
        raise ArgumentError(
            "expected a GPU in the process that plans under dask.config.set({'dataframe.backend': 'cudf'}), since cuDF "
            f"makes even empty frames there, got none ({first_line(error)}). Run the program on a node with a GPU, one "
            "of the workers' or a small one, for instance as a job of the cluster"
        ) from error


def to_cudf(table: pa.Table, first: int, rows: int) -> cudf.DataFrame:
    """Convert an Arrow table of a `cudf_schema` to a cuDF frame whose index labels begin with `first`."""
    import cudf

    index = cudf.RangeIndex(first, first + rows)
    if not table.num_columns:
        return cudf.DataFrame(index=index)
    frame = cudf.DataFrame.from_arrow(table)
    frame.index = index
    return frame


def cudf_schema(schema: pa.Schema) -> pa.Schema:
    """Schema of passthrough columns with the types that cuDF has for them.

    Raises
    ------
    ColumnError
        cuDF has no type for a column.
    """
    return pa.schema([pa.field(field.name, _cudf_type(field.type, field.name)) for field in schema])


def _cudf_type(dtype: pa.DataType, name: str) -> pa.DataType:
    types = pa.types
    if types.is_dictionary(dtype):
        return _cudf_type(dtype.value_type, name)
    if types.is_large_string(dtype) or types.is_string_view(dtype) or types.is_null(dtype):
        return pa.string()
    if types.is_list(dtype) or types.is_large_list(dtype) or types.is_fixed_size_list(dtype):
        return pa.list_(_cudf_type(dtype.value_type, name))
    if types.is_struct(dtype):
        return pa.struct([pa.field(field.name, _cudf_type(field.type, name)) for field in dtype])
    if types.is_float16(dtype):
        return pa.float32()
    if types.is_date(dtype):
        return pa.timestamp("s")
    simple = types.is_integer(dtype) or types.is_floating(dtype) or types.is_boolean(dtype) or types.is_string(dtype)
    known_zone = types.is_timestamp(dtype) and not (dtype.tz or "").startswith(("+", "-"))  # cuDF has no fixed offsets.
    if simple or known_zone or types.is_decimal128(dtype) or types.is_duration(dtype):
        return dtype
    raise ColumnError(
        f"expected passthrough columns that cuDF has a type for, got {dtype} in {name!r}: leave it out by "
        "columns=[...], or read it under dask.config.set({'dataframe.backend': 'pandas'}), which scores on the CPU"
    )


def _has_steps(schema: pa.Schema) -> bool:
    """Whether pandas wrote the file with a RangeIndex whose step is not 1."""
    index = (schema.pandas_metadata or {}).get("index_columns", [])
    return any(isinstance(one, dict) and one.get("step", 1) != 1 for one in index)
