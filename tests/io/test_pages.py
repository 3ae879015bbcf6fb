"""Rows scored in Parquet pages: the bits of pyarrow's way, or none; damage is never believed."""

from __future__ import annotations

import contextlib
import io
import json
import logging
import os
import subprocess
import sys
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import xxhash

from dask_aesthetic import InputError
from dask_aesthetic.io import pages as pages_module
from dask_aesthetic.io.shards import find_shards
from dask_aesthetic.io.storage import local_file
from dask_aesthetic.kernels import RowScorer
from dask_aesthetic.predictors import passes
from dask_aesthetic.readers import read_and_score
from dask_aesthetic.score_spec import ScoreSpec
from dask_aesthetic.scoring import score_array
from dask_aesthetic.shard_scores import row_scores, score_batches
from helpers import page_files
from helpers.commands import printed, run
from helpers.page_files import CODECS, COLUMN, by_pyarrow, in_place, random_options, random_rows, table, written

WIDTH = 24
HEADS = page_files.heads(WIDTH)
SPEC = ScoreSpec.of(COLUMN, "laion-v2", "standard", "raw", "aesthetic_score", "keep", "null", None)
pytestmark = pytest.mark.usefixtures("in_pages")


@pytest.fixture
def random() -> np.random.Generator:
    return np.random.default_rng(5)


def assert_in_place(content: bytes, heads=HEADS) -> None:
    """Assert that every row group is scored in place, with the bits of pyarrow's way."""
    found = in_place(content, heads)
    assert found
    for group, scores in enumerate(found):
        assert scores is not None, f"row group {group} is declined"
        assert scores == by_pyarrow(content, heads, group)


# What is scored in place


@pytest.mark.parametrize("size", [2, 4, 8])
@pytest.mark.parametrize("version", ["1.0", "2.0"])
@pytest.mark.parametrize("codec", CODECS)
def test_every_codec_page_version_and_value_type(random, codec, version, size):
    rows = random_rows(random, 200, WIDTH, size)
    for more in ({"use_dictionary": False}, {"dictionary_pagesize_limit": 1 << 10, "write_batch_size": 64}, {}):
        options = {"compression": codec, "data_page_version": version, "data_page_size": 1 << 11, **more}
        assert_in_place(written(table(rows), row_group_size=90, **options))


@pytest.mark.parametrize("kind", ["list", "large_list", "fixed_size_list"])
@pytest.mark.parametrize("nullable", [True, False])
@pytest.mark.parametrize("store_schema", [True, False])
def test_every_kind_of_list(random, kind, nullable, store_schema):
    content = table(random_rows(random, 50, WIDTH), kind, nullable)
    assert_in_place(written(content, store_schema=store_schema))
    required = pa.schema([content.schema.field(0), content.schema.field(1).with_nullable(False)])
    assert_in_place(written(content.cast(required), store_schema=store_schema))


@pytest.mark.parametrize("size", [2, 4, 8])
@pytest.mark.parametrize("codec", ["none", "zstd"])
def test_byte_stream_split(random, codec, size):
    options = {"use_dictionary": False, "column_encoding": {COLUMN: "BYTE_STREAM_SPLIT"}, "compression": codec}
    if size == 2 and int(pa.__version__.split(".")[0]) < 18:
        pytest.skip("pyarrow writes no such float16")
    assert_in_place(written(table(random_rows(random, 3000, WIDTH, size)), data_page_size=1 << 14, **options))


@pytest.mark.parametrize("width", [1, 2, 7, 8, 9, 32, 33, 768])
@pytest.mark.parametrize("version", ["1.0", "2.0"])
def test_every_width_with_one_row_to_all_rows_a_page(random, width, version):
    rows = random_rows(random, 40, width)
    for codec in ("none", "snappy"):
        for options in ({"write_batch_size": 1}, {"write_batch_size": 7}, {"use_dictionary": False}):
            content = written(table(rows), compression=codec, data_page_version=version, data_page_size=1, **options)
            assert_in_place(content, page_files.heads(width))


