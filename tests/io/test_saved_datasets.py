"""Folders as Dataset.save_to_disk leaves them: what is read, what is refused, and damage, which is never believed."""

from __future__ import annotations

import json
import struct
from functools import partial
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from dask_aesthetic import (
    AestheticError,
    ColumnError,
    InputError,
    read_and_score,
    read_hf_dataset,
    read_scores,
    score_dataset,
)
from dask_aesthetic.io.arrow_streams import open_stream
from dask_aesthetic.io.shards import find_shards
from dask_aesthetic.io.storage import local_file
from helpers import sources


@pytest.fixture
def folder(tmp_path, vectors) -> Path:
    sources.write_saved(tmp_path / "in", sources.lists(vectors[:60], "fixed"), batch=10)
    return tmp_path / "in"


def scores(source, **options) -> list[float]:
    return read_and_score(source, **options)["aesthetic_score"].compute().tolist()


def change_state(folder: Path, **entries: object) -> None:
    state = json.loads((folder / "state.json").read_text())
    (folder / "state.json").write_text(json.dumps({**state, **entries}))


def test_files_are_those_of_the_state_in_its_order(folder, recwarn):
    whole = scores(folder)
    (folder / "cache-0123456789abcdef.arrow").write_bytes(b"of a map")
    assert scores(folder) == whole
    assert not recwarn
    state = json.loads((folder / "state.json").read_text())
    change_state(folder, _data_files=state["_data_files"][::-1])
    assert scores(folder) == whole[30:] + whole[:30]
    change_state(folder, _data_files=state["_data_files"][:1])
    with pytest.warns(match=r"not read: 1 file \('data-00001-of-00002.arrow'\)"):
        assert scores(folder) == whole[:30]


def test_batches_are_found_without_reading_and_make_shards(folder):
    file = local_file(str(folder / "data-00000-of-00002.arrow"))
    found = open_stream(file)
    assert found.groups == [10, 10, 10]
    with pa.memory_map(file.path) as source:  # The library's own positions.
        reader = pa.ipc.MessageReader.open_stream(source)
        reader.read_next_message()
        ends = [source.tell()]
        for _ in range(3):
            reader.read_next_message()
            ends.append(source.tell())
    assert found.begin == ends[0]
    assert [size for size, _ in found.batches] == np.diff(ends).tolist()
    shards = find_shards(folder, rows_per_shard=20)
    assert [(shard.name, shard.start, shard.rows) for shard in shards[:2]] == [
        ("data-00000-of-00002.00000-of-00002", 0, 10),
        ("data-00000-of-00002.00001-of-00002", 10, 20),
    ]
    parts = [value for shard in shards[:2] for _, lists in shard.batches([]) for value in lists.flatten().to_pylist()]
    (first, _) = find_shards(folder)
    whole = first.read(pa.schema([(first.column, first.type)])).column(0).combine_chunks()
    assert parts == whole.flatten().to_pylist()


def test_embeddings_of_frames_stay_in_the_mapped_file(folder):
    column = read_hf_dataset(folder).get_partition(0)["image_embedding"].compute(scheduler="sync")
    chunk = pa.array(column.array).chunk(0)
    address = chunk.values.buffers()[1].address
    maps = Path("/proc/self/maps").read_text().splitlines()
    ranges = [line.split()[0].split("-") for line in maps if line.endswith("data-00000-of-00002.arrow")]
    assert any(int(start, 16) <= address < int(stop, 16) for start, stop in ranges)


def test_columns_pass_through_and_wrong_ones_are_refused(folder, tmp_path):
    frame = read_hf_dataset(folder, columns=["key"], rows_per_partition=10)
    assert frame.npartitions == 6
    assert frame["key"].compute().tolist() == [f"k{at}" for at in range(60)]
    with pytest.raises(ColumnError, match="'clip'"):
        read_hf_dataset(folder, embedding_column="clip")
    with pytest.raises(ColumnError, match=r"expected a list of floats per row .* in column 'key', got string"):
        read_hf_dataset(folder, embedding_column="key")
    with pytest.raises(ColumnError, match="column 'url' to pass through"):
        score_dataset(folder, tmp_path / "out", columns=["url"])


