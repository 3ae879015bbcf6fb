"""Distributions of the rows whose captions mention a term."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
import pandas as pd

from dask_aesthetic.distribution._bins import on_host
from dask_aesthetic.distribution.distribution import ScoreDistribution
from dask_aesthetic.distribution.groups import on_host_labels
from dask_aesthetic.errors import ArgumentError, ColumnError

Terms = dict[str, tuple[str, ...]]


def find_terms(terms: Any) -> Terms:
    """Words of each term, from any form that users may give.

    Parameters
    ----------
    terms : iterable of str, or mapping of str to iterable of str
        Words, or names of terms with the words of each.

    Raises
    ------
    ArgumentError
        There is no term, a term without a word, or a word that is no text.

    Examples
    --------
    >>> find_terms(["portrait", "new york"])
    {'portrait': ('portrait',), 'new york': ('new york',)}
    """
    given = {terms: terms} if isinstance(terms, str) else terms
    if not isinstance(given, Mapping):
        given = {word: word for word in given} if isinstance(given, Iterable) else {}
    found = {name: _words(words) for name, words in given.items()}
    if not found or not all(isinstance(name, str) and words for name, words in found.items()):
        raise ArgumentError(
            f"expected terms to be words, or names with a list of words each, got {terms!r}: "
            "say terms=['portrait', 'landscape'] or terms={'women': ['woman', 'women', 'her']}"
        )
    return found


def count_terms(
    frame: Any, columns: dict[str, str], known: dict[str, str], terms: Terms
) -> dict[Any, ScoreDistribution]:
    """Distribution of the rows of a partition that mention each term; under None, of the rows without any term."""
    captions = _texts(on_host_labels(frame[columns["caption_column"]]), columns["caption_column"])
    values = on_host(frame[columns["score_column"]])
    status = on_host_labels(frame[columns["status_column"]]) if "status_column" in columns else None
    rows: dict[Any, np.ndarray] = {name: _mention(captions, words) for name, words in terms.items()}
    rows[None] = ~np.logical_or.reduce(list(rows.values()))
    return {
        name: ScoreDistribution.of(values[at], status=None if status is None else status[at], **known)
        for name, at in rows.items()
    }


def _words(words: Any) -> tuple[str, ...]:
    """Words as a tuple; empty if any of them is blank or no text."""
    found = (words,) if isinstance(words, str) else tuple(words) if isinstance(words, Iterable) else ()
    return found if all(isinstance(word, str) and word.strip() for word in found) else ()


def _texts(captions: pd.Series, column: str) -> list[str]:
    """Captions in lower case and one Unicode form, empty for null."""
    values = captions.astype(object).to_numpy()
    missing = pd.isna(values)
    wrong = next((value for value in values[~missing] if not isinstance(value, str)), None)
    if wrong is not None:
        raise ColumnError(f"expected text in caption_column={column!r}, got {wrong!r}: name the column of captions")
    return ["" if null else _normalize(text) for text, null in zip(values, missing, strict=True)]


def _mention(captions: list[str], words: tuple[str, ...]) -> np.ndarray:
    """Mask of the captions that contain one of the words as a whole word."""
    spelled = [r"\s+".join(map(re.escape, _normalize(word).split())) for word in words]
    pattern = re.compile(rf"(?<!\w)(?:{'|'.join(spelled)})(?!\w)")
    return np.fromiter((_contains_word(pattern, text) for text in captions), bool, len(captions))


def _contains_word(pattern: re.Pattern[str], text: str) -> bool:
    # `re` takes a mark, such as a vowel sign of Devanagari, for the end of a word.
    return any(
        not _is_mark(text[match.start() - 1 : match.start()]) and not _is_mark(text[match.end() : match.end() + 1])
        for match in pattern.finditer(text)
    )


def _is_mark(letter: str) -> bool:
    return bool(letter) and unicodedata.category(letter).startswith("M")


def _normalize(text: str) -> str:
    """Text in one case and one Unicode form (NFC)."""
    if text.isascii():
        return text.lower()
    return unicodedata.normalize("NFC", unicodedata.normalize("NFC", text).casefold())
