"""The cuDF backend on real cuDF columns in the host's memory. There is no GPU, so libcudf cannot be called."""

from __future__ import annotations

import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
import torch

if Path("/dev/nvidiactl").exists():
    pytest.skip("there is an NVIDIA GPU: test_gpu.py", allow_module_level=True)
cudf = pytest.importorskip("cudf", reason="needs RAPIDS")

from dask_aesthetic import embeddings, score_embeddings
from dask_aesthetic.images import cudf as images
from helpers import columns, host_cudf

pytestmark = pytest.mark.rapids
WIDTHS = np.full(40, 768)
SLICES = (slice(0, 40), slice(7, 31), slice(39, 40))


@pytest.fixture(autouse=True)
def host_memory(monkeypatch):
    host_cudf.use_host_memory(monkeypatch)


@pytest.fixture
def rows(vectors):
    return vectors[:40]


def series_of(column) -> cudf.Series:
    return cudf.Series.from_pylibcudf(column)


@pytest.mark.parametrize("part", SLICES, ids=str)
def test_rows_that_are_all_good_are_scored_without_libcudf(rows, part):
    count = len(rows[part])
    keys, column = series_of(host_cudf.column(np.arange(count))), series_of(host_cudf.lists(rows, WIDTHS, part))
    frame = cudf.DataFrame({"key": keys, "image_embedding": column})
    frame.index = cudf.Index(series_of(host_cudf.column(np.arange(count) // 2)))  # Labels that cuDF cannot align.
    scored = frame.aesthetic.score()
    assert list(frame.columns) == ["key", "image_embedding"]
    assert list(scored.columns) == ["key", "image_embedding", "aesthetic_score", "keep"]
    assert (scored["aesthetic_score"].dtype, scored["keep"].dtype) == (np.float32, np.bool_)
    expected = columns.frame(rows[part], "list").aesthetic.score()
    for name in ("aesthetic_score", "keep"):
        np.testing.assert_array_equal(host_cudf.array_of(scored[name]), expected[name].to_numpy())
    np.testing.assert_array_equal(host_cudf.array_of(scored.index.to_series()), np.arange(count) // 2)


@pytest.mark.parametrize("part", SLICES, ids=str)
def test_similarity_of_two_columns_has_the_bits_of_a_cpu(vectors, part):
    sides = {"image_embedding": vectors[:40], "text_embedding": vectors[100:140]}
    frame = cudf.DataFrame({name: series_of(host_cudf.lists(rows, WIDTHS, part)) for name, rows in sides.items()})
    frame.index = cudf.Index(series_of(host_cudf.column(np.arange(len(frame)) // 2)))
    found = frame.aesthetic.similarity()
    assert list(found.columns) == [*sides, "similarity"]
    expected = pd.DataFrame({name: columns.make(rows[part], "list") for name, rows in sides.items()})
    expected = expected.aesthetic.similarity()["similarity"].to_numpy()
    np.testing.assert_array_equal(host_cudf.array_of(found["similarity"]), expected)


def test_a_column_without_rows_needs_no_offsets(rows):
    nothing = cudf.Series.from_pylibcudf(host_cudf.lists(rows[:0], WIDTHS[:0]))
    assert list(embeddings.runs(nothing, 768)) == []
    with embeddings.guess(nothing, 768) as guess:
        assert guess is None


@pytest.mark.parametrize("part", SLICES, ids=str)
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_vectors_lie_in_the_columns_own_memory(rows, part, dtype):
    values = rows.astype(dtype)
    (run,) = embeddings.runs(series_of(host_cudf.lists(values, WIDTHS, part)), 768)
    assert run.all_valid
    assert run.vectors.data_ptr() == values[part].ctypes.data
    np.testing.assert_array_equal(run.vectors.numpy(), values[part])
    assert len(run.status) == len(values[part])
    assert not run.status.any()


def test_a_guess_that_is_wrong_does_not_hold(rows):
    narrow, moved = WIDTHS.copy(), WIDTHS.copy()
    narrow[3], moved[3], moved[4] = 512, 767, 769
    for lists in (
        host_cudf.lists(rows, WIDTHS, nulls=1),
        host_cudf.lists(rows, WIDTHS, null_leaves=1),
        host_cudf.lists(rows, narrow),
        host_cudf.lists(rows, moved),
        host_cudf.lists(rows, narrow, slice(4, 40)),
        host_cudf.lists(rows, np.full(20, 1536)),
    ):
        with embeddings.guess(series_of(lists), 768) as guess:
            assert guess is None or not guess.holds(guess.vectors.norm(dim=1))
    with embeddings.guess(series_of(host_cudf.lists(rows, narrow, slice(0, 3))), 768) as guess:
        assert guess.holds(guess.vectors.norm(dim=1))


@pytest.mark.parametrize("part", [slice(0, 40), slice(2, 33), slice(9, 12)], ids=str)
@pytest.mark.parametrize("nulls", [0, 2, 9])
def test_null_and_empty_rows_cost_no_copy(rows, nulls, part):
    widths = np.where((np.arange(40) < nulls) | (np.arange(40) % 7 == 1), 0, 768)
    values, given = rows[: np.count_nonzero(widths)], []
    for at, width in enumerate(widths):
        given.append(None if at < nulls else rows[widths[:at].sum() // 768][:width])
    series = series_of(host_cudf.lists(values, widths, part, nulls=nulls))
    (run,) = embeddings.runs(series, 768)
    usable = widths[part] > 0
    assert (run.status == 0).tolist() == usable.tolist()
    assert run.vectors.data_ptr() == values.ctypes.data + 4 * widths[: part.start].sum()
    assert len(run.vectors) == usable.sum()
    scored = cudf.DataFrame({"image_embedding": series}).aesthetic.score()
    expected = columns.frame(given[part], "list").aesthetic.score()
    for name in ("aesthetic_score", "keep"):
        np.testing.assert_array_equal(host_cudf.array_of(scored[name]), expected[name].to_numpy())


@pytest.mark.parametrize("dtype", ["int8", "uint16", "int64"])
@pytest.mark.parametrize("part", SLICES, ids=str)
def test_integers_are_scored_as_float64(rows, part, dtype):
    numbers = np.round(np.abs(rows) * 900).astype(dtype)
    widths = np.where(np.arange(40) == 8, 512, 768)
    values = np.concatenate([numbers[:8].ravel(), numbers[8, :512], numbers[9:].ravel()])
    frame = cudf.DataFrame({"image_embedding": series_of(host_cudf.lists(values, widths, part, null_leaves=1))})
    given = [list(numbers[at][: widths[at]]) for at in range(40)]
    given[0] = [None, *given[0][1:]]
    array = pa.array(given, pa.list_(pa.from_numpy_dtype(dtype)))[part]
    scores, status = score_embeddings(frame["image_embedding"], return_status=True)
    expected = score_embeddings(array, return_status=True)
    np.testing.assert_array_equal(scores, expected[0])
    assert list(status) == list(expected[1])
    assert not embeddings.get_backend(frame["image_embedding"]).holds_floats(frame["image_embedding"])


@pytest.mark.parametrize("part", [slice(0, 12), slice(3, 10)], ids=str)
@pytest.mark.parametrize("rows_at_a_time", [5, 65536])
def test_lists_of_lists_lose_their_axes_of_length_1(rows, part, rows_at_a_time, monkeypatch):
    monkeypatch.setattr("dask_aesthetic.embeddings.cudf.CONVERTED_ROWS", rows_at_a_time)
    one = [[row.tolist()] for row in rows[:5]]
    column = [[[value] for value in row.tolist()] for row in rows[5:9]]
    matrix = [rows[9].reshape(2, 384).tolist()]
    given = [*one, *column, *matrix, [], [[]]]
    outer, inner = np.array([len(row) for row in given]), np.array([len(item) for row in given for item in row])
    nested = host_cudf.lists(host_cudf.lists(rows[:10].ravel(), inner), outer, part)
    frame = cudf.DataFrame({"image_embedding": series_of(nested)})
    assert host_cudf.array_of(frame.aesthetic.score()["aesthetic_score"]).tobytes() == (
        score_embeddings(pa.array(given, pa.list_(pa.list_(pa.float32())))[part]).tobytes()
    )
    _, status = score_embeddings(frame["image_embedding"], return_status=True)
    expected = ["ok"] * 9 + ["wrong_width", "missing", "missing"]
    assert list(status) == expected[part]


def test_null_lists_in_lists_are_missing(rows):
    nested = host_cudf.lists(host_cudf.lists(rows[1:4], np.array([0, 768, 768, 768]), nulls=1), np.array([1, 1, 1, 1]))
    _, status = score_embeddings(series_of(nested), return_status=True)
    assert list(status) == ["missing", "ok", "ok", "ok"]


@pytest.mark.parametrize("case", ["a zero row", "a row that is not finite", "rows after a short one"])
def test_a_wrong_guess_leaves_no_trace(rows, case):
    rows, widths, part = rows.copy(), WIDTHS, slice(0, 40)
    if case == "a zero row":
        rows[7] = 0
    elif case == "a row that is not finite":
        rows[7, 5] = np.nan
    else:
        widths, part = np.concatenate([[512], WIDTHS[:38]]), slice(1, 39)
    frame = cudf.DataFrame({"image_embedding": series_of(host_cudf.lists(rows, widths, part))})
    scored = frame.aesthetic.score(scale="unit")
    begin = widths[: part.start].sum()
    vectors = rows.reshape(-1)[begin : begin + 768 * (part.stop - part.start)].reshape(-1, 768)
    expected = columns.frame(vectors, "list").aesthetic.score(scale="unit")
    for name in ("aesthetic_score", "keep"):
        np.testing.assert_array_equal(host_cudf.array_of(scored[name]), expected[name].to_numpy())
    assert np.isnan(host_cudf.array_of(scored["aesthetic_score"])).sum() == (case != "rows after a short one")


def test_columns_that_are_there_are_replaced_where_they_stand(rows):
    old, column = series_of(host_cudf.column(np.zeros(40, np.int64))), series_of(host_cudf.lists(rows, WIDTHS))
    frame = cudf.DataFrame({"aesthetic_score": old, "image_embedding": column})
    scored = frame.aesthetic.score(replace_columns=True)
    assert list(scored.columns) == ["aesthetic_score", "image_embedding", "keep"]
    assert scored["aesthetic_score"].dtype == np.float32
    assert frame["aesthetic_score"].dtype == np.int64


@pytest.mark.parametrize("failed", [(), (0, 5, 39), tuple(range(40))], ids=["none", "some", "all"])
@pytest.mark.parametrize("dtype", ["float32", "float16"])
def test_embeddings_of_images_become_a_column_without_the_host(rows, failed, dtype):
    ok = torch.from_numpy(~np.isin(np.arange(40), failed))
    column = images.lists(torch.from_numpy(rows), ok, dtype)
    lists = column._column.plc_column
    assert (len(column), lists.null_count()) == (40, len(failed))
    assert repr(column.dtype) == "ListDtype(float32)"
    ends = host_cudf.values_of(lists.list_view().offsets())
    np.testing.assert_array_equal(np.diff(ends), np.where(ok, 768, 0))
    expected = rows[ok.numpy()].astype(dtype).astype(np.float32)
    np.testing.assert_array_equal(host_cudf.values_of(lists.list_view().child()).reshape(-1, 768), expected)
    if failed:
        np.testing.assert_array_equal(host_cudf.mask_of(lists), ok)


def test_threads_score_one_column_while_it_is_spilled(rows, monkeypatch):
    manager = host_cudf.use_spilling(monkeypatch)
    expected = columns.frame(rows, "list").aesthetic.score()["aesthetic_score"].to_numpy()
    with cudf.option_context("spill", True):
        frame = cudf.DataFrame({"image_embedding": series_of(host_cudf.lists(rows.copy(), WIDTHS))})
        done = threading.Event()

        def score(seed: int) -> None:
            for pause in np.random.default_rng(seed).uniform(0, 2e-3, 150):
                time.sleep(pause)  # For a while nobody uses the column.
                scores = frame.aesthetic.score()["aesthetic_score"]
                with scores._column.access(mode="read", scope="internal"):
                    np.testing.assert_array_equal(host_cudf.array_of(scores), expected)

        def spill() -> int:
            count = 0
            while not done.is_set():
                count += manager.spill_device_memory(1 << 40) >= rows.nbytes
            return count

        with ThreadPoolExecutor(3) as threads:
            spilling = threads.submit(spill)
            try:
                list(threads.map(score, range(2)))
            finally:
                done.set()
    assert spilling.result() > 10
