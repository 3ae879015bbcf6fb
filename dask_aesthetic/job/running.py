"""A run: hand out shards, take their markers in, go on after what can be mended, and end in order."""

from __future__ import annotations

import errno
import logging
import math
import time
from collections import deque
from collections.abc import Callable
from concurrent.futures import FIRST_COMPLETED, Future, wait
from dataclasses import dataclass, field
from numbers import Integral
from statistics import median
from typing import Any

from dask_aesthetic.errors import AestheticError, ArgumentError, InputError, JobError, JobStoppedError
from dask_aesthetic.job.executors import Executor
from dask_aesthetic.job.markers import FAILED, ShardMarker
from dask_aesthetic.job.plan import ScorePlan
from dask_aesthetic.job.shard import Outcome
from dask_aesthetic.job.summary import JobSummary
from dask_aesthetic.job.work import Done, JobPlan

log = logging.getLogger("dask_aesthetic.job")

ATTEMPTS = 3  # Of a shard whose worker was lost or whose files could not be reached.
IN_FLIGHT = 2  # Shards handed out per slot: one at work, one waiting.
TICK = 0.5  # Seconds between looks at the clock.
ALONE = 30.0  # Seconds without a worker after which that is said, and again after twice as many.
STUCK, USUAL = 120.0, 20.0  # A shard is called stuck after so many seconds, and so many times the usual ones.
# Disk full, quota, read-only, not allowed: what ails one output ails all.
UNRECOVERABLE = {errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EACCES, errno.EPERM, errno.EFBIG, errno.ENOTDIR}


@dataclass
class Flight:
    """A shard that is handed out."""

    shard: Any
    attempt: int
    since: float = field(default_factory=time.monotonic)
    warned: float = 0.0


def run(
    plan: ScorePlan,
    executor: Executor,
    *,
    max_failed: float | None = None,
    allow_unusable: bool = False,
    progress: Callable[[ShardMarker], None] | None = None,
    stop: Callable[[], bool] | None = None,
) -> JobSummary:
    """Score every shard that is not done; see `score_dataset`."""
    for note in plan.notes:
        log.warning("%s", note)
    markers = run_plan(
        plan,
        executor,
        max_failed=max_failed,
        allow_unusable=allow_unusable,
        progress=progress,
        stop=stop,
        patience=plan.settings.patience,
    )
    return sum((marker.summary for marker in markers.values()), JobSummary())


def run_plan(
    plan: JobPlan[Done],
    executor: Executor,
    *,
    max_failed: float | None = None,
    allow_unusable: bool = False,
    progress: Callable[[Any], None] | None = None,
    stop: Callable[[], bool] | None = None,
    patience: float = 0.0,
) -> dict[str, Done]:
    """Have a executor do every shard that is not done, and write the manifest; the marker of each shard by name.

    Raises
    ------
    JobStoppedError, JobError, AestheticError
        As `score_dataset`.
    """
    with plan.store.owned():
        markers = dict(plan.done)
        loop = _Loop(plan, executor, markers, max_failed, allow_unusable, progress, stop, patience)
        if not plan.finished:
            plan.prepare()
            try:
                loop.run()
            except BaseException:
                executor.stop()
                raise
            if not loop.spoilt:
                plan.succeed(markers)
    if not loop.spoilt:
        return markers
    told = "; ".join(f"{name}: {error}" for name, error in list(loop.spoilt.items())[:5])
    more = f"; and {len(loop.spoilt) - 5:,} more" if len(loop.spoilt) > 5 else ""
    raise JobError(
        f"{len(loop.spoilt):,} of {len(plan.shards):,} shards could not be done: {told}{more}. The others are done; "
        "the same call tries these again"
    )


