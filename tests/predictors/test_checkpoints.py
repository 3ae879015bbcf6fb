"""Checkpoint files: published ones score as their layers do, and what is no checkpoint is refused by what it is."""

from __future__ import annotations

import json
import pickle
import shutil
from functools import partial
from importlib.resources import files
from math import sqrt
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file

from dask_aesthetic import PredictorError, ThresholdError, list_predictors, load_predictor
from dask_aesthetic.predictors import AffinePredictor, NetworkPredictor, PredictorInfo
from dask_aesthetic.predictors.catalog import KNOWN
from dask_aesthetic.predictors.golden import SIMILARITY, golden_scores, golden_vectors
from fold_predictors import fold_predictors

FIVE = tuple(f"layers.{at}." for at in (0, 2, 4, 6, 7))
RELU = tuple(f"layers.{at}." for at in (0, 3, 6, 9, 11))
TTJ = "ttj/sac-logos-ava1-l14-linearMSE"
# What each published file is: the keys of its layers in order, its catalog name ("" for none).
PUBLISHED = {
    "sac+logos+ava1-l14-linearMSE.pth": (FIVE, "laion-v2"),
    TTJ: (FIVE, "laion-v2"),
    f"{TTJ}/model.safetensors": (FIVE, "laion-v2"),
    "ava+logos-l14-linearMSE.pth": (FIVE, "laion-v2-ava"),
    "ava+logos-l14-reluMSE.pth": (RELU, "laion-v2-ava-relu"),
    "sa_0_4_vit_l_14_linear.pth": (("",), "laion-v1-l14"),
    "sa_0_4_vit_b_16_linear.pth": (("",), "laion-v1-b16"),
    "sa_0_4_vit_b_32_linear.pth": (("",), "laion-v1-b32"),
    "sac_public_2022_06_29_vit_l_14_linear.pth": (("linear.",), "simulacra-l14"),
    "chadscorer.pth": (FIVE, ""),
}
NETWORKS = ("nsfw-l14",)
RECOGNIZED = [file for file, (_, name) in PUBLISHED.items() if name]
REFERENCES = {
    "sac+logos+ava1-l14-linearMSE.pth": "sac+logos+ava1-l14-linearMSE",
    "ava+logos-l14-linearMSE.pth": "ava+logos-l14-linearMSE",
    "ava+logos-l14-reluMSE.pth": "ava+logos-l14-reluMSE",
    "sa_0_4_vit_l_14_linear.pth": "sa_0_4_vit_l_14_linear",
    "sac_public_2022_06_29_vit_l_14_linear.pth": "simulacra_sac_public_vit_l_14",
}


def tensors_of(path: Path) -> dict[str, torch.Tensor]:
    path = path / "model.safetensors" if path.is_dir() else path
    if path.suffix == ".safetensors":
        return load_file(path)
    return torch.load(path, map_location="cpu", weights_only=True)


def by_layers(tensors, keys, vectors, *, relu=False, scale=1.0) -> np.ndarray:
    """Scores of vectors, layer by layer in float64."""
    x = torch.from_numpy(np.asarray(vectors)).double()
    x = x / x.norm(dim=1, keepdim=True) * scale
    for at, key in enumerate(keys):
        x = torch.nn.functional.linear(x, tensors[f"{key}weight"].double(), tensors[f"{key}bias"].double())
        x = x.relu() if relu and at < len(keys) - 1 else x
    return x[:, 0].numpy()


def units(width: int, rows: int = 300) -> np.ndarray:
    z = np.random.default_rng(width).standard_normal((rows, width))
    return (z / np.linalg.norm(z, axis=1, keepdims=True)).astype(np.float32)


def scores(predictor, vectors: np.ndarray) -> np.ndarray:
    return predictor.score(torch.from_numpy(np.array(vectors)))[0].numpy()


def linear(rows: int, width: int, seed: int = 0) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(rows, width, generator=generator), torch.randn(rows, generator=generator)


def stack(*layers: tuple[str, int, int]) -> dict[str, torch.Tensor]:
    """A state dict of (key, out, in)."""
    made = {}
    for seed, (key, rows, width) in enumerate(layers):
        made[f"{key}weight"], made[f"{key}bias"] = linear(rows, width, seed)
    return made


@pytest.fixture
def head(tmp_path) -> Path:
    """A checkpoint of one layer that nobody published."""
    path = tmp_path / "head.pth"
    torch.save(stack(("", 1, 8)), path)
    return path


