"""Rows without a usable embedding, by name, and the status of each."""

from __future__ import annotations

import numpy as np

from dask_aesthetic import load_predictor

WIDTH = 768
STATUSES = ["ok", "missing", "wrong_width", "not_finite", "zero", "wrong_type"]


def one(value: float, at: int = 5) -> np.ndarray:
    vector = np.linspace(-1, 1, WIDTH, dtype=np.float32)
    vector[at] = value
    return vector


INVALID = {
    "null": (None, "missing"),
    "empty": ([], "missing"),
    "narrow": (np.ones(512), "wrong_width"),
    "wide": (np.ones(769), "wrong_width"),
    "twice": (np.ones(2 * WIDTH), "wrong_width"),
    "nan": (one(np.nan), "not_finite"),
    "inf": (one(np.inf), "not_finite"),
    "minus_inf": (one(-np.inf), "not_finite"),
    "zero": (np.zeros(WIDTH), "zero"),
    "minus_zero": (-np.zeros(WIDTH), "zero"),
    "denormal": (np.linspace(-1, 1, WIDTH) * 1e-40, "ok"),
    "smallest": (one(0) * 0 + np.float32(1e-45) * (np.arange(WIDTH) == 3), "ok"),
    "1e20": (np.linspace(-1, 1, WIDTH) * 1e20, "ok"),
    "1e38": (np.linspace(-1, 1, WIDTH) * 1e38, "ok"),
}


def exact(row: np.ndarray) -> float:
    """The score in float64, of the row as float32 holds it."""
    predictor = load_predictor()
    x = np.asarray(row, np.float32).astype(np.float64)
    x = x / np.abs(x).max()
    return float(x @ predictor.weight / np.linalg.norm(x) + predictor.bias)


def cases(kind: str) -> list[str]:
    """A fixed-size list cannot hold rows of another width."""
    return [name for name, (row, _) in INVALID.items() if kind != "fixed_size_list" or row is None or len(row) == WIDTH]


def rows_of(vectors: np.ndarray, kind: str, names: list[str]) -> tuple[list, list[str]]:
    """Valid rows, with an invalid one after each third."""
    rows, expected = [], []
    for at, vector in enumerate(vectors[: 3 * len(names)]):
        rows.append(vector)
        expected.append("ok")
        if at % 3 == 2:
            rows.append(INVALID[names[at // 3]][0])
            expected.append(INVALID[names[at // 3]][1])
    return rows, expected
