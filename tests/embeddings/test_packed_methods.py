"""Packed embeddings in every method that takes embeddings: the results of lists of the same floats, or a refusal."""

from __future__ import annotations

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
    read_and_score,
    repack_dataset,
    score_dataset,
    score_embeddings,
    select_dataset,
)
from helpers import columns, sources

INTS = np.random.default_rng(2).integers(0, 256, (60, 768)).astype(np.uint8)
KINDS = ("fixed", "binary", "objects")
NAMES = ("image_embedding", "text_embedding")


def packed(rows: np.ndarray, kind: str, name: str = "image_embedding") -> pd.Series:
    if kind == "objects":
        return pd.Series([row.tobytes() for row in rows], dtype=object, name=name)
    array = sources.binary(rows, fixed=kind == "fixed")
    return pd.Series(pd.arrays.ArrowExtensionArray(pa.chunked_array([array])), name=name)


def lazily(frame: pd.DataFrame, npartitions: int) -> dd.DataFrame:
    with dask.config.set({"dataframe.convert-string": False}):  # Objects of bytes stay.
        return dd.from_pandas(frame, npartitions=npartitions)


def computed(frame):
    return frame.compute() if hasattr(frame, "compute") else frame


# Frames


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("lazy", [False, True])
def test_similarity_unpacks_the_columns_that_hold_bytes(vectors, kind, lazy):
    images, texts = vectors[:100], vectors[100:200]
    lists = pd.DataFrame({name: columns.make(rows, "list") for name, rows in zip(NAMES, (images, texts), strict=True)})
    wanted = lists.aesthetic.similarity()["similarity"]
    both = pd.DataFrame({name: packed(rows, kind, name) for name, rows in zip(NAMES, (images, texts), strict=True)})
    for frame in (both, both.assign(text_embedding=lists["text_embedding"])):
        if lazy:
            frame = lazily(frame, npartitions=3)
        found = frame.aesthetic.similarity(embedding_dtype="float32")["similarity"]
        np.testing.assert_array_equal(computed(found), wanted)
        if kind == "objects" and lazy:  # Dask does not look at objects: rows of bytes have a status, and no similarity.
            continue
        with pytest.raises(ColumnError, match="embedding_dtype='float32'"):
            frame.aesthetic.similarity()
    with pytest.raises(ColumnError, match="expected bytes per row in 'image_embedding' or 'text_embedding'"):
        lists.aesthetic.similarity(embedding_dtype="float32")


def test_similarity_knows_the_width_of_packed_columns(vectors):
    short = packed(vectors[:9, :512].copy(), "fixed")
    frame = pd.DataFrame({"image_embedding": short, "text_embedding": short})
    assert frame.aesthetic.similarity(embedding_dtype="float32")["similarity"].to_numpy() == pytest.approx(1)
    with pytest.raises(ColumnError, match="expected embeddings of 768 floats in 'image_embedding', got 512"):
        frame.aesthetic.similarity(embedding_dtype="float32", width=768)


@pytest.mark.parametrize("kind", KINDS)
def test_fit_gives_the_weights_of_lists(vectors, kind):
    ratings = np.random.default_rng(1).integers(1, 10, len(vectors)).astype(float)
    lists = pd.DataFrame({"image_embedding": columns.make(vectors, "list"), "rating": ratings})
    wanted = lists.aesthetic.fit("rating")
    frame = lists.assign(image_embedding=packed(vectors, kind))
    found = frame.aesthetic.fit("rating", embedding_dtype="float32")
    assert found.weight.tolist() == wanted.weight.tolist()
    by_dask = lazily(frame, npartitions=2).aesthetic.fit("rating", embedding_dtype="float32")
    np.testing.assert_allclose(by_dask.weight, wanted.weight, atol=1e-9)
    with pytest.raises(ColumnError, match="embedding_dtype='float32'"):
        frame.aesthetic.fit("rating")
    with pytest.raises(ColumnError, match="leave embedding_dtype out"):
        lists.aesthetic.fit("rating", embedding_dtype="float32")


@pytest.mark.parametrize("kind", KINDS)
def test_zero_points_of_packed_columns(kind):
    lists = pd.DataFrame({"image_embedding": columns.make(INTS.astype(np.float32) - 100, "list")})
    frame = pd.DataFrame({"image_embedding": packed(INTS, kind)})
    options = {"embedding_dtype": "uint8", "embedding_zero_point": 100}
    for found in (frame, lazily(frame, npartitions=2)):
        scored = found.aesthetic.score(**options)["aesthetic_score"]
        np.testing.assert_array_equal(computed(scored), lists.aesthetic.score()["aesthetic_score"])
        assert set(found.aesthetic.status(**options)) == {"ok"}
        assert found.aesthetic.check(**options).ok == 60
    kept = frame.aesthetic.filter(threshold=5, **options)
    assert kept.index.tolist() == lists.aesthetic.filter(threshold=5).index.tolist()
    numbers = (INTS.astype(np.int16) - 100).astype(np.int8)
    signed = pd.DataFrame({"image_embedding": packed(numbers, kind)})
    wanted = pd.DataFrame({"image_embedding": columns.make(numbers, "list", "int8")})
    np.testing.assert_array_equal(
        signed.aesthetic.score(embedding_dtype="int8")["aesthetic_score"], wanted.aesthetic.score()["aesthetic_score"]
    )


