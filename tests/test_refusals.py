"""Arguments, paths and outputs that cannot be used: one error that says what was expected, what came and what to do."""

from __future__ import annotations

import os
import re
import shutil
from pathlib import Path

import dask
import fsspec
import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from distributed import Client, LocalCluster

import dask_aesthetic
from dask_aesthetic import (
    ArgumentError,
    ColumnError,
    InputError,
    MissingDependencyError,
    PredictorError,
    errors,
    read_and_score,
    read_images,
    read_npy,
    read_webdataset,
    score_dataset,
    score_embeddings,
)
from dask_aesthetic.check_dataset import check_dataset
from dask_aesthetic.synthetic import write_demo
from helpers import columns, tar_files


@pytest.fixture
def source(tmp_path, vectors) -> Path:
    (tmp_path / "in").mkdir()
    columns.frame(vectors[:4], "list").to_parquet(tmp_path / "in/a.parquet")
    return tmp_path / "in"


@pytest.fixture
def frame(vectors) -> pd.DataFrame:
    return columns.frame(vectors[:4], "list")


PATHS = [
    (None, "expected a path, a URL or a list of them, got None"),
    (5, "got 5"),
    (b"in", "got b'in'"),
    ([], "got an empty list"),
    ("", "got an empty text: '.' is the working folder"),
    (["in", None], "expected a path or a URL, got None in the list"),
    ([""], "got an empty text"),
]


@pytest.mark.parametrize(("path", "message"), PATHS, ids=[str(path) for path, _ in PATHS])
def test_what_is_no_path_is_refused_by_every_reader(tmp_path, path, message):
    readers = (read_and_score, read_images, read_npy, read_webdataset, check_dataset)
    for read in (*readers, lambda path: score_dataset(path, tmp_path)):
        with pytest.raises(ArgumentError, match=message):
            read(path)


@pytest.mark.parametrize(("output", "message"), [(None, "got None"), (b"out", "got b'out'"), ("", "got an empty text")])
def test_what_is_no_output_is_refused(source, output, message):
    with pytest.raises(ArgumentError, match=f"expected an output folder or URL, {message}"):
        score_dataset(source, output)


@pytest.mark.parametrize("below", ["", "/out", "/out/more"])
def test_an_output_that_is_a_file_is_refused_before_anything_is_read(source, tmp_path, below):
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(InputError, match=f"expected a folder to write to, got the file {tmp_path / 'file'}: choose"):
        score_dataset(source, f"{tmp_path / 'file'}{below}")
    assert (tmp_path / "file").read_text() == "in the way"


def test_a_dangling_link_as_output_is_refused(source, tmp_path):
    (tmp_path / "link").symlink_to(tmp_path / "nowhere")
    with pytest.raises(InputError, match=r"got the file .*link"):
        score_dataset(source, tmp_path / "link")


@pytest.mark.parametrize("options", ["x", 5, ["key"]])
def test_storage_options_that_are_no_dict_are_refused(source, tmp_path, options):
    with pytest.raises(ArgumentError, match="expected storage_options to be a dict"):
        read_and_score(source, storage_options=options)
    with pytest.raises(ArgumentError, match="expected output_options to be a dict"):
        score_dataset(source, tmp_path / "out", output_options=options)


@pytest.mark.parametrize("name", [["image_embedding"], None, {"a": 1}])
def test_an_embedding_column_that_is_no_name_is_refused(source, frame, tmp_path, name):
    hint = ": embedding_column='image_embedding'" if isinstance(name, list) else ""
    for call in (
        lambda: frame.aesthetic.score(name),
        lambda: frame.aesthetic.status(name),
        lambda: frame.aesthetic.check(name),
        lambda: read_and_score(source, embedding_column=name),
        lambda: score_dataset(source, tmp_path / "out", embedding_column=name),
        lambda: check_dataset(source, name),
    ):
        with pytest.raises(ArgumentError, match="expected embedding_column to be the name of one column") as caught:
            call()
        assert str(caught.value).endswith(hint)


@pytest.mark.parametrize(
    ("role", "name"),
    [("keep_column", None), *((role, name) for role in ("score_column", "keep_column") for name in (["a"], 3, ""))],
)
def test_an_added_column_needs_a_name(source, frame, role, name):
    for call in (lambda **more: read_and_score(source, **more), frame.aesthetic.score):
        with pytest.raises(ArgumentError, match=f"expected {role} to be the name of one column"):
            call(**{role: name})


def test_minus_one_as_batch_size_is_curators_default(source, frame, tmp_path):
    expected = frame.aesthetic.score()["aesthetic_score"].tolist()
    assert frame.aesthetic.score(batch_size=-1)["aesthetic_score"].tolist() == expected
    assert read_and_score(source, batch_size=-1).compute()["aesthetic_score"].tolist() == expected
    assert score_dataset(source, tmp_path / "out", batch_size=-1).rows == 4
    assert score_embeddings(np.ones((2, 768), "f4"), batch_size=-1).shape == (2,)
    with pytest.raises(ArgumentError, match="1 or more, or -1 for the default, got -2"):
        frame.aesthetic.score(batch_size=-2)


