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

ROWS = 300_000
LAYERED_ROWS = 50_000
BLOCK = 512
KINDS = {
    "float32 list": (np.float32, pa.list_(pa.float32())),
    "float32 fixed-size list": (np.float32, pa.list_(pa.float32(), data.WIDTH)),
    "float32 objects": (np.float32, None),
    "float16 list": (np.float16, pa.list_(pa.float16())),
    "float16 fixed-size list": (np.float16, pa.list_(pa.float16(), data.WIDTH)),
    "float16 objects": (np.float16, None),
}


def cases() -> Iterator[Case]:
    """A case per kind of column and number of threads."""
    for threads in (1, 2):
        for kind in KINDS:
            yield Case(f"{kind}, {threads} thread{'s' * (threads > 1)}", partial(_ways, kind, threads))


@contextmanager
def _ways(kind: str, threads: int) -> Iterator[list[Way]]:
    dtype, arrow = KINDS[kind]
    rows = ROWS if arrow else ROWS // 5
    matrix = data.vectors(rows).astype(dtype, copy=False)
    parts = np.array_split(matrix, threads)
    frames = [data.frame(data.lists(part, arrow)) if arrow else _objects(part) for part in parts]
    # numpy compares float16 in software; as int16 it reads at memory bandwidth.
    scanned = parts if dtype == np.float32 else [part.view(np.int16) for part in parts]
    with ThreadPoolExecutor(threads) as pool:

        def each(work, over) -> Run:
            if threads == 1:
                return lambda: work(over[0])
            return lambda: list(pool.map(work, over))

        ways = [
            Way("numpy max", each(np.max, scanned), rows),
            Way("frame.aesthetic.score()", each(lambda part: part.aesthetic.score(), frames), rows),
        ]
        if kind == "float32 list":
            ways += [
                Way("numpy.vecdot with the weight", each(partial(_dots, norms=False), parts), rows),
                Way("numpy.vecdot with the weight and with itself", each(_dots, parts), rows),
                Way("layered network, torch", each(_layered(threads), [matrix[:LAYERED_ROWS]] * 1), LAYERED_ROWS),
            ]
        yield ways


def _objects(matrix: np.ndarray) -> pd.DataFrame:
    """Rows as pandas reads them from Parquet by default: an array of its own for each."""
    return pd.DataFrame({"image_embedding": pd.Series([row.copy() for row in matrix], dtype=object)})


def _dots(matrix: np.ndarray, norms: bool = True) -> None:
    """The bare arithmetic: blocks stay in the cache between the two products."""
    weight = dask_aesthetic.load_predictor().weight.astype(np.float32)
    out = np.empty(len(matrix), np.float32)
    for start in range(0, len(matrix), BLOCK):
        block = matrix[start : start + BLOCK]
        np.vecdot(block, weight, out=out[start : start + BLOCK])
        if norms:
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
