"""Decoding and embedding equal open_clip's, image by image, and every failure has a status."""

from __future__ import annotations

import os
import threading
import warnings
from io import BytesIO
from pathlib import Path

import fsspec
import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
import torch

open_clip = pytest.importorskip("open_clip", reason="needs open_clip: pip install 'dask-aesthetic[embed]'")

from PIL import Image, ImageFile, ImageOps

import dask_aesthetic
from dask_aesthetic.errors import ArgumentError, ColumnError, InvalidImageError
from dask_aesthetic.images import EncoderSpec, cudf
from dask_aesthetic.images.decode import decode_image
from dask_aesthetic.images.encoder import load_encoder
from dask_aesthetic.predictors.checkpoint import read_tensors
from dask_aesthetic.status import ImageStatus
from helpers import image_files

PHOTOGRAPHS = 13


@pytest.fixture(scope="module")
def weights(tmp_path_factory) -> Path:
    return image_files.small_model(tmp_path_factory.mktemp("model"))


@pytest.fixture(scope="module")
def model(weights):
    return {"model": image_files.MODEL, "pretrained": weights}


@pytest.fixture(scope="module")
def encoder(weights):
    return load_encoder(EncoderSpec.of(image_files.MODEL, weights, "float32"))


@pytest.fixture(scope="module")
def by_hand(weights):
    """Embeddings as open_clip's documentation computes them, one image at a time."""
    model, _, preprocess = open_clip.create_model_and_transforms(image_files.MODEL, pretrained=str(weights))
    model.eval()

    def embed(*images: Image.Image) -> np.ndarray:
        with torch.no_grad():
            return np.concatenate([model.encode_image(preprocess(image)[None], normalize=True) for image in images])

    return embed


def embed(rows, model, **arguments) -> tuple[np.ndarray, list[str]]:
    """Embeddings, NaN where null, and statuses of rows in an object column."""
    out = pd.DataFrame({"image": pd.Series(rows, dtype=object)}).aesthetic.embed(**model, **arguments)
    return matrix(out["image_embedding"]), out["image_status"].tolist()


def matrix(column: pd.Series) -> np.ndarray:
    width = next((len(row) for row in column if row is not pd.NA), 0)
    return np.array([[np.nan] * width if row is pd.NA or row is None else row for row in column], dtype=np.float32)


@pytest.fixture(scope="module")
def photographs(shared) -> list[Path]:
    paths = sorted((shared / "data/images").iterdir())
    assert len(paths) == PHOTOGRAPHS
    return paths


def test_embeddings_of_photographs_equal_open_clip(photographs, model, by_hand):
    expected = by_hand(*map(Image.open, photographs))
    for rows in (list(map(str, photographs)), photographs, [path.read_bytes() for path in photographs]):
        got, status = embed(rows, model)
        assert status == ["ok"] * PHOTOGRAPHS
        assert np.abs(got - expected).max() < 1e-6
        assert np.abs(np.linalg.norm(got.astype(np.float64), axis=1) - 1).max() < 1e-6


def test_preprocessed_pixels_equal_open_clip_bit_for_bit(photographs, weights, encoder):
    *_, preprocess = open_clip.create_model_and_transforms(image_files.MODEL, pretrained=str(weights))
    for path in photographs:
        made = np.empty((encoder.resizer.height, encoder.resizer.width, 3), np.uint8)
        assert decode_image(path.read_bytes(), encoder.resizer, made) == ImageStatus.OK
        assert encoder.tensor(torch.from_numpy(made[None]))[0].equal(preprocess(Image.open(path))), path.name


