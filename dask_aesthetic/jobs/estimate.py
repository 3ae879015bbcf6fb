"""Estimate of a scoring job before it starts: bytes to read, and seconds by the speed of its first rows."""

from __future__ import annotations

import time
from dataclasses import dataclass
from itertools import chain

from dask_aesthetic.errors import AestheticError
from dask_aesthetic.jobs.score_plan import ScorePlan

SECONDS = 2.0  # For which the first rows are timed.


@dataclass(frozen=True)
class Estimate:
    """What a job will take.

    Attributes
    ----------
    bytes : int
        Size of the files that are not done; their other columns are not read.
    rate : float
        Rows per second of one thread; 0 if unknown.
    """

    bytes: int
    rate: float


def estimate(plan: ScorePlan) -> Estimate:
    """Estimate of what is not done, by the first rows; nothing is written."""
    todo = plan.todo
    sizes = {file.path: file.size for shard in todo for file in shard.files}
    return Estimate(sum(sizes.values()), _time_first_rows(plan))


def _time_first_rows(plan: ScorePlan) -> float:
    """Rows per second of the first shards with rows, without the first batch, for which models and code are loaded."""
    shards = [shard for shard in plan.todo if shard.rows]
    if not shards:
        return 0.0
    rows, begin = 0, None
    start = time.perf_counter()
    try:
        for scored in chain.from_iterable(plan.score(shard, plan.settings, iter, {}) for shard in shards):
            now = time.perf_counter()
            if begin is None:
                begin, first = now, len(scored.status)
                continue
            rows += len(scored.status)
            if now - begin > SECONDS:
                break
        if begin is None:
            return 0.0
        now = time.perf_counter()
        return rows / (now - begin) if rows else first / (now - start)
    except AestheticError:
        return 0.0
