"""A function of many files, on the workers of a Dask cluster: a plan does not wait for one process to read them."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable
from functools import partial
from typing import TYPE_CHECKING, Any

from dask_aesthetic.in_threads import Item, MapAll, Result, map_in_threads
from dask_aesthetic.jobs.pool import Bundle

if TYPE_CHECKING:
    from distributed import Client, Future

log = logging.getLogger(__name__)

ITEMS = 256  # Of a task, which costs the driver as much as some of them.
PARTS = 32  # Tasks that are submitted together: Dask warns of graphs of 10 MB.
TIMEOUT = 30.0  # Seconds in which a worker answers, unless all are lost or have other work.


def map_on(client: Client | None, timeout: float = TIMEOUT) -> MapAll:
    """`map_in_threads`, on the workers of a client; of this process where there is none."""
    return map_in_threads if client is None else partial(map_on_workers, client, timeout)


def map_on_workers(
    client: Client, timeout: float, function: Callable[[Item], Result], items: Iterable[Item]
) -> list[Result]:
    """Results of a function that can be pickled, in the order of the items; workers take some hundred items each.

    This process does what is not worth a task, and what no worker has done in time: those of an adaptive cluster may
    not be there yet.
    """
    items = list(items)
    if len(items) <= ITEMS or not client.nthreads():
        return map_in_threads(function, items)
    parts = [Bundle(items[at : at + ITEMS]) for at in range(0, len(items), ITEMS)]
    read = partial(_map_part, function)
    tasks: list[Future] = client.map(read, parts, pure=False, key="read-headers", batch_size=PARTS)
    results: list[Result] = []
    late = False
    for part, task in zip(parts, tasks, strict=True):
        done, reason = None, "late"
        try:
            if not late or task.done():
                done = task.result(timeout)
        except Exception as error:  # Dask's own may be any, when workers are lost; one of the function is raised again.
            late, reason = late or isinstance(error, TimeoutError), type(error).__name__
        if done is None:
            task.cancel()
            log.info("%d files are read here, not by a worker: %s", len(part.items), reason)
        results += map_in_threads(function, part.items) if done is None else done.items
    return results


def _map_part(function: Callable[[Any], Any], part: Bundle) -> Bundle:
    return Bundle(map_in_threads(function, part.items))
