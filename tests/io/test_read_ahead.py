"""Remote files read ahead: the bytes of the file, from several requests in flight, within one bound on memory."""

from __future__ import annotations

import logging
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import fsspec
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from dask_aesthetic import InputError
from dask_aesthetic.io import pages as pages_module
from dask_aesthetic.io import read_ahead, storage
from dask_aesthetic.io.listing import find_files
from dask_aesthetic.io.npy import open_matrix
from dask_aesthetic.io.read_ahead import Budget, ReadAhead
from dask_aesthetic.io.retries import Backoff
from dask_aesthetic.io.shards import ParquetShard, find_shards
from dask_aesthetic.io.storage import File, local_file
from dask_aesthetic.readers import read_and_score
from dask_aesthetic.score_spec import ScoreSpec
from dask_aesthetic.shard_scores import row_scores, score_batches
from helpers import range_server
from helpers.page_files import COLUMN, table, written

SPEC = ScoreSpec.of(COLUMN, "laion-v2", "standard", "raw", "aesthetic_score", "keep", "null", None)
TRIES = 5
FOOTER = 1 << 16  # Bytes at the end of a file that pyarrow asks for first.


@pytest.fixture(autouse=True)
def eager(monkeypatch) -> None:
    """Small requests, tried again at once; the first row is worth the compilation of the page reader."""
    monkeypatch.setattr(read_ahead, "PIECE", 50_000)
    monkeypatch.setattr(read_ahead, "SMALL_PIECE", 1_000)
    monkeypatch.setattr(storage, "BACKOFF", Backoff(TRIES, 0.001, 0.002))
    monkeypatch.setattr(pages_module, "COLD_ROWS", 0)
    monkeypatch.setattr(pages_module, "_warmup", pages_module._Warmup())


@pytest.fixture
def server(tmp_path):
    with range_server.serving(tmp_path) as server:
        yield server


@pytest.fixture
def parquet(tmp_path, vectors) -> str:
    """A file of four row groups, the third with rows that are left to pyarrow."""
    rows = vectors[:240].astype(np.float64)
    rows[150] = 0
    content = written(table(rows), row_group_size=60, use_dictionary=[], compression="zstd")
    (tmp_path / "a.parquet").write_bytes(content)
    return "a.parquet"


def remote(server, name: str) -> File:
    return find_files(f"{server.url}/{name}", "")[0][0]


def row_parts(file: File, start: int = 0, stop: int = 240):
    shard = ParquetShard("a", stop - start, start, pa.schema([]), COLUMN, file, pa.list_(pa.float32()))
    return row_scores(shard, SPEC, "a")


def scores(file: File, start: int = 0, stop: int = 240) -> tuple[bytes, bytes]:
    parts = [part[:2] for part in row_parts(file, start, stop)]
    found, status = zip(*parts, strict=True)
    return np.concatenate(found, axis=1).tobytes(), np.concatenate(status).tobytes()


def chunks(path, columns: tuple[str, ...], groups: range) -> int:
    """Bytes of the chunks of columns."""
    metadata = pq.read_metadata(path)
    leaves = [at for at in range(metadata.num_columns) if metadata.schema.column(at).path.split(".")[0] in columns]
    return sum(metadata.row_group(group).column(at).total_compressed_size for group in groups for at in leaves)


def fetched(server) -> int:
    """Bytes that were asked for, without footers."""
    size = {path.name: path.stat().st_size for path in server.folder.iterdir()}
    return sum(length for name, begin, length in server.requests if begin + length != size[name])


def threads() -> list[str]:
    return [thread.name for thread in threading.enumerate() if thread.name.startswith("read-ahead")]


# Scores


def test_scores_are_those_of_the_local_file(server, tmp_path, parquet, caplog):
    caplog.set_level(logging.DEBUG, "dask_aesthetic.shard_scores")
    wanted = scores(local_file(str(tmp_path / parquet)))
    assert scores(remote(server, parquet)) == wanted
    assert [message.rpartition(": ")[2] for message in caplog.messages] == ["3 of 4 row groups scored in place"] * 2
    url = f"{server.url}/{parquet}"
    frame = read_and_score(url, ["key"], rows_per_partition=100).compute(scheduler="threads")
    assert frame["aesthetic_score"].to_numpy().tobytes() == wanted[0]
    assert frame["key"].tolist() == [f"k{at}" for at in range(240)]
    (shard,) = find_shards(url)
    passthrough, found, status, _ = zip(*score_batches(shard, ["key"], SPEC), strict=True)
    assert pa.Table.from_batches(passthrough)["key"].to_pylist() == frame["key"].tolist()
    assert (np.concatenate(found, axis=1).tobytes(), np.concatenate(status).tobytes()) == wanted
    assert threads() == []


