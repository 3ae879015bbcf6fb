"""webdataset tars as frames: samples and metadata by key, as the webdataset library reads them; faults on rows."""

from __future__ import annotations

import gzip
import io
import json
import pickle
import shutil
import tarfile
import tracemalloc
from pathlib import Path

import dask
import fsspec
import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from dask_aesthetic import ArgumentError, ColumnError, InputError, read_webdataset
from dask_aesthetic.io import samples as rules
from dask_aesthetic.io import webdataset
from dask_aesthetic.io.samples import Sample
from dask_aesthetic.io.storage import local_file
from dask_aesthetic.io.tar import _MemberIterator, read_index, read_member
from helpers import tar_files
from helpers.laziness import no_compute
from helpers.tar_files import member, samples, write

IMAGES = ("jpg", "jpeg", "png", "webp")


def oracle(path: Path) -> list[dict]:
    """Samples as the webdataset library reads them."""
    iterators = pytest.importorskip("webdataset.tariterators")
    with path.open("rb") as stream:
        files = list(iterators.tar_file_iterator(stream))
    return list(iterators.group_by_keys({**file, "__url__": str(path)} for file in files))


def rows(path, **options) -> pd.DataFrame:
    return read_webdataset(path, **options).compute()


def statuses(path, **options) -> list[tuple[str | None, str]]:
    frame = rows(path, **options)[["key", "sample_status"]].astype(object)
    return [(None if key is pd.NA else key, status) for key, status in frame.itertuples(index=False)]


@pytest.fixture
def folder(tmp_path) -> Path:
    """Three tars, one of them a gzip with the suffix .tar."""
    for at in range(3):
        write(tmp_path / f"tars/{at:05d}.tar", *samples(5, first=5 * at), packed=at == 1)
    return tmp_path / "tars"


# Against the webdataset library


@pytest.mark.parametrize("packed", [False, True])
def test_keys_images_and_members_equal_those_of_webdataset(tmp_path, packed):
    names = [
        "a.jpg", "a.txt", "a.json", "a.cls", "b.JPG", "b.Txt", "dir/c.png", "dir/c.seg.png", "d.e/f.webp",
        "d.e/f.g.txt", "./h.jpeg", "i .jpg", "画像🎨.jpg", "画像🎨.txt", "j..jpg", "x/.jpg", "k:l.jpg",
        "m" * 200 + ".jpg", "n/" * 90 + "o.jpg",
    ]  # fmt: skip
    path = write(tmp_path / "00000.tar", *(member(name, name.encode()) for name in names), packed=packed)
    texts, others = ("txt", "json"), ("cls", "seg.png", "g.txt", "jpg")
    expected, got = oracle(path), rows(path, extensions=[*texts, *others[:3], ".JPG"])
    assert got["key"].tolist() == [sample["__key__"] for sample in expected]
    for sample, (_, row) in zip(expected, got.iterrows(), strict=True):
        wanted = {name: sample.get(name) for name in others}
        wanted |= {name: sample[name].decode() if name in sample else None for name in texts}
        assert {name: None if pd.isna(row[name]) else row[name] for name in wanted} == wanted
        images = [data for name, data in sample.items() if name in IMAGES]
        assert ([] if pd.isna(row["image"]) else [row["image"]]) == images
        assert (row["sample_status"] == "ok") == (len(images) == 1)


@pytest.mark.parametrize("name", ["00000", "image1", "image2", "image3", "image4"])
def test_real_tars_equal_those_of_webdataset(shared, name):
    path = shared / f"data/tars/{name}.tar"
    got = rows(path)
    expected = oracle(path)
    assert got["key"].tolist() == [sample["__key__"] for sample in expected]
    assert got["image"].tolist() == [sample["jpg"] for sample in expected]
    assert got["sample_status"].tolist() == ["ok"] * len(got)
    for extension in ("txt", "json"):
        wanted = [sample[extension].decode() if extension in sample else None for sample in expected]
        assert [None if text is pd.NA else text for text in got[extension]] == wanted


