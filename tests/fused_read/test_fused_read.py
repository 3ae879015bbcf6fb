"""When embeddings are scored while Dask reads, what they cost, and what errors and warnings say."""

from __future__ import annotations

import pickle

import dask
import dask.dataframe as dd
import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from dask.dataframe.dask_expr import new_collection
from dask.dataframe.io.parquet.arrow import ArrowDatasetEngine

from dask_aesthetic.errors import AestheticWarning, InputError, InvalidEmbeddingError
from dask_aesthetic.fused_read import partition
from dask_aesthetic.fused_read.reader import ReadAestheticColumns
from helpers.laziness import no_compute
from helpers.parquet_files import spoil
from helpers.parquet_frames import (
    EMBEDDING,
    PREDICTOR,
    SCORE,
    WIDTH,
    assert_same,
    by_partition,
    is_scored,
    reads,
    table,
)
from helpers.predictors import RELU

SOME = ["key", "aesthetic_score", "keep"]


def frame_of(folder, **options):
    return dd.read_parquet(str(folder), **options)


def test_the_config_value_switches_it_off_before_and_after_the_call(folders):
    scored = frame_of(folders / "plain").aesthetic.score(**SCORE)
    assert is_scored(scored[SOME])
    with by_partition():
        assert not is_scored(scored[SOME])
        before = frame_of(folders / "plain").aesthetic.score(**SCORE)
    assert not is_scored(before[SOME])
    assert_same(before[SOME], scored[SOME])


def test_the_frame_shows_which_way_is_taken(folders, capsys):
    scored = frame_of(folders / "plain").aesthetic.score(**SCORE)[SOME]
    assert "AestheticColumns" in repr(scored)
    assert "read_and_score" in repr(scored.optimize())
    scored.optimize(fuse=False).pprint()
    assert "ReadAestheticColumns: read_name='image_embedding'" in capsys.readouterr().out
    with by_partition():
        assert "read_and_score" not in repr(scored.optimize())
        scored.optimize(fuse=False).pprint()
        assert "score-embeddings" in str(list(scored.optimize(fuse=False).__dask_graph__()))
        assert "_add_scores" in capsys.readouterr().out


def test_without_tuning_parts_are_not_merged(folders):
    scored = frame_of(folders / "many").aesthetic.score(**SCORE)[SOME]
    assert scored.optimize().npartitions < scored.npartitions
    lowered = new_collection(scored.expr.simplify().lower_completely())
    assert any(isinstance(node, ReadAestheticColumns) for node in lowered.expr.walk())
    assert lowered.npartitions == scored.npartitions
    with by_partition():
        expected = frame_of(folders / "many").aesthetic.score(**SCORE)[SOME]
    assert_same(expected, lowered, check_optimized=False)


def test_embeddings_are_read_as_a_column_only_if_they_are_asked_for(folders, monkeypatch):
    columns = []
    read = ArrowDatasetEngine._read_table.__func__

    def spy(cls, path, fs, row_groups, names, *args, **kwargs):
        columns.append(list(names))
        return read(cls, path, fs, row_groups, names, *args, **kwargs)

    monkeypatch.setattr(ArrowDatasetEngine, "_read_table", classmethod(spy))
    scored = frame_of(folders / "plain").aesthetic.score(**SCORE)
    scored[SOME].compute(scheduler="sync")
    assert columns == [["key"]] * 3
    columns.clear()
    scored[["key", EMBEDDING]].compute(scheduler="sync")
    assert [set(names) for names in columns] == [{"key", EMBEDDING}] * 3


def test_a_partition_takes_no_memory_for_its_embeddings(tmp_path, interpreter):
    rows = 20_000  # 59 MiB of embeddings.
    vectors = np.random.default_rng(3).standard_normal((rows, 768), dtype=np.float32)
    lists = pa.FixedSizeListArray.from_arrays(pa.array(vectors.reshape(-1)), 768).cast(pa.list_(pa.float32()))
    content = pa.table({"key": [str(at) for at in range(rows)], EMBEDDING: lists})
    for name, part in (("large", content), ("small", content[:10])):
        (tmp_path / name).mkdir()
        file = tmp_path / name / "0.parquet"
        pq.write_table(part, file, row_group_size=500, use_dictionary=False, compression="NONE")
    code = """
import sys, warnings
import dask, dask.dataframe as dd, dask_aesthetic
from pathlib import Path
warnings.simplefilter("ignore")

def peak():
    return int(next(line for line in Path("/proc/self/status").read_text().splitlines() if "VmHWM" in line).split()[1])

def rows(folder):
    scored = dd.read_parquet(f"{sys.argv[1]}/{folder}").aesthetic.score()[["key", "aesthetic_score", "keep"]]
    return len(scored.compute(scheduler="sync"))

with dask.config.set({"aesthetic.fuse-read": sys.argv[2] == "fused"}):
    assert rows("small") == 10
    before = peak()
    assert rows("large") == 20_000
print(peak() - before)
"""
    taken = {}
    for way in ("fused", "by partition"):
        done = interpreter.run(code, str(tmp_path), way)
        assert done.returncode == 0, done.stderr
        taken[way] = int(done.stdout) / 1024
    assert taken["fused"] < 59 < 2 * 59 < taken["by partition"]


