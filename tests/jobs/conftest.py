"""Fixtures of jobs."""

from __future__ import annotations

import pytest


@pytest.fixture
def fragile_cluster():
    """A cluster that gives a task up as soon as a worker died of it."""
    import dask
    from distributed import Client, LocalCluster

    from dask_aesthetic.cluster import closed_in_time

    with (
        dask.config.set({"distributed.scheduler.allowed-failures": 0}),
        closed_in_time(
            LocalCluster(n_workers=2, threads_per_worker=1, dashboard_address=":0", silence_logs=50)
        ) as cluster,
        Client(cluster, set_as_default=False) as client,
    ):
        yield client
