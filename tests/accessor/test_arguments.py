"""Refused arguments and their messages."""

from __future__ import annotations

import array
import mmap
import re

import dask.dataframe as dd
import numpy as np
import pandas as pd
import pyarrow as pa
import pytest

from dask_aesthetic import ArgumentError, ColumnError, InvalidEmbeddingError, Threshold, ThresholdError
from dask_aesthetic.errors import MissingDependencyError
from dask_aesthetic.io.parquet import check_embedding
from helpers import columns


@pytest.fixture
def frame(vectors):
    return columns.frame(vectors[:6], "list").assign(
        caption=[f"caption {at}" for at in range(6)],
        number=range(6),
        clip=columns.make(vectors[:6], "object", name="clip"),
        words=pd.Series(pd.array([["a"]] * 6, dtype=pd.ArrowDtype(pa.list_(pa.string())))),
    )


@pytest.fixture(params=["pandas", "dask"])
def either(request, frame):
    """The frame as pandas, and as Dask before anything is computed."""
    return frame if request.param == "pandas" else dd.from_pandas(frame, npartitions=2)


@pytest.mark.parametrize("verb", ["score", "filter", "status"])
@pytest.mark.parametrize(
    ("column", "message"),
    [
        ("embedding", "column 'embedding'; the frame has 'key', .*Columns that would do: 'image_embedding'"),
        ("number", "column 'number', got int64. Columns that would do: 'image_embedding'"),
        ("words", r"column 'words', got list<.*string>\[pyarrow\]. Columns that would do: 'image_embedding'"),
        ("caption", "column 'caption', got strings .*convert-string.*Columns that would do: 'image_embedding'"),
    ],
)
def test_a_column_that_holds_no_embeddings_is_refused_with_those_that_do(either, verb, column, message):
    with pytest.raises(ColumnError, match=message):
        getattr(either.aesthetic, verb)(column)


def test_object_columns_that_dask_made_strings_are_refused_with_the_option_that_did_it(vectors):
    ddf = dd.from_pandas(columns.frame(vectors[:6], "object"), npartitions=2)
    with pytest.raises(ColumnError, match=r"dask.config.set\(\{'dataframe.convert-string': False\}\)"):
        ddf.aesthetic.score()


@pytest.mark.parametrize(
    ("values", "message"),
    [
        (["[1. 2. 3.]", None], "strings .object"),
        ([None, 3.5], "objects of float"),
        ([{"a": 1.0}], "objects of dict"),
        ([np.ones(768, bool)], "objects of bool"),
    ],
)
def test_an_object_column_that_begins_with_no_list_is_refused(values, message):
    column = pd.Series(values, dtype=object)
    with pytest.raises(ColumnError, match=message):
        pd.DataFrame({"image_embedding": column}).aesthetic.score()


def in_mmap(row: bytes) -> mmap.mmap:
    mapped = mmap.mmap(-1, len(row))
    mapped.write(row)
    return mapped


BYTES = {
    "objects of bytes": bytes,
    "objects of bytearray": bytearray,
    "objects of memoryview": memoryview,
    "objects of bytes_": np.bytes_,
    "objects of void": np.void,
    "objects of array": lambda row: array.array("B", row),
    "objects of mmap": in_mmap,
}
BINARY = [pa.binary(), pa.large_binary(), pa.binary(3072)]


@pytest.mark.parametrize("kind", [*BYTES, *BINARY], ids=str)
def test_a_column_of_bytes_is_refused_until_their_dtype_is_stated(vectors, kind):
    rows = [row.tobytes() for row in vectors[:3]]
    if isinstance(kind, str):
        column, dtype = pd.Series([None, *map(BYTES[kind], rows)], dtype=object), kind
    else:
        lists = pa.chunked_array([pa.array([None, *rows], kind)])
        column, dtype = pd.Series(pd.arrays.ArrowExtensionArray(lists)), f"{kind}[pyarrow]"
    frame = pd.DataFrame({"emb": column})
    with pytest.raises(ColumnError, match=re.escape(f"column 'emb', got bytes ({dtype}).")) as refused:
        frame.aesthetic.score("emb")
    assert "strings" not in str(refused.value)
    assert "embedding_dtype='float32'" in str(refused.value)
    scored = frame.aesthetic.score("emb", embedding_dtype="float32")["aesthetic_score"]
    expected = columns.frame([None, *vectors[:3]], "list").aesthetic.score()["aesthetic_score"]
    assert scored.to_numpy().tobytes() == expected.to_numpy().tobytes()