def test_zero_points_that_are_not_usable_are_refused():
    frame = pd.DataFrame({"image_embedding": packed(INTS, "fixed")})
    for call in (frame.aesthetic.score, frame.aesthetic.status, frame.aesthetic.check, frame.aesthetic.similarity):
        with pytest.raises(ArgumentError, match=r"expected a zero point with embedding_dtype='uint8'.* got none"):
            call(embedding_dtype="uint8")
        with pytest.raises(ArgumentError, match="with embedding_dtype 'uint8' or 'int8', got 'float32'"):
            call(embedding_dtype="float32", embedding_zero_point=128)
        with pytest.raises(ArgumentError, match=r"expected embedding_zero_point=128 with embedding_dtype='uint8'"):
            call(embedding_zero_point=128)
        for wrong in (256, -129, 0.5, "0", False):
            with pytest.raises(ArgumentError, match="embedding_zero_point to be a whole number from -128 to 255"):
                call(embedding_dtype="uint8", embedding_zero_point=wrong)
        for dtype, wrong in (("uint8", -1), ("int8", 128)):
            with pytest.raises(ArgumentError, match=f"from .* to .*, which {dtype} can hold, got {wrong}"):
                call(embedding_dtype=dtype, embedding_zero_point=wrong)
            with pytest.raises(ArgumentError, match=f"which {dtype} can hold"):
                call(embedding_dtype=f"{dtype}-{wrong}")


# Arrays


def test_score_embeddings_takes_rows_of_bytes(vectors):
    wanted = score_embeddings(vectors).tolist()
    rows = [row.tobytes() for row in vectors]
    void = np.frombuffer(b"".join(rows), np.dtype("V3072"))
    arrays = [rows, tuple(rows), np.array(rows, object), void, *(packed(vectors, kind) for kind in KINDS)]
    arrow = sources.binary(vectors)
    arrays += [arrow, sources.binary(vectors, fixed=False), pa.chunked_array([arrow])]
    for array in arrays:
        assert score_embeddings(array, embedding_dtype="float32").tolist() == wanted
        with pytest.raises((ColumnError, ArgumentError), match="expected"):
            score_embeddings(array)
    _, status = score_embeddings([rows[0], None, b"", rows[1][:-4]], embedding_dtype="float32", return_status=True)
    assert status.tolist() == ["ok", "missing", "missing", "wrong_width"]
    for lists in (vectors, torch.from_numpy(vectors), list(vectors), columns.array(vectors, "list")):
        with pytest.raises(ColumnError, match="leave embedding_dtype out"):
            score_embeddings(lists, embedding_dtype="float32")


def test_score_embeddings_of_uint8_needs_a_zero_point():
    wanted = score_embeddings(INTS.astype(np.float32) - 128).tolist()
    masked = np.ma.masked_array(INTS, np.zeros(INTS.shape, bool))
    masked[3, 5] = np.ma.masked
    for array in (INTS, torch.from_numpy(INTS), INTS[:, None], INTS.reshape(60, 768, 1)):
        assert score_embeddings(array, embedding_zero_point=128).tolist() == wanted
        with pytest.raises(ArgumentError, match=r"got uint8, .*: embedding_zero_point=128, or 0 where"):
            score_embeddings(array)
    found, status = score_embeddings(masked, embedding_zero_point=128, return_status=True)
    assert (status[3], np.delete(found, 3).tolist()) == ("not_finite", np.delete(wanted, 3).tolist())
    assert score_embeddings(sources.binary(INTS), embedding_dtype="uint8", embedding_zero_point=128).tolist() == wanted
    for array in (INTS.astype(np.int16), INTS.astype(np.float32), INTS.tolist(), packed(INTS, "fixed")):
        with pytest.raises(ArgumentError, match="expected embedding_zero_point"):
            score_embeddings(array, embedding_zero_point=128)
    # Lists of integers are the values themselves, as in columns.
    assert score_embeddings(INTS.tolist()).tolist() == score_embeddings(INTS, embedding_zero_point=0).tolist()


# Files


@pytest.mark.parametrize("fixed", [True, False])
def test_hashes_of_packed_rows_are_those_of_lists_and_find_duplicates(tmp_path, vectors, fixed):
    rows = np.concatenate([vectors[:50], vectors[10:20]])
    for name, column in (("lists", sources.lists(rows)), ("packed", sources.binary(rows, fixed))):
        (tmp_path / name).mkdir()
        sources.write_parquet(tmp_path / name, column)
    options = {"embedding_hash": True, "columns": ["key"], "threshold": 1}
    score_dataset(tmp_path / "lists", tmp_path / "a", **options)
    score_dataset(tmp_path / "packed", tmp_path / "b", embedding_dtype="float32", **options)
    first, second = (pq.read_table(tmp_path / name) for name in "ab")
    assert first.equals(second)
    assert len(set(first["embedding_hash"].to_pylist())) == 50
    read = read_and_score(tmp_path / "packed", embedding_dtype="float32", embedding_hash=True).compute()
    assert read["embedding_hash"].tolist() == first["embedding_hash"].to_pylist()
    select_dataset(tmp_path / "b", tmp_path / "c", threshold=1, drop_duplicates=True)
    assert sum(pq.read_table(tmp_path / "c")["keep"].to_pylist()) == 50


def test_repack_makes_floats_of_8_bit_integers(tmp_path):
    sources.write_parquet(tmp_path, sources.binary(INTS))
    source, options = tmp_path / "part.parquet", {"embedding_dtype": "uint8", "embedding_zero_point": 128}
    wanted = read_and_score(source, **options).compute()
    for layout, dtype in (("lists", None), ("packed", "float32")):
        repack_dataset(source, tmp_path / layout, layout=layout, **options)
        pd.testing.assert_frame_equal(read_and_score(tmp_path / layout, embedding_dtype=dtype).compute(), wanted)
    with pytest.raises(ArgumentError, match="expected a zero point"):
        repack_dataset(source, tmp_path / "none", embedding_dtype="uint8")
