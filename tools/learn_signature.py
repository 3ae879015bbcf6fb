"""Learn the encoder signature that ships: ``python tools/learn_signature.py EMBEDDINGS``; prints its error rates."""

from __future__ import annotations

import csv
import json
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from safetensors.numpy import save_file

from dask_aesthetic.check.signature import ENCODER, FILE, HEADER, KINDS, Signature

SHIPPED = Path(__file__).parents[1] / "dask_aesthetic/check" / FILE
SOURCE = "https://github.com/stevejpapad/image-text-verification"
FOLDS, ENCODERS, DRAWS, SIZES = 10, 4, 10_000, (1, 10, 100)
NEAR_DUPLICATE = 0.9
NEWTON_STEPS = 30
Rows = dict[str, list[np.ndarray]]  # By kind: the rows of each encoder, shape (n, 768), float64.


def read(folder: Path) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Unit vectors of images and of texts, shape (n, 768), and the group of both, shape (n,).

    A group is an article, or all articles that share an image or a caption, or near duplicates of them.
    """
    with (folder / "captions.csv").open(newline="", encoding="utf-8") as file:
        articles = [int(row["image_path"].rpartition("_")[2].partition(".")[0]) for row in csv.DictReader(file)]
    images, texts = (_normalize(np.load(folder / f"{kind}_embeddings.npy")) for kind in ("image", "text"))
    return images, texts, _groups(images, texts, np.array(articles))


def learn(images: np.ndarray, texts: np.ndarray, groups: int, seed: int) -> Signature:
    """Signature learned from unit vectors of so many groups."""
    directions = _normalize(np.stack([images.mean(axis=0), texts.mean(axis=0)])).astype(np.float32)
    rows = _rows(images, texts, seed)
    cosines = [np.concatenate(rows[kind]) @ directions.T for kind in KINDS]
    weight, bias = _regress(cosines, groups)
    return Signature(directions, weight, bias)


def cross_validate(images: np.ndarray, texts: np.ndarray, groups: np.ndarray) -> dict[str, list[np.ndarray]]:
    """Probabilities of the kinds for rows of held-out groups, by true kind; a list entry per encoder."""
    names = np.unique(groups)
    fold_of = dict(zip(names, np.random.default_rng(0).permutation(len(names)) % FOLDS, strict=True))
    folds = np.array([fold_of[name] for name in groups])
    found: dict[str, list[np.ndarray]] = {kind: [] for kind in KINDS}
    for fold in range(FOLDS):
        test, train = folds == fold, folds != fold
        signature = learn(images[train], texts[train], len(np.unique(groups[train])), seed=fold)
        for kind, encoders in _rows(images[test], texts[test], seed=FOLDS + 1 + fold).items():
            found[kind] += [signature.probabilities(rows @ signature.directions.T) for rows in encoders]
    # One encoder made all real rows; each made-up one is an encoder of its own.
    return {kind: parts if kind == "other" else [np.concatenate(parts)] for kind, parts in found.items()}


def format_error_rates(probabilities: dict[str, list[np.ndarray]]) -> list[str]:
    """Lines of a table: error rates by kind and rows per sample; the majority of a sample's rows decides its kind."""
    lines = [f"{'':8}{'rows':>6}" + "".join(f"{f'of {n}':>10}" for n in SIZES) + f"{'probability':>13}"]
    rng = np.random.default_rng(0)
    for kind, encoders in probabilities.items():
        true, every = KINDS.index(kind), np.concatenate(encoders)
        rates = [f"{np.mean(every.argmax(axis=1) != true):.2%}"]
        rates += [f"{_sample_error(encoders, true, n, rng):.2%}" for n in SIZES[1:]]
        mean = f"{every.max(axis=1).mean():.2%}"
        lines.append(f"{kind:8}{len(every):>6}" + "".join(f"{text:>10}" for text in rates) + f"{mean:>13}")
    return lines


