"""Every layout as shards: the same rows and scores in each, cut anywhere, refused where something does not fit."""

from __future__ import annotations

import pickle
import shutil
from pathlib import Path

import fsspec
import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from dask_aesthetic import ArgumentError, ColumnError, InputError
from dask_aesthetic.inputs import read_and_score, read_clip_retrieval, read_datacomp, read_frame, read_npy
from dask_aesthetic.inputs.file import File
from dask_aesthetic.inputs.shards import find_shards
from dask_aesthetic.scoring import ScoreSpec, score_array
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


def lay(folder: Path, rows: np.ndarray, form: str, dtype: str = "float32", parts: int = 2, group: int = 40) -> None:
    """Rows as one form has them on disk, in so many files."""
    at = 0
    for number, part in enumerate(np.array_split(rows.astype(dtype), parts)):
        table, at = keys(len(part), at), at + len(part)
        if form in PARQUET:
            table = table.append_column("image_embedding", columns.array(part, form, dtype))
            pq.write_table(table, folder / f"{number}.parquet", row_group_size=group)
        elif form == "npy":
            np.save(folder / f"{number}.npy", part)
        elif form == "clip-retrieval":
            (folder / "img_emb").mkdir(exist_ok=True)
            (folder / "metadata").mkdir(exist_ok=True)
            np.save(folder / f"img_emb/img_emb_{number}.npy", part)
            pq.write_table(table, folder / f"metadata/metadata_{number}.parquet", row_group_size=group)
        else:
            save = np.savez_compressed if form.endswith("compressed") else np.savez
            save(folder / f"{number}.npz", b32_img=part[:, :512], l14_img=part)
            pq.write_table(table, folder / f"{number}.parquet", row_group_size=group)


def read(shards, names=("key",)) -> tuple[pd.DataFrame, bytes]:
    """Carried columns and the bytes of the scores of all shards, one after another."""
    tables, scores = [], []
    for shard in shards:
        rows = 0
        for carried, lists in shard.batches(list(names)):
            assert carried.schema.names == list(names)
            assert len(carried) == len(lists) <= 1024
            tables.append(carried)
            scores.append(score_array(lists, SPEC, "image_embedding", shard.name, rows)[0])
            rows += len(lists)
        assert rows == shard.rows
    frame = pa.Table.from_batches(tables).to_pandas() if tables else pd.DataFrame()
    return frame, b"".join(part.tobytes() for part in scores)


def wanted(rows: np.ndarray, dtype: str = "float32") -> bytes:
    """The scores of the rows in memory."""
    return columns.frame(rows, "list", dtype).aesthetic.score()["aesthetic_score"].to_numpy().tobytes()


# Every form


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("form", [*PARQUET, *MATRICES])
@pytest.mark.parametrize("most", [1_000_000, 100])
def test_real_embeddings_score_the_same_to_the_bit_in_every_form(tmp_path, verite, form, dtype, most):
    lay(tmp_path, verite, form, dtype)
    shards = find_shards(tmp_path, rows_per_shard=most)
    carried, scores = read(shards, ["row"] if form == "npy" else ["url", "key"])
    assert scores == wanted(verite, dtype)
    assert sum(shard.rows for shard in shards) == len(verite) == 509
    assert len({shard.name for shard in shards}) == len(shards)
    if form != "npy":
        assert carried["key"].tolist() == carried["url"].tolist() == keys(509)["key"].to_pylist()
    whole = "compressed" in form or most > 509
    assert len(shards) == (2 if whole else 6)


@pytest.mark.parametrize("form", ["list", *MATRICES])
def test_a_layout_can_be_told_as_well(tmp_path, vectors, form):
    lay(tmp_path, vectors, form)
    told = {"list": "parquet", "datacomp_compressed": "datacomp"}.get(form, form)
    assert find_shards(tmp_path, format=told) == find_shards(tmp_path)