@pytest.mark.parametrize("blocksize", [None, "20 kB"])
def test_equal_keys_of_different_tars_differ_by_shard(shared, blocksize):
    got = rows(shared / "data/tars", blocksize=blocksize)
    assert len(got) == 12
    assert got["key"].nunique() == 8
    assert not got[["shard", "key"]].duplicated().any()
    twice = got[got["key"] == "123_456"]
    assert twice["shard"].tolist() == ["image1", "image3"]
    for key, data in got.loc[got["key"] != "0", ["key", "image"]].itertuples(index=False):
        assert data == (shared / f"data/images/{key}.jpg").read_bytes()


# img2dataset


@pytest.fixture
def img2dataset(shared, tmp_path) -> Path:
    """A real Parquet file and its counts, and a tar of its samples in another order."""
    folder = tmp_path / "img2dataset"
    folder.mkdir()
    for name in ("00001.parquet", "00001_stats.json"):
        shutil.copyfile(shared / "data/img2dataset" / name, folder / name)
    table = pq.read_table(folder / "00001.parquet").to_pandas()
    keys = sorted(table.loc[table["status"] == "success", "key"], reverse=True)
    endings = {"jpg": b"image", "txt": b"caption", "json": b"{}"}
    made = [member(f"{key}.{ending}", data + key.encode()) for key in keys for ending, data in endings.items()]
    write(folder / "00001.tar", *made)
    return folder


@pytest.mark.parametrize("blocksize", [None, 200])
def test_img2dataset_metadata_is_joined_by_key_and_failed_downloads_stay(img2dataset, blocksize):
    table = pq.read_table(img2dataset / "00001.parquet").to_pandas().set_index("key")
    stats = json.loads((img2dataset / "00001_stats.json").read_text())
    frame = read_webdataset(img2dataset, blocksize=blocksize)
    assert frame.npartitions == (1 if blocksize is None else 6)
    got = frame.compute()
    assert len(got) == stats["count"] == 168
    assert (got["sample_status"] == "ok").sum() == stats["successes"] == 30
    assert (got["sample_status"] == "not_in_tar").sum() == stats["failed_to_download"] == 138
    assert sorted(got["key"]) == sorted(table.index)
    for row in got.to_dict("records"):
        downloaded = row["status"] == "success"
        assert row["sample_status"] == ("ok" if downloaded else "not_in_tar")
        assert row["image"] == b"image" + row["key"].encode() if downloaded else pd.isna(row["image"])
        assert row["url"] == table.loc[row["key"], "url"]
        for name in ("width", "original_height"):
            value = table.loc[row["key"], name]
            assert row[name] == value if downloaded else pd.isna(row[name])
    assert got["width"].dtype == pd.ArrowDtype(pa.int32())


def test_the_sibling_parquet_file_of_a_named_tar_is_found_and_can_be_left_out(img2dataset):
    tar = str(img2dataset / "00001.tar")
    for source in (tar, [tar], str(img2dataset / "*.tar"), str(img2dataset / "00001*")):
        assert len(rows(source)) == 168
    assert len(rows(img2dataset, metadata=False)) == 30
    assert "url" not in read_webdataset(img2dataset, metadata=False).columns


def test_metadata_rows_of_a_repeated_key_are_null_and_invalid_parquet_files_are_refused(tmp_path):
    write(tmp_path / "0.tar", *samples(3))
    table = pa.table({"key": ["00001", "00000", "00001", None, "alone"], "width": [1, 2, 3, 4, 5]})
    pq.write_table(table, tmp_path / "0.parquet")
    got = rows(tmp_path)
    assert got["sample_status"].tolist() == ["ok", "duplicate_row", "ok", "not_in_tar", "not_in_tar"]
    assert got["width"].to_list()[:1] + got["width"].to_list()[3:] == [2, 4, 5]
    assert got["width"].isna().tolist() == [False, True, True, False, False]
    pq.write_table(table.append_column("txt", pa.nulls(5, pa.string())), tmp_path / "0.parquet")
    with pytest.raises(ColumnError, match="'txt' twice"):
        read_webdataset(tmp_path)
    pq.write_table(pa.table({"key": [1, 2]}), tmp_path / "0.parquet")
    with pytest.raises(InputError, match="keys that are strings"):
        read_webdataset(tmp_path)
    pq.write_table(pa.table({"width": [1, 2]}), tmp_path / "0.parquet")
    with pytest.raises(ColumnError, match="expected columns key, width"):
        read_webdataset(tmp_path)


