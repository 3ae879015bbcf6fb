"""DataComp .npz files as Dask frames: pairing, choice of matrix, errors."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from dask_aesthetic import InputError, read_and_score, read_scores, score_dataset, score_embeddings
from dask_aesthetic.readers import read_datacomp
from helpers.shards import ROWS, SHARDS, assert_same_scores, expected_scores, metadata_table


@pytest.mark.parametrize("rows", [None, 10])
def test_npz_and_parquet_files_are_paired_by_name(datacomp, shards, rows):
    scored = read_datacomp(datacomp, rows_per_partition=rows).aesthetic.score().compute()
    wanted = expected_scores(shards).set_index("key").loc[scored["key"]].reset_index()
    assert_same_scores(scored, wanted)
    assert scored["key"].iloc[[0, ROWS]].tolist() == ["0-0", "7-0"]  # By name: 0f, 1f.


def test_key_chooses_the_matrix(datacomp, shards):
    ddf = read_datacomp(datacomp, key="b32_img", columns=["key"])
    assert ddf["image_embedding"].dtype.pyarrow_dtype == pa.list_(pa.float16(), 512)
    first = ddf.get_partition(0)["image_embedding"].compute()
    assert np.stack(first.to_numpy()).tolist() == shards[0][:, :512].tolist()
    with pytest.raises(InputError, match=r"expected a matrix 'l14_txt' in .*0f\.npz, got b32_img, l14_img"):
        read_datacomp(datacomp, key="l14_txt")


def test_text_embeddings_are_another_matrix_of_the_same_file(datacomp, shards):
    read = read_datacomp(datacomp, key="b32_img", text_key="b32_img", text_column="t", columns=["key"])
    found = read.aesthetic.similarity("t").compute()
    assert list(found.columns) == ["key", "image_embedding", "t", "similarity"]
    assert found["similarity"].min() > 1 - 1e-6
    with pytest.raises(InputError, match=r"expected a matrix 'l14_txt' in .*0f\.npz, got b32_img, l14_img"):
        read_datacomp(datacomp, text_column="t")


def test_metadata_alone_reads_no_npz_file(datacomp):
    ddf = read_datacomp(datacomp)
    for file in datacomp.glob("*.npz"):
        file.write_bytes(b"rubbish")
    assert len(ddf[["key"]].compute()) == SHARDS * ROWS
    with pytest.raises(InputError, match="expected a whole"):
        ddf.compute()


def test_pairs_that_do_not_fit_are_refused(datacomp, shards):
    np.savez(datacomp / "1f.npz", l14_img=shards[0][:20])
    with pytest.raises(InputError, match=r"got 25 in .*1f\.parquet and 20 in 'l14_img' of .*1f\.npz"):
        read_datacomp(datacomp)
    np.savez(datacomp / "1f.npz", l14_img=np.array([[None]] * ROWS, object))
    with pytest.raises(InputError, match="got pickled objects"):
        read_datacomp(datacomp)
    (datacomp / "1f.npz").unlink()
    with pytest.raises(InputError, match=r"got 1f\.parquet without its partner"):
        read_datacomp(datacomp)


def test_matrices_in_fortran_order_or_unaligned_are_read(tmp_path, vectors):
    for at, stem in enumerate(["a", "bb", "ccc", "dddd"]):
        np.savez(tmp_path / f"{stem}.npz", **{"x" * (at + 1): vectors[:1], "l14_img": np.asfortranarray(vectors)})
        pq.write_table(metadata_table(at, len(vectors)), tmp_path / f"{stem}.parquet")
    part = read_datacomp(tmp_path, rows_per_partition=70)["image_embedding"].compute()
    assert np.stack(part.to_numpy()).tolist() == np.concatenate([vectors] * 4).tolist()


@pytest.mark.parametrize("order", ["C", "F"])
@pytest.mark.parametrize("shape", [(-1, 1, 768), (-1, 768, 1)])
@pytest.mark.parametrize("save", [np.savez, np.savez_compressed])
def test_matrices_with_an_axis_of_length_1_have_the_scores_of_those_without(tmp_path, vectors, save, shape, order):
    folder = tmp_path / "in"
    folder.mkdir()
    save(folder / "a.npz", l14_img=np.asarray(vectors.reshape(shape), order=order))
    pq.write_table(metadata_table(0, len(vectors)), folder / "a.parquet")
    wanted = score_embeddings(vectors).tobytes()
    for frame in (read_datacomp(folder, rows_per_partition=70).aesthetic.score(), read_and_score(folder)):
        assert frame["aesthetic_score"].compute().to_numpy().tobytes() == wanted
    score_dataset(folder, tmp_path / "out", rows_per_shard=70)
    assert read_scores(tmp_path / "out")["aesthetic_score"].compute().to_numpy().tobytes() == wanted
