"""Shards of saved data sets: record batches of Arrow streams."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import accumulate
from typing import Any, ClassVar

import pyarrow as pa
import xxhash

from dask_aesthetic.embeddings.arrow import is_without_values
from dask_aesthetic.embeddings.packed import list_type, unpack_array
from dask_aesthetic.errors import ColumnError
from dask_aesthetic.io import arrow_streams, formats, parquet, split
from dask_aesthetic.io.empty_table import empty_table
from dask_aesthetic.io.plain_types import as_plain, without_views
from dask_aesthetic.io.shard import Batches, Shard
from dask_aesthetic.io.storage import Digests, File, combine_digests


@dataclass(frozen=True)
class StreamShard(Shard):
    """Record batches of an Arrow stream with a column of embeddings.

    Packed embeddings, of an `embedding_dtype`, are read as lists, and `type` is that of the lists.
    """

    digests_in_passing: ClassVar[bool] = True

    file: File
    type: pa.DataType = field(repr=False)
    stream_schema: pa.Schema = field(repr=False)
    begin: int  # Position of the first batch in the file.
    record_batches: tuple[tuple[int, int], ...] = field(repr=False)  # Bytes and rows of each.
    embedding_dtype: str | None = None

    def __dask_tokenize__(self) -> tuple[Any, ...]:
        return (*super().__dask_tokenize__(), self.embedding_dtype)

    @property
    def files(self) -> tuple[File, ...]:
        return (self.file,)

    @property
    def scored_type(self) -> pa.DataType:
        return self.type

    def read(self, schema: pa.Schema) -> pa.Table:
        if not schema.names:
            return empty_table(schema)
        parts = [self._unpacked(batch) for batch in self._read(schema.names)]
        return pa.Table.from_batches(parts).cast(schema) if parts else empty_table(schema)

    def digest(self, columns: Sequence[str], known: Digests | None = None) -> str:
        part = self.begin, sum(size for size, _ in self.record_batches)
        content = (known or {}).get(part)
        if content is None:
            hasher = xxhash.xxh3_128()
            for batch in self._read([*columns, self.column]):
                _update(hasher, batch)
            content = hasher.hexdigest()
        types = [f"{name} {self.stream_schema.field(name).type}" for name in (*columns, self.column)]
        return combine_digests(*types, content)

    def _batches(self, columns: list[str], paged: bool, digests: Digests | None) -> Batches:  # noqa: ARG002
        hasher = xxhash.xxh3_128()
        for batch in self._read([*columns, self.column]):
            if digests is not None:
                _update(hasher, batch)
            for at in range(0, len(batch), parquet.BATCH_ROWS):
                some = self._unpacked(batch.slice(at, parquet.BATCH_ROWS))
                yield some.select(columns), some.column(self.column)
        if digests is not None:
            digests[self.begin, sum(size for size, _ in self.record_batches)] = hasher.hexdigest()

    def _read(self, columns: Sequence[str]) -> Iterator[pa.RecordBatch]:
        return arrow_streams.read_batches(self.file, self.stream_schema, self.begin, self.record_batches, columns)

    def _unpacked(self, batch: pa.RecordBatch) -> pa.RecordBatch:
        batch = as_plain(batch)
        if self.embedding_dtype is None or self.column not in batch.schema.names:
            return batch
        columns = [
            unpack_array(batch.column(name), self.embedding_dtype, name) if name == self.column else batch.column(name)
            for name in batch.schema.names
        ]
        return pa.RecordBatch.from_arrays(columns, batch.schema.names)


def _update(hasher: Any, batch: pa.RecordBatch) -> None:
    hasher.update(len(batch).to_bytes(8, "little"))
    for buffer in arrow_streams.buffers_of(batch):
        hasher.update(buffer)


def stream_shards(
    files: Sequence[tuple[File, str]],
    column: str,
    into: Callable[[list[int]], split.Ranges],
    check: Callable[[pa.Schema, str], None],
    embedding_dtype: str | None,
) -> list[StreamShard]:
    """Shards of Arrow streams; arguments as of `parquet_shards`."""

    def to_shards(named_file: tuple[File, str]) -> list[StreamShard]:
        file, name = named_file
        stream = arrow_streams.open_stream(file)
        plain = without_views(stream.schema)
        try:
            check(plain, column)
            dtype = list_type(plain.field(column).type, embedding_dtype, column)
        except ColumnError as error:
            raise ColumnError(f"{error} (in {file.path})") from None
        dtype = pa.null() if is_without_values(dtype) else dtype
        schema = pa.schema([field for field in plain if field.name != column])
        edges = list(accumulate(stream.groups, initial=0))
        places = list(accumulate((size for size, _ in stream.batches), initial=stream.begin))
        found = []
        for part, start, stop in split.name_parts(name, into(stream.groups)):
            first, last = bisect_left(edges, start), bisect_left(edges, stop)
            batches = tuple(stream.batches[first:last])
            place = part, stop - start, start, schema, column
            whole = stream.schema
            found.append(StreamShard(*place, file, dtype, whole, places[first], batches, embedding_dtype))
        return found

    return [shard for shards in formats.inspect_all(files, to_shards) for shard in shards]
