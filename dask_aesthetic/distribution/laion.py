"""Shares of LAION's pairs by score, and keep rates beside them."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pandas as pd

from dask_aesthetic.errors import ThresholdError
from dask_aesthetic.thresholds import PRESET_SCALE, Threshold, is_on_preset_scale

if TYPE_CHECKING:
    from dask_aesthetic.distribution.distribution import ScoreDistribution

# LAION-Aesthetics v2: English pairs of LAION-5B that score at least so much by laion-v2, and all English pairs
# (https://laion.ai/blog/laion-aesthetics/).
LAION_PAIRS = 2_370_000_000
LAION_COUNTS = {4.5: 1_200_000_000, 4.75: 939_000_000, 5.0: 600_000_000, 6.0: 12_000_000, 6.25: 3_000_000, 6.5: 625_000}
LAION_SHARES = {score: count / LAION_PAIRS for score, count in LAION_COUNTS.items()}


def compare(distribution: ScoreDistribution) -> pd.DataFrame:
    """Keep rates beside LAION's; see `ScoreDistribution.compare_laion`."""
    if not is_on_preset_scale(distribution.predictor_scale, distribution.predictor):
        whose = distribution.predictor if distribution.predictor_scale == "unknown" else distribution.predictor_scale
        raise ThresholdError(
            f"expected {PRESET_SCALE} scores to compare with LAION's, got {whose} scores, which are on a scale of "
            "their own: score with predictor='laion-v2'"
        )
    thresholds = [Threshold(score).on(distribution.scale) for score in LAION_SHARES]
    shares = {"laion": list(LAION_SHARES.values()), "here": [distribution.rate(threshold) for threshold in thresholds]}
    if distribution.sampled_from is not None:
        intervals = [distribution.interval(threshold) for threshold in thresholds]
        shares["low"], shares["high"] = ([interval[end] for interval in intervals] for end in (0, 1))
    return pd.DataFrame(shares, index=pd.Index([threshold.value for threshold in thresholds], name="threshold"))