@pytest.mark.slow
def test_vit_l_14_embeddings_equal_open_clip(photographs, tmp_path):
    name = "ViT-L-14-quickgelu"
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = open_clip.create_model(name).eval()
    torch.save({key: tensor.bfloat16() for key, tensor in model.state_dict().items()}, tmp_path / "large.pt")
    open_clip.load_checkpoint(model, str(tmp_path / "large.pt"))
    preprocess = open_clip.image_transform(224, is_train=False)
    with torch.no_grad():
        expected = [model.encode_image(preprocess(Image.open(path))[None], normalize=True) for path in photographs]
    del model
    frame = pd.DataFrame({"image": list(map(str, photographs))})
    scored = frame.aesthetic.embed_and_score(
        model=name, pretrained=tmp_path / "large.pt", keep_embedding=True, batch_size=3
    )
    assert np.abs(matrix(scored["image_embedding"]) - torch.cat(expected).numpy()).max() < 1e-5
    again = scored.aesthetic.score(replace_columns=True)
    assert again["aesthetic_score"].tolist() == scored["aesthetic_score"].tolist()
    assert np.isfinite(scored["aesthetic_score"]).all()


def test_invalid_images_have_a_status_and_leave_their_neighbors_unchanged(model):
    invalid = image_files.invalid_images()
    good = image_files.images(len(invalid) + 1)
    alone, _ = embed(good, model)
    mixed: list[bytes] = [good[0]]
    for (data, _), neighbor in zip(invalid.values(), good[1:], strict=True):
        mixed += [data, neighbor]
    together, status = embed(mixed, model)
    assert dict(zip(invalid, status[1::2], strict=True)) == {name: expected for name, (_, expected) in invalid.items()}
    assert np.isnan(together[1::2]).all()
    assert status[::2] == ["ok"] * len(good)
    assert np.abs(together[::2] - alone).max() < 1e-6
    one_by_one, _ = embed(mixed, model, batch_size=1)
    assert one_by_one[::2].tobytes() == embed(good, model, batch_size=1)[0].tobytes()


@pytest.mark.parametrize("kind", ["GIF", "PNG", "WEBP"])
def test_animations_embed_their_first_frame(model, by_hand, kind):
    data = image_files.animated(kind)
    assert Image.open(BytesIO(data)).n_frames == 3
    got, status = embed([data], model)
    assert status == ["ok"]
    first = image_files.frames(1)[0]
    expected = by_hand(first if kind != "GIF" else Image.open(BytesIO(image_files.encoded(first, "GIF"))))
    assert np.abs(got - expected).max() < 1e-6


@pytest.mark.parametrize("kind", ["PNG", "TIFF"])
def test_16_bit_gray_uses_its_upper_8_bits(model, by_hand, kind):
    gray = image_files.colors(3, channels=1)[..., 0]
    deep = (gray.astype(np.uint16) << 8) + np.random.default_rng(0).integers(0, 256, gray.shape, dtype=np.uint16)
    got, status = embed([image_files.encoded(Image.fromarray(deep), kind)], model)
    assert status == ["ok"]
    assert np.abs(got - by_hand(Image.fromarray(gray))).max() < 1e-6


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "RGB", "RGBA", "CMYK", "PA"])
def test_modes_convert_to_rgb_as_in_open_clip(model, by_hand, mode):
    image = Image.fromarray(image_files.colors(4, channels=4), "RGBA" if mode != "CMYK" else "CMYK")
    image = image if image.mode == mode else image.convert("LA").convert("PA") if mode == "PA" else image.convert(mode)
    data = image_files.encoded(image, "TIFF" if mode in ("CMYK", "PA") else "PNG")
    got, status = embed([data], model)
    assert status == ["ok"]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # Pillow would have palettes made RGBA.
        assert np.abs(got - by_hand(Image.open(BytesIO(data)))).max() < 1e-6


@pytest.mark.parametrize("orientation", [1, 3, 6, 8])
def test_exif_orientation_is_applied_on_request_only(model, by_hand, orientation):
    exif = Image.Exif()
    exif[0x0112] = orientation
    data = image_files.image(6, exif=exif)
    stored = Image.open(BytesIO(data))
    assert np.abs(embed([data], model)[0] - by_hand(stored)).max() < 1e-6
    upright = ImageOps.exif_transpose(Image.open(BytesIO(data)))
    turned = embed([data], model, exif_orientation=True)[0]
    assert np.abs(turned - by_hand(upright)).max() < 1e-6
    assert orientation == 1 or np.abs(turned - by_hand(stored)).max() > 1e-4


