"""Similarity while Parquet files are read: the bits of the frame's method, rules, projection, and refusals."""

from __future__ import annotations

import re

import dask
import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest

from dask_aesthetic import (
    ArgumentError,
    ColumnError,
    InvalidEmbeddingError,
    ThresholdError,
    read_and_score,
    read_clip_retrieval,
    score_dataset,
)
from dask_aesthetic.errors import AestheticWarning
from helpers import pairs
from helpers.laziness import no_compute

TEXT = "text_embedding"
BOTH = {"aesthetic_score": "laion-v2", "unsafe": "nsfw-l14"}
RULE = [("aesthetic_score", ">=", 5), ("similarity", ">=", 0.28)]


@pytest.fixture(scope="module")
def rows():
    return pairs.with_faults(*pairs.sides())


@pytest.fixture(scope="module")
def source(rows, tmp_path_factory):
    folder = tmp_path_factory.mktemp("in")
    pq.write_table(pairs.table(*rows)[:170], folder / "a.parquet", row_group_size=60)
    pq.write_table(pairs.table(*rows)[170:], folder / "b.parquet")
    return folder


def test_reading_has_the_bits_of_the_frame(source, rows):
    frame = pairs.table(*rows).to_pandas(types_mapper=pd.ArrowDtype)
    expected = frame.aesthetic.score(predictor=BOTH).aesthetic.similarity()
    keep = (expected["aesthetic_score"] >= 5) & (expected["similarity"] >= np.float32(0.28))
    with no_compute():
        lazy = read_and_score(source, text_column=TEXT, predictor=BOTH, keep=RULE, rows_per_partition=60)
    assert lazy.npartitions == 4
    for found in (lazy.compute(scheduler="sync"), lazy.compute(scheduler="threads")):
        assert list(found.columns) == ["key", "similarity", *BOTH, "keep"]
        assert found["similarity"].dtype == np.float32
        for name in ("similarity", *BOTH):
            assert found[name].to_numpy().tobytes() == expected[name].to_numpy().tobytes()
        assert found["keep"].tolist() == keep.tolist()
    assert lazy["similarity"].compute().to_numpy().tobytes() == expected["similarity"].to_numpy().tobytes()
    renamed = read_and_score(source, text_column=TEXT, similarity_column="likeness", embedding_hash=True)
    assert list(renamed.columns) == ["key", "embedding_hash", "likeness", "aesthetic_score", "keep"]
    assert renamed["likeness"].compute().to_numpy().tobytes() == expected["similarity"].to_numpy().tobytes()


def test_neither_side_is_read_where_nothing_computed_is_used(source):
    lazy = read_and_score(source, text_column=TEXT)[["key"]]
    assert not re.search(r"_score\b|similarity", str(lazy.optimize().expr).replace("read_and_score", ""))
    assert len(lazy.compute()) == 300


def test_a_cluster_has_the_same_bits(source, cluster):
    lazy = read_and_score(source, text_column=TEXT)["similarity"]
    here, there = (lazy.compute(scheduler=one).to_numpy().tobytes() for one in ("sync", cluster))
    assert here == there


def test_genuine_clip_retrieval_output_is_compared_as_its_frame(shared, tmp_path):
    folder = shared / "data/clip_retrieval_b32"
    frame = read_clip_retrieval(folder, text_column="texts").aesthetic.similarity("texts").compute()
    score_dataset(folder, tmp_path, predictor="laion-v1-b32", text_column="texts", columns="all")
    found = pq.read_table(tmp_path / "metadata/metadata_0.parquet")["similarity"].to_numpy()
    assert found.tobytes() == frame["similarity"].to_numpy().tobytes()
    matrices = (np.load(folder / f"{name}/{name}_0.npy") for name in ("img_emb", "text_emb"))
    assert np.abs(found - pairs.exact(*matrices)).max() < 2e-7


def test_texts_that_are_all_unusable_give_a_warning(tmp_path):
    images, texts = pairs.sides(10)
    pq.write_table(pairs.table(images, texts[:, :512]), tmp_path / "a.parquet")
    lazy = read_and_score(tmp_path / "a.parquet", text_column=TEXT)
    with pytest.warns(AestheticWarning, match=r"768 floats per row in 'text_embedding'.*10 wrong_width"):
        found = lazy.compute(scheduler="sync")
    assert found["similarity"].isna().all()
    assert found["aesthetic_score"].notna().all()


def test_an_invalid_text_raises_with_its_file_and_row(tmp_path):
    images, texts = pairs.sides(10)
    pq.write_table(pairs.table(images, [*texts[:7], np.zeros(768), *texts[8:]]), tmp_path / "a.parquet")
    lazy = read_and_score(tmp_path / "a.parquet", text_column=TEXT, on_invalid="raise")
    with pytest.raises(InvalidEmbeddingError, match=r"text_embedding.*a.*row 7 is zero"):
        lazy.compute(scheduler="sync")


def test_calls_that_make_no_sense_are_refused(source, tmp_path):
    images, texts = pairs.sides(10)
    pq.write_table(pairs.table(images, texts[:, :512], "list", "fixed_size_list"), tmp_path / "a.parquet")
    for arguments, error, message in (
        ({"text_column": "image_embedding"}, ColumnError, "to differ from embedding_column"),
        ({"text_column": "key"}, ColumnError, r"list of floats per row .* in column 'key', got .*a.parquet\)"),
        ({"text_column": "none"}, ColumnError, r"embedding column 'none'; .*a.parquet\)"),
        ({"text_column": TEXT, "similarity_column": "aesthetic_score"}, ColumnError, "to differ from score_column"),
        (
            {"similarity_column": "likeness"},
            ArgumentError,
            "text_column with text_key and similarity_column, got .* 'likeness' alone",
        ),
        ({"keep": RULE}, ColumnError, "similarity"),
        ({"text_column": TEXT, "keep": [("similarity", "<", -2)]}, ThresholdError, "similarity from -1 to 1 .* got -2"),
    ):
        with pytest.raises(error, match=message):
            read_and_score(source, **arguments)
    with pytest.raises(ColumnError, match=r"text embeddings of 768 floats .* got 512.*a.parquet\)"):
        read_and_score(tmp_path, text_column=TEXT)
    with dask.config.set({"dataframe.backend": "cudf"}), pytest.raises(ArgumentError, match="got the backend 'cudf'"):
        read_and_score(source, text_column=TEXT)
