"""Vectors are views of the column's own memory; the pointers say so."""

from __future__ import annotations

import pickle

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
import torch

from dask_aesthetic import embeddings
from dask_aesthetic.embeddings import arrow
from dask_aesthetic.kernels import find_rows
from dask_aesthetic.status import Status
from helpers import columns

WIDTH = 768


def leaf_address(array: pa.Array, row: int) -> int:
    """Address of a row's first float in Arrow's buffers."""
    leaves = array.values
    at = (array.offset + row) * WIDTH if pa.types.is_fixed_size_list(array.type) else array.offsets[row].as_py()
    return leaves.buffers()[1].address + (leaves.offset + at) * leaves.type.bit_width // 8


def runs_of(array: pa.Array) -> list[embeddings.Run]:
    column = pd.Series(pd.arrays.ArrowExtensionArray(pa.chunked_array([array])))
    return list(embeddings.runs(column, WIDTH))


@pytest.mark.parametrize("kind", columns.ARROW)
@pytest.mark.parametrize("dtype", ["float16", "float32", "float64"])
@pytest.mark.parametrize("start", [0, 1, 17])
def test_a_column_and_its_slices_reach_torch_without_a_copy(vectors, kind, dtype, start):
    array = columns.array(vectors, kind, dtype).slice(start, 100)
    (run,) = runs_of(array)
    assert run.vectors.data_ptr() == leaf_address(array, 0)
    assert run.vectors.shape == (100, WIDTH)
    assert run.vectors.dtype == getattr(torch, dtype)
    np.testing.assert_array_equal(run.vectors.numpy(), vectors[start : start + 100].astype(dtype))


@pytest.mark.parametrize("kind", columns.ARROW)
@pytest.mark.parametrize("start", [0, 2])
def test_null_and_empty_rows_cost_no_copy(vectors, kind, start):
    rows = list(vectors[:40])
    rows[3] = rows[20] = None
    if kind != "fixed_size_list":
        rows[21] = []
    array = columns.array(rows, kind).slice(start)
    (run,) = runs_of(array)
    assert run.vectors.data_ptr() == leaf_address(array, 0)
    usable = [at for at, row in enumerate(rows) if row is not None and len(row)]
    assert torch.nonzero(run.status == Status.OK).flatten().tolist() == [at - start for at in usable if at >= start]


@pytest.mark.parametrize("kind", columns.ARROW)
def test_a_null_among_the_floats_costs_no_copy(vectors, kind):
    rows = [row.tolist() for row in vectors[:6]]
    rows[2][5] = None
    types = {"list": pa.list_(pa.float32()), "large_list": pa.large_list(pa.float32())}
    array = pa.array(rows, types.get(kind, pa.list_(pa.float32(), WIDTH)))
    (run,) = runs_of(array)
    assert run.vectors.data_ptr() == leaf_address(array, 0)
    assert run.status.tolist() == [0, 0, Status.NOT_FINITE, 0, 0, 0]


@pytest.mark.parametrize("kind", columns.ARROW)
def test_every_chunk_is_a_view(kind):
    """More rows than a run of mixed widths holds, in two chunks."""
    n = arrow.RUN_ROWS + 10
    half = columns.array(np.ones((n, WIDTH), np.float16), kind, "float16")
    column = pd.Series(pd.arrays.ArrowExtensionArray(pa.chunked_array([half, half.slice(5)])))
    pointers = [run.vectors.data_ptr() for run in embeddings.runs(column, WIDTH)]
    assert pointers == [leaf_address(half, row) for row in (0, 5)]


def test_rows_of_another_width_copy_only_their_run(vectors):
    n = arrow.RUN_ROWS
    flat = np.zeros((2 * n, WIDTH), np.float16)
    offsets = np.arange(2 * n + 1) * WIDTH
    offsets[1:] -= 1  # The first row is one float short.
    ragged = pa.LargeListArray.from_arrays(pa.array(offsets), pa.array(flat.reshape(-1)[:-1]))
    first, second = runs_of(ragged)
    assert second.vectors.data_ptr() == leaf_address(ragged, n)
    assert first.vectors.data_ptr() != leaf_address(ragged, 1)
    assert len(first.vectors) == n - 1


