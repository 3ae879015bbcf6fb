"""Columns without a value, integers, bfloat16, axes of length 1 and other types, alike in every kind of column."""

from __future__ import annotations

import decimal
import json
import re

import dask
import dask.dataframe as dd
import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch

from dask_aesthetic import (
    ArgumentError,
    ColumnError,
    InvalidEmbeddingError,
    UnusableError,
    read_and_score,
    read_npy,
    score_dataset,
    score_embeddings,
)
from dask_aesthetic.check import StorageStats
from dask_aesthetic.check_dataset import check_dataset
from helpers import columns
from helpers.rows import WIDTH, exact

FLOATS = pa.list_(pa.float32())
NOTHING = {"null": pa.null(), "list of nulls": pa.list_(pa.null()), "list in list": pa.list_(pa.list_(pa.null()))}


def arrow_frame(*arrays: pa.Array) -> pd.DataFrame:
    column = pd.Series(pd.arrays.ArrowExtensionArray(pa.chunked_array(list(arrays))), name="image_embedding")
    return pd.DataFrame({"key": [f"k{at}" for at in range(len(column))], "image_embedding": column})


def objects(rows: list) -> pd.DataFrame:
    values = np.empty(len(rows), object)
    for at, row in enumerate(rows):
        values[at] = row
    return pd.DataFrame({"image_embedding": values})


def scores_of(frame: pd.DataFrame) -> np.ndarray:
    return frame.aesthetic.score()["aesthetic_score"].to_numpy()


def write(folder, **arrays: pa.Array) -> None:
    folder.mkdir(exist_ok=True)
    for name, array in arrays.items():
        keys = [f"{name}{at}" for at in range(len(array))]
        pq.write_table(pa.table({"key": keys, "image_embedding": array}), folder / f"{name}.parquet")


@pytest.mark.parametrize("dtype", NOTHING.values(), ids=NOTHING)
def test_a_column_without_a_value_is_missing(vectors, dtype):
    frame = arrow_frame(pa.nulls(3, dtype))
    assert frame.aesthetic.status().tolist() == ["missing"] * 3
    with pytest.warns(match="no usable embedding in 3 rows .3 missing."):
        assert np.isnan(scores_of(frame)).all()
    assert not frame.aesthetic.check().usable
    assert score_embeddings(pa.nulls(3, dtype), return_status=True)[1].tolist() == ["missing"] * 3


def test_lists_of_nulls_alone_have_the_status_of_lists_of_floats(tmp_path):
    lists = pa.array([[None] * 768, [None], [], None])
    assert lists.type == pa.list_(pa.null())
    expected = ["not_finite", "wrong_width", "missing", "missing"]
    assert arrow_frame(lists).aesthetic.status().tolist() == expected
    assert objects(lists.to_pylist()).aesthetic.status().tolist() == expected
    assert score_embeddings(lists, return_status=True)[1].tolist() == expected
    write(tmp_path / "in", a=lists)
    assert check_dataset(tmp_path / "in").status == {"not_finite": 1, "wrong_width": 1, "missing": 2}
    for fused in (True, False):
        with dask.config.set({"aesthetic.fuse-read": fused}):
            assert dd.read_parquet(tmp_path / "in").aesthetic.status().compute().tolist() == expected


@pytest.mark.parametrize("dtype", NOTHING.values(), ids=NOTHING)
@pytest.mark.parametrize("first", [True, False])
def test_a_file_without_a_value_stops_no_others(vectors, tmp_path, dtype, first):
    names = ("a", "b") if first else ("b", "a")
    lists = columns.array(vectors[:2], "list")
    write(tmp_path / "in", **{names[0]: pa.nulls(3, dtype), names[1]: lists})
    expected = scores_of(columns.frame(vectors[:2], "list"))
    scored = read_and_score(tmp_path / "in").compute().set_index("key")["aesthetic_score"]
    assert scored[[f"{names[1]}{at}" for at in range(2)]].to_numpy().tobytes() == expected.tobytes()
    assert scored[[f"{names[0]}{at}" for at in range(3)]].isna().all()

    with pytest.raises(UnusableError, match=rf"of shard {names[0]}, got none in 3 rows .3 missing."):
        score_dataset(tmp_path / "in", tmp_path / "out")
    columns_too = ["key", "image_embedding"]
    summary = score_dataset(tmp_path / "in", tmp_path / "kept", allow_unusable=True, columns=columns_too)
    assert (summary.rows, summary.scored, summary.failed) == (5, 2, {"missing": 3})
    written = [pq.read_schema(tmp_path / f"kept/{name}.parquet").field("image_embedding").type for name in "ab"]
    assert [kind.value_type for kind in written] == [pa.float32()] * 2
    assert check_dataset(tmp_path / "in").status == {"ok": 2, "missing": 3}


