"""What the field has on disk as Dask frames: paired, projected, mapped, and refused where it does not fit."""

from __future__ import annotations

import io
import pickle
import shutil
import subprocess
import sys
import zipfile
from contextlib import nullcontext
from importlib.util import find_spec

import dask
import dask.dataframe as dd
import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from dask_aesthetic import ArgumentError, ColumnError, InputError, InvalidEmbeddingError, ThresholdError
from dask_aesthetic.errors import AestheticWarning
from dask_aesthetic.inputs import cudf, read_and_score, read_clip_retrieval, read_datacomp, read_frame, read_npy
from dask_aesthetic.inputs.file import local_file
from dask_aesthetic.inputs.matrices import open_matrix
from dask_aesthetic.inputs.score_parquet import _combine_row_groups
from helpers import backends, columns
from helpers.laziness import no_compute
from helpers.parquet_files import spoil
from helpers.predictors import RELU

SHARDS = 12
ROWS = 25


def table(number: int, rows: int = ROWS, **more) -> pa.Table:
    keys = [f"{number}-{at}" for at in range(rows)]
    return pa.table({"key": keys, "url": keys, "width": pa.array(range(rows), pa.int16()), **more})


@pytest.fixture
def shards(vectors) -> list[np.ndarray]:
    return np.array_split(vectors.astype(np.float16), SHARDS)


@pytest.fixture
def clip(tmp_path, shards):
    """Twelve shards whose names sort otherwise than their numbers, with and without zeros before them."""
    (tmp_path / "img_emb").mkdir()
    (tmp_path / "metadata").mkdir()
    for number, part in enumerate(shards):
        np.save(tmp_path / f"img_emb/img_emb_{number}.npy", part)
        pq.write_table(table(number), tmp_path / f"metadata/metadata_{number:03d}.parquet", row_group_size=10)
    return tmp_path


@pytest.fixture(params=[np.savez, np.savez_compressed], ids=["stored", "compressed"])
def datacomp(request, tmp_path, shards):
    for number, part in enumerate(shards):
        stem = f"{(number * 7) % SHARDS:x}f"
        request.param(tmp_path / f"{stem}.npz", b32_img=part[:, :512], l14_img=part)
        pq.write_table(table(number), tmp_path / f"{stem}.parquet")
    return tmp_path


def expected(shards, **arguments) -> pd.DataFrame:
    """Keys and scores of the shards, in their order, from a frame in memory."""
    frame = columns.frame(np.concatenate(shards), "fixed_size_list", "float16")
    frame["key"] = [f"{number}-{at}" for number, part in enumerate(shards) for at in range(len(part))]
    return frame.aesthetic.score(**arguments)


def same(got: pd.DataFrame, wanted: pd.DataFrame) -> None:
    assert got["key"].tolist() == wanted["key"].tolist()
    assert got["aesthetic_score"].to_numpy().tobytes() == wanted["aesthetic_score"].to_numpy().tobytes()
    assert got["keep"].tolist() == wanted["keep"].tolist()


# clip-retrieval


def test_what_clip_retrieval_wrote_is_scored_as_by_hand(shared):
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


@pytest.mark.parametrize("rows", [None, 4, 10, ROWS, 1000])
def test_shards_are_paired_by_number_and_read_in_its_order(clip, shards, rows):
    ddf = read_clip_retrieval(clip, rows_per_partition=rows)
    assert ddf.npartitions == SHARDS * {4: 7, 10: 3}.get(rows, 1)
    computed = ddf.compute()
    assert computed.index.tolist() == list(range(SHARDS * ROWS))
    assert computed["width"].tolist() == list(range(ROWS)) * SHARDS
    same(ddf.aesthetic.score().compute(), expected(shards))


def test_a_partition_is_found_by_its_row_numbers(clip):
    ddf = read_clip_retrieval(clip, rows_per_partition=10)
    assert ddf.known_divisions
    assert ddf.loc[123:126]["key"].compute().tolist() == ["4-23", "4-24", "5-0", "5-1"]
    assert ddf.partitions[4]["key"].compute().tolist() == ddf["key"].get_partition(4).compute().tolist()


def test_types_are_arrow_and_meta_says_them(clip):
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


def test_only_the_header_is_read_before_it_is_asked_for(clip):
    with no_compute():
        scored = read_clip_retrieval(clip).aesthetic.score()
    with pytest.raises(AssertionError, match="before it was asked"), no_compute():
        scored.compute()


def test_a_key_alone_touches_no_matrix_and_no_other_column(clip):
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


