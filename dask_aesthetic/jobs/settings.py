"""Settings of a scoring job that change its output, their fingerprint, and the provenance in its files."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, ClassVar, Self

import numpy as np
import pyarrow as pa

from dask_aesthetic.defaults import HASH_COLUMN
from dask_aesthetic.embedding_hash import hash_embeddings
from dask_aesthetic.score_spec import ScoreSpec
from dask_aesthetic.shard_texts import TextSide
from dask_aesthetic.status import STATUSES
from dask_aesthetic.version import __version__

SCHEMA_VERSION = 1  # Of settings, manifest and provenance; a job of another version is not resumed.
STATUS_COLUMN, TEXT_STATUS_COLUMN = "status", "text_status"


@dataclass(frozen=True)
class ScoreSettings:
    """Settings that shape the output of every shard.

    Attributes
    ----------
    spec : ScoreSpec
    embedding_column : str
    passthrough : pyarrow.Schema
        Columns that pass through from the input to the output.
    keep_only : bool
        Write only the rows to keep.
    rows_per_shard : int
        Rows after which a file is split into shards; their names hold the number of the part.
    matrix_key : str or None
        Matrix in .npz files, if it is another than DataComp's own; tensor in .safetensors and .pt files.
    embedding_hash : bool
        Whether ``embedding_hash``, among the last of the passthrough columns, is computed.
    texts : TextSide or None
        Text embeddings, where similarity and ``text_status``, the last of the passthrough columns, are computed.
    text_key : str or None
        Matrix of the texts in .npz files, if it is another than DataComp's own.
    zero_point : int or None
        Of a matrix of 8-bit integers.
    statuses : tuple of str
        By their codes.
    benign_statuses : frozenset of str
        Statuses that all rows of a shard may have without hinting at a wrong column or model.
    task_name : str
        Name of the tasks on a cluster's dashboard.
    first_timeout : float
        Seconds that the first shards may take before one counts as stuck.
    """

    statuses: ClassVar[tuple[str, ...]] = STATUSES
    benign_statuses: ClassVar[frozenset[str]] = frozenset()
    task_name: ClassVar[str] = "score-shard"
    first_timeout: ClassVar[float] = 0.0

    spec: ScoreSpec
    embedding_column: str
    passthrough: pa.Schema
    keep_only: bool
    rows_per_shard: int
    matrix_key: str | None
    embedding_hash: bool = field(default=False, kw_only=True)
    texts: TextSide | None = field(default=None, kw_only=True)
    text_key: str | None = field(default=None, kw_only=True)
    zero_point: int | None = field(default=None, kw_only=True)

    @property
    def threads(self) -> int | None:
        """Default number of threads of a process; None for one per CPU core."""
        return None

    @property
    def column(self) -> str:
        """Name of the scored column."""
        return self.embedding_column

    @property
    def read(self) -> list[str]:
        """Names of the columns to read beside the scored one."""
        names = [name for name in self.passthrough.names if name not in self._computed]
        return names if self.texts is None or self.texts.column in names else [*names, self.texts.column]

    @property
    def _computed(self) -> list[str]:
        """Names of the passthrough columns that are the embedding, or made from it."""
        texts = [] if self.texts is None else [self.texts.spec.similarity_column, TEXT_STATUS_COLUMN]
        return [self.embedding_column, *([HASH_COLUMN] if self.embedding_hash else []), *texts]

    @property
    def needs_embeddings(self) -> bool:
        """Whether a passthrough column is the embedding, or made from it."""
        return not set(self._computed).isdisjoint(self.passthrough.names)

    def with_embedding(
        self, read: pa.RecordBatch, lists: pa.Array, status: np.ndarray, place: str = "", start: int = 0
    ) -> pa.RecordBatch:
        """Passthrough columns of a batch that was read, with those that are the embedding, or made from it.

        Parameters
        ----------
        read : pyarrow.RecordBatch
            The columns of `read`.
        lists : pyarrow.Array
            The embeddings.
        status : numpy.ndarray
            Their status codes.
        place, start
            Name of the shard, and position of the first row there, for errors.

        Raises
        ------
        InvalidEmbeddingError
            A text has no usable embedding and ``spec.on_invalid`` is "raise".
        """
        if not self.needs_embeddings:
            return read
        computed = {self.embedding_column: lists}
        if self.embedding_hash:
            computed[HASH_COLUMN] = hash_embeddings(lists, self.spec.width, status)
        if self.texts is not None:
            found, codes = self.texts.similarities(lists, read.column(self.texts.column), place, start)
            computed[self.texts.spec.similarity_column] = pa.array(found, mask=~np.isfinite(found))
            computed[TEXT_STATUS_COLUMN] = named_statuses(codes, STATUSES)
        columns = [computed[name] if name in computed else read.column(name) for name in self.passthrough.names]
        return pa.RecordBatch.from_arrays(columns, self.passthrough.names)

    @property
    def schema(self) -> pa.Schema:
        """Schema of the output, with the provenance in its metadata."""
        fields = [
            *self.passthrough,
            *(pa.field(name, pa.float32()) for name in self.spec.score_columns),
            *([pa.field(self.spec.keep_column, pa.bool_())] if self.spec.has_keep else []),
            pa.field(STATUS_COLUMN, status_type()),
        ]
        return pa.schema(fields, metadata={"dask_aesthetic": json.dumps(self.provenance, sort_keys=True)})

    @property
    def provenance(self) -> dict[str, Any]:
        """Provenance of the scores: JSON under the schema metadata key ``dask_aesthetic``.

        Keys: ``schema_version``, ``predictor`` (its `PredictorInfo`), ``weights_sha256``, ``scale``, ``threshold`` and
        ``version`` (of this package). ``threshold`` is left out without one; ``keep`` is the rule instead of it, and
        ``override_column`` the column that wins over both. ``scores`` has the first four of every predictor, with its
        ``column``, if there are several, no keep column follows, or there is a similarity. ``similarity`` names its
        column and those of the texts.
        """
        spec = self.spec
        scores = [
            {"predictor": predictor.info.to_dict(), "weights_sha256": predictor.token, "scale": spec.scale_of(at)}
            for at, predictor in enumerate(spec.predictors)
        ]
        columns = [{"column": name, **score} for name, score in zip(spec.score_columns, scores, strict=True)]
        return {
            "schema_version": SCHEMA_VERSION,
            **scores[0],
            **({"threshold": spec.threshold.to_dict()} if spec.threshold is not None else {}),
            **self._rule(),
            **({"scores": columns} if len(columns) > 1 or not spec.has_keep or self.texts is not None else {}),
            **self._similarity(),
            "version": __version__,
        }

    def as_config(self) -> dict[str, Any]:
        """Settings as JSON values; the package's version is not among them, since a newer one may resume a job."""
        spec, threshold = self.spec, self.spec.threshold
        others = list(zip(spec.score_columns, spec.predictors, strict=True))[1:]
        return {
            "schema_version": SCHEMA_VERSION,
            "embedding_column": self.embedding_column,
            "predictor": spec.predictor.info.name,
            "weights_sha256": spec.predictor.token,
            "scale": spec.scale,
            "threshold": threshold.value if threshold is not None else None,
            "threshold_name": threshold.name if threshold is not None else "",
            **self._rule(),
            "columns": {field.name: str(field.type) for field in self.passthrough},
            "score_column": spec.score_column,
            "keep_column": spec.keep_column,
            "keep_only": self.keep_only,
            **({"embedding_hash": True} if self.embedding_hash else {}),
            "rows_per_shard": self.rows_per_shard,
            **({"more_scores": [[name, predictor.token] for name, predictor in others]} if others else {}),
            **({"matrix_key": self.matrix_key} if self.matrix_key is not None else {}),
            **({"zero_point": self.zero_point} if self.zero_point is not None else {}),
            **({"embedding_dtype": spec.embedding_dtype} if spec.embedding_dtype is not None else {}),
            **self._similarity(),
        }

    def _similarity(self) -> dict[str, Any]:
        """Columns of similarity, texts' statuses and texts, where there are any, as JSON values."""
        if self.texts is None:
            return {}
        key = {} if self.text_key is None else {"text_key": self.text_key}
        names = {"column": self.texts.spec.similarity_column, "status_column": TEXT_STATUS_COLUMN}
        return {"similarity": {**names, "text_column": self.texts.column, **key}}

    def _rule(self) -> dict[str, Any]:
        """Rule and override, where there are any, as JSON values."""
        spec = self.spec
        return {
            **({"keep": spec.rule.to_dict()} if spec.rule is not None else {}),
            **({"override_column": spec.override_column} if spec.override_column is not None else {}),
        }

    def spelled_as(self, earlier: Mapping[str, Any] | None) -> Self:
        """Settings whose threshold has the name that an `as_config` of an earlier run gives to the same threshold."""
        threshold = self.spec.threshold
        if earlier is None or threshold is None or earlier.get("threshold") != threshold.value:
            return self
        if "threshold_name" not in earlier:
            return self
        named = replace(threshold, name=str(earlier["threshold_name"]))
        return replace(self, spec=replace(self.spec, threshold=named))

    @property
    def fingerprint(self) -> str:
        """sha256 of `as_config`."""
        return hashlib.sha256(json.dumps(self.as_config(), sort_keys=True).encode()).hexdigest()


def named_statuses(codes: np.ndarray, names: Sequence[str]) -> pa.DictionaryArray:
    """Arrow array of the statuses that codes stand for."""
    return pa.DictionaryArray.from_arrays(pa.array(codes.astype(np.int8)), pa.array(names))


def status_type() -> pa.DataType:
    """Arrow type of the status column."""
    return pa.dictionary(pa.int8(), pa.string())