@pytest.mark.parametrize("form", ["list", *MATRICES])
def test_shards_are_small_and_read_the_same_on_a_cluster(tmp_path, vectors, cluster, form):
    lay(tmp_path, vectors, form)
    shards = find_shards(tmp_path, rows_per_shard=80)
    assert all(len(pickle.dumps(shard)) < 4000 for shard in shards)
    got = cluster.gather(cluster.map(_elsewhere, shards, pure=False))
    assert b"".join(got) == b"".join(_elsewhere(shard) for shard in shards)
    assert len(b"".join(got)) == vectors.nbytes


def _elsewhere(shard) -> bytes:
    parts = [lists.flatten().to_numpy() for _, lists in shard.batches([])]
    return np.concatenate(parts).tobytes()


def test_what_a_shard_tells(tmp_path, vectors):
    lay(tmp_path, vectors, "clip-retrieval", "float16")
    first, second = find_shards(tmp_path)
    assert (first.name, first.rows, first.width) == ("metadata/metadata_0", 150, 768)
    assert [file.name for file in first.files] == ["img_emb_0.npy", "metadata_0.parquet"]
    assert first.schema == pa.schema({"key": pa.string(), "url": pa.string(), "at": pa.int16()})
    assert second.start == 0
    (tmp_path / "p").mkdir()
    for form, width in (("list", None), ("large_list", None), ("fixed_size_list", 768)):
        lay(tmp_path / "p", vectors, form)
        first, second = find_shards(tmp_path / "p")
        assert (first.name, first.width, first.schema.names) == ("0", width, ["key", "url", "at"])
        assert [file.path for file in second.files] == [str(tmp_path / "p/1.parquet")]


def test_bare_matrices_say_where_their_rows_lie(tmp_path, vectors):
    (tmp_path / "sub").mkdir()
    np.save(tmp_path / "a.npy", vectors[:5])
    np.save(tmp_path / "sub/a.npy", vectors[5:9])
    carried, _ = read(find_shards(tmp_path, rows_per_shard=2), ["row", "shard"])
    assert carried["shard"].tolist() == ["a"] * 5 + ["sub/a"] * 4
    assert carried["row"].tolist() == [0, 1, 2, 3, 4, 0, 1, 2, 3]
    assert read_npy(tmp_path)[["shard", "row"]].compute()["shard"].tolist() == carried["shard"].tolist()


def test_stored_matrices_of_here_are_not_copied(tmp_path, vectors):
    np.save(tmp_path / "a.npy", vectors)
    (shard,) = find_shards(tmp_path)
    _, lists = next(iter(shard.batches([])))
    with open("/proc/self/maps") as maps:
        mapped = [line.split()[0].split("-") for line in maps if line.rstrip().endswith("a.npy")]
    address = lists.flatten().buffers()[1].address
    assert any(int(start, 16) <= address < int(stop, 16) for start, stop in mapped)


# Cutting


@pytest.mark.parametrize(
    ("groups", "most", "cuts"),
    [
        ([10] * 9, 30, [30, 30, 30]),
        ([10] * 10, 30, [20, 30, 20, 30]),  # Even parts of 25, at the row groups nearest to them.
        ([100], 30, [100]),
        ([5, 100, 5], 30, [5, 100, 5]),
        ([10] * 9, 90, [90]),
        ([10] * 9, 1, [10] * 9),
    ],
)
def test_large_files_are_cut_between_row_groups(tmp_path, vectors, groups, most, cuts):
    rows = vectors[: sum(groups)]
    table = keys(len(rows)).append_column("image_embedding", columns.array(rows, "list"))
    with pq.ParquetWriter(tmp_path / "a.parquet", table.schema) as writer:
        at = 0
        for group in groups:
            writer.write_table(table.slice(at, group))
            at += group
    shards = find_shards(tmp_path, rows_per_shard=most)
    assert sorted(shard.rows for shard in shards) == sorted(cuts)
    assert read(shards)[0]["key"].tolist() == table["key"].to_pylist()
    assert read(shards)[1] == wanted(rows)
    count = len(cuts)
    assert [shard.name for shard in shards] == (
        ["a"] if count == 1 else [f"a.{at:05d}-of-{count:05d}" for at in range(count)]
    )


