"""Networks: a row's score does not depend on the rows beside it, the batch size, or what torch is set to."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from dask_aesthetic.predictors import load_predictor, network


@pytest.fixture(scope="module")
def predictor(tmp_path_factory):
    generator = torch.Generator().manual_seed(8)
    tensors = {}
    for at, (rows, width) in {0: (96, 64), 2: (24, 96), 4: (1, 24)}.items():
        tensors[f"{at}.weight"] = torch.randn(rows, width, generator=generator) / width**0.5
        tensors[f"{at}.bias"] = torch.randn(rows, generator=generator)
    path = tmp_path_factory.mktemp("head") / "relu.pth"
    torch.save(tensors, path)
    return load_predictor(path, activation="relu")


@pytest.fixture(scope="module")
def vectors():
    return torch.from_numpy(np.random.default_rng(8).standard_normal((1300, 64), dtype=np.float32))


@pytest.mark.parametrize("batch", [network.CPU_BATCH, network.GPU_BATCH])
def test_a_row_scores_the_same_bytes_beside_any_rows(predictor, vectors, monkeypatch, batch):
    monkeypatch.setattr(network, "CPU_BATCH", batch)
    whole = predictor.score(vectors)[0]
    for rows in (slice(0, 1), slice(7, 8), slice(255, 258), slice(3, 900), slice(1299, 1300)):
        for batch_size in (None, 1, 100, 10_000):
            assert torch.equal(predictor.score(vectors[rows], batch_size)[0], whole[rows])
    assert torch.equal(predictor.score(vectors.flip(0))[0].flip(0), whole)
    assert predictor.score(vectors[:0])[0].shape == (0,)


def test_a_device_short_of_memory_changes_no_byte(predictor, vectors, monkeypatch):
    whole, blocks, asked = predictor.score(vectors)[0], network.blocks, []

    def short(vectors, rows):
        asked.append(rows)
        if rows > 50:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return blocks(vectors, rows)

    monkeypatch.setattr(network, "blocks", short)
    assert torch.equal(predictor.score(vectors)[0], whole)
    assert asked == [256, 128, 64, 32]


def test_products_are_full_float32_whatever_torch_is_set_to(predictor, vectors, monkeypatch):
    """CPUs with bfloat16 products take them at "medium"; on others this sees that the setting comes back."""
    whole, before = predictor.score(vectors)[0], torch.get_float32_matmul_precision()
    seen = []
    forward = network._Network.__call__
    monkeypatch.setattr(network._Network, "__call__", lambda *arguments: seen.append(_matmul()) or forward(*arguments))
    torch.set_float32_matmul_precision("medium")
    try:
        assert torch.equal(predictor.score(vectors)[0], whole)
        assert torch.get_float32_matmul_precision() == "medium"
    finally:
        torch.set_float32_matmul_precision(before)
    assert set(seen) == {"full"}


def _matmul() -> str:
    if hasattr(torch.backends, "fp32_precision"):
        parts = torch.backends.cuda.matmul, torch.backends.mkldnn.matmul
        return "full" if {part.fp32_precision for part in parts} == {"ieee"} else "less"
    return "full" if torch.get_float32_matmul_precision() == "highest" else "less"
