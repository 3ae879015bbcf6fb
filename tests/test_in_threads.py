import threading
import time

import pytest

from dask_aesthetic.in_threads import SLOW, map_in_threads


def test_quick_items_stay_in_this_thread():
    assert map_in_threads(lambda item: (item, threading.get_ident()), range(100)) == [
        (item, threading.get_ident()) for item in range(100)
    ]


def test_slow_items_run_side_by_side_and_in_order():
    """The barrier lets nobody pass alone."""
    side_by_side = threading.Barrier(4, timeout=60)

    def wait(item):
        if item == 0:
            time.sleep(2 * SLOW)
        else:
            side_by_side.wait()
        return item

    assert map_in_threads(wait, iter(range(9))) == list(range(9))


@pytest.mark.parametrize("slow", [False, True])
def test_an_error_is_raised(slow):
    def fail(item):
        time.sleep(2 * SLOW if slow else 0)
        if item == 3:
            raise ValueError(item)

    with pytest.raises(ValueError, match="3"):
        map_in_threads(fail, range(5))
