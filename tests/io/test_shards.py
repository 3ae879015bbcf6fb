"""Embeddings of every layout as shards: the same rows and scores, however split; errors for files that do not fit."""

from __future__ import annotations

import pickle
from pathlib import Path

import fsspec
import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from dask_aesthetic import ArgumentError, ColumnError, InputError
from dask_aesthetic.io.shards import find_shards
from dask_aesthetic.io.storage import File
from dask_aesthetic.readers import read_and_score, read_clip_retrieval, read_datacomp, read_npy
from dask_aesthetic.score_spec import ScoreSpec
from dask_aesthetic.scoring import score_array
from helpers import columns
from helpers.laziness import no_compute
from helpers.parquet_files import spoil

SPEC = ScoreSpec.of("image_embedding", "laion-v2", "standard", "raw", "aesthetic_score", "keep", "null", None)
PARQUET = [*columns.ARROW]
MATRICES = ["clip-retrieval", "datacomp", "datacomp_compressed", "npy"]
DTYPES = ["float16", "float32"]


def keys(count: int, first: int = 0) -> pa.Table:
    names = [f"k{at}" for at in range(first, first + count)]
    return pa.table({"key": names, "url": names, "at": pa.array(range(count), pa.int16())})


def write(folder: Path, rows: np.ndarray, layout: str, dtype: str = "float32", parts: int = 2, group: int = 40) -> None:
    """Write rows in a layout, or in Parquet with a kind of list column, into `parts` files."""
    at = 0
    for number, part in enumerate(np.array_split(rows.astype(dtype), parts)):
        table, at = keys(len(part), at), at + len(part)
        if layout in PARQUET:
            table = table.append_column("image_embedding", columns.array(part, layout, dtype))
            pq.write_table(table, folder / f"{number}.parquet", row_group_size=group)
        elif layout == "npy":
            np.save(folder / f"{number}.npy", part)
        elif layout == "clip-retrieval":
            (folder / "img_emb").mkdir(exist_ok=True)
            (folder / "metadata").mkdir(exist_ok=True)
            np.save(folder / f"img_emb/img_emb_{number}.npy", part)
            pq.write_table(table, folder / f"metadata/metadata_{number}.parquet", row_group_size=group)
        else:
            save = np.savez_compressed if layout.endswith("compressed") else np.savez
            save(folder / f"{number}.npz", b32_img=part[:, :512], l14_img=part)
            pq.write_table(table, folder / f"{number}.parquet", row_group_size=group)


def read(shards, names=("key",)) -> tuple[pd.DataFrame, bytes]:
    """Passthrough columns and the bytes of the scores of all shards, concatenated."""
    tables, scores = [], []
    for shard in shards:
        rows = 0
        for passthrough, lists in shard.batches(list(names)):
            assert passthrough.schema.names == list(names)
            assert len(passthrough) == len(lists) <= 1024
            tables.append(passthrough)
            scores.append(score_array(lists, SPEC, "image_embedding", shard.name, rows)[0])
            rows += len(lists)
        assert rows == shard.rows
    frame = pa.Table.from_batches(tables).to_pandas() if tables else pd.DataFrame()
    return frame, b"".join(part.tobytes() for part in scores)


def wanted(rows: np.ndarray, dtype: str = "float32") -> bytes:
    """Bytes of the scores of the rows in memory."""
    return columns.frame(rows, "list", dtype).aesthetic.score()["aesthetic_score"].to_numpy().tobytes()


# Every layout


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("layout", [*PARQUET, *MATRICES])
@pytest.mark.parametrize("most", [1_000_000, 100])
def test_real_embeddings_have_the_same_score_bytes_in_every_layout(tmp_path, verite, layout, dtype, most):
    write(tmp_path, verite, layout, dtype)
    shards = find_shards(tmp_path, rows_per_shard=most)
    passthrough, scores = read(shards, ["row"] if layout == "npy" else ["url", "key"])
    assert scores == wanted(verite, dtype)
    assert sum(shard.rows for shard in shards) == len(verite) == 509
    assert len({shard.name for shard in shards}) == len(shards)
    if layout != "npy":
        assert passthrough["key"].tolist() == passthrough["url"].tolist() == keys(509)["key"].to_pylist()
    assert len(shards) == (2 if "compressed" in layout or most > 509 else 6)