@pytest.mark.parametrize("distinct", [1, 2, 3, 17, 300, 5000])
def test_dictionaries_of_every_index_width(random, distinct):
    for size in (2, 4, 8):
        for version in ("1.0", "2.0"):
            rows = random_rows(random, 400, WIDTH, size, distinct)
            assert_in_place(written(table(rows), data_page_version=version, data_page_size=1 << 10))


def test_a_dictionary_that_overflows_within_a_chunk(random):
    content = written(table(random_rows(random, 600, WIDTH)), dictionary_pagesize_limit=1 << 12, write_batch_size=24)
    encodings = pq.read_metadata(pa.BufferReader(content)).row_group(0).column(1).encodings
    assert {"PLAIN", "RLE_DICTIONARY"} <= set(encodings)
    assert_in_place(content)


@pytest.mark.parametrize("codec", ["none", "snappy"])
def test_pages_larger_than_a_buffer_and_many_pages_in_one(random, codec, monkeypatch):
    rows = random_rows(random, 9000, WIDTH)
    whole = [written(table(rows), compression=codec, data_page_size=1 << size) for size in (10, 16, 26)]
    whole.append(written(table(rows.astype(np.float16)), compression=codec, data_page_size=1 << 26))
    for block, scratch in ((pages_module.BLOCK, pages_module.SCRATCH), (1 << 12, 1 << 12), (1 << 16, 1 << 14)):
        monkeypatch.setattr(pages_module, "BLOCK", block)
        monkeypatch.setattr(pages_module, "SCRATCH", scratch)
        monkeypatch.setattr(pages_module, "_memory", pages_module._Memory())
        for content in whole:
            assert_in_place(content)


def test_several_heads_and_float64(random):
    content = written(table(random_rows(random, 300, WIDTH)), row_group_size=100)
    for count in (0, 1, 3, 11):
        for dtype in (np.float32, np.float64):
            assert_in_place(content, page_files.heads(WIDTH, count, dtype))


def test_a_page_index_statistics_and_bloom_filters_are_no_hindrance(random):
    rows = random_rows(random, 300, WIDTH)
    for options in ({"write_page_index": True}, {"write_statistics": False}, {"write_page_checksum": True}):
        assert_in_place(written(table(rows), data_page_size=1 << 10, row_group_size=70, **options))


@pytest.mark.parametrize("version", ["v1", "v2"])
@pytest.mark.parametrize("codec", ["uncompressed", "snappy", "zstd", "lz4_raw", "gzip", "brotli"])
def test_files_of_duckdb(random, tmp_path, codec, version):
    duckdb = pytest.importorskip("duckdb", reason="duckdb writes files of its own kind, and is not installed")
    count = 1000 if codec == "brotli" else 5000
    for name, kind, size in (("list", "float[]", 4), ("double", "double[]", 8)):
        rows, few = (table(random_rows(random, count, WIDTH, size, distinct)) for distinct in (0, 9))
        for at, content in enumerate((rows, few)):
            with duckdb.connect() as connection:
                connection.register("content", content)
                file = tmp_path / f"{name}{at}.parquet"
                connection.execute(
                    f"copy (select key, {COLUMN}::{kind} as {COLUMN} from content) to '{file}' "  # noqa: S608
                    f"(format parquet, codec {codec}, parquet_version {version}, row_group_size 2048)"
                )
            assert_in_place(file.read_bytes())


def test_writer_options_and_rows_that_are_drawn(random):
    in_place_groups = 0
    for _ in range(150):
        size = int(random.choice([2, 4, 8]))
        width = int(random.choice([1, 3, 8, 24, 100]))
        rows = random_rows(random, int(random.integers(1, 150)), width, size, int(random.choice([0, 0, 2, 40])))
        options = random_options(random)
        if size == 2 and int(pa.__version__.split(".")[0]) < 18:
            options.pop("column_encoding", None)
        content = written(table(rows, str(random.choice(["list", "large_list", "fixed_size_list"]))), **options)
        assert_in_place(content, page_files.heads(width))
        in_place_groups += 1
    assert in_place_groups == 150