# Laziness, and remote tars


def test_nothing_is_read_before_compute_and_no_image_for_keys(folder, monkeypatch):
    with no_compute():
        frame = read_webdataset(folder)
    assert frame.npartitions == 3
    read: list[str] = []

    def recorded(stream, member):
        read.append(member.name.rpartition(".")[2])
        return read_member(stream, member)

    monkeypatch.setattr(webdataset, "read_member", recorded)
    with dask.config.set(scheduler="sync"):
        assert len(frame[["shard", "key"]].compute()) == 15
        assert frame[frame["key"] > "00007"]["image_ext"].compute().tolist() == ["jpg"] * 7
        assert frame["shard"].count().compute() == 15
        assert read == []
        assert frame["txt"].compute().tolist() == [f"caption of {at:05d}" for at in range(15)]
        assert read == ["txt"] * 15
        read.clear()
        assert frame["sample_status"].compute().tolist() == ["ok"] * 15
        assert sorted(read) == ["json"] * 15 + ["txt"] * 15


def test_indexing_an_uncompressed_tar_reads_no_images(tmp_path):
    class Counted(io.FileIO):
        got = 0

        def readinto(self, buffer):
            count = super().readinto(buffer)
            Counted.got += count
            return count

    path = write(tmp_path / "large.tar", *(member(f"{at}.jpg", bytes(1_000_000)) for at in range(20)))
    with io.BufferedReader(Counted(path)) as stream:
        assert len(list(_MemberIterator(local_file(str(path)), stream))) == 20
    assert Counted.got < 600_000 < 20_000_000


def test_partitions_of_a_blocksize_have_the_same_rows_and_a_gzip_is_not_split(folder):
    expected = rows(folder)
    frame = read_webdataset(folder, blocksize="5 kB")
    assert frame.npartitions == 2 * 2 + 1
    pd.testing.assert_frame_equal(frame.compute(), expected)
    pd.testing.assert_frame_equal(frame[["json", "key"]].compute(), expected[["json", "key"]])
    assert len(read_webdataset(folder, blocksize=1)) == 15


@pytest.mark.parametrize("wrong", [0, -1, "many", True, 1.5j])
def test_an_invalid_blocksize_is_refused(folder, wrong):
    with pytest.raises(ArgumentError, match="blocksize"):
        read_webdataset(folder, blocksize=wrong)


def test_a_cluster_returns_the_same_rows(folder, cluster):
    frame = read_webdataset(folder, blocksize="5 kB")
    pd.testing.assert_frame_equal(frame.compute(scheduler=cluster), rows(folder))


def test_remote_tars_have_the_same_rows(folder, s3):
    pq.write_table(pa.table({"key": ["00001", "99999"], "url": ["u", "v"]}), folder / "00000.parquet")
    expected = rows(folder)
    assert expected["sample_status"].tolist().count("not_in_tar") == 1
    s3.put(folder)
    for source in (s3.url, f"{s3.url}/*.tar", [f"{s3.url}/{at:05d}.tar" for at in range(3)]):
        for blocksize in (None, "5 kB"):
            got = rows(source, blocksize=blocksize, storage_options=s3.options)
            pd.testing.assert_frame_equal(got, expected)
    memory = fsspec.filesystem("memory")
    memory.pipe({f"/tars/{path.name}": path.read_bytes() for path in folder.iterdir()})
    try:
        pd.testing.assert_frame_equal(rows("memory://tars"), expected)
    finally:
        memory.rm("/tars", recursive=True)