def test_columns_that_are_not_asked_for_are_not_read(tmp_path):
    pq.write_table(table(40), tmp_path / "0.parquet")
    scored = frame_of(tmp_path).aesthetic.score(**SCORE)
    expected = scored[["num", "keep"]].compute()
    spoil(str(tmp_path), {"key", "url", "width", "probability"})
    found = frame_of(tmp_path).aesthetic.score(**SCORE)[["num", "keep"]]
    assert is_scored(found)
    pd.testing.assert_frame_equal(found.compute(), expected)
    spoil(str(tmp_path), {EMBEDDING})
    assert frame_of(tmp_path).aesthetic.score(**SCORE)[["num"]].compute()["num"].tolist() == expected["num"].tolist()
    with pytest.raises(InputError, match=r"0\.parquet"):
        frame_of(tmp_path).aesthetic.score(**SCORE)[["keep"]].compute()


def test_neighbors_read_their_columns_once(folders):
    frame = frame_of(folders / "plain")
    scores = frame.aesthetic.score(**SCORE)["aesthetic_score"]
    rest = frame.assign(q=scores).drop(columns=EMBEDDING)
    found = dict(reads(rest))
    assert found == {"scored": [], "plain": [name for name in frame.columns if name != EMBEDDING]}
    assert reads(frame.assign(q=scores)[["key", "q"]]) == [("fused", ["key", EMBEDDING])]  # They share a merged reader.
    assert reads(frame.assign(q=scores)) == [("plain", list(frame.columns))]


def test_a_row_that_cannot_be_scored_raises_as_in_a_frame_that_holds_it(folders):
    frame = frame_of(folders / "indexed")
    scored = frame.aesthetic.score(**SCORE, on_invalid="raise")[SOME]
    assert is_scored(scored)
    errors = []
    for is_fused in (True, False):
        with dask.config.set({"aesthetic.fuse-read": is_fused}):
            assert is_scored(scored) == is_fused
            with pytest.raises(InvalidEmbeddingError) as caught:
                scored.compute(scheduler="sync")
        error = caught.value
        errors.append((error.column, error.partition, error.row, error.label, error.reason, str(error)))
    assert errors[0] == errors[1]
    assert errors[0][:5] == (EMBEDDING, 0, 1, 4, "missing")
    usable = frame[frame["key"].isin(["k000000", "k000009"])].aesthetic.score(**SCORE, on_invalid="raise")[SOME]
    assert not is_scored(usable)  # A row that is filtered out does not end the run.
    assert len(usable.compute(scheduler="sync")) == 2


def test_rows_that_filters_leave_out_do_not_raise(folders):
    filters = [("key", "in", ["k000000", "k000009"])]
    scored = frame_of(folders / "indexed", filters=filters).aesthetic.score(**SCORE, on_invalid="raise")[SOME]
    assert is_scored(scored)
    assert len(scored.compute(scheduler="sync")) == 2


@pytest.mark.parametrize("options", [{}, {"dtype_backend": "pyarrow"}])
def test_frames_without_a_usable_row_warn_once(tmp_path, options):
    pq.write_table(table(10, dtype=pa.list_(pa.float32(), WIDTH), usable=True), tmp_path / "0.parquet")
    rows = pa.array(np.ones((10, 9), np.float32).tolist(), pa.list_(pa.float32()))
    for number in range(3):
        pq.write_table(pa.table({"key": ["k"] * 10, EMBEDDING: rows}), tmp_path / f"{number}.parquet")
    scored = frame_of(tmp_path, **options).aesthetic.score(**SCORE)
    said = r"expected 16 floats .*no usable embedding in 30 rows \(30 wrong_width\); rows hold 9 floats"
    for scheduler in ("threads", "sync"):
        with pytest.warns(AestheticWarning, match=said) as caught:
            scored[SOME].compute(scheduler=scheduler)
        assert sum(issubclass(one.category, AestheticWarning) for one in caught) == 1
    frame_of(tmp_path).aesthetic.status(predictor=PREDICTOR).compute()


def test_rows_of_nulls_have_one_status_however_they_are_read(tmp_path):
    rows = pa.array([[None] * WIDTH, [1.0] * WIDTH, [None] + [1.0] * (WIDTH - 1)], pa.list_(pa.float32()))
    pq.write_table(pa.table({"key": ["a", "b", "c"], EMBEDDING: rows}), tmp_path / "0.parquet")
    for options in ({}, {"dtype_backend": "pyarrow"}):
        for fused in (True, False):
            with dask.config.set({"aesthetic.fuse-read": fused}):
                status = frame_of(tmp_path, **options).aesthetic.status(predictor=PREDICTOR)
                assert status.compute().tolist() == ["not_finite", "ok", "not_finite"]