def test_warnings_of_pillow_are_silenced_and_lose_no_image(model):
    palette = Image.fromarray(image_files.colors(2)).convert("P")
    data = image_files.encoded(palette, "PNG", transparency=bytes(range(256)))
    with pytest.warns(UserWarning, match="Transparency"):
        Image.open(BytesIO(data)).convert("RGB")
    filters = list(warnings.filters)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert embed([data] * 20, model)[1] == ["ok"] * 20
    assert warnings.filters == filters


def test_a_process_that_accepts_truncated_images_is_refused(model, monkeypatch):
    monkeypatch.setattr(ImageFile, "LOAD_TRUNCATED_IMAGES", True)
    with pytest.raises(ArgumentError, match="LOAD_TRUNCATED_IMAGES to be off"):
        embed(image_files.images(2), model)


def test_the_pool_ends_with_its_threads_and_works_after_a_fork(model):
    before = {thread.name for thread in threading.enumerate()}
    embed(image_files.images(9), model)
    assert {thread.name for thread in threading.enumerate()} == before
    from dask_aesthetic.images.pool import decoding

    with decoding() as threads:
        assert threads.submit(len, "abc").result() == 3
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)  # Of 3.12: forking with threads.
            child = os.fork()
        if not child:
            with decoding() as own:
                os._exit(0 if own.submit(len, "abcd").result(30) == 4 else 1)
        assert os.waitpid(child, 0)[1] == 0


def test_unreadable_paths_have_a_status(model, tmp_path):
    (tmp_path / "good.jpg").write_bytes(image_files.image(0))
    (tmp_path / "empty.jpg").write_bytes(b"")
    (tmp_path / "page.jpg").write_bytes(b"<html></html>")
    os.mkfifo(tmp_path / "pipe.jpg")
    (tmp_path / "loop.jpg").symlink_to(tmp_path / "loop.jpg")
    (tmp_path / "link.jpg").symlink_to(tmp_path / "good.jpg")
    expected = {
        "good.jpg": "ok",
        "link.jpg": "ok",
        "absent.jpg": "unreadable",
        ".": "unreadable",
        "pipe.jpg": "unreadable",
        "loop.jpg": "unreadable",
        "nul\0.jpg": "unreadable",
        "empty.jpg": "undecodable",
        "page.jpg": "undecodable",
    }
    rows = [f"{tmp_path}/{name}" for name in expected]
    rows[3:3] = [None, "", float("nan"), pd.NA, "nowhere://x.jpg", f"file://{tmp_path}/good.jpg", "file:///dev/zero"]
    got, status = embed(rows, model)
    assert status[3:10] == [*["missing"] * 4, "unreadable", "ok", "unreadable"]
    assert status[:3] + status[10:] == list(expected.values())
    good = [at for at, one in enumerate(status) if one == "ok"]
    assert np.isnan(np.delete(got, good, axis=0)).all()
    assert (got[good] == got[0]).all()


def test_urls_use_the_storage_options(model, s3):
    s3.fs.pipe_file(f"{s3.url}/a.jpg", image_files.image(0))
    got, status = embed([f"{s3.url}/a.jpg", f"{s3.url}/b.jpg", s3.url], model, storage_options=s3.options)
    assert status == ["ok", "unreadable", "unreadable"]
    assert got[:1].tobytes() == embed([image_files.image(0)], model)[0].tobytes()
    fsspec.filesystem("memory").pipe_file("/images/a.jpg", image_files.image(1))
    assert embed(["memory://images/a.jpg"], model)[1] == ["ok"]