@pytest.mark.parametrize("predictor", [None, 3, ["laion-v2"], ""])
def test_what_is_no_predictor_is_refused(frame, predictor):
    with pytest.raises(PredictorError, match="expected a predictor's name, path or a loaded Predictor, "):
        frame.aesthetic.score(predictor=predictor)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"progress": True}, "expected progress to be a function.* got True"),
        ({"threads": 0}, "expected threads to be a whole number, 1 or more"),
        ({"threads": "2"}, "expected threads to be a whole number.* got '2'"),
        ({"max_failed": 1.5}, "a share from 0.0 up to 1.0, got 1.5"),
        ({"max_failed": "0%"}, "got '0%': 0% is 0.0"),
        ({"worker_timeout": 0}, "expected worker_timeout to be a number of seconds above 0"),
        ({"columns": 3}, "expected columns to be a list of names, 'ids' or 'all', got 3"),
        ({"client": "tcp://10.0.0.1:8786"}, r"got 'tcp://.*': distributed.Client\('tcp://10.0.0.1:8786'\) makes one"),
        ({"client": 7}, "expected client to be a distributed.Client, got 7"),
    ],
)
def test_arguments_of_a_job_that_cannot_be_used_are_refused(source, tmp_path, options, message):
    with pytest.raises(ArgumentError, match=message):
        score_dataset(source, tmp_path / "out", **options)
    assert not (tmp_path / "out").exists()


def test_clients_that_cannot_be_used_are_refused(source, tmp_path, cluster):
    with pytest.raises(ArgumentError, match="got both"):
        score_dataset(source, tmp_path / "out", client=cluster, threads=2)
    with LocalCluster(n_workers=1, processes=False, dashboard_address=None) as own:
        with pytest.raises(ArgumentError, match=r": cluster.get_client\(\) makes one"):
            score_dataset(source, tmp_path / "out", client=own)
        client = Client(own, set_as_default=False)
        client.close()
        with pytest.raises(ArgumentError, match="connected to its cluster, got one that is closed"):
            score_dataset(source, tmp_path / "out", client=client)


def test_the_cudf_backend_without_cudf_says_what_to_install(source):
    if shutil.which("nvidia-smi"):
        pytest.skip("needs a machine without cuDF")
    with (
        dask.config.set({"dataframe.backend": "cudf"}),
        pytest.raises(MissingDependencyError, match=r"pip install 'dask-aesthetic\[cuda13\]'"),
    ):
        read_and_score(source)


def test_an_output_on_s3_without_credentials_is_one_error(source, monkeypatch):
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_PROFILE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", "/nonexistent")
    monkeypatch.setenv("AWS_CONFIG_FILE", "/nonexistent")
    with pytest.raises(InputError, match=r"got s3://bucket/out: .*redentials.* Check its name, and credentials"):
        score_dataset(source, "s3://bucket/out")


# Names


UNDECODABLE = os.fsdecode(b"b\xff")


def place(tmp_path: Path, vectors) -> dict[str, Path]:
    """Files of each kind, with a name, or in a folder with a name, that is not UTF-8."""
    frame = columns.frame(vectors[:3], "list")
    for folder in (tmp_path / "file", tmp_path / UNDECODABLE, tmp_path / "npy", tmp_path / "tar"):
        folder.mkdir()
    pq.write_table(pa.Table.from_pandas(frame), pa.OSFile(str(tmp_path / "x.parquet"), "wb"))
    shutil.copy(tmp_path / "x.parquet", tmp_path / "file" / f"{UNDECODABLE}.parquet")
    shutil.copy(tmp_path / "x.parquet", tmp_path / UNDECODABLE / "a.parquet")
    with (tmp_path / "npy" / f"{UNDECODABLE}.npy").open("wb") as stream:
        np.save(stream, vectors[:3])
    tar_files.write(tmp_path / "tar" / f"{UNDECODABLE}.tar", *tar_files.samples(1))
    return {
        "file": tmp_path / "file",
        "folder": tmp_path / UNDECODABLE,
        "npy": tmp_path / "npy",
        "tar": tmp_path / "tar",
    }


@pytest.mark.parametrize("kind", ["file", "folder", "npy", "tar"])
def test_names_that_are_not_utf8_are_named_and_refused(tmp_path, vectors, kind):
    path = place(tmp_path, vectors)[kind]
    readers = {"npy": [read_npy, check_dataset], "tar": [read_webdataset]}.get(kind, [read_and_score, check_dataset])
    for read in (*readers, *([] if kind == "tar" else [lambda path: score_dataset(path, tmp_path / "out")])):
        with pytest.raises(InputError, match=r"expected .*UTF-8.*b\\+(xff|udcff)|is not UTF-8") as caught:
            read(path)
        str(caught.value).encode()