def test_splits_and_several_data_sets_are_refused_by_name(tmp_path, vectors):
    (tmp_path / "in").mkdir()
    for split in ("train", "test"):
        sources.write_saved(tmp_path / "in" / split, sources.lists(vectors[:8]))
    for kind in ("data sets", "splits"):
        message = rf"expected one data set, got a folder with the {kind} test, train: name one, as .*in/test"
        with pytest.raises(InputError, match=message):
            scores(tmp_path / "in")
        (tmp_path / "in/dataset_dict.json").write_text('{"splits": ["train", "test"]}')
    assert len(scores(tmp_path / "in/train")) == 8
    with pytest.raises(InputError, match="name the folder itself"):
        scores(tmp_path / "in/train/data-00000-of-00002.arrow", format="hf-dataset")
    with pytest.raises(InputError, match="name the folder itself"):
        scores(tmp_path / "in/train/*")
    with pytest.raises(InputError, match="name the folder itself"):
        scores([tmp_path / "in/train", tmp_path / "in/test"])


@pytest.mark.parametrize("key", ["_indices_data_files", "_indices_files"])
def test_selections_that_are_saved_as_indices_are_refused(folder, key):
    change_state(folder, **{key: []})
    assert len(scores(folder)) == 60
    change_state(folder, **{key: [{"filename": "indices.arrow"}]})
    with pytest.raises(InputError, match=rf"with {key}, which select and order them: .*flatten_indices"):
        scores(folder)


@pytest.mark.parametrize(
    "state",
    [
        "[]",
        "{",
        "{}",
        '{"_data_files": []}',
        '{"_data_files": [{}]}',
        '{"_data_files": [{"filename": 3}]}',
        '{"_data_files": [{"filename": "../../secret.arrow"}]}',
        '{"_data_files": [{"filename": "/etc/passwd"}]}',
        '{"_data_files": [{"filename": "data-00000-of-00002.arrow"}, {"filename": "data-00000-of-00002.arrow"}]}',
        "[" * 100_000,
    ],
)
def test_a_state_that_means_nothing_or_names_other_files_is_refused(folder, state):
    (folder / "state.json").write_text(state)
    with pytest.raises(InputError, match=r"state\.json"):
        scores(folder)


def test_a_missing_file_is_refused_by_name(folder):
    (folder / "data-00001-of-00002.arrow").unlink()
    with pytest.raises(InputError, match=r"none of the name 'data-00001-of-00002\.arrow': the folder is not"):
        scores(folder)


def test_truncated_and_lengthened_streams_are_refused_at_every_length(folder):
    path = folder / "data-00001-of-00002.arrow"
    content = path.read_bytes()
    batches = open_stream(local_file(str(path)))
    ends = np.cumsum([batches.begin, *(size for size, _ in batches.batches)])
    for length in {0, 1, 7, 8, 9, 100, *ends.tolist(), *(ends + 4).tolist(), *(ends + 40).tolist(), len(content) - 8}:
        path.write_bytes(content[:length] if length < len(content) - 1 else content[:-1])
        with pytest.raises(InputError, match="expected a whole Arrow stream"):
            scores(folder)
    path.write_bytes(content + content)
    with pytest.raises(InputError, match=r"bytes after its end"):
        scores(folder)


def test_compressed_batches_and_dictionaries_are_refused(folder, vectors):
    table = pa.table({"image_embedding": sources.lists(vectors[:30])})
    options = pa.ipc.IpcWriteOptions(compression="zstd")
    with pa.ipc.new_stream(folder / "data-00001-of-00002.arrow", table.schema, options=options) as stream:
        stream.write_table(table)
    with pytest.raises(InputError, match="without compression, got compressed record batches"):
        scores(folder)
    table = table.append_column("kind", pa.array(["a"] * 30).dictionary_encode())
    with pa.ipc.new_stream(folder / "data-00001-of-00002.arrow", table.schema) as stream:
        stream.write_table(table)
    with pytest.raises(InputError, match=r"columns without dictionaries in .*, got kind: cast them$"):
        scores(folder)


