"""Matrices in .safetensors and .pt files: by name, without running code, and nothing that their headers only claim."""

from __future__ import annotations

import json
import os
import pickle
import tracemalloc
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file

from dask_aesthetic import ArgumentError, ColumnError, InputError, read_and_score, read_tensors, score_dataset
from dask_aesthetic.check_dataset import check_dataset
from dask_aesthetic.io.safetensors_files import open_safetensors
from dask_aesthetic.io.storage import local_file
from dask_aesthetic.io.torch_files import open_torch
from helpers.commands import printed, run


def saved(path: Path, tensors: dict[str, torch.Tensor]) -> Path:
    (save_file if path.suffix == ".safetensors" else torch.save)(tensors, path)
    return path


@pytest.fixture(params=[".safetensors", ".pt"])
def suffix(request) -> str:
    return request.param


def test_several_tensors_are_chosen_by_name_and_refused_without_one(tmp_path, vectors, suffix):
    images, texts = torch.from_numpy(vectors[:40]), torch.from_numpy(vectors[40:80].copy())
    path = saved(tmp_path / f"part{suffix}", {"images": images, "texts": texts})
    message = r"expected one tensor in .*, got 'images', 'texts': choose one by its name, matrix_key= \(--matrix-key\)"
    for call in (read_and_score, read_tensors, check_dataset):
        with pytest.raises(InputError, match=message):
            call(path)
    with pytest.raises(InputError, match=r"expected a tensor 'clip' in .*, got 'images', 'texts'"):
        read_and_score(path, matrix_key="clip")
    assert "choose one by its name" in run("score", path, tmp_path / "none").err
    printed("score", path, tmp_path / "out", "--matrix-key", "texts")
    assert "usable" in printed("check", path, "--matrix-key", "texts")
    wanted = read_tensors(saved(tmp_path / f"alone{suffix}", {"a": texts})).aesthetic.score()["aesthetic_score"]
    found = read_and_score(path, matrix_key="texts").compute()
    assert found["aesthetic_score"].tolist() == wanted.compute().tolist()
    assert found[["shard", "row"]].iloc[3].tolist() == ["part", 3]
    # The name is a setting of the job.
    with pytest.raises(InputError, match="matrix_key was 'texts' and now is 'images'"):
        score_dataset(path, tmp_path / "out", matrix_key="images")
    assert open_matrix(path, "images") != open_matrix(path, "texts")


def open_matrix(path: Path, key: str | None = None):
    return (open_safetensors if path.suffix == ".safetensors" else open_torch)(local_file(str(path)), key)


@pytest.mark.parametrize(
    ("tensor", "message"),
    [
        (torch.zeros(768), r"expected a matrix \(rows, width\) in .*, got shape \(768,\)"),
        (torch.zeros(4, 2, 384), r"got shape \(4, 2, 384\)"),
        (torch.zeros(4, 0), r"got shape \(4, 0\)"),
        (torch.zeros(4, 768, dtype=torch.bool), "expected .*floats or integers"),
        (torch.zeros(4, 768, dtype=torch.complex64), "expected .*floats or integers"),
        (torch.zeros(4, 768, dtype=torch.float8_e4m3fn), "expected .*floats or integers"),
    ],
)
def test_what_is_no_matrix_of_numbers_is_refused(tmp_path, suffix, tensor, message):
    if suffix == ".safetensors" and tensor.dtype == torch.complex64:
        pytest.skip("safetensors of the lowest version write none")
    with pytest.raises(InputError, match=message):
        read_tensors(saved(tmp_path / f"a{suffix}", {"a": tensor}))


def test_axes_of_length_1_are_dropped_and_other_widths_are_refused(tmp_path, vectors, suffix):
    path = saved(tmp_path / f"a{suffix}", {"a": torch.from_numpy(vectors[:5])[:, None]})
    assert read_and_score(path)["aesthetic_score"].compute().notna().all()
    with pytest.raises(ColumnError, match=r"expected 768 floats per row .*, got 512"):
        read_and_score(saved(path, {"a": torch.zeros(4, 512)}))
    assert len(read_tensors(saved(path, {"a": torch.zeros(0, 768)}))) == 0


def test_tensors_stay_in_the_mapped_file(tmp_path, vectors, suffix):
    path = saved(tmp_path / f"a{suffix}", {"a": torch.from_numpy(vectors)})
    column = read_tensors(path, rows_per_partition=100).get_partition(1)["image_embedding"].compute(scheduler="sync")
    address = pa.array(column.array).flatten().buffers()[1].address
    maps = Path("/proc/self/maps").read_text().splitlines()
    ranges = [line.split()[0].split("-") for line in maps if line.endswith(path.name)]
    assert any(int(start, 16) <= address < int(stop, 16) for start, stop in ranges)


def test_memory_does_not_grow_with_the_matrix(tmp_path, suffix):
    path = saved(tmp_path / f"a{suffix}", {"a": torch.full((60_000, 768), 0.5, dtype=torch.bfloat16)})
    matrix = open_matrix(path)
    tracemalloc.start()
    with matrix.reader(0, matrix.rows) as read:
        for start in range(0, matrix.rows, 4096):
            read(start, min(start + 4096, matrix.rows))
        matrix.digest(0, matrix.rows)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 60e6 < path.stat().st_size