def test_the_chunks_of_the_embeddings_alone_are_fetched(server, tmp_path, parquet):
    file = remote(server, parquet)
    scores(file, 0, 120)
    assert fetched(server) == chunks(tmp_path / parquet, (COLUMN,), range(2))
    server.requests.clear()
    frame = read_and_score(f"{server.url}/{parquet}", ["key"])
    server.requests.clear()
    assert len(frame[["key"]].compute(scheduler="sync")) == 240
    assert fetched(server) == chunks(tmp_path / parquet, ("key",), range(4))
    server.requests.clear()
    (shard,) = find_shards(file.path)
    server.requests.clear()
    assert sum(len(lists) for _, lists in shard.batches(["key"])) == 240
    assert fetched(server) == chunks(tmp_path / parquet, ("key", COLUMN), range(4))
    footers = [length for _, begin, length in server.requests if begin + length == file.size]
    assert footers
    assert max(footers) <= FOOTER


def test_several_requests_are_in_flight(server, tmp_path):
    data = np.random.default_rng(1).bytes(9 * 50_000)
    (tmp_path / "a").write_bytes(data)
    server.together = threading.Barrier(read_ahead.REQUESTS)  # Fewer would wait for each other, then fail.
    with ReadAhead(remote(server, "a")) as stream:
        stream.plan([(0, 8 * 50_000)])
        assert stream.read(8 * 50_000) == data[: 8 * 50_000]
    assert not server.together.broken


# Bytes


def test_any_reads_in_any_order_return_the_bytes_of_the_file():
    random = np.random.default_rng(3)
    data = random.bytes(400_000)
    fsspec.filesystem("memory").pipe_file("memory://ahead/a", data)
    file = File("memory://ahead/a", len(data), "")
    budget = Budget(60_000)
    for _ in range(40):
        with ReadAhead(file, budget) as stream, ReadAhead(file, budget) as other:
            other.plan([(0, len(data))])  # It holds its share, and is never read.
            edges = np.sort(random.integers(0, len(data), 2 * random.integers(1, 6))).tolist()
            ranges = list(zip(edges[::2], edges[1::2], strict=True))
            stream.plan((begin, end - begin) for begin, end in ranges)
            for begin, end in ranges:
                at = int(random.integers(begin, end + 1))
                while at < end:  # As the page reader: forwards, some bytes again.
                    stream.seek(at)
                    size = int(random.integers(1, 30_000))
                    assert stream.read(size) == data[at : at + size]
                    at += size - min(int(random.integers(0, 300)), size - 1)
                anywhere = stream.seek(int(random.integers(0, len(data))))
                assert stream.read(1_000) == data[anywhere : anywhere + 1_000]
    assert budget.used == budget.readers == 0


def test_many_readers_share_one_bound_on_memory(server, tmp_path):
    data = np.random.default_rng(4).bytes(200_000)
    (tmp_path / "a").write_bytes(data)
    file = remote(server, "a")
    budget = Budget(64_000)
    with ThreadPoolExecutor(6) as pool:
        streams = [ReadAhead(file, budget) for _ in range(6)]
        for stream in streams:
            stream.plan([(0, 150_000), (160_000, 30_000)])
        # Nobody reads, so what the server was asked for is what is held.
        until = time.monotonic() + 20
        while sum(length for _, _, length in server.requests) < budget.used and time.monotonic() < until:
            time.sleep(0.01)
        assert sum(length for _, _, length in server.requests) == budget.used <= budget.size

        def read(stream: ReadAhead) -> bytes:
            parts = [bytes(stream.read(7_000)) for _ in range(0, 147_000, 7_000)]
            stream.seek(160_000)
            return b"".join([*parts, bytes(stream.read(30_000))])

        assert set(pool.map(read, streams)) == {data[:147_000] + data[160_000:190_000]}
        for stream in streams:
            stream.close()
    assert budget.used == budget.readers == 0