def test_a_file_of_no_rows_passes(vectors, tmp_path):
    write(tmp_path / "in", a=pa.nulls(0), b=columns.array(vectors[:2], "list"))
    assert score_dataset(tmp_path / "in", tmp_path / "out").rows == 2
    assert len(read_and_score(tmp_path / "in").compute()) == 2


def test_dask_partitions_of_another_arrow_type_are_missing(vectors, tmp_path):
    write(tmp_path / "in", a=columns.array(vectors[:2], "list"), b=pa.nulls(2))
    frame = dd.read_parquet(tmp_path / "in", dtype_backend="pyarrow")
    with dask.config.set({"dataframe.convert-string": False}):
        assert frame.aesthetic.status().compute().tolist() == ["ok", "ok", "missing", "missing"]


INTEGERS = np.round(np.random.default_rng(3).standard_normal((4, WIDTH)) * 40).astype("int8")


def test_integers_are_numbers_in_every_kind_of_column(tmp_path):
    """The same bits as their float64 values, whatever holds them."""
    expected = scores_of(columns.frame(INTEGERS, "list", "float64"))
    for row, score in zip(INTEGERS, expected, strict=True):
        assert score == pytest.approx(exact(row), abs=2e-6)
    frames = [
        *(columns.frame(INTEGERS, kind, dtype) for kind in columns.ARROW for dtype in ("int8", "int16", "int64")),
        objects(list(INTEGERS)),
        objects([row.tolist() for row in INTEGERS]),
        objects(list(torch.from_numpy(INTEGERS))),
        objects([[decimal.Decimal(int(value)) for value in row] for row in INTEGERS]),
    ]
    for frame in frames:
        assert scores_of(frame).tobytes() == expected.tobytes()
        assert frame.aesthetic.check().status["ok"] == 4
    for array in (
        INTEGERS,
        INTEGERS.astype("int64"),
        torch.from_numpy(INTEGERS),
        columns.array(INTEGERS, "list", "int32"),
    ):
        assert np.asarray(score_embeddings(array)).tobytes() == expected.tobytes()

    write(tmp_path / "in", a=columns.array(INTEGERS, "list", "int8"))
    scored = read_and_score(tmp_path / "in").compute()["aesthetic_score"].to_numpy()
    assert scored.tobytes() == expected.tobytes()
    np.save(tmp_path / "m.npy", INTEGERS)
    scored = read_npy(tmp_path / "m.npy").aesthetic.score().compute()["aesthetic_score"].to_numpy()
    assert scored.tobytes() == expected.tobytes()
    assert score_dataset(tmp_path / "m.npy", tmp_path / "out").scored == 4


def test_integers_with_nulls_in_many_blocks(vectors):
    rows = [INTEGERS[at % 4].tolist() for at in range(5000)]
    rows[4097][3], rows[4500] = None, None
    status = arrow_frame(pa.array(rows, pa.list_(pa.int16()))).aesthetic.status()
    assert status.value_counts().to_dict() == {
        "ok": 4998,
        "not_finite": 1,
        "missing": 1,
        "wrong_width": 0,
        "zero": 0,
        "wrong_type": 0,
    }
    assert status[4097] == "not_finite"
    assert status[4500] == "missing"


def test_masked_integers_are_nulls():
    some = np.ma.masked_array(INTEGERS[0], mask=[True, *[False] * 767])
    frame = objects([INTEGERS[0], some, np.ma.masked_all((1, WIDTH), "int16")])
    assert frame.aesthetic.status().tolist() == ["ok", "not_finite", "not_finite"]


def test_an_integer_beyond_float64_makes_its_row_not_finite(vectors):
    frame = objects([vectors[0], [10**400] * WIDTH, [None, 10**400, *[1] * 766]])
    assert frame.aesthetic.status().tolist() == ["ok", "not_finite", "not_finite"]