# Hostile files


class Runs:
    """An object whose pickle runs a command."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self):
        return os.mkdir, (str(self.path),)


def test_code_in_a_pt_file_is_not_run(tmp_path):
    torch.save({"a": torch.zeros(2, 768), "b": Runs(tmp_path / "ran")}, tmp_path / "a.pt")
    (tmp_path / "b.pt").write_bytes(pickle.dumps(Runs(tmp_path / "ran")))
    for name in ("a.pt", "b.pt"):
        for key in (None, "a"):
            with pytest.raises(InputError, match=r"expected (tensors alone|a whole \.pt file)"):
                read_and_score(tmp_path / name, matrix_key=key)
    assert not (tmp_path / "ran").exists()


def test_pt_files_of_other_kinds_are_refused(tmp_path, vectors):
    path = tmp_path / "a.pt"
    for value, message in (
        ([torch.zeros(2, 768)], "expected a tensor or a dict of tensors in .*, got list"),
        ({}, "expected one tensor in .*, got none: save a matrix"),
        (torch.zeros(1, 768).expand(1 << 40, 768), "got a view that repeats rows"),
        (torch.zeros(2, 768).to_sparse(), "expected a dense tensor"),
    ):
        torch.save(value, path)
        with pytest.raises(InputError, match=message):
            read_and_score(path)
    torch.save(torch.from_numpy(vectors), path, _use_new_zipfile_serialization=False)
    with pytest.raises(InputError, match=r"as torch\.save writes it since torch 1\.6"):
        read_and_score(path)
    torch.save(torch.from_numpy(vectors), path)
    with pytest.raises(InputError, match="got one without a name: leave matrix_key out"):
        read_and_score(path, matrix_key="a")
    content = path.read_bytes()
    for length in (0, 3, 100, len(content) // 2, len(content) - 1):
        path.write_bytes(content[:length])
        with pytest.raises(InputError, match=r"expected .*a\.pt"):
            read_and_score(path)


def header(entries: object, data: bytes = b"", length: int | None = None) -> bytes:
    text = entries if isinstance(entries, bytes) else json.dumps(entries).encode()
    return (len(text) if length is None else length).to_bytes(8, "little") + text + data


def entry(**changes: object) -> dict[str, object]:
    return {"a": {"dtype": "F32", "shape": [2, 768], "data_offsets": [0, 6144], **changes}}


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"1234567",
        header(b"{}", length=1 << 62),
        header(b"{}", length=3),
        header(b"[" * 50_000),
        header(b"[1]"),
        header({"a": 3}, bytes(6144)),
        header(entry(data_offsets=[0, 6140]), bytes(6140)),
        header(entry(data_offsets=[0, 6144]), bytes(6140)),
        header(entry(data_offsets=[4, 6148]), bytes(6148)),
        header(entry(data_offsets=[-6144, 0]), bytes(6144)),
        header(entry(shape=[1 << 62, 768]), bytes(6144)),
        header(entry(shape=[-2, -768]), bytes(6144)),
        header(entry(shape="2,768"), bytes(6144)),
        header(entry(dtype="Q4"), bytes(6144)),
        header(entry(), bytes(6145)),
    ],
)
def test_damaged_safetensors_are_refused_as_the_library_does(tmp_path, content):
    path = tmp_path / "a.safetensors"
    path.write_bytes(content)
    with pytest.raises(InputError, match=r"a\.safetensors"):
        read_tensors(path)
    with pytest.raises((SafetensorError, OSError)), safe_open(str(path), "np") as file:
        file.get_tensor("a")


def test_remote_headers_are_checked_without_the_library(s3, vectors):
    path = f"{s3.url}/a.safetensors"
    for content in (header(entry(), bytes(6140)), header(b"[1]"), header(b"{}", length=1 << 40), b"123"):
        s3.fs.pipe_file(path, content)
        with pytest.raises(InputError, match=r"a\.safetensors"):
            read_tensors(path, storage_options=s3.options)


def test_zero_points_are_refused_with_floats_and_read_tensors_with_other_files(tmp_path, vectors, suffix):
    path = saved(tmp_path / f"a{suffix}", {"a": torch.from_numpy(vectors)})
    with pytest.raises(ArgumentError, match="with uint8 or int8, got float32"):
        read_tensors(path, embedding_zero_point=128)
    np.save(tmp_path / "b.npy", vectors)
    with pytest.raises(InputError, match=r"expected \.safetensors or \.pt files in .*, got the format 'npy'"):
        read_tensors(tmp_path / "b.npy")
    with pytest.raises(ColumnError, match="embedding_column='row'"):
        read_tensors(path, embedding_column="row")


def test_a_file_that_changes_between_plan_and_read_is_refused(tmp_path, vectors, suffix):
    path = saved(tmp_path / f"a{suffix}", {"a": torch.from_numpy(vectors)})
    frame = read_and_score(path)
    saved(path, {"a": torch.from_numpy(vectors[:200].copy())})
    with pytest.raises(InputError, match="as when found, got"):
        frame.compute(scheduler="sync")