@pytest.mark.parametrize("name", ["a.npy", "a.npz"])
def test_matrices_are_read_ahead(server, tmp_path, vectors, name):
    np.save(tmp_path / "a.npy", vectors)
    np.savez(tmp_path / "a.npz", x=vectors)
    matrix = open_matrix(remote(server, name), "x" if name.endswith("z") else None)
    server.requests.clear()
    with matrix.reader(40, 290) as read:
        parts = [read(at, min(at + 30, 290)) for at in range(40, 290, 30)]
    got = np.concatenate([part.flatten().to_numpy().reshape(-1, 768) for part in parts])
    assert got.tobytes() == vectors[40:290].tobytes()
    ahead = [request for request in server.requests if request[1] >= matrix.range_of(40, 290)[0]]
    assert sum(length for _, begin, length in ahead if begin + length != matrix.file.size) == 250 * 768 * 4
    assert threads() == []


# Failures


@pytest.mark.parametrize("failures", [[503, 503], [429, 500], [range_server.RESET, 502, 504, range_server.RESET]])
def test_passing_failures_change_nothing(server, tmp_path, parquet, failures):
    file = remote(server, parquet)
    wanted = scores(file)
    calm = len(server.requests)
    server.failures.extend(failures)
    assert scores(file) == wanted
    assert len(server.requests) == 2 * calm + len(failures)


def test_a_store_that_fails_for_good_is_named(server, tmp_path, parquet):
    file = remote(server, parquet)
    frame = read_and_score(file.path, ["key"])
    server.always = 503
    server.requests.clear()
    with pytest.raises(InputError, match=rf"expected a file, got {file.path}: 503"):
        file.read(0, 5)
    assert len(server.requests) == TRIES
    server.requests.clear()
    with pytest.raises(InputError, match=rf"expected a file, got {file.path}: 503"):
        frame.compute(scheduler="sync")
    assert len(server.requests) <= TRIES * 2  # The footer, for keys and scores.
    for status in (403, 404):
        server.always = status
        server.requests.clear()
        with pytest.raises(InputError, match=rf"expected a file, got {file.path}: "):
            file.read(0, 5)
        assert len(server.requests) == 1


def test_failures_while_reading_ahead_are_raised_where_the_bytes_are_read(server, tmp_path, parquet):
    file = remote(server, parquet)
    found = row_parts(file)
    first = next(found)
    assert len(first[1]) == 60
    server.always = 503
    with pytest.raises(InputError, match=rf"expected a file, got {file.path}: 503"):
        list(found)
    assert threads() == []


def test_s3_is_asked_again(server, tmp_path, parquet):
    wanted = scores(local_file(str(tmp_path / parquet)))
    options = {
        "key": "nobody",
        "secret": "nothing",
        "endpoint_url": server.url,
        "config_kwargs": {"retries": {"max_attempts": 0}, "s3": {"addressing_style": "path"}},
    }
    (tmp_path / "bucket").mkdir()
    (tmp_path / "bucket/a.parquet").write_bytes((tmp_path / parquet).read_bytes())
    size = (tmp_path / parquet).stat().st_size
    file = File("s3://bucket/a.parquet", size, "", options)
    for failures in ((503, 500), (429, 502, 504), (range_server.RESET,)):
        server.failures.extend(failures)
        assert scores(file) == wanted
    server.requests.clear()
    server.always = 503
    with pytest.raises(InputError, match=r"expected a file, got s3://bucket/a\.parquet: "):
        file.read(0, 5)
    assert len(server.requests) == TRIES
    server.always = 403
    server.requests.clear()
    with pytest.raises(InputError, match=r"expected a file, got s3://bucket/a\.parquet: "):
        file.read(0, 5)
    assert len(server.requests) == 1


# Closing


def test_closing_midway_leaves_no_thread_and_no_request(server, tmp_path, parquet, monkeypatch):
    file = remote(server, parquet)
    found = row_parts(file)
    next(found)
    assert threads()
    found.close()
    assert threads() == []
    asked = len(server.requests)
    monkeypatch.setattr(storage, "BACKOFF", Backoff(3, 1_000.0, 1_000.0))
    stream = ReadAhead(file)
    server.always = 503
    stream.plan([(0, file.size)])
    while len(server.requests) == asked:
        time.sleep(0.01)
    stream.close()  # It does not wait for the next try.
    assert threads() == []
    assert stream.closed
    asked = len(server.requests)
    with pytest.raises(ValueError, match="got a closed one"):
        stream.read(1)
    assert len(server.requests) == asked


def test_a_stream_that_is_forgotten_is_closed(server, tmp_path, parquet):
    stream = ReadAhead(remote(server, parquet))
    stream.plan([(0, 100_000)])
    assert threads()
    del stream
    assert threads() == []
