"""Prompts as predictors, against open_clip by hand, with a small random model."""

from __future__ import annotations

import json
import pickle
from pathlib import Path

import dask.dataframe as dd
import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch

open_clip = pytest.importorskip("open_clip", reason="needs open_clip: pip install 'dask-aesthetic[embed]'")

from dask_aesthetic import load_predictor, prompt_predictor, read_and_score, read_scores, score_dataset
from dask_aesthetic.errors import ArgumentError, EncoderError, PredictorError
from helpers import columns, commands, image_files

MODEL, WIDTH = "tiny-prompt-clip", 32
TEXTS = image_files.CONFIG["text_cfg"] | {"context_length": 12, "vocab_size": 49408}
SHARP, BLURRY = "a sharp, well lit photo", "a blurry snapshot"


@pytest.fixture(scope="module")
def weights(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("model")
    (folder / f"{MODEL}.json").write_text(json.dumps(image_files.CONFIG | {"text_cfg": TEXTS}))
    open_clip.add_model_config(folder)
    with torch.random.fork_rng():
        torch.manual_seed(6)
        model = open_clip.create_model(MODEL)
    torch.save(model.state_dict(), folder / "small.pt")
    return folder / "small.pt"


@pytest.fixture(scope="module")
def sharp(weights):
    return prompt_predictor(SHARP, against=BLURRY, model=MODEL, pretrained=weights)


@pytest.fixture(scope="module")
def vectors() -> np.ndarray:
    return np.random.default_rng(9).standard_normal((500, WIDTH), dtype=np.float32)


def by_hand(weights, vectors: np.ndarray, *sides: list[str]) -> np.ndarray:
    """Softmax of the logits of both sides, in float64, as open_clip's README classifies."""
    model = open_clip.create_model(MODEL, str(weights)).eval()
    tokenizer = open_clip.get_tokenizer(MODEL)
    rows = []
    with torch.inference_mode():
        for texts in sides:
            units = [model.encode_text(tokenizer([text]), normalize=True)[0].double() for text in texts]
            mean = torch.stack(units).mean(dim=0)
            rows.append(mean / mean.norm())
        x = torch.from_numpy(vectors).double()
        logits = model.logit_scale.double().exp() * (x / x.norm(dim=1, keepdim=True)) @ torch.stack(rows).T
    return logits.softmax(dim=1)[:, 0].numpy()


def scores(predictor, vectors: np.ndarray) -> np.ndarray:
    return predictor.score(torch.from_numpy(vectors))[0].numpy()


def test_a_prompt_scores_as_open_clip_does_by_hand(weights, sharp, vectors):
    found = scores(sharp, vectors)
    assert np.abs(found - by_hand(weights, vectors, [SHARP], [BLURRY])).max() < 1e-6
    assert 0 <= found.min() < 0.4 < 0.6 < found.max() <= 1


def test_several_prompts_count_as_the_normalized_mean_of_their_unit_vectors(weights, vectors):
    sides = [SHARP, "a masterpiece", "a portrait"], [BLURRY, "a screenshot"]
    predictor = prompt_predictor(sides[0], against=sides[1], model=MODEL, pretrained=weights)
    assert np.abs(scores(predictor, vectors) - by_hand(weights, vectors, *sides)).max() < 1e-6
    assert predictor.info.name == f"{SHARP} and 2 more against {BLURRY} and 1 more"


def test_images_are_scored_by_the_same_model_alone(weights, sharp):
    frame = pd.DataFrame({"image": image_files.images(4)})
    arguments = {"model": MODEL, "pretrained": weights}
    found = frame.aesthetic.embed_and_score(predictor=sharp, threshold=0.5, keep_embedding=True, **arguments)
    embedded = np.array(found["image_embedding"].tolist(), np.float32)
    assert np.abs(found["prompt_probability"] - by_hand(weights, embedded, [SHARP], [BLURRY])).max() < 1e-6
    other = image_files.small_model(weights.parent / "other")
    with pytest.raises(EncoderError, match=f"expected images embedded by {MODEL}"):
        frame.aesthetic.embed_and_score(predictor=sharp, model=image_files.MODEL, pretrained=other)


def test_a_saved_prompt_says_what_it_is_made_of_and_comes_back(weights, sharp, vectors, tmp_path):
    sharp.save(tmp_path / "sharp.safetensors")
    back = load_predictor(tmp_path / "sharp.safetensors")
    assert (back.token, back.info) == (sharp.token, sharp.info)
    assert scores(back, vectors).tobytes() == scores(sharp, vectors).tobytes()
    made_of = json.loads(back.info.source)
    assert (made_of["prompts"], made_of["against"], made_of["model"]) == ([SHARP], [BLURRY], MODEL)
    assert made_of["logit_scale"] == pytest.approx(1 / 0.07, rel=1e-6)
    assert made_of["weights"] == f"sha256 {back.info.sha256}"
    assert str(weights.parent) not in json.dumps(vars(back.info))
    with pytest.raises(PredictorError, match=r"output_activation='sigmoid' for .*, as it says of itself, got 'none'"):
        load_predictor(tmp_path / "sharp.safetensors", output_activation="none")
    assert pickle.loads(pickle.dumps(sharp)) == sharp
    assert scores(pickle.loads(pickle.dumps(sharp)), vectors).tobytes() == scores(sharp, vectors).tobytes()
    assert prompt_predictor(BLURRY, against=SHARP, model=MODEL, pretrained=weights) != sharp


def test_every_verb_gives_the_bits_of_the_predictor(sharp, vectors, tmp_path):
    """In memory, lazily, from pages of a file scored in place, while Dask reads, and by a job."""
    expected = scores(sharp, vectors)
    frame = columns.frame(vectors, "fixed_size_list")
    table = pa.table({"key": frame["key"].tolist(), "image_embedding": columns.array(vectors, "list")})
    pq.write_table(table, tmp_path / "in.parquet", row_group_size=100)
    sharp.save(tmp_path / "sharp.safetensors")
    arguments = {"predictor": sharp, "threshold": 0.5}
    found = {"pandas": frame.aesthetic.score(**arguments)}
    found["dask"] = dd.from_pandas(frame, npartitions=3).aesthetic.score(**arguments).compute()
    found["file"] = read_and_score(tmp_path / "in.parquet", **arguments).compute()
    read = dd.read_parquet(tmp_path / "in.parquet", dtype_backend="pyarrow")
    found["fused"] = read.aesthetic.score(**arguments)[["key", "prompt_probability", "keep"]].compute()
    score_dataset(tmp_path / "in.parquet", tmp_path / "job", threads=1, **arguments)
    found["job"] = read_scores(tmp_path / "job").compute()
    commands.printed(
        *("score", tmp_path / "in.parquet", tmp_path / "command", "--predictor", tmp_path / "sharp.safetensors"),
        *("--threshold", "0.5", "--threads", "1"),
    )
    found["command"] = pq.read_table(tmp_path / "command").to_pandas()
    for name, rows in found.items():
        values = np.asarray(pa.array(rows["prompt_probability"]).to_numpy(zero_copy_only=False), np.float32)
        assert values.tobytes() == expected.tobytes(), name
        assert (rows["keep"].to_numpy() == (expected >= 0.5)).all(), name


@pytest.mark.parametrize("prompts", ["", " ", [], [SHARP, ""], [SHARP, 3], None, 5, b"sharp"])
def test_prompts_that_are_no_texts_are_refused(weights, prompts):
    for arguments in ({"prompts": prompts, "against": BLURRY}, {"prompts": SHARP, "against": prompts}):
        with pytest.raises(ArgumentError, match="to be a text or several, none of them empty, got"):
            prompt_predictor(**arguments, model=MODEL, pretrained=weights)


def test_prompts_that_the_model_would_truncate_or_that_say_nothing_are_refused(weights):
    with pytest.raises(ArgumentError, match="a prompt of 10 tokens at most, got 11: 'photo photo"):
        prompt_predictor("photo " * 11, against=BLURRY, model=MODEL, pretrained=weights)
    with pytest.raises(ArgumentError, match="expected other prompts against"):
        prompt_predictor(SHARP, against=SHARP, model=MODEL, pretrained=weights)


@pytest.mark.parametrize("name", ["laion-v2", "laion-v1", "similarity", "unknown", "", 3])
def test_a_name_that_is_taken_is_refused(weights, name):
    with pytest.raises(ArgumentError, match="expected a name of your own for the predictor, got"):
        prompt_predictor(SHARP, against=BLURRY, model=MODEL, pretrained=weights, name=name)


def test_a_model_whose_text_tower_does_not_take_the_tokens_is_refused(tmp_path):
    small = image_files.small_model(tmp_path)  # It knows 64 tokens.
    with pytest.raises(EncoderError, match=r"expected tiny-clip to embed .'a sharp"):
        prompt_predictor(SHARP, against=BLURRY, model=image_files.MODEL, pretrained=small)
    with pytest.raises(EncoderError, match="a model of open_clip, got 'ViT-L/14'"):
        prompt_predictor(SHARP, against=BLURRY, model="ViT-L/14")
