"""Titled table of names and values as text for a terminal and as HTML for a notebook."""

from __future__ import annotations

from collections.abc import Mapping
from html import escape


def format_text(title: str, rows: Mapping[str, str]) -> str:
    """Table as text, one name and value a line."""
    return "\n".join([title, *(f"{name:>9}  {value}" for name, value in rows.items())])


def format_html(title: str, rows: Mapping[str, str]) -> str:
    """Table as HTML, with names and values escaped."""
    cells = "".join(f"<tr><th>{escape(name)}</th><td>{escape(value)}</td></tr>" for name, value in rows.items())
    return f"<table><caption>{escape(title)}</caption>{cells}</table>"
