"""clip-retrieval output as Dask frames: pairing, projection, memory maps, errors."""

from __future__ import annotations

import shutil

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from dask_aesthetic import ArgumentError, ColumnError, InputError
from dask_aesthetic.readers import read_clip_retrieval
from helpers.laziness import no_compute
from helpers.parquet_files import spoil
from helpers.shards import ROWS, SHARDS, assert_same_scores, expected_scores, metadata_table


def test_real_clip_retrieval_output_scores_equal_the_formula(shared):
    folder = shared / "data/clip_retrieval_b32"
    scored = read_clip_retrieval(folder).aesthetic.score(predictor="laion-v1-b32", threshold=5).compute()
    state = pytest.importorskip("torch").load(shared / "weights/sa_0_4_vit_b_32_linear.pth", weights_only=True)
    z = np.load(folder / "img_emb/img_emb_0.npy").astype(np.float64)
    w, b = state["weight"].double().numpy()[0], state["bias"].double().numpy()[0]
    by_hand = z @ w / np.linalg.norm(z, axis=1) + b
    assert np.abs(scored["aesthetic_score"] - by_hand).max() <= 2e-6
    metadata = pq.read_table(folder / "metadata/metadata_0.parquet")
    assert scored["image_path"].tolist() == metadata["image_path"].to_pylist()
    assert scored["caption"].tolist() == metadata["caption"].to_pylist()


@pytest.mark.parametrize("rows", [None, 4, 1000])
def test_shards_are_paired_and_ordered_by_number(clip, shards, rows):
    ddf = read_clip_retrieval(clip, rows_per_partition=rows)
    assert ddf.npartitions == SHARDS * (7 if rows == 4 else 1)
    computed = ddf.compute()
    assert computed.index.tolist() == list(range(SHARDS * ROWS))
    assert computed["width"].tolist() == list(range(ROWS)) * SHARDS
    assert_same_scores(ddf.aesthetic.score().compute(), expected_scores(shards))


def test_divisions_are_known_row_numbers(clip):
    ddf = read_clip_retrieval(clip, rows_per_partition=10)
    assert ddf.known_divisions
    assert ddf.loc[123:126]["key"].compute().tolist() == ["4-23", "4-24", "5-0", "5-1"]
    assert ddf.partitions[4]["key"].compute().tolist() == ddf["key"].get_partition(4).compute().tolist()


def test_dtypes_are_arrow_and_equal_meta(clip):
    ddf = read_clip_retrieval(clip, embedding_column="z")
    assert ddf.columns.tolist() == ["key", "url", "width", "z"]
    assert {name: dtype.pyarrow_dtype for name, dtype in ddf.dtypes.items()} == {
        "key": pa.string(),
        "url": pa.string(),
        "width": pa.int16(),
        "z": pa.list_(pa.float16(), 768),
    }
    for some in (ddf, ddf[["z", "key"]], ddf["width"].to_frame(), ddf.partitions[3]):
        pd.testing.assert_series_equal(some.compute().dtypes, some.dtypes)


def test_nothing_computes_before_compute(clip):
    with no_compute():
        scored = read_clip_retrieval(clip).aesthetic.score()
    with pytest.raises(AssertionError, match="before it was asked"), no_compute():
        scored.compute()


def test_a_key_alone_reads_no_matrix_and_no_other_column(clip):
    ddf = read_clip_retrieval(clip, rows_per_partition=10)
    scored = ddf.aesthetic.score()
    for file in clip.glob("img_emb/*.npy"):
        file.write_bytes(b"rubbish")
    spoil(str(clip / "metadata"), {"url", "width"})
    assert len(ddf[["key"]].compute()) == len(scored[["key"]].compute()) == SHARDS * ROWS
    with pytest.raises(InputError, match=r"expected a whole \.npy or \.npz file of floats, got .*img_emb_\d+\.npy"):
        scored[["key", "keep"]].compute()
    with pytest.raises(InputError, match=r"expected a whole Parquet file, got .*metadata_\d+\.parquet"):
        ddf[["url"]].compute()


def test_a_score_alone_reads_no_metadata(clip, shards):
    ddf = read_clip_retrieval(clip, rows_per_partition=10)
    shutil.rmtree(clip / "metadata")
    scores = ddf.aesthetic.score()[["aesthetic_score"]].compute()
    assert scores["aesthetic_score"].tolist() == expected_scores(shards)["aesthetic_score"].tolist()
    assert ddf.divisions[-1] + 1 == SHARDS * ROWS  # As the docstring says.