def test_files_that_are_not_tars_are_refused_at_once(tmp_path, folder):
    (folder / "html.tar").write_text("<html>" * 200)
    (folder / "empty.tar").write_bytes(b"")
    (folder / "short.tar").write_bytes(bytes(100))
    (folder / "text.tar").write_bytes(gzip.compress(b"no tar" * 200))
    (folder / "garbage.tar").write_bytes(b"\x1f\x8b" + bytes(600))
    with no_compute(), pytest.raises(InputError) as error:
        read_webdataset(folder)
    assert "5 that cannot be read" in str(error.value)
    for name in ("html", "empty", "short", "text", "garbage"):
        assert f"{name}.tar" in str(error.value)
    with pytest.raises(InputError, match="expected tars"):
        read_webdataset(tmp_path / "tars/*.jpg")


@pytest.mark.parametrize(
    "url",
    ["pipe:touch {}", "pipe:touch {}; cat *.tar", "pipe:touch {} # http://x/y.tar", "pipe:touch {}::s3://b/x.tar"],
)
def test_a_pipe_url_is_refused_and_not_run(tmp_path, url):
    trap = tmp_path / "trap"
    with pytest.raises(InputError):
        read_webdataset(url.format(trap))
    assert not trap.exists()


# Invalid samples


def test_invalid_samples_are_reported_on_their_rows_and_neighbors_are_unchanged(tmp_path, monkeypatch):
    monkeypatch.setattr(rules, "LARGEST", 5_000)
    path = write(
        tmp_path / "0.tar",
        *samples(1, first=0),
        member("twice.jpg", b"1"), member("twice.txt", b"text"), member("twice.jpg", b"2"),
        member("cases.jpg", b"1"), member("cases.JPG", b"2"),
        member("two.jpg", b"1"), member("two.png", b"2"),
        member("none.txt", b"text"), member("mask.seg.png", b"x"),
        member("large.jpg", bytes(5_001)), member("largetext.jpg", b"x"), member("largetext.txt", bytes(6_000)),
        member("latin.jpg", b"x"), member("latin.txt", "\xe4".encode("latin-1")), member("latin.json", b"{}"),
        member("folder/", type=tarfile.DIRTYPE),
        member("apart.txt", b"apart"), *samples(1, first=1), member("apart.jpg", b"apart"),
        member("zero.jpg", b""),
    )  # fmt: skip
    got = rows(path).set_index("key")
    assert got["sample_status"].to_dict() == {
        "00000": "ok", "twice": "duplicate_member", "cases": "duplicate_member", "two": "several_images",
        "none": "no_image", "mask": "no_image", "large": "too_large", "largetext": "too_large", "latin": "not_text",
        "apart": "ok", "00001": "ok", "zero": "ok",
    }  # fmt: skip
    missing = got["image"].isna()
    assert missing[missing].index.tolist() == ["twice", "cases", "two", "none", "mask", "large"]
    assert got.loc["twice", "txt"] == "text"
    assert got["txt"].isna()[["largetext", "latin"]].all()
    assert got.loc["latin", "json"] == "{}"
    assert (got.loc["apart", "txt"], got.loc["apart", "image"]) == ("apart", b"apart")
    assert got.loc["zero", "image"] == b""
    assert got["sample_error"].isna().tolist() == (got["sample_status"] == "ok").tolist()
    assert "'cases.jpg', 'cases.JPG'" in got.loc["cases", "sample_error"]
    chosen = rows(path, image_extensions=["jpg"]).set_index("key")
    assert (chosen.loc["two", "sample_status"], chosen.loc["two", "image"]) == ("ok", b"1")
    for name in ("sample_status", "sample_error"):
        assert read_webdataset(path)[name].compute().tolist() == got[name].tolist()


