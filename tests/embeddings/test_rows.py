"""Rows without a usable embedding: status, no score, not kept; other rows are unchanged."""

from __future__ import annotations

import array
import collections
import decimal
import mmap
import warnings

import dask
import dask.dataframe as dd
import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
import torch

from dask_aesthetic import InvalidEmbeddingError
from helpers import columns
from helpers.rows import INVALID, STATUSES, WIDTH, cases, exact, rows_of


@pytest.mark.parametrize("library", ["pandas", "dask"])
def test_invalid_rows_have_a_status_and_leave_their_neighbors_unchanged(vectors, kind, library):
    names = cases(kind)
    rows, expected = rows_of(vectors, kind, names)
    frame = columns.frame(rows, kind)
    clean = columns.frame(vectors[: 3 * len(names)], "list").aesthetic.score(threshold=3)["aesthetic_score"].to_numpy()
    with dask.config.set({"dataframe.convert-string": False}):
        asked = dd.from_pandas(frame, npartitions=4) if library == "dask" else frame
        scored, status = dask.compute(asked.aesthetic.score(threshold=3), asked.aesthetic.status())

    assert status.name == "status"
    assert status.dtype == pd.CategoricalDtype(STATUSES)
    assert status.tolist() == expected
    score, ok = scored["aesthetic_score"].to_numpy(), np.array(expected) == "ok"
    assert np.isnan(score[~ok]).all()
    assert not scored["keep"].to_numpy()[~ok].any()
    assert np.isfinite(score[ok]).all()
    good = np.arange(len(rows)) % 4 != 3
    assert score[good].tobytes() == clean.tobytes()
    for at in np.flatnonzero(~good & ok):
        assert score[at] == pytest.approx(exact(rows[at]), abs=2e-6)
    assert scored["key"].tolist() == frame["key"].tolist()


@pytest.mark.parametrize("name", [name for name, (_, status) in INVALID.items() if status != "ok"])
def test_on_invalid_raise_names_partition_row_and_reason(vectors, kind, name):
    if name not in cases(kind):
        pytest.skip(f"a {kind} cannot hold a {name} row")
    rows = [*vectors[:9], INVALID[name][0], *vectors[9:12]]
    frame = columns.frame(rows, kind)
    frame.index = [f"row-{at}" for at in range(len(rows))]
    with pytest.raises(InvalidEmbeddingError, match=f"row 9 .*row-9.* {INVALID[name][1]}"):
        frame.aesthetic.score(on_invalid="raise")
    with dask.config.set({"dataframe.convert-string": False}):
        lazy = dd.from_pandas(frame, npartitions=3, sort=False).aesthetic.score(on_invalid="raise")
        with pytest.raises(InvalidEmbeddingError, match="partition") as caught:
            lazy.compute()
    per_partition = len(dd.from_pandas(frame, npartitions=3, sort=False).partitions[0])
    assert (caught.value.partition, caught.value.row) == divmod(9, per_partition)
    assert caught.value.reason == INVALID[name][1]


def test_raise_passes_where_all_rows_are_usable(vectors, kind):
    scored = columns.frame(vectors, kind).aesthetic.score(on_invalid="raise")
    assert scored["aesthetic_score"].notna().all()


@pytest.mark.parametrize("kind", columns.ARROW)
def test_a_null_among_the_floats_makes_the_row_not_finite(vectors, kind):
    rows = [row.tolist() for row in vectors[:6]]
    rows[2][700] = None
    rows[4] = None
    types = {"list": pa.list_(pa.float32()), "large_list": pa.large_list(pa.float32())}
    arrow = pa.array(rows, types.get(kind, pa.list_(pa.float32(), WIDTH)))
    frame = pd.DataFrame({"image_embedding": pd.Series(pd.arrays.ArrowExtensionArray(pa.chunked_array([arrow])))})
    assert frame.aesthetic.status().tolist() == ["ok", "ok", "not_finite", "ok", "missing", "ok"]
    clean = columns.frame(vectors[:6], kind).aesthetic.score()["aesthetic_score"]
    scored = frame.aesthetic.score()["aesthetic_score"]
    assert scored[[0, 1, 3, 5]].tolist() == clean[[0, 1, 3, 5]].tolist()
    assert scored[[2, 4]].isna().all()


