"""On Dask: lazy, projected, the same bytes on any partitioning, scheduler and batch size."""

from __future__ import annotations

import pickle
import time
import warnings
from concurrent.futures import ThreadPoolExecutor

import dask
import dask.dataframe as dd
import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from dask_aesthetic.errors import AestheticWarning, ColumnError, InputError
from dask_aesthetic.predictors import network
from helpers import columns
from helpers.laziness import no_compute
from helpers.parquet_files import spoil
from helpers.predictors import RELU


@pytest.fixture
def parquet(tmp_path, vectors):
    """Four files with more columns than scoring needs."""
    for number, part in enumerate(np.array_split(vectors, 4)):
        keys = [f"{number}-{at}" for at in range(len(part))]
        table = {"key": keys, "url": keys, "caption": keys, "image_embedding": columns.array(part, "list")}
        pq.write_table(pa.table(table), tmp_path / f"{number}.parquet")
    return str(tmp_path)


def tasks(collection) -> str:
    return " ".join(str(key) for key in collection.optimize(fuse=False).__dask_graph__())


@pytest.mark.parametrize(("where", "partitions"), [*(("threads", count) for count in (1, 7, 300)), ("cluster", 64)])
@pytest.mark.parametrize("predictor", ["laion-v2", "simulacra-l14", RELU])
def test_scores_are_the_same_bytes_wherever_they_are_computed(
    request, shared, vectors, cluster, partitions, where, predictor
):
    head = str(shared / "weights" / predictor) if predictor == RELU else predictor
    frame = columns.frame(vectors, "list")
    expected = frame.aesthetic.score(predictor=head, threshold=5)["aesthetic_score"].to_numpy().tobytes()
    lazy = dd.from_pandas(frame, npartitions=partitions).aesthetic.score(predictor=head, threshold=5)
    scores = lazy["aesthetic_score"].compute(scheduler=cluster if where == "cluster" else "threads")
    assert lazy.npartitions == partitions
    assert scores.to_numpy().tobytes() == expected


@pytest.mark.parametrize("partitions", [1, 7])
@pytest.mark.parametrize("dtype", ["float16", "float32", "float64"])
def test_real_embeddings_too_in_any_dtype_that_holds_their_values(verite, cluster, partitions, dtype):
    half = verite.astype(np.float16)
    expected = columns.frame(half, "list", "float16").aesthetic.score()["aesthetic_score"].to_numpy().tobytes()
    frame = columns.frame(half, "large_list", dtype)
    lazy = dd.from_pandas(frame, npartitions=partitions).aesthetic.score()["aesthetic_score"]
    assert lazy.npartitions == partitions
    assert lazy.compute(scheduler="threads").to_numpy().tobytes() == expected
    assert lazy.compute(scheduler=cluster).to_numpy().tobytes() == expected


@pytest.mark.parametrize("predictor", ["laion-v2", "simulacra-l14", RELU])
@pytest.mark.parametrize("batch_size", [1, 3, 255, 512, 10_000])
def test_the_batch_size_changes_no_byte(shared, vectors, kind, predictor, batch_size):
    head = shared / "weights" / predictor if predictor == RELU else predictor
    for dtype in ("float16", "float32"):
        frame = columns.frame(vectors, kind, dtype)
        whole = frame.aesthetic.score(predictor=head, threshold=5)["aesthetic_score"]
        batched = frame.aesthetic.score(predictor=head, threshold=5, batch_size=batch_size)["aesthetic_score"]
        assert batched.to_numpy().tobytes() == whole.to_numpy().tobytes()


def test_a_score_reads_the_key_and_the_embedding_alone(parquet):
    whole = dd.read_parquet(parquet, dtype_backend="pyarrow").aesthetic.score().compute()
    spoil(parquet, {"url", "caption"})
    scored = dd.read_parquet(parquet, dtype_backend="pyarrow").aesthetic.score()
    some = scored[["key", "aesthetic_score", "keep"]].compute()
    assert some["aesthetic_score"].tolist() == whole["aesthetic_score"].tolist()
    assert scored[scored["keep"]][["key"]].compute()["key"].tolist() == whole["key"][whole["keep"]].tolist()
    with pytest.raises(OSError, match=r"rupt|eserializ|Unexpected|hrift"):
        scored.compute()


