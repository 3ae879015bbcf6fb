"""Embeddings score the same bits from files of every layout, as frames, jobs and checks."""

from __future__ import annotations

import logging

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest
import torch

from dask_aesthetic import (
    ArgumentError,
    InputError,
    read_and_score,
    read_clip_retrieval,
    read_datacomp,
    read_hf_dataset,
    read_npy,
    read_tensors,
    score_dataset,
    score_embeddings,
)
from dask_aesthetic.check_dataset import check_dataset
from helpers import columns, sources
from helpers.commands import printed, run
from helpers.sources import SOURCES, Source

READERS = {
    "clip-retrieval": read_clip_retrieval,
    "datacomp": read_datacomp,
    "npy": read_npy,
    "safetensors": read_tensors,
    "pt": read_tensors,
    "pt, transposed": read_tensors,
    "hf-dataset": read_hf_dataset,
    "hf-dataset of lists": read_hf_dataset,
    "hf-dataset of lists of lists": read_hf_dataset,
}
BATCHES = (None, 100)  # Rows of a partition.


@pytest.fixture(scope="module")
def rows(vectors) -> np.ndarray:
    """Embeddings, two of which are not usable."""
    some = np.concatenate([vectors, np.zeros((1, 768)), np.full((1, 768), np.nan)]).astype(np.float32)
    return some[np.random.default_rng(3).permutation(len(some))]


def bits(scores) -> list[int]:
    return np.asarray(scores, np.float32).view(np.uint32).tolist()


def scored_frame(rows: np.ndarray) -> pd.DataFrame:
    return pd.DataFrame({"image_embedding": columns.make(rows, "list")}).aesthetic.score()


@pytest.fixture(scope="module")
def wanted(rows, tmp_path_factory) -> list[int]:
    """Bits of the scores of lists in a Parquet file."""
    folder = tmp_path_factory.mktemp("lists")
    sources.write_parquet(folder, sources.lists(rows))
    found = bits(read_and_score(folder).compute()["aesthetic_score"])
    assert found == bits(scored_frame(rows)["aesthetic_score"])
    return found


@pytest.mark.parametrize("name", SOURCES)
def test_every_source_scores_the_bits_of_parquet(tmp_path, rows, wanted, name, caplog):
    caplog.set_level(logging.ERROR, "dask_aesthetic")
    folder, options = tmp_path / "in", SOURCES[name].options
    folder.mkdir()
    SOURCES[name].write(folder, rows)
    for most in BATCHES:
        read = read_and_score(folder, rows_per_partition=most, **options)
        assert bits(read["aesthetic_score"].compute()) == wanted
        if name in READERS:
            scored = READERS[name](folder, rows_per_partition=most).aesthetic.score()
            assert bits(scored["aesthetic_score"].compute()) == wanted
    summary = score_dataset(folder, tmp_path / "out", rows_per_shard=100, **options)
    assert (summary.scored, summary.failed) == (300, {"zero": 1, "not_finite": 1})
    job = pq.read_table(tmp_path / "out").to_pandas()
    assert bits(job["aesthetic_score"]) == wanted
    if "key" in job:
        assert job["key"].tolist() == sources.keys(rows).to_pylist()
    check = check_dataset(folder, **options)
    assert check.status == {"ok": 300, "zero": 1, "not_finite": 1}
    again = score_dataset(folder, tmp_path / "out", rows_per_shard=100, verify=True, **options)
    assert again.scored == 300


REMOTE = ("safetensors", "hf-dataset", "hf-dataset of bytes", "packed", "npy")


@pytest.mark.parametrize("name", REMOTE)
def test_every_source_but_torch_is_read_behind_a_url(tmp_path, rows, wanted, s3, name):
    SOURCES[name].write(tmp_path, rows)
    s3.put(tmp_path)
    options = {"storage_options": s3.options, **SOURCES[name].options}
    assert bits(read_and_score(s3.url, **options).compute()["aesthetic_score"]) == wanted
    score_dataset(s3.url, tmp_path / "out", rows_per_shard=100, **options)
    assert bits(pq.read_table(tmp_path / "out").to_pandas()["aesthetic_score"]) == wanted


def test_pt_behind_a_url_is_refused(tmp_path, rows, s3):
    SOURCES["pt"].write(tmp_path, rows)
    s3.put(tmp_path)
    with pytest.raises(InputError, match=r"expected a local \.pt file, .*, or save the tensor as \.safetensors"):
        read_and_score(s3.url, storage_options=s3.options)


def test_bfloat16_and_float16_tensors_score_as_their_floats(tmp_path, rows):
    for dtype in (torch.bfloat16, torch.float16, torch.float64):
        tensor = torch.from_numpy(rows).to(dtype)
        wanted = bits(scored_frame(tensor.float().numpy())["aesthetic_score"])
        folder = tmp_path / str(dtype)
        (folder / "s").mkdir(parents=True)
        (folder / "t").mkdir()
        sources.write_safetensors(folder / "s", tensor)
        torch.save({"images": tensor}, folder / "t/part.pt")
        for kind in ("s", "t"):
            scored = read_tensors(folder / kind, rows_per_partition=77).aesthetic.score()
            assert bits(scored["aesthetic_score"].compute()) == wanted
            score_dataset(folder / kind, folder / f"{kind}-out")
            assert bits(pq.read_table(folder / f"{kind}-out").to_pandas()["aesthetic_score"]) == wanted


