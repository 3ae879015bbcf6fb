"""Runner of a job: submits shards, collects markers, retries lost shards, and stops in order."""

from __future__ import annotations

import errno
import logging
import math
import time
from collections import deque
from collections.abc import Callable
from concurrent.futures import FIRST_COMPLETED, Future, wait
from contextlib import suppress
from dataclasses import dataclass, field
from numbers import Integral
from statistics import median
from typing import Any

from dask_aesthetic.errors import AestheticError, ArgumentError, InputError, JobError, JobStoppedError
from dask_aesthetic.job.executors import Executor
from dask_aesthetic.job.job_plan import Done, JobPlan
from dask_aesthetic.job.markers import FAILED, ShardMarker
from dask_aesthetic.job.score_plan import ScorePlan
from dask_aesthetic.job.score_shard import Outcome
from dask_aesthetic.job.summary import JobSummary

log = logging.getLogger("dask_aesthetic.job")

ATTEMPTS = 3  # Of a shard whose worker was lost or whose files could not be reached.
IN_FLIGHT = 2  # Submitted shards per unit of capacity: one running, one waiting.
TICK = 0.5  # Seconds between polls.
NO_WORKERS = 30.0  # Seconds without a worker before the first warning; each next one takes twice as long.
STUCK, USUAL = 120.0, 20.0  # Seconds, and multiples of the median time, after which a shard counts as stuck.
# Disk full, quota, read-only, not allowed: one output fails as all others do.
UNRECOVERABLE = {errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EACCES, errno.EPERM, errno.EFBIG, errno.ENOTDIR}


@dataclass
class RunningTask:
    """A submitted shard."""

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
    worker_timeout: float = math.inf,
) -> JobSummary:
    """Summary of a scoring job after it has run; see `score_dataset`."""
    for note in plan.notes:
        log.warning("%s", note)
    markers = run_plan(
        plan,
        executor,
        max_failed=max_failed,
        allow_unusable=allow_unusable,
        progress=progress,
        stop=stop,
        first_timeout=plan.settings.first_timeout,
        worker_timeout=worker_timeout,
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
    first_timeout: float = 0.0,
    worker_timeout: float = math.inf,
) -> dict[str, Done]:
    """Markers of all shards by name, after an executor has run the ones that are not done and the manifest is written.

    Raises
    ------
    JobStoppedError, JobError, AestheticError
        As `score_dataset`.
    """
    with plan.store.owned():
        markers = dict(plan.done)
        loop = _ShardLoop(
            plan, executor, markers, max_failed, allow_unusable, progress, stop, first_timeout, worker_timeout
        )
        if not plan.finished:
            plan.prepare()
            try:
                loop.run()
            except BaseException:
                executor.stop()
                raise
            if not loop.failed_shards:
                plan.succeed(markers)
    if not loop.failed_shards:
        return markers
    errors = "; ".join(f"{name}: {error}" for name, error in list(loop.failed_shards.items())[:5])
    more = f"; and {len(loop.failed_shards) - 5:,} more" if len(loop.failed_shards) > 5 else ""
    raise JobError(
        f"{len(loop.failed_shards):,} of {len(plan.shards):,} shards failed: {errors}{more}. The others are done; the "
        "same call tries these again"
    )


