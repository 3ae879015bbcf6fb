"""Tests that need a GPU. They print figures, which `pytest -m gpu -rP` shows."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch

from helpers import backends, columns

pytestmark = [pytest.mark.gpu, pytest.mark.skipif(not backends.HAS_GPU, reason=backends.NO_GPU)]
GIB = 1 << 30


def series_of(rows):
    import cudf

    return cudf.Series.from_arrow(columns.array(rows, "list"))


def repeated(vectors: np.ndarray, rows: int) -> np.ndarray:
    """Vectors repeated to `rows` rows, faster than random ones."""
    return np.tile(vectors, (-(-rows // len(vectors)), 1))[:rows]


def on_cpu(column) -> tuple[np.ndarray, list[str]]:
    """Scores and statuses of a cuDF column's rows, computed on the CPU."""
    lists = column.to_arrow().cast(pa.list_(pa.float32()))  # cuDF gives lists that are all null as nulls.
    frame = pd.DataFrame({"image_embedding": pd.arrays.ArrowExtensionArray(pa.chunked_array([lists]))})
    return frame.aesthetic.score()["aesthetic_score"].to_numpy(), frame.aesthetic.status().tolist()


def fresh(code: str, timeout: int = 240, **settings: str) -> str:
    """Output of code in a fresh interpreter with environment variables."""
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=timeout, env={**os.environ, **settings}
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def script(folder: Path, code: str, *arguments: str) -> str:
    """Output of code in a script file, which spawned workers need."""
    file = folder / "script.py"
    file.write_text(code)
    done = subprocess.run([sys.executable, str(file), *arguments], capture_output=True, text=True, timeout=280)
    assert done.returncode == 0, done.stderr
    return done.stdout


# Columns in every state

STATES = {
    "whole": lambda s, _: s,
    "sliced": lambda s, _: s.iloc[17:200],
    "joined": lambda s, cudf: cudf.concat([s.iloc[200:], s.iloc[:50]]),
    "joined slices of slices": lambda s, cudf: cudf.concat([s.iloc[20:200].iloc[3:90], s.iloc[:0], s.iloc[150:151]]),
    "gathered": lambda s, _: s.iloc[::3],
    "backwards": lambda s, _: s.iloc[::-1],
    "one row": lambda s, _: s.iloc[5:6],
    "no row": lambda s, _: s.iloc[:0],
    "copied": lambda s, _: s.copy(deep=True),
}
ROWS = {
    "good": lambda _, row: row,
    "nulls": lambda at, row: None if at % 7 == 3 else row,
    "all null": lambda *_: None,
    "empty": lambda at, row: [] if at % 5 == 1 else row,
    "all empty": lambda *_: [],
    "ragged": lambda at, row: row[: 768 - at % 4],
    "all too short": lambda _, row: row[:512],
    "ragged, together as long as whole rows": lambda at, row: np.resize(row, 767 + at % 2 * 2),
    "not finite": lambda at, row: (
        np.where(np.arange(768) == at, (np.nan, np.inf)[at % 8 > 4], row) if at % 4 == 2 else row
    ),
    "zero": lambda at, row: row * 0 if at % 4 == 2 else row,
    "tiny and huge": lambda at, row: row * np.float32((1e-30, 1e30)[at % 2]) if at % 4 > 1 else row,
}


@pytest.mark.parametrize("state", STATES)
@pytest.mark.parametrize("rows", ROWS)
def test_a_column_in_any_state_scores_as_on_the_cpu(vectors, rows, state):
    import cudf

    given = [ROWS[rows](at, row) for at, row in enumerate(vectors)]
    array = pa.array([row if row is None else np.asarray(row, np.float32) for row in given], pa.list_(pa.float32()))
    column = STATES[state](cudf.Series.from_arrow(array), cudf)
    frame = cudf.DataFrame({"image_embedding": column})
    scored, status = frame.aesthetic.score(), frame.aesthetic.status()
    expected, statuses = on_cpu(column)
    got = scored["aesthetic_score"].to_pandas().to_numpy(dtype=np.float32, na_value=np.nan)
    np.testing.assert_allclose(got, expected, rtol=0, atol=5e-6)
    assert scored["keep"].to_pandas().tolist() == (got >= 5).tolist()
    assert status.to_pandas().tolist() == statuses
    pd.testing.assert_index_equal(scored.index.to_pandas(), column.index.to_pandas())