def quantized(rows: np.ndarray) -> np.ndarray:
    """Rows as uint8 with the zero point 128; those that are not usable as zeros."""
    finite = np.nan_to_num(rows)
    scale = np.abs(finite).max(axis=1, keepdims=True)
    return (np.rint(finite * 127 / np.where(scale > 0, scale, 1)) + 128).astype(np.uint8)


QUANTIZED = {
    "npy": Source(lambda folder, rows: np.save(folder / "part.npy", rows)),
    "datacomp": Source(sources.write_datacomp),
    "safetensors": Source(sources.write_safetensors),
    "pt": Source(lambda folder, rows: torch.save(torch.from_numpy(rows), folder / "part.pt")),
    "packed": Source(
        lambda folder, rows: sources.write_parquet(folder, sources.binary(rows)), {"embedding_dtype": "uint8"}
    ),
    "hf-dataset": Source(
        lambda folder, rows: sources.write_saved(folder, sources.binary(rows, fixed=False)),
        {"embedding_dtype": "uint8"},
    ),
}


@pytest.mark.parametrize("name", QUANTIZED)
def test_uint8_with_a_zero_point_scores_as_the_floats_that_it_stands_for(tmp_path, rows, name):
    numbers, folder = quantized(rows), tmp_path / "in"
    folder.mkdir()
    QUANTIZED[name].write(folder, numbers)
    wanted = bits(scored_frame(numbers.astype(np.float32) - 128)["aesthetic_score"])
    options = {**QUANTIZED[name].options, "embedding_zero_point": 128}
    assert bits(read_and_score(folder, **options).compute()["aesthetic_score"]) == wanted
    score_dataset(folder, tmp_path / "out", **options)
    assert bits(pq.read_table(tmp_path / "out").to_pandas()["aesthetic_score"]) == wanted
    assert check_dataset(folder, **options).status == {"ok": 300, "zero": 2}
    dtype = options.get("embedding_dtype")
    arguments = ["--zero-point", "128", *(["--embedding-dtype", dtype] if dtype else [])]
    printed("score", folder, tmp_path / "cli", *arguments)
    assert bits(pq.read_table(tmp_path / "cli").to_pandas()["aesthetic_score"]) == wanted
    assert "usable" in printed("check", folder, *arguments)
    # Another zero point is another job, and none is refused.
    with pytest.raises(InputError, match=r"zero_point was 128 and now is 127|uint8-128"):
        score_dataset(folder, tmp_path / "out", **{**options, "embedding_zero_point": 127})
    with pytest.raises((InputError, ArgumentError), match=r"embedding_zero_point=128 \(--zero-point 128\), or 0 where"):
        score_dataset(folder, tmp_path / "none", **QUANTIZED[name].options)
    assert run("check", folder, *arguments[2:]).status == 2


def test_int8_needs_no_zero_point_and_floats_take_none(tmp_path, rows):
    numbers = (quantized(rows).astype(np.int16) - 128).astype(np.int8)
    wanted = bits(scored_frame(numbers.astype(np.float32))["aesthetic_score"])
    np.save(tmp_path / "part.npy", numbers)
    for options in ({}, {"embedding_zero_point": 0}):
        assert bits(read_and_score(tmp_path, **options).compute()["aesthetic_score"]) == wanted
        assert bits(read_npy(tmp_path, **options).aesthetic.score()["aesthetic_score"].compute()) == wanted
        assert bits(score_embeddings(numbers, **options)) == wanted
    for read in (read_and_score, read_npy):
        with pytest.raises(
            ArgumentError, match=r"from -128 to 127, which int8 can hold, got 128 for .*part\.npy: int8 has"
        ):
            read(tmp_path, embedding_zero_point=128)  # That of uint8.
    with pytest.raises(ArgumentError, match="from -128 to 127, which int8 can hold, got 128"):
        score_embeddings(numbers, embedding_zero_point=128)
    np.save(tmp_path / "part.npy", rows)
    with pytest.raises(ArgumentError, match="with uint8 or int8, got float32"):
        read_and_score(tmp_path, embedding_zero_point=128)
    (tmp_path / "p").mkdir()
    sources.write_parquet(tmp_path / "p", sources.lists(quantized(rows)))
    with pytest.raises(ArgumentError, match=r"expected embedding_zero_point=128 with embedding_dtype='uint8'"):
        read_and_score(tmp_path / "p", embedding_zero_point=128)
    for wrong in (300, 1.5, "128", True):
        with pytest.raises(ArgumentError, match="embedding_zero_point to be a whole number"):
            read_npy(tmp_path, embedding_zero_point=wrong)
