"""Predictors made of prompts: how much more an image resembles some texts than others, by its encoder's text tower."""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch

from dask_aesthetic.defaults import MODEL, PRETRAINED
from dask_aesthetic.errors import ArgumentError, EncoderError
from dask_aesthetic.images.encoder import EncoderSpec, create_model
from dask_aesthetic.images.weights import import_open_clip
from dask_aesthetic.kernels.full_precision import full_precision
from dask_aesthetic.predictors import AffinePredictor, PredictorInfo
from dask_aesthetic.predictors.catalog import check_own_name
from dask_aesthetic.predictors.checkpoint import sha256_of

BATCH = 16  # Prompts in work at a time.


def prompt_predictor(
    prompts: str | Sequence[str],
    *,
    against: str | Sequence[str],
    model: str = MODEL,
    pretrained: str | os.PathLike[str] = PRETRAINED,
    name: str | None = None,
) -> AffinePredictor:
    """Predictor of the probability that an image resembles some prompts rather than others.

    Parameters
    ----------
    prompts, against : str or sequence of str
        Texts that describe wanted images, and others. Several texts of a side count as their mean: the mean of their
        unit vectors, normalized.
    model, pretrained : str, path
        open_clip's name and weights of the encoder that made, or makes, the image embeddings, as of
        ``.aesthetic.embed``.
    name : str, optional
        Name of the predictor; by default its first prompts.

    Returns
    -------
    AffinePredictor
        Its scores are probabilities from 0 to 1: the softmax of the two similarities, multiplied by the model's logit
        scale, as CLIP classifies. Every method, job and command that takes a predictor takes it, and
        ``save("sharp.safetensors")`` writes a file for `load_predictor` and the command line, which says what it is
        made of.

    Raises
    ------
    ArgumentError
        There is no prompt, an empty one, or one that is longer than the model reads; or the name is that of another
        predictor.
    EncoderError
        The model or weights are not usable, as of ``.aesthetic.embed``, or have no text tower for these prompts.
    MissingDependencyError
        ``pip install 'dask-aesthetic[embed]'`` installs open_clip.

    Notes
    -----
    The softmax of two similarities is the sigmoid of their difference, so that the prompts become one weight vector,
    ``scale * (prompts - against)``, which scores as fast as `laion-v2` does. The text tower runs once, in float32.
    Image embeddings of another encoder, even of the same width, get scores that mean nothing.

    Examples
    --------
    >>> from dask_aesthetic import prompt_predictor
    >>> sharp = prompt_predictor("a sharp, well lit photo", against="a blurry snapshot")  # doctest: +SKIP
    >>> frame.aesthetic.score(predictor=sharp, threshold=0.5)  # doctest: +SKIP
    """
    sides = [_texts("prompts", prompts), _texts("against", against)]
    name = " against ".join(_short(texts) for texts in sides) if name is None else name
    check_own_name(name)
    spec = EncoderSpec.of(model, pretrained, "float32")
    towers, path = create_model(spec, torch.device("cpu"))
    scale = _logit_scale(towers, spec)
    wanted, others = (_mean(_embed(towers, texts, spec)) for texts in sides)
    if np.array_equal(wanted, others):
        raise ArgumentError(f"expected other prompts against {sides[0]!r}, got {sides[1]!r}")
    sha256 = spec.sha256 or sha256_of(path)
    weights = spec.pretrained if spec.kind != "file" else f"sha256 {sha256}"
    made_of = {"prompts": sides[0], "against": sides[1], "logit_scale": scale, "model": spec.model, "weights": weights}
    info = PredictorInfo(
        name=name,
        width=spec.width,
        encoder=f"{spec.model} ({weights})",
        scale=name,
        source=json.dumps(made_of, ensure_ascii=False),
        sha256=sha256,
        score_column="prompt_probability",
        is_probability=True,
    )
    return AffinePredictor(scale * (wanted - others), 0.0, info, "sigmoid")


def _texts(name: str, texts: Any) -> list[str]:
    found = [texts] if isinstance(texts, str) else list(texts) if isinstance(texts, Sequence) else []
    if not found or not all(isinstance(text, str) and text.strip() for text in found):
        raise ArgumentError(f"expected {name} to be a text or several, none of them empty, got {texts!r}")
    return found


def _short(texts: list[str]) -> str:
    return texts[0] + (f" and {len(texts) - 1} more" if len(texts) > 1 else "")


def _logit_scale(model: Any, spec: EncoderSpec) -> float:
    scale = getattr(model, "logit_scale", None)
    if not isinstance(scale, torch.Tensor) or not hasattr(model, "encode_text"):
        raise EncoderError(f"expected a model with a text tower and a logit scale, got {spec.model}")
    return float(scale.detach().double().exp())


def _embed(model: Any, texts: list[str], spec: EncoderSpec) -> np.ndarray:
    """Embeddings of texts, shape (n, width), float64."""
    try:
        tokenizer = import_open_clip().get_tokenizer(spec.model)
        for text in texts:
            _refuse_long(tokenizer, text)
        with torch.inference_mode(), full_precision():
            parts = [model.encode_text(part) for part in tokenizer(texts).split(BATCH)]
        found: np.ndarray = torch.cat(parts).double().numpy()
    except ArgumentError:
        raise
    except Exception as error:  # Tokenizers of other libraries raise errors of any kind, also where they download.
        reason = f"{type(error).__name__}: {' '.join(str(error).split())[:200]}"
        raise EncoderError(f"expected {spec.model} to embed {texts!r}, got {reason}") from error
    if found.shape != (len(texts), spec.width) or not np.isfinite(found).all():
        raise EncoderError(f"expected {spec.width} finite floats per text from {spec.model}, got shape {found.shape}")
    return found


def _refuse_long(tokenizer: Any, text: str) -> None:
    """Refuse a prompt whose end CLIP's own tokenizer would leave out without a word."""
    if hasattr(tokenizer, "encode") and hasattr(tokenizer, "context_length"):
        count, most = len(tokenizer.encode(text)) + 2, tokenizer.context_length
        if most is not None and count > most:
            raise ArgumentError(f"expected a prompt of {most - 2} tokens at most, got {count - 2}: {text!r}")


def _mean(embeddings: np.ndarray) -> np.ndarray:
    """Mean of unit vectors, normalized."""
    units = embeddings / np.linalg.norm(embeddings, axis=1, keepdims=True)
    mean = units.mean(axis=0)
    found: np.ndarray = mean / np.linalg.norm(mean)
    return found
