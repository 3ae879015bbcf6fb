"""Parquet files whose schema names views, as DataFusion and Polars write: read as plain strings and bytes."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from dask_aesthetic import (
    export_dataset,
    filter_dataset,
    read_and_score,
    read_scores,
    repack_dataset,
    score_dataset,
    score_embeddings,
    select_dataset,
)
from helpers import tar_files
from helpers.commands import printed

ROWS = 12


@pytest.fixture
def source(tmp_path, vectors):
    """A file whose texts are views, and packed embeddings as views."""
    texts = {name: [f"{at:05d}" for at in range(ROWS)] for name in ("key", "url")}
    columns = {
        **{name: pa.array(values, pa.string_view()) for name, values in texts.items()},
        "source": pa.array(["a", None, "b"] * 4, pa.string_view()),
        "tags": pa.array([["x", None], None, []] * 4, pa.list_(pa.string_view())),
        "size": pa.array([{"w": "s"}, None] * 6, pa.struct({"w": pa.string_view()})),
        "image_embedding": pa.array(list(vectors[:ROWS]), pa.list_(pa.float32())),
        "packed": pa.array([row.tobytes() for row in vectors[:ROWS]], pa.binary_view()),
    }
    try:
        pq.write_table(pa.table(columns), tmp_path / "in.parquet")
    except pa.ArrowNotImplementedError:
        pytest.skip("this version of pyarrow writes no views")
    assert pq.read_schema(tmp_path / "in.parquet").field("key").type == pa.string_view()
    return tmp_path / "in.parquet"


def test_jobs_readers_and_commands_take_views(source, vectors, tmp_path):
    scores, wanted = tmp_path / "scores", score_embeddings(vectors[:ROWS])
    score_dataset(source, scores, columns=["key", "url", "source", "tags", "size"])
    plain = pq.read_table(source).select(["tags", "size"]).to_pylist()
    assert pq.read_table(scores / "in.parquet").select(["tags", "size"]).to_pylist() == plain
    for frame in (
        read_scores(scores),
        read_and_score(source, "all"),
        read_and_score(source, embedding_column="packed", embedding_dtype="float32"),
    ):
        found = frame.compute()
        assert found["aesthetic_score"].to_numpy().tobytes() == wanted.tobytes()
        assert found["key"].tolist() == [f"{at:05d}" for at in range(ROWS)]
    kept = select_dataset(scores, tmp_path / "best", keep=[("source", "==", "a")], keep_only=True)
    assert kept.kept == len(read_scores(tmp_path / "best")) == 4
    export_dataset(scores, tmp_path / "list.csv", all_rows=True)
    assert sorted(pd.read_csv(tmp_path / "list.csv")["url"]) == list(range(ROWS))
    printed("report", scores, "--by", "source", "--output", tmp_path / "page.html")
    tar_files.write(tmp_path / "tars/a.tar", *tar_files.samples(ROWS))
    filter_dataset(scores, tmp_path / "kept", tars=tmp_path / "tars")
    assert pq.read_table(tmp_path / "kept/a.parquet").num_rows == (wanted >= 5).sum()


def test_repacked_files_hold_the_same_texts(source, tmp_path):
    repack_dataset(source, tmp_path / "out", layout="lists")
    before, after = pq.read_table(source), pq.read_table(tmp_path / "out/in.parquet")
    assert after.schema.field("key").type == pa.string()
    names = ["key", "url", "source", "tags", "size"]
    assert after.select(names).to_pylist() == before.select(names).to_pylist()
    assert np.array_equal(after["image_embedding"].to_pylist(), before["image_embedding"].to_pylist())
