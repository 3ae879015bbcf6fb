"""Text embeddings beside the image embeddings of a shard: checks, and their similarities batch by batch."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
import pyarrow as pa

from dask_aesthetic.embeddings.arrow import is_float_list, type_width
from dask_aesthetic.embeddings.packed import list_type, unpack_array
from dask_aesthetic.errors import ColumnError
from dask_aesthetic.io import parquet
from dask_aesthetic.io.shards import MatrixShard, Shard
from dask_aesthetic.similarity import SimilaritySpec, similarity_arrays


@dataclass(frozen=True)
class TextSide:
    """Text embeddings of rows whose images are scored, and what is computed from both.

    Attributes
    ----------
    spec : SimilaritySpec
    width : int
        Floats per embedding of either side.
    """

    spec: SimilaritySpec
    width: int

    @property
    def column(self) -> str:
        """Name of the column of text embeddings."""
        return self.spec.text_column

    def lists(self, texts: pa.Array) -> pa.Array:
        """Text embeddings as lists of floats; bytes are unpacked as those of the images."""
        return unpack_array(texts, self._packed(texts.type), self.column)

    def similarities(self, images: pa.Array, texts: pa.Array, place: str, start: int) -> tuple[np.ndarray, np.ndarray]:
        """Similarities of consecutive rows, and the status codes of their texts, as of `similarity_arrays`."""
        return similarity_arrays(images, self.lists(texts), self.spec, self.width, place, start)

    def field_of(self, shard: Shard) -> pa.Field:
        """Column of text embeddings of a shard that `check` has passed."""
        own = {field.name: field for field in shard.embedding_fields if field.name != shard.column}
        return own[self.column] if self.column in own else shard.schema.field(self.column)

    def check(self, shards: Iterable[Shard]) -> None:
        """Refuse files without text embeddings of the images' width, as far as types say it.

        Raises
        ------
        ColumnError
            With the name of the file.
        """
        passed: set[int] = set()  # Schemas, which most files share.
        for shard in shards:
            if id(shard.schema) in passed and not isinstance(shard, MatrixShard):
                continue
            try:
                self._check(shard)
            except ColumnError as error:
                raise ColumnError(f"{error} (in {shard.files[0].path})") from None
            if shard.rows:
                passed.add(id(shard.schema))

    def _check(self, shard: Shard) -> None:
        if isinstance(shard, MatrixShard):
            if self.column in shard.schema.names:
                raise ColumnError.clash("text_column", self.column, "the columns of the metadata")
        elif self.column not in shard.schema.names:
            candidates = [field.name for field in shard.schema if is_float_list(field.type)]
            raise ColumnError.missing(self.column, shard.schema.names, candidates)
        else:
            dtype = shard.schema.field(self.column).type if shard.schema.names.count(self.column) == 1 else None
            parquet.check_embedding(shard.schema, self.column, self._packed(dtype))
        dtype = self.field_of(shard).type
        width = type_width(list_type(dtype, self._packed(dtype), self.column))
        if width is not None and width != self.width and shard.rows:
            raise self.other_width(str(width))

    def other_width(self, got: str) -> ColumnError:
        """Error for texts of other widths than the images."""
        return ColumnError(
            f"expected text embeddings of {self.width} floats in {self.column!r}, as the images have, got {got}: "
            "similarity compares embeddings of one encoder"
        )

    def _packed(self, dtype: pa.DataType | None) -> str | None:
        return None if dtype is None or pa.types.is_nested(dtype) else self.spec.embedding_dtype
