"""Images in the report straight from the tars, or the image files, that were scored."""

from __future__ import annotations

import io
import os
import tarfile
import tracemalloc
import zlib
from contextlib import nullcontext
from pathlib import Path

import dask.dataframe as dd
import fsspec
import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest

from helpers import commands, tar_files
from helpers.hostile import strings
from helpers.report_page import Page, assert_inert
from helpers.tar_files import member, write

pytest.importorskip("jinja2", reason="needs pip install 'dask-aesthetic[report]'")
Image = pytest.importorskip("PIL.Image", reason="needs pip install 'dask-aesthetic[report]'")

from dask_aesthetic import ArgumentError, ColumnError, InputError
from dask_aesthetic.errors import AestheticWarning
from dask_aesthetic.report.thumbnails import make_thumbnail

EACH = 3  # Samples of each tar, whose keys are those of the other tars.


def encoded(seed: int, kind: str = "PNG", size=(60, 40)) -> bytes:
    file = io.BytesIO()
    Image.new("RGB", size, tuple(np.random.default_rng(seed).integers(0, 256, 3).tolist())).save(file, kind)
    return file.getvalue()


@pytest.fixture
def tars(tmp_path) -> Path:
    """Three tars with the same keys; the second is a gzip, the third in a folder, and its names begin with "./"."""
    for at, name in enumerate(("00000", "00001", "more/00002")):
        members = []
        for key in range(EACH):
            members += [
                member(f"{'./' if at == 2 else ''}{key}.txt", b"a caption"),
                member(f"{'./' if at == 2 else ''}{key}.png", encoded(10 * at + key)),
            ]
        write(tmp_path / f"tars/{name}.tar", *members, packed=at == 1)
    return tmp_path / "tars"


@pytest.fixture
def scores() -> pd.DataFrame:
    """A row per sample, as a job over the tars writes them."""
    shards = np.repeat(["00000", "00001", "more/00002"], EACH)
    keys = [*"012012", "./0", "./1", "./2"]
    return pd.DataFrame({"shard": shards, "key": keys, "aesthetic_score": np.linspace(4.1, 5.9, 9).astype("f4")})


def write_page(frame, path: Path, **options) -> Page:
    return Page(frame.aesthetic.report(path / "report.html", **options))


def shown(page: Page) -> dict[float, str]:
    """Source of each card's image by score; empty where there is none."""
    found: dict[float, str] = {}
    score = np.nan
    for tag, attributes in page.elements:
        if tag == "li" and "data-score" in attributes:
            score = float(attributes["data-score"])
            found.setdefault(score, "")
        elif tag == "img":
            found[score] = attributes["src"]
    return found


