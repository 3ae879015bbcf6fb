"""The cuDF backend on real cuDF columns in the host's memory. There is no GPU, so libcudf cannot be called."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

if Path("/dev/nvidiactl").exists():
    pytest.skip("there is an NVIDIA GPU: test_gpu.py", allow_module_level=True)
cudf = pytest.importorskip("cudf", reason="needs RAPIDS")

from dask_aesthetic import embeddings
from dask_aesthetic.embeddings.cudf import _uniform
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
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_vectors_lie_in_the_columns_own_memory(rows, part, dtype):
    values = rows.astype(dtype)
    (run,) = embeddings.runs(series_of(host_cudf.lists(values, WIDTHS, part)), 768)
    assert run.all_valid
    assert run.vectors.data_ptr() == values[part].ctypes.data
    np.testing.assert_array_equal(run.vectors.numpy(), values[part])
    assert len(run.status) == len(values[part])
    assert not run.status.any()


def test_other_rows_are_left_to_libcudf(rows):
    narrow, moved = WIDTHS.copy(), WIDTHS.copy()
    narrow[3], moved[3], moved[4] = 512, 767, 769
    for lists in (
        host_cudf.lists(rows, WIDTHS, nulls=1),
        host_cudf.lists(rows, WIDTHS, null_leaves=1),
        host_cudf.lists(rows, narrow),
        host_cudf.lists(rows, moved),
        host_cudf.lists(rows, np.full(20, 1536)),
    ):
        assert _uniform(series_of(lists), 768) is None
    for part in (slice(0, 3), slice(4, 40)):  # The short row is outside.
        begin = narrow[: part.start].sum()
        vectors = _uniform(series_of(host_cudf.lists(rows, narrow, part)), 768).numpy()
        assert vectors.shape == (part.stop - part.start, 768)
        np.testing.assert_array_equal(vectors.reshape(-1), rows.reshape(-1)[begin : begin + vectors.size])


def test_columns_that_are_there_are_replaced_where_they_stand(rows):
    old, column = series_of(host_cudf.column(np.zeros(40, np.int64))), series_of(host_cudf.lists(rows, WIDTHS))
    frame = cudf.DataFrame({"aesthetic_score": old, "image_embedding": column})
    scored = frame.aesthetic.score(replace_columns=True)
    assert list(scored.columns) == ["aesthetic_score", "image_embedding", "keep"]
    assert scored["aesthetic_score"].dtype == np.float32
    assert frame["aesthetic_score"].dtype == np.int64
