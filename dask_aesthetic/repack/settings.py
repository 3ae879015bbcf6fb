"""Settings of a repack job: layout and type of the embeddings in its output."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from dask_aesthetic.defaults import PACKED, SMALL
from dask_aesthetic.id_columns import repeating_columns

SCHEMA_VERSION = 1  # Of settings and manifest; a job of another version is not resumed.


@dataclass(frozen=True)
class RepackSettings:
    """Settings that shape every output.

    Attributes
    ----------
    embedding_column : str
    layout : {"packed", "lists", "small"}
    dtype : str
        Arrow type of the values.
    width : int
        Values per row of packed embeddings; 0 of lists, whose rows may differ.
    embedding_dtype : str or None
        Of packed embeddings in the input.
    """

    embedding_column: str
    layout: str
    dtype: str
    width: int = 0
    embedding_dtype: str | None = None

    @property
    def value_type(self) -> pa.DataType:
        """Arrow type of the values."""
        return pa.type_for_alias(self.dtype)

    @property
    def type(self) -> pa.DataType:
        """Arrow type of the embedding column in the output."""
        if self.layout == PACKED:
            return pa.binary(self.width * self.value_type.bit_width // 8)
        return pa.list_(pa.field("element", self.value_type, nullable=False))

    def schema(self, source: pa.Schema) -> pa.Schema:
        """Schema of an output: that of its input with another type of the embedding column."""
        at = source.get_field_index(self.embedding_column)
        field = source.field(at).with_type(self.type)
        # Empty rows become null.
        return source.set(at, field.with_nullable(True) if self.layout == PACKED else field)

    def writer_options(self, schema: pa.Schema) -> dict[str, Any]:
        """Options of `pyarrow.parquet.ParquetWriter` for an output of a schema."""
        paths = _paths(schema)
        own = [path for path in paths if path.split(".")[0] == self.embedding_column]
        others = [path for path in paths if path not in own]
        repeating = set(repeating_columns({path.split(".")[0] for path in others}, ()))
        options: dict[str, Any] = {
            "use_dictionary": [path for path in others if path.split(".")[0] in repeating],
            "compression": dict.fromkeys(others, "SNAPPY") | dict.fromkeys(own, "NONE"),
            # Minimum and maximum of numbers in vectors help nobody.
            "write_statistics": others,
        }
        if self.layout == SMALL:
            options["compression"] |= dict.fromkeys(own, "ZSTD")
            options["column_encoding"] = dict.fromkeys(own, "BYTE_STREAM_SPLIT")
        return options

    def as_config(self) -> dict[str, Any]:
        """Settings as JSON values."""
        return {
            "schema_version": SCHEMA_VERSION,
            "embedding_column": self.embedding_column,
            "layout": self.layout,
            "dtype": self.dtype,
            **({"width": self.width} if self.layout == PACKED else {}),
            **({"embedding_dtype": self.embedding_dtype} if self.embedding_dtype is not None else {}),
        }

    @property
    def fingerprint(self) -> str:
        """sha256 of `as_config`."""
        return hashlib.sha256(json.dumps(self.as_config(), sort_keys=True).encode()).hexdigest()

    @property
    def how_to_read(self) -> str:
        """What a reader of the output has to say; empty for lists."""
        if self.layout != PACKED:
            return ""
        return f'embedding_dtype="{self.dtype_name}" (--embedding-dtype {self.dtype_name})'

    @property
    def dtype_name(self) -> str:
        """Numpy's name for the dtype of the values."""
        return str(self.value_type.to_pandas_dtype().__name__)


def _paths(schema: pa.Schema) -> list[str]:
    """Paths of the columns of a Parquet file of a schema."""
    sink = pa.BufferOutputStream()
    pq.write_metadata(schema, sink)
    columns = pq.ParquetFile(pa.BufferReader(sink.getvalue())).schema
    return [columns.column(at).path for at in range(len(columns))]