def expected(frame: pd.DataFrame) -> dict[float, str]:
    images = [make_thumbnail(encoded(10 * (at // EACH) + at % EACH)).url for at in range(len(frame))]
    return dict(zip(frame["aesthetic_score"].astype(float), images, strict=True))


def reasons(page: Page) -> list[str]:
    return [data.removeprefix("No image: ") for _, data in page.texts if data.startswith("No image: ")]


@pytest.mark.parametrize("partitions", [0, 1, 4])
def test_images_are_those_of_the_samples(tars, scores, tmp_path, partitions):
    frame = dd.from_pandas(scores, npartitions=partitions) if partitions else scores
    page = write_page(frame, tmp_path, tars=tars)
    assert shown(page) == expected(scores)
    assert len(set(shown(page).values())) == 9
    assert f"tars '{tars}'" in page.text
    assert_inert(page)


def test_arrow_columns_and_categories_are_joined_too(tars, scores, tmp_path):
    frame = scores.astype({"shard": "category", "key": "string[pyarrow]"})
    assert shown(write_page(frame, tmp_path, tars=tars)) == expected(scores)


def test_keys_without_folders_are_found_as_by_filter(tars, scores, tmp_path):
    frame = scores.assign(key=scores["key"].str.removeprefix("./"))
    assert shown(write_page(frame, tmp_path, tars=tars)) == expected(scores)


def test_without_shards_a_key_of_one_tar_is_found_and_of_several_is_not(tars, scores, tmp_path):
    write(tars / "00003.tar", member("only.png", encoded(77)))
    frame = pd.DataFrame({"key": ["only", "0", "absent"], "aesthetic_score": np.float32([4.1, 4.6, 5.1])})
    page = write_page(frame, tmp_path, tars=tars)
    got = shown(page)
    assert got.pop(float(np.float32(4.1))) == make_thumbnail(encoded(77)).url
    assert set(got.values()) == {""}
    assert set(reasons(page)) == {
        "several tars have a sample of this key, and no column says which",
        "there is no sample of this key in the given tars",
    }


def test_without_shards_a_tar_that_cannot_be_read_is_named(tars, tmp_path):
    (tars / "0.tar").write_bytes(b"<html>404</html>")
    write(tars / "00003.tar", member("only.png", encoded(77)))
    frame = pd.DataFrame({"key": ["only", "absent"], "aesthetic_score": np.float32([4.1, 5.1])})
    page = write_page(frame, tmp_path, tars=tars)
    assert shown(page)[float(np.float32(4.1))] == make_thumbnail(encoded(77)).url
    assert [text[:43] for text in reasons(page)] == ["expected a tar, uncompressed or gzip, got /"[:43]] * 2


def bomb() -> bytes:
    head = b"IHDR" + (60_000).to_bytes(4, "big") * 2 + encoded(0)[24:29]
    return encoded(0)[:12] + head + zlib.crc32(head).to_bytes(4, "big") + encoded(0)[33:]


def test_what_has_no_image_says_why(tmp_path):
    jpeg = encoded(1, "JPEG", (400, 400))
    write(
        tmp_path / "tars/a.tar",
        member("text.txt", b"x"),
        member("two.png", encoded(1)),
        member("two.jpg", jpeg),
        member("twice.png", encoded(1)),
        member("twice.png", encoded(2)),
        member("page.jpg", b"<html>"),
        member("cut.jpg", jpeg[:1000]),
        member("bomb.png", bomb()),
        member("link.jpg", type=tarfile.SYMTYPE, linkname="/etc/passwd"),
        member("fine.png", encoded(3)),
    )
    whole = write(tmp_path / "tars/damaged.tar", member("a.png", encoded(1)), member("b.png", encoded(2)))
    whole.write_bytes(whole.read_bytes()[:1100])
    (tmp_path / "tars/page.tar").write_bytes(b"<html>404</html>")
    cases = {
        ("a", "text"): "no_image: expected jpg, jpeg, png, webp, got txt",
        ("a", "two"): "several_images: expected one image, got png, jpg",
        ("a", "twice"): "duplicate_member: png occurs 2 times: 'twice.png', 'twice.png'",
        ("a", "page"): "not an image of a known format",
        ("a", "cut"): "cannot be read: image file is truncated",
        ("a", "bomb"): "too many pixels to decode",
        ("a", "link"): "there is no sample of this key in a",
        ("a", "nobody"): "there is no sample of this key in a",
        ("damaged", "b"): "there is no sample of this key in damaged, which is damaged at byte",
        ("page", "a"): "expected a tar, uncompressed or gzip, got",
        ("../tars/a", "fine"): "there is no tar ../tars/a among the given ones",
        (None, "fine"): "the row has no shard",
        ("a", None): "the row has no key",
        ("a", "fine"): "",
    }
    for ids, reason in cases.items():
        frame = pd.DataFrame([ids], columns=["shard", "key"], dtype=object).assign(aesthetic_score=np.float32(5.2))
        with pytest.warns(AestheticWarning, match="got none of 2: ") if reason else nullcontext():
            page = write_page(frame, tmp_path, tars=tmp_path / "tars")
        assert [text[: len(reason)] for text in reasons(page)] == [reason] * 2 * bool(reason)
        assert len(page.all("img")) == (0 if reason else 2)  # In its half point, and nearest to the threshold.


def test_no_image_at_all_is_a_caution(tars, scores, tmp_path):
    with pytest.warns(AestheticWarning, match=r"expected images of the sampled rows in .*, got none of \d+: there is"):
        page = write_page(scores.assign(shard="elsewhere/" + scores["shard"]), tmp_path, tars=tars)
    assert page.all("img") == []
    empty = write_page(scores.iloc[:0], tmp_path, tars=tars)
    assert "No row has a score" in empty.text


def test_only_the_sampled_members_are_read(scores, tmp_path):
    """The tar is mostly a hole, which takes neither memory nor time where it is passed over."""
    (tmp_path / "tars").mkdir()
    with (tmp_path / "tars/00000.tar").open("wb") as file:
        for key, size in (("a", 200 << 20), ("0", 0), ("b", 5 << 30), ("1", 0), ("2", 0)):
            data = b"" if size else encoded(int(key))
            info = tarfile.TarInfo(f"{key}.png")
            info.size = size or len(data)
            file.write(info.tobuf(tarfile.GNU_FORMAT))
            file.write(data)
            file.seek(-(-(file.tell() + size) // 512) * 512)
        file.write(bytes(1024))
    frame = scores[:3]
    tracemalloc.start()
    try:
        page = write_page(frame, tmp_path, tars=tmp_path / "tars")
        assert tracemalloc.get_traced_memory()[1] < 50 << 20
    finally:
        tracemalloc.stop()
    assert shown(page) == expected(scores[:3])


def test_pages_stay_small(tmp_path):
    rng = np.random.default_rng(0)
    noise = io.BytesIO()
    Image.fromarray(rng.integers(0, 256, (400, 400, 3), dtype=np.uint8)).save(noise, "PNG")
    write(tmp_path / "tars/0.tar", *(member(f"{at}.png", noise.getvalue()) for at in range(40)))
    frame = pd.DataFrame({"shard": "0", "key": [str(at % 40) for at in range(400)]})
    frame["aesthetic_score"] = rng.uniform(1, 10, 400).astype("f4")
    write_page(frame, tmp_path, tars=tmp_path / "tars", samples=24)
    assert (tmp_path / "report.html").stat().st_size < 3_000_000


def test_hostile_names_are_escaped(tars, tmp_path):
    texts = strings()
    frame = pd.DataFrame({"shard": texts, "key": texts[::-1], "image_path": texts}, dtype=object)
    frame["aesthetic_score"] = np.linspace(3, 7, len(frame)).astype("f4")
    (tmp_path / "a.png").write_bytes(encoded(0))
    for options in ({"tars": tars}, {"images": tmp_path}):
        for rows in (frame, frame.drop(columns="shard")):
            with pytest.warns(AestheticWarning, match="got none of"):
                page = write_page(rows, tmp_path, samples=24, **options)
            assert_inert(page)
        assert len(page.all("li")) > 48


# Image files


@pytest.fixture
def folder(tmp_path) -> Path:
    for at in range(9):
        (tmp_path / f"photos/{at // EACH}").mkdir(parents=True, exist_ok=True)
        (tmp_path / f"photos/{at // EACH}/{at % EACH}.png").write_bytes(encoded(10 * (at // EACH) + at % EACH))
    return tmp_path / "photos"


NAMES = [f"{at // EACH}/{at % EACH}.png" for at in range(9)]


@pytest.mark.parametrize("base", ["{folder}/", "", "photos/"])
def test_image_files_by_any_path_that_filter_takes(folder, scores, tmp_path, monkeypatch, base):
    monkeypatch.chdir(tmp_path)
    frame = scores.assign(image_path=[base.format(folder=folder) + name for name in NAMES])
    page = write_page(frame, tmp_path, images=folder)
    assert shown(page) == expected(scores)
    assert f"images '{folder}'" in page.text
    unnamed = write_page(frame.drop(columns=["shard", "key"]), tmp_path, images=folder)
    labels = [data for tag, data in unnamed.texts if tag == "bdi" and data.endswith(".png")]
    assert set(labels) == set(NAMES)


def test_no_file_outside_of_the_folder_is_opened(folder, scores, tmp_path, monkeypatch):
    monkeypatch.chdir(folder)
    (tmp_path / "secret.png").write_bytes(encoded(99))
    paths = [
        f"{tmp_path}/secret.png",
        "../secret.png",
        "0/../../secret.png",
        "/etc/passwd",
        f"file://{tmp_path}/secret.png",
    ]
    frame = scores[:6].assign(image_path=[*paths, "0/0.png"])
    page = write_page(frame, tmp_path, images=folder, samples=24)
    assert [url for url in shown(page).values() if url] == [make_thumbnail(encoded(0)).url]
    assert set(reasons(page)) == {"there is no such file among the given image files"}


def test_names_of_several_folders(folder, scores, tmp_path):
    frame = scores[:2].assign(image_path=["0.png", f"{folder}/1/1.png"])
    page = write_page(frame, tmp_path, images=[folder / "0", folder / "1"])
    assert set(reasons(page)) == {"several files have this name"}
    assert [url for url in shown(page).values() if url] == [make_thumbnail(encoded(11)).url]


def test_files_that_are_gone_or_no_images(folder, scores, tmp_path):
    frame = scores[:4].assign(image_path=NAMES[:4])
    (folder / "0/0.png").unlink()
    (folder / "0/1.png").write_bytes(b"<html>")
    os.mkfifo(folder / "0/0.png")
    page = write_page(frame, tmp_path, images=folder, samples=24)
    assert set(reasons(page)) == {"not a file", "not an image of a known format"}
    assert sum(url != "" for url in shown(page).values()) == 2


@pytest.mark.parametrize("what", ["tars", "images"])
def test_urls(tars, folder, scores, tmp_path, what):
    store = fsspec.filesystem("memory")
    source = tars if what == "tars" else folder
    store.put(str(source), "/report-images", recursive=True)
    frame = scores.assign(image_path=NAMES)
    try:
        options = {what: "memory://report-images", "storage_options": {"skip_instance_cache": False}}
        assert shown(write_page(frame, tmp_path, **options)) == expected(scores)
    finally:
        store.rm("/report-images", recursive=True)


# Arguments, and the command


@pytest.mark.parametrize(
    ("options", "error", "match"),
    [
        ({"tars": "tars", "images": "photos"}, ArgumentError, r"tars \(--tars\) or images \(--images\), got both"),
        ({"tars": "tars", "image_column": "key"}, ArgumentError, "image_column or tars .*, got both"),
        ({"tars": "photos"}, InputError, r"expected tars \(.tar, .tar.gz, .tgz\) in 'photos', got none"),
        ({"tars": "nowhere"}, InputError, "which does not exist"),
        ({"images": "photos"}, ColumnError, r"expected column 'image_path' with images \(--images\), which names the"),
        ({"tars": "tars", "image_extensions": [1]}, ArgumentError, "expected a list of extensions"),
    ],
)
def test_arguments_are_checked_before_anything_is_computed(
    tars, folder, scores, tmp_path, monkeypatch, options, error, match
):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(error, match=match):
        scores.aesthetic.report("report.html", **options)
    with pytest.raises(ColumnError, match=r"expected column 'key' with tars \(--tars\)"):
        scores.drop(columns="key").aesthetic.report("report.html", tars="tars")
    assert not Path("report.html").exists()


def test_the_command_shows_what_a_job_has_scored(tmp_path, monkeypatch):
    pytest.importorskip("open_clip", reason="needs open_clip: pip install 'dask-aesthetic[embed]'")
    from helpers import image_files

    monkeypatch.chdir(tmp_path)
    asked = image_files.scoring(image_files.small_model(tmp_path / "model"))
    options = ["--embed", "--threshold", 3.3, *(part for name, value in asked.items() for part in (f"--{name}", value))]
    for at in range(2):
        write(tmp_path / f"tars/{at:05d}.tar", *(member(f"{key}.jpg", image_files.image(key)) for key in range(4)))
    (tmp_path / "photos/sub").mkdir(parents=True)
    for key in range(4):
        (tmp_path / f"photos/sub/{key}.jpg").write_bytes(image_files.image(key))
    for source, name in (("tars", "--tars"), ("photos", "--images")):
        commands.printed("score", source, f"{source}-scores", *options)
        commands.printed("report", f"{source}-scores", name, source, "--output", f"{source}.html")
        rows = pq.read_table(f"{source}-scores").to_pandas()
        keys = rows["key"] if source == "tars" else rows["image_path"].str[-5]
        images = [make_thumbnail(image_files.image(int(key))).url for key in keys]
        assert shown(Page(Path(f"{source}.html"))) == dict(
            zip(rows["aesthetic_score"].astype(float), images, strict=True)
        )
    ended = commands.run("report", "tars-scores", "--tars", "tars", "--images", "photos")
    assert (ended.status, "got both" in ended.err) == (2, True)
    write(tmp_path / "gifs/0.tar", member("0.gif", tar_files.BLOCK * b"x"))
    ended = commands.run("report", "tars-scores", "--tars", "gifs", "--image-extensions", "gif")
    assert ended.status == 0
    assert "caution: expected images of the sampled rows in 'gifs', got none of" in ended.err
