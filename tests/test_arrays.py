"""`score_embeddings`: every kind of array gives the accessor's bits, or an error that says what was expected."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
import torch

from dask_aesthetic import (
    ArgumentError,
    ColumnError,
    InvalidEmbeddingError,
    PredictorError,
    load_predictor,
    score_embeddings,
)
from dask_aesthetic.errors import AestheticWarning
from helpers import columns

DTYPES = "float16", "float32", "float64"


class Exported:
    """An array of another library, which only DLPack describes."""

    def __init__(self, tensor: torch.Tensor) -> None:
        self._tensor = tensor

    def __dlpack__(self, **arguments):
        return self._tensor.__dlpack__(**arguments)

    def __dlpack_device__(self):
        return self._tensor.__dlpack_device__()


def forms(vectors: np.ndarray) -> dict[str, object]:
    """The same vectors as arrays of every kind."""
    read_only = vectors.copy()
    read_only.setflags(write=False)
    wide = np.repeat(vectors, 2, axis=1)
    unaligned = np.zeros(vectors.nbytes + 1, np.uint8)[1:].view(vectors.dtype).reshape(vectors.shape)
    unaligned[:] = vectors
    record = np.zeros(len(vectors), np.dtype([("pad", "u1"), ("x", vectors.dtype, vectors.shape[1])]))
    record["x"] = vectors
    return {
        "numpy": vectors,
        "read only": read_only,
        "part of a read only": np.frombuffer(np.concatenate([vectors[:1], vectors]).tobytes(), vectors.dtype)[
            vectors.shape[1] :
        ].reshape(vectors.shape),
        "columns apart": wide[:, ::2],
        "backwards": vectors[::-1].copy()[::-1],
        "Fortran": np.asfortranarray(vectors),
        "unaligned": unaligned,
        "field of records": record["x"],
        "other byte order": vectors.astype(vectors.dtype.newbyteorder()),
        "masked without a mask": np.ma.masked_array(vectors),
        "torch": torch.from_numpy(vectors),
        "transposed": torch.from_numpy(vectors).T.contiguous().T,
        "with a gradient": torch.from_numpy(vectors).requires_grad_(),
        "DLPack": Exported(torch.from_numpy(vectors)),
        "rows": [*vectors],
        "tuples": [tuple(row.tolist()) for row in vectors],
        "tensors": [*torch.from_numpy(vectors)],
        "series": pd.Series([*vectors]),
        **{kind: columns.array(vectors, kind, vectors.dtype.name) for kind in columns.ARROW},
        "chunks": pa.chunked_array([columns.array(vectors[:5], "list", vectors.dtype.name),
                                    columns.array(vectors[5:], "list", vectors.dtype.name)]),
        "Arrow series": columns.frame(vectors, "list", vectors.dtype.name)["image_embedding"],
    }  # fmt: skip


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("name", ["laion-v2", "simulacra-l14"])
def test_every_kind_of_array_has_the_bits_of_the_accessor(vectors, dtype, name):
    some = (vectors[:40] * 3).astype(dtype)
    expected = columns.frame(some, "list", dtype).aesthetic.score(predictor=name, threshold=1)["aesthetic_score"]
    for form, embeddings in forms(some).items():
        scores, status = score_embeddings(embeddings, name, return_status=True)
        is_tensor = isinstance(embeddings, torch.Tensor)
        assert type(scores) is (torch.Tensor if is_tensor else np.ndarray), form
        found = scores.numpy() if is_tensor else scores
        assert found.dtype == np.float32
        assert found.tobytes() == expected.to_numpy().tobytes(), form
        assert status.tolist() == ["ok"] * 40


def test_bfloat16_and_the_unit_scale(vectors):
    x = torch.from_numpy(vectors).to(torch.bfloat16)
    scores = score_embeddings(x)
    assert torch.equal(scores, score_embeddings(x.float()))
    assert np.array_equal(score_embeddings(x, scale="unit").numpy(), scores.numpy() / np.float32(10))
    assert np.array_equal(score_embeddings(x.float().numpy(), load_predictor()), scores.numpy())


def test_a_row_without_a_usable_embedding_has_a_status_and_no_score(vectors):
    rows = vectors[:6].copy()
    rows[1], rows[2, 7], rows[3] = 0, np.nan, 1e-30
    scores, status = score_embeddings(rows, return_status=True)
    assert status.tolist() == ["ok", "zero", "not_finite", "ok", "ok", "ok"]
    assert np.flatnonzero(np.isnan(scores)).tolist() == [1, 2]
    mixed = [vectors[0], None, vectors[1][:512], np.nan, "text", vectors[1].tolist()]
    scores, status = score_embeddings(mixed, return_status=True)
    assert status.tolist() == ["ok", "missing", "wrong_width", "missing", "wrong_type", "ok"]
    assert scores[5] == score_embeddings(vectors[1:2])[0]
    masked = np.ma.masked_array(vectors[:4], mask=np.zeros((4, 768), bool))
    masked[1, 3] = masked[2] = np.ma.masked
    scores, status = score_embeddings(masked, return_status=True)
    assert status.tolist() == ["ok", "not_finite", "not_finite", "ok"]
    assert np.flatnonzero(np.isnan(scores)).tolist() == [1, 2]
    lists = pa.array([vectors[0].tolist(), None, []], pa.list_(pa.float32()))
    assert score_embeddings(lists, return_status=True)[1].tolist() == ["ok", "missing", "missing"]


def test_no_rows_have_no_scores():
    for nothing in (np.empty((0, 768)), [], pa.array([], pa.list_(pa.float32())), pd.Series([], dtype=object)):
        scores, status = score_embeddings(nothing, return_status=True)
        assert scores.shape == status.shape == (0,)
        assert scores.dtype == np.float32
    assert score_embeddings(torch.empty(0, 768)).shape == (0,)


def test_the_first_unusable_row_raises_if_asked(vectors):
    rows = vectors[:4].copy()
    rows[2] = 0
    with pytest.raises(InvalidEmbeddingError, match="row 2 is zero") as raised:
        score_embeddings(rows, on_invalid="raise")
    assert raised.value.row == 2
    assert np.array_equal(score_embeddings(rows[:2], on_invalid="raise"), score_embeddings(rows)[:2])


@pytest.mark.parametrize(
    ("embeddings", "error", "message"),
    [
        (np.zeros(768), ArgumentError, r"shape \(n, 768\), got \(768,\): embeddings\[None\] is a matrix of one row"),
        (np.zeros((2, 3, 768)), ArgumentError, r"got \(2, 3, 768\)"),
        (np.zeros((3, 512)), ColumnError, r"expected 768 floats .*, got 512. Predictors that take such: laion-v1-b32"),
        (np.zeros((3, 768), bool), ColumnError, "got bool: convert them"),
        (np.zeros((3, 768), complex), ColumnError, "got complex128"),
        (torch.zeros(3, 768).to_sparse(), ColumnError, "torch.sparse_coo"),
        (pa.array(["text"]), ColumnError, "got string"),
        (pa.FixedSizeListArray.from_arrays(pa.array(np.zeros(8, "f4")), 4), ColumnError, "expected 768 floats .*got 4"),
        ("embeddings.npy", ArgumentError, "got str"),
        (None, ArgumentError, "got NoneType"),
        (pd.Series(["a"]), ColumnError, "got str"),
        ([1.0] * 768, ArgumentError, r"got float objects: \[embeddings\] has one row"),
        (np.arange(768).astype(object), ArgumentError, "got int objects"),
        ([b"0" * 3072], ColumnError, "got bytes objects: np.frombuffer.* unpacks packed floats"),
        ([bytearray(3072)], ColumnError, "got bytearray objects: np.frombuffer"),
        (["text", "text"], ColumnError, "got str objects"),
        ([{"a": 1.0}], ColumnError, "got dict objects"),
        ([np.zeros(768, bool)], ColumnError, "got ndarray objects of bool"),
    ],
)
def test_what_is_no_matrix_of_floats_is_refused(embeddings, error, message):
    with pytest.raises(error, match=message):
        score_embeddings(embeddings)


def without_storage() -> torch.Tensor:
    tensor = torch.ones(3, 768)
    tensor.untyped_storage().resize_(0)
    return tensor


@pytest.mark.parametrize(
    "embeddings",
    [
        torch.zeros(3, 768, device="meta"),
        torch._efficientzerotensor((3, 768)),
        without_storage(),
        np.array(None, dtype=object),
        Exported(None),
    ],
    ids=["meta", "zero", "resized", "0-d", "broken"],
)
def test_what_has_no_memory_is_refused(embeddings):
    with pytest.raises((ArgumentError, ColumnError), match="expected"):
        score_embeddings(embeddings)


def test_tensors_whose_memory_has_another_sign_score_as_their_values(vectors):
    negative = torch._neg_view(torch.from_numpy(vectors))
    expected = score_embeddings(-vectors)
    assert negative.is_neg()
    assert np.array_equal(score_embeddings(negative).numpy(), expected)
    assert np.array_equal(load_predictor().score(negative)[0].numpy(), expected)
    assert np.array_equal(score_embeddings([*negative]), expected)


def test_bfloat16_rows_score_as_their_matrix(vectors):
    matrix = torch.from_numpy(vectors).to(torch.bfloat16)
    assert np.array_equal(score_embeddings([*matrix]), score_embeddings(matrix).numpy())


@pytest.mark.parametrize("dtype", [torch.float64, torch.float16, torch.bfloat16])
def test_the_default_dtype_and_device_of_torch_change_nothing(vectors, dtype):
    rows = [*vectors[:5], None, np.zeros(768, np.float32), vectors[6].tolist()]
    masked = np.ma.masked_array(vectors[:3], mask=np.arange(3)[:, None] == np.full(768, 1))
    fixed = columns.array(rows[:6], "fixed_size_list")
    inputs = vectors[:9], rows, masked, fixed, columns.array(rows, "list"), [], np.empty((0, 768))
    expected = [score_embeddings(some, return_status=True) for some in inputs]
    torch.set_default_dtype(dtype)
    try:
        with torch.device("meta"):
            found = [score_embeddings(some, return_status=True) for some in inputs]
    finally:
        torch.set_default_dtype(torch.float32)
    for (scores, status), (expected_scores, expected_status) in zip(found, expected, strict=True):
        assert scores.tobytes() == expected_scores.tobytes()
        assert status.tolist() == expected_status.tolist()


def test_a_strange_value_stops_no_other_row(vectors):
    class Foreign:
        def __array__(self, *_, **__):
            raise AttributeError("not today")

        def __len__(self):
            return 768

    rows = [vectors[0], [10**400] * 768, Foreign(), np.full(768, np.longdouble("1e4000")), vectors[1]]
    scores, status = score_embeddings(rows, return_status=True)
    assert status.tolist() == ["ok", "not_finite", "wrong_type", "not_finite", "ok"]
    assert np.array_equal(scores[[0, 4]], score_embeddings(vectors[:2]))
    wide = score_embeddings(np.full((2, 768), np.longdouble("1e4000")), return_status=True)
    assert wide[1].tolist() == ["not_finite"] * 2


def test_masks_of_any_layout(vectors):
    masked = np.ma.masked_array(vectors[:4], mask=np.arange(4)[:, None] == np.full(768, 1))
    assert score_embeddings(masked[::-1], return_status=True)[1].tolist() == ["ok", "ok", "not_finite", "ok"]
    none = np.ma.masked_array(vectors[:4], mask=np.broadcast_to(np.array(False), (4, 768)))
    assert score_embeddings(none, return_status=True)[1].tolist() == ["ok"] * 4


@pytest.mark.parametrize(
    "offsets",
    [[0, 10**9, 10**9 + 768, 768], [0, -768, 768], [0, 5, 773, 768], [0, 5, 4, 768]],
    ids=str,
)
@pytest.mark.parametrize("kind", [pa.ListArray, pa.LargeListArray])
def test_damaged_offsets_are_refused(offsets, kind):
    """Arrow does not look at them; read as they are, they lead out of memory or to another row's values."""
    buffer = pa.py_buffer(np.array(offsets, "i4" if kind is pa.ListArray else "i8"))
    dtype = pa.list_(pa.float32()) if kind is pa.ListArray else pa.large_list(pa.float32())
    values = pa.array(np.ones(2 * 768, np.float32))
    lists = pa.Array.from_buffers(dtype, len(offsets) - 1, [None, buffer], children=[values])
    with pytest.raises(ColumnError, match="offsets rise within their values"):
        score_embeddings(lists)