@pytest.mark.parametrize("kind", columns.ARROW)
def test_slices_chunks_and_leaves_under_nulls(vectors, kind):
    """A null list may have leaves under it, a slice starts anywhere, and a column has many chunks."""
    arrow = columns.array(vectors, kind)
    mask = pa.array(np.arange(len(vectors)) % 7 == 3)
    parts = [arrow.slice(3, 50), arrow.slice(60, 0), arrow.slice(100, 31), masked(arrow, mask).slice(5, 40)]
    column = pd.Series(pd.arrays.ArrowExtensionArray(pa.chunked_array(parts)))
    expected = np.concatenate([np.arange(3, 53), np.arange(100, 131), np.arange(5, 45)])
    clean = columns.frame(vectors, kind).aesthetic.score()["aesthetic_score"].to_numpy()[expected]
    clean[81:][np.arange(5, 45) % 7 == 3] = np.nan
    scored = pd.DataFrame({"image_embedding": column}).aesthetic.score()["aesthetic_score"].to_numpy()
    assert scored.tobytes() == clean.tobytes()
    assert np.isnan(scored).sum() == 5


def masked(arrow: pa.Array, mask: pa.Array) -> pa.Array:
    """The same buffers with some rows null: their leaves stay where they are."""
    valid = pa.array([not null for null in mask.to_pylist()]).buffers()[1]
    if pa.types.is_fixed_size_list(arrow.type):
        return pa.Array.from_buffers(arrow.type, len(arrow), [valid], children=[arrow.values])
    return pa.Array.from_buffers(arrow.type, len(arrow), [valid, arrow.buffers()[1]], children=[arrow.values])


def test_a_fixed_shape_tensor_column_is_its_storage(vectors):
    tensor = pa.fixed_shape_tensor(pa.float32(), [WIDTH])
    arrow = pa.ExtensionArray.from_storage(tensor, columns.array(vectors, "fixed_size_list"))
    frame = pd.DataFrame({"image_embedding": pd.Series(pd.arrays.ArrowExtensionArray(pa.chunked_array([arrow])))})
    clean = columns.frame(vectors, "list").aesthetic.score()["aesthetic_score"]
    assert frame.aesthetic.score()["aesthetic_score"].tolist() == clean.tolist()


def test_object_rows_of_other_shapes_get_a_status(vectors):
    """One matrix, scalar, dict or word in the middle costs its own row alone."""
    rows = np.empty(10, dtype=object)
    invalid = {2: vectors[:2], 4: 3.5, 5: {"a": 1}, 6: "word", 7: float("nan"), 8: [1.0, "x"], 9: pd.NA}
    for at in range(10):
        rows[at] = invalid.get(at, vectors[at])
    frame = pd.DataFrame({"image_embedding": pd.Series(rows)})
    expected = ["ok", "ok", "wrong_width", "ok", *["wrong_type"] * 3, "missing", "wrong_type", "missing"]
    assert frame.aesthetic.status().tolist() == expected
    clean = columns.frame(vectors[:4], "list").aesthetic.score()["aesthetic_score"]
    assert frame.aesthetic.score()["aesthetic_score"][[0, 1, 3]].tolist() == clean[[0, 1, 3]].tolist()


def test_an_invalid_first_row_stops_nothing_on_any_partitioning(vectors):
    rows = np.empty(4, dtype=object)
    rows[:] = ["broken", vectors[0], vectors[1], 3.5]
    frame = pd.DataFrame({"image_embedding": pd.Series(rows)})
    expected = ["wrong_type", "ok", "ok", "wrong_type"]
    assert frame.aesthetic.status().tolist() == expected
    with dask.config.set({"dataframe.convert-string": False}):
        for partitions in (1, 2, 4):
            assert dd.from_pandas(frame, npartitions=partitions).aesthetic.status().compute().tolist() == expected


def test_float64_rows_beyond_float32_are_scored_in_float64(vectors, kind):
    rows = [vectors[0].astype(np.float64) * 1e200, vectors[1].astype(np.float64) * 1e-200, vectors[2]]
    scored = columns.frame(rows, kind, "float64").aesthetic.score()["aesthetic_score"]
    for at in range(3):
        assert scored[at] == pytest.approx(exact(vectors[at]), abs=2e-6)


def arrow_list(values: list, **options) -> pa.Array:
    return pa.array([values], pa.list_(pa.float32(), **options))


def masked_array(values: list, dtype: str = "float32", **options) -> np.ma.MaskedArray:
    """Masked array whose values under the mask would score high."""
    mask = [value is None for value in values]
    under = np.array([1e20 if value is None else value for value in values])
    with np.errstate(over="ignore"):
        return np.ma.masked_array(under.astype(dtype), mask=mask, **options)