def test_a_key_alone_reads_no_embedding(parquet):
    spoil(parquet, {"url", "caption", "image_embedding"})
    scored = dd.read_parquet(parquet, dtype_backend="pyarrow").aesthetic.score()
    assert len(scored[["key"]].compute()) == 300
    with pytest.raises(InputError, match=r"rupt|eserializ|Unexpected|hrift"):
        scored[["key", "keep"]].compute()


def test_no_predictor_runs_where_no_score_is_asked_for(parquet):
    scored = dd.read_parquet(parquet, dtype_backend="pyarrow").aesthetic.score()
    assert "aesthetic" not in tasks(scored[["key"]])
    assert "read_and_score" in tasks(scored[["key", "keep"]])
    assert len(scored) == 300


def test_a_filter_scores_each_partition_once(parquet):
    kept = dd.read_parquet(parquet, dtype_backend="pyarrow").aesthetic.filter(threshold=5)[["key", "aesthetic_score"]]
    scorings = [key for key in kept.optimize(fuse=False).__dask_graph__() if "read_and_score" in str(key)]
    assert len(scorings) == kept.optimize(fuse=False).npartitions


def test_nothing_computes_before_it_is_asked_to(parquet, vectors):
    with no_compute():
        ddf = dd.read_parquet(parquet, dtype_backend="pyarrow")
        scored = ddf.aesthetic.score(on_invalid="raise")
        kept, status = ddf.aesthetic.filter(), ddf.aesthetic.status()
        assert list(scored.columns) == [*ddf.columns, "aesthetic_score", "keep"]
    for lazy in (scored, kept, status):
        with pytest.raises(AssertionError, match="before it was asked"), no_compute():
            lazy.compute()


def test_meta_says_what_comes(parquet):
    ddf = dd.read_parquet(parquet, dtype_backend="pyarrow")
    for lazy in (ddf.aesthetic.score(), ddf.aesthetic.filter(), ddf.aesthetic.status()):
        computed = lazy.compute()
        assert (computed.index.dtype, computed.index.name) == (lazy.index.dtype, lazy.index.name)
        if isinstance(computed, pd.DataFrame):
            pd.testing.assert_series_equal(computed.dtypes, lazy.dtypes)
        else:
            assert (computed.dtype, computed.name) == (lazy.dtype, lazy.name)


def test_divisions_index_and_order_stay(vectors):
    frame = columns.frame(vectors, "list").set_index(pd.Index(np.arange(300) * 3, name="id"))
    ddf = dd.from_pandas(frame, npartitions=5)
    scored = ddf.aesthetic.score()
    assert scored.divisions == ddf.divisions
    assert scored.compute().index.equals(frame.index)
    joined = scored[["aesthetic_score"]].join(ddf[["key"]]).compute()
    assert joined["key"].tolist() == frame["key"].tolist()


def test_duplicate_labels_and_empty_partitions_keep_their_rows(vectors):
    frame = columns.frame(vectors, "list")
    frame.index = [0] * 150 + [1] * 150
    ddf = dd.from_pandas(frame, npartitions=2, sort=False)
    first = ddf[ddf["key"] < "k2"]
    expected = frame.aesthetic.score()[frame["key"] < "k2"]["aesthetic_score"]
    assert first.aesthetic.score()["aesthetic_score"].compute().tolist() == expected.tolist()
    none = ddf[ddf["key"] == "nobody"].aesthetic.score()
    assert len(none.compute()) == 0
    assert none.aesthetic.status().compute().tolist() == []


