"""read_and_score: the score bytes of the accessor, projection, row groups, errors."""

from __future__ import annotations

import pickle

import dask.dataframe as dd
import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from dask_aesthetic import ColumnError, InputError, InvalidEmbeddingError, ThresholdError
from dask_aesthetic.errors import AestheticWarning
from dask_aesthetic.readers import read_and_score
from helpers import columns
from helpers.laziness import no_compute
from helpers.parquet_files import spoil
from helpers.predictors import RELU
from helpers.shards import assert_same_scores, metadata_table


def with_invalid_rows(vectors, kind: str = "list") -> list:
    """Valid and invalid rows of every kind that a list column can hold, over several batches."""
    rows = [*vectors] * 5
    rows[700], rows[1400] = np.zeros(768), np.full(768, np.nan)
    if kind != "fixed_size_list":  # pyarrow 17 cannot write null ones
        rows[3], rows[5], rows[1200] = None, np.ones(512), []
    return rows


@pytest.mark.parametrize(
    ("kind", "dtype", "groups", "on_cluster"),
    [
        *(case for kind in columns.ARROW for case in ((kind, "float16", 300, False), (kind, "float32", 300, False))),
        ("list", "float32", 5000, True),
    ],
)
def test_score_bytes_equal_those_of_the_accessor(request, tmp_path, vectors, kind, dtype, groups, on_cluster):
    rows = with_invalid_rows(vectors, kind)
    frame = pa.table({"key": [str(at) for at in range(len(rows))], "image_embedding": columns.array(rows, kind, dtype)})
    pq.write_table(frame, tmp_path / "0.parquet", row_group_size=groups)
    pq.write_table(frame.slice(0, 1), tmp_path / "1.parquet")
    pq.write_table(frame.slice(0, 0), tmp_path / "2.parquet")
    wanted = dd.read_parquet(tmp_path, dtype_backend="pyarrow").aesthetic.score(threshold=5.2).compute()
    scored = read_and_score(tmp_path, threshold=5.2, rows_per_partition=700)
    assert scored.npartitions == (3 if groups == 300 else 2)
    computed = scored.compute()
    assert_same_scores(computed, wanted)
    assert computed.index.tolist() == list(range(len(rows) + 1))
    if on_cluster:
        assert_same_scores(scored.compute(scheduler=request.getfixturevalue("cluster")), wanted)


def test_arguments_equal_those_of_score(parquet):
    arguments = {
        "predictor": "simulacra-l14",
        "threshold": 0.51,
        "scale": "unit",
        "score_column": "s",
        "keep_column": "k",
        "batch_size": 3,
    }
    scored = read_and_score(parquet, ["key"], **arguments)
    assert scored.columns.tolist() == ["key", "s", "k"]
    wanted = dd.read_parquet(parquet, dtype_backend="pyarrow").aesthetic.score(**arguments).compute()
    names = {"s": "aesthetic_score", "k": "keep"}
    assert_same_scores(scored.compute().rename(columns=names), wanted.rename(columns=names))
    with pytest.raises(ThresholdError, match="did you mean"):
        read_and_score(parquet, threshold=0.5)


def test_id_columns_pass_through_by_default(parquet):
    assert read_and_score(parquet).columns.tolist() == ["key", "url", "aesthetic_score", "keep"]
    assert read_and_score(parquet, "all").columns.tolist() == ["key", "url", "width", "aesthetic_score", "keep"]
    assert read_and_score(parquet, ["width"]).columns.tolist() == ["width", "aesthetic_score", "keep"]
    assert read_and_score(parquet, []).compute().columns.tolist() == ["aesthetic_score", "keep"]
    replaced = read_and_score(parquet, "all", score_column="width", replace_columns=True)
    assert replaced.columns.tolist() == ["key", "url", "width", "keep"]
    with pytest.raises(ColumnError, match=r"score_column='width' to be a new column.*replace_columns=True"):
        read_and_score(parquet, "all", score_column="width")
    with pytest.raises(ColumnError, match="'image_embedding', which is not kept"):
        read_and_score(parquet, ["key", "image_embedding"])
    with pytest.raises(ColumnError, match="expected column 'uid' to pass through"):
        read_and_score(parquet, ["uid"])
    with pytest.raises(ColumnError, match=r"'clip'.*Columns that would do: 'image_embedding'"):
        read_and_score(parquet, embedding_column="clip")