NULLS = {
    "masked": masked_array,
    "hard mask": lambda values: masked_array(values, hard_mask=True),
    "masked float16": lambda values: masked_array(values, "float16"),
    "masked float64": lambda values: masked_array(values, "float64"),
    "masked objects": lambda values: masked_array(values, "object"),
    "list of None": list,
    "tuple of NA": lambda values: tuple(pd.NA if value is None else value for value in values),
    "list of NA": lambda values: [pd.NA if value is None else value for value in values],
    "list of masked": lambda values: list(masked_array(values)),
    "list of decimals": lambda values: [None if value is None else decimal.Decimal(value) for value in values],
    "deque": collections.deque,
    "objects of None": lambda values: np.array(values, object),
    "objects of NA": lambda values: np.array([pd.NA if value is None else value for value in values], object),
    "Float32": lambda values: pd.array(values, dtype="Float32"),
    "Float64": lambda values: pd.array(values, dtype="Float64"),
    "Series of Float32": lambda values: pd.Series(values, dtype="Float32"),
    "Series of Arrow": lambda values: pd.Series(values, dtype="float32[pyarrow]"),
    "Arrow array": lambda values: pa.array(values, pa.float32()),
    "Arrow chunks": lambda values: pa.chunked_array([pa.array(values, pa.float32())]),
    "Arrow list": lambda values: arrow_list(values)[0],
    "Arrow fixed-size list": lambda values: arrow_list(values, list_size=len(values))[0],
}


def among(rows: list, at: int, vectors: np.ndarray) -> pd.DataFrame:
    """A block of valid rows with `rows` from position `at` on."""
    values = np.empty(512, dtype=object)
    values[:] = list(np.resize(vectors, (512, WIDTH)))
    for offset, row in enumerate(rows):
        values[at + offset] = row
    return pd.DataFrame({"image_embedding": values})


@pytest.mark.parametrize("at", [0, 300])
@pytest.mark.parametrize("name", NULLS)
def test_nulls_of_every_library_are_nulls_in_any_row(vectors, name, at):
    full = vectors[7].tolist()
    some = [None if at < 5 else value for at, value in enumerate(full)]
    make = NULLS[name]
    rows = [make(values) for values in (full, some, [None] * WIDTH, [None] * 512, some[:512])]
    frame = among(rows, at, vectors)
    expected = ["ok", "not_finite", "not_finite", "wrong_width", "wrong_width"]
    for action in ("error", "ignore"):  # numpy warns of masked values in a list.
        with warnings.catch_warnings():
            warnings.simplefilter(action)
            status = frame.aesthetic.status().tolist()
            score = frame.aesthetic.score()["aesthetic_score"].to_numpy()
        assert status[at : at + 5] == expected
        assert set(status[:at] + status[at + 5 :]) == {"ok"}
        same = vectors[7].astype("float16") if name == "masked float16" else vectors[7]
        expected_score = among([same], at, vectors).aesthetic.score()["aesthetic_score"].to_numpy().copy()
        expected_score[at + 1 : at + 5] = np.nan
        assert score.tobytes() == expected_score.tobytes()
        assert score[at] == pytest.approx(exact(same), abs=2e-6)


@pytest.mark.parametrize("dtype", ["float16", "float32", "float64"])
@pytest.mark.parametrize("mask", [np.ma.nomask, False, np.zeros(WIDTH, bool)], ids=["nomask", "scalar", "empty"])
def test_a_masked_array_with_nothing_masked_scores_as_its_data(vectors, mask, dtype):
    rows = vectors.astype(dtype)
    frame = among([np.ma.masked_array(row, mask=mask) for row in rows], 0, vectors)
    scored = frame.aesthetic.score()["aesthetic_score"].to_numpy()
    assert scored.tobytes() == among(list(rows), 0, vectors).aesthetic.score()["aesthetic_score"].to_numpy().tobytes()


def test_null_rows_are_missing_and_rows_of_nulls_or_nan_not_finite(vectors, kind):
    nan, some = [float("nan")] * WIDTH, [None, *vectors[2].tolist()[1:]]
    rows = [vectors[0].tolist(), [None] * WIDTH, nan, some, None, [None, *nan[1:]], vectors[1].tolist()]
    expected = ["ok", "not_finite", "not_finite", "not_finite", "missing", "not_finite", "ok"]
    if kind != "fixed_size_list":
        rows += [[None] * 512, []]
        expected += ["wrong_width", "missing"]
    if kind in columns.ARROW:
        types = {"list": pa.list_(pa.float32()), "large_list": pa.large_list(pa.float32())}
        arrow = pa.array(rows, types.get(kind, pa.list_(pa.float32(), WIDTH)))
        column = pd.Series(pd.arrays.ArrowExtensionArray(pa.chunked_array([arrow.slice(0, 3), arrow.slice(3)])))
    else:
        make = masked_array if kind == "object" else list
        column = pd.Series([None if row is None else make(row) for row in rows], dtype=object)
    frame = pd.DataFrame({"image_embedding": column})
    assert frame.aesthetic.status().tolist() == expected
    scored = frame.aesthetic.score()["aesthetic_score"].to_numpy()
    clean = columns.frame(vectors[:2], "list").aesthetic.score()["aesthetic_score"].to_numpy()
    assert scored[[0, 6]].tobytes() == clean.tobytes()
    assert np.isfinite(scored).sum() == 2


