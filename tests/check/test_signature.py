"""Encoder signature: the shipped file against its training data, and its error rates on held-out articles."""

from __future__ import annotations

import numpy as np
import pytest

import learn_signature
from dask_aesthetic.check.signature import KINDS, load_signature


@pytest.fixture(scope="module")
def verite_data(shared) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    return learn_signature.read(shared / "data/verite_l14")


def test_shipped_signature_is_reproducible(verite_data):
    images, texts, groups = verite_data
    shipped = load_signature()
    means = np.stack([images.mean(axis=0), texts.mean(axis=0)])
    assert np.allclose(shipped.directions, means / np.linalg.norm(means, axis=1, keepdims=True), atol=1e-6)
    again = learn_signature.learn(images, texts, len(np.unique(groups)), seed=learn_signature.FOLDS)
    assert np.allclose(again.weight, shipped.weight, atol=0.05)
    assert np.allclose(again.bias, shipped.bias, atol=0.05)


def test_groups_share_no_image_or_caption(verite_data):
    images, texts, groups = verite_data
    for vectors in (images, texts):
        near = vectors @ vectors.T > learn_signature.NEAR_DUPLICATE
        assert (groups[:, None] == groups)[near].all()


def test_signature_classifies_held_out_articles(verite_data, ratings):
    images, texts, groups = verite_data
    test = groups % 2 == 1
    signature = learn_signature.learn(images[~test], texts[~test], len(np.unique(groups[~test])), seed=1)
    rotation = np.linalg.qr(np.random.default_rng(99).standard_normal((768, 768)))[0]
    right = {"image": images[test], "text": texts[test], "other": images[test] @ rotation}
    right["image"] = np.concatenate([right["image"], ratings])
    for kind, rows in right.items():
        probabilities = signature.probabilities(rows @ signature.directions.T)
        wrong = np.mean(probabilities.argmax(axis=1) != KINDS.index(kind))
        assert wrong <= (0.03 if kind == "text" else 0)
        # Confident, and not more confident than accurate.
        assert 0.95 < probabilities.max(axis=1).mean() <= 1 - wrong
        assert np.allclose(probabilities.sum(axis=1), 1)