class _ShardLoop:
    """Loop that submits the shards of a plan and collects their markers until all are done or have failed."""

    def __init__(
        self,
        plan: JobPlan[Any],
        executor: Executor,
        markers: dict[str, Any],
        max_failed: float | None,
        allow_unusable: bool,
        progress: Callable[[Any], None] | None,
        stop: Callable[[], bool] | None,
        first_timeout: float,
        worker_timeout: float,
    ) -> None:
        self.plan, self.executor, self.markers = plan, executor, markers
        self.limit, self.first_timeout = failures_allowed(max_failed, plan.rows), first_timeout
        self.worker_timeout = worker_timeout
        self.allow_unusable, self.progress, self.stop = allow_unusable, progress, stop
        self.waiting = deque((shard, 1) for shard in plan.todo)
        self.in_flight: dict[Future[Outcome], RunningTask] = {}
        self.seconds: deque[float] = deque(maxlen=100)
        # Polled at most once per TICK: a cluster is slow to answer.
        self.capacity, self.polled = 0, -math.inf
        self.without_workers_since, self.next_warning = math.inf, NO_WORKERS
        self.failed_shards: dict[str, Exception] = {}
        self.failed_rows = sum(sum(marker.failed.values()) for marker in markers.values())

    def run(self) -> None:
        """Run until every shard is done or has failed.

        Raises
        ------
        JobStoppedError, JobError, AestheticError
            The run ends early; running shards are waited for unless it is to stop.
        """
        ending = self._check_failures()
        while self.in_flight or (self.waiting and ending is None):
            if self.stop is not None and self.stop():
                raise JobStoppedError(f"stopped after {self._progress_text()}. The same call resumes there")
            if time.monotonic() >= self.polled + TICK:
                self._poll()
            while ending is None and self.waiting and len(self.in_flight) < max(IN_FLIGHT * self.capacity, 1):
                self._submit(*self.waiting.popleft())
            done, _ = wait(self.in_flight, timeout=TICK, return_when=FIRST_COMPLETED)
            for future in done:
                ending = self._collect(future) or ending
        if ending is not None:
            raise ending

    def _submit(self, shard: Any, attempt: int) -> None:
        future = self.executor.submit(shard, self.plan.settings, self.plan.store, self.allow_unusable)
        self.in_flight[future] = RunningTask(shard, attempt)

    def _collect(self, future: Future[Outcome]) -> Exception | None:
        """Collect a result; the error that ends the run, if one does."""
        task = self.in_flight.pop(future, None)
        if task is None:
            return None  # A speculative task of the same shard came first.
        duplicates = [duplicate for duplicate, other in self.in_flight.items() if other.shard is task.shard]
        try:
            outcome = future.result()
        except Exception as error:
            another_may_finish = any(not self.in_flight[other].warned for other in duplicates)  # A stuck one may not.
            return None if another_may_finish else self._retry(task, error)
        for duplicate in duplicates:
            del self.in_flight[duplicate]
            duplicate.cancel()
        if isinstance(outcome, InputError):
            self._fail(task, outcome)
            return None
        if isinstance(outcome, AestheticError):
            return outcome
        self.seconds.append(time.monotonic() - task.since)
        self.markers[task.shard.name] = outcome
        self.failed_rows += sum(outcome.failed.values())
        if self.progress is not None:
            self.progress(outcome)
        return self._check_failures()

    def _retry(self, task: RunningTask, error: Exception) -> Exception | None:
        what = f"{type(error).__name__}: {error}"
        # Dask's own threads may raise anything when a worker is killed; a mistake in this code fails every time.
        known = isinstance(error, OSError) or self.executor.is_worker_lost(error)
        if getattr(error, "errno", None) in UNRECOVERABLE or (not known and task.attempt == ATTEMPTS):
            failed = JobError(f"shard {task.shard.name} ended the run, {what}. {self._progress_text()}")
            failed.__cause__ = error
            return failed
        if task.attempt == ATTEMPTS:
            self._fail(task, error)
            return None
        log.warning("shard %s is retried: %s", task.shard.name, what)
        self.waiting.append((task.shard, task.attempt + 1))
        return None

    def _fail(self, task: RunningTask, error: Exception) -> None:
        self.failed_shards[task.shard.name] = error
        log.warning("shard %s failed: %s", task.shard.name, error)

    def _check_failures(self) -> Exception | None:
        if self.failed_rows <= self.limit:
            return None
        return JobError(
            f"expected at most {self.limit:,.0f} rows without a usable embedding, got {self.failed_rows:,} after "
            f"{self._progress_text()}: {FAILED} lists them"
        )

    def _progress_text(self) -> str:
        return f"{len(self.markers):,} of {len(self.plan.shards):,} shards done"

    def _poll(self) -> None:
        self.executor.restart_workers()
        self.capacity, self.polled = self.executor.capacity(), time.monotonic()
        if self.capacity:
            self.without_workers_since, self.next_warning = math.inf, NO_WORKERS
            self._check_stuck()
        else:
            self._check_workers()

    def _check_workers(self) -> None:
        for task in self.in_flight.values():
            task.since = self.polled  # Nothing runs it.
        self.without_workers_since = min(self.without_workers_since, self.polled)
        seconds = self.polled - self.without_workers_since
        if seconds > self.worker_timeout:
            raise JobError(
                f"expected workers, got none for {seconds:.0f} s (worker_timeout, --worker-timeout), "
                f"{self._progress_text()}. Start some, and the same call resumes there"
            )
        if seconds > self.next_warning:
            log.warning("there has been no worker for %.0f s; %s", seconds, self._progress_text())
            self.next_warning *= 2

    def _check_stuck(self) -> None:
        now = time.monotonic()
        timeout = max(STUCK, USUAL * median(self.seconds) if self.seconds else self.first_timeout)
        for task in list(self.in_flight.values()):
            if now - task.since > max(timeout, 2 * task.warned):
                # Its worker may hang, or the answer was lost. A speculative task scores it, or finds it done.
                if not task.warned and task.attempt < ATTEMPTS:
                    self._submit(task.shard, task.attempt + 1)
                task.warned = now - task.since
                usual = f"; {median(self.seconds):.1f} s are usual" if self.seconds else ""
                log.warning("shard %s has been running for %.0f s%s", task.shard.name, task.warned, usual)


def failures_allowed(max_failed: float | None, rows: int) -> float:
    """Number of rows that may fail: all by default, an integer as it is, a float as a fraction of `rows`.

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
    hint = ""
    if isinstance(max_failed, str):
        with suppress(ValueError):
            hint = f": {max_failed} is {float(max_failed.rstrip('% ')) / (100 if '%' in max_failed else 1)}"
    raise ArgumentError(
        f"expected max_failed to be a whole number of rows or a share from 0.0 up to 1.0, got {max_failed!r}{hint}"
    )