def test_every_column_type_gives_the_same_embeddings(model, tmp_path):
    rows: list[bytes | None] = [*image_files.images(3), None, image_files.image(9)]
    expected, statuses = embed(rows, model)
    assert statuses == ["ok"] * 3 + ["missing", "ok"]
    paths = [None if row is None else str(tmp_path / f"{at}.jpg") for at, row in enumerate(rows)]
    for path, row in zip(paths, rows, strict=True):
        if path is not None:
            Path(path).write_bytes(row)
    structs = [None if row is None else {"bytes": row, "path": "not read"} for row in rows]
    pointing = [None if path is None else {"bytes": None, "path": path} for path in paths]
    struct = pa.struct({"bytes": pa.binary(), "path": pa.string()})
    numbers = [None if row is None else np.frombuffer(row, np.uint8) for row in rows]
    listed = pa.struct({"bytes": pa.list_(pa.uint8()), "path": pa.string()})
    views = [None if row is None else memoryview(row) for row in rows]
    arrays = [
        *(pa.array(rows, kind) for kind in (pa.binary(), pa.large_binary(), pa.binary_view())),
        *(pa.array(paths, kind) for kind in (pa.string(), pa.large_string())),
        *(pa.array(kind, struct) for kind in (structs, pointing)),
        pa.array(numbers, pa.list_(pa.uint8())),
        pa.array([row and {"bytes": list(row["bytes"]), "path": ""} for row in structs], listed),
        pa.chunked_array([pa.array(rows[:2]), pa.array([], pa.binary()), pa.array(rows[2:])]),
    ]
    columns = [pd.Series(pd.arrays.ArrowExtensionArray(array)) for array in arrays]
    columns += [pd.Series(values, dtype=object) for values in (structs, pointing, numbers, views)]
    columns += [pd.Series(paths), pd.Series([bytearray(row or b"") or None for row in rows], dtype=object)]
    for column in columns:
        out = pd.DataFrame({"image": column}).aesthetic.embed(**model)
        assert out["image_status"].tolist() == statuses, column.dtype
        assert matrix(out["image_embedding"]).tobytes() == expected.tobytes(), column.dtype


class Strings:
    """The part of a cuDF column that reading images uses: libcudf reads bytes from Parquet as strings."""

    def __init__(self, array: pa.Array) -> None:
        self.array = array

    def to_arrow(self) -> pa.Array:
        return self.array


def test_cudf_strings_are_images_where_they_are_bytes_and_paths_where_they_are_text(tmp_path):
    path = tmp_path / "größe.jpg"
    path.write_bytes(image_files.image(2))
    encodings = [image_files.image(at, kind) for at, kind in enumerate(("JPEG", "PNG", "WEBP", "GIF"))]
    rows = [*encodings, None, str(path).encode()]
    text = pa.array(rows, pa.binary()).view(pa.string())
    bytes_, paths = (pa.array(part, pa.binary()).view(pa.string()) for part in (rows[:4], rows[5:]))
    pair = pa.array([rows[:2], [], None], pa.list_(pa.binary()))
    lists = pa.ListArray.from_arrays(pair.offsets, pair.values.view(pa.string()), mask=pair.is_null())
    structs = pa.StructArray.from_arrays([bytes_, pa.nulls(4, pa.string())], ["bytes", "path"])
    assert list(cudf.images(Strings(text))) == [*encodings, None, str(path)]
    assert list(cudf.images(Strings(lists))) == [encodings[:2], [], None]
    assert [row["bytes"] for row in cudf.images(Strings(structs))] == encodings
    assert list(cudf.images(Strings(paths))) == [str(path)]
    numbers = pa.array([np.frombuffer(row, np.uint8) for row in encodings], pa.list_(pa.uint8()))
    assert cudf.images(Strings(numbers)) is numbers


def test_lists_of_images_are_pooled_as_requested(model):
    a, b, c = image_files.images(3)
    rows = [[a, b, c], [], None, [b], [a, b"", c], [a, None], [b"", a]]
    (x, y, z), _ = embed([a, b, c], model)
    lists = pd.Series(pd.arrays.ArrowExtensionArray(pa.array(rows, pa.list_(pa.binary()))))

    def unit(vector: np.ndarray) -> np.ndarray:
        return vector / np.linalg.norm(vector)

    for column in (lists, pd.Series(rows, dtype=object)):
        frame = pd.DataFrame({"image": column})
        with pytest.raises(ArgumentError, match="pooling='first', 'mean' or 'max'"):
            frame.aesthetic.embed(**model)
        for pooling, expected in (("first", x), ("mean", unit(x + y + z)), ("max", unit(np.max([x, y, z], axis=0)))):
            failing = ["ok", "ok"] if pooling == "first" else ["undecodable", "missing"]
            statuses = ["ok", "missing", "missing", "ok", *failing, "undecodable"]
            out = frame.aesthetic.embed(**model, pooling=pooling)
            assert out["image_status"].tolist() == statuses
            got = matrix(out["image_embedding"])
            assert np.abs(got[0] - expected).max() < 1e-6
            assert np.abs(got[3] - y).max() < 1e-6
            assert np.isnan(got[[at for at, one in enumerate(statuses) if one != "ok"]]).all()


