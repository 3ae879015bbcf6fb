"""Runner of a job: submits shards, collects markers, retries lost shards, and stops in order."""

from __future__ import annotations

import errno
import logging
import math
import time
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import Future
from contextlib import suppress
from dataclasses import dataclass, field, replace
from functools import partial
from queue import Empty, SimpleQueue
from statistics import median
from typing import Any, Generic

from dask_aesthetic.errors import AestheticError, ArgumentError, InputError, JobError, JobStoppedError
from dask_aesthetic.jobs.pool import Bundle, Pool
from dask_aesthetic.jobs.state import FAILED, Done, JobPlan, Stopped
from dask_aesthetic.validation import is_integer, is_number

log = logging.getLogger("dask_aesthetic.jobs")

# Disk full, quota, read-only, not allowed: one output fails as all others do.
UNRECOVERABLE = {errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EACCES, errno.EPERM, errno.EFBIG, errno.ENOTDIR}


@dataclass(frozen=True)
class Timing:
    """Patience of a run.

    Attributes
    ----------
    attempts : int
        Of a shard whose worker was lost or whose files could not be reached.
    in_flight : int
        Submitted tasks per unit of capacity: one running, one waiting.
    task : float
        Seconds that a task should take: small shards are bundled, and what a worker has not begun after these seconds
        is given out again.
    most : int
        Shards of a task.
    overhead : float
        Seconds that a task costs the driver, about: it keeps up with tasks that take as long for each unit of capacity.
    tick : float
        Seconds between polls.
    no_workers : float
        Seconds without a worker before the first warning; each next one takes twice as long.
    worker_timeout : float
        Seconds without a worker that end the run.
    stuck, usual : float
        Seconds, and multiples of the median time, after which a task counts as stuck.
    """

    attempts: int = 3
    in_flight: int = 2
    task: float = 2.0
    most: int = 500
    overhead: float = 0.003
    tick: float = 0.5
    no_workers: float = 30.0
    worker_timeout: float = math.inf
    stuck: float = 120.0
    usual: float = 20.0


def _shard_names(names: Sequence[str]) -> str:
    more = f" (and {len(names) - 1:,} more)" if len(names) > 1 else ""
    return f"shard {names[0]}{more}"


@dataclass
class RunningTask:
    """Submitted shards."""

    shards: Sequence[Any]
    attempt: int
    since: float = field(default_factory=time.monotonic)
    warned: float = 0.0

    def __str__(self) -> str:
        return _shard_names([shard.name for shard in self.shards])


@dataclass
class Finished:
    """Result of a task.

    Attributes
    ----------
    outcomes : list
        A marker or an error for each shard; the last shards may be missing, as there was no time for them.
    seconds : float
        That it took.
    summary : object
        Of the markers, as of `JobPlan.summarize`.
    """

    outcomes: list[Any]
    seconds: float
    summary: Any = None


def run_shards(
    run: Callable[[Any, Stopped], Any],
    summarize: Callable[[Iterable[Any]], Any],
    seconds: float,
    shards: Bundle,
    stopped: Stopped = None,
) -> Finished:
    """Run shards one after another, in a worker, and begin none after some seconds.

    Errors are values, so that they cost no other shard its result.
    """
    begin = time.monotonic()
    outcomes: list[Any] = []
    for shard in shards.items:
        if outcomes and time.monotonic() > begin + seconds:
            break
        try:
            outcomes.append(run(shard, stopped))
        except Exception as error:
            outcomes.append(error)
    markers = [outcome for outcome in outcomes if not isinstance(outcome, Exception)]
    summary = summarize(markers)
    return Finished(outcomes, time.monotonic() - begin, summary)


@dataclass(frozen=True)
class Ended(Generic[Done]):
    """What a run has reached: the markers of all shards, and their summary as of `JobPlan.summarize`."""

    markers: dict[str, Done]
    summary: Any


