"""Tasks of several small shards."""

from __future__ import annotations

import os
import re
from concurrent.futures import Future
from dataclasses import replace
from threading import Event

import pytest

from dask_aesthetic import InputError, score_dataset
from dask_aesthetic.errors import JobError, JobStoppedError
from dask_aesthetic.jobs import Pool, plan_dataset, run
from dask_aesthetic.jobs.runner import Timing
from dask_aesthetic.jobs.score_shard import embedding_batches
from helpers import chaos

SHARDS = 24


class Counting(Pool):
    """Counts the shards of each task."""

    def __init__(self, *arguments, **options) -> None:
        super().__init__(*arguments, **options)
        self.tasks: list[int] = []

    def submit(self, run, shards, **names):
        self.tasks.append(len(shards.items))
        return super().submit(run, shards, **names)


@pytest.fixture
def source(tmp_path):
    return chaos.write_shards(tmp_path / "in", shards=SHARDS, rows=50)


@pytest.fixture
def calm(source, tmp_path):
    score_dataset(source, tmp_path / "calm", threads=1)
    return chaos.content(tmp_path / "calm")


def fatal(shard, *arguments):
    """Scores shards, and ends the process over one of them, as a crash in a library does."""
    if shard.name == "part-0013":
        os._exit(1)
    return embedding_batches(shard, *arguments)


def broken(shard, *arguments):
    """Scores shards, but cannot reach the file of one."""
    if shard.name == "part-0013":
        raise OSError("out of reach")
    return embedding_batches(shard, *arguments)


def damaged(shard, *arguments):
    """Scores shards, but finds one damaged."""
    if shard.name == "part-0013":
        raise InputError("damaged")
    return embedding_batches(shard, *arguments)


def test_small_shards_share_tasks_and_the_bytes_stay(source, calm, tmp_path):
    seen = []
    with Counting(threads=1) as pool:
        summary = run(plan_dataset(source, tmp_path / "out"), pool, progress=lambda marker: seen.append(marker.shard))
    chaos.check(tmp_path / "out", calm, SHARDS * 50, summary)
    assert sorted(seen) == [f"part-{at:04d}" for at in range(SHARDS)]
    assert sum(pool.tasks) == SHARDS
    assert pool.tasks == sorted(pool.tasks, reverse=True)
    assert pool.tasks[0] > 1
    assert pool.tasks[-1] == 1  # The last ones end together.


def test_a_task_gives_back_the_shards_that_it_has_no_time_for(source, calm, tmp_path):
    seen = []
    with Counting(threads=1) as pool:
        plan = plan_dataset(source, tmp_path / "out")
        summary = run(plan, pool, progress=lambda marker: seen.append(marker.shard), timing=Timing(task=0, overhead=0))
    chaos.check(tmp_path / "out", calm, SHARDS * 50, summary)
    assert sorted(seen) == [f"part-{at:04d}" for at in range(SHARDS)]
    assert len(pool.tasks) == SHARDS
    assert pool.tasks[:2] == [6, 4]


def test_a_task_has_some_shards_at_most(source, calm, tmp_path):
    with Counting(threads=1) as pool:
        summary = run(plan_dataset(source, tmp_path / "out"), pool, timing=Timing(most=4))
    chaos.check(tmp_path / "out", calm, SHARDS * 50, summary)
    assert max(pool.tasks) == 4


def test_what_a_hung_task_has_not_begun_is_done_by_others(source, calm, tmp_path):
    released, tried, woken = Event(), [], []

    def hangs(shard, *arguments):
        tried.append(shard.name)
        if len(tried) == 2:
            woken.append(released.wait(20))
        return embedding_batches(shard, *arguments)

    plan = replace(plan_dataset(source, tmp_path / "out"), score=hangs)
    with Counting(threads=2) as pool:
        summary = run(plan, pool, timing=Timing(task=0, overhead=0, stuck=0.5, tick=0.1))
        assert not woken
        released.set()
    assert max(pool.tasks) > 1
    chaos.check(tmp_path / "out", calm, SHARDS * 50, summary)


def test_a_run_that_stops_counts_what_its_task_has_done(source, tmp_path):
    seen = []
    plan = plan_dataset(source, tmp_path / "out")
    with Counting(threads=1) as pool, pytest.raises(JobStoppedError) as error:
        run(plan, pool, progress=seen.append, stop=lambda: len(chaos.committed(tmp_path / "out")) >= 2)
    done = set(chaos.committed(tmp_path / "out"))
    assert {marker.shard for marker in seen} == done
    assert str(error.value).startswith(f"stopped after {len(done)} of {SHARDS} shards done")
    assert SHARDS > len(done) >= 2


def test_an_error_of_all_shards_ends_the_run_soon(source, tmp_path):
    tried = []

    def mistaken(shard, *_):
        tried.append(shard.name)
        raise RuntimeError("a mistake")

    plan = replace(plan_dataset(source, tmp_path / "out"), score=mistaken)
    with Counting(threads=1) as pool, pytest.raises(JobError, match=r"ended the run, RuntimeError: a mistake\. 0 of"):
        run(plan, pool)
    assert max(map(tried.count, tried)) == 3
    assert len(set(tried)) < SHARDS / 2


def test_a_lost_task_is_told_in_one_line(source, calm, tmp_path, caplog):

    class Losing(Counting):
        """Loses the first task of several shards."""

        lost = ""

        def submit(self, run, shards, **names):
            if len(shards.items) == 1 or self.lost:
                return super().submit(run, shards, **names)
            first, *more = shards.items
            self.lost = f"shard {first.name} (and {len(more)} more) is retried: OSError: out of reach"
            future = Future()
            future.set_exception(OSError("out of reach"))
            return future

    with Losing(threads=1) as pool, caplog.at_level("WARNING", "dask_aesthetic"):
        summary = run(plan_dataset(source, tmp_path / "out"), pool)
    assert caplog.messages == [pool.lost]
    chaos.check(tmp_path / "out", calm, SHARDS * 50, summary)


@pytest.mark.parametrize("score", [broken, damaged])
def test_an_error_costs_its_own_shard_alone(source, calm, tmp_path, score):
    plan = replace(plan_dataset(source, tmp_path / "out"), score=score)
    with (
        Counting(threads=1) as pool,
        pytest.raises(JobError, match="1 of 24 shards failed: part-0013: "),
    ):
        run(plan, pool)
    assert len(chaos.committed(tmp_path / "out")) == SHARDS - 1
    chaos.check(tmp_path / "out", calm, SHARDS * 50, score_dataset(source, tmp_path / "out"))


def test_a_shard_that_kills_its_worker_is_named_and_the_others_are_done(source, calm, tmp_path, fragile_cluster):
    plan = replace(plan_dataset(source, tmp_path / "out"), score=fatal)
    with (
        Counting(fragile_cluster) as pool,
        pytest.raises(JobError, match=r"of 24 shards failed: .*part-0013: ") as error,
    ):
        run(plan, pool, timing=Timing(stuck=5))
    # Dask gives up a task that waits on the worker, too, or one whose answer was lost.
    failed = set(re.findall(r"part-\d{4}(?=: )", str(error.value)))
    assert len(failed) <= 2
    names = {f"part-{at:04d}" for at in range(SHARDS)}
    assert names - failed <= set(chaos.committed(tmp_path / "out")) <= names - {"part-0013"}
    chaos.check(tmp_path / "out", calm, SHARDS * 50, score_dataset(source, tmp_path / "out"))
