"""LAION's safety head, a probability of prompts, and similarity in memory, versus the default predictor's score."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from functools import partial
from itertools import pairwise

import data
import numpy as np
import pyarrow as pa
import torch
from harness import Case, Way
from torch import nn

import dask_aesthetic  # noqa: F401
from dask_aesthetic.predictors import AffinePredictor, PredictorInfo

ROWS = 65_536
WIDTHS = (data.WIDTH, 64, 512, 256, 1)  # Of the safety head.
KINDS = {"float32": (np.float32, pa.list_(pa.float32())), "float16": (np.float16, pa.list_(pa.float16()))}


def cases() -> Iterator[Case]:
    """A case per kind of column and number of threads."""
    for threads in (1, 2):
        for kind in KINDS:
            yield Case(f"{kind} list, {threads} thread{'s' * (threads > 1)}", partial(_ways, kind, threads), rounds=7)


@contextmanager
def _ways(kind: str, threads: int) -> Iterator[list[Way]]:
    dtype, arrow = KINDS[kind]
    images, texts = (np.array_split(data.vectors(ROWS, seed).astype(dtype), threads) for seed in (0, 1))
    frames = [
        data.frame(data.lists(image, arrow)).assign(
            text_embedding=data.frame(data.lists(text, arrow))["image_embedding"]
        )
        for image, text in zip(images, texts, strict=True)
    ]
    prompts = AffinePredictor(
        np.ones(data.WIDTH), 0.0, PredictorInfo(name="prompts", width=data.WIDTH, is_probability=True), "sigmoid"
    )
    parts = [part for a, b in pairwise(WIDTHS) for part in (nn.Linear(a, b), nn.ReLU())]
    network = nn.Sequential(*parts[:-1]).eval()

    def layered(image: np.ndarray) -> None:
        """The head layer by layer on normalized batches of 1024, as clip-retrieval runs it."""
        with torch.inference_mode():
            for batch in torch.from_numpy(image).split(1024):
                torch.sigmoid(network(nn.functional.normalize(batch.float(), dim=1)))

    before = torch.get_num_threads()
    torch.set_num_threads(1)
    with ThreadPoolExecutor(threads) as pool:

        def each(name: str, work, over) -> Way:
            return Way(name, lambda: list(pool.map(work, over)), ROWS)

        yield [
            each("score by laion-v2", lambda frame: frame.aesthetic.score(), frames),
            each("score by prompts", lambda frame: frame.aesthetic.score(predictor=prompts), frames),
            each("score by nsfw-l14", lambda frame: frame.aesthetic.score(predictor="nsfw-l14"), frames),
            each("its layers, torch, batches of 1024", layered, images),
            each("similarity", lambda frame: frame.aesthetic.similarity(), frames),
        ]
    torch.set_num_threads(before)