def test_a_score_alone_touches_no_metadata(clip, shards):
    ddf = read_clip_retrieval(clip, rows_per_partition=10)
    shutil.rmtree(clip / "metadata")
    scores = ddf.aesthetic.score()[["aesthetic_score"]].compute()
    assert scores["aesthetic_score"].tolist() == expected(shards)["aesthetic_score"].tolist()
    assert ddf.divisions[-1] + 1 == SHARDS * ROWS  # As its docstring says.


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


def test_a_column_that_is_null_throughout_a_file_takes_the_others_type(clip):
    for number in (0, 7):
        file = clip / f"metadata/metadata_{number:03d}.parquet"
        pq.write_table(table(number).set_column(1, "url", pa.nulls(ROWS)), file)
    urls = read_clip_retrieval(clip)["url"]
    computed = urls.compute()
    assert computed.dtype == urls.dtype == pd.ArrowDtype(pa.string())
    assert computed.isna().sum() == 2 * ROWS
    pq.write_table(table(3).set_column(1, "url", pa.array(range(ROWS))), clip / "metadata/metadata_003.parquet")
    with pytest.raises(InputError, match=r"same types in all files, got .*metadata_003\.parquet"):
        read_clip_retrieval(clip)


def is_mapped(column: pd.Series, file) -> bool:
    """Whether the floats of a column lie in a mapping of the file."""
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
def test_embeddings_stay_in_the_mapped_file(tmp_path, vectors, dtype):
    np.save(tmp_path / "z.npy", vectors.astype(dtype))
    ddf = read_npy(tmp_path, rows_per_partition=100)
    part = ddf.get_partition(1)["image_embedding"].compute(scheduler="sync")
    assert is_mapped(part, tmp_path / "z.npy")
    got = np.stack(part.to_numpy())
    assert got.dtype == dtype
    assert got.tolist() == vectors[100:200].astype(dtype).tolist()


def test_shards_without_rows_are_left_out(clip, shards):
    for number in (0, 5):
        np.save(clip / f"img_emb/img_emb_{number}.npy", shards[0][:0])
        pq.write_table(table(number, 0), clip / f"metadata/metadata_{number:03d}.parquet")
    ddf = read_clip_retrieval(clip)
    assert ddf.npartitions == SHARDS - 2
    same(ddf.aesthetic.score().compute(), expected([*[shards[0][:0]], *shards[1:5], shards[0][:0], *shards[6:]]))


def test_nothing_but_empty_shards_is_an_empty_frame(tmp_path):
    (tmp_path / "img_emb").mkdir()
    (tmp_path / "metadata").mkdir()
    np.save(tmp_path / "img_emb/img_emb_0.npy", np.empty((0, 768), np.float32))
    pq.write_table(table(0, 0), tmp_path / "metadata/metadata_0.parquet")
    ddf = read_clip_retrieval(tmp_path)
    assert len(ddf.aesthetic.score().compute()) == 0
    pd.testing.assert_series_equal(ddf.compute().dtypes, ddf.dtypes)


def test_a_pair_of_different_lengths_is_refused_with_both(clip):
    pq.write_table(table(10, 24), clip / "metadata/metadata_010.parquet")
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


@pytest.mark.parametrize("read", [read_clip_retrieval, read_datacomp, read_npy, read_and_score])
def test_nothing_to_read_is_refused(tmp_path, read):
    with pytest.raises(InputError, match=r"got neither|got none"):
        read(tmp_path)
    with pytest.raises(InputError, match=r"not there|does not exist"):
        read(tmp_path / "nowhere")


BAD = {
    "no_matrix": (np.zeros(ROWS, np.float32), r"got shape \(25,\)"),
    "three_dimensions": (np.zeros((ROWS, 4, 4), np.float32), r"got shape \(25, 4, 4\)"),
    "no_width": (np.zeros((ROWS, 0), np.float32), r"got shape \(25, 0\)"),
    "integers": (np.zeros((ROWS, 768), np.int64), "expected float16, float32 or float64 .* got int64"),
    "other_byte_order": (np.zeros((ROWS, 768), ">f4"), "got >f4"),
    "objects": (np.array([[None]] * ROWS, object), "got pickled objects, which are not loaded"),
    "another_width": (np.zeros((ROWS, 512), np.float16), r"768 float16 in .*_0\.npy and 512 float16 in .*_3\.npy"),
    "another_type": (np.zeros((ROWS, 768), np.float32), r"768 float16 in .*_0\.npy and 768 float32 in .*_3\.npy"),
}


