"""Shards of matrices, bare ones and those with metadata of their rows beside them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, ClassVar

import numpy as np
import pyarrow as pa
import xxhash

from dask_aesthetic.defaults import MATRIX_KEY
from dask_aesthetic.errors import InputError
from dask_aesthetic.io import formats, parquet, split
from dask_aesthetic.io.matrix import Matrix, check_matrices
from dask_aesthetic.io.npy import open_matrix
from dask_aesthetic.io.safetensors_files import open_safetensors
from dask_aesthetic.io.shard import Batches, Shard
from dask_aesthetic.io.storage import Digests, File, combine_digests
from dask_aesthetic.io.torch_files import open_torch

# Columns of a matrix without metadata: the location of each row.
LOCATION = pa.schema({"shard": pa.string(), "row": pa.int64()})
MATRIX_ROWS = 4096  # Rows of a batch of a matrix, which are not copied.


@dataclass(frozen=True)
class MatrixShard(Shard):
    """Rows of a matrix, and of the Parquet file whose row i describes row i of the matrix, if there is one.

    `read` gives the embeddings of the rows' texts as well, a column `text_column`, where there are `texts`.
    """

    digests_in_passing: ClassVar[bool] = True

    matrix: Matrix
    metadata: File | None
    matrix_name: str  # Relative to the source, without suffix: the shard's name may be that of a part.
    texts: Matrix | None = None
    text_column: str = ""

    def __dask_tokenize__(self) -> tuple[Any, ...]:
        matrices = [(one.key, one.zero_point) for one in (self.matrix, self.texts) if one is not None]
        return (*super().__dask_tokenize__(), matrices)

    @property
    def files(self) -> tuple[File, ...]:
        texts = [self.texts.file] if self.texts and self.texts.file != self.matrix.file else []
        return (self.matrix.file, *texts, *([self.metadata] if self.metadata else []))

    @property
    def embedding_fields(self) -> list[pa.Field]:
        texts = [pa.field(self.text_column, self.texts.type)] if self.texts else []
        return [*super().embedding_fields, *texts]

    @property
    def scored_type(self) -> pa.DataType:
        return self.matrix.type

    def read(self, schema: pa.Schema) -> pa.Table:
        matrices = {self.column: self.matrix, **({self.text_column: self.texts} if self.texts else {})}
        described = pa.schema([field for field in schema if field.name not in matrices])
        if self.metadata is not None and described.names:
            table = parquet.read_rows(self.metadata, described, self.start, self.stop)
        else:
            table = pa.Table.from_batches([self._location(self.start, self.stop).select(described.names)])
        for name, matrix in matrices.items():
            if name in schema.names:
                table = table.append_column(name, matrix.read(self.start, self.stop))
        return table.select(schema.names)

    def digest(self, columns: Sequence[str], known: Digests | None = None) -> str:
        header = f"{self.matrix.width} {self.matrix.dtype} {self.matrix.fortran}"
        part = self.matrix.range_of(self.start, self.stop)
        content = (known or {}).get(part) or self.matrix.digest(self.start, self.stop)
        if self.metadata is None:
            return combine_digests(header, content)
        return combine_digests(header, content, parquet.digest(self.metadata, columns, self.start, self.stop))

    def _batches(self, columns: list[str], paged: bool, digests: Digests | None) -> Batches:  # noqa: ARG002
        hasher = xxhash.xxh3_128() if digests is not None and self.matrix.is_plain else None
        at = self.start
        with self.matrix.reader(self.start, self.stop) as read:
            for passthrough in self._passthrough(columns):
                lists = read(at, at + len(passthrough))
                if hasher is not None:
                    hasher.update(lists.flatten().to_numpy().data)
                yield passthrough, lists
                at += len(passthrough)
        if hasher is not None and digests is not None:
            digests[self.matrix.range_of(self.start, self.stop)] = hasher.hexdigest()

    def _passthrough(self, columns: list[str]) -> Iterator[pa.RecordBatch]:
        if columns and self.metadata is not None:
            for batch in parquet.batches(self.metadata, columns, self.start, self.stop, MATRIX_ROWS):
                if not set(columns) <= set(batch.schema.names):
                    raise self.changed("other columns")
                yield batch.select(columns)
            return
        for at in range(self.start, self.stop, MATRIX_ROWS):
            yield self._location(at, min(at + MATRIX_ROWS, self.stop)).select(columns)

    def _location(self, start: int, stop: int) -> pa.RecordBatch:
        """Location of rows: the name of the matrix and the position in it."""
        name = pa.repeat(pa.scalar(self.matrix_name), stop - start)
        return pa.record_batch([name, pa.array(np.arange(start, stop))], schema=LOCATION)


@dataclass(frozen=True)
class Opening:
    """How the matrices of a layout are opened."""

    layout: str
    key: str | None
    zero_point: int | None

    def open(self, file: File) -> Matrix:
        if self.layout == "safetensors":
            matrix: Matrix = open_safetensors(file, self.key)
        elif self.layout == "torch":
            matrix = open_torch(file, self.key)
        else:
            is_archive = file.name.lower().endswith(".npz")
            matrix = open_matrix(file, (MATRIX_KEY if self.key is None else self.key) if is_archive else None)
        return matrix.with_zero_point(self.zero_point)


def matrix_shards(
    files: Sequence[formats.PairedFiles],
    column: str,
    options: Opening,
    max_rows: int | None,
    text_column: str,
    text_key: str,
) -> list[Shard]:
    """Shards of matrices and of what lies beside them; arguments as of `find_shards`."""
    opened = formats.inspect_all(files, partial(_open_pair, options=options))
    check_matrices([matrix for matrix, _ in opened])
    texts: list[Matrix | None] = [None] * len(files)
    if text_column:
        pairs = list(zip(files, (matrix for matrix, _ in opened), strict=True))
        held = formats.inspect_all(pairs, partial(_open_texts, key=text_key))
        check_matrices(held)
        texts = [*held]
    return [
        MatrixShard(part, stop - start, start, schema, column, matrix, one.metadata, one.name, text, text_column)
        for one, (matrix, schema), text in zip(files, opened, texts, strict=True)
        for part, start, stop in split.name_parts(
            one.name, split.split_evenly(matrix.rows, max_rows if matrix.has_row_ranges else None)
        )
    ]


def _open_texts(pair: tuple[formats.PairedFiles, Matrix], key: str) -> Matrix:
    """Header of the matrix with the text embeddings of the rows of another matrix."""
    files, images = pair
    if files.texts is None:
        raise InputError(
            f"expected a matrix of text embeddings beside {images.where}, text_emb/text_emb_N.npy, got none"
        )
    texts = open_matrix(files.texts, key if files.texts.name.lower().endswith(".npz") else None)
    if texts.rows != images.rows:
        raise InputError(
            f"expected as many text embeddings as image embeddings, got {texts.rows:,} in {texts.where} and "
            f"{images.rows:,} in {images.where}"
        )
    return texts


def _open_pair(files: formats.PairedFiles, options: Opening) -> tuple[Matrix, pa.Schema]:
    """Header of a matrix, and the schema of its metadata."""
    matrix = options.open(files.matrix)
    if files.metadata is None:
        return matrix, LOCATION
    footer = parquet.read_footer(files.metadata)
    if footer.metadata.num_rows != matrix.rows:
        raise InputError(
            f"expected as many rows of metadata as embeddings, got {footer.metadata.num_rows:,} in "
            f"{files.metadata.path} and {matrix.rows:,} in {matrix.where}"
        )
    return matrix, footer.schema.remove_metadata()