def test_views_are_read_as_texts_and_types_that_parquet_lacks_are_refused(folder, vectors, tmp_path):
    texts = [f"text {at}" for at in range(30)]
    dates = pa.array([pa.MonthDayNano([1, 2, 3])] * 30)
    for number in range(2):
        names = {"view": pa.array(texts, pa.string_view()), "bytes": pa.array([b"a"] * 30, pa.binary_view())}
        runs = pa.RunEndEncodedArray.from_arrays(pa.array([30], pa.int32()), pa.array(["a"]))
        held = {**names, "runs": runs, "dates": dates, "image_embedding": sources.lists(vectors[:30])}
        table = pa.table(held)
        with pa.ipc.new_stream(folder / f"data-0000{number}-of-00002.arrow", table.schema) as stream:
            stream.write_table(table, max_chunksize=10)
    found = read_and_score(folder, ["view", "bytes"], rows_per_partition=10).compute()
    assert found["view"].tolist() == read_hf_dataset(folder, columns=["view"])["view"].compute().tolist() == 2 * texts
    assert found["bytes"].tolist() == [b"a"] * 60
    score_dataset(folder, tmp_path / "out", columns=["view", "bytes"])
    assert read_scores(tmp_path / "out")["view"].compute().tolist() == 2 * texts
    for name, kind in (("runs", "run_end_encoded"), ("dates", "month_day_nano_interval")):
        message = rf"that Parquet has a type for, got {kind}.* in '{name}': leave it out by columns= \(--columns\)"
        for read in (read_and_score, read_hf_dataset, partial(score_dataset, output=tmp_path / "none")):
            with pytest.raises(ColumnError, match=message):
                read(folder, columns=[name])


def test_damaged_offsets_are_found_before_they_are_used(tmp_path, vectors):
    sources.write_saved(tmp_path / "in", sources.lists(vectors[:20]), files=1)
    path = tmp_path / "in/data-00000-of-00001.arrow"
    content = path.read_bytes()
    ends = np.arange(21, dtype=np.int32) * 768
    assert content.count(ends.tobytes()) == 1
    for wrong in (1 << 30, -768, 5):
        changed = ends.copy()
        changed[7] = wrong
        path.write_bytes(content.replace(ends.tobytes(), changed.tobytes()))
        with pytest.raises(InputError, match="expected a whole Arrow stream"):
            scores(tmp_path / "in")


def test_random_damage_is_an_error_or_leaves_the_rows_their_scores(tmp_path, vectors):
    sources.write_saved(tmp_path / "in", sources.lists(vectors[:20]), batch=7, files=1)
    path = tmp_path / "in/data-00000-of-00001.arrow"
    content, wanted = path.read_bytes(), len(scores(tmp_path / "in"))
    found = open_stream(local_file(str(path)))
    heads = [0, *np.cumsum([found.begin, *(size for size, _ in found.batches)]).tolist()]
    random, ended = np.random.default_rng(1), 0
    for _ in range(150):
        damaged = bytearray(content)
        for _ in range(random.integers(1, 4)):
            at = min(heads[random.integers(len(heads))] + int(random.integers(400)), len(content) - 1)
            damaged[at] = random.integers(256)
        path.write_bytes(damaged)
        try:
            assert len(scores(tmp_path / "in")) == wanted
        except AestheticError:
            ended += 1
    assert ended > 30


def test_a_message_that_claims_other_rows_or_bytes_is_refused(folder):
    path = folder / "data-00000-of-00002.arrow"
    content = path.read_bytes()
    for rows in (11, 9, 1 << 60):
        path.write_bytes(content.replace(struct.pack("<q", 10), struct.pack("<q", rows), 1))
        with pytest.raises(InputError, match="expected a whole Arrow stream"):
            scores(folder)


def test_a_file_that_changes_between_plan_and_read_is_refused(folder, vectors):
    frame = read_and_score(folder)
    sources.write_saved(folder, sources.lists(vectors[:50], "fixed"), batch=10)
    with pytest.raises(InputError, match="expected"):
        frame.compute(scheduler="sync")
