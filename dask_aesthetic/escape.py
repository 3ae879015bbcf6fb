"""Escaping of strings from data: one line of visible characters, and links that are safe to follow."""

from __future__ import annotations

import unicodedata
from dataclasses import dataclass
from urllib.parse import urlsplit

MAX_LENGTH, MAX_URL = 120, 2000
# Bidirectional controls and invisible characters: with them a text could pass for another one.
INVISIBLE = frozenset("\u061c\u200b\u200e\u200f\u202a\u202b\u202c\u202d\u202e\u2060\u2066\u2067\u2068\u2069\ufeff")


@dataclass(frozen=True)
class Link:
    """Text of a URL, and its link target: None unless the URL is valid http or https."""

    text: str
    href: str | None


def escape_text(value: object, limit: int = MAX_LENGTH) -> str:
    r"""Text of a value on one line, up to `limit` characters; invisible characters become escape sequences.

    Examples
    --------
    >>> print(escape_text("a\u202egnp.exe\0"))
    a\u202egnp.exe\x00
    >>> escape_text(b"caf\xc3\xa9"), escape_text("x" * 300, 4), escape_text(None)
    ('café', 'xxx…', '')
    """
    if value is None:
        return ""
    text = value.decode("utf-8", "backslashreplace") if isinstance(value, bytes) else str(value)
    if len(text) > limit:
        text = text[: limit - 1] + "…"
    return "".join(_escape(char) if _is_hidden(char) else char for char in text)


def escape_lines(text: str) -> str:
    r"""Text for a terminal: as `escape_text`, but of any length, and with its line breaks.

    Examples
    --------
    >>> print(escape_lines("first\nsecond\x1b[2J"))
    first
    second\x1b[2J
    """
    return "\n".join(escape_text(line, len(line) + 1) for line in text.split("\n"))


def link(value: object) -> Link:
    """Link of a value in a URL column, with a target if it is safe to follow.

    Examples
    --------
    >>> link("https://example.com/a.jpg").href
    'https://example.com/a.jpg'
    >>> link("javascript:alert(1)").href, link("//example.com").href
    (None, None)
    """
    text = escape_text(value, MAX_URL + 1)
    return Link(
        escape_text(value, MAX_LENGTH), text if isinstance(value, str) and value == text and _is_web(text) else None
    )


def _is_web(text: str) -> bool:
    try:
        parts = urlsplit(text)
    except ValueError:
        return False
    one_word = len(text) <= MAX_URL and not any(char.isspace() for char in text)
    return one_word and parts.scheme in ("http", "https") and bool(parts.hostname) and "\\" not in text


def _is_hidden(char: str) -> bool:
    code = ord(char)
    noncharacter = code & 0xFFFE == 0xFFFE or 0xFDD0 <= code <= 0xFDEF
    return noncharacter or char in INVISIBLE or unicodedata.category(char) in ("Cc", "Cs", "Zl", "Zp")


def _escape(char: str) -> str:
    return char.encode("unicode_escape").decode()