@pytest.mark.parametrize("name", BAD)
def test_what_is_no_matrix_of_floats_is_refused(clip, name):
    matrix, message = BAD[name]
    np.save(clip / "img_emb/img_emb_3.npy", matrix, allow_pickle=True)
    with pytest.raises(InputError, match=message):
        read_clip_retrieval(clip)


def test_damaged_files_are_refused_before_anything_is_read(clip):
    file = clip / "img_emb/img_emb_3.npy"
    whole = file.read_bytes()
    file.write_bytes(whole[:-1])
    with pytest.raises(InputError, match=r"expected 25 x 768 float16 in .*img_emb_3\.npy, got a truncated file"):
        read_clip_retrieval(clip)
    file.write_bytes(b"")
    with pytest.raises(InputError, match=r"got .*img_emb_3\.npy"):
        read_clip_retrieval(clip)
    file.write_bytes(whole)
    (clip / "metadata/metadata_003.parquet").write_bytes(b"PAR1")
    with pytest.raises(InputError, match=r"expected a Parquet file, got .*metadata_003\.parquet"):
        read_clip_retrieval(clip)


def test_files_that_change_under_a_frame_are_refused(clip, shards):
    ddf = read_clip_retrieval(clip)
    np.save(clip / "img_emb/img_emb_3.npy", shards[0][:20])
    pq.write_table(table(3, 20), clip / "metadata/metadata_003.parquet")
    with pytest.raises(InputError, match=r"expected 25 x 768 float16 .* got 20 x 768 float16: make the frame again"):
        ddf[["image_embedding"]].compute()
    with pytest.raises(InputError, match=r"rows 0 to 25 of .*metadata_003\.parquet .* got 20 .*make the frame again"):
        ddf[["key"]].compute()
    assert read_clip_retrieval(clip)._name != ddf._name


# DataComp


@pytest.mark.parametrize("rows", [None, 10])
def test_datacomp_is_paired_by_name(datacomp, shards, rows):
    scored = read_datacomp(datacomp, rows_per_partition=rows).aesthetic.score().compute()
    wanted = expected(shards).set_index("key").loc[scored["key"]].reset_index()
    same(scored, wanted)
    assert scored["key"].iloc[[0, ROWS]].tolist() == ["0-0", "7-0"]  # By name: 0f, 1f


def test_datacomp_reads_the_matrix_it_is_asked_for(datacomp, shards):
    ddf = read_datacomp(datacomp, key="b32_img", columns=["key"])
    assert ddf["image_embedding"].dtype.pyarrow_dtype == pa.list_(pa.float16(), 512)
    first = ddf.get_partition(0)["image_embedding"].compute()
    assert np.stack(first.to_numpy()).tolist() == shards[0][:, :512].tolist()
    with pytest.raises(InputError, match=r"expected a matrix 'l14_txt' in .*0f\.npz, got b32_img, l14_img"):
        read_datacomp(datacomp, key="l14_txt")


def test_a_key_alone_touches_no_npz(datacomp):
    ddf = read_datacomp(datacomp)
    for file in datacomp.glob("*.npz"):
        file.write_bytes(b"rubbish")
    assert len(ddf[["key"]].compute()) == SHARDS * ROWS
    with pytest.raises(InputError, match="expected a whole"):
        ddf.compute()


def test_datacomp_refuses_what_does_not_fit(datacomp, shards):
    np.savez(datacomp / "1f.npz", l14_img=shards[0][:20])
    with pytest.raises(InputError, match=r"got 25 in .*1f\.parquet and 20 in 'l14_img' of .*1f\.npz"):
        read_datacomp(datacomp)
    np.savez(datacomp / "1f.npz", l14_img=np.array([[None]] * ROWS, object))
    with pytest.raises(InputError, match="got pickled objects"):
        read_datacomp(datacomp)
    (datacomp / "1f.npz").unlink()
    with pytest.raises(InputError, match=r"got 1f\.parquet without its partner"):
        read_datacomp(datacomp)


def test_matrices_stored_by_columns_or_at_odd_addresses_are_copied_right(tmp_path, vectors):
    for at, stem in enumerate(["a", "bb", "ccc", "dddd"]):
        np.savez(tmp_path / f"{stem}.npz", **{"x" * (at + 1): vectors[:1], "l14_img": np.asfortranarray(vectors)})
        pq.write_table(table(at, len(vectors)), tmp_path / f"{stem}.parquet")
    part = read_datacomp(tmp_path, rows_per_partition=70)["image_embedding"].compute()
    assert np.stack(part.to_numpy()).tolist() == np.concatenate([vectors] * 4).tolist()