@pytest.mark.parametrize("kind", [tarfile.PAX_FORMAT, tarfile.GNU_FORMAT])
@pytest.mark.parametrize("packed", [False, True])
def test_hostile_members_are_reported_and_neither_escape_nor_run(tmp_path, kind, packed):
    trap, inside = tmp_path / "trap", tmp_path / "work/inside"
    inside.mkdir(parents=True)
    corpus = tar_files.hostile(trap)
    good = samples(3)
    pickled = pickle.dumps(tar_files.Bomb(trap))
    pickles = [member("00001.pkl", pickled), member("00001.pyd", pickled), member("code.py", b"raise SystemExit")]
    path = write(
        inside / "0.tar", *good[:3], *(one for one, _ in corpus), *good[3:], *pickles, kind=kind, packed=packed
    )
    before = set(tmp_path.rglob("*"))
    got = rows(path, extensions=("txt", "json", "pkl", "pyd"))
    assert set(tmp_path.rglob("*")) == before
    assert not trap.exists()
    invalid = got[got["key"].isna()]
    assert invalid["sample_status"].tolist() == [status for _, status in corpus]
    assert invalid["image"].isna().all()
    assert invalid["sample_error"].str.len().max() < 300
    alone = write(tmp_path / "alone.tar", *good)
    valid = got[got["key"].notna()].reset_index(drop=True)
    same = ["key", "image", "txt", "json"]
    pd.testing.assert_frame_equal(valid.iloc[:3][same], rows(alone)[same])
    assert valid["pkl"].tolist()[1] == valid["pyd"].tolist()[1] == pickled
    assert valid["key"].tolist() == ["00000", "00001", "00002", "code"]


def corrupt(path: Path, at: int, length: int | None) -> None:
    """Overwrite bytes of a file, or truncate it."""
    content = bytearray(path.read_bytes())
    if length is None:
        del content[at:]
    else:
        content[at : at + length] = b"\xaa" * length
    path.write_bytes(bytes(content))


@pytest.mark.parametrize("packed", [False, True])
@pytest.mark.parametrize("share", [0.1, 0.5, 0.9])
def test_rows_before_the_end_of_a_truncated_tar_are_read(tmp_path, packed, share):
    noise = np.random.default_rng(5)  # Noise hardly compresses.
    made = [member(f"{at:05d}.{name}", noise.bytes(2000)) for at in range(20) for name in ("jpg", "cls")]
    path = write(tmp_path / "0.tar", *made, packed=packed)
    whole = rows(path)
    corrupt(path, round(path.stat().st_size * share), None)
    got = rows(path)
    assert got["sample_status"].tolist()[-2:] == ["damaged"] * 2
    assert "at byte" in got["sample_error"].iloc[-1]
    count = len(got) - 2
    assert abs(count - 20 * share) < 3
    assert (got["sample_status"][:count] == "ok").all()
    pd.testing.assert_frame_equal(got.iloc[:count], whole.iloc[:count])


def test_a_corrupt_header_is_damage_and_not_the_end(tmp_path):
    path = write(tmp_path / "0.tar", *samples(4))
    third = index_of(path)[2].members["jpg"].offset
    corrupt(path, third, 20)
    assert statuses(path) == [("00000", "ok"), ("00001", "damaged"), (None, "damaged")]
    assert len(oracle(path)) == 2  # The library takes it silently for the end.
    assert rows(path)["image"].notna().tolist() == [True, True, False]


def index_of(path: Path) -> list[Sample]:
    return read_index(local_file(str(path))).samples


