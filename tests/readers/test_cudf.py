"""Parquet files as cuDF partitions of scores."""

from __future__ import annotations

import pickle
import subprocess
import sys
from importlib.util import find_spec
from threading import Barrier

import dask
import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from dask_aesthetic import ArgumentError, ColumnError, InputError, InvalidEmbeddingError
from dask_aesthetic.io import cudf
from dask_aesthetic.io.shards import ParquetShard, row_group_shards
from dask_aesthetic.io.split import combine_row_groups
from dask_aesthetic.io.storage import local_file
from dask_aesthetic.readers import read_and_score
from helpers import backends, columns
from helpers.parquet_files import spoil
from helpers.predictors import RELU


def test_float16_embeddings_are_refused(tmp_path, vectors):
    pq.write_table(pa.table({"image_embedding": columns.array(vectors, "list", "float16")}), tmp_path / "0.parquet")
    with (
        dask.config.set({"dataframe.backend": "cudf"}),
        pytest.raises(
            ColumnError, match="expected lists of float32, float64 or integers in column 'image_embedding' for cuDF"
        ),
    ):
        read_and_score(tmp_path)


def test_passthrough_columns_have_cudf_types():
    tags = pa.dictionary(pa.int32(), pa.string())
    own = {
        "plain": (pa.int16(), pa.int16()),
        "category": (tags, pa.string()),
        "tags": (pa.large_list(tags), pa.list_(pa.string())),
        "box": (pa.list_(pa.float16(), 4), pa.list_(pa.float32())),
        "half": (pa.float16(), pa.float32()),
        "text": (pa.large_string(), pa.string()),
        "nothing": (pa.null(), pa.string()),
        "day": (pa.date32(), pa.timestamp("s")),
        "size": (pa.struct({"w": pa.float16()}), pa.struct({"w": pa.float32()})),
        "price": (pa.decimal128(9, 2), pa.decimal128(9, 2)),
        "time": (pa.timestamp("us", "UTC"), pa.timestamp("us", "UTC")),
    }
    converted = cudf.cudf_schema(pa.schema([(name, dtype) for name, (dtype, _) in own.items()]))
    assert converted == pa.schema([(name, dtype) for name, (_, dtype) in own.items()])
    box = pa.array([np.full(4, 1, np.float16), None, np.full(4, 2, np.float16)], own["box"][0])
    table = pa.table({"category": pa.array(["a", None, "a"], tags), "box": box})
    held = table.cast(cudf.cudf_schema(table.schema))
    assert held.to_pylist() == [{"category": c, "box": b} for c, b in (("a", [1] * 4), (None, None), ("a", [2] * 4))]
    for dtype in (pa.binary(), pa.map_(pa.string(), pa.string()), pa.time32("s"), pa.timestamp("s", "+01:00")):
        with pytest.raises(ColumnError, match=r"that cuDF has a type for, got .* in 'x': leave it out"):
            cudf.cudf_schema(pa.schema([("x", dtype)]))


def test_partitions_hold_no_more_floats_than_a_cudf_column(tmp_path):
    for groups, expected in (([3, 3, 3], [(0, 6), (6, 9)]), ([5, 5], [(0, 5), (5, 10)]), ([9, 1], [(0, 9), (9, 10)])):
        assert combine_row_groups(groups, None, 7) == expected
    rows = 2_796_203
    nothing = pa.ListArray.from_arrays(pa.array(np.zeros(rows + 1, np.int32)), pa.array([], pa.float32()))
    pq.write_table(pa.table({"image_embedding": nothing}), tmp_path / "0.parquet", row_group_size=rows)
    with (
        dask.config.set({"dataframe.backend": "cudf"}),
        pytest.raises(InputError, match=r"at most 2,796,202 rows in .*0\.parquet for cuDF.* got one of 2,796,203"),
    ):
        read_and_score(tmp_path)


@pytest.fixture
def pandas_as_cudf(monkeypatch):
    backends.use_pandas_as_cudf(monkeypatch)
    with dask.config.set({"dataframe.backend": "cudf"}):
        yield