# Bare matrices


def test_bare_matrices_say_where_each_row_lies(tmp_path, shards):
    for number, part in enumerate(shards):
        np.save(tmp_path / f"z{number:02d}.npy", part)
    for path in (tmp_path, tmp_path / "*.npy"):
        scored = read_npy(path, rows_per_partition=10).aesthetic.score().compute()
        assert scored["shard"].tolist() == [f"z{number:02d}" for number in range(SHARDS) for _ in range(ROWS)]
        assert scored["row"].tolist() == list(range(ROWS)) * SHARDS
        assert scored["aesthetic_score"].tolist() == expected(shards)["aesthetic_score"].tolist()
    one = read_npy(tmp_path / "z03.npy")[["row", "shard"]]
    assert one.compute().iloc[24].tolist() == [24, "z03"]
    with pytest.raises(ColumnError, match="embedding_column='row'"):
        read_npy(tmp_path, embedding_column="row")


# Scoring while reading


def odd(vectors, kind: str = "list") -> list:
    """Rows of every kind that such a column can hold in a file, over several batches."""
    rows = [*vectors] * 5
    rows[700], rows[1400] = np.zeros(768), np.full(768, np.nan)
    if kind != "fixed_size_list":  # pyarrow 17 writes no null ones
        rows[3], rows[5], rows[1200] = None, np.ones(512), []
    return rows


@pytest.fixture
def parquet(tmp_path, vectors):
    """Four files of ten row groups each, with more columns than scoring needs."""
    for number, part in enumerate(np.array_split(vectors, 4)):
        more = {"image_embedding": columns.array(part, "list")}
        pq.write_table(table(number, len(part), **more), tmp_path / f"{number}.parquet", row_group_size=8)
    return tmp_path


@pytest.mark.parametrize("kind", columns.ARROW)
@pytest.mark.parametrize("dtype", ["float16", "float32"])
@pytest.mark.parametrize("groups", [300, 5000])
def test_scores_are_those_of_a_frame_to_the_byte(tmp_path, vectors, cluster, kind, dtype, groups):
    rows = odd(vectors, kind)
    frame = pa.table({"key": [str(at) for at in range(len(rows))], "image_embedding": columns.array(rows, kind, dtype)})
    pq.write_table(frame, tmp_path / "0.parquet", row_group_size=groups)
    pq.write_table(frame.slice(0, 1), tmp_path / "1.parquet")
    pq.write_table(frame.slice(0, 0), tmp_path / "2.parquet")
    wanted = dd.read_parquet(tmp_path, dtype_backend="pyarrow").aesthetic.score(threshold=5.2).compute()
    scored = read_and_score(tmp_path, threshold=5.2, rows_per_partition=700)
    assert scored.npartitions == (3 if groups == 300 else 2)
    same(scored.compute(), wanted)
    same(scored.compute(scheduler=cluster), wanted)
    assert scored.compute().index.tolist() == list(range(len(rows) + 1))


def test_arguments_are_those_of_score(parquet):
    arguments = {
        "predictor": "simulacra-l14",
        "threshold": 0.51,
        "scale": "unit",
        "score_column": "s",
        "keep_column": "k",
        "batch_size": 3,
    }
    scored = read_and_score(parquet, ["key"], **arguments)
    assert scored.columns.tolist() == ["key", "s", "k"]
    wanted = dd.read_parquet(parquet, dtype_backend="pyarrow").aesthetic.score(**arguments).compute()
    names = {"s": "aesthetic_score", "k": "keep"}
    same(scored.compute().rename(columns=names), wanted.rename(columns=names))
    with pytest.raises(ThresholdError, match="did you mean"):
        read_and_score(parquet, threshold=0.5)


def test_the_columns_of_ids_are_carried_unless_others_are_asked_for(parquet):
    assert read_and_score(parquet).columns.tolist() == ["key", "url", "aesthetic_score", "keep"]
    assert read_and_score(parquet, "all").columns.tolist() == ["key", "url", "width", "aesthetic_score", "keep"]
    assert read_and_score(parquet, ["width"]).columns.tolist() == ["width", "aesthetic_score", "keep"]
    assert read_and_score(parquet, []).compute().columns.tolist() == ["aesthetic_score", "keep"]
    replaced = read_and_score(parquet, "all", score_column="width", replace_columns=True)
    assert replaced.columns.tolist() == ["key", "url", "width", "keep"]
    with pytest.raises(ColumnError, match=r"score_column='width' to be a new column.*replace_columns=True"):
        read_and_score(parquet, "all", score_column="width")
    with pytest.raises(ColumnError, match="'image_embedding', which is not kept"):
        read_and_score(parquet, ["key", "image_embedding"])
    with pytest.raises(ColumnError, match="expected column 'uid' to pass through"):
        read_and_score(parquet, ["uid"])
    with pytest.raises(ColumnError, match=r"'clip'.*Columns that would do: 'image_embedding'"):
        read_and_score(parquet, embedding_column="clip")


