"""Shards of embeddings with metadata, and their scores, for tests of readers."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pyarrow as pa

from helpers import columns

SHARDS = 12
ROWS = 25


def metadata_table(number: int, rows: int = ROWS, **more) -> pa.Table:
    """Metadata of a shard."""
    keys = [f"{number}-{at}" for at in range(rows)]
    return pa.table({"key": keys, "url": keys, "width": pa.array(range(rows), pa.int16()), **more})


def expected_scores(shards, **arguments) -> pd.DataFrame:
    """Keys and scores of the shards, in order, from a frame in memory."""
    frame = columns.frame(np.concatenate(shards), "fixed_size_list", "float16")
    frame["key"] = [f"{number}-{at}" for number, part in enumerate(shards) for at in range(len(part))]
    return frame.aesthetic.score(**arguments)


def assert_same_scores(got: pd.DataFrame, wanted: pd.DataFrame) -> None:
    assert got["key"].tolist() == wanted["key"].tolist()
    assert got["aesthetic_score"].to_numpy().tobytes() == wanted["aesthetic_score"].to_numpy().tobytes()
    assert got["keep"].tolist() == wanted["keep"].tolist()
