"""Image and text embeddings of the same rows, some of them unusable, and their similarity in float64."""

from __future__ import annotations

import numpy as np
import pyarrow as pa

from helpers import columns

IMAGES = {3: None, 4: np.zeros(768), 5: np.full(768, np.nan), 6: np.ones(512), 7: None, 8: None}
TEXTS = {10: None, 11: np.zeros(768), 12: np.full(768, np.inf), 13: np.ones(512), 7: np.zeros(768), 8: None}
STATUS = {3: "missing", 4: "zero", 5: "not_finite", 6: "wrong_width", 7: "missing", 8: "missing"}
TEXT_STATUS = {10: "missing", 11: "zero", 12: "not_finite", 13: "wrong_width", 7: "zero", 8: "missing"}


def sides(rows: int = 300) -> tuple[np.ndarray, np.ndarray]:
    """Images and texts whose similarity lies around 0.3."""
    random = np.random.default_rng(12)
    images, noise = random.standard_normal((2, rows, 768), dtype=np.float32)
    return images, 0.3 * images + noise


def with_faults(images: np.ndarray, texts: np.ndarray) -> tuple[list, list]:
    """Both sides as rows, those of `IMAGES` and `TEXTS` in their places."""
    return [IMAGES.get(at, row) for at, row in enumerate(images)], [TEXTS.get(at, row) for at, row in enumerate(texts)]


def table(images, texts, kind: str = "list", text_kind: str | None = None, dtype: str = "float32") -> pa.Table:
    """Table of keys and both embeddings."""
    return pa.table(
        {
            "key": [f"k{at}" for at in range(len(images))],
            "image_embedding": columns.array(images, kind, dtype),
            "text_embedding": columns.array(texts, text_kind or kind, dtype),
        }
    )


def exact(images: np.ndarray, texts: np.ndarray) -> np.ndarray:
    """Cosines in float64."""
    a, b = images.astype(np.float64), texts.astype(np.float64)
    return (a * b).sum(axis=1) / np.linalg.norm(a, axis=1) / np.linalg.norm(b, axis=1)