def test_a_missing_end_mark_and_concatenated_tars_are_reported(tmp_path):
    path = write(tmp_path / "0.tar", *samples(2))
    content = path.read_bytes()
    end = max(one.offset_data + one.size for sample in index_of(path) for one in sample.members.values())
    end += -end % tar_files.BLOCK
    path.write_bytes(content[:end])
    assert statuses(path) == [("00000", "ok"), ("00001", "damaged"), (None, "damaged")]
    assert "end mark is missing" in rows(path)["sample_error"].iloc[-1]
    path.write_bytes(content + content)
    assert "more data follows" in rows(path)["sample_error"].iloc[-1]
    path.write_bytes(content[: end + tar_files.BLOCK])
    assert statuses(path) == [("00000", "ok"), ("00001", "ok")]
    path.write_bytes(content + bytes(50_000))
    assert statuses(path) == [("00000", "ok"), ("00001", "ok")]


def block(name: bytes, size: int, kind: bytes = b"0", octal: bool = True) -> bytes:
    """A tar header with any size, true or not."""
    number = (
        b"%011o\0" % size if octal else bytes([0x80 if size >= 0 else 0xFF]) + size.to_bytes(11, "big", signed=size < 0)
    )
    header = bytearray(name.ljust(100, b"\0") + b"0000644\0" * 3 + number + b"00000000000\0" + b" " * 8 + kind)
    header = header.ljust(257, b"\0") + b"ustar\x0000"
    header = header.ljust(512, b"\0")
    header[148:156] = b"%06o\0 " % sum(header)
    return bytes(header)


FALSE_HEADERS = {
    "larger than the file": block(b"b.jpg", 10**9),
    "larger than any file": block(b"b.jpg", 2**62, octal=False),
    "larger than a number": block(b"b.jpg", 2**80, octal=False),
    "negative": block(b"b.jpg", -1024, octal=False),
    "long name without end": block(b"././@LongLink", 10**9, b"L") + b"x" * 2048,
    "long name larger than any": block(b"././@LongLink", 2**62, b"L", octal=False),
    "long name of nothing": block(b"././@LongLink", 0, b"L") * 3000,
    "pax without end": block(b"x", 10**10, b"x") + b"x" * 2048,
    "pax of a negative size": block(b"x", 512, b"x") + b"17 size=-1000000\n".ljust(512, b"\0") + block(b"b.jpg", 0),
    "pax of no size": block(b"x", 512, b"x") + b"13 size=many\n".ljust(512, b"\0") + block(b"b.jpg", 0),
    "pax of zeros": block(b"x", 512, b"x") + b"0 path=x\n".ljust(512, b"\0") + block(b"b.jpg", 0),
    "sparse map without end": block(b"x", 1024, b"x")
    + b"22 GNU.sparse.major=1\n22 GNU.sparse.minor=0\n".ljust(1024, b"\0")
    + block(b"b.jpg", 512)
    + b"99999999999\n1\n".ljust(512, b"1"),
}


@pytest.mark.parametrize("packed", [False, True])
@pytest.mark.parametrize("name", FALSE_HEADERS)
def test_false_headers_end_the_tar_with_a_report(tmp_path, name, packed):
    valid = write(tmp_path / "0.tar", member("a.jpg", b"first"), member("a.txt", b"first")).read_bytes()
    content = valid[: 4 * tar_files.BLOCK] + FALSE_HEADERS[name] + bytes(2 * tar_files.BLOCK)
    (tmp_path / "0.tar").write_bytes(gzip.compress(content) if packed else content)
    got = rows(tmp_path / "0.tar")
    assert got["image"].iloc[0] == b"first"
    assert got["txt"].iloc[0] == "first"
    if name == "pax of no size":  # Python's tarfile takes it for size 0.
        assert got["image"].iloc[1] == b""
    else:
        assert statuses(tmp_path / "0.tar") == [("a", "damaged"), (None, "damaged")]


def test_sparse_files_are_reported_and_not_read(tmp_path):
    map_ = b"1\n0\n4\n".ljust(512, b"\0")
    records = b"22 GNU.sparse.major=1\n22 GNU.sparse.minor=0\n30 GNU.sparse.name=sparse.jpg\n"
    records += b"37 GNU.sparse.realsize=1000000000000\n"
    content = block(b"x", len(records), b"x") + records.ljust(512, b"\0")
    content += block(b"GNUSparse/s.jpg", 1024) + map_ + b"data".ljust(512, b"\0")
    end = write(tmp_path / "0.tar", *samples(1)).read_bytes()
    (tmp_path / "0.tar").write_bytes(content + end)
    assert statuses(tmp_path / "0.tar") == [(None, "not_a_file"), ("00000", "ok")]


