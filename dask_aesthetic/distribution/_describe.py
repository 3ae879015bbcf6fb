"""Distribution as a table for people to read."""

from __future__ import annotations

from typing import TYPE_CHECKING

from dask_aesthetic.thresholds import PRESETS, Threshold, is_on_preset_scale

if TYPE_CHECKING:
    from dask_aesthetic.distribution.distribution import ScoreDistribution

QUANTILES = (0.01, 0.25, 0.5, 0.75, 0.99)


def describe(distribution: ScoreDistribution) -> tuple[str, dict[str, str]]:
    """Title and rows of the printed form."""
    title = f"ScoreDistribution of {distribution.scale} scores by {distribution.predictor or 'an unknown predictor'}"
    sample = f", a sample of {distribution.sampled_from:,}" if distribution.sampled_from is not None else ""
    reasons = ", ".join(f"{rows:,} {reason}" for reason, rows in distribution.reasons.items())
    rows = {
        "rows": f"{distribution.rows:,}{sample}",
        "scored": f"{distribution.count:,}",
        "missing": f"{distribution.missing:,}" + (f": {reasons}" if reasons else ""),
    }
    if not distribution.count:
        return title, rows
    ends = f"{distribution.min:.3f} to {distribution.max:.3f}"
    rows["score"] = f"mean {distribution.mean:.3f}, standard deviation {distribution.std:.3f}, {ends}"
    rows["quantiles"] = ", ".join(f"{q:.0%} {distribution.quantile(q):.4g}" for q in QUANTILES)
    for name, value in (
        PRESETS.items() if is_on_preset_scale(distribution.predictor_scale, distribution.predictor) else ()
    ):
        preset = Threshold(value).on(distribution.scale)
        low, high = distribution.interval(preset)
        interval = f", 95 % interval {low:.2%} to {high:.2%}" if distribution.sampled_from is not None else ""
        rows[f">= {preset.value:g}"] = f"{distribution.rate(preset):.2%} ({name}){interval}"
    return title, rows