def test_columns_are_chosen(clip):
    assert read_clip_retrieval(clip, columns=["width", "key"]).columns.tolist() == ["width", "key", "image_embedding"]
    assert read_clip_retrieval(clip, columns="ids").columns.tolist() == ["key", "url", "image_embedding"]
    assert read_clip_retrieval(clip, columns=[]).columns.tolist() == ["image_embedding"]
    with pytest.raises(ColumnError, match=r"'uid'.*key, url, width"):
        read_clip_retrieval(clip, columns=["uid"])
    with pytest.raises(ColumnError, match="expected embedding_column='url' to differ"):
        read_clip_retrieval(clip, embedding_column="url")
    for rows in (0, -1, 2.5, True):
        with pytest.raises(ArgumentError, match="rows_per_partition"):
            read_clip_retrieval(clip, rows_per_partition=rows)


def test_an_all_null_column_takes_the_type_of_other_files(clip):
    for number in (0, 7):
        file = clip / f"metadata/metadata_{number:03d}.parquet"
        pq.write_table(metadata_table(number).set_column(1, "url", pa.nulls(ROWS)), file)
    urls = read_clip_retrieval(clip)["url"]
    computed = urls.compute()
    assert computed.dtype == urls.dtype == pd.ArrowDtype(pa.string())
    assert computed.isna().sum() == 2 * ROWS
    pq.write_table(
        metadata_table(3).set_column(1, "url", pa.array(range(ROWS))), clip / "metadata/metadata_003.parquet"
    )
    with pytest.raises(InputError, match=r"same types in all files, got .*metadata_003\.parquet"):
        read_clip_retrieval(clip)


def test_shards_without_rows_are_left_out(clip, shards):
    for number in (0, 5):
        np.save(clip / f"img_emb/img_emb_{number}.npy", shards[0][:0])
        pq.write_table(metadata_table(number, 0), clip / f"metadata/metadata_{number:03d}.parquet")
    ddf = read_clip_retrieval(clip)
    assert ddf.npartitions == SHARDS - 2
    assert_same_scores(
        ddf.aesthetic.score().compute(), expected_scores([shards[0][:0], *shards[1:5], shards[0][:0], *shards[6:]])
    )


def test_only_empty_shards_make_an_empty_frame(tmp_path):
    (tmp_path / "img_emb").mkdir()
    (tmp_path / "metadata").mkdir()
    np.save(tmp_path / "img_emb/img_emb_0.npy", np.empty((0, 768), np.float32))
    pq.write_table(metadata_table(0, 0), tmp_path / "metadata/metadata_0.parquet")
    ddf = read_clip_retrieval(tmp_path)
    assert len(ddf.aesthetic.score().compute()) == 0
    pd.testing.assert_series_equal(ddf.compute().dtypes, ddf.dtypes)


def test_a_pair_of_different_lengths_is_refused(clip):
    pq.write_table(metadata_table(10, 24), clip / "metadata/metadata_010.parquet")
    with pytest.raises(InputError, match=r"got 24 in .*metadata_010\.parquet and 25 in .*img_emb_10\.npy"):
        read_clip_retrieval(clip)


def test_a_file_without_partner_is_refused(clip):
    (clip / "metadata/metadata_007.parquet").unlink()
    with pytest.raises(InputError, match=r"got img_emb/img_emb_7\.npy without its partner"):
        read_clip_retrieval(clip)
    (clip / "img_emb/img_emb_7.npy").unlink()
    (clip / "img_emb/img_emb_8.npy").unlink()
    with pytest.raises(InputError, match=r"got metadata/metadata_008\.parquet without its partner"):
        read_clip_retrieval(clip)


def test_two_files_of_one_number_are_refused(clip, shards):
    np.save(clip / "img_emb/img_emb_01.npy", shards[0])
    with pytest.raises(InputError, match=r"of number 1, got .*img_emb_01\.npy and .*img_emb_1\.npy"):
        read_clip_retrieval(clip)


INVALID_MATRICES = {
    "no_matrix": (np.zeros(ROWS, np.float32), r"got shape \(25,\)"),
    "three_dimensions": (np.zeros((ROWS, 4, 4), np.float32), r"got shape \(25, 4, 4\)"),
    "no_width": (np.zeros((ROWS, 0), np.float32), r"got shape \(25, 0\)"),
    "masks": (np.zeros((ROWS, 768), bool), "expected float16, float32, float64 or integers .* got bool"),
    "other_byte_order": (np.zeros((ROWS, 768), ">f4"), "got >f4"),
    "objects": (np.array([[None]] * ROWS, object), "got pickled objects, which are not loaded"),
    "another_width": (np.zeros((ROWS, 512), np.float16), r"768 float16 in .*_0\.npy and 512 float16 in .*_3\.npy"),
    "another_type": (np.zeros((ROWS, 768), np.float32), r"768 float16 in .*_0\.npy and 768 float32 in .*_3\.npy"),
}