# What is left to pyarrow


@pytest.mark.parametrize("version", ["1.0", "2.0"])
@pytest.mark.parametrize("codec", ["none", "snappy"])
@pytest.mark.parametrize("bad", [None, [], [0.5] * (WIDTH - 1), [0.5] * (WIDTH + 1), [0.5] * 2 * WIDTH, "null"])
def test_a_row_that_is_not_of_the_width_leaves_its_row_group_to_pyarrow(random, bad, codec, version):
    for at in (0, 5, 29):
        rows = [*random_rows(random, 60, WIDTH).tolist()]
        rows[at] = [None, *rows[at][1:]] if bad == "null" else bad
        for dictionary in (True, False):
            content = written(
                table(rows), row_group_size=30, compression=codec, data_page_version=version, use_dictionary=dictionary
            )
            first, second = in_place(content, HEADS)
            assert first is None
            assert second == by_pyarrow(content, HEADS, 1)


def test_rows_that_are_too_short_and_too_long_in_turn_are_no_rows_of_the_width(random):
    flat = random_rows(random, 2, WIDTH).ravel().tolist()
    content = written(table([flat[: WIDTH - 3], flat[WIDTH - 3 :]]))
    assert in_place(content, HEADS) == [None]


def test_other_columns_are_left_to_pyarrow(random):
    rows = random_rows(random, 20, WIDTH)
    for column in (
        pa.array(rows[:, 0]),
        pa.array(list(rows.astype(np.int32))),
        pa.array([[row] for row in rows.tolist()]),
        pa.array([{"a": row} for row in rows.tolist()]),
        pa.array([[{"a": value} for value in row] for row in rows.tolist()]),
        pa.array([row.tobytes() for row in rows], pa.binary(4 * WIDTH)),
    ):
        content = written(pa.table({"key": range(20), COLUMN: column}))
        assert in_place(content, HEADS) == [None]
    content = written(table(rows, "fixed_size_list"))
    assert in_place(content, page_files.heads(WIDTH - 1)) == [None]
    assert in_place(content, HEADS, "elsewhere") == [None]


def test_columns_with_dots_in_their_names_are_not_mistaken(random):
    one, two = random_rows(random, 20, WIDTH), random_rows(random, 20, WIDTH)
    content = written(pa.table({"e": list(one), "e.list.element": list(two), "e.b": list(two)}))
    for column in ("e", "e.b", "e.list.element"):
        (found,) = in_place(content, HEADS, column)
        assert found is None or found == by_pyarrow(content, HEADS, 0, column)


def test_files_without_rows(random):
    assert in_place(written(table(random_rows(random, 5, WIDTH)).slice(0, 0)), HEADS) in ([], [None])


