"""Who scores the shards: threads of this process, or the workers of a Dask cluster."""

from __future__ import annotations

from abc import ABC, abstractmethod
from concurrent.futures import Future, ThreadPoolExecutor
from threading import Event
from typing import TYPE_CHECKING

from dask.system import CPU_COUNT

from dask_aesthetic.inputs.shards import Shard
from dask_aesthetic.job.settings import ScoreSettings
from dask_aesthetic.job.shard import Outcome, try_shard
from dask_aesthetic.job.store import Store

if TYPE_CHECKING:
    from distributed import Client


class Executor(ABC):
    """Scores shards side by side. Close it, or use it in a ``with`` statement."""

    @abstractmethod
    def submit(self, shard: Shard, settings: ScoreSettings, store: Store, allow_unusable: bool) -> Future[Outcome]:
        """Have a shard scored."""

    @abstractmethod
    def slots(self) -> int:
        """How many shards it scores side by side, at present."""

    def mend(self) -> None:  # noqa: B027
        """See to it that whoever is gone for good is replaced, where that is possible."""

    def lost(self, error: Exception) -> bool:  # noqa: ARG002
        """Whether a shard failed since whoever scored it is gone."""
        return False

    @abstractmethod
    def stop(self) -> None:
        """Score no more, and give up what is begun where that is possible; threads of this process write no more."""

    @abstractmethod
    def close(self) -> None:
        """Wait for what is begun."""

    def __enter__(self) -> Executor:
        return self

    def __exit__(self, *error: object) -> None:
        if error[0] is not None:
            self.stop()
        self.close()


class ThreadExecutor(Executor):
    """Threads of this process; as many as CPU cores that it may use, if not said."""

    def __init__(self, count: int | None = None) -> None:
        self._count = count or CPU_COUNT
        self._stopped = Event()
        self._pool = ThreadPoolExecutor(self._count, thread_name_prefix="dask-aesthetic")

    def submit(self, shard: Shard, settings: ScoreSettings, store: Store, allow_unusable: bool) -> Future[Outcome]:
        return self._pool.submit(try_shard, shard, settings, store, allow_unusable, self._stopped.is_set)

    def slots(self) -> int:
        return self._count

    def stop(self) -> None:
        self._stopped.set()
        self._pool.shutdown(cancel_futures=True)

    def close(self) -> None:
        self._pool.shutdown()


class ClusterExecutor(Executor):
    """The workers of a Dask cluster, which stays the caller's."""

    def __init__(self, client: Client) -> None:
        self._client = client
        # Not pure: each submission is a task of its own, also that of a shard which is tried again.
        self._pool = client.get_executor(pure=False)

    def submit(self, shard: Shard, settings: ScoreSettings, store: Store, allow_unusable: bool) -> Future[Outcome]:
        future: Future[Outcome] = self._pool.submit(try_shard, shard, settings, store, allow_unusable)
        return future

    def slots(self) -> int:
        return sum(self._client.nthreads().values())

    def mend(self) -> None:
        from distributed import LocalCluster

        cluster = self._client.cluster
        # Dask restarts a worker that is killed, but not one that is killed while it starts: it forgets that one after
        # a while, and starts another when it is asked to scale.
        if isinstance(cluster, LocalCluster) and len(cluster.workers) < len(cluster.worker_spec):
            cluster.scale(len(cluster.worker_spec))

    def lost(self, error: Exception) -> bool:
        from distributed import KilledWorker
        from distributed.comm import CommClosedError

        return isinstance(error, KilledWorker | CommClosedError)

    def stop(self) -> None:
        self._pool.shutdown(wait=False)  # Futures of what is cancelled may never be done: Dask loses some.

    def close(self) -> None:
        self._pool.shutdown(wait=False)