@pytest.mark.parametrize("name", INVALID_MATRICES)
def test_files_that_are_not_float_matrices_are_refused(clip, name):
    matrix, message = INVALID_MATRICES[name]
    np.save(clip / "img_emb/img_emb_3.npy", matrix, allow_pickle=True)
    with pytest.raises(InputError, match=message):
        read_clip_retrieval(clip)


def test_damaged_files_are_refused_before_anything_is_read(clip):
    file = clip / "img_emb/img_emb_3.npy"
    data = file.read_bytes()
    file.write_bytes(data[:-1])
    with pytest.raises(InputError, match=r"expected 25 x 768 float16 in .*img_emb_3\.npy, got a truncated file"):
        read_clip_retrieval(clip)
    file.write_bytes(b"")
    with pytest.raises(InputError, match=r"got .*img_emb_3\.npy"):
        read_clip_retrieval(clip)
    file.write_bytes(data)
    (clip / "metadata/metadata_003.parquet").write_bytes(b"PAR1")
    with pytest.raises(InputError, match=r"expected a Parquet file, got .*metadata_003\.parquet"):
        read_clip_retrieval(clip)


def test_files_that_change_after_the_frame_was_made_are_refused(clip, shards):
    ddf = read_clip_retrieval(clip)
    np.save(clip / "img_emb/img_emb_3.npy", shards[0][:20])
    pq.write_table(metadata_table(3, 20), clip / "metadata/metadata_003.parquet")
    with pytest.raises(InputError, match=r"expected 25 x 768 float16 .* got 20 x 768 float16: start again"):
        ddf[["image_embedding"]].compute()
    with pytest.raises(InputError, match=r"bytes in .*metadata_003\.parquet as when found"):
        ddf[["key"]].compute()
    assert read_clip_retrieval(clip)._name != ddf._name


def test_a_cluster_scores_memory_mapped_embeddings(clip, shards, cluster):
    assert_same_scores(
        read_clip_retrieval(clip, rows_per_partition=10).aesthetic.score().compute(scheduler=cluster),
        expected_scores(shards),
    )


def test_real_text_embeddings_give_the_similarity_of_the_formula(shared):
    folder = shared / "data/clip_retrieval_b32"
    read = read_clip_retrieval(folder, text_column="text_embedding", rows_per_partition=4)
    images, texts = (np.load(folder / f"{kind}_emb/{kind}_emb_0.npy").astype(np.float64) for kind in ("img", "text"))
    exact = (images * texts).sum(axis=1) / np.linalg.norm(images, axis=1) / np.linalg.norm(texts, axis=1)
    with no_compute():
        similar = read.aesthetic.similarity()
    assert np.abs(similar["similarity"].compute() - exact).max() < 2e-7
    both = similar.aesthetic.score(predictor="laion-v1-b32", threshold=5).compute()
    assert both["similarity"].notna().all()
    assert both["aesthetic_score"].notna().all()


def test_text_embeddings_are_read_only_where_they_are_used(clip, shards):
    (clip / "text_emb").mkdir()
    for number, part in enumerate(shards):
        np.save(clip / f"text_emb/text_emb_{number:02d}.npy", -part)
    read = read_clip_retrieval(clip, text_column="t", columns=["key"], rows_per_partition=10)
    assert list(read.columns) == ["key", "image_embedding", "t"]
    found = read[["key", "t"]].compute()
    assert np.stack(found["t"].to_numpy()).tolist() == (-np.concatenate(shards)).tolist()
    assert (read.aesthetic.similarity("t")["similarity"].compute() == -1).all()
    assert "t" not in read_clip_retrieval(clip).columns


def test_text_embeddings_that_do_not_fit_are_refused(clip, shards):
    with pytest.raises(InputError, match=r"expected a matrix of text embeddings beside .*img_emb_0\.npy"):
        read_clip_retrieval(clip, text_column="t")
    (clip / "text_emb").mkdir()
    for number, part in enumerate(shards):
        np.save(clip / f"text_emb/text_emb_{number}.npy", part[: -1 if number == 3 else None])
    with pytest.raises(InputError, match=r"got 24 in .*text_emb_3\.npy and 25 in .*img_emb_3\.npy"):
        read_clip_retrieval(clip, text_column="t")
    for column, message in (("image_embedding", "text_column='image_embedding'"), ("key", "text_column='key' to diff")):
        np.save(clip / "text_emb/text_emb_3.npy", shards[3])
        with pytest.raises(ColumnError, match=message):
            read_clip_retrieval(clip, text_column=column)
