"""Local and remote files: the same names, byte ranges, content hashes and versions."""

from __future__ import annotations

import os
import pickle
import time
from collections.abc import Callable
from typing import Any, NamedTuple

import fsspec
import pytest
import xxhash
from dask.base import tokenize

from dask_aesthetic import InputError, PredictorError, load_predictor, read_and_score, score_dataset
from dask_aesthetic.io.braces import expand
from dask_aesthetic.io.listing import find_files
from dask_aesthetic.io.storage import BLOCK, File, local_file

SECRET = "hunter2"  # noqa: S105


class Folder(NamedTuple):
    """A local or remote folder, and a function that writes into it."""

    url: str
    options: dict[str, Any] | None
    put: Callable[[str, bytes], None]

    def find(self, within: str = "", suffix: str = ".parquet") -> list[tuple[File, str]]:
        return find_files(f"{self.url}{within}", suffix, self.options)


@pytest.fixture(params=["local", "memory", "s3"])
def folder(request, tmp_path) -> Folder:
    if request.param == "local":

        def put(name: str, data: bytes) -> None:
            (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
            (tmp_path / name).write_bytes(data)

        return Folder(str(tmp_path), None, put)
    if request.param == "memory":
        url, options = f"memory://{tmp_path.name}", {}
    else:
        url, options = request.getfixturevalue("s3")
    system = fsspec.filesystem(url.partition(":")[0], **options)
    return Folder(url, options, lambda name, data: system.pipe_file(f"{url}/{name}", data))


@pytest.fixture
def tree(folder):
    for name in ("b.parquet", "a.parquet", "lang=fr/0.parquet", "lang=en/0.parquet", "lang=en/x.npy", "notes.txt"):
        folder.put(name, name.encode())
    for name in ("_metadata", ".a.parquet.crc", "_temporary/0.parquet", "lang=en/.0.parquet", ".git/x.parquet"):
        folder.put(name, b"hidden")
    return folder


def content(file: File, size: int = -1) -> bytes:
    with file.open() as stream:
        return stream.read(size)


def names(found) -> list[str]:
    return [name for _, name in found]


# Listing


NAMES = {
    "": ["a", "b", "lang=en/0", "lang=fr/0"],
    "/": ["a", "b", "lang=en/0", "lang=fr/0"],
    "/lang=en": ["0"],
    "/lang=en/0.parquet": ["0"],
    "/*.parquet": ["a", "b"],
    "/lang=*": ["lang=en/0", "lang=fr/0"],
    "/lang=*/*.parquet": ["lang=en/0", "lang=fr/0"],
    "/**/0.parquet": ["lang=en/0", "lang=fr/0"],
    "/[ab].parquet": ["a", "b"],
    "/?.parquet": ["a", "b"],
    "/.a.parquet.*": [".a.parquet.crc"],
}
EXPANDED_NAMES = {
    "/{a,b}.parquet": ["a", "b"],
    "/lang={en,fr}/{0..0}.parquet": ["lang=en/0", "lang=fr/0"],
    "/lang={en,fr}": ["lang=en/0", "lang=fr/0"],
    "/{lang=en,lang=fr}/*.parquet": ["lang=en/0", "lang=fr/0"],
    "/*.{parquet,txt}": ["a", "b", "notes.txt"],
}


def test_names_are_relative_to_the_source(tree):
    for within, wanted in NAMES.items():
        found = tree.find(within)
        assert names(found) == wanted, within
        for file, name in found:
            assert file.name.startswith(name.rpartition("/")[2])
            data = content(file)
            assert data == (b"hidden" if name.startswith(".") else file.path.removeprefix(tree.url)[1:].encode())
            assert file.size == len(data)


def test_braces_are_expanded(tree):
    assert {within: names(tree.find(within)) for within in EXPANDED_NAMES} == EXPANDED_NAMES


def test_braces_expand_as_in_shells_unless_a_file_has_that_name(tmp_path):
    assert expand("{08..11}") == ["08", "09", "10", "11"]
    assert expand("{3..1}-{a,}") == ["3-a", "3-", "2-a", "2-", "1-a", "1-"]
    assert expand("{}{a}{1..}{..2}") == ["{}{a}{1..}{..2}"]
    with pytest.raises(InputError, match="at most 1,000,000 names, got 1,000,000,000"):
        expand("{1..1000}{1..1000000}")
    (tmp_path / "{a,b}.parquet").write_bytes(b"PAR1")
    assert [name for _, name in find_files(tmp_path / "{a,b}.parquet", ".parquet")] == ["{a,b}"]
    with pytest.raises(InputError, match=r"got '.*/c\.parquet', which does not exist"):
        find_files(tmp_path / "{c,d}.parquet", ".parquet")


def test_missing_files_are_refused(tree):
    with pytest.raises(InputError, match=r"'.*nowhere', which does not exist"):
        tree.find("/nowhere")
    for within, suffix in (("", ".npz"), ("/x*.parquet", ".parquet")):
        with pytest.raises(InputError, match=r"expected (npz|Parquet) files \(\*\.\w+\) in '.*', got none"):
            tree.find(within, suffix)


def test_a_list_of_sources_makes_one_sorted_list(tree):
    found = find_files([f"{tree.url}/b.parquet", f"{tree.url}/lang=en"], ".parquet", tree.options)
    assert names(found) == ["0", "b"]
    with pytest.raises(InputError, match=r"different names, got .*lang=en/0\.parquet and .*lang=fr/0\.parquet"):
        find_files([f"{tree.url}/lang=en", f"{tree.url}/lang=fr"], ".parquet", tree.options)


def test_a_file_that_two_paths_of_a_list_hold_is_refused(tree):
    with pytest.raises(InputError, match=r"each file once, got .*lang=en/0\.parquet twice in .*: name it once"):
        find_files([f"{tree.url}/lang=en", tree.url], ".parquet", tree.options)


def test_a_file_that_is_named_needs_no_suffix(tree):
    assert names(tree.find("/notes.txt")) == ["notes.txt"]
    assert names(tree.find("/n*.txt")) == ["notes.txt"]


def test_symbolic_links_are_followed(tmp_path):
    store = tmp_path / "store"
    (store / "deep").mkdir(parents=True)
    (store / "1.parquet").write_bytes(b"one")
    (store / "deep/2.parquet").write_bytes(b"two")
    (store / "deep/up").symlink_to(store)  # A circle.
    (tmp_path / "data").mkdir()
    (tmp_path / "data/a.parquet").symlink_to(store / "1.parquet")
    (tmp_path / "data/b").symlink_to(store / "deep")
    found = find_files(tmp_path / "data", ".parquet")
    assert names(found) == ["a", "b/2", "b/up/1"]
    assert found[0][0].size == 3
    assert found[0][0].version == str((store / "1.parquet").stat().st_mtime_ns)
    (tmp_path / "data/c.parquet").symlink_to(store / "gone.parquet")
    with pytest.raises(InputError, match=r"expected a file, got .*c\.parquet: .*No such file"):
        find_files(tmp_path / "data", ".parquet")


def test_local_paths_are_absolute_and_literal_before_they_are_globs(tmp_path, monkeypatch):
    (tmp_path / "a[1].parquet").write_bytes(b"x")
    monkeypatch.chdir(tmp_path)
    for source in ("a[1].parquet", tmp_path / "a[1].parquet", f"file://{tmp_path}/a[1].parquet", f"local://{tmp_path}"):
        ((file, name),) = find_files(source, ".parquet")
        assert (file.path, name) == (str(tmp_path / "a[1].parquet"), "a[1]")
        assert file.is_local
        assert (file.name, file.stem) == ("a[1].parquet", "a[1]")


@pytest.mark.parametrize("pattern", ["*.parquet", "?.parquet", "[ab].parquet", "{a,b}.parquet", "**/*.parquet"])
def test_a_glob_may_begin_with_its_wildcard(tmp_path, monkeypatch, pattern):
    for name in ("a", "b", "c/a", "c/b"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / f"{name}.parquet").write_bytes(b"x")
    monkeypatch.chdir(tmp_path)
    expected = {"**/*.parquet": ["a", "b", "c/a", "c/b"]}.get(pattern, ["a", "b"])
    assert names(find_files(pattern, ".parquet")) == names(find_files(tmp_path / pattern, ".parquet")) == expected
    with pytest.raises(InputError, match=r"got none|got '\*.tif'"):
        find_files("*.tif", ".parquet")


def test_a_zip_archive_is_listed_as_a_folder(tmp_path):
    import zipfile

    with zipfile.ZipFile(tmp_path / "all.zip", "w") as archive:
        archive.writestr("in/a.parquet", b"from the archive")
    found = find_files(f"zip://in::file://{tmp_path}/all.zip", ".parquet")
    assert names(found) == ["a"]
    assert found[0][0].path == f"zip://in/a.parquet::file://{tmp_path}/all.zip"
    assert found[0][0].name == "a.parquet"
    assert content(found[0][0]) == b"from the archive"


def test_a_url_that_fsspec_cannot_open_is_refused():
    for url in ("nosuch://bucket/a.parquet", "s3://bucket"):
        with pytest.raises(InputError, match=f"that can be listed, got '{url}'"):
            find_files(url, ".parquet", {"nonsense": SECRET, "endpoint_url": "http://127.0.0.1:9"})


# Reading


@pytest.fixture
def big(folder) -> tuple[File, bytes]:
    """A file of more than one block."""
    data = bytes(range(251)) * (BLOCK // 250) + b"end"
    folder.put("big.parquet", data)
    return folder.find("/big.parquet")[0][0], data


def test_byte_ranges_and_streams_return_the_bytes(big):
    file, data = big
    assert file.read(0, 5) == data[:5]
    assert file.read(len(data) - 3, 3) == b"end"
    assert file.read(7, 0) == b""
    with file.open() as stream:
        assert stream.seek(-3, os.SEEK_END) == len(data) - 3
        assert stream.read() == b"end"
        assert stream.read() == b""
        stream.seek(BLOCK - 10)
        assert stream.read(20) == data[BLOCK - 10 : BLOCK + 10]
        assert stream.tell() == BLOCK + 10


def test_digests_are_xxh3_128_of_the_bytes(big, folder):
    file, data = big
    assert file.digest() == xxhash.xxh3_128_hexdigest(data)
    ranges = [(5, 1000), (BLOCK - 3, 100), (0, 1), (9, 0)]
    assert file.digest(ranges) == xxhash.xxh3_128_hexdigest(b"".join(data[at : at + n] for at, n in ranges))
    assert file.digest([]) == xxhash.xxh3_128_hexdigest(b"")
    folder.put("empty.parquet", b"")
    assert folder.find("/empty.parquet")[0][0].digest() == xxhash.xxh3_128_hexdigest(b"")


def test_a_truncated_file_is_refused(folder):
    folder.put("a.parquet", b"0123456789")
    file = folder.find()[0][0]
    folder.put("a.parquet", b"01234")
    reads = [lambda: file.read(3, 7), file.digest]
    if not file.is_local:  # A local stream is the operating system's.
        reads.append(lambda: content(file))
    for read in reads:
        with pytest.raises(InputError, match=r"a\.parquet, got [25]"):
            read()


def test_a_deleted_file_is_refused(s3, tmp_path):
    for folder, options in ((str(tmp_path), None), (s3.url, s3.options)):
        system, _ = fsspec.core.url_to_fs(folder, **(options or {}))
        system.pipe_file(f"{folder}/a.parquet", b"0123")
        file = find_files(folder, ".parquet", options)[0][0]
        system.rm_file(f"{folder}/a.parquet")
        for read in (lambda file=file: file.read(0, 1), file.digest, lambda file=file: content(file, 1)):
            with pytest.raises(InputError, match=r"expected a file, got .*a\.parquet: "):
                read()


def test_the_version_changes_when_a_file_is_rewritten(folder):
    folder.put("a.parquet", b"before")
    (first,), (second,) = folder.find(), folder.find("/a.parquet")
    assert first == second
    assert tokenize(first) == tokenize(second)
    time.sleep(0.02)
    folder.put("a.parquet", b"after!")
    (later,) = folder.find()
    assert later[0].size == first[0].size
    assert later[0].version != first[0].version
    assert tokenize(later) != tokenize(first)


def test_storage_options_are_hidden_and_pickled_with_the_file():
    one, other = (File("s3://b/a", 1, "x", {"secret": secret}) for secret in (SECRET, "other"))
    assert one == other
    assert hash(one) == hash(other)
    assert tokenize(one) == tokenize(other)
    assert SECRET not in repr(one)
    assert pickle.loads(pickle.dumps(one)).options == {"secret": SECRET}


def test_the_version_of_a_local_file_is_its_mtime_in_nanoseconds(tmp_path):
    (tmp_path / "a").write_bytes(b"")
    os.utime(tmp_path / "a", ns=(1, 1_700_000_000_123_456_789))
    assert local_file(str(tmp_path / "a")) == File(str(tmp_path / "a"), 0, "1700000000123456789")


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="needs pipes")
@pytest.mark.parametrize("name", ["a.parquet", "a.npy", "a.safetensors", "a.pt"])
def test_a_pipe_in_a_folder_is_refused_and_not_waited_for(tmp_path, name):
    os.mkfifo(tmp_path / name)
    for read in (read_and_score, lambda folder: score_dataset(folder, tmp_path.parent / f"{name}-out")):
        with pytest.raises(InputError, match="expected a"):
            read(tmp_path)
    with pytest.raises(PredictorError, match=r"expected a checkpoint at .*, got a pipe or device"):
        load_predictor(tmp_path / name)