@pytest.mark.parametrize("file", PUBLISHED)
def test_a_published_checkpoint_scores_as_its_layers_do(shared, file):
    keys, name = PUBLISHED[file]
    predictor = load_predictor(shared / "weights" / file)
    assert type(predictor) is (NetworkPredictor if keys == RELU else AffinePredictor)
    tensors = tensors_of(shared / "weights" / file)
    assert predictor.width == tensors[f"{keys[0]}weight"].shape[1]
    vectors = units(predictor.width)
    scale = sqrt(predictor.width) if name == "simulacra-l14" else 1.0
    expected = by_layers(tensors, keys, vectors, relu=keys == RELU, scale=scale)
    assert np.abs(scores(predictor, vectors) - expected).max() <= (5e-6 if keys == RELU else 2e-6)


@pytest.mark.parametrize("file", REFERENCES)
def test_published_checkpoints_score_real_embeddings_as_the_references(shared, verite, reference, file):
    predictor = load_predictor(shared / "weights" / file)
    limit = 5e-6 if file == "ava+logos-l14-reluMSE.pth" else 2e-6
    assert np.abs(scores(predictor, verite) - reference[REFERENCES[file]]).max() <= limit


@pytest.mark.parametrize("file", RECOGNIZED)
def test_published_heads_are_recognized_by_their_weights(shared, tmp_path, file):
    path, name = shared / "weights" / file, PUBLISHED[file][1]
    (published,) = (known.info for known in KNOWN if known.info.name == name)
    original = load_predictor(path)
    assert original.info == published
    tensors = tensors_of(path)
    torch.save(tensors, tmp_path / "renamed.ckpt")
    torch.save({"state_dict": tensors, "note": "epoch 3"}, tmp_path / "wrapped.pt")
    torch.save(tensors, tmp_path / "legacy.pth", _use_new_zipfile_serialization=False)
    save_file(tensors, tmp_path / "other.safetensors", {"format": "pt"})
    if path.is_file():
        shutil.copyfile(path, tmp_path / "copy.bin")
    for copy in tmp_path.iterdir():
        predictor = load_predictor(copy)
        assert predictor.info == published, copy.name
        assert predictor.token == original.token, copy.name
    if published.name in list_predictors():
        assert original.token == load_predictor(published.name).token  # Folded here and elsewhere.


def test_unpublished_heads_take_the_name_and_sha256_of_their_file(shared, head):
    assert load_predictor(head).info.name == "head.pth"
    chad = load_predictor(shared / "weights/chadscorer.pth")
    assert chad.info.name == "chadscorer.pth"
    assert chad.info.scale == "unknown"
    nearly = tensors_of(shared / "weights/sa_0_4_vit_l_14_linear.pth")
    nearly["bias"] += 1e-6
    torch.save(nearly, head)
    assert load_predictor(head).info.scale == "unknown"


def test_shipped_predictors_equal_the_folded_checkpoints(shared, tmp_path):
    names = [predictor.info.name for predictor in fold_predictors(shared / "weights", tmp_path)]
    assert names == list(list_predictors())
    folded = files("dask_aesthetic.predictors") / "folded"
    assert {path.name for path in tmp_path.iterdir()} == {path.name for path in folded.iterdir()}
    for name in names:
        with (
            safe_open(tmp_path / f"{name}.safetensors", "np") as made,
            safe_open(str(folded / f"{name}.safetensors"), "np") as shipped,
        ):
            assert made.metadata() == shipped.metadata()
            assert set(made.keys()) == set(shipped.keys())
            for key in made.keys():  # noqa: SIM118
                ours, theirs = made.get_tensor(key), shipped.get_tensor(key)
                assert ours.dtype == theirs.dtype == (np.float32 if name in NETWORKS else np.float64)
                assert ours.tobytes() == theirs.tobytes()  # Whatever the processor of the one or the other.
    made = json.loads((tmp_path / "golden.json").read_text())
    for name in NETWORKS:  # By a BLAS, whose last bits differ between processors.
        assert made.pop(name) == pytest.approx(golden_scores(name), rel=1e-6)
    assert made == {name: golden_scores(name) for name in (*names, SIMILARITY) if name not in NETWORKS}


@pytest.mark.parametrize("name", [name for name in list_predictors() if name not in NETWORKS])
def test_a_shipped_head_gives_its_golden_scores(name):
    predictor = load_predictor(name)
    vectors = golden_vectors(predictor.width)
    assert scores(predictor, vectors).tolist() == golden_scores(name)
    units = vectors / np.linalg.norm(vectors.astype(np.float64), axis=1, keepdims=True)
    exact = units @ predictor.weight + predictor.bias
    assert np.abs(exact - golden_scores(name)).max() <= 2e-6


