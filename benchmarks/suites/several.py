"""Several predictors in one call: 1 to 16 affine ones and the safety head, over a column in memory and in Parquet."""

from __future__ import annotations

import logging
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import data
import numpy as np
import pyarrow as pa
from harness import Case, Way

from dask_aesthetic import list_predictors, load_predictor, read_and_score, score_dataset
from dask_aesthetic.predictors import AffinePredictor

FILES = 4
ROWS = FILES * data.ROWS
COUNTS = (1, 2, 4, 8, 16)
SAFETY = "nsfw-l14"


def cases() -> Iterator[Case]:
    """A case per source of rows."""
    yield Case("in memory, one thread", _in_memory)
    yield Case("Parquet, read_and_score, one thread", partial(_files, _read))
    yield Case("Parquet, score_dataset, a thread per core", partial(_files, _job))


def predictors(count: int) -> dict[str, Any]:
    """Affine predictors with weights of their own, by column."""
    first = load_predictor("laion-v2")
    rolled = (np.roll(first.weight, at) for at in range(count))
    return {f"score_{at}": AffinePredictor(weight, first.bias, first.info) for at, weight in enumerate(rolled)}


@contextmanager
def _in_memory() -> Iterator[list[Way]]:
    frame = data.frame(data.lists(data.vectors(data.ROWS), pa.list_(pa.float32())))
    yield _ways(lambda chosen: frame.aesthetic.score(predictor=chosen, threshold=None), data.ROWS)


@contextmanager
def _files(score: Callable[[Path, dict[str, Any]], object]) -> Iterator[list[Way]]:
    yield _ways(partial(score, data.embeddings(FILES)), ROWS)


def _ways(score: Callable[[dict[str, Any]], object], rows: int) -> list[Way]:
    ways = [Way(f"{count} predictor{'s' * (count > 1)}", partial(score, predictors(count)), rows) for count in COUNTS]
    apart = [{name: one} for name, one in predictors(4).items()]
    ways.append(Way("4 predictors, a call each", lambda: [score(chosen) for chosen in apart], rows))
    if SAFETY in list_predictors():
        ways.append(Way(f"1 predictor and {SAFETY}", partial(score, {**predictors(1), "unsafe": SAFETY}), rows))
    return ways


def _read(folder: Path, chosen: dict[str, Any]) -> None:
    read_and_score(folder, predictor=chosen, threshold=None)[list(chosen)].compute(scheduler="synchronous")


def _job(folder: Path, chosen: dict[str, Any]) -> None:
    logging.getLogger("dask_aesthetic").setLevel(logging.ERROR)  # Random vectors look like no encoder's.
    with tempfile.TemporaryDirectory() as output:
        score_dataset(folder, output, predictor=chosen, threshold=None)
