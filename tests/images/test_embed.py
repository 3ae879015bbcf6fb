"""Images in frames: lazy, encoded once, the same on any partitioning, and scored in the same pass."""

from __future__ import annotations

import pickle
from dataclasses import replace
from pathlib import Path

import dask
import dask.dataframe as dd
import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch

from helpers.laziness import no_compute

open_clip = pytest.importorskip("open_clip", reason="needs open_clip: pip install 'dask-aesthetic[embed]'")

from dask_aesthetic import ArgumentError, ColumnError, PredictorInfo, Threshold
from dask_aesthetic.errors import EncoderError, InvalidImageError
from dask_aesthetic.images import EmbedSpec, embed_images, encoder, jpeg, pool
from dask_aesthetic.predictors import AffinePredictor
from dask_aesthetic.predictors.checkpoint import read_tensors
from helpers import image_files

ROWS = 23
BAD = {3: None, 4: b"", 11: b"<html>", 22: image_files.truncate(image_files.image(22), 50)}


@pytest.fixture(scope="module")
def weights(tmp_path_factory) -> Path:
    return image_files.small_model(tmp_path_factory.mktemp("model"))


@pytest.fixture(scope="module")
def model(weights):
    return {"model": image_files.MODEL, "pretrained": weights}


@pytest.fixture(scope="module")
def head() -> AffinePredictor:
    weight = np.random.default_rng(3).standard_normal(image_files.WIDTH)
    return AffinePredictor(weight, 5.0, PredictorInfo(name="small", width=image_files.WIDTH))


@pytest.fixture(scope="module")
def frame() -> pd.DataFrame:
    rows = [BAD.get(at, good) for at, good in enumerate(image_files.images(ROWS))]
    image = pd.Series(pd.arrays.ArrowExtensionArray(pa.array(rows, pa.binary())))
    return pd.DataFrame({"key": [f"k{at:02d}" for at in range(ROWS)], "image": image})


@pytest.fixture
def ddf(frame):
    return dd.from_pandas(frame, npartitions=4)


@pytest.fixture
def encoded(monkeypatch) -> list[int]:
    """Number of images in each pass through the model."""
    passes: list[int] = []
    encode = encoder.Encoder.encode

    def counted(self, pixels, batch):
        passes.append(len(pixels))
        return encode(self, pixels, batch)

    monkeypatch.setattr(encoder.Encoder, "encode", counted)
    return passes


def matrix(column: pd.Series) -> np.ndarray:
    return np.array(
        [[np.nan] * image_files.WIDTH if row is pd.NA or row is None else row for row in column], np.float32
    )


def lists(leaf: pa.DataType) -> pd.ArrowDtype:
    """Lists that this pyarrow keeps in Parquet files when some are null."""
    return pd.ArrowDtype(pa.list_(leaf, image_files.WIDTH if pa.__version__ >= "26" else -1))


def test_embed_adds_embeddings_and_statuses_and_keeps_the_index(frame, model):
    labels = pd.Index(np.arange(ROWS) * 3 % 7, name="label")
    out = frame.set_axis(labels).aesthetic.embed(**model)
    assert list(out.columns) == ["key", "image", "image_embedding", "image_status"]
    assert out.index.equals(labels)
    assert out["key"].tolist() == frame["key"].tolist()
    bad = dict.fromkeys(BAD, "undecodable") | {3: "missing"}
    assert out["image_status"].tolist() == [bad.get(at, "ok") for at in range(ROWS)]
    assert out["image_embedding"].isna().tolist() == [at in bad for at in range(ROWS)]
    assert out["image_embedding"].dtype == lists(pa.float32())


def test_float16_embeddings_are_float32_rounded(frame, model):
    full, half = (frame.aesthetic.embed(**model, dtype=dtype)["image_embedding"] for dtype in ("float32", "float16"))
    assert half.dtype == lists(pa.float16())
    assert matrix(half).tobytes() == matrix(full).astype(np.float16).astype(np.float32).tobytes()


def test_null_embeddings_survive_parquet(frame, ddf, model, tmp_path):
    out = frame.aesthetic.embed(**model)
    ddf.aesthetic.embed(**model).to_parquet(tmp_path)
    read = pq.read_table(tmp_path)["image_embedding"]
    assert pd.ArrowDtype(read.type) == out["image_embedding"].dtype
    assert [row is None for row in read.to_pylist()] == [at in BAD for at in range(ROWS)]
    kept = np.array([row for row in read.to_pylist() if row is not None], np.float32)
    assert np.abs(kept - matrix(out["image_embedding"].dropna())).max() < 1e-6