def save(signature: Signature, path: Path) -> None:
    """Write the file that `load_signature` reads."""
    values = {"weight": signature.weight.round(6).tolist(), "bias": signature.bias.round(6).tolist()}
    header = json.dumps({**values, "encoder": ENCODER, "source": SOURCE, "license": "Apache-2.0"}, sort_keys=True)
    save_file({"directions": signature.directions}, path, {HEADER: header})


def _groups(images: np.ndarray, texts: np.ndarray, articles: np.ndarray) -> np.ndarray:
    """Connected components of the articles, by near duplicates."""
    connected = articles[:, None] == articles
    for vectors in (images, texts):
        connected |= vectors @ vectors.T > NEAR_DUPLICATE
    groups = articles
    while True:
        lowest = np.where(connected, groups, len(connected)).min(axis=1)
        if np.array_equal(lowest, groups):
            return groups
        groups = lowest


def _rows(images: np.ndarray, texts: np.ndarray, seed: int) -> Rows:
    return {"image": [images], "text": [texts], "other": list(_made_up(images, texts, np.random.default_rng(seed)))}


def _made_up(images: np.ndarray, texts: np.ndarray, rng: np.random.Generator) -> Iterator[np.ndarray]:
    """Rows of made-up encoders, whose 768 numbers have another meaning."""
    width = images.shape[1]
    for real in (images, texts):
        for _ in range(ENCODERS):
            yield real[:, rng.permutation(width)]
            yield _normalize(real @ rng.standard_normal((width, width)))
            yield _normalize(rng.standard_normal(real.shape))


def _regress(cosines: list[np.ndarray], groups: int) -> tuple[np.ndarray, np.ndarray]:
    """Weight and bias of a multinomial logistic regression; kinds have equal weight.

    Targets are Platt's: a kind without an error over n groups has the probability (n + 1) / (n + 3), and not 1.
    """
    x = np.concatenate([np.column_stack([part, np.ones(len(part))]) for part in cosines])
    kind = np.repeat(range(len(KINDS)), [len(part) for part in cosines])
    weights = 1 / np.array([len(part) for part in cosines])[kind]
    targets = (np.eye(len(KINDS))[kind] * groups + 1) / (groups + len(KINDS))
    coefficients = np.zeros((len(KINDS), x.shape[1]))
    for _ in range(NEWTON_STEPS):
        found = Signature(x, coefficients, np.zeros(len(KINDS))).probabilities(x)
        gradient = ((found - targets) * weights[:, None]).T @ x
        spread = found[:, :, None] * (np.eye(len(KINDS)) - found[:, None, :])
        hessian = np.einsum("n,nkl,ni,nj->kilj", weights, spread, x, x, optimize=True)
        # The same addition to all kinds changes nothing, so the Hessian is singular in that direction.
        step = np.linalg.lstsq(hessian.reshape(coefficients.size, -1), gradient.ravel(), rcond=1e-10)[0]
        coefficients -= step.reshape(coefficients.shape)
    return coefficients[:, :2].copy(), coefficients[:, 2].copy()


def _sample_error(encoders: list[np.ndarray], true: int, n: int, rng: np.random.Generator) -> float:
    """Share of samples of n rows, each of one encoder, whose most frequent kind is wrong."""
    labels = [rows.argmax(axis=1) for rows in encoders]
    samples = (rng.choice(labels[rng.integers(len(labels))], n) for _ in range(DRAWS))
    return sum(int(np.bincount(sample).argmax()) != true for sample in samples) / DRAWS


def _normalize(vectors: np.ndarray) -> np.ndarray:
    wide = np.asarray(vectors, np.float64)
    return wide / np.linalg.norm(wide, axis=1, keepdims=True)


def main(folder: Path) -> None:
    """Print the error rates of cross-validation, then learn from all rows and save."""
    images, texts, groups = read(folder)
    print(f"{len(images)} rows in {len(np.unique(groups))} groups, {FOLDS} folds of groups", end="\n\n")
    print("\n".join(format_error_rates(cross_validate(images, texts, groups))))
    save(learn(images, texts, len(np.unique(groups)), seed=FOLDS), SHIPPED)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
