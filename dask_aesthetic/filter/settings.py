"""Settings of a filter job that change its output, and their fingerprint."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from typing import Any

import pyarrow as pa

SCHEMA_VERSION = 1  # Of settings and manifest; a job of another version is not resumed.
SOURCE_SHARD, KEEP = "source_shard", "keep"


@dataclass(frozen=True)
class FilterSettings:
    """Settings that shape every output.

    Attributes
    ----------
    selection : str
        Condition of the kept rows, for people.
    score_column : str
    samples_per_shard : int or None
        None keeps the shards as they are.
    score_in_json : bool
    metadata : pyarrow.Schema
        Columns of the Parquet files beside the tars, but for the key.
    skip_empty : bool
        No output where nothing of a tar is kept.
    """

    selection: str
    score_column: str
    samples_per_shard: int | None
    score_in_json: bool
    metadata: pa.Schema
    skip_empty: bool = False

    @property
    def passthrough(self) -> pa.Schema:
        """Columns of the Parquet files in the output; those that a filter job adds are replaced."""
        added = (SOURCE_SHARD, self.score_column, KEEP)
        return pa.schema([field for field in self.metadata if field.name not in added])

    @property
    def schema(self) -> pa.Schema:
        """Schema of the Parquet files in the output."""
        added = [
            pa.field(SOURCE_SHARD, pa.string()),
            pa.field(self.score_column, pa.float32()),
            pa.field(KEEP, pa.bool_()),
        ]
        return pa.schema([pa.field("key", pa.string()), *self.passthrough, *added])

    def as_config(self) -> dict[str, Any]:
        """Settings as JSON values."""
        return {
            "schema_version": SCHEMA_VERSION,
            "kept": self.selection,
            "score_column": self.score_column,
            "samples_per_shard": self.samples_per_shard,
            "score_in_json": self.score_in_json,
            "columns": {field.name: str(field.type) for field in self.schema},
            **({"skip_empty": True} if self.skip_empty else {}),
        }

    @property
    def fingerprint(self) -> str:
        """sha256 of `as_config`."""
        return _fingerprint(self.as_config())


@dataclass(frozen=True)
class ImageFilterSettings:
    """Settings that shape every output of image files.

    Attributes
    ----------
    selection, score_column : str
        As of `FilterSettings`.
    link : bool
        Hard links instead of copies.
    """

    selection: str
    score_column: str
    link: bool

    @property
    def schema(self) -> pa.Schema:
        """Schema of the Parquet files in the output."""
        texts = [pa.field(name, pa.string()) for name in ("image_path", "source_path")]
        return pa.schema([*texts, pa.field(self.score_column, pa.float32()), pa.field(KEEP, pa.bool_())])

    def as_config(self) -> dict[str, Any]:
        """Settings as JSON values."""
        return {
            "schema_version": SCHEMA_VERSION,
            "kept": self.selection,
            "score_column": self.score_column,
            "link": self.link,
            "columns": {field.name: str(field.type) for field in self.schema},
        }

    @property
    def fingerprint(self) -> str:
        """sha256 of `as_config`."""
        return _fingerprint(self.as_config())


def _fingerprint(config: dict[str, Any]) -> str:
    return hashlib.sha256(json.dumps(config, sort_keys=True).encode()).hexdigest()
