"""Settings of a select job that change its output, their fingerprint, and the provenance in its files."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import pyarrow as pa

from dask_aesthetic.provenance import METADATA_KEY, Provenance
from dask_aesthetic.select.rule import Rule
from dask_aesthetic.version import __version__

SCHEMA_VERSION = 1  # Of settings and manifest; a job of another version is not resumed.
GROUPS = 100  # Whose cuts are in every file; the manifest has those of all groups.


@dataclass(frozen=True)
class SelectSettings:
    """Settings that shape the output of every shard.

    Attributes
    ----------
    rule : Rule
    source : pyarrow.Schema
        Columns of the scores.
    keep_column : str
    keep_only : bool
        Write only the rows to keep.
    provenance : Provenance
        Of the scores.
    scale : str
        Of the scores.
    """

    rule: Rule
    source: pa.Schema
    keep_column: str
    keep_only: bool
    provenance: Provenance
    scale: str

    @property
    def schema(self) -> pa.Schema:
        """Schema of the output: the columns of the scores, with another ``keep`` in its place, or before the status."""
        keep = pa.field(self.keep_column, pa.bool_())
        fields = [keep if field.name == self.keep_column else field for field in self.source]
        if self.keep_column not in self.source.names:
            has_status = self.provenance.columns.get("status_column") == self.source.names[-1]
            fields.insert(len(fields) - has_status, keep)
        return pa.schema(fields, metadata={METADATA_KEY: json.dumps(self.record, sort_keys=True)})

    @property
    def record(self) -> dict[str, Any]:
        """Provenance of the output: that of the scores, with another threshold and the rule."""
        rule, record = self.rule, dict(self.provenance.record)
        for name in ("threshold", "keep", "override_column"):
            record.pop(name, None)
        if rule.wanted is None and rule.threshold is not None:
            record["threshold"] = rule.threshold.to_dict()
        cuts = rule.cuts()
        listed = not isinstance(cuts, list) or len(cuts) <= GROUPS
        cut = {"cut": cuts} if rule.top is not None and listed else {}
        if rule.wanted is None and rule.keep is not None:
            record["keep"] = rule.keep.to_dict()
        if rule.wanted is None and rule.override_column is not None:
            record["override_column"] = rule.override_column
        return {
            "schema_version": SCHEMA_VERSION,
            **record,
            "scale": self.scale,
            "version": __version__,
            "selected": {"kept": str(rule), **rule.as_config(), **cut},
        }

    def as_config(self) -> dict[str, Any]:
        """Settings as JSON values."""
        record = self.provenance.record
        return {
            "schema_version": SCHEMA_VERSION,
            "predictor": self.provenance.known.get("predictor"),
            "weights_sha256": record.get("weights_sha256"),
            "scale": self.scale,
            **self.rule.as_config(),
            "keep_column": self.keep_column,
            "keep_only": self.keep_only,
            "columns": {field.name: str(field.type) for field in self.schema},
        }

    def spelled_as(self, earlier: Mapping[str, Any] | None) -> SelectSettings:
        """Settings whose threshold has the name that an `as_config` of an earlier run gives to the same threshold."""
        threshold, name = self.rule.threshold, (earlier or {}).get("threshold_name")
        if threshold is None or not isinstance(name, str) or (earlier or {}).get("threshold") != threshold.value:
            return self
        return replace(self, rule=replace(self.rule, threshold=replace(threshold, name=name)))

    @property
    def fingerprint(self) -> str:
        """sha256 of `as_config`."""
        return hashlib.sha256(json.dumps(self.as_config(), sort_keys=True).encode()).hexdigest()
