"""What is asked of a job, as far as it changes what is written; and what an earlier run was asked."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from typing import Any, ClassVar

import numpy as np
import pyarrow as pa

from dask_aesthetic.inputs.shards import Batches
from dask_aesthetic.scoring import ScoreSpec, score_array
from dask_aesthetic.status import STATUSES
from dask_aesthetic.version import __version__

LAYOUT = 1  # Of the output; another number is another layout, which is not gone on with.
STATUS_COLUMN = "status"
Scored = tuple[pa.RecordBatch, np.ndarray, np.ndarray]  # Carried columns, scores, statuses.


@dataclass(frozen=True)
class ScoreSettings:
    """What shapes the output of every shard, and the way from its rows to scores.

    Attributes
    ----------
    spec : ScoreSpec
    embedding_column : str
    carried : pyarrow.Schema
        Columns that are carried over.
    keep_only : bool
        Write the rows to keep alone.
    rows_per_shard : int
        Larger files are cut, and the shards are named after the cuts.
    statuses : tuple of str
        By their codes.
    harmless : frozenset of str
        Reasons to fail that do not hint at the wrong column or model, though every row of a shard has one.
    threads : int or None
        How many threads score where nobody says; None for one per CPU core.
    patience : float
        Seconds that the first shards may take before one is called stuck, at least.
    """

    statuses: ClassVar[tuple[str, ...]] = STATUSES
    harmless: ClassVar[frozenset[str]] = frozenset()
    threads: ClassVar[int | None] = None
    patience: ClassVar[float] = 0.0

    spec: ScoreSpec
    embedding_column: str
    carried: pa.Schema
    keep_only: bool
    rows_per_shard: int

    @property
    def column(self) -> str:
        """The column that is scored."""
        return self.embedding_column

    def scored(self, batches: Batches, shard: str) -> Iterator[Scored]:
        """Score a shard's rows.

        Raises
        ------
        InvalidEmbeddingError
            Under ``on_invalid="raise"``.
        """
        read = 0
        for carried, lists in batches:
            scores, status = score_array(lists, self.spec, self.embedding_column, f"shard {shard}", read)
            yield self.with_embedding(carried, lists), scores, status
            read += len(scores)

    @property
    def read(self) -> list[str]:
        """The columns to read beside the one that is scored."""
        return [name for name in self.carried.names if name != self.embedding_column]

    def with_embedding(self, carried: pa.RecordBatch, lists: pa.Array) -> pa.RecordBatch:
        """What is carried over, with the embedding in its place if it is asked for."""
        if self.embedding_column not in self.carried.names:
            return carried
        columns = [lists if name == self.embedding_column else carried.column(name) for name in self.carried.names]
        return pa.RecordBatch.from_arrays(columns, self.carried.names)

    @property
    def schema(self) -> pa.Schema:
        """Of the output, with its provenance in the metadata."""
        fields = [
            *self.carried,
            pa.field(self.spec.score_column, pa.float32()),
            pa.field(self.spec.keep_column, pa.bool_()),
            pa.field(STATUS_COLUMN, status_type()),
        ]
        return pa.schema(fields, metadata={"dask_aesthetic": json.dumps(self.provenance, sort_keys=True)})

    @property
    def provenance(self) -> dict[str, Any]:
        """What made the scores, for whoever reads them."""
        spec = self.spec
        return {
            "predictor": asdict(spec.predictor.info),
            "weights_sha256": spec.predictor.token,
            "scale": spec.threshold.scale,
            "threshold": spec.threshold.to_dict(),
            "version": __version__,
        }

    def as_config(self) -> dict[str, Any]:
        """All of it in plain words; the version is left out, since a newer one may go on with a job."""
        spec = self.spec
        return {
            "layout": LAYOUT,
            "embedding_column": self.embedding_column,
            "predictor": spec.predictor.info.name,
            "weights_sha256": spec.predictor.token,
            "scale": spec.threshold.scale,
            "threshold": spec.threshold.value,
            "threshold_name": spec.threshold.name,
            "columns": {field.name: str(field.type) for field in self.carried},
            "score_column": spec.score_column,
            "keep_column": spec.keep_column,
            "keep_only": self.keep_only,
            "rows_per_shard": self.rows_per_shard,
        }

    @property
    def fingerprint(self) -> str:
        """Differs where anything of `as_config` does."""
        return hashlib.sha256(json.dumps(self.as_config(), sort_keys=True).encode()).hexdigest()


def differences(earlier: dict[str, Any], asked: dict[str, Any]) -> list[str]:
    """Where two `as_config` differ, in words."""
    names = [name for name in {**earlier, **asked} if earlier.get(name) != asked.get(name)]
    return [f"{name} was {_short(earlier.get(name))} and now is {_short(asked.get(name))}" for name in names]


def status_type() -> pa.DataType:
    """The type of the column of statuses."""
    return pa.dictionary(pa.int8(), pa.string())


def _short(value: Any) -> str:
    return ", ".join(value) if isinstance(value, dict) else repr(value)