def test_meta_and_divisions_are_true(parquet):
    scored = read_and_score(parquet, "all", rows_per_partition=20)
    assert scored.known_divisions
    for lazy in (scored, scored[scored["keep"]], scored[["keep", "key"]], scored.partitions[5]):
        pd.testing.assert_series_equal(lazy.compute().dtypes, lazy.dtypes)
    assert scored.loc[80:81]["key"].compute().tolist() == ["1-5", "1-6"]


def test_nothing_computes_before_compute(parquet):
    with no_compute():
        scored = read_and_score(parquet)
    with pytest.raises(AssertionError, match="before it was asked"), no_compute():
        scored.compute()


def test_passthrough_columns_alone_read_no_embeddings_and_score_nothing(parquet):
    spoil(str(parquet), {"image_embedding", "width"})
    for names in (["key"], ["key", "url"]):
        scored = read_and_score(parquet, names)
        assert len(scored[names].compute()) == len(scored[["key"]].compute()) == len(scored) == 300
        assert "score-embeddings" not in " ".join(map(str, scored[names].optimize(fuse=False).__dask_graph__()))
    with pytest.raises(InputError, match=r"expected a whole Parquet file, got .*\d\.parquet"):
        scored[["keep"]].compute()


def test_a_score_alone_reads_only_embeddings(parquet):
    wanted = read_and_score(parquet).compute()
    spoil(str(parquet), {"key", "url", "width"})
    scored = read_and_score(parquet, "all")
    assert scored["aesthetic_score"].compute().tolist() == wanted["aesthetic_score"].tolist()
    assert scored[["keep"]].compute()["keep"].tolist() == wanted["keep"].tolist()
    with pytest.raises(InputError, match="expected a whole Parquet file"):
        scored[["key", "keep"]].compute()


def test_a_filter_scores_each_partition_once(parquet):
    scored = read_and_score(parquet, rows_per_partition=20)
    kept = scored[scored["keep"]][["key", "aesthetic_score"]].optimize(fuse=False)
    assert sum("score-embeddings" in str(key) for key in kept.__dask_graph__()) == scored.npartitions


def test_the_graph_holds_a_network_once(shared, parquet, cluster):
    relu = str(shared / "weights" / RELU)
    scored = read_and_score(parquet, predictor=relu, threshold=5, rows_per_partition=20)
    assert scored.npartitions >= 12
    small = read_and_score(parquet, rows_per_partition=20)
    sizes = [len(pickle.dumps(lazy.optimize().__dask_graph__())) for lazy in (scored, small)]
    assert sizes[0] - sizes[1] < 4_000_000  # The weights are 3.7 MB.
    tasks = dict(scored.optimize().__dask_graph__())
    assert sum(len(pickle.dumps(task)) > 1_000_000 for task in tasks.values()) == 1
    wanted = dd.read_parquet(parquet, dtype_backend="pyarrow").aesthetic.score(predictor=relu, threshold=5).compute()
    assert_same_scores(scored.compute(), wanted)
    assert_same_scores(scored.compute(scheduler=cluster), wanted)


def test_an_invalid_row_can_raise_and_is_named(tmp_path, vectors):
    rows = pa.table({"image_embedding": columns.array(with_invalid_rows(vectors)[6:], "list")})
    pq.write_table(rows, tmp_path / "a.parquet", row_group_size=300)
    scored = read_and_score(tmp_path, on_invalid="raise", rows_per_partition=600)
    with pytest.raises(InvalidEmbeddingError, match=r"a\.parquet, row 694 is zero") as error:
        scored.partitions[1].compute()
    assert (error.value.partition, error.value.row, error.value.reason) == ("a.parquet", 694, "zero")