@pytest.mark.parametrize(
    "null", [None, pd.NA, np.ma.masked, np.float32("nan"), pa.scalar(None, pa.list_(pa.float32()))]
)
def test_null_rows_of_every_library_are_missing(vectors, null):
    assert among([null], 3, vectors).aesthetic.status()[3] == "missing"


def in_mmap(row: bytes) -> mmap.mmap:
    mapped = mmap.mmap(-1, len(row))
    mapped.write(row)
    return mapped


BYTES = {
    "bytes": bytes,
    "bytearray": bytearray,
    "memoryview": memoryview,
    "bytes_": np.bytes_,
    "void": np.void,
    "array": lambda row: array.array("B", row),
    "mmap": in_mmap,
    "Buffer": pa.py_buffer,
}


@pytest.mark.parametrize("name", BYTES)
@pytest.mark.parametrize("dtype", ["int8", "float32"])
def test_bytes_like_rows_are_never_numbers(vectors, name, dtype):
    """768 bytes would be as many numbers, and so scored."""
    row = np.round(vectors[0] / np.abs(vectors[0]).max() * 127).astype(dtype).tobytes()
    frame = among([BYTES[name](row)], 5, vectors)
    assert frame.aesthetic.status().drop(5).eq("ok").all()
    assert frame.aesthetic.status()[5] == "wrong_type"
    scored = frame.aesthetic.score()["aesthetic_score"].to_numpy()
    assert np.flatnonzero(np.isnan(scored)).tolist() == [5]
    if name != "mmap":  # Dask cannot hash it.
        with dask.config.set({"dataframe.convert-string": False}):
            ddf = dd.from_pandas(frame, npartitions=2)
            assert ddf.aesthetic.status().compute().tolist() == frame.aesthetic.status().tolist()


@pytest.mark.parametrize(
    "make",
    [
        lambda row: array.array("f", row.tolist()),
        lambda row: array.array("d", row.tolist()),
        memoryview,
        torch.from_numpy,
        lambda row: torch.from_numpy(row).requires_grad_(),
        lambda row: row.astype(">f4"),
        pd.Series,
    ],
    ids=["array f", "array d", "memoryview of floats", "tensor", "tensor with gradient", "big endian", "Series"],
)
def test_buffers_and_tensors_of_floats_score_as_the_array_does(vectors, make):
    frame = among([make(row.copy()) for row in vectors[:20]], 0, vectors)
    scored = frame.aesthetic.score()["aesthetic_score"].to_numpy()
    assert scored.tobytes() == among([], 0, vectors).aesthetic.score()["aesthetic_score"].to_numpy().tobytes()


@pytest.mark.parametrize(
    "row",
    [
        torch.ones(WIDTH, dtype=torch.complex64),
        torch.tensor(1.0),
        torch.ones(WIDTH).to_sparse(),
        torch.empty(WIDTH, device="meta"),
        list(torch.ones(WIDTH, requires_grad=True)),
        pd.date_range("2020", periods=WIDTH),
        pd.timedelta_range("1s", periods=WIDTH),
        [pd.NA, *["x"] * 767],
        ["0.5"] * WIDTH,
        [b"0.5"] * WIDTH,
        np.array(["0.5"] * WIDTH, object),
        pd.Series(["0.5"] * WIDTH),
        pa.scalar(["0.5"] * WIDTH),
        [*[0.5] * 767, "0.5"],
        [np.complex64(1)] * WIDTH,
        np.array([np.complex64(1)] * WIDTH, object),
        [np.datetime64("2020")] * WIDTH,
        [np.timedelta64(1, "s")] * WIDTH,
        np.ones(WIDTH, bool),
        torch.ones(WIDTH, dtype=torch.bool),
        [True] * WIDTH,
        pd.array([True] * WIDTH, dtype="boolean"),
        pd.array([True] * WIDTH, dtype="bool[pyarrow]"),
        np.void(b"x" * WIDTH),
        np.float32(1),
    ],
    ids=lambda row: f"{type(row).__name__} of {getattr(row, 'dtype', 'objects')}",
)
def test_rows_that_are_no_lists_of_numbers_are_wrong_type_and_stop_nothing(vectors, row):
    frame = among([row], 300, vectors)
    status = frame.aesthetic.status()
    assert status[300] == "wrong_type"
    assert status.drop(300).eq("ok").all()
    check = frame.aesthetic.check()
    assert {name: rows for name, rows in check.status.items() if rows} == {"ok": 511, "wrong_type": 1}
    assert check.not_lists + sum(check.widths.values()) == 512
