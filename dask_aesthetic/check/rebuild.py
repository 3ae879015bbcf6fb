"""Learn the encoder signature again: ``python -m dask_aesthetic.check.rebuild EMBEDDINGS``; prints its error rates."""

from __future__ import annotations

import csv
import json
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from safetensors.numpy import save_file

from dask_aesthetic.check.signature import ENCODER, FILE, HEADER, KINDS, Signature

SOURCE = "https://github.com/stevejpapad/image-text-verification"
FOLDS, ENCODERS, DRAWS, SIZES = 10, 4, 10_000, (1, 10, 100)
NEARLY_SAME = 0.9
NEWTON_STEPS = 30
Rows = dict[str, list[np.ndarray]]  # By kind: the rows of each encoder, shape (n, 768), float64.


def read(folder: Path) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Unit vectors of pictures and of texts, shape (n, 768), and the group, shape (n,), that both belong to.

    A group is an article, or several that share a picture or a caption, or nearly so.
    """
    with (folder / "captions.csv").open(newline="", encoding="utf-8") as file:
        articles = [int(row["image_path"].rpartition("_")[2].partition(".")[0]) for row in csv.DictReader(file)]
    images, texts = (_units(np.load(folder / f"{kind}_embeddings.npy")) for kind in ("image", "text"))
    return images, texts, _groups(images, texts, np.array(articles))


def learn(images: np.ndarray, texts: np.ndarray, groups: int, seed: int) -> Signature:
    """A signature from unit vectors of so many groups."""
    directions = _units(np.stack([images.mean(axis=0), texts.mean(axis=0)])).astype(np.float32)
    rows = _rows(images, texts, seed)
    cosines = [np.concatenate(rows[kind]) @ directions.T for kind in KINDS]
    weight, bias = _regress(cosines, groups)
    return Signature(directions, weight, bias)


def held_out(images: np.ndarray, texts: np.ndarray, groups: np.ndarray) -> dict[str, list[np.ndarray]]:
    """Sureness of the kinds for rows of held-out groups, by true kind; a list entry per encoder."""
    names = np.unique(groups)
    fold_of = dict(zip(names, np.random.default_rng(0).permutation(len(names)) % FOLDS, strict=True))
    folds = np.array([fold_of[name] for name in groups])
    found: dict[str, list[np.ndarray]] = {kind: [] for kind in KINDS}
    for fold in range(FOLDS):
        test, train = folds == fold, folds != fold
        signature = learn(images[train], texts[train], len(np.unique(groups[train])), seed=fold)
        for kind, encoders in _rows(images[test], texts[test], seed=FOLDS + 1 + fold).items():
            found[kind] += [signature.sureness(rows @ signature.directions.T) for rows in encoders]
    # One encoder made all real rows; each made-up one is of its own.
    return {kind: parts if kind == "other" else [np.concatenate(parts)] for kind, parts in found.items()}


def table(sureness: dict[str, list[np.ndarray]]) -> list[str]:
    """Error rates by kind and by rows per sample, each sample of one encoder, judged by what most of its rows are."""
    lines = [f"{'':8}{'rows':>6}" + "".join(f"{f'of {n}':>10}" for n in SIZES) + f"{'sureness':>10}"]
    rng = np.random.default_rng(0)
    for kind, encoders in sureness.items():
        true, every = KINDS.index(kind), np.concatenate(encoders)
        rates = [f"{np.mean(every.argmax(axis=1) != true):.2%}"]
        rates += [f"{_sampled(encoders, true, n, rng):.2%}" for n in SIZES[1:]]
        told = f"{every.max(axis=1).mean():.2%}"
        lines.append(f"{kind:8}{len(every):>6}" + "".join(f"{text:>10}" for text in [*rates, told]))
    return lines


def save(signature: Signature, path: Path) -> None:
    """Write what `load_signature` reads."""
    told = {"weight": signature.weight.round(6).tolist(), "bias": signature.bias.round(6).tolist()}
    header = json.dumps({**told, "encoder": ENCODER, "source": SOURCE, "license": "Apache-2.0"}, sort_keys=True)
    save_file({"directions": signature.directions}, path, {HEADER: header})


def _groups(images: np.ndarray, texts: np.ndarray, articles: np.ndarray) -> np.ndarray:
    tied = articles[:, None] == articles
    for vectors in (images, texts):
        tied |= vectors @ vectors.T > NEARLY_SAME
    groups = articles
    while True:
        lowest = np.where(tied, groups, len(tied)).min(axis=1)
        if np.array_equal(lowest, groups):
            return groups
        groups = lowest


def _rows(images: np.ndarray, texts: np.ndarray, seed: int) -> Rows:
    return {"image": [images], "text": [texts], "other": list(_made_up(images, texts, np.random.default_rng(seed)))}


def _made_up(images: np.ndarray, texts: np.ndarray, rng: np.random.Generator) -> Iterator[np.ndarray]:
    """Rows as encoders might make them whose 768 numbers mean something else."""
    width = images.shape[1]
    for real in (images, texts):
        for _ in range(ENCODERS):
            yield real[:, rng.permutation(width)]
            yield _units(real @ rng.standard_normal((width, width)))
            yield _units(rng.standard_normal(real.shape))


def _regress(cosines: list[np.ndarray], groups: int) -> tuple[np.ndarray, np.ndarray]:
    """Multinomial logistic regression; kinds weigh the same.

    Targets are Platt's: a kind that has never been wrong over n groups is (n + 1) / (n + 3) sure, and not 1.
    """
    x = np.concatenate([np.column_stack([part, np.ones(len(part))]) for part in cosines])
    kind = np.repeat(range(len(KINDS)), [len(part) for part in cosines])
    weights = 1 / np.array([len(part) for part in cosines])[kind]
    targets = (np.eye(len(KINDS))[kind] * groups + 1) / (groups + len(KINDS))
    figures = np.zeros((len(KINDS), x.shape[1]))
    for _ in range(NEWTON_STEPS):
        told = Signature(x, figures, np.zeros(len(KINDS))).sureness(x)
        slope = ((told - targets) * weights[:, None]).T @ x
        spread = told[:, :, None] * (np.eye(len(KINDS)) - told[:, None, :])
        curvature = np.einsum("n,nkl,ni,nj->kilj", weights, spread, x, x, optimize=True).reshape(figures.size, -1)
        # Adding the same to all kinds changes nothing, so the curvature is singular that way.
        figures -= np.linalg.lstsq(curvature, slope.ravel(), rcond=1e-10)[0].reshape(figures.shape)
    return figures[:, :2].copy(), figures[:, 2].copy()


def _sampled(encoders: list[np.ndarray], true: int, n: int, rng: np.random.Generator) -> float:
    """Share of samples of n rows, each of one encoder, whose most frequent kind is wrong."""
    labels = [rows.argmax(axis=1) for rows in encoders]
    samples = (rng.choice(labels[rng.integers(len(labels))], n) for _ in range(DRAWS))
    return sum(int(np.bincount(sample).argmax()) != true for sample in samples) / DRAWS


def _units(vectors: np.ndarray) -> np.ndarray:
    wide = np.asarray(vectors, np.float64)
    return wide / np.linalg.norm(wide, axis=1, keepdims=True)


def main(folder: Path) -> None:
    """Print what cross-validation finds, then learn from all rows and save."""
    images, texts, groups = read(folder)
    print(f"{len(images)} rows in {len(np.unique(groups))} groups, {FOLDS} folds of groups", end="\n\n")
    print("\n".join(table(held_out(images, texts, groups))))
    save(learn(images, texts, len(np.unique(groups)), seed=FOLDS), Path(__file__).with_name(FILE))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