def test_two_predictors_in_one_graph_never_mix(shared, vectors):
    frame = columns.frame(vectors, "list")
    ddf = dd.from_pandas(frame, npartitions=3)
    heads = [
        "laion-v2",
        "laion-v2-ava",
        "simulacra-l14",
        str(shared / "weights" / RELU),
        str(shared / "weights/chadscorer.pth"),
    ]
    lazy = [ddf.aesthetic.score(predictor=head, threshold=5)["aesthetic_score"] for head in heads]
    assert len({score._name for score in lazy}) == len(heads)
    for head, got in zip(heads, dask.compute(*lazy), strict=True):
        assert got.tolist() == frame.aesthetic.score(predictor=head, threshold=5)["aesthetic_score"].tolist()


def test_the_same_request_has_the_same_name_and_another_has_another(vectors):
    ddf = dd.from_pandas(columns.frame(vectors, "list"), npartitions=3)
    assert ddf.aesthetic.score()._name == ddf.aesthetic.score()._name
    assert ddf.aesthetic.score()._name != ddf.aesthetic.score(threshold=6)._name
    assert ddf.aesthetic.score()["aesthetic_score"]._name != ddf.aesthetic.score(scale="unit")["aesthetic_score"]._name


def graph_size(ddf, head) -> int:
    scored = ddf.aesthetic.score(predictor=head, threshold=5)[["key", "keep"]]
    return len(pickle.dumps(scored.optimize().__dask_graph__()))


def test_weights_are_in_the_graph_once_however_many_partitions(shared, parquet):
    ddf = dd.read_parquet(parquet, dtype_backend="pyarrow", split_row_groups=10)
    relu = str(shared / "weights" / RELU)
    assert ddf.npartitions >= 4
    assert graph_size(ddf, relu) - graph_size(ddf, "laion-v2") < 4_000_000  # The weights are 3.7 MB.


def test_a_network_is_built_once_per_worker(shared, vectors, cluster):
    relu = str(shared / "weights" / RELU)
    frame = columns.frame(vectors, "list")
    ddf = dd.from_pandas(frame, npartitions=30)
    for threshold in (4, 5):  # Two graphs, one network.
        scores = ddf.aesthetic.score(predictor=relu, threshold=threshold)["aesthetic_score"].compute(scheduler=cluster)
    builds = cluster.run(network.builds)
    assert len(builds) == 2
    assert {count for built in builds.values() for count in built.values()} == {1}
    assert len(set.intersection(*(set(built) for built in builds.values()))) >= 1
    assert scores.tolist() == frame.aesthetic.score(predictor=relu, threshold=5)["aesthetic_score"].tolist()


def test_parquet_out_and_in_again(parquet, tmp_path):
    scored = dd.read_parquet(parquet, dtype_backend="pyarrow").aesthetic.score()
    scored[["key", "aesthetic_score", "keep"]].to_parquet(tmp_path / "out")
    back = dd.read_parquet(tmp_path / "out").compute()
    assert back["aesthetic_score"].tolist() == scored["aesthetic_score"].compute().tolist()


def test_the_default_reader_gives_object_columns_and_the_same_scores(parquet):
    plain = dd.read_parquet(parquet).aesthetic.score()["aesthetic_score"].compute()
    arrow = dd.read_parquet(parquet, dtype_backend="pyarrow").aesthetic.score()["aesthetic_score"].compute()
    assert plain.to_numpy().tobytes() == arrow.to_numpy().tobytes()


def test_a_frame_changed_in_place_is_read_as_it_is_now(vectors):
    ddf = dd.from_pandas(columns.frame(vectors, "list"), npartitions=2)
    before = ddf.aesthetic
    ddf["image_embedding"] = ddf["image_embedding"].shift(1)
    assert before.status().compute().tolist() == ["missing", *["ok"] * 299]


# Frames of which no row can be scored