def test_meta_and_divisions_say_what_comes(parquet):
    scored = read_and_score(parquet, "all", rows_per_partition=20)
    assert scored.known_divisions
    for lazy in (scored, scored[scored["keep"]], scored[["keep", "key"]], scored.partitions[5]):
        pd.testing.assert_series_equal(lazy.compute().dtypes, lazy.dtypes)
    assert scored.loc[80:81]["key"].compute().tolist() == ["1-5", "1-6"]


def test_nothing_computes_early(parquet):
    with no_compute():
        scored = read_and_score(parquet)
    with pytest.raises(AssertionError, match="before it was asked"), no_compute():
        scored.compute()


def test_without_scores_neither_embeddings_nor_the_predictor_are_touched(parquet):
    spoil(str(parquet), {"image_embedding", "width"})
    for asked in (["key"], ["key", "url"]):
        scored = read_and_score(parquet, asked)
        assert len(scored[asked].compute()) == len(scored[["key"]].compute()) == len(scored) == 300
        assert "_score-" not in " ".join(map(str, scored[asked].optimize(fuse=False).__dask_graph__()))
    with pytest.raises(InputError, match=r"expected a whole Parquet file, got .*\d\.parquet"):
        scored[["keep"]].compute()


def test_a_score_alone_reads_the_embeddings_alone(parquet):
    wanted = read_and_score(parquet).compute()
    spoil(str(parquet), {"key", "url", "width"})
    scored = read_and_score(parquet, "all")
    assert scored["aesthetic_score"].compute().tolist() == wanted["aesthetic_score"].tolist()
    assert scored[["keep"]].compute()["keep"].tolist() == wanted["keep"].tolist()
    with pytest.raises(InputError, match="expected a whole Parquet file"):
        scored[["key", "keep"]].compute()


def test_a_filter_scores_each_partition_once(parquet):
    scored = read_and_score(parquet, rows_per_partition=20)
    kept = scored[scored["keep"]][["key", "aesthetic_score"]].optimize(fuse=False)
    assert sum("_score-" in str(key) for key in kept.__dask_graph__()) == scored.npartitions


def test_a_network_is_in_the_graph_once(shared, parquet, cluster):
    relu = str(shared / "weights" / RELU)
    scored = read_and_score(parquet, predictor=relu, threshold=5, rows_per_partition=20)
    assert scored.npartitions >= 12
    small = read_and_score(parquet, rows_per_partition=20)
    sizes = [len(pickle.dumps(lazy.optimize().__dask_graph__())) for lazy in (scored, small)]
    assert sizes[0] - sizes[1] < 4_000_000  # The weights are 3.7 MB.
    tasks = dict(scored.optimize().__dask_graph__())
    assert sum(len(pickle.dumps(task)) > 1_000_000 for task in tasks.values()) == 1
    wanted = dd.read_parquet(parquet, dtype_backend="pyarrow").aesthetic.score(predictor=relu, threshold=5).compute()
    same(scored.compute(), wanted)
    same(scored.compute(scheduler=cluster), wanted)


def test_an_invalid_row_can_end_the_run_and_is_named(tmp_path, vectors):
    rows = pa.table({"image_embedding": columns.array(odd(vectors)[6:], "list")})
    pq.write_table(rows, tmp_path / "a.parquet", row_group_size=300)
    scored = read_and_score(tmp_path, on_invalid="raise", rows_per_partition=600)
    with pytest.raises(InvalidEmbeddingError, match=r"a\.parquet, row 694 is zero") as error:
        scored.partitions[1].compute()
    assert (error.value.partition, error.value.row, error.value.reason) == ("a.parquet", 694, "zero")


