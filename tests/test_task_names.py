"""Names of tasks, which Dask's dashboard shows, and keys that are the same in every process."""

from __future__ import annotations

import subprocess
import sys

import dask.dataframe as dd
import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from dask.utils import key_split

import dask_aesthetic
from dask_aesthetic.synthetic import write_demo


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("names")
    write_demo(folder / "in", rows=400)
    dask_aesthetic.score_dataset(folder / "in", folder / "scores")
    return folder


@pytest.fixture
def frame(folder):
    return dd.read_parquet(folder / "in", dtype_backend="pyarrow")


def names(collection):
    """Names on the dashboard of the tasks that Dask would run."""
    return {key_split(key) for key in dict(collection.optimize().__dask_graph__())}


SOME = ["key", "aesthetic_score", "keep"]
SCORED = {
    "scored while reading": (lambda f: f.aesthetic.score()[SOME], "read_and_score-fused-assign"),
    "partition by partition": (lambda f: f.aesthetic.score(), "read_parquet-score"),
    "filter": (lambda f: f.aesthetic.filter(), "read_parquet-score-getitem-getitem"),
    "status": (lambda f: f.aesthetic.status(), "read_status-fused-getitem"),
    "top": (lambda f: f.aesthetic.score()[SOME].aesthetic.top(3), "read_and_score-fused-top"),
}


@pytest.mark.parametrize("case", SCORED)
def test_tasks_of_frames_say_that_they_score(frame, case):
    make, name = SCORED[case]
    found = names(make(frame))
    assert name in found
    if case != "top":
        assert found == {name}


def test_tasks_of_readers_say_what_they_read(folder):
    np.save(folder / "a.npy", np.ones((4, 768), np.float32))
    assert names(dask_aesthetic.read_npy(folder / "a.npy")) == {"read_npy"}
    assert names(dask_aesthetic.read_scores(folder / "scores")) == {"read_scores"}
    assert names(dask_aesthetic.read_and_score(folder / "in")) == {"read_and_score-fused-assign", "read-and-score"}


def test_steps_that_are_not_fused_have_a_name_each():
    rows = pd.array([[1.0] * 768] * 4, dtype=pd.ArrowDtype(pa.list_(pa.float32())))
    frame = pd.DataFrame({"image_embedding": rows, "text_embedding": rows, "image": [b"a", b"b", b"c", b"d"]})
    ddf = dd.from_pandas(frame.astype({"image": pd.ArrowDtype(pa.binary())}), npartitions=2)
    cases = {
        "score-embeddings": ddf.aesthetic.score(),
        "keep-by-rule": ddf.aesthetic.score(keep=[("aesthetic_score", ">=", 5)]),
        "status-of-embeddings": ddf.aesthetic.status(),
        "similarity-of-embeddings": ddf.aesthetic.similarity(),
    }
    for name, collection in cases.items():
        keys = collection.optimize(fuse=False).__dask_graph__()
        assert name in {key_split(key) for key in keys}, name


def keys(collection, **how):
    return sorted(map(str, dict(collection.optimize(**how).__dask_graph__())))


@pytest.mark.parametrize("case", SCORED)
def test_a_frame_that_is_made_again_has_the_same_keys(folder, case):
    make, _ = SCORED[case]
    first, again = (make(dd.read_parquet(folder / "in", dtype_backend="pyarrow")) for _ in range(2))
    assert keys(first) == keys(again)


def test_keys_are_the_same_in_every_process(folder):
    # Not of Dask's own Parquet reader, and not of fused tasks, whose parts Dask orders by their hashes.
    code = (
        "import sys, dask_aesthetic\n"
        "frame = dask_aesthetic.read_and_score(sys.argv[1])\n"
        "print(sorted(map(str, dict(frame.optimize(fuse=False).__dask_graph__()))))\n"
    )
    command = [sys.executable, "-c", code, str(folder / "in")]
    ran = subprocess.run(command, capture_output=True, text=True, check=True)
    assert ran.stdout.strip() == str(keys(dask_aesthetic.read_and_score(folder / "in"), fuse=False))


@pytest.fixture
def client():
    from distributed import Client, LocalCluster

    with (
        LocalCluster(n_workers=1, threads_per_worker=2, processes=False, dashboard_address=":0") as cluster,
        Client(cluster, set_as_default=True) as client,
    ):
        client.get_task_stream()  # The first call begins to collect.
        yield client


def streamed(client):
    """Keys of the tasks that ran, as the dashboard's task stream has them."""
    return [task["key"] for task in client.get_task_stream()]


def test_the_task_stream_says_what_a_job_runs(client, folder, tmp_path):
    dask_aesthetic.score_dataset(folder / "in", tmp_path / "a", client=client)
    dask_aesthetic.repack_dataset(folder / "in", tmp_path / "b", layout="lists", client=client)
    found = streamed(client)
    assert {key_split(key) for key in found} == {"score-shard", "repack-shard"}
    shards = [key[2] for key in found if key_split(key) == "score-shard"]
    assert {name for text in shards for name in text.split()} >= {"part-0000"}
    # A run again has keys of its own: it is not given the results of the first.
    dask_aesthetic.score_dataset(folder / "in", tmp_path / "c", client=client)
    again = streamed(client)
    assert len({key[0] for key in again}) == 3  # Tasks of a run are a group.
    assert len(set(again)) == len(again) > len(found)


def test_the_task_stream_says_what_is_counted(client, folder):
    scores = dask_aesthetic.read_scores(folder / "scores")
    scores.aesthetic.distribution()
    dd.read_parquet(folder / "in", dtype_backend="pyarrow").aesthetic.check()
    found = {key_split(key) for key in streamed(client)}
    assert {"score-distribution", "score-distribution-sum", "check-embeddings", "check-embeddings-sum"} <= found
