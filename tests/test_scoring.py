"""Scoring of one partition in bounded memory, however many of its rows need float64."""

from __future__ import annotations

import os

import numpy as np
import pytest
import torch

from dask_aesthetic import score_embeddings, scoring
from dask_aesthetic.errors import ArgumentError


def unusual(vectors: np.ndarray) -> np.ndarray:
    """Rows that float32 can normalize, and others, in turn."""
    rows = vectors[:90].astype(np.float64)
    rows[1::9] *= 1e-30
    rows[2::9] = 0
    rows[4::9, 5] = np.inf
    rows[7::9] *= 1e200
    return rows


@pytest.mark.parametrize("count", [1, 3, 40])
@pytest.mark.parametrize("predictor", ["laion-v2", "simulacra-l14"])
def test_blocks_of_unusual_rows_change_nothing(vectors, monkeypatch, predictor, count):
    rows = unusual(vectors)
    scores, status = score_embeddings(rows, predictor, return_status=True)
    assert (status[1::9] == "ok").all()
    assert (status[2::9] == "zero").all()
    assert (status[4::9] == "not_finite").all()
    assert np.isfinite(scores[status == "ok"]).all()
    assert np.isnan(scores[status != "ok"]).all()
    usual = score_embeddings(vectors[:90], predictor)
    assert np.abs(scores - usual)[status == "ok"].max() <= 2e-6
    monkeypatch.setattr(scoring, "CPU_RECHECKED", count)
    again = score_embeddings(rows, predictor, return_status=True)
    assert again[0].tobytes() == scores.tobytes()
    assert (again[1] == status).all()


def test_a_full_device_rechecks_fewer_rows_at_a_time(vectors, monkeypatch):
    """Memory for ten rows in float64."""
    rows, scale, asked = unusual(vectors), scoring.embeddings.scale_rows, []

    def full(part: torch.Tensor):
        asked.append(len(part))
        if len(part) > 10:
            raise MemoryError("std::bad_alloc: out_of_memory")
        return scale(part)

    expected = score_embeddings(rows)
    monkeypatch.setattr(scoring.embeddings, "scale_rows", full)
    assert score_embeddings(rows).tobytes() == expected.tobytes()
    assert max(asked) == 40
    assert asked[-1] <= 10


def test_a_column_of_zeros_takes_little_memory(interpreter):
    """60,000 rows, 370 MB in float64; the zeros themselves take no memory."""
    done = interpreter.run(
        """
import numpy as np
from dask_aesthetic import score_embeddings

def peak():
    with open("/proc/self/status") as status:
        return int(next(line for line in status if line.startswith("VmHWM")).split()[1]) << 10

zeros = np.zeros((60_000, 768), np.float32)
score_embeddings(zeros[:5_000], return_status=True)
before = peak()
status = score_embeddings(zeros, return_status=True)[1]
assert (status == "zero").all()
print(peak() - before)
""",
        env={**os.environ},
    )
    assert done.returncode == 0, done.stderr
    assert int(done.stdout) < 40e6


def test_a_batch_size_is_checked(vectors):
    with pytest.raises(ArgumentError, match="expected batch_size to be"):
        score_embeddings(vectors, batch_size=0)
