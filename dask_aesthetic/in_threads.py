"""A function of many files, in threads where they are slow to reach."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypeVar

Item = TypeVar("Item")
Result = TypeVar("Result")
MapAll = Callable[[Callable[[Any], Any], Iterable[Any]], list[Any]]  # As `map_in_threads`.

THREADS = 32
SLOW = 0.005  # Seconds per item from which on threads pay: to start one costs a millisecond.


def map_in_threads(function: Callable[[Item], Result], items: Iterable[Item]) -> list[Result]:
    """Results of a function that waits for a disk or store, in the order of the items.

    As long as they take less than some milliseconds each, as of files in memory, this thread does the work.
    """
    results, waiting, begin = [], iter(items), time.perf_counter()
    for item in waiting:
        results.append(function(item))
        if time.perf_counter() - begin > SLOW * len(results):
            break
    rest = list(waiting)
    if rest:
        with ThreadPoolExecutor(THREADS) as threads:
            results.extend(threads.map(function, rest))
    return results
