"""LAION's published counts: how many pictures score at least so much."""

from __future__ import annotations

# LAION-Aesthetics v2: English pairs of LAION-5B by their lowest laion-v2 score, and all of them
# (https://laion.ai/blog/laion-aesthetics/).
LAION_PAIRS = 2_370_000_000
LAION_COUNTS = {4.5: 1_200_000_000, 4.75: 939_000_000, 5.0: 600_000_000, 6.0: 12_000_000, 6.25: 3_000_000, 6.5: 625_000}
LAION_SHARES = {score: count / LAION_PAIRS for score, count in LAION_COUNTS.items()}