def test_files_that_change_after_the_frame_was_made_are_refused(parquet, vectors):
    scored = read_and_score(parquet, [])
    rest = {"image_embedding": columns.array(vectors[:20], "list")}
    pq.write_table(metadata_table(2, 20, **rest), parquet / "2.parquet")
    with pytest.raises(InputError, match=r"bytes in .*2\.parquet as when found, got"):
        scored.compute()
    assert read_and_score(parquet, [])._name != scored._name
    pq.write_table(metadata_table(2, 75), parquet / "2.parquet")
    with pytest.raises(InputError, match=r"bytes in .*2\.parquet as when found"):
        scored.compute()


def test_only_empty_files_make_an_empty_frame(tmp_path, vectors):
    pq.write_table(metadata_table(0, 0, image_embedding=columns.array(vectors[:0], "list")), tmp_path / "0.parquet")
    scored = read_and_score(tmp_path)
    assert len(scored.compute()) == len(scored) == 0
    pd.testing.assert_series_equal(scored.compute().dtypes, scored.dtypes)


def test_scores_round_trip_through_parquet(parquet, tmp_path):
    scored = read_and_score(parquet)
    scored.to_parquet(tmp_path / "out")
    back = dd.read_parquet(tmp_path / "out").compute()
    assert back["aesthetic_score"].tolist() == scored["aesthetic_score"].compute().tolist()


@pytest.mark.parametrize("last", [150, 1, 0])
@pytest.mark.parametrize("index", [False, True])
@pytest.mark.parametrize("compression", ["none", "snappy"])
def test_concatenated_parquet_files_are_refused(tmp_path, vectors, compression, index, last):
    parts = []
    for at, rows in enumerate((vectors[:150], vectors[150 : 150 + last])):
        keys = pa.array([f"{at}-{row:03d}" for row in range(len(rows))], pa.string())
        part = pa.table({"key": keys, "image_embedding": columns.array(rows, "list")})
        options = {"use_dictionary": False, "compression": compression, "write_page_index": index}
        pq.write_table(part, tmp_path / "part", **options)
        parts.append((tmp_path / "part").read_bytes())
    (tmp_path / "both.parquet").write_bytes(b"".join(parts))
    with pytest.raises(InputError, match=r"one Parquet file in .*both\.parquet, got several, one after another"):
        read_and_score(tmp_path / "both.parquet")


def test_a_page_index_before_the_footer_is_not_a_second_file(tmp_path, vectors):
    rows = pa.table({"image_embedding": columns.array(vectors, "list")})
    pq.write_table(rows, tmp_path / "indexed.parquet", write_page_index=True)
    assert len(read_and_score(tmp_path / "indexed.parquet").compute()) == 300


def test_a_type_of_another_width_is_refused_before_reading(tmp_path, vectors):
    pq.write_table(
        pa.table({"image_embedding": columns.array(vectors[:, :512], "fixed_size_list")}), tmp_path / "0.parquet"
    )
    with pytest.raises(ColumnError, match=r"expected 768 floats .* got 512\. Predictors that take such: laion-v1-b32"):
        read_and_score(tmp_path)
    assert read_and_score(tmp_path, predictor="laion-v1-b32", threshold=5.0).compute()["aesthetic_score"].notna().all()


def test_rows_of_another_width_warn_once(tmp_path, vectors):
    for at in range(3):
        columns.frame(vectors[:, :512], "list").to_parquet(tmp_path / f"{at}.parquet")
    scored = read_and_score(tmp_path)
    with pytest.warns(AestheticWarning, match=r"no usable embedding in 900 rows \(900 wrong_width\)") as caught:
        scored.compute()
    assert len(caught) == 1


def test_the_warning_that_no_row_is_usable_is_of_each_predictor_alone(tmp_path):
    rows = np.random.default_rng(0).standard_normal((5, 512)).astype(np.float32)
    pq.write_table(pa.table({"key": list("abcde"), "image_embedding": list(rows)}), tmp_path / "a.parquet")
    fits = read_and_score(str(tmp_path), ["key"], predictor="laion-v1-b32", threshold=5.0).compute(scheduler="threads")
    assert fits["aesthetic_score"].notna().all()
    with pytest.warns(AestheticWarning, match="got no usable embedding in 5 rows"):
        read_and_score(str(tmp_path), ["key"]).compute(scheduler="threads")