@pytest.mark.parametrize("dtype", ["bfloat16", "float8_e4m3fn", "float8_e5m2"])
def test_rows_of_small_floats_score_as_their_float32(vectors, dtype):
    rows = torch.from_numpy(vectors[:5]).to(getattr(torch, dtype))
    expected = scores_of(columns.frame(rows.float().numpy(), "list"))
    assert scores_of(objects(list(rows))).tobytes() == expected.tobytes()
    check = objects(list(rows)).aesthetic.check()
    assert check.status["ok"] == 5
    assert not [found for found in check.findings if "predictor=" in found.do]


def test_numpy_bfloat16_of_jax_scores_as_its_float32(vectors):
    ml_dtypes = pytest.importorskip("ml_dtypes")
    rows = vectors[:5].astype(ml_dtypes.bfloat16)
    expected = scores_of(columns.frame(rows.astype("float32"), "list"))
    assert scores_of(objects(list(rows))).tobytes() == expected.tobytes()
    assert score_embeddings(rows).tobytes() == expected.tobytes()


def nested(rows: np.ndarray, shape: tuple[int, int], outer: str, inner: str) -> pa.Array:
    """Arrow lists of lists of this shape."""
    array = columns.array(rows.reshape(-1, shape[1]), inner)
    if outer == "fixed_size_list":
        return pa.FixedSizeListArray.from_arrays(array, shape[0])
    offsets = np.arange(len(rows) + 1) * shape[0]
    if outer == "list":
        return pa.ListArray.from_arrays(pa.array(offsets, pa.int32()), array)
    return pa.LargeListArray.from_arrays(pa.array(offsets, pa.int64()), array)


@pytest.mark.parametrize("shape", [(1, WIDTH), (WIDTH, 1)])
@pytest.mark.parametrize("outer", columns.ARROW)
@pytest.mark.parametrize("inner", columns.ARROW)
def test_an_axis_of_length_1_is_dropped_in_arrow(vectors, tmp_path, shape, outer, inner):
    expected = scores_of(columns.frame(vectors[:6], "list"))
    array = nested(vectors[:6], shape, outer, inner)
    assert scores_of(arrow_frame(array)).tobytes() == expected.tobytes()
    assert scores_of(arrow_frame(array.slice(1, 2), array.slice(4))).tobytes() == expected[[1, 2, 4, 5]].tobytes()
    assert score_embeddings(array).tobytes() == expected.tobytes()
    check = arrow_frame(array).aesthetic.check()
    assert check.usable
    assert check.widths == {WIDTH: 6}
    write(tmp_path / "in", a=array)
    assert score_dataset(tmp_path / "in", tmp_path / "out").scored == 6


@pytest.mark.parametrize("shape", [(1, WIDTH), (WIDTH, 1), (1, 1, WIDTH)])
def test_an_axis_of_length_1_is_dropped_in_objects(vectors, shape):
    expected = scores_of(columns.frame(vectors[:4], "list"))
    rows = vectors[:4].reshape(4, *shape)
    for frame in (
        objects(list(rows)),
        objects([row.tolist() for row in rows]),
        objects(list(torch.from_numpy(rows.copy()))),
        objects([list(row) for row in rows]),
    ):
        assert scores_of(frame).tobytes() == expected.tobytes()
        assert StorageStats.of(frame["image_embedding"]).widths == {WIDTH: 4}
    assert score_embeddings(rows).tobytes() == expected.tobytes()
    assert score_embeddings(np.ma.masked_array(rows)).tobytes() == expected.tobytes()


@pytest.mark.parametrize("order", ["C", "F"])
def test_an_axis_of_length_1_is_dropped_in_a_matrix(vectors, tmp_path, order):
    expected = scores_of(columns.frame(vectors[:4], "list"))
    for shape in ((4, 1, WIDTH), (4, WIDTH, 1)):
        np.save(tmp_path / "m.npy", np.asarray(vectors[:4].reshape(shape), order=order))
        scored = read_npy(tmp_path / "m.npy").aesthetic.score()["aesthetic_score"].compute()
        assert scored.to_numpy().tobytes() == expected.tobytes()