@pytest.mark.parametrize("lazy", [False, True])
def test_a_type_of_another_width_is_refused_when_the_graph_is_built(vectors, lazy):
    frame = columns.frame(vectors[:, :512], "fixed_size_list")
    frame = dd.from_pandas(frame, npartitions=3) if lazy else frame
    for verb in (frame.aesthetic.score, frame.aesthetic.filter):
        with pytest.raises(ColumnError, match=r"expected 768 .* got 512\. Predictors that take such: laion-v1-b32"):
            verb()
    status = frame.aesthetic.status()
    assert set(status.compute() if lazy else status) == {"wrong_width"}
    scored = frame.aesthetic.score(predictor="laion-v1-b16", threshold=5.0)["aesthetic_score"]
    assert len(scored.dropna()) == 300


@pytest.mark.parametrize("kind", ["list", "large_list", "object", "object_lists"])
def test_where_only_the_data_can_tell_a_frame_without_a_usable_row_warns_once(vectors, cluster, kind):
    frame = columns.frame(vectors[:, :512], kind)
    said = r"expected 768 floats .*no usable embedding in 300 rows \(300 wrong_width\); rows hold 512.*laion-v1-b32"
    with pytest.warns(AestheticWarning, match=said) as caught:
        assert frame.aesthetic.score()["aesthetic_score"].isna().all()
    assert len(caught) == 1
    with dask.config.set({"dataframe.convert-string": False}):
        lazy = dd.from_pandas(frame, npartitions=7).aesthetic.score()
    for scheduler in ("threads", "sync"):
        with pytest.warns(AestheticWarning, match=said) as caught:
            lazy[["key", "aesthetic_score", "keep"]].compute(scheduler=scheduler)
        assert len(caught) == 1
    assert len(lazy) == 300  # Nothing is scored, and nothing said.
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("default")
        lazy["keep"].compute(scheduler=cluster)
        deadline = time.monotonic() + 10
        while not caught and time.monotonic() < deadline:
            time.sleep(0.05)  # It comes as an event of the scheduler's.
    assert any("no usable embedding" in str(one.message) for one in caught)


@pytest.mark.parametrize("where", ["threads", "cluster"])
def test_one_usable_row_is_enough_to_say_nothing(vectors, cluster, where):
    rows = [*vectors[:20, :512], vectors[0], *[None] * 9]
    scored = dd.from_pandas(columns.frame(rows, "list"), npartitions=1 if where == "cluster" else 10).aesthetic.score()
    assert scored["keep"].compute(scheduler=cluster if where == "cluster" else where).notna().all()
    assert columns.frame(rows, "list").aesthetic.score()["aesthetic_score"].count() == 1


def test_computations_side_by_side_do_not_mix(vectors):
    good = dd.from_pandas(columns.frame(vectors, "list"), npartitions=30).aesthetic.score()["keep"]
    bad = dd.from_pandas(columns.frame(vectors[:, :9], "list"), npartitions=30).aesthetic.score()["keep"]
    with warnings.catch_warnings(record=True) as caught, ThreadPoolExecutor(4) as threads:
        warnings.simplefilter("always")
        list(threads.map(lambda lazy: lazy.compute(scheduler="threads"), [good, bad, good, bad]))
    assert {str(one.message).partition("; rows hold ")[2][:8] for one in caught} <= {"9 floats"}
    good.compute(scheduler="threads")  # Nothing is left of the others.


@pytest.mark.parametrize("lazy", [False, True])
def test_columns_that_are_there_are_replaced_only_if_that_is_said(vectors, lazy):
    frame = columns.frame(vectors, "list").assign(keep=1)
    frame = dd.from_pandas(frame, npartitions=2) if lazy else frame
    with pytest.raises(ColumnError, match=r"score_column='key' to be a new column.*replace_columns=True"):
        frame.aesthetic.score(score_column="key", keep_column="taken")
    for verb in (frame.aesthetic.score, frame.aesthetic.filter):
        with pytest.raises(ColumnError, match="keep_column='keep' to be a new column"):
            verb()
    scored = frame.aesthetic.score(replace_columns=True)
    assert list(scored.columns) == ["key", "image_embedding", "keep", "aesthetic_score"]
    assert len(frame.aesthetic.filter(threshold=-20.0, replace_columns=True)) == 300