def test_rows_per_shard_is_checked(tmp_path):
    for rows in (0, -1, 2.5, True):
        with pytest.raises(ArgumentError, match="rows_per_shard"):
            find_shards(tmp_path, rows_per_shard=rows)


def test_a_part_may_not_be_called_as_a_file(tmp_path, vectors):
    lay(tmp_path, vectors, "list", parts=1)
    (tmp_path / "0.parquet").rename(tmp_path / "a.parquet")
    pq.write_table(pq.read_table(tmp_path / "a.parquet").slice(0, 5), tmp_path / "a.00000-of-00002.parquet")
    with pytest.raises(InputError, match=r"two shards 'a\.00000-of-00002'"):
        find_shards(tmp_path, rows_per_shard=150)


# Content


def damage(file: Path, column: str, group: int = 0) -> None:
    """Change one byte in the midst of a column chunk."""
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


def test_a_digest_follows_what_is_read_of_parquet_and_nothing_else(tmp_path, vectors):
    lay(tmp_path, vectors, "list", parts=1)
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
    flip(file, file.stat().st_size - 12)  # In the footer's text of who wrote it.
    assert digests()[0] != first


@pytest.mark.parametrize("form", MATRICES)
def test_a_digest_follows_a_shards_own_rows_of_a_matrix(tmp_path, vectors, form):
    lay(tmp_path, vectors, form, parts=1)
    names = [] if form == "npy" else ["key"]

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


def test_another_matrix_of_an_archive_may_change(tmp_path, vectors):
    lay(tmp_path, vectors, "datacomp", parts=1)
    (before,) = (shard.digest([]) for shard in find_shards(tmp_path))
    flip(tmp_path / "0.npz", 10_000)  # b32_img stands first.
    assert [shard.digest([]) for shard in find_shards(tmp_path)] == [before]
    assert [shard.digest([]) for shard in find_shards(tmp_path, key="b32_img")] != [before]


# Folders with values


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


def test_folders_make_columns_that_can_be_asked_for(hive, vectors):
    shards = find_shards(hive)
    assert [shard.name for shard in shards] == [
        "lang=a%20b/year=__HIVE_DEFAULT_PARTITION__/part-0",
        "lang=en/year=2022/part-0",
        "lang=fr/year=2023/part-0",
    ]
    assert all(shard.schema.names == ["key", "url", "at", "lang", "year"] for shard in shards)
    assert all(shard.partitions == ("lang", "year") for shard in shards)
    assert shards[0].schema.field("lang").type == pa.dictionary(pa.int32(), pa.string())
    carried, _ = read(shards, ["year", "key", "lang"])
    assert carried["lang"].tolist() == ["a b"] * 100 + ["en"] * 100 + ["fr"] * 100
    assert carried["year"].isna().tolist() == [True] * 100 + [False] * 200
    assert set(carried["year"][100:].unique()) == {"2022", "2023"}
    assert read(shards, ["key"])[0]["key"].tolist() == carried["key"].tolist()
    assert shards[1].digest(["lang"]) != shards[1].digest([])


def test_folders_columns_stand_in_a_frame_of_scores(hive, vectors):
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


def test_a_column_of_the_file_counts_more_than_its_folder(tmp_path, vectors):
    (tmp_path / "key=folder").mkdir()
    lay(tmp_path / "key=folder", vectors, "list")
    carried, _ = read(find_shards(tmp_path))
    assert carried["key"].tolist() == keys(300)["key"].to_pylist()
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


# What does not fit