def test_files_that_are_rewritten_meanwhile_are_refused(tmp_path, monkeypatch):
    pq.write_table(table(40), tmp_path / "0.parquet")
    scored = frame_of(tmp_path).aesthetic.score(**SCORE)[SOME]
    score_shards = partition._score_shards

    def rewrite(*args):
        pq.write_table(table(41, 5), tmp_path / "0.parquet")
        return score_shards(*args)

    monkeypatch.setattr(partition, "_score_shards", rewrite)
    with pytest.raises(InputError, match=r"0\.parquet"):
        scored.compute(scheduler="sync")


def test_nothing_is_computed_before_it_is_asked_for(folders):
    with no_compute():
        scored = frame_of(folders / "plain").aesthetic.score(**SCORE)
        scored[SOME].optimize()
        frame_of(folders / "plain").aesthetic.status(predictor=PREDICTOR).optimize()


def test_expressions_have_steady_names_and_can_be_pickled(folders):
    frame = frame_of(folders / "many")
    scored, again = (frame.aesthetic.score(**SCORE)[SOME] for _ in range(2))
    assert scored.expr._name == again.expr._name
    assert scored.optimize().expr._name == again.optimize().expr._name
    other = frame.aesthetic.score(predictor=PREDICTOR, threshold=6.0)[SOME]
    assert other.optimize().expr._name != scored.optimize().expr._name
    for expression in (scored.expr, scored.optimize(fuse=False).expr):
        assert pickle.loads(pickle.dumps(expression))._name == expression._name


def test_scores_of_threads_and_of_a_cluster_are_the_same_bytes(folders, cluster):
    scored = frame_of(folders / "many").aesthetic.score(**SCORE)[SOME]
    expected = scored.compute(scheduler="sync")
    pd.testing.assert_frame_equal(scored.compute(scheduler="threads"), expected, check_exact=True)
    pd.testing.assert_frame_equal(scored.compute(scheduler=cluster), expected, check_exact=True)


@pytest.mark.parametrize("name", ["plain", "many", "hive"])
def test_written_files_are_the_same(folders, tmp_path, name):
    scored = frame_of(folders / name).aesthetic.score(**SCORE)[SOME]
    scored.to_parquet(tmp_path / "fused")
    with by_partition():
        scored.to_parquet(tmp_path / "plain")
    files = sorted(file.name for file in (tmp_path / "plain").iterdir())
    assert sorted(file.name for file in (tmp_path / "fused").iterdir()) == files
    for file in files:
        assert (tmp_path / "fused" / file).read_bytes() == (tmp_path / "plain" / file).read_bytes()


def test_remote_files_are_scored_while_they_are_read(folders, s3):
    s3.put(folders / "plain")
    options = {"storage_options": s3.options}
    scored = dd.read_parquet(s3.url, **options).aesthetic.score(**SCORE)[SOME]
    assert is_scored(scored)
    local = frame_of(folders / "plain").aesthetic.score(**SCORE)[SOME]
    pd.testing.assert_frame_equal(scored.compute(scheduler="sync"), local.compute(scheduler="sync"), check_exact=True)


def test_a_distribution_reads_no_embeddings_as_a_column(folders, monkeypatch):
    counted = []
    call = partition.ReadPartition.__call__
    monkeypatch.setattr(partition.ReadPartition, "__call__", lambda self, parts: counted.append(1) or call(self, parts))
    scored = frame_of(folders / "many").aesthetic.score(**SCORE)
    with dask.config.set(scheduler="sync"):
        found = scored.aesthetic.distribution()
        assert counted
        with by_partition():
            assert found == scored.aesthetic.distribution()


def test_networks_are_computed_from_partitions(shared, tmp_path):
    vectors = np.random.default_rng(3).standard_normal((10, 768)).astype(np.float32)
    pq.write_table(pa.table({"key": ["k"] * 10, EMBEDDING: list(vectors)}), tmp_path / "0.parquet")
    scored = frame_of(tmp_path).aesthetic.score(predictor=str(shared / "weights" / RELU), threshold=5.0)[SOME]
    assert not is_scored(scored)
    assert scored["aesthetic_score"].count().compute() == 10


@pytest.mark.parametrize(
    "missing", ["dataframe.io.parquet.arrow:_need_filtering", "dataframe.dask_expr.io.io:FusedIO._fusion_buckets"]
)
def test_where_dask_lacks_a_private_name_frames_are_computed_partition_by_partition(folders, interpreter, missing):
    module, names = missing.split(":")
    code = f"""
import importlib, sys
import dask.dataframe as dd
owner = importlib.import_module("dask.{module}")
*outer, name = {names!r}.split(".")
for one in outer:
    owner = getattr(owner, one)
delattr(owner, name)
import dask_aesthetic
from dask_aesthetic.fused_read.private import MISSING
frame = dd.read_parquet(sys.argv[1])
scored = frame.aesthetic.score(predictor="laion-v2")
assert "score-embeddings" in str(list(scored["keep"].__dask_graph__())), MISSING
assert len(MISSING) == 1 and name in MISSING[0]
"""
    done = interpreter.run(code, str(folders / "plain"))
    assert done.returncode == 0, done.stderr
