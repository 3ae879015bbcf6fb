"""Partitions and shards of many files, hive folders and ranges of rows: the scores of pyarrow's way, in place."""

from __future__ import annotations

import dataclasses
import logging
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from dask_aesthetic.io.shards import find_shards
from dask_aesthetic.predictors import AffinePredictor, PredictorInfo
from dask_aesthetic.readers import read_and_score
from dask_aesthetic.score_spec import ScoreSpec
from dask_aesthetic.scoring import score_array
from dask_aesthetic.shard_scores import score_batches
from helpers.page_files import COLUMN, random_rows, table

pytestmark = pytest.mark.usefixtures("in_pages")

WIDTH = 8
PREDICTOR = AffinePredictor(np.linspace(-1, 1, WIDTH), 5.0, PredictorInfo(name="short", width=WIDTH))
SPEC = ScoreSpec.of(COLUMN, PREDICTOR, 5.0, "raw", "aesthetic_score", "keep", "null", None)
FILES = {  # Rows of each row group; those of 33 have rows that pyarrow has to read.
    "lang=en/year=2022/a": [40, 33, 60, 1, 33],
    "lang=en/year=2022/b": [1100],
    "lang=fr/year=2022/a": [33, 50, 50],
    "lang=fr/year=__HIVE_DEFAULT_PARTITION__/a": [20, 20, 20, 20],
}
TOTAL = sum(map(sum, FILES.values()))


@pytest.fixture
def folder(tmp_path) -> Path:
    random = np.random.default_rng(3)
    for number, (name, groups) in enumerate(FILES.items()):
        file = tmp_path / f"{name}.parquet"
        file.parent.mkdir(parents=True, exist_ok=True)
        options = {"compression": "none"} if number % 2 else {"data_page_size": 1 << 9, "write_batch_size": 8}
        lists = table(random_rows(random, 1, WIDTH)).schema
        with pq.ParquetWriter(file, lists, **options) as writer:
            for group in groups:
                rows = random_rows(random, group, WIDTH).tolist()
                if group == 33:
                    rows[5], rows[6], rows[20] = None, [], rows[20][1:]
                writer.write_table(table(rows))
    return tmp_path


@pytest.fixture
def wanted(folder) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """Scores and statuses of each file by pyarrow."""
    found = {name: score_array(_lists(folder / f"{name}.parquet"), SPEC, COLUMN, name, 0) for name in FILES}
    return {name: (scores, status) for name, ((scores,), status) in found.items()}


def _lists(file: Path) -> pa.Array:
    with pq.ParquetFile(file) as source:
        return source.read([COLUMN])[COLUMN].combine_chunks()


# The partitions' row groups of the files, in their order.
@pytest.mark.parametrize(
    ("rows", "partitions"),
    [
        (1, [(1, 1), (0, 1), (1, 1), (1, 1), (0, 1), (1, 1), (0, 1), (1, 1), (1, 1), *[(1, 1)] * 4]),
        (45, [(1, 2), (1, 1), (1, 2), (1, 1), (1, 2), (1, 1), (3, 3), (1, 1)]),
        (100, [(2, 3), (1, 2), (1, 1), (2, 3), (4, 4)]),
        (None, [(3, 5), (1, 1), (2, 3), (4, 4)]),
    ],
)
def test_partitions_of_row_groups(folder, wanted, caplog, rows, partitions):
    caplog.set_level(logging.DEBUG, "dask_aesthetic.shard_scores")
    scored = read_and_score(
        folder, ["key", "lang", "year"], predictor=PREDICTOR, threshold=5.0, rows_per_partition=rows
    )
    assert scored.npartitions == len(partitions)
    found = scored.compute(scheduler="sync")
    ways = [message.rpartition(": ")[2] for message in caplog.messages if "scored in place" in message]
    assert sorted(ways) == sorted(f"{some} of {every} row groups scored in place" for some, every in partitions)
    assert found["aesthetic_score"].to_numpy().tobytes() == b"".join(one.tobytes() for one, _ in wanted.values())
    assert found["key"].tolist() == [f"k{at}" for groups in FILES.values() for group in groups for at in range(group)]
    assert found["lang"].tolist() == [name[5:7] for name, groups in FILES.items() for _ in range(sum(groups))]
    assert found["year"].isna().tolist() == [at >= TOTAL - 80 for at in range(TOTAL)]
    assert found["keep"].tolist() == (found["aesthetic_score"] >= 5.0).tolist()
    last = scored.partitions[len(partitions) - 1].compute(scheduler="sync")
    pd.testing.assert_frame_equal(last, found.iloc[-len(last) :])


@pytest.mark.parametrize("rows", [1, 45, 100, 1_000_000])
@pytest.mark.parametrize("columns", [[], ["key"], ["year", "key", "lang"]])
def test_shards_of_row_groups(folder, wanted, rows, columns):
    shards = find_shards(folder, rows_per_shard=rows)
    assert len(shards) == {1: 13, 45: 10, 100: 6, 1_000_000: 4}[rows]
    for name, groups in FILES.items():
        parts = [shard for shard in shards if shard.name.startswith(name)]
        assert sum(shard.rows for shard in parts) == sum(groups)
        tables, scores, statuses, _ = zip(
            *(one for part in parts for one in score_batches(part, columns, SPEC)), strict=True
        )
        assert np.concatenate(scores, axis=1).tobytes() == wanted[name][0].tobytes()
        assert np.concatenate(statuses).tobytes() == wanted[name][1].tobytes()
        for passthrough in tables:
            assert passthrough.schema.names == columns
        if "key" in columns:
            keys = [key for passthrough in tables for key in passthrough["key"].to_pylist()]
            assert keys == [f"k{at}" for group in groups for at in range(group)]
        if "lang" in columns:
            assert {lang for passthrough in tables for lang in passthrough["lang"].to_pylist()} == {name[5:7]}


def test_shards_that_begin_and_end_within_row_groups(folder, wanted):
    for shard in find_shards(folder):
        scores, statuses = wanted[shard.name]
        keys = pq.ParquetFile(shard.file.path).read(["key"])["key"].to_pylist()
        edges = [0, 1, 19, 33, 39, 40, 41, 73, 80, 83, 133, 134, 150, shard.rows - 1, shard.rows]
        edges = sorted({edge for edge in edges if edge <= shard.rows})
        for start in edges:
            for stop in (edge for edge in edges if edge > start):
                part = dataclasses.replace(shard, start=start, rows=stop - start)
                batches = list(score_batches(part, ["key"], SPEC))
                assert b"".join(one.scores.tobytes() for one in batches) == scores[start:stop].tobytes()
                assert b"".join(one.status.tobytes() for one in batches) == statuses[start:stop].tobytes()
                assert [key for one in batches for key in one.passthrough["key"].to_pylist()] == keys[start:stop]