def test_every_damaged_file_is_named_at_once(tmp_path, vectors):
    lay(tmp_path, vectors, "list", parts=5)
    whole = (tmp_path / "1.parquet").read_bytes()
    (tmp_path / "1.parquet").write_bytes(whole[: len(whole) // 2])
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


@pytest.mark.parametrize("form", ["clip-retrieval", "datacomp"])
def test_every_pair_of_different_lengths_is_named_with_both(tmp_path, vectors, form):
    lay(tmp_path, vectors, form, parts=3)
    for number in (0, 2):
        table = next(tmp_path.rglob(f"*{number}.parquet"))
        pq.write_table(pq.read_table(table).slice(0, 90 + number), table)
    with pytest.raises(InputError) as error:
        find_shards(tmp_path)
    assert "got 90 in" in str(error.value)
    assert "got 92 in" in str(error.value)
    assert str(error.value).count("and 100 in") == 2


def test_damage_within_is_found_where_it_is_read(tmp_path, vectors):
    lay(tmp_path, vectors, "list")
    shards = find_shards(tmp_path)
    spoil(str(tmp_path), {"image_embedding"})
    with pytest.raises(InputError, match=r"expected a whole Parquet file, got .*0\.parquet"):
        read(shards)


@pytest.mark.parametrize("form", ["list", "clip-retrieval", "npy"])
def test_files_that_change_after_they_were_found_are_refused(tmp_path, vectors, form):
    lay(tmp_path, vectors, form)
    shards = find_shards(tmp_path)
    lay(tmp_path, vectors[:200], form)
    with pytest.raises(InputError, match=r"as when the (shard was found, got 100|frame was made, got 100 x 768)"):
        read(shards, [])
    if form == "list":
        pq.write_table(keys(150), tmp_path / "0.parquet")
        with pytest.raises(InputError, match="got other columns: start again"):
            read(shards)


def test_files_without_rows_are_shards_without_rows(tmp_path, vectors):
    for form in (*PARQUET, *MATRICES):
        folder = tmp_path / form
        folder.mkdir()
        lay(folder, vectors[:1], form)  # One file has the row, the other none.
        shards = find_shards(folder)
        assert [shard.rows for shard in shards] == [1, 0]
        assert read(shards, [])[1] == wanted(vectors[:1])
        assert len(shards[1].digest([])) == 32
        assert list(shards[1].batches([])) == []


def test_nothing_to_read_is_refused(tmp_path):
    with pytest.raises(InputError, match=r"in '.*', got none: choose with format= one of parquet, clip-retrieval"):
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
    with pytest.raises(InputError, match=r"got 2 \.tar, 1 without suffix: choose with format="):
        find_shards(tmp_path)


def test_a_mixed_folder_asks_which(tmp_path, vectors):
    lay(tmp_path, vectors, "list")
    np.save(tmp_path / "z.npy", vectors)
    with pytest.raises(InputError, match=r"got 2 \.parquet, 1 \.npy: choose with format="):
        find_shards(tmp_path)
    assert [shard.name for shard in find_shards(tmp_path, format="parquet")] == ["0", "1"]
    assert [shard.name for shard in find_shards(tmp_path, format="npy")] == ["z"]


def test_other_files_beside_do_not_matter(tmp_path, vectors):
    lay(tmp_path, vectors, "clip-retrieval")
    (tmp_path / "text_emb").mkdir()
    np.save(tmp_path / "text_emb/text_emb_0.npy", vectors)
    (tmp_path / "stats.json").write_text("{}")
    assert sum(shard.rows for shard in find_shards(tmp_path)) == 300


def test_the_embedding_column_is_looked_at_in_every_file(tmp_path, vectors):
    lay(tmp_path, vectors, "list")
    with pytest.raises(ColumnError, match=r"column 'clip'.*Columns that would do: 'image_embedding' \(in .*0\.parquet"):
        find_shards(tmp_path, embedding_column="clip")
    pq.write_table(keys(3).append_column("image_embedding", pa.array(["a"] * 3)), tmp_path / "1.parquet")
    with pytest.raises(ColumnError, match=r"column 'image_embedding', got string.*\(in .*1\.parquet\)"):
        find_shards(tmp_path)


def test_pairs_need_their_folder(tmp_path, vectors):
    lay(tmp_path, vectors, "datacomp")
    with pytest.raises(InputError, match=r"expected a folder, got '.*0\.npz', which is a file or a glob"):
        find_shards(tmp_path / "0.npz", format="datacomp")
    with pytest.raises(InputError, match="expected a folder, got 2 of them"):
        find_shards([tmp_path, tmp_path], format="clip-retrieval")


def test_metadata_without_embeddings_is_refused(shared):
    for source in ("data/img2dataset", "data/laion2b_korean_limit_10000.parquet"):
        with pytest.raises(ColumnError, match="expected an embedding column 'image_embedding'"):
            find_shards(shared / source)


def test_what_clip_retrieval_wrote_is_known_by_its_folders(shared):
    (shard,) = find_shards(shared / "data/clip_retrieval_b32")
    ((carried, lists),) = shard.batches(["image_path"])
    frame = read_clip_retrieval(shared / "data/clip_retrieval_b32").compute()
    assert (shard.width, shard.rows, shard.name) == (512, 9, "metadata/metadata_0")
    assert carried["image_path"].to_pylist() == frame["image_path"].tolist()
    assert lists.to_pylist() == [list(row) for row in frame["image_embedding"]]


# Elsewhere


@pytest.fixture(params=["memory", "s3"])
def remote(request, tmp_path):
    """Puts the files of a folder elsewhere; gives the URL and the storage options."""
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


@pytest.mark.parametrize("form", ["list", *MATRICES])
def test_shards_are_the_same_elsewhere(tmp_path, vectors, remote, form):
    lay(tmp_path, vectors, form, "float16", group=60)
    url, options = remote(tmp_path)
    here = find_shards(tmp_path, rows_per_shard=80)
    there = find_shards(url, rows_per_shard=80, storage_options=options)
    names = ["row"] if form == "npy" else ["at", "key"]
    assert [(shard.name, shard.rows, shard.schema) for shard in there] == [
        (shard.name, shard.rows, shard.schema) for shard in here
    ]
    assert [shard.digest(names) for shard in there] == [shard.digest(names) for shard in here]
    got, scores = read(there, names)
    pd.testing.assert_frame_equal(got, read(here, names)[0])
    assert scores == wanted(vectors, "float16")
    assert all(file.path.startswith(url) for shard in there for file in shard.files)


def test_matrices_by_columns_and_in_many_blocks_are_read_elsewhere(tmp_path, vectors, remote, monkeypatch):
    monkeypatch.setattr("dask_aesthetic.inputs.matrices.BLOCK", 768 * 4 * 7)  # Seven rows.
    np.save(tmp_path / "f.npy", np.asfortranarray(vectors))
    np.save(tmp_path / "c.npy", vectors)
    url, options = remote(tmp_path)
    shards = find_shards(url, rows_per_shard=100, storage_options=options)
    assert [shard.rows for shard in shards] == [100, 100, 100, 300]
    assert read(shards, [])[1] == wanted(vectors) * 2
    metadata = tmp_path / "pair"
    metadata.mkdir()
    lay(metadata, vectors, "clip-retrieval", group=33, parts=1)
    url, options = remote(metadata)
    carried, scores = read(find_shards(url, storage_options=options, format="clip-retrieval"))
    assert scores == wanted(vectors)
    assert carried["key"].tolist() == keys(300)["key"].to_pylist()


def test_frames_are_the_same_elsewhere(tmp_path, vectors, s3, cluster):
    readers = {
        "list": read_and_score,
        "clip-retrieval": read_clip_retrieval,
        "datacomp": read_datacomp,
        "npy": read_npy,
    }
    for form in readers:
        folder = tmp_path / form
        folder.mkdir()
        lay(folder, vectors, form, group=150)
    s3.put(tmp_path)
    for form, reader in readers.items():
        with no_compute():
            lazy = reader(f"{s3.url}/{form}", rows_per_partition=100, storage_options=s3.options)
        scored = lazy if form == "list" else lazy.aesthetic.score()
        for scheduler in ("threads", cluster):
            computed = scored.compute(scheduler=scheduler)
            assert computed["aesthetic_score"].to_numpy().tobytes() == wanted(vectors)
    paths = [f"{s3.url}/list/{number}.parquet" for number in (1, 0)]
    for source in (paths, f"{s3.url}/list/*.parquet"):
        computed = read_and_score(source, storage_options=s3.options).compute()
        assert computed["key"].tolist() == keys(300)["key"].to_pylist()


def test_what_is_not_asked_for_is_not_fetched(tmp_path, vectors, s3):
    lay(tmp_path, vectors, "list")
    spoil(str(tmp_path), {"image_embedding", "url"})
    s3.put(tmp_path)
    scored = read_and_score(s3.url, ["key", "url"], storage_options=s3.options)
    assert scored[["key"]].compute()["key"].tolist() == keys(300)["key"].to_pylist()
    with pytest.raises(InputError, match=r"expected a whole Parquet file, got s3://b.*/\d\.parquet"):
        scored[["keep"]].compute()


def test_damaged_files_elsewhere_are_named(tmp_path, vectors, remote):
    lay(tmp_path, vectors, "list", parts=3)
    (tmp_path / "0.parquet").write_bytes(b"")
    (tmp_path / "2.parquet").write_bytes((tmp_path / "2.parquet").read_bytes()[:-100])
    url, options = remote(tmp_path)
    with pytest.raises(InputError, match=rf"(?s)got 2 that cannot.*{url}/0\.parquet: .*{url}/2\.parquet: .*magic"):
        find_shards(url, storage_options=options)


# Frames of any layout


@pytest.mark.parametrize("form", ["list", *MATRICES])
def test_a_frame_of_any_layout(tmp_path, vectors, form):
    lay(tmp_path, vectors, form)
    with no_compute():
        frame = read_frame(tmp_path)
    assert frame.aesthetic.score()["aesthetic_score"].compute().to_numpy().tobytes() == wanted(vectors)
    if form != "list":
        assert read_frame(tmp_path, embedding_column="z").columns[-1] == "z"


def test_a_frame_of_parquet_is_dasks(hive, s3):
    (hive / "stats.json").write_text("{}")
    shutil.rmtree(next(hive.glob("lang=a*")))  # Dask cannot read a year that is nowhere but missing.
    frame = read_frame(hive)
    assert isinstance(frame["lang"].dtype, pd.CategoricalDtype)
    assert frame["image_embedding"].dtype == pd.ArrowDtype(pa.list_(pa.float32()))
    assert frame["lang"].compute().value_counts().to_dict() == {"en": 100, "fr": 100}
    s3.put(hive)
    there = read_frame(s3.url, storage_options=s3.options)[["key", "lang"]].compute()
    pd.testing.assert_frame_equal(there, frame[["key", "lang"]].compute())
    (hive / "bad.parquet").write_text("text")
    with pytest.raises(InputError, match=r"expected a Parquet file, got .*bad\.parquet"):
        read_frame(hive)


@pytest.mark.parametrize("there", [False, True])
def test_every_way_to_read_gives_the_same_rows(tmp_path, vectors, there):
    lay(tmp_path, vectors, "list")
    source = str(tmp_path)
    if there:
        source = f"memory://{tmp_path.name}"
        fsspec.filesystem("memory").put(str(tmp_path), source, recursive=True)
    shards = find_shards(source)
    read = {
        access: [pa.concat_arrays([lists for _, lists in shard.batches([], access)]) for shard in shards]
        for access in ("read", "mapped", "paged")
    }
    assert sum(map(len, read["read"])) == len(vectors)
    assert read["read"] == read["mapped"] == read["paged"]


def test_the_first_rows_alone_do_not_fetch_their_row_group(tmp_path, monkeypatch):
    rows = np.ones((20_000, 768), np.float32)  # 61 MB in one row group.
    table = pa.table({"image_embedding": columns.array(rows, "list")})
    pq.write_table(table, tmp_path / "a.parquet", use_dictionary=False, compression="NONE")
    fsspec.filesystem("memory").put(str(tmp_path / "a.parquet"), "memory://first/a.parquet")
    (shard,) = find_shards("memory://first")
    fetched = []
    read = File.read
    monkeypatch.setattr(File, "read", lambda file, begin, length: fetched.append(length) or read(file, begin, length))
    _, lists = next(iter(shard.batches([], "paged")))
    assert len(lists)
    assert sum(fetched) < 10e6