@pytest.mark.parametrize("layout", ["list", *MATRICES])
def test_a_layout_can_be_named(tmp_path, vectors, layout):
    write(tmp_path, vectors, layout)
    named = {"list": "parquet", "datacomp_compressed": "datacomp"}.get(layout, layout)
    assert find_shards(tmp_path, format=named) == find_shards(tmp_path)


@pytest.mark.parametrize("layout", ["list", *MATRICES])
def test_shards_pickle_small_and_read_the_same_on_a_cluster(tmp_path, vectors, cluster, layout):
    write(tmp_path, vectors, layout)
    shards = find_shards(tmp_path, rows_per_shard=80)
    assert all(len(pickle.dumps(shard)) < 4000 for shard in shards)
    got = cluster.gather(cluster.map(_read_on_worker, shards, pure=False))
    assert b"".join(got) == b"".join(_read_on_worker(shard) for shard in shards)
    assert len(b"".join(got)) == vectors.nbytes


def _read_on_worker(shard) -> bytes:
    parts = [lists.flatten().to_numpy() for _, lists in shard.batches([])]
    return np.concatenate(parts).tobytes()


def test_attributes_of_a_shard(tmp_path, vectors):
    write(tmp_path, vectors, "clip-retrieval", "float16")
    first, second = find_shards(tmp_path)
    assert (first.name, first.rows, first.width) == ("metadata/metadata_0", 150, 768)
    assert [file.name for file in first.files] == ["img_emb_0.npy", "metadata_0.parquet"]
    assert first.schema == pa.schema({"key": pa.string(), "url": pa.string(), "at": pa.int16()})
    assert second.start == 0
    (tmp_path / "p").mkdir()
    for layout, width in (("list", None), ("large_list", None), ("fixed_size_list", 768)):
        write(tmp_path / "p", vectors, layout)
        first, second = find_shards(tmp_path / "p")
        assert (first.name, first.width, first.schema.names) == ("0", width, ["key", "url", "at"])
        assert [file.path for file in second.files] == [str(tmp_path / "p/1.parquet")]


def test_matrices_without_metadata_have_shard_and_row_columns(tmp_path, vectors):
    (tmp_path / "sub").mkdir()
    np.save(tmp_path / "a.npy", vectors[:5])
    np.save(tmp_path / "sub/a.npy", vectors[5:9])
    passthrough, _ = read(find_shards(tmp_path, rows_per_shard=2), ["row", "shard"])
    assert passthrough["shard"].tolist() == ["a"] * 5 + ["sub/a"] * 4
    assert passthrough["row"].tolist() == [0, 1, 2, 3, 4, 0, 1, 2, 3]
    assert read_npy(tmp_path)[["shard", "row"]].compute()["shard"].tolist() == passthrough["shard"].tolist()


def test_local_matrices_are_memory_mapped(tmp_path, vectors):
    np.save(tmp_path / "a.npy", vectors)
    (shard,) = find_shards(tmp_path)
    _, lists = next(iter(shard.batches([])))
    with open("/proc/self/maps") as maps:
        mapped = [line.split()[0].split("-") for line in maps if line.rstrip().endswith("a.npy")]
    address = lists.flatten().buffers()[1].address
    assert any(int(start, 16) <= address < int(stop, 16) for start, stop in mapped)


# Splitting


@pytest.mark.parametrize(
    ("groups", "most", "sizes"),
    [
        ([10] * 9, 30, [30, 30, 30]),
        ([10] * 10, 30, [20, 30, 20, 30]),  # Parts of 25, split at the nearest row groups.
        ([100], 30, [100]),
        ([5, 100, 5], 30, [5, 100, 5]),
        ([10] * 9, 90, [90]),
        ([10] * 9, 1, [10] * 9),
    ],
)
def test_large_files_are_split_between_row_groups(tmp_path, vectors, groups, most, sizes):
    rows = vectors[: sum(groups)]
    table = keys(len(rows)).append_column("image_embedding", columns.array(rows, "list"))
    with pq.ParquetWriter(tmp_path / "a.parquet", table.schema) as writer:
        at = 0
        for group in groups:
            writer.write_table(table.slice(at, group))
            at += group
    shards = find_shards(tmp_path, rows_per_shard=most)
    assert sorted(shard.rows for shard in shards) == sorted(sizes)
    assert read(shards)[0]["key"].tolist() == table["key"].to_pylist()
    assert read(shards)[1] == wanted(rows)
    count = len(sizes)
    assert [shard.name for shard in shards] == (
        ["a"] if count == 1 else [f"a.{at:05d}-of-{count:05d}" for at in range(count)]
    )