@pytest.mark.parametrize(("partitions", "batch_size"), [(1, 5), (4, "auto"), (4, 5), (4, 1000), (ROWS, 1)])
def test_batches_and_partitions_change_nothing(frame, model, partitions, batch_size):
    expected = frame.aesthetic.embed(**model)
    got = dd.from_pandas(frame, npartitions=partitions).aesthetic.embed(**model, batch_size=batch_size).compute()
    assert got["image_status"].tolist() == expected["image_status"].tolist()
    difference = matrix(got["image_embedding"]) - matrix(expected["image_embedding"])
    assert np.isnan(difference).any(axis=1).sum() == len(BAD)
    assert np.nanmax(np.abs(difference)) < 1e-6
    if batch_size == "auto" or batch_size >= encoder.CPU_BATCH:
        assert np.nanmax(np.abs(difference)) == 0


@pytest.mark.parametrize("batch_size", [1, 3, "auto"])
def test_an_embedding_is_the_same_bytes_beside_any_images(frame, model, batch_size):
    whole = matrix(frame.aesthetic.embed(**model, batch_size=batch_size)["image_embedding"])
    for rows in (slice(0, 1), slice(2, 7), slice(5, None), slice(None, None, -1)):
        part = frame[rows].aesthetic.embed(**model, batch_size=batch_size)["image_embedding"]
        np.testing.assert_array_equal(matrix(part), whole[rows])


@pytest.mark.parametrize("threads", [1, 3])
def test_an_embedding_is_the_same_bytes_whoever_decodes(frame, model, threads, monkeypatch):
    whole = matrix(frame.aesthetic.embed(**model)["image_embedding"])
    monkeypatch.setattr(pool, "thread_count", lambda: threads)
    monkeypatch.setattr(jpeg, "get_simplejpeg", lambda: None)
    assert matrix(frame.aesthetic.embed(**model)["image_embedding"]).tobytes() == whole.tobytes()


def test_workers_load_the_model_once_and_embed_the_same(frame, model, head, weights, cluster):
    cluster.run(open_clip.add_model_config, weights.parent)
    before = cluster.run(encoder.loads)
    ddf = dd.from_pandas(frame, npartitions=8)
    lazy = ddf.aesthetic.embed_and_score(**model, predictor=head, threshold=5, keep_embedding=True)
    got = lazy.compute(scheduler=cluster)
    again = ddf.aesthetic.embed(**model, batch_size=2)["image_status"].compute(scheduler=cluster)
    expected = frame.aesthetic.embed_and_score(**model, predictor=head, threshold=5, keep_embedding=True)
    for column in ("key", "keep", "image_status"):
        assert got[column].tolist() == expected[column].tolist()
    assert again.tolist() == expected["image_status"].tolist()
    assert np.nanmax(np.abs(matrix(got["image_embedding"]) - matrix(expected["image_embedding"]))) < 1e-6
    assert np.nanmax(np.abs(got["aesthetic_score"] - expected["aesthetic_score"])) < 1e-5
    for worker, loads in cluster.run(encoder.loads).items():
        assert sum(loads.values()) - sum(before[worker].values()) == 1


def test_embed_is_lazy_and_meta_equals_the_result(ddf, model, head):
    with no_compute():
        lazy = [
            ddf.aesthetic.embed(**model, dtype="float16"),
            ddf.aesthetic.embed_and_score(**model, predictor=head, threshold=5),
            ddf.aesthetic.embed_and_score(**model, predictor=head, threshold=5, keep_embedding=True),
        ]
    for one in lazy:
        computed = one.compute()
        pd.testing.assert_series_equal(computed.dtypes, one.dtypes)
        assert one.divisions == ddf.divisions
        assert computed["image_status"].cat.categories.equals(one._meta["image_status"].cat.categories)


@pytest.mark.parametrize(
    "asked",
    [
        lambda out: out,
        lambda out: out[["key", "image_embedding"]],
        lambda out: out[["image_status"]],
        lambda out: out[out["image_status"] == "ok"][["key", "image_embedding"]],
        lambda out: out[["key", "keep", "image_status"]],
        lambda out: out[out["keep"]][["key", "aesthetic_score", "image_status"]],
        lambda out: out["aesthetic_score"].sum(),
        lambda out: out.groupby("image_status", observed=True)["aesthetic_score"].mean(),
    ],
)
def test_every_image_is_encoded_once(tmp_path, frame, model, head, encoded, asked):
    for at in range(3):
        frame.iloc[at * 8 : at * 8 + 8].to_parquet(tmp_path / f"{at}.parquet")
    ddf = dd.read_parquet(tmp_path, dtype_backend="pyarrow")
    out = ddf.aesthetic.embed_and_score(**model, predictor=head, threshold=5, keep_embedding=True)
    asked(out).compute(scheduler="threads")
    assert sum(encoded) == ROWS - len(BAD)