def test_other_axes_are_never_one_embedding(vectors):
    """768 numbers, but of two embeddings of 384: by row a status, by type an error that says so."""
    halves = vectors[0].reshape(2, 384)
    rows = [vectors[:1], halves, vectors[1].reshape(WIDTH, 1), None, [], vectors[:1]]
    lists = [None if row is None else np.asarray(row).tolist() for row in rows]
    for frame in (objects(rows), objects(lists), arrow_frame(pa.array(lists, pa.list_(FLOATS)))):
        expected = ["ok", "wrong_width", "ok", "missing", "missing", "ok"]
        assert frame.aesthetic.status().tolist() == expected
    check = objects([halves] * 3).aesthetic.check()
    assert not check.usable
    assert "float32 of 2 axes, no flat lists of numbers" in check.verdict
    tensors = pa.fixed_shape_tensor(pa.float32(), [2, 384])
    storage = columns.array(vectors[:2], "fixed_size_list")
    for array in (
        nested(vectors[:2], (2, 384), *["fixed_size_list"] * 2),
        pa.ExtensionArray.from_storage(tensors, storage),
    ):
        for call in (arrow_frame(array).aesthetic.score, lambda array=array: score_embeddings(array)):
            with pytest.raises(ColumnError, match="384"):
                call()
    with pytest.raises(ArgumentError, match=r"got \(3, 2, 384\)"):
        score_embeddings(np.zeros((3, 2, 384), "f4"))
    flat = pa.ExtensionArray.from_storage(pa.fixed_shape_tensor(pa.float32(), [1, WIDTH]), storage)
    assert arrow_frame(flat).aesthetic.status().tolist() == ["ok", "ok"]


def test_null_lists_inside_of_lists_are_missing(vectors):
    rows = [[vectors[0].tolist()], [None], None, [], [[None] * WIDTH], [vectors[1].tolist()]]
    array = pa.array(rows, pa.list_(FLOATS))
    expected = ["ok", "missing", "missing", "missing", "not_finite", "ok"]
    assert arrow_frame(array).aesthetic.status().tolist() == expected
    assert arrow_frame(array.slice(1)).aesthetic.status().tolist() == expected[1:]


OTHERS = {
    "str": "broken",
    "bytes": b"0" * 3072,
    "float": 3.5,
    "dict": {"a": 1},
    "bool": np.ones(WIDTH, bool),
    "complex128": np.ones(WIDTH, complex),
    "list of str": ["0.5"] * WIDTH,
    "list of bool": [True] * WIDTH,
    "torch.bool": torch.ones(WIDTH, dtype=torch.bool),
}


@pytest.mark.parametrize("name", OTHERS)
def test_a_row_of_another_type_has_a_status_and_a_column_of_them_is_refused(vectors, name):
    frame = objects([vectors[0], OTHERS[name], vectors[1]])
    assert frame.aesthetic.status().tolist() == ["ok", "wrong_type", "ok"]
    assert np.isnan(scores_of(frame)).tolist() == [False, True, False]
    with pytest.raises(InvalidEmbeddingError, match=rf"row 1 .*is wrong_type \({name}\)"):
        frame.aesthetic.score(on_invalid="raise")
    finding = next(found for found in frame.aesthetic.check().findings if "no lists of numbers" in found.what)
    assert name in finding.what
    for call in (objects([OTHERS[name]] * 3).aesthetic.score, lambda: score_embeddings([OTHERS[name]])):
        with pytest.raises((ColumnError, ArgumentError)):
            call()


@pytest.mark.parametrize("leaf", [pa.bool_(), pa.string(), pa.date32()])
def test_an_arrow_column_of_other_lists_is_refused(leaf, tmp_path):
    array = pa.nulls(2, pa.list_(leaf))
    write(tmp_path / "in", a=array)
    for call in (
        arrow_frame(array).aesthetic.score,
        lambda: score_embeddings(array),
        lambda: read_and_score(tmp_path / "in"),
        lambda: score_dataset(tmp_path / "in", tmp_path / "out"),
    ):
        with pytest.raises(ColumnError, match=re.escape(str(leaf))):
            call()


def test_check_refuses_what_a_job_refuses(vectors, tmp_path):
    """One of several files has another width by its type."""
    other = columns.array(np.zeros((2, 512), "f4"), "fixed_size_list")
    write(tmp_path / "in", a=columns.array(vectors[:9], "fixed_size_list"), b=other)
    with pytest.raises(ColumnError, match="got 512 in shard b") as refused:
        score_dataset(tmp_path / "in", tmp_path / "out")
    check = check_dataset(tmp_path / "in")
    assert not check.usable
    assert check.refusal == str(refused.value)
    assert json.loads(check.to_json())["usable"] is False
