""".npy matrices as Dask frames: location columns, memory maps, text embeddings, damaged files."""

from __future__ import annotations

import io
import zipfile
from contextlib import nullcontext

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest

from dask_aesthetic import ColumnError, InputError
from dask_aesthetic.check_dataset import check_dataset
from dask_aesthetic.errors import AestheticWarning
from dask_aesthetic.io.npy import open_matrix
from dask_aesthetic.io.storage import local_file
from dask_aesthetic.readers import read_npy
from helpers.shards import ROWS, SHARDS, expected_scores


def test_columns_are_shard_row_and_embedding(tmp_path, shards):
    for number, part in enumerate(shards):
        np.save(tmp_path / f"z{number:02d}.npy", part)
    for path in (tmp_path, tmp_path / "*.npy"):
        scored = read_npy(path, rows_per_partition=10).aesthetic.score().compute()
        assert scored["shard"].tolist() == [f"z{number:02d}" for number in range(SHARDS) for _ in range(ROWS)]
        assert scored["row"].tolist() == list(range(ROWS)) * SHARDS
        assert scored["aesthetic_score"].tolist() == expected_scores(shards)["aesthetic_score"].tolist()
    one = read_npy(tmp_path / "z03.npy")[["row", "shard"]]
    assert one.compute().iloc[24].tolist() == [24, "z03"]
    with pytest.raises(ColumnError, match="embedding_column='row'"):
        read_npy(tmp_path, embedding_column="row")


def is_mapped(column: pd.Series, file) -> bool:
    """Whether the floats of a column are in a memory map of the file."""
    lists = pa.array(column.array)
    chunk = lists.chunk(0) if isinstance(lists, pa.ChunkedArray) else lists
    address = chunk.flatten().buffers()[1].address
    with open("/proc/self/maps") as maps:
        for line in maps:
            if line.rstrip().endswith(str(file)):
                start, stop = (int(part, 16) for part in line.split()[0].split("-"))
                if start <= address < stop:
                    return True
    return False


@pytest.mark.parametrize("dtype", ["float16", "float32", "float64"])
def test_embeddings_stay_in_the_memory_mapped_file(tmp_path, vectors, dtype):
    np.save(tmp_path / "z.npy", vectors.astype(dtype))
    ddf = read_npy(tmp_path, rows_per_partition=100)
    part = ddf.get_partition(1)["image_embedding"].compute(scheduler="sync")
    assert is_mapped(part, tmp_path / "z.npy")
    got = np.stack(part.to_numpy())
    assert got.dtype == dtype
    assert got.tolist() == vectors[100:200].astype(dtype).tolist()


def save_appended(path, vectors, more: bytes = b"") -> None:
    """Save the parts of a matrix one after another into one open file."""
    with path.open("wb") as file:
        np.save(file, vectors[:3])
        np.save(file, vectors[3:])
        file.write(more)


def test_bytes_after_a_matrix_are_refused(tmp_path, vectors):
    save_appended(tmp_path / "twice.npy", vectors)
    after = 128 + 3072 * (len(vectors) - 3)
    with pytest.raises(InputError, match=rf"twice\.npy to end after its matrix of 3 x 768 .*, got {after:,} more byte"):
        read_npy(tmp_path)
    for make in (np.savez, np.savez_compressed):
        make(tmp_path / "good.npz", l14_img=vectors)
        assert len(read_matrix(tmp_path / "good.npz")) == len(vectors)
        with zipfile.ZipFile(tmp_path / "good.npz") as good, zipfile.ZipFile(tmp_path / "bad.npz", "w") as bad:
            method = good.infolist()[0].compress_type
            bad.writestr("l14_img.npy", good.read("l14_img.npy") + b"\0", method)
        with pytest.raises(InputError, match=r"'l14_img' of .*bad\.npz to end .*, got 1 more bytes"):
            read_matrix(tmp_path / "bad.npz")


def test_two_matrices_of_one_name_are_refused(tmp_path, vectors):
    with zipfile.ZipFile(tmp_path / "twice.npz", "w") as archive:
        for at, part in enumerate((vectors[:100], vectors[100:])):
            buffer = io.BytesIO()
            np.save(buffer, part)
            with pytest.warns(UserWarning, match="Duplicate name") if at else nullcontext():
                archive.writestr("l14_img.npy", buffer.getvalue())
    with pytest.raises(InputError, match=r"one matrix 'l14_img' in .*twice\.npz, got 2 members of that name"):
        read_matrix(tmp_path / "twice.npz")


@pytest.mark.parametrize("make", [np.savez, np.savez_compressed])
def test_npz_files_one_after_another_are_refused(tmp_path, vectors, make):
    make(tmp_path / "a.npz", l14_img=vectors[:100])
    np.save(tmp_path / "b.npy", vectors[:2])
    whole, matrix = (tmp_path / "a.npz").read_bytes(), (tmp_path / "b.npy").read_bytes()
    for data in (whole + whole, matrix + whole, whole + matrix):
        (tmp_path / "both.npz").write_bytes(data)
        with pytest.raises(InputError, match=r"one \.npz file in .*both\.npz, got more bytes before or after it"):
            read_matrix(tmp_path / "both.npz")
    with zipfile.ZipFile(tmp_path / "a.npz", "a") as archive:
        archive.comment = b"made by hand"
    assert len(read_matrix(tmp_path / "a.npz")) == 100


def read_matrix(path):
    matrix = open_matrix(local_file(str(path)), "l14_img")
    return matrix.read(0, matrix.rows)


@pytest.mark.parametrize(
    ("images", "texts"),
    [
        ("image_embeddings.npy", "text_embeddings.npy"),
        ("img_emb/img_emb_0.npy", "text_emb/text_emb_0.npy"),
        ("CLIP-Image-0.npy", "CLIP-Text-0.npy"),
        ("photos.npy", "captions.npy"),
    ],
)
def test_text_matrices_beside_image_matrices_are_left_out_with_a_warning(tmp_path, vectors, images, texts):
    for name, part in ((images, vectors[:200]), (texts, vectors[200:])):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        np.save(tmp_path / name, part)
    with pytest.warns(AestheticWarning, match=rf"left out: '{texts}'"):
        assert len(read_npy(tmp_path).compute()) == 200
    with pytest.warns(AestheticWarning, match=rf"left out: '{texts}'"):
        assert check_dataset(tmp_path).rows == 200
    assert len(read_npy(tmp_path / texts).compute()) == 100  # Named itself.
    assert len(read_npy([tmp_path / texts, tmp_path / images]).compute()) == 300
    with pytest.warns(AestheticWarning, match="left out"):  # A glob does not name a file itself.
        assert len(read_npy(tmp_path / "**/*.npy").compute()) == 200


def test_matrices_whose_names_only_begin_with_text_are_read(tmp_path, vectors):
    for name in ("textures.npy", "context.npy", "images.npy"):
        np.save(tmp_path / name, vectors)
    assert len(read_npy(tmp_path).compute()) == 900
    (tmp_path / "images.npy").unlink()
    (tmp_path / "context.npy").rename(tmp_path / "text.npy")  # No images beside it.
    assert len(read_npy(tmp_path).compute()) == 600