def test_an_empty_array_without_buffers_is_empty():
    empty = pa.Array.from_buffers(pa.list_(pa.float32()), 0, [None, None], children=[pa.array([], pa.float32())])
    empty.validate(full=True)
    assert score_embeddings(empty).shape == (0,)
    two = columns.array(np.ones((2, 768), np.float32), "list")
    assert score_embeddings(pa.chunked_array([empty, two])).shape == (2,)


def test_a_warning_says_that_no_row_is_usable(vectors):
    with pytest.warns(
        AestheticWarning, match=r"expected 768 floats .* no usable embedding in 2 rows \(wrong_width, zero\)"
    ):
        score_embeddings([vectors[0][:512], np.zeros(768)])
    assert np.isfinite(score_embeddings([vectors[0][:512], vectors[0]])[1])


def test_arguments_are_checked(vectors):
    with pytest.raises(PredictorError, match="expected a predictor among"):
        score_embeddings(vectors, "laion")
    with pytest.raises(ArgumentError, match="expected scale to be one of"):
        score_embeddings(vectors, scale="percent")
    with pytest.raises(ArgumentError, match="expected on_invalid to be one of"):
        score_embeddings(vectors, on_invalid="skip")


def test_nothing_is_changed(vectors):
    before = vectors.copy()
    score_embeddings(vectors)
    score_embeddings(torch.from_numpy(vectors))
    score_embeddings([*vectors])
    assert np.array_equal(vectors, before)