def test_an_output_name_that_is_not_utf8_is_refused(source, tmp_path):
    with pytest.raises(ArgumentError, match=r"UTF-8, got .*b\\xff"):
        score_dataset(source, tmp_path / UNDECODABLE)


def test_brackets_in_a_remote_name_are_no_glob(source):
    memory = fsspec.filesystem("memory")
    memory.pipe("/brackets/a[1].parquet", (source / "a.parquet").read_bytes())
    memory.pipe("/brackets/a1.parquet", b"not this one")
    try:
        assert len(read_and_score("memory://brackets/a[1].parquet").compute()) == 4
        memory.pipe("/brackets/b1.parquet", (source / "a.parquet").read_bytes())
        assert len(read_and_score("memory://brackets/b[0-9].parquet").compute()) == 4
    finally:
        memory.rm("/brackets", recursive=True)


def test_a_pipe_is_refused_and_not_opened(tmp_path):
    os.mkfifo(tmp_path / "fifo.parquet")
    with pytest.raises(InputError, match="a pipe or device: write a file first"):
        read_and_score(tmp_path / "fifo.parquet")


def test_a_server_that_is_not_reached_is_not_a_missing_file():
    for url in ("http://127.0.0.1:9/x.parquet", "http://127.0.0.1:9/*.parquet"):
        with pytest.raises(InputError, match=r"Cannot connect|Connect call failed") as caught:
            read_and_score(url)
        assert "does not exist" not in str(caught.value)


def test_a_demo_is_written_to_a_path_of_text(tmp_path):
    assert write_demo(str(tmp_path / "demo"), rows=16) == tmp_path / "demo"


# Columns


@pytest.mark.parametrize("names", [["image_embedding", "image_embedding", "key"], ["image_embedding", "key", "key"]])
def test_a_column_name_that_occurs_twice_is_refused_where_it_is_needed(tmp_path, vectors, names):
    arrays = {"image_embedding": columns.array(vectors[:3], "list"), "key": pa.array(["a", "b", "c"])}
    table = pa.Table.from_arrays([arrays[name] for name in names], names=names)
    pq.write_table(table, tmp_path / "k.parquet")
    twice = names[1]
    for call in (
        lambda: read_and_score(tmp_path / "k.parquet"),
        lambda: score_dataset(tmp_path / "k.parquet", tmp_path / "out"),
        *([lambda: check_dataset(tmp_path / "k.parquet")] if twice == "image_embedding" else []),
    ):
        with pytest.raises(ColumnError, match=f"expected one column '{twice}', got several of that name"):
            call()
    assert not (tmp_path / "out").exists()
    if twice == "key":
        assert len(read_and_score(tmp_path / "k.parquet", columns=[]).compute()) == 3


TAGS = {
    "objects": pd.Series([["a"], ["b"]]),
    "dicts": pd.Series([{"a": 1}, None]),
    "Arrow lists": pd.Series(pd.array([["a"], ["b"]], dtype=pd.ArrowDtype(pa.list_(pa.string())))),
    "Arrow structs": pd.Series(pd.array([{"a": 1}, None], dtype=pd.ArrowDtype(pa.struct({"a": pa.int64()})))),
}


@pytest.mark.parametrize("name", TAGS)
@pytest.mark.parametrize("lazy", [False, True])
def test_groups_by_a_column_of_lists_are_refused_with_what_would_do(name, lazy):
    frame = pd.DataFrame({"aesthetic_score": np.float32([5, 6]), "tags": TAGS[name]})
    with dask.config.set({"dataframe.convert-string": False}):
        asked = dask.dataframe.from_pandas(frame, npartitions=1) if lazy else frame
        with pytest.raises(
            ColumnError, match=r"expected a column of one value per row .* in 'tags': .*explode\('tags'\)"
        ):
            asked.aesthetic.distribution(by="tags")
    made = frame.assign(group=frame["tags"].map(str))
    assert len(made.aesthetic.distribution(by="group")) == 2


def test_the_public_errors_are_of_one_class():
    names = [name for name in dask_aesthetic.__all__ if name.endswith("Error")]
    assert all(issubclass(getattr(dask_aesthetic, name), dask_aesthetic.AestheticError) for name in names)


def test_every_error_class_is_in_the_documentation():

    listed = set(
        re.findall(r"^\| `(\w+)` \|", (Path(__file__).parents[1] / "docs/errors.md").read_text(), re.MULTILINE)
    )
    classes = {
        name
        for name, kind in vars(errors).items()
        if isinstance(kind, type) and issubclass(kind, errors.AestheticError) and kind is not errors.AestheticError
    }
    assert listed == classes
