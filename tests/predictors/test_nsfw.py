"""LAION's safety head: the reference probabilities, whatever batch, partition, column and file."""

from __future__ import annotations

import dask.dataframe as dd
import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from safetensors.torch import load_file, save_file

from dask_aesthetic import list_predictors, load_predictor, read_and_score, read_scores, score_dataset
from dask_aesthetic.predictors import NetworkPredictor, network
from dask_aesthetic.predictors.golden import golden_scores, golden_vectors
from dask_aesthetic.selftest import NETWORK_TOLERANCE, SelftestResult
from helpers import columns

FILE = "weights/clip_autokeras_binary_nsfw_l14.safetensors"


@pytest.fixture(scope="module")
def probabilities(shared) -> np.ndarray:
    return np.loadtxt(shared / "data/verite_l14/nsfw_reference.csv")


def scores(vectors, batch_size=None) -> np.ndarray:
    return load_predictor("nsfw-l14").score(torch.from_numpy(np.array(vectors)), batch_size)[0].numpy()


def by_plain_layers(tensors, vectors) -> np.ndarray:
    """Probabilities as the published layers define them, in float64: standardize, multiply, ReLU, sigmoid."""
    tensors = {name: tensor.double().numpy() for name, tensor in tensors.items()}
    x = (vectors.astype(np.float64) - tensors["mean"]) / np.sqrt(tensors["variance"])
    for at in range(4):
        x = np.maximum(x, 0) if at else x
        x = x @ tensors[f"layers.{at}.weight"].T + tensors[f"layers.{at}.bias"]
    return 1 / (1 + np.exp(-x[:, 0]))


def test_real_embeddings_have_the_reference_probabilities(verite, probabilities):
    found = scores(verite)
    assert found.dtype == np.float32
    assert np.abs(found - probabilities).max() < 1e-6
    assert (np.abs(found - probabilities) / probabilities).max() < 1e-5
    # The head takes unit vectors: its standardization was learned from these, so all vectors are normalized first.
    assert np.abs(scores(verite * 7) - probabilities).max() < 1e-6


def test_the_folded_standardization_is_that_of_the_plain_layers(shared, verite, probabilities):
    units = verite / np.linalg.norm(verite.astype(np.float64), axis=1, keepdims=True)
    plain = by_plain_layers(load_file(shared / FILE), units)
    assert np.abs(plain - probabilities).max() < 1e-6
    predictor = load_predictor(shared / FILE)
    assert isinstance(predictor, NetworkPredictor)
    assert np.abs(predictor.stack(units) - plain).max() < 1e-7  # Rounded to float32 once.


def test_the_published_file_is_recognized_also_by_the_names_of_laions_own_conversion(shared, tmp_path):
    shipped = load_predictor("nsfw-l14")
    assert load_predictor(shared / FILE) == shipped
    assert load_predictor(shared / FILE).info == shipped.info == list_predictors()["nsfw-l14"]
    names = {"mean": "norm.mean", "variance": "norm.variance"}
    for at in range(4):
        names |= {f"layers.{at}.{kind}": f"linear_{at + 1}.{kind}" for kind in ("weight", "bias")}
    save_file({names[name]: tensor for name, tensor in load_file(shared / FILE).items()}, tmp_path / "own.safetensors")
    assert load_predictor(tmp_path / "own.safetensors") == shipped
    assert load_predictor(tmp_path / "own.safetensors").info == shipped.info
    shipped.save(tmp_path / "saved.safetensors")
    assert load_predictor(tmp_path / "saved.safetensors") == shipped
    assert shipped.info.license == "MIT"
    assert not shipped.info.higher_is_better


def test_batch_and_partition_change_nothing(verite):
    whole = scores(verite)
    for batch_size in (1, 100, 257, 10_000):
        assert scores(verite, batch_size).tobytes() == whole.tobytes()
    for start, end in ((0, 1), (255, 258), (7, 400)):
        assert scores(verite[start:end]).tobytes() == whole[start:end].tobytes()
    lists = pd.array(list(verite), dtype=pd.ArrowDtype(pa.list_(pa.float32())))
    frame = pd.DataFrame({"image_embedding": lists})
    arguments = {"predictor": "nsfw-l14", "score_column": "unsafe"}
    scored = frame.aesthetic.score(**arguments)
    assert scored["unsafe"].to_numpy().tobytes() == whole.tobytes()
    assert (scored["keep"] == (whole <= 0.5)).all()
    for partitions in (1, 7):
        lazy = dd.from_pandas(frame, npartitions=partitions).aesthetic.score(**arguments)
        found = lazy["unsafe"].compute(scheduler="threads", num_workers=2)
        assert found.to_numpy().tobytes() == whole.tobytes()


def test_rows_without_a_usable_embedding_have_no_probability(verite):
    rows = [*verite[:6]]
    rows[1], rows[2], rows[3], rows[4] = None, np.zeros(768), np.full(768, np.nan), rows[4] * 1e-30
    scored = pd.DataFrame({"image_embedding": rows}).aesthetic.score(predictor="nsfw-l14")
    found = scored["unsafe_probability"].to_numpy()
    assert np.flatnonzero(np.isnan(found)).tolist() == [1, 2, 3]
    assert scored["keep"].tolist() == [True, False, False, False, True, True]
    whole = scores(verite[:6])
    assert found[[0, 5]].tobytes() == whole[[0, 5]].tobytes()
    assert found[4] == pytest.approx(whole[4], abs=1e-6)


def test_a_job_and_a_reader_give_the_same_bits(verite, tmp_path):
    whole = scores(verite)
    table = pa.table({"key": range(len(verite)), "image_embedding": columns.array(verite, "list")})
    pq.write_table(table, tmp_path / "in.parquet", row_group_size=100)
    score_dataset(tmp_path / "in.parquet", tmp_path / "job", predictor="nsfw-l14", threads=2, rows_per_shard=100)
    job = read_scores(tmp_path / "job").compute().sort_values("key")
    read = read_and_score(tmp_path / "in.parquet", predictor="nsfw-l14").compute()
    for found in (job, read):
        values = np.asarray(found["unsafe_probability"].to_numpy(), np.float32)
        assert values.tobytes() == whole.tobytes()
        assert (found["keep"].to_numpy() == (whole <= 0.5)).all()


@pytest.mark.parametrize("batch", [64, network.GPU_BATCH])
def test_other_batches_differ_by_rounding_alone(verite, probabilities, monkeypatch, batch):
    monkeypatch.setattr(network, "CPU_BATCH", batch)
    assert np.abs(scores(verite) - probabilities).max() < 1e-6


def test_golden_scores_hold_within_the_stated_tolerance():
    assert np.abs(scores(golden_vectors(768)) - golden_scores("nsfw-l14")).max() <= NETWORK_TOLERANCE
    for got, passed in ((0.25, True), (0.25 + 9e-7, True), (0.2501, False), (float("nan"), False)):
        result = SelftestResult("nsfw-l14", "cpu", [0.5, 0.25], [0.5, got], NETWORK_TOLERANCE)
        assert result.passed is passed
