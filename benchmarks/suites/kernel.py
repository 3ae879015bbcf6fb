"""Scoring embeddings in memory versus numpy's `max` over the same bytes, which is one read-only pass."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from functools import partial
from itertools import pairwise

import data
import numpy as np
import pandas as pd
import pyarrow as pa
import torch
from harness import Case, Run, Way
from torch import nn

import dask_aesthetic
from dask_aesthetic import kernels

ROWS = 300_000
LAYERED_ROWS = 50_000
BLOCK = 512
ROUNDS = 15  # Times of a tenth of a second waver.
KINDS = {
    "float32 list": (np.float32, pa.list_(pa.float32())),
    "float32 fixed-size list": (np.float32, pa.list_(pa.float32(), data.WIDTH)),
    "float32 objects": (np.float32, None),
    "float16 list": (np.float16, pa.list_(pa.float16())),
    "float16 fixed-size list": (np.float16, pa.list_(pa.float16(), data.WIDTH)),
    "float16 objects": (np.float16, None),
}


def cases() -> Iterator[Case]:
    """A case per kind of column and number of threads, and several heads in one pass."""
    for threads in (1, 2):
        for kind in KINDS:
            yield Case(f"{kind}, {threads} thread{'s' * (threads > 1)}", partial(_ways, kind, threads), rounds=ROUNDS)
        yield Case(
            f"several heads, {threads} thread{'s' * (threads > 1)}", partial(_many_heads, threads), rounds=ROUNDS
        )


@contextmanager
def _ways(kind: str, threads: int) -> Iterator[list[Way]]:
    dtype, arrow = KINDS[kind]
    rows = ROWS if arrow else ROWS // 5
    matrix = data.vectors(rows).astype(dtype, copy=False)
    parts = np.array_split(matrix, threads)
    frames = [data.frame(data.lists(part, arrow)) if arrow else _objects(part) for part in parts]
    with ThreadPoolExecutor(threads) as pool:
        each = partial(_each, pool, threads)
        ways = [
            Way("numpy max", each(np.max, _scanned(parts)), rows),
            Way("frame.aesthetic.score()", each(lambda part: part.aesthetic.score(), frames), rows),
        ]
        if arrow:
            tensors = [torch.from_numpy(part) for part in parts]
            ways.append(Way("the kernel alone", each(partial(_score, heads=_heads(1)), tensors), rows))
        else:
            lists = [data.frame(data.lists(part, pa.list_(pa.from_numpy_dtype(dtype)))) for part in parts]
            score = each(lambda part: part.aesthetic.score(), lists)
            ways.append(Way("the same rows in an Arrow column", score, rows))
        if kind == "float32 list":
            layered = each(_layered(threads), [matrix[:LAYERED_ROWS]] * 1)
            ways += [
                Way("numpy.vecdot with the weight and with itself", each(_vecdot, parts), rows),
                Way("layered network, torch", layered, LAYERED_ROWS),
            ]
        yield ways


@contextmanager
def _many_heads(threads: int) -> Iterator[list[Way]]:
    parts = np.array_split(data.vectors(ROWS), threads)
    tensors = [torch.from_numpy(part) for part in parts]
    with ThreadPoolExecutor(threads) as pool:
        each = partial(_each, pool, threads)
        yield [
            Way("numpy max", each(np.max, parts), ROWS),
            *(
                Way(_name(count), each(partial(_score, heads=_heads(count)), tensors), ROWS)
                for count in (1, 2, 4, 8, 16)
            ),
        ]


def _each(pool: ThreadPoolExecutor, threads: int, work, over) -> Run:
    if threads == 1:
        return lambda: work(over[0])
    return lambda: list(pool.map(work, over))


def _scanned(parts: list[np.ndarray]) -> list[np.ndarray]:
    """Arrays to scan: numpy compares float16 in software; as int16 it reads at memory bandwidth."""
    return [part.view(np.int16) if part.dtype == np.float16 else part for part in parts]


def _name(heads: int) -> str:
    return f"{heads} head{'s' * (heads > 1)}"


def _heads(count: int) -> kernels.Heads:
    """The default predictor's weight, `count` times."""
    predictor = dask_aesthetic.load_predictor()
    return kernels.Heads.of(np.tile(predictor.weight, (count, 1)), np.full(count, predictor.bias), np.float32)


def _score(vectors: torch.Tensor, heads: kernels.Heads) -> None:
    kernels.scores_and_norms(vectors, heads)


def _objects(matrix: np.ndarray) -> pd.DataFrame:
    """Rows as pandas reads them from Parquet by default: an array of its own for each."""
    return pd.DataFrame({"image_embedding": pd.Series([row.copy() for row in matrix], dtype=object)})


def _vecdot(matrix: np.ndarray) -> None:
    """Two products a row by numpy's BLAS; blocks stay in the cache between the two."""
    weight = dask_aesthetic.load_predictor().weight.astype(np.float32)
    out = np.empty(len(matrix), np.float32)
    for start in range(0, len(matrix), BLOCK):
        block = matrix[start : start + BLOCK]
        np.vecdot(block, weight, out=out[start : start + BLOCK])
        np.vecdot(block, block, out=out[start : start + BLOCK])


def _layered(threads: int):
    """The published head layer by layer on normalized batches of 1024, as LAION's script and NeMo Curator run it."""
    widths = (data.WIDTH, 1024, 128, 64, 16, 1)
    network = nn.Sequential(*(nn.Linear(a, b) for a, b in pairwise(widths))).eval()

    def run(matrix: np.ndarray) -> None:
        before = torch.get_num_threads()
        torch.set_num_threads(threads)
        with torch.inference_mode():
            for batch in torch.from_numpy(matrix).split(1024):
                network(nn.functional.normalize(batch, dim=1))
        torch.set_num_threads(before)

    return run
