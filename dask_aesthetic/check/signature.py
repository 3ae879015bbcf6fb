"""Signature of OpenAI's ViT-L/14, which separates its image embeddings from text embeddings and other encoders'."""

from __future__ import annotations

import json
from dataclasses import dataclass
from functools import lru_cache
from importlib.resources import as_file, files

import numpy as np
from safetensors import safe_open

from dask_aesthetic.predictors import Predictor

KINDS = ("image", "text", "other")
ENCODER = "ViT-L-14-quickgelu (openai)"
WIDTH = 768
FILE = "signature.safetensors"
HEADER = "dask_aesthetic"


@dataclass(frozen=True, eq=False)
class Signature:
    """Classifier of embeddings into image, text or other, by their cosines with two directions.

    CLIP keeps images and texts in two narrow cones, and another encoder's 768 numbers have nothing to do with either.
    Two numbers separate them: the cosines with the mean image embedding, most of which is in the two entries 413 and
    644, and with the mean text embedding. A multinomial logistic regression turns them into probabilities.

    Attributes
    ----------
    directions : numpy.ndarray, shape (2, 768), float32
        Unit vectors along the mean image embedding and the mean text embedding.
    weight : numpy.ndarray, shape (3, 2), float64
    bias : numpy.ndarray, shape (3,), float64
        Of the logits of "image", "text" and "other".

    Notes
    -----
    The training data are 509 image and text embeddings of news photographs and their captions [1]_, and made-up
    encoders: random unit vectors, and the same embeddings with their entries permuted, or mixed by a random matrix. The
    three kinds have the same prior. The table has the error rates of samples of so many rows, and the mean probability
    of rows, where the articles share no image or caption with the training data. ``python tools/learn_signature.py
    EMBEDDINGS`` prints it::

        509 rows in 169 groups, 10 folds of groups

                  rows      of 1     of 10    of 100  probability
        image      509     0.00%     0.00%     0.00%       98.35%
        text       509     0.39%     0.00%     0.00%       97.58%
        other    12216     0.00%     0.00%     0.00%       97.58%

    A sample is of the kind that most of its rows have. No error in 169 groups of articles is compatible with an error
    rate of 1.8 % (95 % confidence). Platt's targets limit the probability accordingly. It is that of a row and does not
    grow with the number of rows: drawings, logos, blank images and other encoders' own embeddings are not in the
    training data, and remain as unknown for many rows as for one.
    ViT-L/14@336px was fine-tuned from ViT-L/14 and may well be taken for it.

    References
    ----------
    .. [1] https://github.com/stevejpapad/image-text-verification, Apache-2.0
    """

    directions: np.ndarray
    weight: np.ndarray
    bias: np.ndarray

    def probabilities(self, cosines: np.ndarray) -> np.ndarray:
        """Probability of each kind, shape (n, 3), float64, by cosines with `directions`, shape (n, 2)."""
        logits = cosines.astype(np.float64) @ self.weight.T + self.bias
        odds = np.exp(logits - logits.max(axis=1, keepdims=True))
        return odds / odds.sum(axis=1, keepdims=True)


@lru_cache(1)
def load_signature() -> Signature:
    """Load the signature that ships with the package.

    Examples
    --------
    >>> import numpy as np
    >>> signature = load_signature()
    >>> cosines = np.array([[0.66, 0.15], [0.12, 0.49], [0.0, 0.0]])  # typical image, typical text, neither
    >>> [KINDS[at] for at in signature.probabilities(cosines).argmax(axis=1)]
    ['image', 'text', 'other']
    """
    with as_file(files(__package__) / FILE) as path, safe_open(path, "numpy") as source:
        header = json.loads(source.metadata()[HEADER])
        return Signature(source.get_tensor("directions"), np.array(header["weight"]), np.array(header["bias"]))


def has_signature(predictor: Predictor) -> bool:
    """Whether a predictor takes embeddings of the signature's encoder, or of an unknown encoder of its width."""
    return predictor.width == WIDTH and predictor.info.encoder in (ENCODER, "unknown")