@pytest.mark.parametrize("nulls", ["among the floats", "beneath null rows"])
def test_nulls_anywhere_in_a_column(vectors, nulls):
    import cudf

    offsets = pa.array(np.arange(len(vectors) + 1) * 768, pa.int32())
    if nulls == "among the floats":
        leaves = pa.array(vectors.reshape(-1), mask=np.isin(np.arange(vectors.size), (5 * 768 + 3, 9 * 768)))
        array, wanted = pa.ListArray.from_arrays(offsets, leaves), "not_finite"
    else:
        rows = pa.array(np.isin(np.arange(len(vectors)), (5, 9)))
        array, wanted = pa.ListArray.from_arrays(offsets, pa.array(vectors.reshape(-1)), mask=rows), "missing"
    column = cudf.Series.from_arrow(array)
    status = cudf.DataFrame({"image_embedding": column}).aesthetic.status().to_pandas()
    assert status.tolist() == [wanted if at in (5, 9) else "ok" for at in range(len(vectors))]


def test_rows_are_positional_under_any_index(vectors):
    import cudf

    rows = [None if at == 3 else row for at, row in enumerate(vectors[:8])]
    wanted = cudf.DataFrame({"image_embedding": series_of(rows)}).aesthetic.score()["aesthetic_score"].to_pandas()
    for index in (
        cudf.Index([7, 7, 1, 1, 0, 2, 3, 3]),
        cudf.MultiIndex.from_tuples([(at // 2, at % 2) for at in range(8)]),
    ):
        frame = cudf.DataFrame({"image_embedding": series_of(rows)})
        frame.index = index
        got = frame.aesthetic.score()["aesthetic_score"]
        np.testing.assert_array_equal(got.to_pandas().to_numpy(), wanted.to_numpy())
        pd.testing.assert_index_equal(got.index.to_pandas(), frame.index.to_pandas())


def test_a_row_scores_the_same_bytes_in_any_position(vectors):
    import cudf

    column = series_of(repeated(vectors, 5000))
    whole = cudf.DataFrame({"image_embedding": column}).aesthetic.score()["aesthetic_score"].to_numpy()
    for start, stop in ((0, 1), (1, 5000), (4097, 4099), (2500, 4000)):
        part = cudf.DataFrame({"image_embedding": column.iloc[start:stop]}).aesthetic.score()
        assert (part["aesthetic_score"].to_numpy() == whole[start:stop]).all()
    # The floats of this column are not aligned to 16 bytes.
    unaligned = cudf.concat([series_of([vectors[0][:767]]), column]).iloc[1:]
    scored = cudf.DataFrame({"image_embedding": unaligned}).aesthetic.score()
    assert (scored["aesthetic_score"].to_numpy() == whole).all()
    for rows in (1, 7, 4096):
        scored = cudf.DataFrame({"image_embedding": column}).aesthetic.score(batch_size=rows)
        assert (scored["aesthetic_score"].to_numpy() == whole).all()


# Arithmetic


def test_cpu_and_gpu_agree_on_a_million_rows():
    import cudf

    flips, worst = 0, 0.0
    for seed in range(10):
        z = np.random.default_rng(seed).standard_normal((100_000, 768), dtype=np.float32)
        added = ["aesthetic_score", "keep"]
        cpu = columns.frame(z, "list").aesthetic.score()[added]
        gpu = cudf.DataFrame({"image_embedding": series_of(z)}).aesthetic.score()[added].to_pandas()
        worst = max(worst, float(np.abs(cpu["aesthetic_score"] - gpu["aesthetic_score"]).max()))
        flips += int((cpu["keep"].to_numpy() != gpu["keep"].to_numpy()).sum())
    print(f"a million random rows on CPU and GPU: largest difference {worst:.1e}, {flips} keep flips")
    assert worst <= 5e-6
    assert flips <= 20


@pytest.fixture
def tf32():
    """TF32 allowed everywhere, as a user may set it."""
    import torch

    before = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision("high")
    yield
    torch.set_float32_matmul_precision(before)


def test_a_network_scores_the_same_bytes_in_any_position_without_tf32(vectors, tmp_path, tf32):
    import torch

    from dask_aesthetic.predictors import load_predictor, network

    generator, tensors = torch.Generator().manual_seed(8), {}
    for at, (rows, width) in {0: (1024, 768), 2: (128, 1024), 4: (1, 128)}.items():
        tensors[f"{at}.weight"] = torch.randn(rows, width, generator=generator) / width**0.5
        tensors[f"{at}.bias"] = torch.randn(rows, generator=generator)
    torch.save(tensors, tmp_path / "relu.pth")
    predictor = load_predictor(tmp_path / "relu.pth", activation="relu")
    here = torch.from_numpy(repeated(vectors, 2 * network.GPU_BATCH + 100))
    there = here.cuda()
    whole = predictor.score(there)[0]
    for start, stop in ((0, 1), (4095, 4098), (4097, 4099), (1, 8000), (8291, 8292)):
        for batch_size in (None, 1000):
            assert torch.equal(predictor.score(there[start:stop], batch_size)[0], whole[start:stop])
    worst = (predictor.score(here)[0] - whole.cpu()).abs().max().item()
    print(f"a network on CPU and GPU: largest difference {worst:.1e}")
    assert worst <= 5e-6


def test_images_in_float32_are_embedded_without_tf32_and_the_same_beside_any_images(tmp_path, tf32):
    open_clip = pytest.importorskip("open_clip", reason="needs open_clip: pip install 'dask-aesthetic[embed]'")
    import torch

    from dask_aesthetic.images import EncoderSpec
    from dask_aesthetic.images.encoder import load_encoder
    from helpers import image_files

    weights = image_files.small_model(tmp_path)
    encoder = load_encoder(EncoderSpec.of(image_files.MODEL, weights, "float32"))
    pixels = torch.randint(0, 256, (40, 32, 32, 3), dtype=torch.uint8, generator=torch.Generator().manual_seed(1))
    whole = encoder.encode(pixels, 64)
    for start, stop in ((0, 1), (7, 9), (3, 40)):
        assert torch.equal(encoder.encode(pixels[start:stop], 64), whole[start:stop])
    model = open_clip.create_model(image_files.MODEL, str(weights)).visual.eval()
    with torch.inference_mode():
        expected = torch.nn.functional.normalize(model(encoder.tensor(pixels).cpu()), dim=1)
    worst = (torch.nn.functional.normalize(whole.cpu(), dim=1) - expected).abs().max().item()
    print(f"images in float32 on CPU and GPU: largest difference {worst:.1e}")
    assert worst < 1e-6


# Memory


@pytest.mark.parametrize("state", ["whole", "sliced", "joined", "nulls"])
def test_tensors_share_the_memory_of_the_column(vectors, state):
    import cudf

    from dask_aesthetic import embeddings

    given = [None if state == "nulls" and at % 7 == 3 else row for at, row in enumerate(vectors)]
    column = series_of(given if state == "nulls" else vectors)
    column = column if state == "nulls" else STATES[state](column, cudf)
    child = column.to_pylibcudf()[0].list_view().child()
    first, size = child.data().ptr, child.size() * 4
    (run,) = embeddings.runs(column, 768)
    at = run.vectors.data_ptr()
    print(f"{state}: the column's floats lie at {first:#x} to {first + size:#x}, the tensor at {at:#x}")
    assert run.vectors.is_cuda
    assert first <= at < at + run.vectors.numel() * 4 <= first + size


def test_a_call_waits_for_the_device_once(vectors):
    import warnings

    import cudf

    frame = cudf.DataFrame({"image_embedding": series_of(vectors)})
    frame.aesthetic.score()
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        torch.cuda.set_sync_debug_mode("warn")
        try:
            frame.aesthetic.score()
        finally:
            torch.cuda.set_sync_debug_mode("default")
    caught = [one for one in caught if "called a synchronizing" in str(one.message)]
    waits = [f"{Path(one.filename).name}:{one.lineno}" for one in caught]
    print(f"torch waits for the device at {', '.join(waits)}")
    assert len(waits) <= 1  # For offsets and norms; the first call has waited for the weights to be there.


def test_scoring_4_gb_takes_no_more_memory_than_the_scores(vectors):
    import cudf
    import rmm.statistics

    n = 1_400_000
    frame = cudf.DataFrame({"image_embedding": series_of(repeated(vectors, n))})
    frame.aesthetic.score()
    torch.cuda.empty_cache()
    torch.cuda.synchronize()
    free_before, torch_before = torch.cuda.mem_get_info()[0], torch.cuda.memory_allocated()
    torch.cuda.reset_peak_memory_stats()
    with rmm.statistics.statistics():
        scored = frame.aesthetic.score()
        torch.cuda.synchronize()
        by_cudf = rmm.statistics.get_statistics().peak_bytes
    by_torch = torch.cuda.max_memory_allocated() - torch_before
    grown = free_before - torch.cuda.mem_get_info()[0]
    print(
        f"{n:,} rows, {n * 3072 / 1e9:.2f} GB of embeddings: device memory in use grew by {grown / 1e6:.1f} MB, "
        f"at most {by_cudf / 1e6:.1f} MB cuDF's and {by_torch / 1e6:.1f} MB torch's; scores are {n * 4 / 1e6:.1f} MB"
    )
    assert len(scored) == n
    assert by_cudf + by_torch <= 32 * n
    assert grown <= 64 * n  # Allocators take more than they are asked for.


SPILLING = """
import cudf, numpy as np
cudf.set_option("spill", True)
from cudf.core.buffer.spill_manager import get_global_manager
import dask_aesthetic
import pyarrow as pa
vectors = np.random.default_rng(0).standard_normal((20_000, 768), dtype=np.float32)
offsets = pa.array(np.arange(len(vectors) + 1) * 768, pa.int32())
column = cudf.Series.from_arrow(pa.ListArray.from_arrays(offsets, pa.array(vectors.reshape(-1))))
frame = cudf.DataFrame({"image_embedding": column})
manager = get_global_manager()
first = frame.aesthetic.score()["aesthetic_score"].to_pandas()
spilled = manager.spill_device_memory(nbytes=1 << 40)
assert spilled >= vectors.nbytes, (spilled, manager)
again = frame.aesthetic.score()["aesthetic_score"].to_pandas()
part = frame.iloc[100:200].aesthetic.score()["aesthetic_score"].to_pandas()
assert first.equals(again) and part.equals(first[100:200])
assert manager.spill_device_memory(nbytes=1 << 40) >= vectors.nbytes, manager
print(f"of {vectors.nbytes:,} bytes of embeddings, scored before, {spilled:,} bytes were spilled, and scored again")
"""


def test_scored_frames_can_still_be_spilled():
    print(fresh(SPILLING))


THREADS = """
from concurrent.futures import ThreadPoolExecutor
def score(_):
    return sum(frame.aesthetic.score()["aesthetic_score"].to_pandas().equals(first) for _ in range(20))
count = 0
with ThreadPoolExecutor(2) as threads:
    results = [threads.submit(score, number) for number in range(2)]
    while not all(result.done() for result in results):
        count += manager.spill_device_memory(nbytes=1 << 40) >= vectors.nbytes
    right = [result.result() for result in results]
assert right == [20, 20], right
print(f"two threads scored one column 20 times each, while it was spilled {count} times")
"""


def test_two_threads_score_one_column_that_is_spilled_meanwhile():
    print(fresh(SPILLING + THREADS, timeout=90))


MANAGED = """
import os, sys
os.environ["CUDF_PANDAS_RMM_MODE"] = "managed"  # Its pool would take most of the GPU.
if sys.argv[1:] == ["proxies"]:
    import cudf.pandas
    cudf.pandas.install()
else:
    import rmm
    rmm.reinitialize(managed_memory=True)
import cudf, numpy as np, pandas as pd, pyarrow as pa
import dask_aesthetic
vectors = np.random.default_rng(0).standard_normal((1000, 768), dtype=np.float32)
lists = pa.array([None, *vectors[1:]], pa.list_(pa.float32()))
if sys.argv[1:] == ["proxies"]:
    frame = pd.DataFrame({"image_embedding": pd.array(lists, dtype=pd.ArrowDtype(lists.type))})
    assert cudf.pandas.is_proxy_object(frame)
else:
    frame = cudf.DataFrame({"image_embedding": cudf.Series.from_arrow(lists)})
scores = np.array(frame.aesthetic.score()["aesthetic_score"].to_numpy(), dtype=float)
predictor = dask_aesthetic.load_predictor()
units = vectors.astype(float) / np.linalg.norm(vectors.astype(float), axis=1)[:, None]
worst = np.abs(scores - units @ predictor.weight - predictor.bias)[1:].max()
assert np.isnan(scores[0]) and worst <= 5e-6, (scores[:3], worst)
print(f"{sys.argv[1]}: largest difference {worst:.1e}")
"""


@pytest.mark.parametrize("memory", ["managed", "proxies"])
def test_managed_memory_and_cudf_pandas_proxies(tmp_path, memory):
    print(script(tmp_path, MANAGED, memory))


# Streams

STREAMS = """
import cudf, numpy as np, pyarrow as pa, torch
import dask_aesthetic
vectors = np.random.default_rng(0).standard_normal((50_000, 768), dtype=np.float32)
offsets = pa.array(np.arange(len(vectors) + 1) * 768, pa.int32())
def frame():
    return cudf.DataFrame({"image_embedding": cudf.Series.from_arrow(
        pa.ListArray.from_arrays(offsets, pa.array(vectors.reshape(-1))))})
predictor = dask_aesthetic.load_predictor()
units = vectors.astype(float) / np.linalg.norm(vectors.astype(float), axis=1)[:, None]
expected = units @ predictor.weight + predictor.bias
worst = 0.0
for number in range(20):
    with torch.cuda.stream(torch.cuda.Stream()):
        busy = torch.randn(4096, 4096, device="cuda")
        for _ in range(20):
            busy = busy @ busy  # The side stream is behind.
        scores = frame().aesthetic.score()["aesthetic_score"]
        torch.full((50_000,), 7.0, device="cuda")  # What torch has freed, it gives away again.
        worst = max(worst, float(np.abs(scores.to_pandas().to_numpy() - expected).max()))
assert worst <= 5e-6, worst
print(f"20 runs beside work on other streams: largest difference {worst:.1e}")
"""


@pytest.mark.parametrize("per_thread", ["0", "1"])
def test_scores_are_right_whatever_stream_torch_and_cudf_are_on(per_thread):
    print(f"CUDF_PER_THREAD_STREAM={per_thread}:", fresh(STREAMS, CUDF_PER_THREAD_STREAM=per_thread))


# Clusters


def parquet_files(folder: Path, vectors: np.ndarray, files: int, rows: int) -> None:
    """Files of keys and embeddings, the same content under several names."""
    keys = pa.array([f"{at}" for at in range(rows)])
    table = pa.table({"key": keys, "image_embedding": columns.array(repeated(vectors, rows), "list")})
    pq.write_table(table, folder / "0.parquet", use_dictionary=False, compression="NONE", row_group_size=50_000)
    for number in range(1, files):
        os.link(folder / "0.parquet", folder / f"{number}.parquet")


CLUSTER = """
import sys
import dask_cudf
from cudf.core.buffer.spill_manager import get_global_manager
import dask_aesthetic
from dask_aesthetic.cluster import local_cluster

def worker():
    # The memory resource of a worker, torch's allocator there, and what cuDF has spilled.
    import rmm.mr
    import torch

    resource, names = rmm.mr.get_current_device_resource(), []
    while resource is not None:
        names.append(type(resource).__name__)
        resource = getattr(resource, "get_upstream", lambda: None)()
    manager = get_global_manager()
    return " over ".join(names), torch.cuda.get_allocator_backend(), manager and str(manager.statistics)

if __name__ == "__main__":
    folder, pool, spill = sys.argv[1], int(sys.argv[2]), sys.argv[3] == "True"
    options = dict(rmm_pool_size=pool, rmm_maximum_pool_size=pool, cudf_spill_stats=1, dashboard_address=":0")
    with local_cluster("gpu", spill=spill, **options) as cluster, cluster.get_client() as client:
        ddf = dask_cudf.read_parquet(f"{folder}/*.parquet", blocksize=None)
        ddf.aesthetic.score()[["key", "aesthetic_score", "keep"]].to_parquet(f"{folder}/out")
        if spill:  # Held on the GPU, it is more than the pool: cuDF has to move it to the host, and back.
            held = ddf.persist()
            for again in range(2):
                held.aesthetic.score()[["key", "aesthetic_score", "keep"]].to_parquet(f"{folder}/held-{again}")
        for resource, torch, spilled in client.run(worker).values():
            print(f"{resource}; torch {torch}; {spilled}")
            assert "Pool" in resource and torch == "pluggable"
            assert not spill or "gpu => cpu" in spilled
"""


@pytest.mark.parametrize("spill", [False, True], ids=["pool shared with torch", "pool, and spilling"])
def test_a_cluster_of_gpu_workers_reads_scores_and_writes_more_than_its_pool_holds(vectors, tmp_path, spill):
    """In a process of its own, whose settings a cluster changes."""
    files, rows, pool = 12, 150_000, 4 * GIB
    parquet_files(tmp_path, vectors, files, rows)
    print(f"{files * rows:,} rows, {files * rows * 3072 / GIB:.1f} GiB of embeddings, pool of {pool / GIB:.1f} GiB:")
    print(script(tmp_path, CLUSTER, str(tmp_path), str(pool), str(spill)))
    expected = columns.frame(repeated(vectors, rows), "list").aesthetic.score()["aesthetic_score"].to_numpy()
    expected = np.sort(np.tile(expected, files))
    for out in sorted(tmp_path.glob("[oh]*")):
        if out.is_dir():
            difference = np.abs(np.sort(pq.read_table(out).column("aesthetic_score").to_numpy()) - expected).max()
            print(f"{out.name}: largest difference {difference:.1e}")
            assert difference <= 5e-6


def test_read_and_score_reads_to_the_gpu(vectors, tmp_path):
    import dask

    from dask_aesthetic.readers import read_and_score

    parquet_files(tmp_path, vectors, 3, 1000)
    with dask.config.set({"dataframe.backend": "cudf"}):
        scored = read_and_score(tmp_path).compute()
    assert type(scored).__module__.partition(".")[0] == "cudf"
    expected = columns.frame(repeated(vectors, 1000), "list").aesthetic.score()["aesthetic_score"].to_numpy()
    got = scored["aesthetic_score"].to_pandas().to_numpy()
    np.testing.assert_allclose(got, np.tile(expected, 3), rtol=0, atol=5e-6)


FILES = {
    "lists": lambda lists: lists,
    "large lists": lambda lists: lists.cast(pa.large_list(pa.float32())),
    "lists of a fixed size": lambda lists: lists.cast(pa.list_(pa.float32(), 768)),
    "float64": lambda lists: lists.cast(pa.list_(pa.float64())),
}


def values(column) -> list[object]:
    """Values of a pandas column, None for null."""
    return [None if pd.isna(value) else value for value in column.tolist()]


@pytest.mark.parametrize("kind", FILES)
@pytest.mark.parametrize("index", ["none", "key", "steps"])
def test_read_and_score_reads_unusual_files(vectors, tmp_path, kind, index):
    import dask

    from dask_aesthetic.readers import read_and_score

    n = 100
    table = pa.table(
        {
            "key": [f"{at}" for at in range(n)],
            "tag": pa.array(["a", "b", None, "b"] * 25).dictionary_encode(),
            "box": pa.array([np.arange(4, dtype=np.float32)] * n, pa.list_(pa.float32(), 4)),
            "day": pa.array([at if at % 3 else None for at in range(n)], pa.int32()).cast(pa.date32()),
            "lang": ["own"] * n,
            "image_embedding": FILES[kind](columns.array(vectors[:n], "list")),
        }
    )
    indexes = {"key": ["key"], "steps": [{"kind": "range", "name": None, "start": 0, "stop": 2 * n, "step": 2}]}
    if index in indexes:
        metadata = {"index_columns": indexes[index], "column_indexes": [], "columns": [], "pandas_version": "3.0.0"}
        table = table.replace_schema_metadata({"pandas": json.dumps(metadata)})
    folder = tmp_path / "lang=en"
    folder.mkdir()
    pq.write_table(table, folder / "0.parquet", row_group_size=30)
    expected = read_and_score(tmp_path, "all", rows_per_partition=30).compute()
    with dask.config.set({"dataframe.backend": "cudf"}):
        got = read_and_score(tmp_path, "all", rows_per_partition=30).compute().to_pandas()
    assert got.columns.tolist() == expected.columns.tolist()
    for name in ("key", "tag", "lang"):
        assert values(got[name]) == values(expected[name])
    assert got["day"].isna().tolist() == expected["day"].isna().tolist()
    assert [list(row) for row in got["box"]] == [[0, 1, 2, 3]] * n
    difference = got["aesthetic_score"].to_numpy() - expected["aesthetic_score"].to_numpy()
    assert np.abs(difference).max() <= 5e-6


def verbs(frame, folder: Path) -> dict[str, object]:
    """Results of every method but `score` and `status` on a frame with scores and ratings."""
    check, scores, fitted = frame.aesthetic.check(), frame.aesthetic.distribution(), frame.aesthetic.fit("rating")
    page = frame.aesthetic.report(folder / "page.html", key_column="key", samples=4)
    return {
        "check": (check.rows, check.widths, check.nulls, check.status, check.normalized),
        "rows": scores.rows,
        "median": round(scores.quantile(0.5), 3),
        "groups": {group: one.rows for group, one in frame.aesthetic.distribution(by="tag").items()},
        "threshold": round(float(frame.aesthetic.calibrate(keep_fraction=0.2).value), 3),
        "weights": np.round(fitted.weight, 3).tolist(),
        "page": page.stat().st_size > 1000,
    }


def test_every_method_gives_the_same_on_cudf_and_pandas(vectors, tmp_path):
    import cudf

    rows = [None if at % 50 == 7 else row for at, row in enumerate(repeated(vectors, 1200))]
    table = pa.table({"key": [f"{at}" for at in range(1200)], "image_embedding": columns.array(rows, "list")})
    table = table.append_column("tag", pa.array(["cat", "dog", None] * 400))
    table = table.append_column("rating", pa.array(np.random.default_rng(1).normal(5, 1, 1200)))
    frames = {"gpu": cudf.DataFrame.from_arrow(table), "cpu": table.to_pandas(types_mapper=pd.ArrowDtype)}
    results = {}
    for name, frame in frames.items():
        (tmp_path / name).mkdir()
        results[name] = verbs(frame.aesthetic.score(), tmp_path / name)
    assert results["gpu"] == results["cpu"]


CONTEXTS = """
import os, sys
import pynvml
pynvml.nvmlInit()
gpu = pynvml.nvmlDeviceGetHandleByIndex(0)

def used():
    return pynvml.nvmlDeviceGetMemoryInfo(gpu).used / 2**20

def at_work():
    try:
        return {one.pid for one in pynvml.nvmlDeviceGetComputeRunningProcesses(gpu)}
    except pynvml.NVMLError:  # A sandbox may not tell.
        return set()

def contexts():
    # What maps the device has a context; in a sandbox NVML may not tell whose.
    import ctypes
    cuda = ctypes.CDLL("libcuda.so.1")
    state = ctypes.c_int(), ctypes.c_uint()
    cuda.cuInit(0)
    cuda.cuDevicePrimaryCtxGetState(0, ctypes.byref(state[1]), ctypes.byref(state[0]))
    return state[0].value

if __name__ == "__main__":
    before = used()
    import dask_aesthetic
    assert "torch" not in sys.modules or not sys.modules["torch"].cuda.is_initialized()
    imported = used()
    from dask_aesthetic.cluster import local_cluster
    with local_cluster("gpu", rmm_pool_size=None, dashboard_address=":0") as cluster, cluster.get_client() as client:
        running = used()
        pids = client.run(os.getpid)
        assert not contexts(), "this process has a context"
        print(f"MiB in use: {before:.0f} before, {imported:.0f} after the import, {running:.0f} with the cluster")
        print(f"{os.getpid()} here has no context; workers {sorted(pids.values())}; NVML shows {sorted(at_work())}")
        assert imported - before < 16
        assert os.getpid() not in at_work()
"""


def test_importing_and_starting_a_cluster_leave_no_context_in_this_process(tmp_path):
    print(script(tmp_path, CONTEXTS))


def test_the_selftest_passes_on_every_device():
    from dask_aesthetic.selftest import selftest

    checks = selftest()
    for check in checks:
        print(f"{check.predictor} on {check.device}: largest difference {check.difference:.1e}")
    assert any(check.device.startswith("cuda") for check in checks)
    assert all(check.passed for check in checks)
