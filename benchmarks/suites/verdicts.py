"""LAION's safety head, a probability of prompts, and similarity, versus the default predictor's score."""

from __future__ import annotations

import logging
import tempfile
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from functools import partial
from itertools import pairwise
from pathlib import Path
from typing import Any

import data
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import torch
from harness import Case, Way
from torch import nn

from dask_aesthetic import score_dataset
from dask_aesthetic.predictors import AffinePredictor, PredictorInfo

ROWS = 65_536
FILES = 12
SIDES = ("image_embedding", "text_embedding")
WIDTHS = (data.WIDTH, 64, 512, 256, 1)  # Of the safety head.
KINDS = {"float32": (np.float32, pa.list_(pa.float32())), "float16": (np.float16, pa.list_(pa.float16()))}


def cases() -> Iterator[Case]:
    """A case per kind of column and number of threads."""
    for threads in (1, 2):
        for kind in KINDS:
            yield Case(f"{kind} list, {threads} thread{'s' * (threads > 1)}", partial(_ways, kind, threads), rounds=7)
    for threads in (1, 2):
        yield Case(f"Parquet, {threads} thread{'s' * (threads > 1)}", partial(_jobs, threads), rounds=5)


@contextmanager
def _jobs(threads: int) -> Iterator[list[Way]]:
    """Jobs over files of both embeddings, where images alone are scored in their pages and pairs by pyarrow."""
    logging.getLogger("dask_aesthetic").setLevel(logging.ERROR)  # Random vectors look like no encoder's.
    rows = FILES * data.ROWS
    with tempfile.TemporaryDirectory() as folder:
        for number in range(FILES):
            sides = {name: data.vectors(data.ROWS, 2 * number + at) for at, name in enumerate(SIDES)}
            table = pa.table({name: data.lists(side, KINDS["float32"][1]) for name, side in sides.items()})
            pq.write_table(table, f"{folder}/{number}.parquet", use_dictionary=False, compression="NONE")

        def job(name: str, **options: str) -> Way:
            return Way(name, partial(_score, folder, threads=threads, **options), rows)

        def read(columns: Sequence[str]) -> None:
            with ThreadPoolExecutor(threads) as pool:
                list(pool.map(partial(_read, columns), sorted(Path(folder).glob("*.parquet"))))

        yield [
            job("images alone"),
            job("images and similarity", text_column=SIDES[1]),
            Way("pyarrow reads both columns", partial(read, SIDES), rows),
        ]


def _score(folder: str, **options: Any) -> None:
    with tempfile.TemporaryDirectory() as output:
        score_dataset(folder, output, **options)


def _read(columns: Sequence[str], file: Path) -> None:
    with pq.ParquetFile(file, pre_buffer=False) as source:
        for _ in source.iter_batches(1024, columns=list(columns), use_threads=False):
            pass


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