def test_other_columns_decode_no_image(tmp_path, frame, model, encoded):
    pq.write_table(pa.Table.from_pandas(frame), tmp_path / "0.parquet")
    out = dd.read_parquet(tmp_path, dtype_backend="pyarrow").aesthetic.embed(**model)
    assert "embed_partition" not in " ".join(map(str, out[["key"]].optimize(fuse=False).__dask_graph__()))
    assert len(out[["key"]].compute()) == len(out) == ROWS
    assert not encoded


def test_graphs_hold_no_weights_and_equal_requests_share_a_name(ddf, model, tmp_path):
    lazy = ddf.aesthetic.embed(**model, storage_options={"secret": "s3cret"})
    assert lazy._name == ddf.aesthetic.embed(**model)._name
    assert lazy._name != ddf.aesthetic.embed(**model, exif_orientation=True)._name
    spec = next(part for part in lazy.expr.walk() if any(isinstance(one, EmbedSpec) for one in part.operands))
    assert len(pickle.dumps([one for one in spec.operands if isinstance(one, EmbedSpec)])) < 3_000
    assert "s3cret" not in repr(spec)
    other = tmp_path / "other.pt"
    torch.save({key: tensor * 2 for key, tensor in read_tensors(model["pretrained"])[0].items()}, other)
    assert lazy._name != ddf.aesthetic.embed(model=model["model"], pretrained=other)._name


def test_empty_frames_load_no_model(ddf, frame, model, encoded):
    none = ddf[ddf["key"] == "nobody"].aesthetic.embed(**model).compute()
    assert len(none) == 0
    assert none["image_embedding"].dtype == lists(pa.float32())
    assert len(frame.iloc[:0].aesthetic.embed(**model)) == 0
    assert not encoded


def test_object_columns_embed_the_same_on_dask(frame, model):
    objects = frame.assign(image=frame["image"].astype(object).where(frame["image"].notna(), None))
    with dask.config.set({"dataframe.convert-string": False}):
        ddf = dd.from_pandas(objects, npartitions=5)
    got = ddf.aesthetic.embed(**model).compute()
    expected = frame.aesthetic.embed(**model)
    assert got["image_status"].tolist() == expected["image_status"].tolist()
    assert np.nanmax(np.abs(matrix(got["image_embedding"]) - matrix(expected["image_embedding"]))) < 1e-6


def test_structs_that_dask_converted_to_strings_are_refused_with_the_option(frame, model):
    structs = frame.assign(image=[{"bytes": b"abc", "path": None}] * ROWS)
    lazy = dd.from_pandas(structs, npartitions=2).aesthetic.embed(**model)
    with pytest.raises(ColumnError, match=r"dask.config.set\(\{'dataframe.convert-string': False\}\)"):
        lazy.compute()


def test_embed_and_score_equals_embed_then_score(frame, model, head):
    median = frame.aesthetic.embed_and_score(**model, predictor=head, threshold=5)["aesthetic_score"].median()
    threshold = Threshold(float(median))
    scored = frame.aesthetic.embed_and_score(**model, predictor=head, threshold=threshold, keep_embedding=True)
    apart = frame.aesthetic.embed(**model).aesthetic.score(predictor=head, threshold=threshold)
    assert list(scored.columns) == [*frame.columns, "image_embedding", "aesthetic_score", "image_status", "keep"]
    for column in ("aesthetic_score", "keep", "image_status"):
        pd.testing.assert_series_equal(scored[column], apart[column])
    x = matrix(apart["image_embedding"]).astype(np.float64)
    by_hand = x @ head.weight / np.linalg.norm(x, axis=1) + 5
    assert np.nanmax(np.abs(scored["aesthetic_score"] - by_hand)) < 1e-5
    assert scored["aesthetic_score"].isna().tolist() == [at in BAD for at in range(ROWS)]
    assert scored["keep"].tolist() == (scored["aesthetic_score"].to_numpy() >= threshold.cut).tolist()
    assert scored["keep"].sum() == (ROWS - len(BAD) + 1) // 2
    assert "image_embedding" not in frame.aesthetic.embed_and_score(**model, predictor=head, threshold=5)
    unit = frame.aesthetic.embed_and_score(**model, predictor=head, threshold=0.5, scale="unit")
    assert np.nanmax(np.abs(unit["aesthetic_score"] * 10 - by_hand)) < 1e-5


def test_several_predictors_score_one_embedding(frame, ddf, model, head):
    other = AffinePredictor(-head.weight, 1.0, PredictorInfo(name="other", width=image_files.WIDTH))
    several = {"first": head, "second": other}
    for images in (frame, ddf):
        scored = images.aesthetic.embed_and_score(**model, predictor=several, threshold=5)
        scored = scored.compute() if hasattr(scored, "compute") else scored
        assert list(scored.columns) == [*frame.columns, "first", "second", "image_status", "keep"]
        apart = frame.aesthetic.embed(**model)
        for name, one in several.items():
            alone = apart.aesthetic.score(predictor=one, score_column=name, threshold=5)
            assert scored[name].to_numpy().tobytes() == alone[name].to_numpy().tobytes()
        assert scored["keep"].tolist() == (scored["first"] >= 5).tolist()
    assert "keep" not in ddf.aesthetic.embed_and_score(**model, predictor=several)


