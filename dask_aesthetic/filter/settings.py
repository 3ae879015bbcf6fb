"""What is asked of a filtering, as far as it changes what is written."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from typing import Any

import pyarrow as pa

LAYOUT = 1  # Of the output; another number is another layout, which is not gone on with.
SOURCE_SHARD, KEEP = "source_shard", "keep"


@dataclass(frozen=True)
class FilterSettings:
    """What shapes every output.

    Attributes
    ----------
    selection : str
        What is kept, in words.
    score_column : str
    samples_per_shard : int or None
        None keeps the shards.
    score_in_json : bool
    metadata : pyarrow.Schema
        Columns of the Parquet files beside the tars, but for the key.
    """

    selection: str
    score_column: str
    samples_per_shard: int | None
    score_in_json: bool
    metadata: pa.Schema

    @property
    def carried(self) -> pa.Schema:
        """The columns of the Parquet files that are carried over; those of an earlier filtering are replaced."""
        added = (SOURCE_SHARD, self.score_column, KEEP)
        return pa.schema([field for field in self.metadata if field.name not in added])

    @property
    def schema(self) -> pa.Schema:
        """Of the Parquet files that are written."""
        added = [
            pa.field(SOURCE_SHARD, pa.string()),
            pa.field(self.score_column, pa.float32()),
            pa.field(KEEP, pa.bool_()),
        ]
        return pa.schema([pa.field("key", pa.string()), *self.carried, *added])

    def as_config(self) -> dict[str, Any]:
        """All of it in plain words."""
        return {
            "layout": LAYOUT,
            "kept": self.selection,
            "score_column": self.score_column,
            "samples_per_shard": self.samples_per_shard,
            "score_in_json": self.score_in_json,
            "columns": {field.name: str(field.type) for field in self.schema},
        }

    @property
    def fingerprint(self) -> str:
        """Differs where anything of `as_config` does."""
        return hashlib.sha256(json.dumps(self.as_config(), sort_keys=True).encode()).hexdigest()
