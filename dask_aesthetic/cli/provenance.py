"""Provenance of scored files: the predictor, scale and threshold that their metadata name."""

from __future__ import annotations

import json
from typing import Any

import pyarrow as pa

from dask_aesthetic.cli.options import parse_threshold
from dask_aesthetic.errors import ArgumentError, InputError
from dask_aesthetic.thresholds import Threshold


def read_provenance(schemas: list[tuple[str, pa.Schema]]) -> dict[str, Any]:
    """Provenance values that all files share.

    Raises
    ------
    InputError
        The files are of several predictors or scales, whose scores do not belong together.
    """
    records: list[tuple[str, dict[str, Any]]] = []
    for path, schema in schemas:
        try:
            records.append((path, json.loads((schema.metadata or {}).get(b"dask_aesthetic", b"{}"))))
        except ValueError as error:
            raise InputError(f"expected provenance as dask-aesthetic writes it in {path}: {error}") from error
    first_path, first = records[0]
    for path, other in records[1:]:
        for name in ("weights_sha256", "scale"):
            if first.get(name) != other.get(name):
                raise InputError(
                    f"expected scores of one predictor on one scale, got {name} {first.get(name)} in {first_path} and "
                    f"{other.get(name)} in {path}: take them one by one"
                )
    return {name: value for name, value in first.items() if all(other.get(name) == value for _, other in records)}


def find_threshold_of_run(requested: str | None, provenance: dict[str, Any]) -> float | str | Threshold:
    """The requested threshold, else that of the run, else the preset "standard"."""
    if requested is not None:
        return parse_threshold(requested)
    if "threshold" in provenance:
        return Threshold.from_dict(provenance["threshold"])
    return "standard"


def find_scale_of_run(requested: str | None, provenance: dict[str, Any]) -> str:
    """The scale that the files name, else the requested one, else "raw".

    Raises
    ------
    ArgumentError
        The files and the request differ.
    """
    if requested is not None and requested != provenance.get("scale", requested):
        raise ArgumentError(f"expected scale={provenance['scale']!r}, as the files say, got {requested!r}")
    return requested or str(provenance.get("scale", "raw"))
