"""Similarity of image and text embeddings: one set of bits in every column, and the statuses of both sides."""

from __future__ import annotations

import re

import dask.dataframe as dd
import numpy as np
import pandas as pd
import pyarrow as pa
import pytest

import dask_aesthetic  # noqa: F401
from dask_aesthetic.errors import AestheticWarning, ArgumentError, ColumnError, InvalidEmbeddingError
from helpers import columns
from helpers.laziness import no_compute


@pytest.fixture(scope="module")
def texts(shared) -> np.ndarray:
    return np.load(shared / "data/verite_l14/text_embeddings.npy")


@pytest.fixture(scope="module")
def pairs() -> tuple[np.ndarray, np.ndarray]:
    random = np.random.default_rng(4)
    first, second = random.standard_normal((2, 3000, 768), dtype=np.float32)
    return first, second + first


def exact(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    a, b = a.astype(np.float64), b.astype(np.float64)
    return (a * b).sum(axis=1) / np.linalg.norm(a, axis=1) / np.linalg.norm(b, axis=1)


def frame(images, texts, kind="list", text_kind=None, dtype="float32") -> pd.DataFrame:
    return pd.DataFrame(
        {
            "key": range(len(images)),
            "image_embedding": columns.make(images, kind, dtype),
            "text_embedding": columns.make(texts, text_kind or kind, dtype),
        }
    )


def similarities(of: pd.DataFrame, **arguments) -> np.ndarray:
    found = of.aesthetic.similarity(**arguments)
    assert list(found.columns) == [*of.columns, "similarity"]
    assert found["similarity"].dtype == np.float32
    pd.testing.assert_index_equal(found.index, of.index)
    return found["similarity"].to_numpy()


def test_real_images_and_texts_have_the_similarity_of_float64(verite, texts):
    found = similarities(frame(verite, texts))
    assert np.abs(found - exact(verite, texts)).max() < 2e-7
    assert found.mean() == pytest.approx(0.25, abs=0.03)
    assert np.abs(similarities(frame(verite * 9, texts * 0.01)) - found).max() < 2e-7


@pytest.mark.parametrize("kind", columns.KINDS)
@pytest.mark.parametrize("text_kind", columns.KINDS)
def test_every_pair_of_column_kinds_has_the_same_bits(pairs, kind, text_kind):
    images, texts = (side[:200] for side in pairs)
    expected = similarities(frame(images, texts))
    assert similarities(frame(images, texts, kind, text_kind)).tobytes() == expected.tobytes()


@pytest.mark.parametrize("dtype", ["float16", "float64"])
def test_copies_in_other_dtypes_have_the_bits_of_their_values(pairs, dtype):
    images, texts = (side[:200].astype(np.float16).astype(np.float32) for side in pairs)
    expected = similarities(frame(images, texts))
    for kind in ("list", "object"):
        assert similarities(frame(images, texts, kind, dtype=dtype)).tobytes() == expected.tobytes()


@pytest.mark.parametrize("kind", ["fixed_size_list", "large_list", "object"])
def test_chunks_and_partitions_change_nothing(pairs, kind):
    images, texts = pairs
    whole = similarities(frame(images, texts))
    other = frame(images, texts, kind)
    if kind != "object":
        for name, sizes in (("image_embedding", (7, 1000, 1993)), ("text_embedding", (1500, 1, 0, 1499))):
            ends = np.cumsum(sizes)
            parts = [columns.array(part, kind) for part in np.split(images if "image" in name else texts, ends[:-1])]
            other[name] = pd.Series(pd.arrays.ArrowExtensionArray(pa.chunked_array(parts)))
        for partitions in (1, 4):
            lazy = dd.from_pandas(other, npartitions=partitions)
            with no_compute():
                found = lazy.aesthetic.similarity()
            assert found["similarity"].dtype == np.float32
            assert found["similarity"].compute(scheduler="threads").to_numpy().tobytes() == whole.tobytes()
    assert similarities(other).tobytes() == whole.tobytes()
    assert similarities(other[::-1])[::-1].tobytes() == whole.tobytes()
    assert similarities(other[17:1100]).tobytes() == whole[17:1100].tobytes()


def test_only_both_embeddings_are_read(pairs):
    lazy = dd.from_pandas(frame(*(side[:10] for side in pairs)), npartitions=2)
    graph = lazy.aesthetic.similarity()[["key"]]
    assert list(graph.compute().columns) == ["key"]
    assert "similarity" not in str(graph.optimize().expr)


BAD = {"missing": None, "wrong_width": [1.0] * 5, "zero": [0.0] * 768, "not_finite": [np.nan] * 768}


@pytest.mark.parametrize("kind", ["list", "object", "object_lists"])
def test_a_row_missing_on_either_side_has_no_similarity(pairs, kind):
    images, texts = ([*side[:40]] for side in pairs)
    whole = similarities(frame(*(side[:40] for side in pairs)))
    for at, row in enumerate(BAD.values()):
        images[at] = row
        texts[10 + at] = row
        images[20 + at] = texts[20 + at] = row
    images[30], texts[31] = images[30] * 1e30, texts[31] * 1e-30  # Beyond what float32 can square.
    of = frame(images, texts, kind)
    found = similarities(of)
    bad = {*range(4), *range(10, 14), *range(20, 24)}
    assert set(np.flatnonzero(np.isnan(found))) == bad
    good = [at for at in range(40) if at not in bad | {30, 31}]
    assert found[good].tobytes() == whole[good].tobytes()
    assert np.abs(found[[30, 31]] - whole[[30, 31]]).max() < 2e-7
    for column, rows in (("image_embedding", range(4)), ("text_embedding", range(10, 14))):
        assert of.aesthetic.status(column).iloc[list(rows)].tolist() == list(BAD)
    for partitions in (1, 3) if kind == "list" else ():
        lazy = dd.from_pandas(of, npartitions=partitions).aesthetic.similarity()["similarity"]
        assert lazy.compute(scheduler="sync").to_numpy().tobytes() == found.tobytes()


def test_null_rows_of_fixed_size_lists_have_no_similarity(pairs):
    images, texts = ([*side[:6]] for side in pairs)
    whole = similarities(frame(images, texts))
    images[1], texts[4] = None, None
    found = similarities(frame(images, texts, "fixed_size_list"))
    assert np.flatnonzero(np.isnan(found)).tolist() == [1, 4]
    assert found[[0, 2, 3, 5]].tobytes() == whole[[0, 2, 3, 5]].tobytes()


def test_an_invalid_row_raises_with_its_column_on_request(pairs):
    images, texts = ([*side[:6]] for side in pairs)
    texts[4] = [0.0] * 768
    of = frame(images, texts)
    with pytest.raises(InvalidEmbeddingError, match=r"text_embedding.*4.*zero"):
        of.aesthetic.similarity(on_invalid="raise")
    lazy = dd.from_pandas(of, npartitions=2).aesthetic.similarity(on_invalid="raise")
    with pytest.raises(InvalidEmbeddingError, match=r"text_embedding.*partition 1.*zero"):
        lazy.compute(scheduler="sync")


def test_a_column_without_a_usable_row_warns(pairs):
    of = frame(pairs[0][:6], [[1.0] * 512] * 6)
    with pytest.warns(AestheticWarning, match="768 floats per row in 'text_embedding' for similarity.*6 wrong_width"):
        found = of.aesthetic.similarity()
    assert found["similarity"].isna().all()
    lazy = dd.from_pandas(of, npartitions=2).aesthetic.similarity()
    with pytest.warns(AestheticWarning, match="'text_embedding' for similarity"):
        lazy.compute(scheduler="sync")


def test_the_width_is_that_of_the_type_or_as_requested(pairs):
    narrow = [side[:9, :96] for side in pairs]
    of = frame(*narrow, "list", "fixed_size_list")
    assert np.abs(similarities(of) - exact(*narrow)).max() < 2e-7
    assert similarities(frame(*narrow), width=96).tobytes() == similarities(of).tobytes()
    empty = of.iloc[:0]
    assert similarities(empty).shape == (0,)


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"text_column": "caption"}, ColumnError, "'caption'"),
        (
            {"text_column": "key"},
            ColumnError,
            "in column 'key', got int64. Columns that would do: 'image_embedding', 'text",
        ),
        ({"text_column": "image_embedding"}, ColumnError, "text_column='image_embedding'"),
        ({"similarity_column": "text_embedding"}, ColumnError, "similarity_column='text_embedding'"),
        ({"similarity_column": "key"}, ColumnError, "similarity_column='key' to be a new column"),
        ({"width": 512}, ColumnError, "expected embeddings of 512 floats in 'image_embedding', got 768"),
        ({"width": 0}, ArgumentError, "width to be a whole number of floats, 1 or more, or None, got 0"),
        ({"width": True}, ArgumentError, "width to be a whole number of floats"),
        ({"on_invalid": "drop"}, ArgumentError, "on_invalid"),
    ],
)
def test_arguments_that_do_not_fit_are_refused(pairs, arguments, error, message):
    of = frame(*(side[:3] for side in pairs), "fixed_size_list")
    for one in (of, dd.from_pandas(of, npartitions=1)):
        with no_compute(), pytest.raises(error, match=re.escape(message)):
            one.aesthetic.similarity(**arguments)


def test_columns_of_two_widths_are_refused(pairs):
    of = frame(pairs[0][:3], pairs[1][:3, :512], "fixed_size_list")
    with pytest.raises(ColumnError, match="768 floats in 'text_embedding', got 512 beside 768 in 'image_embedding'"):
        of.aesthetic.similarity()


def test_a_column_is_replaced_only_on_request(pairs):
    of = frame(*(side[:3] for side in pairs)).aesthetic.similarity()
    with pytest.raises(ColumnError, match="similarity_column='similarity' to be a new column"):
        of.aesthetic.similarity()
    assert similarities_equal(of, of.assign(similarity=0.0).aesthetic.similarity(replace_columns=True))


def similarities_equal(one: pd.DataFrame, other: pd.DataFrame) -> bool:
    return one["similarity"].tolist() == other["similarity"].tolist()