class _Loop:
    def __init__(
        self,
        plan: JobPlan[Any],
        executor: Executor,
        markers: dict[str, Any],
        max_failed: float | None,
        allow_unusable: bool,
        progress: Callable[[Any], None] | None,
        stop: Callable[[], bool] | None,
        patience: float,
    ) -> None:
        self.plan, self.executor, self.markers = plan, executor, markers
        self.limit, self.patience = failures_allowed(max_failed, plan.rows), patience
        self.allow_unusable, self.progress, self.stop = allow_unusable, progress, stop
        self.waiting = deque((shard, 1) for shard in plan.todo)
        self.flying: dict[Future[Outcome], Flight] = {}
        self.seconds: deque[float] = deque(maxlen=100)
        # The executor's, and when that was asked: a cluster takes its time to answer.
        self.slots, self.looked = 0, -math.inf
        self.alone, self.alone_told = math.inf, ALONE  # Since when there is no worker, and when to say so.
        self.spoilt: dict[str, Exception] = {}
        self.failed = sum(sum(marker.failed.values()) for marker in markers.values())

    def run(self) -> None:
        """Until every shard is done or spoilt.

        Raises
        ------
        JobStoppedError, JobError, AestheticError
            The run ends before; shards that were at work are waited for unless it is to stop.
        """
        ending = self._too_many()
        while self.flying or (self.waiting and ending is None):
            if self.stop is not None and self.stop():
                raise JobStoppedError(f"stopped after {self._standing()}. The same call goes on from there")
            if time.monotonic() >= self.looked + TICK:
                self._look_around()
            while ending is None and self.waiting and len(self.flying) < max(IN_FLIGHT * self.slots, 1):
                self._submit(*self.waiting.popleft())
            done, _ = wait(self.flying, timeout=TICK, return_when=FIRST_COMPLETED)
            for future in done:
                ending = self._take(future) or ending
        if ending is not None:
            raise ending

    def _submit(self, shard: Any, attempt: int) -> None:
        future = self.executor.submit(shard, self.plan.settings, self.plan.store, self.allow_unusable)
        self.flying[future] = Flight(shard, attempt)

    def _take(self, future: Future[Outcome]) -> Exception | None:
        """Take a result in; the error that ends the run, if it does."""
        flight = self.flying.pop(future, None)
        if flight is None:
            return None  # Its twin has come before.
        twins = [twin for twin, other in self.flying.items() if other.shard is flight.shard]
        try:
            outcome = future.result()
        except Exception as error:
            hopeful = any(not self.flying[twin].warned for twin in twins)  # One that is stuck may never come.
            return None if hopeful else self._try_again(flight, error)
        for twin in twins:
            del self.flying[twin]
            twin.cancel()
        if isinstance(outcome, InputError):
            self._spoil(flight, outcome)
            return None
        if isinstance(outcome, AestheticError):
            return outcome
        self.seconds.append(time.monotonic() - flight.since)
        self.markers[flight.shard.name] = outcome
        self.failed += sum(outcome.failed.values())
        if self.progress is not None:
            self.progress(outcome)
        return self._too_many()

    def _try_again(self, flight: Flight, error: Exception) -> Exception | None:
        what = f"{type(error).__name__}: {error}"
        # Dask's own threads may stumble over a worker that is killed; what is wrong here fails every time.
        known = isinstance(error, OSError) or self.executor.lost(error)
        if getattr(error, "errno", None) in UNRECOVERABLE or (not known and flight.attempt == ATTEMPTS):
            failed = JobError(f"shard {flight.shard.name} ended the run, {what}. {self._standing()}")
            failed.__cause__ = error
            return failed
        if flight.attempt == ATTEMPTS:
            self._spoil(flight, error)
            return None
        log.warning("shard %s is tried again: %s", flight.shard.name, what)
        self.waiting.append((flight.shard, flight.attempt + 1))
        return None

    def _spoil(self, flight: Flight, error: Exception) -> None:
        self.spoilt[flight.shard.name] = error
        log.warning("shard %s is left out: %s", flight.shard.name, error)

    def _too_many(self) -> Exception | None:
        if self.failed <= self.limit:
            return None
        return JobError(
            f"expected at most {self.limit:,.0f} rows without a usable embedding, got {self.failed:,} after "
            f"{self._standing()}: {FAILED} lists them"
        )

    def _standing(self) -> str:
        return f"{len(self.markers):,} of {len(self.plan.shards):,} shards done"

    def _look_around(self) -> None:
        self.executor.mend()
        self.slots, self.looked = self.executor.slots(), time.monotonic()
        if self.slots:
            self.alone, self.alone_told = math.inf, ALONE
            self._look_for_stuck()
        else:
            self._look_for_workers()

    def _look_for_workers(self) -> None:
        for flight in self.flying.values():
            flight.since = self.looked  # Nobody is at work on it.
        self.alone = min(self.alone, self.looked)
        if self.looked - self.alone > self.alone_told:
            log.warning("there has been no worker for %.0f s; %s", self.looked - self.alone, self._standing())
            self.alone_told *= 2

    def _look_for_stuck(self) -> None:
        now = time.monotonic()
        patience = max(STUCK, USUAL * median(self.seconds) if self.seconds else self.patience)
        for flight in list(self.flying.values()):
            if now - flight.since > max(patience, 2 * flight.warned):
                # Whoever scores it may hang, or be done and the answer lost. A twin scores it, or finds it done.
                if not flight.warned and flight.attempt < ATTEMPTS:
                    self._submit(flight.shard, flight.attempt + 1)
                flight.warned = now - flight.since
                usual = f"; {median(self.seconds):.1f} s are usual" if self.seconds else ""
                log.warning("shard %s has been at work for %.0f s%s", flight.shard.name, flight.warned, usual)


def failures_allowed(max_failed: float | None, rows: int) -> float:
    """How many rows may fail: all if not said, a count if it is a whole number, else a share of `rows`.

    Raises
    ------
    ArgumentError
        It is neither.
    """
    if max_failed is None:
        return math.inf
    if not isinstance(max_failed, bool) and isinstance(max_failed, Integral) and max_failed >= 0:
        return int(max_failed)
    if isinstance(max_failed, float) and 0 <= max_failed < 1:
        return math.floor(max_failed * rows)
    raise ArgumentError(
        f"expected max_failed to be a whole number of rows or a share from 0.0 up to 1.0, got {max_failed!r}"
    )
