"""Distributions as JSON and back, and as tables for people to read."""

from __future__ import annotations

import json
import math
from hashlib import sha256
from html import escape
from typing import TYPE_CHECKING, Any

import numpy as np

from dask_aesthetic.distribution.counting import BINS, Moments
from dask_aesthetic.errors import InputError
from dask_aesthetic.thresholds import PRESETS, Threshold, is_on_preset_scale

if TYPE_CHECKING:
    from dask_aesthetic.distribution.counts import ScoreCounts
    from dask_aesthetic.distribution.scores import ScoreDistribution

FORMAT, VERSION = "dask_aesthetic.ScoreDistribution", 1
PLAIN = ("scale", "predictor", "predictor_scale", "rows", "sampled_from", "reasons")
QUANTILES = (0.01, 0.25, 0.5, 0.75, 0.99)


def to_json(distribution: ScoreCounts) -> str:
    """The distribution as JSON of one line; equal distributions give equal text."""
    filled = np.flatnonzero(distribution.bins)
    first, last = (int(filled[0]), int(filled[-1]) + 1) if len(filled) else (0, 0)
    told = {
        "format": FORMAT,
        "version": VERSION,
        **{name: getattr(distribution, name) for name in PLAIN},
        "min": distribution.min if len(filled) else None,
        "max": distribution.max if len(filled) else None,
        "sum": hex(distribution.moments.total),  # Too many digits for most readers of JSON numbers.
        "squares": hex(distribution.moments.squares),
        "first_bin": first,
        "bins": distribution.bins[first:last].tolist(),
    }
    return _text({**told, "sha256": _digest(told)})


def from_json(text: str) -> dict[str, Any]:
    """The fields of the distribution that `to_json` wrote.

    Raises
    ------
    InputError
        The text is something else, of another version, or not as it was written.
    """
    try:
        told = json.loads(text)
        if not isinstance(told, dict) or told.get("format") != FORMAT:
            raise ValueError(f"it does not say that it is a {FORMAT}")
        if told.get("version") != VERSION:
            raise ValueError(f"it is of version {told.get('version')!r}, and this package reads version {VERSION}")
        if told.pop("sha256", None) != _digest(told):
            raise ValueError("its sha256 is not that of what it holds, so it was cut short or changed")
        bins = np.zeros(BINS, np.int64)
        bins[told["first_bin"] : told["first_bin"] + len(told["bins"])] = told["bins"]
        ends = {name: math.nan if told[name] is None else float(told[name]) for name in ("min", "max")}
        moments = Moments(int(told["sum"], 16), int(told["squares"], 16))
        return {"bins": bins, "moments": moments, **ends, **{name: told[name] for name in PLAIN}}
    except (KeyError, RecursionError, TypeError, ValueError) as error:
        raise InputError(
            f"expected a distribution as ScoreDistribution.to_json or save writes it, got {text[:60]!r}: {error}"
        ) from error


def as_text(distribution: ScoreDistribution) -> str:
    """The distribution for a terminal."""
    rows = table(distribution).items()
    return "\n".join([title(distribution), *(f"{name:>9}  {value}" for name, value in rows)])


def as_html(distribution: ScoreDistribution) -> str:
    """The distribution for a notebook."""
    rows = table(distribution).items()
    cells = "".join(f"<tr><th>{escape(name)}</th><td>{escape(value)}</td></tr>" for name, value in rows)
    return f"<table><caption>{escape(title(distribution))}</caption>{cells}</table>"


def title(distribution: ScoreDistribution) -> str:
    """What it is a distribution of."""
    by = f" by {distribution.predictor}" if distribution.predictor else ""
    return f"ScoreDistribution of {distribution.scale} scores{by}"


def table(distribution: ScoreDistribution) -> dict[str, str]:
    """What there is to tell, by name."""
    d = distribution
    sample = f", a sample of {d.sampled_from:,}" if d.sampled_from is not None else ""
    reasons = ", ".join(f"{rows:,} {reason}" for reason, rows in d.reasons.items())
    rows = {
        "rows": f"{d.rows:,}{sample}",
        "scored": f"{d.count:,}",
        "missing": f"{d.missing:,}" + (f": {reasons}" if reasons else ""),
    }
    if not d.count:
        return rows
    rows["score"] = f"mean {d.mean:.3f}, standard deviation {d.std:.3f}, {d.min:.3f} to {d.max:.3f}"
    rows["quantiles"] = ", ".join(f"{q:.0%} {d.quantile(q):.4g}" for q in QUANTILES)
    if is_on_preset_scale(d.predictor_scale, d.predictor):
        for name, value in PRESETS.items():
            cut = Threshold(value).on(d.scale)
            low, high = d.interval(cut)
            between = f", 95 % interval {low:.2%} to {high:.2%}" if d.sampled_from is not None else ""
            rows[f">= {cut.value:g}"] = f"{d.rate(cut):.2%} ({name}){between}"
    return rows


def _text(told: dict[str, Any]) -> str:
    return json.dumps(told, sort_keys=True, allow_nan=False)


def _digest(told: dict[str, Any]) -> str:
    return sha256(_text(told).encode()).hexdigest()
