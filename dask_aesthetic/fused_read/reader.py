"""Dask's Parquet readers, with values that are computed from the embeddings in their place."""

from __future__ import annotations

import functools
from typing import Any, ClassVar

import fsspec
import pyarrow as pa
from fsspec.implementations.local import LocalFileSystem

from dask_aesthetic.embeddings.axes import flat_type, list_storage
from dask_aesthetic.frame_columns import EmbeddingColumns
from dask_aesthetic.fused_read.partition import Fragments, FsspecParts, GpuParts, ReadPartition
from dask_aesthetic.fused_read.private import (
    ArrowDatasetEngine,
    BlockwiseIO,
    FusedIO,
    Projection,
    ReadParquetFSSpec,
    ReadParquetPyarrowFS,
    Task,
)
from dask_aesthetic.predictors import AffinePredictor


class ReadAestheticColumns(BlockwiseIO):
    """Columns of a Parquet reader, with computed values in place of the embeddings, which become no column.

    Parameters
    ----------
    reader : Expr
        The reader with all its columns.
    like : Expr
        The reader as Dask tunes it: itself, or fused, so that a partition reads several parts. What else stands over
        the same reader is fused in this way, and partitions stay side by side.
    read_name, embedding_column : str
        Name of the embeddings in the reader and above it, for errors.
    computed : EmbeddingColumns
    """

    _pickle_functools_cache = False
    _parameters: ClassVar[list[str]] = ["reader", "like", "read_name", "embedding_column", "computed"]

    def dependencies(self) -> list[Any]:
        return []  # The readers are read by the tasks of this.

    @functools.cached_property
    def _name(self) -> str:
        return f"{self.computed.read_name}-{self.deterministic_token}"

    @functools.cached_property
    def _meta(self) -> Any:
        meta = self.reader._meta
        return meta.assign(**{self.read_name: self.computed.empty(meta[self.read_name])})

    def _divisions(self) -> tuple[Any, ...]:
        return self.like.divisions

    def _tune_up(self, parent: Any) -> None:  # noqa: ARG002
        return None

    @functools.cached_property
    def _others(self) -> Any:
        """The reader without the embeddings."""
        names = [name for name in self.reader.columns if name != self.read_name]
        return self.reader.substitute_parameters({"columns": names})

    @functools.cached_property
    def _parts(self) -> list[list[int]]:
        """Numbers of the parts that each partition reads."""
        if isinstance(self.like, FusedIO):
            return [list(parts) for parts in self.like._fusion_buckets]
        return [[part] for part in self.reader._partitions]

    @functools.cached_property
    def _source(self) -> Any:
        """Function that reads parts of files, one for all tasks."""
        return self._others._io_func

    def _task(self, name: Any, index: int) -> Any:
        reader, parts = self._others, self._parts[index]
        read = ReadPartition(
            self.read_name, self.embedding_column, list(self.reader.columns), self.computed, self._name, index
        )
        if isinstance(reader, ReadParquetPyarrowFS):
            tables = [reader._filtered_task(None, part) for part in parts]
            is_fused = isinstance(self.like, FusedIO)
            source: Any = Fragments([table.args[0].kwargs for table in tables], tables[0].kwargs, is_fused)
        else:
            kind = GpuParts if _is_cudf(reader) else FsspecParts
            source = kind(self._source, [reader._plan["parts"][part] for part in parts])
        return Task(name, read, source, _data_producer=True)


def is_reader(expression: Any) -> bool:
    """Whether an expression is one of Dask's or dask-cuDF's readers of Parquet files."""
    return type(expression) in (ReadParquetFSSpec, ReadParquetPyarrowFS) or _is_cudf(expression)


def fused_like(reader: Any) -> Any:
    """The reader as Dask tunes it: fused, or as it is."""
    tuned = reader._tune_up(Projection(reader, list(reader.columns)))
    return reader if tuned is None else tuned.frame


def is_readable(reader: Any, computed: EmbeddingColumns, column: str) -> bool:
    """Whether the values of a column can be computed from the files of a reader."""
    info, schema = reader._dataset_info, reader._dataset_info["schema"]
    predictors = computed.read_spec.predictors
    if reader._series or not all(isinstance(predictor, AffinePredictor) for predictor in predictors):
        return False
    values = _flat_values(schema.field(column).type) if column in schema.names else None
    if values is None or not (pa.types.is_floating(values) or pa.types.is_integer(values)):
        return False
    if isinstance(reader, ReadParquetPyarrowFS):
        return isinstance(reader.fs, pa.fs.LocalFileSystem)
    if reader._plan["empty"] or any(info["kwargs"].get("read", {}).values()):  # How to open files, decrypt them, ...
        return False
    if _is_cudf(reader) and len(predictors) > 1:  # Their scores pass as a Series of Arrow structs.
        return False
    if _is_cudf(reader):  # It has no float16, its own way to filter rows, and counts none where no column is read.
        others = [name for name in reader.columns if name != column]
        known = bool(others) and not reader.filters and values in (pa.float32(), pa.float64())
    else:
        known = reader.engine is ArrowDatasetEngine
    return known and _can_open(info["fs"], info["ds"].files)


def _flat_values(dtype: pa.DataType) -> pa.DataType | None:
    """Type of the values in lists; None for other types, lists of lists and tensors of several axes."""
    lists = list_storage(dtype)
    return lists.value_type if lists is not None and flat_type(dtype) == lists else None


def _is_cudf(reader: Any) -> bool:
    return type(reader).__name__ == "CudfReadParquetFSSpec" and isinstance(reader, ReadParquetFSSpec)


def _can_open(fs: Any, files: list[str]) -> bool:
    """Whether a file system is what its URLs and options say, so that others can open its files."""
    if type(fs) is LocalFileSystem:
        return True
    if fs.storage_args or not files:
        return False
    try:
        found, path = fsspec.core.url_to_fs(fs.unstrip_protocol(files[0]), **fs.storage_options)
    except (ImportError, OSError, TypeError, ValueError):
        return False
    return type(found) is type(fs) and found == fs and path == files[0]
