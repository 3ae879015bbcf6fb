"""JSON of a distribution, with a format name, a version and a checksum."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from hashlib import sha256
from typing import Any

import numpy as np

from dask_aesthetic.distribution._bins import BINS, FINE_BINS, Moments, to_fine
from dask_aesthetic.errors import InputError

FORMAT = "dask_aesthetic.ScoreDistribution"
VERSIONS = {1: BINS, 2: FINE_BINS}  # Bins of hundredths alone, and narrower ones from 0 to 1.
PLAIN = ("scale", "predictor", "predictor_scale", "rows", "sampled_from", "reasons")


def encode(fields: Mapping[str, Any]) -> str:
    """JSON of the fields of a distribution, as one line; equal fields give equal text."""
    bins, moments = fields["bins"], fields["moments"]
    filled = np.flatnonzero(bins)
    first, last = (int(filled[0]), int(filled[-1]) + 1) if len(filled) else (0, 0)
    values = {
        "format": FORMAT,
        "version": next(version for version, size in VERSIONS.items() if size == len(bins)),
        **{name: fields[name] for name in PLAIN},
        "min": fields["min"] if len(filled) else None,
        "max": fields["max"] if len(filled) else None,
        "sum": hex(moments.total),  # Most readers of JSON round integers of so many digits.
        "squares": hex(moments.squares),
        "first_bin": first,
        "bins": bins[first:last].tolist(),
    }
    return _dumps({**values, "sha256": _digest(values)})


def decode(text: str) -> dict[str, Any]:
    """Fields of the distribution that `encode` wrote.

    Raises
    ------
    InputError
        The text is something else, of another version, or changed since.
    """
    try:
        values = json.loads(text)
        if not isinstance(values, dict) or values.get("format") != FORMAT:
            raise ValueError(f"it does not say that it is a {FORMAT}")
        version: Any = values.get("version")
        size = VERSIONS.get(version)
        if size is None:
            versions = " and ".join(map(str, VERSIONS))
            raise ValueError(f"it is of version {version!r}, and this package reads versions {versions}")
        if values.pop("sha256", None) != _digest(values):
            raise ValueError("its sha256 is not that of its content, so it was truncated or changed")
        bins = np.zeros(size, np.int64)
        bins[values["first_bin"] : values["first_bin"] + len(values["bins"])] = values["bins"]
        bins = to_fine(bins) if size == BINS else bins
        ends = {name: math.nan if values[name] is None else float(values[name]) for name in ("min", "max")}
        moments = Moments(int(values["sum"], 16), int(values["squares"], 16))
        return {"bins": bins, "moments": moments, **ends, **{name: values[name] for name in PLAIN}}
    except (KeyError, RecursionError, TypeError, ValueError) as error:
        raise InputError(
            f"expected a distribution as ScoreDistribution.to_json or save writes it, got {text[:60]!r}: {error}"
        ) from error


def _dumps(values: dict[str, Any]) -> str:
    return json.dumps(values, sort_keys=True, allow_nan=False)


def _digest(values: dict[str, Any]) -> str:
    return sha256(_dumps(values).encode()).hexdigest()