@pytest.mark.parametrize("codec", ["none", "snappy"])
def test_a_page_that_does_not_match_its_checksum_is_named(random, codec, tmp_path):
    options = {"compression": codec, "use_dictionary": False, "write_page_checksum": True}
    content = bytearray(written(table(random_rows(random, 90, WIDTH)), row_group_size=30, **options))
    chunk = pq.read_metadata(pa.BufferReader(bytes(content))).row_group(1).column(1)
    content[chunk.data_page_offset + chunk.total_compressed_size // 2] ^= 1
    with pytest.raises(InputError, match=rf"page 0 of column '{COLUMN}' in row group 1 of .* to match its checksum"):
        in_place(bytes(content), HEADS)
    # pyarrow's way, which says so too, is that of a row group that begins before the shard.
    (tmp_path / "a.parquet").write_bytes(content)
    (shard,) = find_shards(tmp_path)
    with pytest.raises(InputError, match=r"got .*a\.parquet: .*could not verify page integrity"):
        list(replace(shard, start=31, rows=59).batches([]))


@pytest.mark.parametrize("codec", ["none", "snappy"])
@pytest.mark.parametrize("size", [1 << 10, 1 << 16, 1 << 20, 3 << 21])
def test_digests_of_the_chunks_that_are_read_are_those_of_their_bytes(random, codec, size):
    width = 768
    rows = random_rows(random, 4000, width, distinct=0 if size % 3 else 40)
    options = {"compression": codec, "data_page_size": size, "write_batch_size": 64, "row_group_size": 3000}
    content = written(table(rows), **options)
    digests: dict[tuple[int, int], str] = {}
    pages = pages_module.Pages(io.BytesIO(content), len(content), COLUMN, width, digests=digests)
    for group in range(2):
        found = pages.map_rows(group, partial(RowScorer, heads=page_files.heads(width)))
        assert len(found.norms) == (3000, 1000)[group]
    assert len(digests) == 2
    for (begin, length), digest in digests.items():
        assert digest == xxhash.xxh3_128_hexdigest(content[begin : begin + length])


def test_pages_that_decompress_to_less_than_they_say_are_not_believed(random):
    rows = random_rows(random, 30, WIDTH).tobytes()
    for codec, opened in (
        ("snappy", pages_module._snappy),
        ("zstd", pages_module._zstd),
        ("lz4_raw", pages_module._lz4),
        ("gzip", pages_module._gzip),
        ("brotli", pages_module._brotli),
    ):
        for plain in (rows, bytes(9000), rows + bytes(500), b"a"):
            page = memoryview(pa.Codec(codec).compress(plain, asbytes=True))
            assert bytes(opened(page, len(plain))) == plain
            for size in (len(plain) + 1, len(plain) + 4096, max(len(plain) - 1, 1)):
                if size != len(plain):
                    with contextlib.suppress(OSError, pa.ArrowException):
                        assert opened(page, size) is None or len(opened(page, size)) != size


def test_damaged_files_give_no_score_that_pyarrow_does_not_give():
    """In a process of its own: damage could end it."""
    run = subprocess.run(
        [sys.executable, "-m", "helpers.fuzz_pages", "1500"],
        cwd=Path(__file__).parents[1],
        env={**os.environ, "FUZZ_UNCHECKED": "1", "PYTHONPATH": os.pathsep.join(sys.path)},
        capture_output=True,
        text=True,
        timeout=200,
    )
    assert run.returncode == 0, run.stdout + run.stderr


# Who scores in place


@pytest.fixture
def folder(tmp_path, vectors) -> Path:
    """Two files of three row groups; a row group of each has rows that pyarrow reads."""
    rows = [*vectors[:240].astype(np.float64)]
    rows[100], rows[210] = np.zeros(768), rows[210] * 1e-30
    rows[130] = None
    for name, part in (("a", rows[:150]), ("b", rows[150:])):
        content = table([row if row is None else row.tolist() for row in part], size=4)
        (tmp_path / f"{name}.parquet").write_bytes(written(content, row_group_size=60))
    return tmp_path


def test_read_and_score_and_jobs_score_as_pyarrow_reads_and_say_how(folder, caplog):
    caplog.set_level(logging.DEBUG, "dask_aesthetic.shard_scores")
    want, status = zip(*(_by_pyarrow(file) for file in sorted(folder.glob("*.parquet"))), strict=True)
    scored = read_and_score(folder, ["key"]).compute(scheduler="sync")
    assert scored["aesthetic_score"].to_numpy().tobytes() == b"".join(want)
    ways = [message.rpartition(": ")[2] for message in sorted(caplog.messages)]
    assert ways == ["1 of 3 row groups scored in place", "1 of 2 row groups scored in place"]
    for shard, scores, statuses in zip(find_shards(folder), want, status, strict=True):
        batches = list(score_batches(shard, ["key"], SPEC))
        assert [len(one.passthrough) for one in batches] == [one.scores.shape[1] for one in batches]
        assert b"".join(one.scores.tobytes() for one in batches) == scores
        assert b"".join(one.status.tobytes() for one in batches) == statuses
        keys = pa.Table.from_batches([one.passthrough for one in batches])["key"].to_pylist()
        assert keys == [f"k{at}" for at in range(shard.rows)]
        in_place = sum(one.in_place for one in batches)
        assert 0 < in_place < shard.rows
        assert [one.num_columns for one, *_ in score_batches(shard, [], SPEC)] == [0] * len(batches)


def test_the_commands_tell_how_much_is_scored_in_place(folder, tmp_path_factory):
    output = tmp_path_factory.mktemp("scores")
    checked = run("check", folder / "a.parquet").out
    assert "2 of 3 row groups of the first Parquet file can be scored where they lie" in checked
    scored = printed("score", folder, output)
    assert "in place  120 rows scored where they lie in Parquet pages" in scored
    assert json.loads(printed("score", folder, output, "--json"))["in_place"] == 0  # All is done.


def _by_pyarrow(file: Path) -> tuple[bytes, bytes]:
    lists = pq.read_table(file)[COLUMN].combine_chunks()
    scores, status = score_array(lists, SPEC, COLUMN, file.name, 0)
    return scores.tobytes(), status.tobytes()


def test_row_ranges_that_begin_within_a_row_group_are_scored_too(folder):
    file = folder / "b.parquet"
    (whole,) = find_shards(file)
    want = np.frombuffer(_by_pyarrow(file)[0], np.float32)
    for start, stop in ((0, 90), (60, 90), (0, 60), (3, 90), (5, 70), (61, 62)):
        shard = replace(whole, start=start, rows=stop - start)
        parts = [scores for scores, _, _ in row_scores(shard, SPEC, "b")]
        assert np.concatenate(parts, axis=1).tobytes() == want[start:stop].tobytes()


def test_a_predictor_that_does_not_fold_reads_by_pyarrow(folder, monkeypatch):
    monkeypatch.setattr(pages_module.Pages, "map_rows", None)
    without_heads = [replace(one, heads=None) for one in passes(SPEC.predictors)]
    monkeypatch.setattr("dask_aesthetic.shard_scores.passes", lambda _: without_heads)
    file = folder / "a.parquet"
    parts = [scores for scores, _, _ in row_scores(find_shards(file)[0], SPEC, "a")]
    assert np.concatenate(parts, axis=1).tobytes() == _by_pyarrow(file)[0]


def test_without_numba_pyarrow_reads(folder, monkeypatch):
    monkeypatch.setattr(pages_module, "get_parquet_pages", lambda: None)
    file = folder / "a.parquet"
    with pages_module.open_pages(local_file(str(file)), COLUMN, 768, 10) as pages:
        assert pages is None


def test_few_rows_are_not_worth_a_compilation(folder, interpreter, tmp_path):
    """With an empty cache pyarrow reads, until there are many; then one thread compiles."""
    done = interpreter.run(
        """
import sys
from dask_aesthetic import read_and_score
from dask_aesthetic.io import pages
from dask_aesthetic.kernels import get_parquet_pages

scores = read_and_score(sys.argv[1], ["key"]).compute(scheduler="threads")["aesthetic_score"]
assert not get_parquet_pages().run.is_ready
assert pages._warmup._rows == len(scores) == 240
pages.COLD_ROWS = 1000
assert [pages._warmup.is_over(400) for _ in range(4)] == [False, True, False, False]
print(scores.to_numpy().tobytes().hex())
""",
        str(folder),
        env={**os.environ, "NUMBA_CACHE_DIR": str(tmp_path / "empty")},
    )
    assert done.returncode == 0, done.stderr
    want = b"".join(_by_pyarrow(file)[0] for file in sorted(folder.glob("*.parquet")))
    assert bytes.fromhex(done.stdout) == want
