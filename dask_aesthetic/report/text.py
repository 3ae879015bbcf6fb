"""Strings that others wrote, made fit to be shown."""

from __future__ import annotations

import unicodedata
from dataclasses import dataclass
from urllib.parse import urlsplit

MOST, MOST_URL = 120, 2000
# They turn the reading order of what follows, or are not seen: text could pass for another.
TURNING = frozenset("\u061c\u200b\u200e\u200f\u202a\u202b\u202c\u202d\u202e\u2060\u2066\u2067\u2068\u2069\ufeff")


@dataclass(frozen=True)
class Link:
    """A URL as it is shown, and as it is followed: None unless it is plain http or https."""

    text: str
    href: str | None


def plain(value: object, most: int = MOST) -> str:
    r"""A value as text of one line, up to `most` characters; what is not seen or turns the order is spelled out.

    Examples
    --------
    >>> print(plain("a\u202egnp.exe\0"))
    a\u202egnp.exe\x00
    >>> plain(b"caf\xc3\xa9"), plain("x" * 300, 4), plain(None)
    ('café', 'xxx…', '')
    """
    if value is None:
        return ""
    text = value.decode("utf-8", "backslashreplace") if isinstance(value, bytes) else str(value)
    if len(text) > most:
        text = text[: most - 1] + "…"
    return "".join(_spelled(char) if _hidden(char) else char for char in text)


def link(value: object) -> Link:
    """What a URL column holds, as a link where it can be followed safely.

    Examples
    --------
    >>> link("https://example.com/a.jpg").href
    'https://example.com/a.jpg'
    >>> link("javascript:alert(1)").href, link("//example.com").href
    (None, None)
    """
    text = plain(value, MOST_URL + 1)
    return Link(plain(value, MOST), text if isinstance(value, str) and value == text and _is_web(text) else None)


def _is_web(text: str) -> bool:
    try:
        parts = urlsplit(text)
    except ValueError:
        return False
    whole = len(text) <= MOST_URL and not any(char.isspace() for char in text)
    return whole and parts.scheme in ("http", "https") and bool(parts.hostname) and "\\" not in text


def _hidden(char: str) -> bool:
    code = ord(char)
    nobody = code & 0xFFFE == 0xFFFE or 0xFDD0 <= code <= 0xFDEF  # Code points that are no characters.
    return nobody or char in TURNING or unicodedata.category(char) in ("Cc", "Cs", "Zl", "Zp")


def _spelled(char: str) -> str:
    return char.encode("unicode_escape").decode()