@pytest.mark.parametrize("dtype", BINARY, ids=str)
def test_a_parquet_column_of_bytes_is_refused_without_a_dtype(dtype):
    with pytest.raises(ColumnError, match=re.escape(f"got bytes ({dtype}).")):
        check_embedding(pa.schema([("emb", dtype)]), "emb")
    check_embedding(pa.schema([("emb", dtype)]), "emb", "float32")
    with pytest.raises(ColumnError, match=r"got list<.*binary.*>. No column"):
        check_embedding(pa.schema([("emb", pa.list_(dtype))]), "emb")


def test_two_columns_of_one_name_are_refused(frame):
    twice = pd.concat([frame, frame[["image_embedding"]]], axis=1)
    with pytest.raises(ColumnError, match="several of that name"):
        twice.aesthetic.score()


@pytest.mark.parametrize(
    "names",
    [
        {"score_column": "image_embedding"},
        {"keep_column": "image_embedding"},
        {"score_column": "keep"},
        {"keep_column": "aesthetic_score"},
    ],
)
def test_added_columns_never_replace_the_embedding_or_each_other(either, names):
    with pytest.raises(ColumnError, match="the same name for both"):
        either.aesthetic.score(**names)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"threshold": 0.5}, "did you mean 5, or scale='unit'"),
        ({"threshold": 0.99}, "did you mean 9.9, or scale='unit'"),
        ({"threshold": 50}, "did you mean 5\\?"),
        ({"threshold": 1000}, "a number from 1 to 10"),
        ({"threshold": 5, "scale": "unit"}, "did you mean 0.5, or scale='raw'"),
        ({"threshold": 50, "scale": "unit"}, "a number from 0.1 to 1"),
        ({"threshold": float("nan")}, "finite number"),
        ({"threshold": float("inf")}, "finite number"),
        ({"threshold": True}, "finite number"),
        ({"threshold": [5]}, "a number, a preset .permissive, standard, high, premium. or a Threshold"),
        ({"threshold": "best"}, "permissive .3 raw., standard .5 raw., high .6 raw., premium .7 raw."),
        ({"predictor": "laion-v1-l14", "threshold": "standard"}, "presets are set on laion-v2 scores"),
        ({"predictor": "simulacra-l14", "threshold": "high"}, "presets are set on laion-v2 scores"),
    ],
)
def test_a_threshold_of_another_scale_is_refused(either, arguments, message):
    with pytest.raises(ThresholdError, match=message):
        either.aesthetic.score(**arguments)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"scale": "percent"}, "scale to be one of 'raw', 'unit', got 'percent'"),
        ({"on_invalid": "drop"}, "on_invalid to be one of 'null', 'raise'"),
        ({"batch_size": 0}, "batch_size"),
        ({"batch_size": 2.5}, "batch_size"),
        ({"batch_size": -2}, "batch_size"),
    ],
)
def test_an_argument_outside_its_range_is_refused(either, arguments, message):
    with pytest.raises(ArgumentError, match=message):
        either.aesthetic.score(**arguments)


@pytest.mark.parametrize(("preset", "raw"), [("permissive", 3), ("standard", 5), ("high", 6), ("premium", 7)])
def test_presets_are_their_raw_numbers_on_either_scale(verite, preset, raw):
    frame = columns.frame(verite, "list")
    expected = frame.aesthetic.score(threshold=raw)["keep"].tolist()
    assert frame.aesthetic.score(threshold=preset)["keep"].tolist() == expected
    assert frame.aesthetic.score(threshold=preset, scale="unit")["keep"].tolist() == expected


def test_a_threshold_object_is_taken_at_its_word_and_converted(frame):
    scored = frame.aesthetic.score(threshold=Threshold(0.5), predictor="laion-v1-l14")
    assert scored["keep"].tolist() == (scored["aesthetic_score"].to_numpy() >= 0.5).tolist()
    five = frame.aesthetic.score(threshold=Threshold(5.0, "raw"), scale="unit")
    assert five["keep"].tolist() == (five["aesthetic_score"].to_numpy() >= np.float32(0.5)).tolist()


@pytest.mark.parametrize("value", [4.7, 5.1, 5.3, 1 / 3 + 5])
def test_the_cut_is_a_float32_so_that_every_library_compares_alike(value):
    assert float(np.float32(Threshold(value).cut)) == Threshold(value).cut


def test_errors_survive_the_way_back_from_a_worker():
    import pickle

    for error in (
        InvalidEmbeddingError("emb", 3, 7, "x", "zero", 768),
        MissingDependencyError("dask_cuda", "cuda13", "a cluster"),
        ColumnError.missing("a", ["b"], []),
    ):
        back = pickle.loads(pickle.dumps(error))
        assert type(back) is type(error)
        assert str(back) == str(error)
        assert back.__dict__ == error.__dict__
    assert "pip install 'dask-aesthetic[cuda13]'" in str(MissingDependencyError("dask_cuda", "cuda13", "a cluster"))