def run_plan(
    plan: JobPlan[Done],
    pool: Pool,
    *,
    max_failed: float | None = None,
    progress: Callable[[Any], None] | None = None,
    stop: Callable[[], bool] | None = None,
    timing: Timing = Timing(),
) -> Ended[Done]:
    """Markers of all shards, after a pool has run the ones that are not done and the manifest is written.

    Raises
    ------
    JobStoppedError, JobError, AestheticError
        As `score_dataset`.
    """
    with plan.store.owned():
        loop = _ShardLoop(plan, pool, failures_allowed(max_failed, plan.rows), progress, stop, timing)
        if not plan.finished:
            plan.prepare()
            try:
                loop.run()
            except BaseException:
                pool.stop()
                raise
            if not loop.failed_shards:
                plan.succeed(loop.markers)
    if not loop.failed_shards:
        return Ended(loop.markers, loop.summary)
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
        pool: Pool,
        limit: float,
        progress: Callable[[Any], None] | None,
        stop: Callable[[], bool] | None,
        timing: Timing,
    ) -> None:
        self.plan, self.pool, self.markers = plan, pool, dict(plan.done)
        self.summary = plan.summarize(self.markers.values())
        self.limit, self.progress, self.stop, self.timing = limit, progress, stop, timing
        self.waiting: deque[Any] = deque(plan.todo)
        self.next_attempt: dict[str, int] = {}  # Of waiting shards that have been tried.
        self.rows_waiting = sum(shard.rows for shard in self.waiting)
        self.in_flight: dict[Future[Finished], RunningTask] = {}
        self.ended: SimpleQueue[Future[Finished]] = SimpleQueue()
        self.seconds: deque[float] = deque(maxlen=100)  # From submission to result, per shard.
        self.rates: deque[float] = deque(maxlen=100)  # Rows per second of a task.
        # Polled at most once per tick: a cluster is slow to answer.
        self.capacity, self.polled = 0, -math.inf
        self.without_workers_since, self.next_warning = math.inf, timing.no_workers
        self.retried: dict[str, list[str]] = {}  # Names of a task's shards by their error, which is logged once.
        self.doubled: set[str] = set()  # Shards with speculative tasks.
        self.failed_shards: dict[str, Exception] = {}
        self.failed_rows = sum(sum(marker.failed.values()) for marker in self.markers.values())

    def run(self) -> None:
        """Run until every shard is done or has failed.

        Raises
        ------
        JobStoppedError, JobError, AestheticError
            The run ends early; running shards are waited for unless it is to stop.
        """
        tick, in_flight = self.timing.tick, self.timing.in_flight
        ending = self._check_failures()
        while self.in_flight or (self.waiting and ending is None):
            if self.stop is not None and self.stop():
                raise self._stopped()
            if time.monotonic() >= self.polled + tick:
                self._poll()
            while ending is None and self.waiting and len(self.in_flight) < max(in_flight * self.capacity, 1):
                self._submit(*self._next_shards())
            with suppress(Empty):
                ending = self._collect(self.ended.get(timeout=tick)) or ending
        if ending is not None:
            raise ending

    def _stopped(self) -> JobStoppedError:
        """Error of a run that is to stop, once the shards that threads have done are counted; workers may go on."""
        all_ended = self.pool.stop()
        with suppress(Empty):
            while True:
                future = self.ended.get_nowait()
                if future not in self.in_flight or future.cancelled() or future.exception() is not None:
                    continue
                task = self.in_flight.pop(future)
                for shard, outcome in zip(task.shards, future.result().outcomes, strict=False):
                    if not isinstance(outcome, Exception):
                        self._take(shard, task.attempt, outcome)
        least = "" if all_ended or not self.in_flight else "at least "
        return JobStoppedError(f"stopped after {least}{self._progress_text()}. The same call resumes there")

    def _next_shards(self) -> tuple[tuple[Any, ...], int]:
        """Shards of the next task, and the number of the attempt: several small ones, one that is retried."""
        shard = self.waiting.popleft()
        attempt = self.next_attempt.pop(shard.name, 1)
        shards, rows = [shard], shard.rows
        most = 0.0  # As long as there is no worker, too: others may come before the first has run many shards.
        if attempt == 1 and self.capacity:
            most = self.rows_waiting / (2 * self.timing.in_flight * self.capacity)  # The last ones end together.
            if self.rates:
                rate = median(self.rates)
                most = min(rate * self._task_seconds(), max(most, rate * self.capacity * self.timing.overhead))
        while self.waiting and self.waiting[0].name not in self.next_attempt and len(shards) < self.timing.most:
            if rows + self.waiting[0].rows > most:
                break
            shards.append(self.waiting.popleft())
            rows += shards[-1].rows
        self.rows_waiting -= rows
        return tuple(shards), attempt

    def _task_seconds(self) -> float:
        return max(self.timing.task, self.capacity * self.timing.overhead)

    def _submit(self, shards: Sequence[Any], attempt: int) -> None:
        task = RunningTask(shards, attempt)
        run = partial(run_shards, self.plan.work, self.plan.summarize, self._task_seconds())
        future = self.pool.submit(run, Bundle(shards), name=self.plan.task_name, what=str(task))
        self.in_flight[future] = task
        future.add_done_callback(self.ended.put)

    def _collect(self, future: Future[Finished]) -> Exception | None:
        """Collect a result; the error that ends the run, if one does."""
        task = self.in_flight.pop(future, None)
        if task is None:
            return None  # A speculative task of the same shards came first.
        try:
            finished = future.result()
        except Exception as error:
            if any(not other.warned for other in self._others(task).values()):  # It may finish, unless it is stuck.
                return None
            finished = Finished([error] * len(task.shards), 0.0)
        else:
            ran = len(finished.outcomes)
            self.seconds.append((time.monotonic() - task.since) / ran)
            self.rates.append(sum(shard.rows for shard in task.shards[:ran]) / max(finished.seconds, 1e-3))
            task = self._wait_again(task, ran)
        ending, missing = None, [shard for shard in task.shards if shard.name not in self.markers]
        for shard, outcome in zip(task.shards, finished.outcomes, strict=True):
            ending = self._take(shard, task.attempt, outcome) or ending
        taken = [self.markers[shard.name] for shard in missing if shard.name in self.markers]
        if taken:  # The worker has added them up, as that takes longer than the rest; but with those known before.
            self.summary += finished.summary if len(missing) == len(task.shards) else self.plan.summarize(taken)
        for what, names in self.retried.items():
            log.warning("%s is retried: %s", _shard_names(names), what)
        self.retried.clear()
        for duplicate, other in self._others(task).items():
            if all(shard.name in self.markers or shard.name in self.failed_shards for shard in other.shards):
                del self.in_flight[duplicate]
                duplicate.cancel()
        return ending or self._check_failures()

    def _wait_again(self, task: RunningTask, ran: int) -> RunningTask:
        """The task with the shards that it ran; the others are next, unless a task that is not stuck has them, too."""
        elsewhere = {shard.name for other in self._others(task).values() if not other.warned for shard in other.shards}
        for shard in reversed(task.shards[ran:]):
            if not (shard.name in self.markers or shard.name in self.failed_shards or shard.name in elsewhere):
                self._wait(shard, task.attempt, first=True)
        return replace(task, shards=task.shards[:ran])

    def _others(self, task: RunningTask) -> dict[Future[Finished], RunningTask]:
        """Tasks in flight with shards of this one."""
        if not any(shard.name in self.doubled for shard in task.shards):
            return {}
        names = {shard.name for shard in task.shards}
        return {
            future: other
            for future, other in self.in_flight.items()
            if any(shard.name in names for shard in other.shards)
        }

    def _take(self, shard: Any, attempt: int, outcome: Any) -> Exception | None:
        """Take the marker or error of a shard; the error that ends the run, if it does."""
        if shard.name in self.markers:
            return None  # A speculative task has done it.
        if isinstance(outcome, InputError):
            self._fail(shard, outcome)
        elif isinstance(outcome, AestheticError):
            return outcome
        elif isinstance(outcome, Exception):
            return self._retry(shard, attempt, outcome)
        else:
            self.markers[shard.name] = outcome
            self.failed_rows += sum(outcome.failed.values())
            if self.progress is not None:
                self.progress(outcome)
        return None

    def _retry(self, shard: Any, attempt: int, error: Exception) -> Exception | None:
        what, attempts = f"{type(error).__name__}: {error}", self.timing.attempts
        # Dask's own threads may raise anything when a worker is killed; a mistake in this code fails every time.
        known = isinstance(error, OSError) or self.pool.is_worker_lost(error)
        if getattr(error, "errno", None) in UNRECOVERABLE or (not known and attempt == attempts):
            failed = JobError(
                f"shard {shard.name} ended the run, {what}. {self._progress_text()}. The same call resumes there"
            )
            failed.__cause__ = error
            return failed
        if attempt == attempts:
            self._fail(shard, error)
            return None
        self.retried.setdefault(what, []).append(shard.name)
        # An error that all shards will have ends the run soon, not after each has been tried.
        self._wait(shard, attempt + 1, first=not known)
        return None

    def _wait(self, shard: Any, attempt: int, first: bool) -> None:
        (self.waiting.appendleft if first else self.waiting.append)(shard)
        self.rows_waiting += shard.rows
        if attempt > 1:
            self.next_attempt[shard.name] = attempt

    def _fail(self, shard: Any, error: Exception) -> None:
        self.failed_shards[shard.name] = error
        log.warning("shard %s failed: %s", shard.name, error)

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
        self.pool.restart_workers()
        self.capacity, self.polled = self.pool.capacity(), time.monotonic()
        if self.capacity:
            self.without_workers_since, self.next_warning = math.inf, self.timing.no_workers
            self._check_stuck()
        else:
            self._check_workers()

    def _check_workers(self) -> None:
        for task in self.in_flight.values():
            task.since = self.polled  # Nothing runs it.
        self.without_workers_since = min(self.without_workers_since, self.polled)
        seconds = self.polled - self.without_workers_since
        if seconds > self.timing.worker_timeout:
            raise JobError(
                f"expected workers, got none for {seconds:,.0f} s (worker_timeout, --worker-timeout), "
                f"{self._progress_text()}. Start some, and the same call resumes there"
            )
        if seconds > self.next_warning:
            log.warning("there has been no worker for %.0f s; %s", seconds, self._progress_text())
            self.next_warning *= 2

    def _check_stuck(self) -> None:
        now = time.monotonic()
        for task in list(self.in_flight.values()):
            usual = median(self.seconds) * len(task.shards) if self.seconds else 0.0
            timeout = max(self.timing.stuck, self.timing.usual * usual if usual else self.plan.first_timeout)
            if now - task.since > max(timeout, 2 * task.warned):
                # Its worker may hang, or the answer was lost. A speculative task scores it, or finds it done.
                if not task.warned and task.attempt < self.timing.attempts:
                    self.doubled.update(shard.name for shard in task.shards)
                    self._submit(task.shards, task.attempt + 1)
                task.warned = now - task.since
                known = f"; {usual:.1f} s are usual" if usual else ""
                log.warning("%s has been running for %.0f s%s", task, task.warned, known)


def failures_allowed(max_failed: float | None, rows: int) -> float:
    """Number of rows that may fail: all by default, an integer as it is, a float as a fraction of `rows`.

    Raises
    ------
    ArgumentError
        It is neither.
    """
    if max_failed is None:
        return math.inf
    if is_integer(max_failed) and max_failed >= 0:
        return int(max_failed)
    if is_number(max_failed) and 0 <= max_failed < 1:
        return math.floor(float(max_failed) * rows)
    hint = ""
    if isinstance(max_failed, str):
        with suppress(ValueError):
            hint = f": {max_failed} is {float(max_failed.rstrip('% ')) / (100 if '%' in max_failed else 1)}"
    raise ArgumentError(
        f"expected max_failed to be a whole number of rows or a share from 0.0 up to 1.0, got {max_failed!r}{hint}"
    )