def test_files_that_change_under_the_scores_are_refused(parquet, vectors):
    scored = read_and_score(parquet, [])
    rest = {"image_embedding": columns.array(vectors[:20], "list")}
    pq.write_table(table(2, 20, **rest), parquet / "2.parquet")
    with pytest.raises(InputError, match=r"rows 0 to 75 of .*2\.parquet as when the frame was made, got 20"):
        scored.compute()
    assert read_and_score(parquet, [])._name != scored._name
    pq.write_table(table(2, 75), parquet / "2.parquet")
    with pytest.raises(InputError, match="got 0 or other columns"):
        scored.compute()


def test_nothing_but_empty_files_is_an_empty_frame(tmp_path, vectors):
    pq.write_table(table(0, 0, image_embedding=columns.array(vectors[:0], "list")), tmp_path / "0.parquet")
    scored = read_and_score(tmp_path)
    assert len(scored.compute()) == len(scored) == 0
    pd.testing.assert_series_equal(scored.compute().dtypes, scored.dtypes)


def test_scores_to_parquet_and_back(parquet, tmp_path):
    scored = read_and_score(parquet)
    scored.to_parquet(tmp_path / "out")
    back = dd.read_parquet(tmp_path / "out").compute()
    assert back["aesthetic_score"].tolist() == scored["aesthetic_score"].compute().tolist()


def test_on_a_cluster_mapped_embeddings_too(clip, shards, cluster):
    same(
        read_clip_retrieval(clip, rows_per_partition=10).aesthetic.score().compute(scheduler=cluster), expected(shards)
    )


# On GPUs


def test_cudf_has_no_float16_which_is_said_before_it_is_needed(tmp_path, vectors):
    pq.write_table(pa.table({"image_embedding": columns.array(vectors, "list", "float16")}), tmp_path / "0.parquet")
    with (
        dask.config.set({"dataframe.backend": "cudf"}),
        pytest.raises(ColumnError, match="expected float32 or float64 in column 'image_embedding' for cuDF"),
    ):
        read_and_score(tmp_path)


def test_carried_columns_have_the_types_that_cudf_has():
    tags = pa.dictionary(pa.int32(), pa.string())
    own = {
        "plain": (pa.int16(), pa.int16()),
        "category": (tags, pa.string()),
        "tags": (pa.large_list(tags), pa.list_(pa.string())),
        "box": (pa.list_(pa.float16(), 4), pa.list_(pa.float32())),
        "half": (pa.float16(), pa.float32()),
        "text": (pa.large_string(), pa.string()),
        "nothing": (pa.null(), pa.string()),
        "day": (pa.date32(), pa.timestamp("s")),
        "size": (pa.struct({"w": pa.float16()}), pa.struct({"w": pa.float32()})),
        "price": (pa.decimal128(9, 2), pa.decimal128(9, 2)),
        "time": (pa.timestamp("us", "UTC"), pa.timestamp("us", "UTC")),
    }
    converted = cudf.cudf_schema(pa.schema([(name, dtype) for name, (dtype, _) in own.items()]))
    assert converted == pa.schema([(name, dtype) for name, (_, dtype) in own.items()])
    box = pa.array([np.full(4, 1, np.float16), None, np.full(4, 2, np.float16)], own["box"][0])
    table = pa.table({"category": pa.array(["a", None, "a"], tags), "box": box})
    held = table.cast(cudf.cudf_schema(table.schema))
    assert held.to_pylist() == [{"category": c, "box": b} for c, b in (("a", [1] * 4), (None, None), ("a", [2] * 4))]
    for dtype in (pa.binary(), pa.map_(pa.string(), pa.string()), pa.time32("s"), pa.timestamp("s", "+01:00")):
        with pytest.raises(ColumnError, match=r"that cuDF has a type for, got .* in 'x': leave it out"):
            cudf.cudf_schema(pa.schema([("x", dtype)]))


def test_partitions_of_cudf_hold_no_more_floats_than_its_columns_do(tmp_path):
    for groups, expected in (([3, 3, 3], [(0, 6), (6, 9)]), ([5, 5], [(0, 5), (5, 10)]), ([9, 1], [(0, 9), (9, 10)])):
        assert _combine_row_groups(groups, None, 7) == expected
    rows = 2_796_203
    nothing = pa.ListArray.from_arrays(pa.array(np.zeros(rows + 1, np.int32)), pa.array([], pa.float32()))
    pq.write_table(pa.table({"image_embedding": nothing}), tmp_path / "0.parquet", row_group_size=rows)
    with (
        dask.config.set({"dataframe.backend": "cudf"}),
        pytest.raises(InputError, match=r"at most 2,796,202 rows in .*0\.parquet for cuDF.* got one of 2,796,203"),
    ):
        read_and_score(tmp_path)


