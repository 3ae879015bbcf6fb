"""How scores were made, as the files that hold them say."""

from __future__ import annotations

import json
from typing import Any

import pyarrow as pa

from dask_aesthetic.errors import ArgumentError, InputError
from dask_aesthetic.thresholds import Threshold


def provenance(schemas: list[tuple[str, pa.Schema]]) -> dict[str, Any]:
    """What made the scores, as the files say; nothing where they do not say the same.

    Raises
    ------
    InputError
        They are of several predictors or scales, whose scores do not belong together.
    """
    told: list[tuple[str, dict[str, Any]]] = []
    for path, schema in schemas:
        try:
            told.append((path, json.loads((schema.metadata or {}).get(b"dask_aesthetic", b"{}"))))
        except ValueError as error:
            raise InputError(f"expected provenance as dask-aesthetic writes it in {path}: {error}") from error
    first_path, first = told[0]
    for path, other in told[1:]:
        for name in ("weights_sha256", "scale"):
            if first.get(name) != other.get(name):
                raise InputError(
                    f"expected scores of one predictor on one scale, got {name} {first.get(name)} in {first_path} and "
                    f"{other.get(name)} in {path}: take them one by one"
                )
    return {name: value for name, value in first.items() if all(other.get(name) == value for _, other in told)}


def threshold_of(asked: str | None, told: dict[str, Any]) -> float | str | Threshold:
    """The threshold that is asked for, else that of the run, else the usual one."""
    if asked is not None:
        try:
            return float(asked)
        except ValueError:
            return asked
    if "threshold" in told:
        return Threshold.from_dict(told["threshold"])
    return "standard"


def scale_of(scale: str | None, told: dict[str, Any]) -> str:
    """The scale of the scores, as the files say or else as the user does.

    Raises
    ------
    ArgumentError
        They differ.
    """
    if scale is not None and scale != told.get("scale", scale):
        raise ArgumentError(f"expected scale={told['scale']!r}, as the files say, got {scale!r}")
    return scale or str(told.get("scale", "raw"))