def test_embed_images_accepts_arrays_lists_and_iterators(frame, model):
    spec = EmbedSpec.of(
        "image",
        **model,
        batch_size=4,
        precision="auto",
        output_column="image_embedding",
        status_column="image_status",
        dtype="float32",
        pooling=None,
        exif_orientation=False,
        on_invalid="null",
        storage_options=None,
    )
    array = pa.array(frame["image"].array)
    expected = frame.aesthetic.embed(**model, batch_size=4)
    for images in (array, array.to_pylist(), iter(array.to_pylist())):
        embeddings, status = embed_images(images, spec)
        assert status.tolist() == expected["image_status"].cat.codes.tolist()
        assert embeddings.numpy().tobytes() == matrix(expected["image_embedding"]).tobytes()


def test_on_invalid_raise_names_the_row(frame, ddf, model):
    with pytest.raises(InvalidImageError, match=r"row 3 \(index 3\) is missing") as caught:
        frame.aesthetic.embed(**model, on_invalid="raise")
    assert (caught.value.row, caught.value.reason, caught.value.partition) == (3, "missing", None)
    lazy = ddf.loc[5:].aesthetic.embed(**model, on_invalid="raise")
    with pytest.raises(InvalidImageError, match=r"partition \d, row \d \(index (11|22)\) is undecodable") as caught:
        lazy.compute()
    back = pickle.loads(pickle.dumps(caught.value))
    assert (str(back), back.__dict__) == (str(caught.value), caught.value.__dict__)


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        (
            {"image_column": "photo"},
            ColumnError,
            "image_column='photo' to be a column; the frame has 'key', 'image'",
        ),
        ({"image_column": "number"}, ColumnError, "'number' to be a column"),
        ({"output_column": "image"}, ColumnError, "output_column='image' to differ from the image column"),
        ({"status_column": "image"}, ColumnError, "status_column='image' to differ"),
        ({"status_column": "image_embedding"}, ColumnError, "to differ from output_column"),
        ({"batch_size": 0}, ArgumentError, "batch_size to be a whole number of images"),
        ({"batch_size": True}, ArgumentError, "batch_size"),
        ({"batch_size": "large"}, ArgumentError, "batch_size"),
        ({"precision": "int8"}, ArgumentError, "precision to be one of 'auto', 'float32', 'bfloat16', 'float16'"),
        ({"dtype": "float64"}, ArgumentError, "dtype to be one of 'float32', 'float16'"),
        ({"pooling": "min"}, ArgumentError, "pooling to be one of 'first', 'mean', 'max'"),
        ({"on_invalid": "drop"}, ArgumentError, "on_invalid to be one of"),
    ],
)
def test_invalid_arguments_are_refused_before_anything_is_computed(frame, ddf, model, arguments, error, message):
    for asked in (frame, ddf):
        with pytest.raises(error, match=message), no_compute():
            asked.aesthetic.embed(**{**model, **arguments})


@pytest.mark.parametrize("name", ["image", "image_status", "image_embedding"])
def test_score_columns_never_replace_their_inputs(ddf, model, head, name):
    for role in ("score_column", "keep_column"):
        with pytest.raises(ColumnError, match="the same name for both"):
            ddf.aesthetic.embed_and_score(**model, predictor=head, threshold=5, **{role: name})


def test_a_predictor_of_another_encoder_is_refused(ddf, model, head):
    with pytest.raises(EncoderError, match=r"ViT-L-14-quickgelu \(openai\), 768 floats.*laion-v2.*got tiny-clip \("):
        ddf.aesthetic.embed_and_score(**model)
    wide = AffinePredictor(np.ones(48), 5.0, PredictorInfo(name="wide", width=48))
    with pytest.raises(EncoderError, match="unknown, 48 floats, which the predictor 'wide' takes, got tiny-clip"):
        ddf.aesthetic.embed_and_score(**model, predictor=wide, threshold=5)
    for encoded_by, fits in (
        (f"{image_files.MODEL} (someone)", True),
        (image_files.MODEL, True),
        ("tiny-clip-2", False),
    ):
        info = replace(head.info, encoder=encoded_by)
        predictor = AffinePredictor(head.weight, 5.0, info)
        if fits:
            ddf.aesthetic.embed_and_score(**model, predictor=predictor, threshold=5)
        else:
            with pytest.raises(EncoderError, match="expected images embedded by tiny-clip-2"):
                ddf.aesthetic.embed_and_score(**model, predictor=predictor, threshold=5)
