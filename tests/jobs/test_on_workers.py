"""Footers that the workers of a cluster read, and what their scheduler passes on."""

from __future__ import annotations

import os
import pickle
import time

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from dask_aesthetic.errors import ColumnError, InputError
from dask_aesthetic.in_threads import map_in_threads
from dask_aesthetic.io import parquet
from dask_aesthetic.io.listing import list_files
from dask_aesthetic.jobs import on_workers, plan_dataset
from dask_aesthetic.jobs.on_workers import map_on
from dask_aesthetic.jobs.pool import Bundle
from helpers import chaos

FILES = 600


@pytest.fixture(scope="module")
def source(tmp_path_factory):
    """Names of two files of other columns, one after the other."""
    folder = tmp_path_factory.mktemp("footers")
    first = chaos.write_shards(folder / "one", shards=1, rows=20) / "part-0000.parquet"
    table = pq.read_table(first)
    pq.write_table(table.append_column("url", pa.array(["u"] * 20)), folder / "other.parquet", row_group_size=8)
    (folder / "in/lang=en").mkdir(parents=True)
    for number in range(FILES):
        os.link(folder / "other.parquet" if number % 2 else first, folder / f"in/lang=en/{number:04d}.parquet")
    return folder / "in"


def test_a_plan_is_the_same_whoever_reads_the_footers(source, cluster, tmp_path, monkeypatch):
    here = plan_dataset(source, tmp_path / "out", columns=["key", "lang"], rows_per_shard=10)
    monkeypatch.setattr(on_workers, "map_in_threads", _not_here)
    there = plan_dataset(source, tmp_path / "out", columns=["key", "lang"], rows_per_shard=10, client=cluster)
    assert there == here
    assert len(there.shards) == FILES // 2 * (1 + 2)
    assert len({id(shard.schema) for shard in there.shards}) == 2


def test_headers_of_a_task_share_their_schemas(source, cluster):
    files = [one.file for one in list_files(source)]
    headers = map_on(cluster)(parquet.read_header, files)
    assert headers == map_in_threads(parquet.read_header, files)
    assert len({id(header.schema) for header in headers}) <= 2 * -(-FILES // on_workers.ITEMS)


@pytest.mark.parametrize(
    ("damage", "error", "message"),
    [
        (lambda path: path.write_bytes(b"PAR1"), InputError, "expected a Parquet file, got .*0300.parquet"),
        (lambda path: pq.write_table(pa.table({"key": [""]}), path), ColumnError, r"in .*0300.parquet\)"),
    ],
)
def test_a_file_that_is_not_usable_is_named(source, cluster, tmp_path, damage, error, message):
    for number in range(FILES):
        os.link(source / f"lang=en/{number:04d}.parquet", tmp_path / f"{number:04d}.parquet")
    (tmp_path / "0300.parquet").unlink()
    damage(tmp_path / "0300.parquet")
    with pytest.raises(error, match=message):
        plan_dataset(tmp_path, tmp_path / "out", client=cluster)


def test_what_workers_have_no_time_for_is_done_here(cluster):
    here = os.getpid()
    items = list(range(3 * on_workers.ITEMS))
    done = map_on(cluster, timeout=0.3)(_slow_elsewhere(here), items)
    assert [item for item, _ in done] == items
    assert {process for _, process in done} == {here}
    assert map_on(cluster)(_identity, items) == items  # The cluster is free again.


def test_what_killed_workers_were_to_read_is_read_here(fragile_cluster):
    here, items = os.getpid(), list(range(2 * on_workers.ITEMS))
    done = map_on(fragile_cluster)(_deadly_elsewhere(here), items)
    assert [item for item, _ in done] == items
    assert {process for item, process in done if item >= on_workers.ITEMS} == {here}


def test_an_error_of_the_function_itself_is_raised(cluster):
    with pytest.raises(ZeroDivisionError):
        map_on(cluster)(_divide, range(2 * on_workers.ITEMS))


def test_few_files_and_clusters_without_workers_need_no_tasks(cluster):
    items = list(range(on_workers.ITEMS))
    assert map_on(cluster)(_process, items) == [os.getpid()] * len(items)
    assert set(map_on(cluster)(_process, range(on_workers.ITEMS + 1))).isdisjoint({os.getpid()})


def test_a_bundle_is_pickled_once_and_unpickled_where_it_is_needed(source):
    headers = [parquet.read_header(one.file) for one in list_files(source)[:4]]
    text = pickle.dumps(Bundle(headers))
    assert text.count(b"image_embedding") == 2
    passed_on = pickle.loads(text)
    assert pickle.dumps(passed_on) == text
    assert passed_on.items == headers
    assert pickle.dumps(passed_on) == text


def _not_here(*_):
    raise AssertionError("expected a worker to do this")


def _slow_elsewhere(process):
    def slow(item):
        if os.getpid() != process:
            time.sleep(0.2)
        return item, os.getpid()

    return slow


def _deadly_elsewhere(process):
    def deadly(item):
        if os.getpid() != process and item == 300:
            os._exit(1)
        return item, os.getpid()

    return deadly


def _identity(item):
    return item


def _divide(item):
    return 1 // (item - 300)


def _process(_):
    return os.getpid()