def test_lists_of_bytes_and_paths_from_a_published_file(shared, model, by_hand):
    frame = pd.read_parquet(shared / "data/hf/dj_list_of_bytes.parquet", dtype_backend="pyarrow")
    out = frame.aesthetic.embed("image_bytes", **model, pooling="mean")
    assert out["image_status"].tolist() == ["ok"] * 3
    expected = by_hand(*(Image.open(BytesIO(first)) for (first,) in frame["image_bytes"]))
    assert np.abs(matrix(out["image_embedding"]) - expected).max() < 1e-6
    elsewhere = frame.aesthetic.embed("images", **model, pooling="mean")
    assert elsewhere["image_status"].tolist() == ["unreadable"] * 3


@pytest.mark.parametrize(
    ("column", "error", "message"),
    [
        (pd.Series([1, 2]), ColumnError, "an image per row in column 'image'.*got int64"),
        (pd.Series([1.5, None], dtype=object), ColumnError, "an image per row in column 'image'"),
        (pd.Series([[0.5, 0.25]], dtype=pd.ArrowDtype(pa.list_(pa.float32()))), ColumnError, "list<.*float>"),
        (pd.Series([{"url": "x"}], dtype=pd.ArrowDtype(pa.struct({"url": pa.string()}))), ColumnError, "struct<url"),
        (pd.Series([str({"bytes": b"\xff\xd8", "path": None})]), ColumnError, "convert-string"),
        (pd.Series(["b'\\xff\\xd8'"]), ColumnError, "convert-string"),
        (pd.Series([None, b"\xff\xd8"], dtype=object), InvalidImageError, r"row 0 \(index 0\) is missing"),
    ],
)
def test_columns_without_images_are_refused(model, column, error, message):
    with pytest.raises(error, match=message):
        pd.DataFrame({"image": column}).aesthetic.embed(**model, on_invalid="raise")


def test_values_of_other_types_are_unreadable_and_stop_nothing(model):
    rows = [image_files.image(0), 7, object(), {"url": "x"}, {"bytes": 5}, image_files.image(0)]
    got, status = embed(rows, model)
    assert status == ["ok", "unreadable", "unreadable", "missing", "unreadable", "ok"]
    assert got[0].tobytes() == got[5].tobytes()


def test_zero_and_non_finite_model_output_has_a_status(tmp_path, weights):
    for bad, status in ((0.0, "zero"), (float("nan"), "not_finite"), (3e38, "not_finite")):
        state, _ = read_tensors(weights)
        state["visual.proj"] = torch.full_like(state["visual.proj"], bad)
        torch.save(state, tmp_path / f"{status}.pt")
        scored = pd.DataFrame({"image": image_files.images(2)}).aesthetic.embed_and_score(
            model=image_files.MODEL,
            pretrained=tmp_path / f"{status}.pt",
            predictor=small_head(),
            threshold=5,
            keep_embedding=True,
        )
        assert scored["image_status"].tolist() == [status] * 2
        assert scored["image_embedding"].isna().all()
        assert scored["aesthetic_score"].isna().all()
        assert not scored["keep"].any()


def small_head() -> dask_aesthetic.Predictor:
    from dask_aesthetic.predictors import AffinePredictor, PredictorInfo

    weight = np.random.default_rng(3).standard_normal(image_files.WIDTH)
    return AffinePredictor(weight, 5.0, PredictorInfo(name="small", width=image_files.WIDTH))
