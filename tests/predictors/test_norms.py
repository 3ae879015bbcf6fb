"""Checkpoints of more shapes: normalizations, a sigmoid, a standardized input and bfloat16, against torch's modules."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from dask_aesthetic import PredictorError, load_predictor
from dask_aesthetic.images import EncoderSpec
from dask_aesthetic.predictors import AffinePredictor, NetworkPredictor

WIDTH = 24
BATCH, LAYER, DROP, RELU = "batch", "layer", "drop", "relu"


def sequential(*parts: int | str) -> nn.Sequential:
    """A module of Linear layers, by their outputs, and others by name, with parameters that are not trivial."""
    torch.manual_seed(len(parts))
    made: list[nn.Module] = []
    width = WIDTH
    for part in parts:
        if isinstance(part, int):
            made.append(nn.Linear(width, part))
            width = part
        elif part in (BATCH, LAYER):
            made.append(nn.BatchNorm1d(width) if part == BATCH else nn.LayerNorm(width))
        else:
            made.append(nn.ReLU() if part == RELU else nn.Dropout())
    for module in made:
        if isinstance(module, nn.BatchNorm1d | nn.LayerNorm):
            nn.init.normal_(module.weight, 1, 0.3)
            nn.init.normal_(module.bias, 0, 0.3)
        if isinstance(module, nn.BatchNorm1d):
            nn.init.normal_(module.running_mean, 0, 0.3)
            nn.init.uniform_(module.running_var, 0.5, 2)
    return nn.Sequential(*made).eval()


def vectors(width: int = WIDTH, rows: int = 300) -> torch.Tensor:
    return torch.from_numpy(np.random.default_rng(3).standard_normal((rows, width), dtype=np.float32))


def expected(module: nn.Module, x: torch.Tensor) -> np.ndarray:
    """Values of a module for unit vectors, in float64."""
    x = x.double()
    return module.double()(x / x.norm(dim=1, keepdim=True)).detach().numpy()[:, 0]


AFFINE = [
    (8, BATCH, DROP, 1),
    (BATCH, 8, DROP, 1),
    (8, DROP, BATCH, 1),
    (8, BATCH, 4, DROP, BATCH, 1),
    (8, DROP, BATCH, DROP, 1),
    (8, 1, BATCH),
]
NETWORKS = [
    (8, BATCH, RELU, 1),
    (8, RELU, BATCH, 1),
    (BATCH, 8, RELU, 4, BATCH, RELU, BATCH, 1),
    (8, LAYER, RELU, 1),
    (8, RELU, LAYER, 1),
    (LAYER, 8, LAYER, RELU, BATCH, 4, BATCH, RELU, LAYER, 1),
]


@pytest.mark.parametrize("output", ["none", "sigmoid"])
@pytest.mark.parametrize(("parts", "activation"), [(p, "none") for p in AFFINE] + [(p, "relu") for p in NETWORKS])
def test_normalizations_are_folded_or_run_as_torch_runs_them(tmp_path, parts, activation, output):
    module = sequential(*parts)
    torch.save(module.state_dict(), tmp_path / "own.pth")
    predictor = load_predictor(tmp_path / "own.pth", activation=activation, output_activation=output)
    assert type(predictor) is (AffinePredictor if activation == "none" else NetworkPredictor)
    whole = expected(nn.Sequential(module, nn.Sigmoid()) if output == "sigmoid" else module, vectors())
    found = predictor.score(vectors())[0]
    assert np.abs(found.numpy() - whole).max() < 5e-6
    if isinstance(predictor, AffinePredictor) and output == "none":
        units = vectors().double().numpy()
        units /= np.linalg.norm(units, axis=1, keepdims=True)
        assert np.abs(units @ predictor.weight + predictor.bias - whole).max() < 1e-12
    predictor.save(tmp_path / "saved.safetensors")
    back = load_predictor(tmp_path / "saved.safetensors")
    assert (back.token, back.info) == (predictor.token, predictor.info)
    assert torch.equal(back.score(vectors())[0], found)
    with pytest.raises(PredictorError, match=f"output_activation='{output}' for .*, as it says of itself"):
        load_predictor(tmp_path / "saved.safetensors", output_activation="none" if output == "sigmoid" else "sigmoid")


@pytest.mark.parametrize("parts", [(LAYER, 8, RELU, 1), (BATCH, 8, RELU, 1)])
def test_the_input_scale_comes_before_a_normalization_of_the_input(tmp_path, parts):
    module, x = sequential(*parts), vectors()
    torch.save(module.state_dict(), tmp_path / "own.pth")
    predictor = load_predictor(tmp_path / "own.pth", activation="relu", input_scale=0.01)
    units = x.double() / x.double().norm(dim=1, keepdim=True)
    whole = module.double()(units * 0.01).detach().numpy()[:, 0]  # So small that eps matters.
    assert np.abs(predictor.score(x)[0].numpy() - whole).max() < 5e-6
    assert np.abs(predictor.stack(units.numpy()) - whole).max() < 1e-6


def test_a_layer_norm_is_run_without_an_activation_too(tmp_path):
    module = sequential(8, LAYER, 1)
    torch.save(module.state_dict(), tmp_path / "own.pth")
    predictor = load_predictor(tmp_path / "own.pth", activation="none")
    assert isinstance(predictor, NetworkPredictor)
    assert np.abs(predictor.score(vectors())[0].numpy() - expected(module, vectors())).max() < 5e-6


@pytest.mark.parametrize(
    ("parts", "message"),
    [
        ((8, BATCH, 1), "before the relu, or directly before one, after it, got the numbers .1,. among layers .0, 2."),
        ((8, LAYER, 1), "before the relu"),
        ((8, BATCH, LAYER, 1), "before the relu"),
        ((8, DROP, BATCH, RELU, 1), "before the relu"),
        ((BATCH, RELU, 8, RELU, 1), "before the relu"),
        ((8, BATCH, BATCH, RELU, 1), "expected a normalization directly before or after a Linear layer, got .* .1, 2."),
        ((8, RELU, 1, LAYER), "expected no LayerNorm after the last layer"),
        ((8, RELU, 1, DROP, BATCH), "directly before or after a Linear layer"),
    ],
)
def test_normalizations_whose_place_is_unknown_are_refused(tmp_path, parts, message):
    torch.save(sequential(*parts).state_dict(), tmp_path / "own.pth")
    with pytest.raises(PredictorError, match=message):
        load_predictor(tmp_path / "own.pth", activation="relu")


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"1.running_var": -torch.ones(8)}, "a positive variance"),
        ({"1.running_mean": torch.full((8,), torch.nan)}, "finite weights"),
        ({"1.running_mean": torch.ones(7)}, "a normalization of 8 values after 1 layers"),
        ({"1.running_mean": torch.ones(8, 1)}, "a normalization of 8 values"),
        ({"mean": torch.ones(WIDTH), "std": torch.zeros(WIDTH)}, "a positive variance"),
        ({"mean": torch.ones(9), "std": torch.ones(9)}, "a normalization of 24 values"),
        ({"mean": torch.ones(WIDTH)}, "one stack of Linear layers"),
        ({f"{name}{of}": torch.ones(WIDTH) for name in ("", "a.") for of in ("mean", "std")}, "one stack"),
    ],
)
def test_damaged_normalizations_are_refused(tmp_path, changed, message):
    torch.save({**sequential(8, BATCH, RELU, 1).state_dict(), **changed}, tmp_path / "own.pth")
    with pytest.raises(PredictorError, match=message):
        load_predictor(tmp_path / "own.pth", activation="relu")


@pytest.mark.parametrize("deviation", ["variance", "std"])
def test_a_standardized_input_is_folded_after_the_input_scale(tmp_path, deviation):
    module, x = sequential(8, RELU, 1), vectors()
    mean, variance = torch.rand(WIDTH), torch.rand(WIDTH) + 0.5
    values = variance if deviation == "variance" else variance.sqrt()
    save_file({**module.state_dict(), "mean": mean, deviation: values}, tmp_path / "own.safetensors")
    predictor = load_predictor(tmp_path / "own.safetensors", activation="relu", input_scale=5.0)
    units = x.double() / x.double().norm(dim=1, keepdim=True) * 5
    whole = module.double()((units - mean) / variance.double().sqrt()).detach().numpy()[:, 0]
    assert np.abs(predictor.score(x)[0].numpy() - whole).max() < 5e-6


@pytest.mark.parametrize("file", ["own.pth", "own.safetensors"])
def test_bfloat16_tensors_are_taken_exactly(tmp_path, file):
    module = sequential(8, RELU, 1).to(torch.bfloat16)
    (save_file if file.endswith("safetensors") else torch.save)(module.state_dict(), tmp_path / file)
    found = load_predictor(tmp_path / file, activation="relu").score(vectors())[0]
    assert np.abs(found.numpy() - expected(module, vectors())).max() < 2e-6


@pytest.mark.parametrize("output", ["softmax", "", True])
def test_an_unknown_output_activation_is_refused(tmp_path, output):
    torch.save(sequential(1).state_dict(), tmp_path / "own.pth")
    with pytest.raises(PredictorError, match="expected output_activation to be one of none, sigmoid, got"):
        load_predictor(tmp_path / "own.pth", output_activation=output)


def v2_5(prefix: str, first: int = 1152) -> dict[str, torch.Tensor]:
    """Made-up weights in the published layout: Linear layers at 0, 2, 4, 6, 8, with dropout between."""
    torch.manual_seed(5)
    widths = (first, 1024, 128, 64, 16, 1)
    parts = [part for w, out in pairwise(widths) for part in (nn.Linear(w, out), nn.Dropout())]
    return {f"{prefix}{name}": tensor for name, tensor in nn.Sequential(*parts[:-1]).state_dict().items()}


@pytest.mark.parametrize("prefix", ["scoring_head.", "layers.scoring_head."])
def test_aesthetic_predictor_v2_5_is_known_by_its_layers_and_says_its_encoder(tmp_path, prefix):
    state = v2_5(prefix)
    torch.save(state, tmp_path / "own.pth")
    predictor = load_predictor(tmp_path / "own.pth")
    assert predictor.info.name == "aesthetic-predictor-v2-5"
    assert predictor.info.license == "AGPL-3.0"
    assert len(predictor.info.sha256) == 64
    x = vectors(1152).double()
    x = values = x / x.norm(dim=1, keepdim=True)
    for at in (0, 2, 4, 6, 8):
        weight, bias = (state[f"{prefix}{at}.{kind}"].double() for kind in ("weight", "bias"))
        values = nn.functional.linear(values, weight, bias)
    assert np.abs(x.numpy() @ predictor.weight + predictor.bias - values[:, 0].numpy()).max() < 1e-12
    with pytest.raises(PredictorError, match=r"activation='none' for .* named and shaped as those of aesthetic-pred"):
        load_predictor(tmp_path / "own.pth", activation="relu")


def test_other_layers_are_not_taken_for_aesthetic_predictor_v2_5(tmp_path):
    for state in (v2_5("scoring_head.", 768), v2_5("head.")):
        torch.save(state, tmp_path / "own.pth")
        with pytest.raises(PredictorError, match="what lies between the layers"):
            load_predictor(tmp_path / "own.pth")
        assert load_predictor(tmp_path / "own.pth", activation="none").info.encoder == "unknown"


def test_aesthetic_predictor_v2_5_does_not_ship(tmp_path):
    with pytest.raises(PredictorError, match=r"AGPL-3.0.*give the path of aesthetic_predictor_v2_5.pth from https://"):
        load_predictor("aesthetic-predictor-v2-5")


def test_embed_makes_the_embeddings_of_aesthetic_predictor_v2_5(tmp_path):
    pytest.importorskip("open_clip", reason="needs open_clip: pip install 'dask-aesthetic[embed]'")
    torch.save(v2_5("scoring_head."), tmp_path / "own.pth")
    predictor = load_predictor(tmp_path / "own.pth")
    spec = EncoderSpec.of("ViT-SO400M-14-SigLIP-384", "webli", "auto")
    assert (spec.name, spec.width) == (predictor.info.encoder, predictor.width)
    spec.check_fit(predictor.info)