def test_vectors_outlive_the_column():
    """A view keeps the memory of its column alive."""
    (run,) = runs_of(columns.array(np.full((1000, WIDTH), 3, np.float32), "list"))
    filler = [np.full((1000, WIDTH), at, np.float32) for at in range(4)]
    assert run.vectors.numpy().min() == run.vectors.numpy().max() == 3
    assert len(filler) == 4


def test_a_copy_has_another_address(vectors):
    """Proof that the pointer assertions above fail for a copy."""
    array = columns.array(vectors, "list")
    copied = pa.ListArray.from_arrays(array.offsets, pa.array(array.values.to_numpy().copy()))
    (run,) = runs_of(copied)
    assert run.vectors.data_ptr() != leaf_address(array, 0)


def test_scoring_does_not_change_the_embeddings(vectors, kind):
    for dtype in ("float16", "float32"):
        frame = columns.frame(vectors * 13, kind, dtype)
        before = [np.array(row) for row in frame["image_embedding"]]
        frame.aesthetic.score()
        assert all(np.array_equal(a, b) for a, b in zip(before, frame["image_embedding"], strict=True))


@pytest.mark.parametrize("dtype", ["float16", "float32", "float64"])
def test_arrays_in_an_object_column_are_scored_where_they_lie(vectors, dtype):
    """Arrays of a column of one dtype, and the few among lists, nulls and other shapes that need no conversion."""
    arrays = [row.astype(dtype) for row in vectors[:5]]
    (run,) = embeddings.runs(pd.Series([*arrays], dtype=object), WIDTH)
    assert run.vectors.addresses.tolist() == [array.ctypes.data for array in arrays]
    assert run.vectors.dtype == getattr(torch, dtype)
    mixed = [None, arrays[0], vectors[9][:5], np.repeat(arrays[1], 2)[::2], arrays[2].astype(">f8").astype(dtype)]
    (run,) = embeddings.runs(pd.Series(mixed, dtype=object), WIDTH)
    assert run.status.tolist() == [Status.MISSING, 0, Status.WRONG_WIDTH, 0, 0]
    assert run.vectors.addresses[[0, 2]].tolist() == [arrays[0].ctypes.data, mixed[4].ctypes.data]
    assert torch.equal(run.vectors[:], torch.from_numpy(np.stack([arrays[0], arrays[1], arrays[2]])))


def test_unpickled_arrays_are_scored_where_they_lie(vectors):
    """As workers of a cluster get them; each dtype among them is an object of its own."""
    arrays = pickle.loads(pickle.dumps([*vectors[:3], vectors[3].astype("f2")]))
    assert arrays[0].dtype is not np.dtype("f4")
    (run,) = embeddings.runs(pd.Series(arrays[:3], dtype=object), WIDTH)
    assert run.vectors.addresses.tolist() == [array.ctypes.data for array in arrays[:3]]
    (run,) = embeddings.runs(pd.Series([None, *arrays], dtype=object), WIDTH)
    assert run.vectors.addresses[:3].tolist() == [array.ctypes.data for array in arrays[:3]]
    assert np.array_equal(run.vectors[:].numpy(), [*vectors[:3], vectors[3].astype("f2")])


def test_arrays_of_other_types_are_no_vectors_of_floats():
    """Nothing but an array of float16, float32 or float64, of one dimension and without gaps, is read in place."""
    others = [
        np.zeros(WIDTH, dtype)
        for dtype in ("i4", "u2", "i8", "c8", "m8[s]", "M8[s]", "S4", "U1", "?", "O", "V8", "f4,f4", ">f4", "g")
    ]
    more = [
        np.zeros((WIDTH, 1), "f4"),
        np.zeros(2 * WIDTH, "f4")[::2],
        np.ma.zeros(WIDTH),
        np.float32(1),
        np.array(1.0),
    ]
    objects = np.fromiter([*others, *more, None, 1, "x", {}, object()], object)
    found, _ = find_rows(objects, WIDTH)
    assert set(found.tolist()) == {-1}
    assert find_rows(np.empty(3, object), WIDTH)[0].tolist() == [-1] * 3


def test_arrays_outlive_the_column(vectors):
    """A run keeps the arrays of an object column alive."""
    column = pd.Series([row.copy() for row in vectors], dtype=object)
    (run,) = embeddings.runs(column, WIDTH)
    column[:] = None
    filler = [np.full(WIDTH, 9, np.float32) for _ in range(len(vectors))]
    assert np.array_equal(run.vectors[:].numpy(), vectors)
    assert len(filler) == len(vectors)
