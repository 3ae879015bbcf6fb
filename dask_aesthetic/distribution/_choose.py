"""Threshold that keeps a share or number of rows, and the warning of one that keeps nearly all or nearly nothing."""

from __future__ import annotations

import warnings
from typing import TYPE_CHECKING, Any

import numpy as np

from dask_aesthetic.errors import AestheticWarning, ArgumentError, ThresholdError
from dask_aesthetic.thresholds import UNKNOWN, Threshold
from dask_aesthetic.validation import check_fraction, check_integer

if TYPE_CHECKING:
    from dask_aesthetic.distribution.distribution import ScoreDistribution

MAX_RATE, MIN_RATE = 0.99, 0.001  # Keep rates beyond these look like a mistake.


def choose(
    distribution: ScoreDistribution, keep_fraction: float | None, n: int | None, scores: Any
) -> tuple[Threshold, float, int]:
    """Highest threshold that keeps a share or number of rows, the share that is asked for, and the rows that it keeps.

    Raises
    ------
    ArgumentError, ThresholdError
        As of `ScoreDistribution.threshold_for`.
    """
    if (keep_fraction is None) == (n is None):
        raise ArgumentError(f"expected either keep_fraction or n, got keep_fraction={keep_fraction!r} and n={n!r}")
    if not distribution.count:
        raise ThresholdError(f"expected scores to choose a threshold by, got none in {distribution.rows:,} rows")
    whole = distribution._scored_of_whole
    if n is not None:
        check_integer("n", n, minimum=1, maximum=whole, unit="rows")
    share = n / whole if n is not None else check_fraction("keep_fraction", keep_fraction)
    rank = distribution._rank(share)
    at_least = np.cumsum(distribution.bins[::-1])[::-1]
    at = int(np.flatnonzero(at_least >= rank)[-1])
    if scores is not None:
        inside = distribution._scores_in_bin(at, scores)
        value = float(inside[int(at_least[at]) - rank])
        kept = int(at_least[at]) - int(np.searchsorted(inside, value))
    else:
        value, kept = distribution._edge(at) if at else distribution.min, int(at_least[at])
    if n is not None:
        keeps = f"{round(kept * whole / distribution.count):,}"
        asked = f" ({n:,} asked)" if keeps != f"{n:,}" else ""
    else:  # Where scores lie close together, a bin holds many rows.
        many = kept / distribution.count > 1.1 * share
        keeps, asked = (f"{kept / distribution.count:.3g}", f" ({share:g} asked)") if many else (f"{share:g}", "")
    sample = f", by a sample of {distribution.count:,}" if distribution.sampled_from is not None else ""
    name = f"keeps {keeps} of {whole:,} scored rows{sample}{asked}"
    return Threshold(value, distribution.scale, name, distribution.predictor or UNKNOWN), share, kept


def warn_if_extreme(
    distribution: ScoreDistribution, threshold: Threshold, rate: float, share: float | None = None
) -> None:
    """Warn of a threshold that keeps nearly all or nearly nothing, unless the share that was asked for is extreme."""
    if share is not None and not MIN_RATE <= share <= MAX_RATE:
        return
    if rate > MAX_RATE or rate < MIN_RATE:
        warnings.warn(
            f"expected a threshold to keep {MIN_RATE:.1%} to {MAX_RATE:.0%} of the scored rows, got "
            f"{threshold.value:g} on {distribution.scale} scores, which keeps {rate:.3%}: look at the quantiles or use "
            "threshold_for",
            AestheticWarning,
            stacklevel=3,
        )
