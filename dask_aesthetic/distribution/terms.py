"""Terms in captions: which rows speak of them."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
import pandas as pd

from dask_aesthetic.distribution.counting import on_host
from dask_aesthetic.distribution.groups import on_host_labels
from dask_aesthetic.distribution.scores import ScoreDistribution
from dask_aesthetic.errors import ArgumentError, ColumnError

Terms = dict[str, tuple[str, ...]]


def find_terms(terms: Any) -> Terms:
    """Terms, each with the words that stand for it, from what a user may give.

    Parameters
    ----------
    terms : iterable of str, or mapping of str to iterable of str
        Words, or names of terms with their words.

    Raises
    ------
    ArgumentError
        There is no term, one without a word, or a word that is no text.

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
    """The distribution of the rows of a partition that speak of each term, and under None of those of no term."""
    captions = _texts(on_host_labels(frame[columns["caption_column"]]), columns["caption_column"])
    values = on_host(frame[columns["score_column"]])
    status = on_host_labels(frame[columns["status_column"]]) if "status_column" in columns else None
    rows: dict[Any, np.ndarray] = {name: _speaks_of(captions, words) for name, words in terms.items()}
    rows[None] = ~np.logical_or.reduce(list(rows.values()))
    return {
        name: ScoreDistribution.of(values[at], status=None if status is None else status[at], **known)
        for name, at in rows.items()
    }


def _words(words: Any) -> tuple[str, ...]:
    """Words as a tuple; empty if one of them is none."""
    found = (words,) if isinstance(words, str) else tuple(words) if isinstance(words, Iterable) else ()
    return found if all(isinstance(word, str) and word.strip() for word in found) else ()


def _texts(captions: pd.Series, column: str) -> list[str]:
    """Captions in one spelling of each letter, empty where there is none."""
    values = captions.astype(object).to_numpy()
    missing = pd.isna(values)
    wrong = next((value for value in values[~missing] if not isinstance(value, str)), None)
    if wrong is not None:
        raise ColumnError(f"expected text in caption_column={column!r}, got {wrong!r}: name the column of captions")
    return ["" if gone else _plain(text) for text, gone in zip(values, missing, strict=True)]


def _speaks_of(captions: list[str], words: tuple[str, ...]) -> np.ndarray:
    """Which captions hold one of the words, whole."""
    spelled = [r"\s+".join(map(re.escape, _plain(word).split())) for word in words]
    pattern = re.compile(rf"(?<!\w)(?:{'|'.join(spelled)})(?!\w)")
    return np.fromiter((_holds(pattern, text) for text in captions), bool, len(captions))


def _holds(pattern: re.Pattern[str], text: str) -> bool:
    # To `re` a mark, such as a vowel sign of Devanagari, is no part of the word.
    return any(
        not _is_mark(text[match.start() - 1 : match.start()]) and not _is_mark(text[match.end() : match.end() + 1])
        for match in pattern.finditer(text)
    )


def _is_mark(letter: str) -> bool:
    return bool(letter) and unicodedata.category(letter).startswith("M")


def _plain(text: str) -> str:
    """Text without regard to case and to how accents are encoded."""
    if text.isascii():
        return text.lower()
    return unicodedata.normalize("NFC", unicodedata.normalize("NFC", text).casefold())