def test_partitions_and_errors_are_those_of_the_cpu(parquet, vectors, pandas_as_cudf):
    names = ["key", "url"]
    with dask.config.set({"dataframe.backend": "pandas"}):
        expected = read_and_score(parquet, names, rows_per_partition=20).compute()
    scored = read_and_score(parquet, names, rows_per_partition=20)
    assert scored.columns.tolist() == expected.columns.tolist()
    pd.testing.assert_frame_equal(scored.compute(), expected)
    pd.testing.assert_frame_equal(scored[["keep", "url"]].compute(), expected[["keep", "url"]])
    rows = [*vectors[:20], None, *vectors[21:30]]
    table = pa.table({"key": ["k"] * 30, "image_embedding": columns.array(rows, "list")})
    pq.write_table(table, parquet / "9.parquet", row_group_size=8)
    scored = read_and_score(parquet, ["key"], on_invalid="raise", rows_per_partition=10)
    with pytest.raises(InvalidEmbeddingError) as caught:
        scored.compute()
    assert (caught.value.partition, caught.value.row, caught.value.reason) == ("9.parquet", 20, "missing")


def test_a_network_is_in_the_graph_once(shared, parquet, pandas_as_cudf):
    relu = str(shared / "weights" / RELU)
    scored = read_and_score(parquet, predictor=relu, threshold=5.0, rows_per_partition=8)
    assert scored.npartitions > 10
    assert len(pickle.dumps(scored.optimize().__dask_graph__())) < 2 * 4_000_000  # The weights are 3.7 MB.


def test_embeddings_are_read_beside_the_other_columns(parquet, monkeypatch, pandas_as_cudf):
    both, read, read_embeddings = Barrier(2), ParquetShard.read, cudf.read_embeddings
    stand_in = read_embeddings(parquet_shard(parquet))

    def read_beside(self, schema):
        both.wait(10)
        return read(self, schema)

    def read_embeddings_beside(shard):
        both.wait(10)
        return stand_in

    monkeypatch.setattr(ParquetShard, "read", read_beside)
    monkeypatch.setattr(cudf, "read_embeddings", read_embeddings_beside)
    scored = read_and_score(parquet / "0.parquet", ["key"], rows_per_partition=None)
    assert len(scored.compute(scheduler="sync")) == len(stand_in)


def parquet_shard(folder):
    (shard,) = row_group_shards(local_file(str(folder / "0.parquet")), None, "image_embedding")
    return shard


@pytest.mark.rapids
@pytest.mark.skipif(find_spec("cudf") is None, reason="needs RAPIDS")
def test_cudf_has_the_functions_that_reading_needs():
    code = """
import inspect, cudf
options = dict(columns=["a"], row_groups=[[0]], storage_options={}, use_pandas_metadata=False)
inspect.signature(cudf.read_parquet).bind("s3://b/0.parquet", **options)
assert options.keys() <= inspect.signature(cudf.read_parquet).parameters.keys()  # It ignores unknown ones.
inspect.signature(cudf.DataFrame.from_arrow).bind(None)
inspect.signature(cudf.Series.from_arrow).bind(None)
assert cudf.Series.index.fset and cudf.DataFrame.index.fset
inspect.signature(cudf.RangeIndex).bind(0, 1)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=240)
    assert done.returncode == 0, done.stderr


@pytest.mark.rapids
@pytest.mark.skipif(find_spec("cudf") is None, reason="needs RAPIDS")
@pytest.mark.skipif(backends.HAS_GPU, reason="there is an NVIDIA GPU")
def test_without_a_gpu_the_error_says_where_to_run(parquet):
    with (
        dask.config.set({"dataframe.backend": "cudf"}),
        pytest.raises(ArgumentError, match=r"expected a GPU in the process that plans.*Run the program on a node with"),
    ):
        read_and_score(parquet)


@pytest.mark.gpu
@pytest.mark.skipif(not backends.HAS_GPU, reason=backends.NO_GPU)
def test_on_a_gpu_partitions_are_cudf_and_scores_are_close(parquet):
    wanted = read_and_score(parquet, "all", rows_per_partition=20).compute()
    with dask.config.set({"dataframe.backend": "cudf"}):
        scored = read_and_score(parquet, "all", rows_per_partition=20)
    assert type(scored._meta).__module__.partition(".")[0] == "cudf"
    computed = scored.compute().to_pandas()
    assert computed.columns.tolist() == wanted.columns.tolist()
    assert computed["key"].tolist() == wanted["key"].tolist()
    assert computed.index.tolist() == wanted.index.tolist()
    assert np.abs(computed["aesthetic_score"].to_numpy() - wanted["aesthetic_score"].to_numpy()).max() < 1e-5
    spoil(str(parquet), {"image_embedding", "width"})
    assert scored[["key"]].compute().to_pandas()["key"].tolist() == wanted["key"].tolist()