def test_another_sha256_is_refused(head):
    sha256 = load_predictor(head).info.sha256
    assert load_predictor(head, sha256=sha256.upper()) == load_predictor(head)
    with pytest.raises(PredictorError, match=f"expected sha256 {'0' * 64} of .*head.pth, got {sha256}"):
        load_predictor(head, sha256="0" * 64)


def test_sha256_of_a_name_is_that_of_the_published_file():
    sha256 = list_predictors()["laion-v2"].sha256
    assert load_predictor("laion-v2", sha256=sha256) == load_predictor("laion-v2")
    with pytest.raises(PredictorError, match=f"expected sha256 {'0' * 64} of .*-linearMSE.pth, got {sha256}"):
        load_predictor("laion-v2", sha256="0" * 64)


POINTER = b"version https://git-lfs.github.com/spec/v1\noid sha256:" + b"4d" * 32 + b"\nsize 3714759\n"
PAGE = b"\n <!DOCTYPE html>\n<html><head><title>404</title></head></html>\n"


@pytest.mark.parametrize("name", ["head.pth", "head.safetensors"])
@pytest.mark.parametrize(
    ("content", "message"),
    [
        (POINTER, "got a git-lfs pointer, .*run 'git lfs pull'"),
        (PAGE, "got an HTML page"),
        (b"<?xml version='1.0'?><Error><Code>AccessDenied</Code></Error>", "got an XML page"),
        (b"", "got an empty file"),
        (b'{"error": "no such file"}', "got a JSON document"),
        (b'{"abcd":{"layers": [768, 1]}}', "got a JSON document"),
        (json.dumps({f"layer {at}": at for at in range(200)}).encode(), "got a JSON document"),
        (b"[1.0, 2.0, 3.0]", "got a JSON document"),
        (b"\x93NUMPY\x01\x00v\x00{'descr'", r"got a file of another kind \(18 bytes, beginning b.*NUMPY"),
        (b"weights", r"got a file of another kind \(7 bytes"),
    ],
    ids=["pointer", "html", "xml", "empty", "json", "json, { ninth", "long json", "json list", "npy", "text"],
)
def test_files_of_another_kind_are_refused_by_kind(tmp_path, name, content, message):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(PredictorError, match=f"expected a checkpoint at .*{name}, {message}"):
        load_predictor(tmp_path / name)


@pytest.mark.parametrize("zipped", [True, False])
def test_truncated_torch_checkpoints_are_refused(tmp_path, zipped):
    complete, truncated = tmp_path / "complete.pth", tmp_path / "truncated.pth"
    torch.save(stack(("", 1, 8)), complete, _use_new_zipfile_serialization=zipped)
    content = complete.read_bytes()
    for size in range(20, len(content), 29):
        truncated.write_bytes(content[:size])
        with pytest.raises(PredictorError, match=r"truncated\.pth, got .*(truncated|damaged)"):
            load_predictor(truncated)


