"""Packed rows scored in Parquet pages: the bits of pyarrow's way, or none."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from dask_aesthetic import read_and_score, score_dataset
from dask_aesthetic.io.pages import count_supported
from dask_aesthetic.io.shards import find_shards
from dask_aesthetic.io.storage import local_file
from dask_aesthetic.score_spec import ScoreSpec
from dask_aesthetic.shard_scores import row_scores
from helpers import page_files
from helpers.page_files import CODECS, COLUMN, by_pyarrow, in_place, packed_table, random_rows, written

WIDTH = 24
HEADS = page_files.heads(WIDTH)
pytestmark = pytest.mark.usefixtures("in_pages")


@pytest.fixture
def random() -> np.random.Generator:
    return np.random.default_rng(5)


def assert_in_place(content: bytes, dtype: str, heads=HEADS) -> None:
    """Assert that every row group is scored in place, with the bits of pyarrow's way."""
    found = in_place(content, heads, embedding_dtype=dtype)
    assert found
    for group, scores in enumerate(found):
        assert scores is not None, f"row group {group} is declined"
        assert scores == by_pyarrow(content, heads, group, embedding_dtype=dtype)


@pytest.mark.parametrize("size", [2, 4, 8])
@pytest.mark.parametrize("version", ["1.0", "2.0"])
@pytest.mark.parametrize("codec", CODECS)
@pytest.mark.parametrize("nullable", [True, False])
def test_every_codec_page_version_and_value_type(random, codec, version, size, nullable):
    content = packed_table(random_rows(random, 200, WIDTH, size), nullable)
    options = {"compression": codec, "data_page_version": version, "data_page_size": 1 << 11, "row_group_size": 90}
    for more in ({}, {"write_page_checksum": True}, {"write_batch_size": 7}, {"store_schema": False}):
        assert_in_place(written(content, use_dictionary=False, **options, **more), f"float{8 * size}")


@pytest.mark.parametrize("width", [1, 2, 33, 768])
def test_every_width(random, width):
    heads = page_files.heads(width)
    for size in (1, 1 << 20):
        content = written(packed_table(random_rows(random, 40, width)), use_dictionary=False, data_page_size=size)
        assert_in_place(content, "float32", heads)


@pytest.mark.parametrize("size", [2, 4, 8])
@pytest.mark.parametrize("version", ["1.0", "2.0"])
@pytest.mark.parametrize("distinct", [1, 2, 3, 17, 300])
def test_dictionaries_of_rows(random, distinct, version, size):
    rows = random_rows(random, distinct, WIDTH, size)[random.integers(0, distinct, 700)]
    for more in ({}, {"compression": "none"}, {"dictionary_pagesize_limit": 1 << 10}, {"write_page_checksum": True}):
        content = written(packed_table(rows), data_page_version=version, data_page_size=100, row_group_size=300, **more)
        assert "RLE_DICTIONARY" in pq.read_metadata(pa.BufferReader(content)).row_group(0).column(1).encodings
        assert_in_place(content, f"float{8 * size}")


def test_what_cannot_be_scored_in_place_is_declined(random):
    rows = random_rows(random, 60, WIDTH)
    with_null = packed_table([*rows[:5], None, *rows[5:]], width=WIDTH)
    plain = written(packed_table(rows), use_dictionary=False)
    assert in_place(written(with_null, use_dictionary=False), HEADS, embedding_dtype="float32") == [None]
    for dtype in ("float16", "float64", "bfloat16", "uint8-128", None):
        assert in_place(plain, HEADS, embedding_dtype=dtype) == [None]
    assert in_place(plain, page_files.heads(WIDTH + 1), embedding_dtype="float32") == [None]
    variable = pa.table({COLUMN: pa.array([row.tobytes() for row in rows])})
    assert in_place(written(variable), HEADS, embedding_dtype="float32") == [None]


def test_changed_bytes_are_found_by_checksums_and_truncated_pages_are_declined(random):
    content = bytearray(written(packed_table(random_rows(random, 60, WIDTH)), use_dictionary=False, compression="none"))
    chunk = pq.read_metadata(pa.BufferReader(bytes(content))).row_group(0).column(1)
    at = content.index(b"k59") + 3
    damaged = content[:at] + b"\0" + content[at:]  # All pages behind lie one byte further than the footer says.
    assert in_place(bytes(damaged), HEADS, embedding_dtype="float32") in ([None], [])
    assert chunk.total_compressed_size > 60 * WIDTH * 4


def test_readers_and_jobs_score_packed_row_groups_in_place_but_those_with_nulls(tmp_path, vectors):
    rows = [*vectors[:200], None, *vectors[200:]]
    table = packed_table(rows, width=768)
    pq.write_table(table, tmp_path / "0.parquet", row_group_size=50, use_dictionary=False)
    assert count_supported(local_file(str(tmp_path / "0.parquet")), COLUMN, 768, "float32") == (7, 7)
    spec = ScoreSpec.of(COLUMN, "laion-v2", None, "raw", None, "keep", "null", None, embedding_dtype="float32")
    (shard,) = find_shards(tmp_path / "0.parquet", embedding_dtype="float32")
    found = list(row_scores(shard, spec, "a"))
    assert [len(status) for _, status, lists in found if lists is None] == [50, 50, 50, 50, 50, 1]
    summary = score_dataset(tmp_path / "0.parquet", tmp_path / "out", embedding_dtype="float32")
    assert (summary.in_place, summary.failed) == (251, {"missing": 1})
    lists = pa.table(
        {
            "key": table["key"],
            COLUMN: pa.array([None if r is None else r.tolist() for r in rows], pa.list_(pa.float32())),
        }
    )
    pq.write_table(lists, tmp_path / "lists.parquet")
    wanted = read_and_score(tmp_path / "lists.parquet").compute()["aesthetic_score"]
    np.testing.assert_array_equal(pq.read_table(tmp_path / "out").to_pandas()["aesthetic_score"], wanted)
    np.testing.assert_array_equal(np.concatenate([scores[0] for scores, _, _ in found]), wanted)
