"""A shard: contiguous rows of an input, whatever its layout, read in small batches or all at once."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar

import pyarrow as pa

from dask_aesthetic.embeddings.arrow import type_width
from dask_aesthetic.errors import InputError
from dask_aesthetic.io.storage import Digests, File, changed_error, local_file

Batches = Iterator[tuple[pa.RecordBatch, Any]]


@dataclass(frozen=True)
class Shard(ABC):
    """Contiguous rows of an input, each with an embedding or an image; small to pickle.

    Attributes
    ----------
    name : str
        Unique name: the file's name relative to the source, without suffix; for a part of a file also its number and
        the number of parts.
    rows : int
    start : int
        Position of the first row in the file.
    schema : pyarrow.Schema
        Possible passthrough columns, without the embedding or image column.
    column : str
        Name of the embedding or image column.
    """

    # Columns that locate a row of the output in the input; they always pass through.
    location_columns: ClassVar[tuple[str, ...]] = ()
    # Whether `batches` can take digests of what it reads; if not, the digest is taken first.
    digests_in_passing: ClassVar[bool] = False

    name: str
    rows: int
    start: int
    schema: pa.Schema = field(repr=False)
    column: str

    def __dask_tokenize__(self) -> tuple[Any, ...]:
        return type(self).__name__, self.name, self.rows, self.start, self.column, self.files

    @property
    @abstractmethod
    def files(self) -> tuple[File, ...]:
        """Files that the shard is read from."""

    @property
    def versions(self) -> list[list[Any]]:
        """Size and version of each file."""
        return [[file.size, file.version] for file in self.files]

    @property
    @abstractmethod
    def scored_type(self) -> pa.DataType:
        """Arrow type of the embedding or image column."""

    @property
    def embedding_fields(self) -> list[pa.Field]:
        """Columns of embeddings that `read` gives."""
        return [pa.field(self.column, self.scored_type)]

    @property
    def width(self) -> int | None:
        """Floats per row of a fixed-size list; None if the type does not have it."""
        return type_width(self.scored_type)

    @property
    def partitions(self) -> tuple[str, ...]:
        """Hive partition columns: in folder names, not in the file."""
        return ()

    @property
    def stop(self) -> int:
        """Position after the last row in the file."""
        return self.start + self.rows

    def batches(self, columns: Sequence[str], paged: bool = False, digests: Digests | None = None) -> Batches:
        """Iterate over the rows in order, in small batches.

        Parameters
        ----------
        columns : list of str
            Passthrough columns; possibly empty.
        paged : bool
            Read Parquet page by page, for the first rows only.
        digests : dict, optional
            Takes digests of what is read, for `digest`.

        Yields
        ------
        pyarrow.RecordBatch
            The passthrough columns, in this order.
        pyarrow.Array
            The embeddings, a list of floats per row; for images, the values that `embed_images` takes.

        Raises
        ------
        InputError
            A file is damaged, or has changed since the shard was found.
        """
        read = 0
        for passthrough, values in self._batches(list(columns), paged, digests):
            read += len(values)
            yield passthrough, values
        if read != self.rows:
            raise self.changed(f"{read:,}")

    @abstractmethod
    def read(self, schema: pa.Schema) -> pa.Table:
        """Read all rows at once, with the columns and types of a schema; the embedding or image may be among them.

        Raises
        ------
        InputError
            As of `batches`.
        """

    @abstractmethod
    def digest(self, columns: Sequence[str], known: Digests | None = None) -> str:
        """xxh3_128 content hash, in hexadecimal, of the bytes that ``batches(columns)`` depends on.

        For Parquet, the footer and the chunks of these columns; other columns may change. For a matrix, the shard's
        rows. What is `known` of the embeddings' bytes, from reading them, is not read again.

        Raises
        ------
        InputError
            A file is damaged.
        """

    def local_files(self) -> list[File]:
        """Local files of the shard with the sizes and versions that they have now, on this machine.

        Raises
        ------
        InputError
            One does not exist any more.
        """
        return [local_file(file.path) for file in self.files if file.is_local]

    @abstractmethod
    def _batches(self, columns: list[str], paged: bool, digests: Digests | None) -> Batches: ...

    def changed(self, got: str) -> InputError:
        """InputError for files that have changed since the shard was found."""
        return changed_error(self.files, self.start, self.stop, got)


def first_of_each(shards: Iterable[Shard], kind: Callable[[Shard], object]) -> list[Shard]:
    """First shard of each kind, in order: thousands of shards share a few schemas, which need one look each."""
    found: dict[object, Shard] = {}
    for shard in shards:
        found.setdefault(kind(shard), shard)
    return list(found.values())