def test_a_decompression_bomb_is_read_in_bounded_memory(tmp_path, monkeypatch):
    monkeypatch.setattr(rules, "LARGEST", 32 << 20)
    with gzip.open(tmp_path / "bomb.tar", "wb", compresslevel=1) as packed:
        packed.write(block(b"bomb.jpg", 40 << 20))
        for _ in range(40):
            packed.write(bytes(1 << 20))
        packed.write(bytes(1024))
    tracemalloc.start()
    got = rows(tmp_path / "bomb.tar")
    _, most = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert (got["sample_status"].item(), got["image"].isna().item()) == ("too_large", True)
    assert most < 10 << 20


def test_empty_tars_and_empty_partitions(tmp_path):
    write(tmp_path / "0.tar")
    write(tmp_path / "1.tar", *samples(1))
    write(tmp_path / "2.tar", packed=True)
    frame = read_webdataset(tmp_path)
    assert frame.npartitions == 3
    assert frame.compute()["shard"].tolist() == ["1"]
    assert read_webdataset(tmp_path / "0.tar").compute().dtypes.to_dict() == frame.dtypes.to_dict()


# Video frames


def test_scores_per_clip_equal_those_of_pandas(tmp_path):
    made = [member(f"{clip}/{at:03d}.jpg", b"frame") for clip in ("walk", "run", "gone") for at in range(7)]
    write(tmp_path / "0.tar", *made[:10])
    write(tmp_path / "1.tar", *made[10:])
    frame = read_webdataset(tmp_path)[["shard", "key"]]
    scores = np.random.default_rng(3).normal(5, 1, 21).astype(np.float32)
    scores[[2, 9]] = np.nan
    scores[14:] = np.nan  # One clip has no scores.
    begins = frame.map_partitions(len).compute().cumsum()
    held = {"0": scores[: begins.iloc[0]], "1": scores[begins.iloc[0] :]}

    def score(part: pd.DataFrame) -> pd.DataFrame:
        found = held[part["shard"].iloc[0]] if len(part) else np.zeros(0, np.float32)
        return part.assign(aesthetic_score=found)

    scored = frame.map_partitions(score, meta=frame._meta.assign(aesthetic_score=np.float32(0)))
    clips = scored.assign(clip=scored["key"].str.replace(r"/[^/]*$", "", regex=True))
    asked = {"aesthetic_score": ["mean", "min", "count"]}
    got = clips.groupby("clip").agg(asked).compute().sort_index()
    keys = np.repeat(["walk", "run", "gone"], 7)
    expected = pd.DataFrame({"clip": keys, "aesthetic_score": scores}).groupby("clip").agg(asked)
    np.testing.assert_allclose(got.to_numpy(float), expected.to_numpy(float), rtol=1e-6)
    assert got.index.tolist() == expected.index.tolist()


def test_suffixes_of_tars_match_in_any_case(folder):
    before = rows(folder)
    write_parquet = pa.table({"key": [f"{at:05d}" for at in range(15)], "url": [f"u{at}" for at in range(15)]})
    for at, name in enumerate(("00000.TAR", "00001.TAR.GZ", "00002.Tar")):
        (folder / f"{at:05d}.tar").rename(folder / name)
        pq.write_table(write_parquet.slice(5 * at, 5), folder / f"{at:05d}.PARQUET")
    after = rows(folder)
    assert after["shard"].tolist() == before["shard"].tolist()
    assert after["image"].tolist() == before["image"].tolist()
    assert after["url"].tolist() == [f"u{at}" for at in range(15)]