def test_rows_per_shard_is_checked(tmp_path):
    for rows in (0, -1, 2.5, True):
        with pytest.raises(ArgumentError, match="rows_per_shard"):
            find_shards(tmp_path, rows_per_shard=rows)


def test_a_part_may_not_have_the_name_of_a_file(tmp_path, vectors):
    write(tmp_path, vectors, "list", parts=1)
    (tmp_path / "0.parquet").rename(tmp_path / "a.parquet")
    pq.write_table(pq.read_table(tmp_path / "a.parquet").slice(0, 5), tmp_path / "a.00000-of-00002.parquet")
    with pytest.raises(InputError, match=r"two shards 'a\.00000-of-00002'"):
        find_shards(tmp_path, rows_per_shard=150)


# Content


def damage(file: Path, column: str, group: int = 0) -> None:
    """Change one byte inside a column chunk."""
    groups = pq.read_metadata(file).row_group(group)
    (chunk,) = (
        groups.column(at)
        for at in range(groups.num_columns)
        if groups.column(at).path_in_schema.split(".")[0] == column
    )
    flip(file, chunk.data_page_offset + chunk.total_compressed_size // 4)


def flip(file: Path, at: int) -> None:
    with file.open("r+b") as raw:
        raw.seek(at)
        byte = raw.read(1)[0]
        raw.seek(at)
        raw.write(bytes([byte ^ 0x55]))


def test_a_digest_of_parquet_covers_the_columns_that_are_read_and_nothing_else(tmp_path, vectors):
    write(tmp_path, vectors, "list", parts=1)
    file = tmp_path / "0.parquet"

    def digests(names=("key",)) -> list[str]:
        return [shard.digest(list(names)) for shard in find_shards(tmp_path, rows_per_shard=150)]

    before = digests()
    assert len(set(before)) == 2
    assert digests() == before
    assert digests(["key", "url"]) != before
    damage(file, "url", 0)
    damage(file, "at", 5)
    assert digests() == before
    damage(file, "key", 0)
    first, second = digests()
    assert first != before[0]
    assert second == before[1]
    damage(file, "image_embedding", 7)
    assert digests()[0] == first
    assert digests()[1] != second
    flip(file, file.stat().st_size - 12)  # In the footer's created_by.
    assert digests()[0] != first


@pytest.mark.parametrize("layout", MATRICES)
def test_a_digest_of_a_matrix_covers_the_shards_own_rows(tmp_path, vectors, layout):
    write(tmp_path, vectors, layout, parts=1)
    names = [] if layout == "npy" else ["key"]

    def digests() -> list[str]:
        return [shard.digest(names) for shard in find_shards(tmp_path, rows_per_shard=150)]

    before = digests()
    matrix, tables = (sorted(tmp_path.rglob(kind)) for kind in ("*.np[yz]", "*.parquet"))
    flip(matrix[0], matrix[0].stat().st_size // 2 + 400_000)  # Row 280 or so; in an archive the second matrix.
    after = digests()
    assert after[-1] != before[-1]
    assert after[:-1] == before[:-1]
    if tables:
        damage(tables[0], "url", 7)
        assert digests() == after
        damage(tables[0], "key", 7)
        assert digests()[-1] != after[-1]
        assert digests()[:-1] == after[:-1]


def test_another_matrix_of_an_npz_file_may_change(tmp_path, vectors):
    write(tmp_path, vectors, "datacomp", parts=1)
    (before,) = (shard.digest([]) for shard in find_shards(tmp_path))
    flip(tmp_path / "0.npz", 10_000)  # b32_img is first.
    assert [shard.digest([]) for shard in find_shards(tmp_path)] == [before]
    assert [shard.digest([]) for shard in find_shards(tmp_path, key="b32_img")] != [before]


# Hive partitions


@pytest.fixture
def hive(tmp_path, vectors):
    for at, folder in enumerate(
        ["lang=en/year=2022", "lang=fr/year=2023", "lang=a%20b/year=__HIVE_DEFAULT_PARTITION__"]
    ):
        (tmp_path / folder).mkdir(parents=True)
        part = vectors[at * 100 : at * 100 + 100]
        table = keys(100, at * 100).append_column("image_embedding", columns.array(part, "list"))
        pq.write_table(table, tmp_path / folder / "part-0.parquet", row_group_size=50)
    return tmp_path


def test_hive_folders_make_columns(hive, vectors):
    shards = find_shards(hive)
    assert [shard.name for shard in shards] == [
        "lang=a%20b/year=__HIVE_DEFAULT_PARTITION__/part-0",
        "lang=en/year=2022/part-0",
        "lang=fr/year=2023/part-0",
    ]
    assert all(shard.schema.names == ["key", "url", "at", "lang", "year"] for shard in shards)
    assert all(shard.partitions == ("lang", "year") for shard in shards)
    assert shards[0].schema.field("lang").type == pa.dictionary(pa.int32(), pa.string())
    passthrough, _ = read(shards, ["year", "key", "lang"])
    assert passthrough["lang"].tolist() == ["a b"] * 100 + ["en"] * 100 + ["fr"] * 100
    assert passthrough["year"].isna().tolist() == [True] * 100 + [False] * 200
    assert set(passthrough["year"][100:].unique()) == {"2022", "2023"}
    assert read(shards, ["key"])[0]["key"].tolist() == passthrough["key"].tolist()
    assert shards[1].digest(["lang"]) != shards[1].digest([])


def test_hive_columns_pass_through_read_and_score(hive, vectors):
    scored = read_and_score(hive, ["lang", "key"], rows_per_partition=50)
    assert scored.columns.tolist() == ["lang", "key", "aesthetic_score", "keep"]
    computed = scored.compute()
    pd.testing.assert_series_equal(computed.dtypes, scored.dtypes)
    assert computed["lang"].dtype == pd.ArrowDtype(pa.string())
    by_key = computed.set_index("key")
    assert by_key.loc["k0", "lang"] == "en"
    assert by_key.loc["k299", "lang"] == "a b"
    in_order = by_key.loc[[f"k{at}" for at in range(300)], "aesthetic_score"]
    assert in_order.to_numpy().tobytes() == wanted(vectors)
    assert read_and_score(hive, "all").columns.tolist()[:5] == ["key", "url", "at", "lang", "year"]
    assert read_and_score(hive).columns.tolist() == ["key", "url", "aesthetic_score", "keep"]
    assert len(read_and_score(hive, ["lang"])[["lang"]].compute()) == 300
    languages = scored[scored["lang"] == "fr"]["key"].compute()
    assert languages.tolist() == [f"k{at}" for at in range(100, 200)]
    with pytest.raises(ColumnError, match=r"'month'.*lang, year"):
        read_and_score(hive, ["month"])


def test_a_column_of_the_file_takes_precedence_over_its_folder(tmp_path, vectors):
    (tmp_path / "key=folder").mkdir()
    write(tmp_path / "key=folder", vectors, "list")
    passthrough, _ = read(find_shards(tmp_path))
    assert passthrough["key"].tolist() == keys(300)["key"].to_pylist()
    assert find_shards(tmp_path)[0].partitions == ()


def test_lists_globs_and_single_files(hive):
    some = [hive / "lang=en/year=2022/part-0.parquet"]
    assert [shard.name for shard in find_shards(some)] == ["part-0"]
    assert [shard.name for shard in find_shards(f"{hive}/lang=*/year=202*")] == [
        "lang=en/year=2022/part-0",
        "lang=fr/year=2023/part-0",
    ]
    scored = read_and_score([hive / "lang=en", f"{hive}/lang=fr/*"], ["key", "year"]).compute()
    assert scored["year"].tolist() == ["2022"] * 100 + ["2023"] * 100
    assert scored["key"].tolist() == [f"k{at}" for at in range(200)]


# Errors


def test_every_damaged_file_is_named_at_once(tmp_path, vectors):
    write(tmp_path, vectors, "list", parts=5)
    data = (tmp_path / "1.parquet").read_bytes()
    (tmp_path / "1.parquet").write_bytes(data[: len(data) // 2])
    (tmp_path / "3.parquet").write_bytes(b"")
    (tmp_path / "x.parquet").write_text("key,url\n")
    with pytest.raises(InputError) as error:
        find_shards(tmp_path)
    lines = str(error.value).splitlines()
    assert lines[0] == "expected 6 valid inputs, got 3 that cannot be read:"
    assert [line.split(": ")[0].split("/")[-1] for line in lines[1:]] == ["1.parquet", "3.parquet", "x.parquet"]
    assert "magic bytes not found" in lines[1]
    assert "0 bytes" in lines[2]
    for number in range(20):
        (tmp_path / f"bad{number}.parquet").write_bytes(b"")
    with pytest.raises(InputError, match="got 23 that cannot be read") as error:
        find_shards(tmp_path)
    assert str(error.value).endswith("and 13 more")
    assert len(str(error.value).splitlines()) == 12


@pytest.mark.parametrize("layout", ["clip-retrieval", "datacomp"])
def test_every_pair_of_different_lengths_is_named_with_both(tmp_path, vectors, layout):
    write(tmp_path, vectors, layout, parts=3)
    for number in (0, 2):
        table = next(tmp_path.rglob(f"*{number}.parquet"))
        pq.write_table(pq.read_table(table).slice(0, 90 + number), table)
    with pytest.raises(InputError) as error:
        find_shards(tmp_path)
    assert "got 90 in" in str(error.value)
    assert "got 92 in" in str(error.value)
    assert str(error.value).count("and 100 in") == 2


def test_damage_inside_a_file_is_found_when_it_is_read(tmp_path, vectors):
    write(tmp_path, vectors, "list")
    shards = find_shards(tmp_path)
    spoil(str(tmp_path), {"image_embedding"})
    with pytest.raises(InputError, match=r"expected a whole Parquet file, got .*0\.parquet"):
        read(shards)


@pytest.mark.parametrize("layout", ["list", "clip-retrieval", "npy"])
def test_files_that_change_after_they_were_found_are_refused(tmp_path, vectors, layout):
    write(tmp_path, vectors, layout)
    shards = find_shards(tmp_path)
    write(tmp_path, vectors[:200], layout)
    with pytest.raises(InputError, match=r"expected (.* bytes|150 x 768 float32) in .* as when found, got"):
        read(shards, [])
    if layout == "list":
        write(tmp_path, vectors, layout)
        renamed = pq.read_table(tmp_path / "0.parquet").rename_columns(["key", "url", "at", "another_vectors"])
        pq.write_table(renamed, tmp_path / "0.parquet", row_group_size=40)  # Of the same size.
        with pytest.raises(InputError, match="got other columns: start again"):
            read(shards)


def test_files_without_rows_are_shards_without_rows(tmp_path, vectors):
    for layout in (*PARQUET, *MATRICES):
        folder = tmp_path / layout
        folder.mkdir()
        write(folder, vectors[:1], layout)  # One file has the row, the other none.
        shards = find_shards(folder)
        assert [shard.rows for shard in shards] == [1, 0]
        assert read(shards, [])[1] == wanted(vectors[:1])
        assert len(shards[1].digest([])) == 32
        assert list(shards[1].batches([])) == []


def test_missing_files_and_layouts_are_refused(tmp_path):
    with pytest.raises(InputError, match=r"in '.*', got none: choose with format= \(--format\) one of parquet"):
        find_shards(tmp_path)
    with pytest.raises(InputError, match="does not exist"):
        find_shards(tmp_path / "nowhere")
    with pytest.raises(InputError, match=r"expected Parquet files .* got none"):
        find_shards(tmp_path, format="parquet")
    with pytest.raises(ArgumentError, match="expected format to be one of 'auto'"):
        find_shards(tmp_path, format="csv")
    (tmp_path / "a.tar").write_bytes(b"")
    (tmp_path / "b.tar").write_bytes(b"")
    (tmp_path / "c").write_bytes(b"")
    with pytest.raises(InputError, match=r"got 2 \.tar, 1 without suffix: choose with format= "):
        find_shards(tmp_path)


def test_a_folder_of_mixed_layouts_needs_a_format(tmp_path, vectors):
    write(tmp_path, vectors, "list")
    np.save(tmp_path / "z.npy", vectors)
    with pytest.raises(InputError, match=r"got 2 \.parquet, 1 \.npy: choose with format= "):
        find_shards(tmp_path)
    assert [shard.name for shard in find_shards(tmp_path, format="parquet")] == ["0", "1"]
    assert [shard.name for shard in find_shards(tmp_path, format="npy")] == ["z"]


def test_other_files_are_ignored(tmp_path, vectors):
    write(tmp_path, vectors, "clip-retrieval")
    (tmp_path / "text_emb").mkdir()
    np.save(tmp_path / "text_emb/text_emb_0.npy", vectors)
    (tmp_path / "stats.json").write_text("{}")
    assert sum(shard.rows for shard in find_shards(tmp_path)) == 300


def test_the_embedding_column_is_checked_in_every_file(tmp_path, vectors):
    write(tmp_path, vectors, "list")
    with pytest.raises(ColumnError, match=r"column 'clip'.*Columns that would do: 'image_embedding' \(in .*0\.parquet"):
        find_shards(tmp_path, embedding_column="clip")
    pq.write_table(keys(3).append_column("image_embedding", pa.array(["a"] * 3)), tmp_path / "1.parquet")
    with pytest.raises(ColumnError, match=r"column 'image_embedding', got string.*\(in .*1\.parquet\)"):
        find_shards(tmp_path)


def test_layouts_of_pairs_need_a_folder(tmp_path, vectors):
    write(tmp_path, vectors, "datacomp")
    with pytest.raises(InputError, match=r"expected a folder, got '.*0\.npz', which is a file or a glob"):
        find_shards(tmp_path / "0.npz", format="datacomp")
    with pytest.raises(InputError, match="expected a folder, got 2 of them"):
        find_shards([tmp_path, tmp_path], format="clip-retrieval")


def test_metadata_without_embeddings_is_refused(shared):
    for source in ("data/img2dataset", "data/laion2b_korean_limit_10000.parquet"):
        with pytest.raises(ColumnError, match="expected an embedding column 'image_embedding'"):
            find_shards(shared / source)


def test_real_clip_retrieval_output_is_detected_by_its_folders(shared):
    (shard,) = find_shards(shared / "data/clip_retrieval_b32")
    ((passthrough, lists),) = shard.batches(["image_path"])
    frame = read_clip_retrieval(shared / "data/clip_retrieval_b32").compute()
    assert (shard.width, shard.rows, shard.name) == (512, 9, "metadata/metadata_0")
    assert passthrough["image_path"].to_pylist() == frame["image_path"].tolist()
    assert lists.to_pylist() == [list(row) for row in frame["image_embedding"]]


# Remote files


@pytest.fixture(params=["memory", "s3"])
def remote(request, tmp_path):
    """Function that uploads a folder, and returns its URL and storage options."""
    if request.param == "s3":
        s3 = request.getfixturevalue("s3")

        def put(folder):
            s3.put(folder)
            return s3.url, s3.options
    else:

        def put(folder):
            url = f"memory://{folder.name}"
            fsspec.filesystem("memory").put(f"{folder}/", url, recursive=True)
            return url, None

    return put


@pytest.mark.parametrize("layout", ["list", *MATRICES])
def test_remote_shards_equal_local_ones(tmp_path, vectors, remote, layout):
    write(tmp_path, vectors, layout, "float16", group=60)
    url, options = remote(tmp_path)
    local = find_shards(tmp_path, rows_per_shard=80)
    remote_shards = find_shards(url, rows_per_shard=80, storage_options=options)
    names = ["row"] if layout == "npy" else ["at", "key"]
    assert [(shard.name, shard.rows, shard.schema) for shard in remote_shards] == [
        (shard.name, shard.rows, shard.schema) for shard in local
    ]
    assert [shard.digest(names) for shard in remote_shards] == [shard.digest(names) for shard in local]
    got, scores = read(remote_shards, names)
    pd.testing.assert_frame_equal(got, read(local, names)[0])
    assert scores == wanted(vectors, "float16")
    assert all(file.path.startswith(url) for shard in remote_shards for file in shard.files)


def test_remote_matrices_in_fortran_order_and_of_many_requests(tmp_path, vectors, remote, monkeypatch):
    monkeypatch.setattr("dask_aesthetic.io.read_ahead.PIECE", 768 * 4 * 7)  # Seven rows.
    np.save(tmp_path / "f.npy", np.asfortranarray(vectors))
    np.save(tmp_path / "c.npy", vectors)
    url, options = remote(tmp_path)
    shards = find_shards(url, rows_per_shard=100, storage_options=options)
    assert [shard.rows for shard in shards] == [100, 100, 100, 300]
    assert read(shards, [])[1] == wanted(vectors) * 2
    metadata = tmp_path / "pair"
    metadata.mkdir()
    write(metadata, vectors, "clip-retrieval", group=33, parts=1)
    url, options = remote(metadata)
    passthrough, scores = read(find_shards(url, storage_options=options, format="clip-retrieval"))
    assert scores == wanted(vectors)
    assert passthrough["key"].tolist() == keys(300)["key"].to_pylist()


def test_remote_frames_equal_local_ones(tmp_path, vectors, s3, cluster):
    readers = {
        "list": read_and_score,
        "clip-retrieval": read_clip_retrieval,
        "datacomp": read_datacomp,
        "npy": read_npy,
    }
    for layout in readers:
        folder = tmp_path / layout
        folder.mkdir()
        write(folder, vectors, layout, group=150)
    s3.put(tmp_path)
    for layout, reader in readers.items():
        with no_compute():
            lazy = reader(f"{s3.url}/{layout}", rows_per_partition=100, storage_options=s3.options)
        scored = lazy if layout == "list" else lazy.aesthetic.score()
        for scheduler in ("threads", cluster) if layout in ("list", "clip-retrieval") else ("threads",):
            computed = scored.compute(scheduler=scheduler)
            assert computed["aesthetic_score"].to_numpy().tobytes() == wanted(vectors)
    paths = [f"{s3.url}/list/{number}.parquet" for number in (1, 0)]
    for source in (paths, f"{s3.url}/list/*.parquet"):
        computed = read_and_score(source, storage_options=s3.options).compute()
        assert computed["key"].tolist() == keys(300)["key"].to_pylist()


def test_unused_columns_are_not_fetched(tmp_path, vectors, s3):
    write(tmp_path, vectors, "list")
    spoil(str(tmp_path), {"image_embedding", "url"})
    s3.put(tmp_path)
    scored = read_and_score(s3.url, ["key", "url"], storage_options=s3.options)
    assert scored[["key"]].compute()["key"].tolist() == keys(300)["key"].to_pylist()
    with pytest.raises(InputError, match=r"expected a whole Parquet file, got s3://b.*/\d\.parquet"):
        scored[["keep"]].compute()


def test_damaged_remote_files_are_named(tmp_path, vectors, remote):
    write(tmp_path, vectors, "list", parts=3)
    (tmp_path / "0.parquet").write_bytes(b"")
    (tmp_path / "2.parquet").write_bytes((tmp_path / "2.parquet").read_bytes()[:-100])
    url, options = remote(tmp_path)
    with pytest.raises(InputError, match=rf"(?s)got 2 that cannot.*{url}/0\.parquet: .*{url}/2\.parquet: .*magic"):
        find_shards(url, storage_options=options)


@pytest.mark.parametrize("in_memory", [False, True])
def test_pages_alone_hold_the_same_rows(tmp_path, vectors, in_memory):
    write(tmp_path, vectors, "list")
    source = str(tmp_path)
    if in_memory:
        source = f"memory://{tmp_path.name}"
        fsspec.filesystem("memory").put(str(tmp_path), source, recursive=True)
    shards = find_shards(source)
    read = [
        [pa.concat_arrays([lists for _, lists in shard.batches([], paged)]) for shard in shards]
        for paged in (False, True)
    ]
    assert sum(map(len, read[0])) == len(vectors)
    assert read[0] == read[1]


def test_the_first_rows_alone_do_not_fetch_their_row_group(tmp_path, monkeypatch):
    rows = np.ones((8_000, 768), np.float32)  # 25 MB in one row group.
    table = pa.table({"image_embedding": columns.array(rows, "list")})
    pq.write_table(table, tmp_path / "a.parquet", use_dictionary=False, compression="NONE")
    fsspec.filesystem("memory").put(str(tmp_path / "a.parquet"), "memory://first/a.parquet")
    (shard,) = find_shards("memory://first")
    fetched = []
    read = File.read
    monkeypatch.setattr(File, "read", lambda file, begin, length: fetched.append(length) or read(file, begin, length))
    _, lists = next(iter(shard.batches([], paged=True)))
    assert len(lists)
    assert sum(fetched) < 10e6
