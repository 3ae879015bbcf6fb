"""What runs shards: threads of this process, or the workers of a Dask cluster."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from itertools import count
from threading import Event
from typing import TYPE_CHECKING, Any
from uuid import uuid4

from dask.system import CPU_COUNT

from dask_aesthetic.errors import ArgumentError
from dask_aesthetic.escape import escape_text

if TYPE_CHECKING:
    from distributed import Client


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
        hint = f"distributed.Client({client!r})" if isinstance(client, str) else "cluster.get_client()"
        hint = f": {hint} makes one" if isinstance(client, str) or hasattr(client, "get_client") else ""
        raise ArgumentError(f"expected client to be a distributed.Client, got {client!r}{hint}")
    if client.asynchronous:
        raise ArgumentError("expected a client that waits for answers, got an asynchronous one")
    if client.status != "running":
        raise ArgumentError(f"expected a client that is connected to its cluster, got one that is {client.status}")


class Bundle:
    """Items that are pickled together, with what they share once, and that a scheduler passes on as bytes.

    Items of a list or tuple Dask pickles one by one, and its scheduler unpickles them on the way.
    """

    def __init__(self, items: Sequence[Any]) -> None:
        self._items: Sequence[Any] | None = items
        self._pickled = b""

    @property
    def items(self) -> Sequence[Any]:
        if self._items is None:
            from distributed.protocol.pickle import loads

            self._items = loads(self._pickled)
        return self._items

    def __getstate__(self) -> bytes:
        from distributed.protocol.pickle import dumps

        return self._pickled or dumps(self._items)

    def __setstate__(self, pickled: bytes) -> None:
        self._items, self._pickled = None, pickled


class Pool:
    """Threads of this process or workers of a Dask cluster. Close it, or use it in a ``with`` statement.

    Parameters
    ----------
    client : distributed.Client, optional
        Of a cluster, which the caller starts and closes; threads if not given.
    threads : int, optional
        Default: one per CPU core that this process may use.
    """

    def __init__(self, client: Client | None = None, threads: int | None = None) -> None:
        self._client, self._threads = client, threads or CPU_COUNT
        self._stopped = Event()
        # Tasks whose keys begin alike are a group: with each submission, Dask's scheduler looks at all groups.
        self._id, self._numbers = uuid4().hex, count()
        # Not pure: each submission is a task of its own, a retried shard included.
        self._executor: Any = (
            ThreadPoolExecutor(self._threads, thread_name_prefix="dask-aesthetic")
            if client is None
            else client.get_executor(pure=False)
        )

    def submit(self, run: Callable[..., Any], *arguments: Any, name: str = "shards", what: str = "") -> Future[Any]:
        """Future of ``run(*arguments, stopped)``, where ``stopped()`` says in a thread whether to end early.

        On a cluster's dashboard the task is one of `name`, and its key says `what` it runs.
        """
        if self._client is None:
            future: Future[Any] = self._executor.submit(run, *arguments, self._stopped.is_set)
        else:
            key = (f"{name}-{self._id}", next(self._numbers), escape_text(what))
            future = self._executor.submit(run, *arguments, None, key=key)
        return future

    def capacity(self) -> int:
        """Number of tasks that run side by side at present."""
        return self._threads if self._client is None else sum(self._client.nthreads().values())

    def restart_workers(self) -> None:
        """Replace workers that are lost for good, where that is possible."""
        if self._client is None:
            return
        from distributed import LocalCluster

        cluster = self._client.cluster
        # Dask restarts a killed worker, but not one that is killed while it starts: scaling starts another.
        if isinstance(cluster, LocalCluster) and len(cluster.workers) < len(cluster.worker_spec):
            cluster.scale(len(cluster.worker_spec))

    def is_worker_lost(self, error: Exception) -> bool:
        """Whether an error means that the worker was lost, rather than that the task failed."""
        if self._client is None:
            return False
        from distributed import KilledWorker
        from distributed.comm import CommClosedError

        return isinstance(error, KilledWorker | CommClosedError)

    def stop(self) -> bool:
        """Cancel waiting tasks and, where possible, running ones; true where none runs any more, as in threads."""
        self._stopped.set()
        if self._client is None:
            self._executor.shutdown(cancel_futures=True)
        else:
            self._executor.shutdown(wait=False)  # Futures of cancelled tasks may never be done: Dask loses some.
        return self._client is None

    def close(self) -> None:
        """Wait for running threads."""
        self._executor.shutdown(wait=self._client is None)

    def __enter__(self) -> Pool:
        return self

    def __exit__(self, *error: object) -> None:
        if error[0] is not None:
            self.stop()
        self.close()