def test_half_a_published_checkpoint_is_refused(shared, tmp_path):
    content = (shared / "weights/sac+logos+ava1-l14-linearMSE.pth").read_bytes()
    (tmp_path / "half.pth").write_bytes(content[: len(content) // 2])
    with pytest.raises(
        PredictorError, match=r"expected a complete torch checkpoint at .*half\.pth, got one that is truncated"
    ):
        load_predictor(tmp_path / "half.pth")


@pytest.mark.parametrize("zipped", [True, False])
def test_a_damaged_torch_checkpoint_raises_nothing_else(tmp_path, zipped):
    complete, damaged = tmp_path / "complete.pth", tmp_path / "damaged.pth"
    torch.save(stack(("", 1, 8)), complete, _use_new_zipfile_serialization=zipped)
    content = bytearray(complete.read_bytes())
    rng = np.random.default_rng(3)
    refused = 0
    for at in rng.integers(2, min(len(content), 900), 150):
        broken = content.copy()
        broken[at] ^= int(rng.integers(1, 256))
        damaged.write_bytes(broken)
        try:
            load_predictor(damaged)
        except PredictorError:
            refused += 1
    assert refused >= 25


def test_truncated_safetensors_files_are_refused(tmp_path):
    complete, truncated = tmp_path / "complete.safetensors", tmp_path / "truncated.safetensors"
    save_file(stack(("", 1, 8)), complete)
    content = complete.read_bytes()
    header = 8 + int.from_bytes(content[:8], "little")
    for size in range(9, header, 3):
        truncated.write_bytes(content[:size])
        with pytest.raises(PredictorError, match=rf"truncated inside its header \({size} bytes\)"):
            load_predictor(truncated)
    for size in range(header, len(content)):
        truncated.write_bytes(content[:size])
        with pytest.raises(PredictorError, match=r"a complete safetensors file at .*got one that is truncated"):
            load_predictor(truncated)


def test_a_safetensors_header_may_have_any_length(tmp_path):
    """Some lengths begin with the byte that a pickle begins with."""
    path, first_bytes = tmp_path / "head.safetensors", set()
    for extra in range(0, 256, 8):
        save_file(stack(("", 1, 8)), path, {"note": "x" * extra})
        first_bytes.add(path.read_bytes()[0])
        assert load_predictor(path).width == 8
    assert first_bytes == set(range(0, 256, 8))


class Malicious:
    def __init__(self, path: Path):
        self.path = path

    def __reduce__(self):
        return Path.touch, (self.path,)


@pytest.mark.parametrize("protocol", range(6))
def test_a_pickle_that_would_run_code_is_refused_and_not_run(tmp_path, protocol):
    evil, path = tmp_path / "it ran", tmp_path / "head.pth"
    path.write_bytes(pickle.dumps({"weight": Malicious(evil)}, protocol))
    # The earliest protocols have no mark of their own.
    message = "asks to run code .*it was not run" if protocol >= 2 else "got a file of another kind"
    with pytest.raises(PredictorError, match=message):
        load_predictor(path)
    assert not evil.exists()
    pickle.loads(path.read_bytes())
    assert evil.exists()


@pytest.mark.parametrize("zipped", [True, False])
def test_a_checkpoint_that_would_run_code_is_refused_and_not_run(tmp_path, zipped):
    evil, path = tmp_path / "it ran", tmp_path / "head.pth"
    state = {**stack(("", 1, 8)), "extra": Malicious(evil)}
    torch.save(state, path, _use_new_zipfile_serialization=zipped)
    with pytest.raises(PredictorError, match=r"asks to run code when loaded.*it was not run"):
        load_predictor(path)
    assert not evil.exists()
    torch.load(path, weights_only=False)
    assert evil.exists()


def test_a_whole_module_is_refused(tmp_path):
    path = tmp_path / "module.pth"
    torch.save(torch.nn.Linear(8, 1), path)
    with pytest.raises(PredictorError, match=r"expected tensors alone .*Save the model's state_dict"):
        load_predictor(path)


@pytest.mark.parametrize("value", [torch.ones(1, 8), [torch.ones(1, 8)], 3], ids=["tensor", "list", "number"])
def test_files_without_a_state_dict_are_refused(tmp_path, value):
    torch.save(value, tmp_path / "value.pth")
    with pytest.raises(PredictorError, match=rf"expected a state dict in .*value.pth, got {type(value).__name__}"):
        load_predictor(tmp_path / "value.pth")


NAN = torch.full((1, 8), float("nan"))


@pytest.mark.parametrize(
    ("state", "message"),
    [
        ({"conv1.weight": torch.ones(4, 3, 7, 7), "conv1.bias": torch.ones(4)}, r"follow each other.*\(4, 3, 7, 7\)"),
        ({"bn.running_mean": torch.ones(4)}, "expected one stack of Linear layers.*got bn.running_mean"),
        ({"kernel": torch.ones(1, 4)}, "of Linear layers alone, got 'kernel' among kernel"),
        ({"weight": torch.ones(1, 8, dtype=torch.int8), "bias": torch.ones(1)}, "alone, got 'weight'"),
        ({"weight": torch.ones(1, 8), "bias": torch.ones(1), "epoch": 3}, "got 'epoch' among bias, epoch, weight"),
        ({0: torch.ones(1, 8)}, "got 0 among 0"),
        ({"weight": torch.ones(1, 8, device="meta"), "bias": torch.ones(1)}, "alone, got 'weight'"),
        ({"weight": torch.ones(1, 8).to_sparse(), "bias": torch.ones(1)}, "alone, got 'weight'"),
        ({}, "expected one stack of Linear layers"),
        ({"weight": torch.ones(1, 8)}, "each with weight and bias, got weight$"),
        (stack(("a.0.", 4, 8), ("b.1.", 1, 4)), "expected one stack of Linear layers.*got a.0.bias, a.0.weight, b.1"),
        (stack(("a.0.", 1, 8), ("a0.", 1, 8)), "expected one stack of Linear layers"),
        (stack(("0.", 4, 8), ("1.", 1, 5)), r"expected Linear layers that follow.*got shapes \[\(4, 8\), \(1, 5\)\]"),
        (stack(("0.", 4, 8), ("1.", 2, 4)), "end in one score"),
        (stack(("", 2, 8)), "end in one score"),
        ({"weight": torch.ones(1, 8), "bias": torch.ones(2)}, "expected Linear layers"),
        ({"weight": torch.ones(8), "bias": torch.ones(1)}, "expected Linear layers"),
        ({"weight": torch.ones(1, 0), "bias": torch.ones(1)}, "expected Linear layers"),
        ({"weight": NAN, "bias": torch.ones(1)}, "expected finite weights, got NaN or infinity"),
        ({"weight": torch.ones(1, 8), "bias": torch.tensor([float("inf")])}, "expected finite weights"),
    ],
    ids=lambda value: "" if isinstance(value, str) else "/".join(map(str, value))[:40],
)
def test_tensors_that_are_no_stack_of_linear_layers_are_refused(tmp_path, state, message):
    torch.save(state, tmp_path / "state.pth")
    with pytest.raises(PredictorError, match=message):
        load_predictor(tmp_path / "state.pth")


@pytest.mark.parametrize("activation", ["none", "relu"])
@pytest.mark.parametrize("positions", [(0, 2), (1, 4, 5), (0, 2, 4, 6, 8), (3, 6), (0, 1), (0, 1, 2), (1, 2)])
def test_unknown_layers_need_an_activation(tmp_path, positions, activation):
    path, keys = tmp_path / "mlp.pth", tuple(f"net.{at}." for at in positions)
    shapes = [(6, 8), *[(6, 6)] * (len(keys) - 2), (1, 6)]
    state = stack(*((key, *shape) for key, shape in zip(keys, shapes, strict=True)))
    torch.save(state, path)
    with pytest.raises(PredictorError, match=r"what lies between the layers \(.*or activation='none' ") as raised:
        load_predictor(path)
    assert f"predictor=load_predictor({str(path)!r}, activation='relu')" in str(raised.value)
    with pytest.raises(PredictorError, match="got 'gelu'"):
        load_predictor(path, activation="gelu")
    predictor = load_predictor(path, activation=activation)
    assert type(predictor) is (NetworkPredictor if activation == "relu" else AffinePredictor)
    vectors = units(8)
    expected = by_layers(state, keys, vectors, relu=activation == "relu")
    assert np.ptp(expected) > 0.1
    np.testing.assert_allclose(scores(predictor, vectors), expected, rtol=2e-6, atol=1e-5)


class InForward(torch.nn.Module):
    """A head whose activation no state dict shows, as DETR's is."""

    def __init__(self) -> None:
        super().__init__()
        self.layers = torch.nn.ModuleList([torch.nn.Linear(8, 6), torch.nn.Linear(6, 1)])

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.layers[1](torch.relu(self.layers[0](x)))


def test_activations_are_not_guessed_and_the_remedy_of_the_error_works(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    torch.manual_seed(0)
    head = InForward()
    torch.save(head.state_dict(), "own.pth")
    with pytest.raises(PredictorError, match="weights, which do not say it: say predictor=load") as caught:
        load_predictor("own.pth")
    assert "say predictor=load_predictor('own.pth', activation='relu'), or activation='none' " in str(caught.value)
    assert "load_predictor('own.pth', activation='relu').save('head.safetensors') writes" in str(caught.value)
    said = load_predictor("own.pth", activation="relu")
    load_predictor("own.pth", activation="relu").save("head.safetensors")
    expected = head.double()(torch.from_numpy(units(8)).double()).detach().numpy()[:, 0]
    for predictor in (said, load_predictor("head.safetensors")):
        assert np.abs(scores(predictor, units(8)) - expected).max() < 1e-6
        assert predictor.info.name == "own.pth"


@pytest.mark.parametrize("wrap", [torch.nn.DataParallel, torch.nn.Sequential, lambda module: module])
@pytest.mark.parametrize("names", [("fc1", "fc2"), ("mlp.0", "mlp.1"), ("head.l1", "head.l2"), ("0", "3")])
def test_heads_as_people_write_them_score_like_their_module_or_are_refused(tmp_path, names, wrap):
    torch.manual_seed(1)
    first, last = torch.nn.Linear(8, 6), torch.nn.Linear(6, 1)
    module = torch.nn.Module()
    for name, layer in zip(names, (first, last), strict=True):
        *parents, own = name.split(".")
        at = module
        for parent in parents:
            at = at._modules.setdefault(parent, torch.nn.Module())
        at.add_module(own, layer)
    torch.save(wrap(module).state_dict(), tmp_path / "own.pth")
    with pytest.raises(PredictorError, match="what lies between the layers"):
        load_predictor(tmp_path / "own.pth")
    vectors = torch.from_numpy(units(8)).double()
    hidden, last = first.double()(vectors), last.double()
    for activation, between in (("relu", torch.relu(hidden)), ("none", hidden)):
        expected = last(between).detach().numpy()[:, 0]
        predictor = load_predictor(tmp_path / "own.pth", activation=activation)
        assert np.abs(scores(predictor, units(8)) - expected).max() < 1e-6


@pytest.mark.parametrize("prefix", ["layers.", "", "module.mlp.", "fc"])
@pytest.mark.parametrize("name", ["sac+logos+ava1-l14-linearMSE.pth", "ava+logos-l14-reluMSE.pth"])
def test_published_heads_are_recognized_under_other_layer_names(shared, tmp_path, name, prefix):
    original = load_predictor(shared / "weights" / name)
    tensors = tensors_of(shared / "weights" / name)
    positions = sorted({int(key.split(".")[1]) for key in tensors})
    for numbers in (range(5), (1, 4, 7, 10, 13)):
        renamed = {}
        for key, tensor in tensors.items():
            _, position, kind = key.split(".")
            renamed[f"{prefix}{numbers[positions.index(int(position))]}.{kind}"] = tensor
        torch.save(renamed, tmp_path / "renamed.pth")
        found = load_predictor(tmp_path / "renamed.pth")
        assert (found.info, found.token) == (original.info, original.token)


def test_arguments_that_contradict_a_published_head_are_refused(shared):
    head = shared / "weights/sac+logos+ava1-l14-linearMSE.pth"
    assert load_predictor(head, activation="none", input_scale=1.0).info == load_predictor("laion-v2").info
    with pytest.raises(PredictorError, match=r"activation='none' for .* those of laion-v2, got 'relu'"):
        load_predictor(head, activation="relu")
    with pytest.raises(PredictorError, match=r"activation='relu' for .*, whose weights are those of laion-v2-ava-relu"):
        load_predictor(shared / "weights/ava+logos-l14-reluMSE.pth", activation="none")
    with pytest.raises(PredictorError, match=r"input_scale=27\.7.* for .*simulacra-l14, got 1\.0"):
        load_predictor(shared / "weights/sac_public_2022_06_29_vit_l_14_linear.pth", input_scale=1.0)


@pytest.mark.parametrize("said", [{"activation": "relu"}, {"input_scale": 2.0}])
def test_arguments_with_a_known_predictor_are_refused(said):
    with pytest.raises(PredictorError, match="expected no other arguments with 'laion-v2', a published predictor"):
        load_predictor("laion-v2", **said)
    with pytest.raises(PredictorError, match="a predictor that has been loaded, got"):
        load_predictor(load_predictor(), **said)


@pytest.mark.parametrize("activation", ["none", "relu"])
def test_saved_files_keep_their_activation(tmp_path, activation):
    torch.save(network(), tmp_path / "own.pth")
    load_predictor(tmp_path / "own.pth", activation=activation, input_scale=3.0).save(tmp_path / "saved.safetensors")
    with pytest.raises(PredictorError, match=r"expected input_scale=.* as it says of itself, got 2\.0: leave it out"):
        load_predictor(tmp_path / "saved.safetensors", input_scale=2.0)
    if activation == "relu":  # What has no activation is folded into one layer, which has nothing between.
        with pytest.raises(PredictorError, match=r"expected activation='relu' for .*, got 'none': leave it out"):
            load_predictor(tmp_path / "saved.safetensors", activation="none")
        load_predictor(tmp_path / "saved.safetensors", activation="relu", input_scale=3.0)


def test_a_published_network_keeps_the_name_that_it_was_saved_under(shared, tmp_path):
    load_predictor(shared / "weights/ava+logos-l14-reluMSE.pth").named("mine").save(tmp_path / "mine.safetensors")
    assert load_predictor(tmp_path / "mine.safetensors").info.name == "mine"


@pytest.mark.parametrize("activation", ["gelu", "", "ReLU"])
def test_an_activation_that_is_not_known_is_refused_for_one_layer_too(shared, head, activation):
    for path in (head, shared / "weights/sa_0_4_vit_l_14_linear.pth"):
        with pytest.raises(PredictorError, match=f"expected activation to be one of none, relu, got '{activation}'"):
            load_predictor(path, activation=activation)


@pytest.mark.parametrize("scale", [0, -1.0, float("nan"), float("inf"), "2", True])
def test_an_input_scale_that_is_no_positive_number_is_refused(head, scale):
    with pytest.raises(PredictorError, match="expected input_scale to be a positive, finite number, got"):
        load_predictor(head, input_scale=scale)


def test_a_head_in_the_working_folder_has_a_name(tmp_path, monkeypatch):
    """A preset holds for scores of which nothing at all is said, so a predictor always says its name."""
    (tmp_path / "mine").mkdir()
    monkeypatch.chdir(tmp_path / "mine")
    save_file(stack(("", 1, 8)), "model.safetensors")
    assert load_predictor(".").info.name == "mine"


@pytest.mark.parametrize("norm", [torch.nn.RMSNorm, torch.nn.PReLU])
def test_a_norm_between_the_layers_is_not_left_out(tmp_path, norm):
    torch.save(
        torch.nn.Sequential(torch.nn.Linear(8, 6), norm(6), torch.nn.Linear(6, 1)).state_dict(), tmp_path / "n.pth"
    )
    for activation in (None, "none"):
        with pytest.raises(PredictorError):
            load_predictor(tmp_path / "n.pth", activation=activation)


def test_a_preset_is_refused_for_a_head_of_an_unknown_scale(shared, verite, tmp_path):
    frame = pd.DataFrame({"image_embedding": list(verite[:200])})
    head = shared / "weights/chadscorer.pth"
    assert "keep" not in frame.aesthetic.score(predictor=head)
    with pytest.raises(ThresholdError, match=r"nothing says on what scale chadscorer\.pth scores"):
        frame.aesthetic.score(predictor=head, threshold="high")
    scored = frame.aesthetic.score(predictor=head, threshold=5.0)
    found = scored.aesthetic.distribution(predictor=head)
    page = partial(scored.aesthetic.report, tmp_path / "page.html", predictor=head)
    for refused in (partial(found.keep_rate, "standard"), found.compare_laion, page):
        with pytest.raises(ThresholdError):
            refused()
    assert "standard)" not in repr(found)
    assert found.keep_rate(5.0) == (scored["aesthetic_score"] >= 5).mean()


def test_eleven_layers_are_taken_in_the_order_of_their_numbers(tmp_path):
    keys = [f"layers.{at}." for at in range(11)]
    state = stack(*((key, 1 if key == keys[-1] else 3, 3) for key in keys))
    torch.save(dict(sorted(state.items())), tmp_path / "deep.pth")
    expected = by_layers(state, keys, units(3))
    deep = load_predictor(tmp_path / "deep.pth", activation="none")
    np.testing.assert_allclose(scores(deep, units(3)), expected, rtol=1e-5, atol=1e-4)


@pytest.mark.parametrize("scale", [1.0, sqrt(8)])
@pytest.mark.parametrize("wrapper", ["", "module.", "model.head."])
def test_an_unknown_head_named_linear_needs_its_inputs_scale(tmp_path, scale, wrapper):
    path, state = tmp_path / "linear.pth", stack((f"{wrapper}linear.", 1, 8))
    torch.save(state, path)
    with pytest.raises(
        PredictorError,
        match=r"head named 'linear'.*sqrt\(width\) = 2\.8284\): say predictor=load_predictor\(.*input_scale=2\.8284\)",
    ):
        load_predictor(path)
    predictor = load_predictor(path, input_scale=scale)
    expected = by_layers(state, (f"{wrapper}linear.",), units(8), scale=scale)
    assert np.abs(scores(predictor, units(8)) - expected).max() <= 2e-6


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("absent.pth", r"expected a checkpoint at .*absent\.pth, got No such file or directory"),
        ("absent", "expected a checkpoint at .*absent, got No such file or directory"),
        ("folder", r"expected a checkpoint at .*folder/model\.safetensors, got No such file"),
    ],
)
def test_a_path_without_a_checkpoint_is_refused(tmp_path, name, message):
    (tmp_path / "folder").mkdir()
    (tmp_path / "folder/weights.pth").write_bytes(b"")
    with pytest.raises(PredictorError, match=message):
        load_predictor(tmp_path / name)


def test_an_unknown_name_is_refused_with_those_that_are_known():
    with pytest.raises(PredictorError, match=r"laion-v2, laion-v2-ava, .*nsfw-l14, a checkpoint's path.*got 'foo'"):
        load_predictor("foo")


def test_names_without_shipped_weights_are_refused_with_their_file():
    with pytest.raises(PredictorError, match=r"give the path of ava\+logos-l14-reluMSE\.pth from https://github.com/"):
        load_predictor("laion-v2-ava-relu")


def network(seed: int = 0) -> dict[str, torch.Tensor]:
    (w0, b0), (w1, b1) = linear(16, 32, seed), linear(1, 16, seed + 50)
    return {"0.weight": w0, "0.bias": b0, "2.weight": w1, "2.bias": b1}


@pytest.fixture(params=["affine", "network", "laion-v1-l14", "network with scale"])
def predictor(request, tmp_path):
    if request.param == "laion-v1-l14":
        return load_predictor(request.param)
    path = tmp_path / f"{request.param}.pth"
    torch.save(stack(("", 1, 32)) if request.param == "affine" else network(), path)
    if request.param == "affine":
        return load_predictor(path)
    return load_predictor(path, activation="relu", input_scale=3.0 if "scale" in request.param else None)


def test_a_saved_predictor_comes_back_with_its_scores_and_its_info(predictor, tmp_path):
    predictor.save(tmp_path / "saved.safetensors")
    back = load_predictor(tmp_path / "saved.safetensors")
    assert type(back) is type(predictor)
    assert back.token == predictor.token
    assert back.info == predictor.info
    vectors = units(predictor.width)
    assert scores(back, vectors).tobytes() == scores(predictor, vectors).tobytes()
    back.named("mine").save(tmp_path / "again.safetensors")
    assert load_predictor(tmp_path / "again.safetensors").info.name == "mine"


def test_a_published_network_comes_back_from_its_saved_file(shared, tmp_path):
    predictor = load_predictor(shared / "weights/ava+logos-l14-reluMSE.pth")
    predictor.save(tmp_path / "saved.safetensors")
    back = load_predictor(tmp_path / "saved.safetensors")
    assert (back.token, back.info) == (predictor.token, predictor.info)
    assert scores(back, units(768)).tobytes() == scores(predictor, units(768)).tobytes()


def test_a_pickled_predictor_keeps_its_token_and_its_scores(predictor):
    back = pickle.loads(pickle.dumps(predictor))
    assert back == predictor
    assert (back.token, back.info) == (predictor.token, predictor.info)
    vectors = units(predictor.width)
    assert scores(back, vectors).tobytes() == scores(predictor, vectors).tobytes()


def test_a_predictor_does_not_change_with_the_file_it_came_from(tmp_path):
    path = tmp_path / "net.safetensors"
    state = network(77)  # Its own weights: a process keeps the networks that it has built.
    save_file(state, path)
    predictor = load_predictor(path, activation="relu")
    with path.open("r+b") as file:
        file.seek(-1000, 2)
        file.write(bytes(1000))
    expected = by_layers(state, ("0.", "2."), units(32), relu=True)
    np.testing.assert_allclose(scores(predictor, units(32)), expected, rtol=2e-6, atol=1e-5)


@pytest.mark.parametrize(
    ("header", "message"),
    [
        ("{", "expected a header that this package wrote"),
        ("[]", "expected a header that this package wrote"),
        ('{"width": 32}', "expected a header that this package wrote"),
        (
            '{"name": "other", "width": 31, "activation": "none"}',
            "expected 31 floats per embedding, as .* says of itself, got 32",
        ),
        ('{"name": "other", "width": 32, "activation": "gelu"}', "got 'gelu'"),
    ],
)
def test_a_saved_file_whose_header_does_not_fit_is_refused(tmp_path, header, message):
    path = tmp_path / "saved.safetensors"
    save_file(stack(("0.", 16, 32), ("1.", 1, 16)), path, {"dask_aesthetic": header})
    with pytest.raises(PredictorError, match=message):
        load_predictor(path)


def test_different_predictors_have_different_tokens_and_equal_weights_equal_ones(tmp_path):
    path, made = tmp_path / "head.pth", {}
    for name, state, arguments in [
        ("one", stack(("", 1, 32)), {}),
        ("scaled", stack(("", 1, 32)), {"input_scale": 2.0}),
        ("network", network(), {"activation": "relu"}),
        ("folded", network(), {"activation": "none"}),
        ("network scaled", network(), {"activation": "relu", "input_scale": 2.0}),
        ("network else", network(1), {"activation": "relu"}),
    ]:
        torch.save(state, path)
        made[name] = load_predictor(path, **arguments)
        copy = shutil.copyfile(path, tmp_path / "copy.pt")
        assert load_predictor(copy, **arguments).token == made[name].token
        assert load_predictor(copy, **arguments) == made[name]
    for name in list_predictors():
        made[name] = load_predictor(name)
    assert len({predictor.token for predictor in made.values()}) == len(made)
    assert len(set(made.values())) == len(made)


def test_the_smallest_change_of_weight_or_bias_changes_the_token():
    info = PredictorInfo(name="head", width=2)
    weight = np.array([3.0, 4.0])
    one = AffinePredictor(weight, 5.0, info)
    assert AffinePredictor(np.nextafter(weight, 9), 5.0, info).token != one.token
    assert AffinePredictor(weight, np.nextafter(5.0, 9), info).token != one.token
    assert AffinePredictor(weight.copy(), 5.0, PredictorInfo(name="other", width=2)).token == one.token
