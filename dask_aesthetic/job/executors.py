"""Executors of shards: threads of this process, or the workers of a Dask cluster."""

from __future__ import annotations

from abc import ABC, abstractmethod
from concurrent.futures import Future, ThreadPoolExecutor
from threading import Event
from typing import TYPE_CHECKING, Any

from dask.system import CPU_COUNT

from dask_aesthetic.errors import ArgumentError
from dask_aesthetic.io.shards import Shard
from dask_aesthetic.job.score_shard import Outcome, try_shard
from dask_aesthetic.job.settings import ScoreSettings
from dask_aesthetic.job.store import Store

if TYPE_CHECKING:
    from distributed import Client


class Executor(ABC):
    """Runs shards side by side. Close it, or use it in a ``with`` statement."""

    @abstractmethod
    def submit(self, shard: Shard, settings: ScoreSettings, store: Store, allow_unusable: bool) -> Future[Outcome]:
        """Future of a submitted shard's marker."""

    @abstractmethod
    def capacity(self) -> int:
        """Number of shards that run side by side at present."""

    def restart_workers(self) -> None:  # noqa: B027
        """Replace workers that are lost for good, where that is possible."""

    def is_worker_lost(self, error: Exception) -> bool:  # noqa: ARG002
        """Whether an error means that the worker was lost, rather than that the task failed."""
        return False

    @abstractmethod
    def stop(self) -> None:
        """Cancel waiting shards and, where possible, running ones; threads of this process write no more."""

    @abstractmethod
    def close(self) -> None:
        """Wait for running shards."""

    def __enter__(self) -> Executor:
        return self

    def __exit__(self, *error: object) -> None:
        if error[0] is not None:
            self.stop()
        self.close()


class ThreadExecutor(Executor):
    """Threads of this process, by default one per CPU core that it may use."""

    def __init__(self, count: int | None = None) -> None:
        self._count = count or CPU_COUNT
        self._stopped = Event()
        self._pool = ThreadPoolExecutor(self._count, thread_name_prefix="dask-aesthetic")

    def submit(self, shard: Shard, settings: ScoreSettings, store: Store, allow_unusable: bool) -> Future[Outcome]:
        return self._pool.submit(try_shard, shard, settings, store, allow_unusable, self._stopped.is_set)

    def capacity(self) -> int:
        return self._count

    def stop(self) -> None:
        self._stopped.set()
        self._pool.shutdown(cancel_futures=True)

    def close(self) -> None:
        self._pool.shutdown()


def check_client(client: Any) -> None:
    """Refuse a client that is none, or is not connected.

    Raises
    ------
    ArgumentError
    """
    if client is None:
        return
    from distributed import Client

    if not isinstance(client, Client):
        is_cluster = hasattr(client, "get_client")
        hint = f"distributed.Client({client!r})" if isinstance(client, str) else "cluster.get_client()"
        hint = f": {hint} makes one" if is_cluster or isinstance(client, str) else ""
        raise ArgumentError(f"expected client to be a distributed.Client, got {client!r}{hint}")
    if client.asynchronous:
        raise ArgumentError("expected a client that waits for answers, got an asynchronous one")
    if client.status != "running":
        raise ArgumentError(f"expected a client that is connected to its cluster, got one that is {client.status}")


class ClusterExecutor(Executor):
    """Workers of a Dask cluster, which the caller starts and closes."""

    def __init__(self, client: Client) -> None:
        self._client = client
        # Not pure: each submission is a task of its own, a retried shard included.
        self._pool = client.get_executor(pure=False)

    def submit(self, shard: Shard, settings: ScoreSettings, store: Store, allow_unusable: bool) -> Future[Outcome]:
        future: Future[Outcome] = self._pool.submit(try_shard, shard, settings, store, allow_unusable)
        return future

    def capacity(self) -> int:
        return sum(self._client.nthreads().values())

    def restart_workers(self) -> None:
        from distributed import LocalCluster

        cluster = self._client.cluster
        # Dask restarts a killed worker, but not one that is killed while it starts: scaling starts another.
        if isinstance(cluster, LocalCluster) and len(cluster.workers) < len(cluster.worker_spec):
            cluster.scale(len(cluster.worker_spec))

    def is_worker_lost(self, error: Exception) -> bool:
        from distributed import KilledWorker
        from distributed.comm import CommClosedError

        return isinstance(error, KilledWorker | CommClosedError)

    def stop(self) -> None:
        self._pool.shutdown(wait=False)  # Futures of cancelled tasks may never be done: Dask loses some.

    def close(self) -> None:
        self._pool.shutdown(wait=False)
