"""LAION's published counts: how many pictures score at least so much."""

from __future__ import annotations

from collections.abc import Sequence

import pandas as pd

# LAION-Aesthetics v2: English pairs of LAION-5B by their lowest laion-v2 score, and all of them
# (https://laion.ai/blog/laion-aesthetics/).
LAION_PAIRS = 2_370_000_000
LAION_COUNTS = {4.5: 1_200_000_000, 4.75: 939_000_000, 5.0: 600_000_000, 6.0: 12_000_000, 6.25: 3_000_000, 6.5: 625_000}
LAION_SHARES = {score: count / LAION_PAIRS for score, count in LAION_COUNTS.items()}


def beside_laion(
    thresholds: Sequence[float], rates: Sequence[float], intervals: Sequence[tuple[float, float]] | None
) -> pd.DataFrame:
    """Kept shares at LAION's thresholds, in its order, as a table beside LAION's own."""
    shares = {"laion": list(LAION_SHARES.values()), "here": list(rates)}
    if intervals is not None:
        shares["low"], shares["high"] = ([interval[end] for interval in intervals] for end in (0, 1))
    return pd.DataFrame(shares, index=pd.Index(thresholds, name="threshold"))