@pytest.mark.rapids
@pytest.mark.skipif(find_spec("cudf") is None, reason="needs RAPIDS")
def test_cudf_reads_row_groups_as_it_is_asked_to():
    code = """
import inspect, cudf
options = dict(columns=["a"], row_groups=[[0]], storage_options={}, use_pandas_metadata=False)
inspect.signature(cudf.read_parquet).bind("s3://b/0.parquet", **options)
assert options.keys() <= inspect.signature(cudf.read_parquet).parameters.keys()  # It takes any others in silence.
inspect.signature(cudf.DataFrame.from_arrow).bind(None)
inspect.signature(cudf.Series.from_arrow).bind(None)
assert cudf.Series.index.fset and cudf.DataFrame.index.fset
inspect.signature(cudf.RangeIndex).bind(0, 1)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=240)
    assert done.returncode == 0, done.stderr


@pytest.mark.gpu
@pytest.mark.skipif(not backends.HAS_GPU, reason=backends.NO_GPU)
def test_on_a_gpu_partitions_are_cudf_and_scores_nearly_the_same(parquet):
    wanted = read_and_score(parquet, "all", rows_per_partition=20).compute()
    with dask.config.set({"dataframe.backend": "cudf"}):
        scored = read_and_score(parquet, "all", rows_per_partition=20)
    assert type(scored._meta).__module__.partition(".")[0] == "cudf"
    computed = scored.compute().to_pandas()
    assert computed.columns.tolist() == wanted.columns.tolist()
    assert computed["key"].tolist() == wanted["key"].tolist()
    assert computed.index.tolist() == wanted.index.tolist()
    assert np.abs(computed["aesthetic_score"].to_numpy() - wanted["aesthetic_score"].to_numpy()).max() < 1e-5
    spoil(str(parquet), {"image_embedding", "width"})
    assert scored[["key"]].compute().to_pandas()["key"].tolist() == wanted["key"].tolist()


# What would be lost, or scored along, without a word


def appended(path, vectors, more: bytes = b"") -> None:
    """A loop that saves each part of a matrix into one open file, as people write it."""
    with path.open("wb") as file:
        np.save(file, vectors[:3])
        np.save(file, vectors[3:])
        file.write(more)


def test_bytes_after_a_matrix_are_refused_by_name(tmp_path, vectors):
    appended(tmp_path / "twice.npy", vectors)
    after = 128 + 3072 * (len(vectors) - 3)
    with pytest.raises(InputError, match=rf"twice\.npy to end after its matrix of 3 x 768 .*, got {after:,} more byte"):
        read_npy(tmp_path)
    for make in (np.savez, np.savez_compressed):
        make(tmp_path / "good.npz", l14_img=vectors)
        assert len(read_member(tmp_path / "good.npz")) == len(vectors)
        with zipfile.ZipFile(tmp_path / "good.npz") as good, zipfile.ZipFile(tmp_path / "bad.npz", "w") as bad:
            method = good.infolist()[0].compress_type
            bad.writestr("l14_img.npy", good.read("l14_img.npy") + b"\0", method)
        with pytest.raises(InputError, match=r"'l14_img' of .*bad\.npz to end .*, got 1 more bytes"):
            read_member(tmp_path / "bad.npz")


def test_two_matrices_of_one_name_are_refused(tmp_path, vectors):
    with zipfile.ZipFile(tmp_path / "twice.npz", "w") as archive:
        for at, part in enumerate((vectors[:100], vectors[100:])):
            buffer = io.BytesIO()
            np.save(buffer, part)
            with pytest.warns(UserWarning, match="Duplicate name") if at else nullcontext():
                archive.writestr("l14_img.npy", buffer.getvalue())
    with pytest.raises(InputError, match=r"one matrix 'l14_img' in .*twice\.npz, got 2 members of that name"):
        read_member(tmp_path / "twice.npz")


@pytest.mark.parametrize("compression", ["none", "snappy"])
def test_two_parquet_files_in_one_are_refused(tmp_path, vectors, compression):
    parts = []
    for at, rows in enumerate((vectors[:150], vectors[150:])):
        columns_ = {"key": [f"{at}-{row:03d}" for row in range(150)], "image_embedding": columns.array(rows, "list")}
        pq.write_table(pa.table(columns_), tmp_path / "part", use_dictionary=False, compression=compression)
        parts.append((tmp_path / "part").read_bytes())
    (tmp_path / "both.parquet").write_bytes(b"".join(parts))
    with pytest.raises(InputError, match=r"one Parquet file in .*both\.parquet, got several, one after another"):
        read_and_score(tmp_path / "both.parquet")


def test_a_page_index_before_the_footer_is_no_second_file(tmp_path, vectors):
    table_ = pa.table({"image_embedding": columns.array(vectors, "list")})
    pq.write_table(table_, tmp_path / "indexed.parquet", write_page_index=True)
    assert len(read_and_score(tmp_path / "indexed.parquet").compute()) == 300


def read_member(path):
    matrix = open_matrix(local_file(str(path)), "l14_img")
    return matrix.read(0, matrix.rows)


def test_suffixes_are_taken_in_any_case(tmp_path, vectors):
    for name in ("npy", "npz", "parquet"):
        (tmp_path / name).mkdir()
    np.save(tmp_path / "npy/a.npy", vectors)
    (tmp_path / "npy/a.npy").rename(tmp_path / "npy/A.NPY")
    assert read_npy(tmp_path / "npy").compute()["shard"].unique().tolist() == ["A"]
    np.savez(tmp_path / "npz/a.npz", l14_img=vectors)
    (tmp_path / "npz/a.npz").rename(tmp_path / "npz/a.NPZ")
    pq.write_table(table(0, 300), tmp_path / "npz/a.PARQUET")
    assert len(read_datacomp(tmp_path / "npz").compute()) == 300
    columns.frame(vectors, "list").to_parquet(tmp_path / "parquet/x.PARQUET")
    columns.frame(vectors, "list").to_parquet(tmp_path / "parquet/y.Parquet")
    assert len(read_and_score(tmp_path / "parquet").compute()) == 600
    assert len(read_frame(tmp_path / "parquet").compute()) == 600
    shutil.copy(tmp_path / "parquet/x.PARQUET", tmp_path / "parquet/x.parquet")
    with pytest.raises(InputError, match="expected files of different names"):
        read_and_score(tmp_path / "parquet")


@pytest.mark.parametrize(
    ("images", "texts"),
    [
        ("image_embeddings.npy", "text_embeddings.npy"),
        ("img_emb/img_emb_0.npy", "text_emb/text_emb_0.npy"),
        ("CLIP-Image-0.npy", "CLIP-Text-0.npy"),
        ("photos.npy", "captions.npy"),
    ],
)
def test_matrices_of_texts_beside_those_of_images_are_left_out_with_a_word(tmp_path, vectors, images, texts):
    for name, part in ((images, vectors[:200]), (texts, vectors[200:])):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        np.save(tmp_path / name, part)
    for read in (read_npy, read_frame):
        with pytest.warns(AestheticWarning, match=rf"left out: '{texts}'"):
            assert len(read(tmp_path).compute()) == 200
    assert len(read_npy(tmp_path / texts).compute()) == 100  # Whoever names it means it.
    assert len(read_npy([tmp_path / texts, tmp_path / images]).compute()) == 300
    with pytest.warns(AestheticWarning, match="left out"):  # A glob names no file itself.
        assert len(read_npy(tmp_path / "**/*.npy").compute()) == 200


def test_matrices_whose_names_only_begin_alike_are_read(tmp_path, vectors):
    for name in ("textures.npy", "context.npy", "images.npy"):
        np.save(tmp_path / name, vectors)
    assert len(read_npy(tmp_path).compute()) == 900
    (tmp_path / "images.npy").unlink()
    (tmp_path / "context.npy").rename(tmp_path / "text.npy")  # No images beside it.
    assert len(read_npy(tmp_path).compute()) == 600


def test_a_type_of_another_width_is_refused_before_anything_is_read(tmp_path, vectors):
    pq.write_table(
        pa.table({"image_embedding": columns.array(vectors[:, :512], "fixed_size_list")}), tmp_path / "0.parquet"
    )
    with pytest.raises(ColumnError, match=r"expected 768 floats .* got 512\. Predictors that take such: laion-v1-b32"):
        read_and_score(tmp_path)
    assert read_and_score(tmp_path, predictor="laion-v1-b32", threshold=5.0).compute()["aesthetic_score"].notna().all()


def test_a_frame_of_another_width_warns_once(tmp_path, vectors):
    for at in range(3):
        columns.frame(vectors[:, :512], "list").to_parquet(tmp_path / f"{at}.parquet")
    scored = read_and_score(tmp_path)
    with pytest.warns(AestheticWarning, match=r"no usable embedding in 900 rows \(900 wrong_width\)") as caught:
        scored.compute()
    assert len(caught) == 1
