"""Titled tables as text for a terminal and as HTML for a notebook: of names and values, and of rows and columns.

Titles, names and values may come from data: control and invisible characters become escape sequences, and HTML is
escaped.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from html import escape

from dask_aesthetic.escape import escape_text

Facts = Mapping[str, str | Sequence[str]]  # Values of one or more lines, by name; those that are empty are left out.
MAX_CELL, MAX_LINE = 40, 1000
INDENT = 2
LEFT = ' style="text-align:left"'  # Notebooks align all cells to the right.


@dataclass(frozen=True)
class Grid:
    """Rows of texts under column names, the first of which names the rows.

    Attributes
    ----------
    columns : list of str
    rows : list of list of str
    more : str
        Line for the rows that are left out, if any.
    total : list of str
        Row of the whole, if any.

    Examples
    --------
    >>> rows = [["a", "1,200"], ["b", "7"]]
    >>> print(Grid(["group", "rows"], rows, "... and 3 more groups", ["all", "1,220"]).text("By source"))
    By source
      group   rows
      a      1,200
      b          7
      ... and 3 more groups
      all    1,220
    """

    columns: Sequence[str]
    rows: Sequence[Sequence[str]]
    more: str = ""
    total: Sequence[str] = ()

    def text(self, title: str) -> str:
        """Grid under a title, with numbers flush right."""
        total = [self.total] if self.total else []
        cells = [list(map(_cell, row)) for row in (self.columns, *self.rows, *total)]
        first, *others = (max(map(len, column)) for column in zip(*cells, strict=True))
        lines = [
            "  ".join([name.ljust(first), *(cell.rjust(width) for cell, width in zip(row, others, strict=True))])
            for name, *row in cells
        ]
        if self.more:
            lines.insert(1 + len(self.rows), _line(self.more))
        return "\n".join([_line(title), *(" " * INDENT + line for line in lines)])

    def html(self, title: str) -> str:
        """Grid as an HTML table with a caption."""
        first, *others = (_html(_cell(name)) for name in self.columns)
        head = f"<th{LEFT}>{first}</th>" + "".join(f"<th>{name}</th>" for name in others)
        more = f'<tr><td colspan="{len(self.columns)}"{LEFT}>{_html(self.more)}</td></tr>' if self.more else ""
        body = "".join(map(_html_row, self.rows)) + more + (_html_row(self.total) if self.total else "")
        caption = f"<caption>{_html(title)}</caption>"
        return f"<table>{caption}<thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>"


class Shown(ABC):
    """Object whose repr, in a terminal and in a notebook, is a title and a table of names and values."""

    @abstractmethod
    def _table(self) -> tuple[str, Facts]:
        """Title and rows of the printed form."""

    def __repr__(self) -> str:
        return format_text(*self._table())

    def _repr_html_(self) -> str:
        return format_html(*self._table())


def format_text(title: str, facts: Facts) -> str:
    """Title and a line per name and value, names flush right.

    Examples
    --------
    >>> print(format_text("Two rows", {"rows": "2", "failed": "", "kept": ["1 by hand", "0 by rule"]}))
    Two rows
      rows  2
      kept  1 by hand
            0 by rule
    """
    return "\n".join([_line(title), format_facts(facts)])


def format_facts(facts: Facts, width: int = 0) -> str:
    """Lines of names and values without a title; names take `width` characters at least."""
    known = {_cell(name): lines for name, value in facts.items() if (lines := _lines(value))}
    width = max([width, *(INDENT + len(name) for name in known)])
    return "\n".join(
        f"{name if not at else '':>{width}}  {line}" for name, lines in known.items() for at, line in enumerate(lines)
    )


def format_html(title: str, facts: Facts) -> str:
    """HTML table of names and values, with a caption."""
    cells = "".join(
        f"<tr><th>{_html(name)}</th><td{LEFT}>{'<br>'.join(map(_html, lines))}</td></tr>"
        for name, value in facts.items()
        if (lines := _lines(value))
    )
    return f"<table><caption>{_html(title)}</caption>{cells}</table>"


def _html_row(row: Sequence[str]) -> str:
    name, *cells = (_html(_cell(value)) for value in row)
    return f"<tr><th{LEFT}>{name}</th>{''.join(f'<td>{cell}</td>' for cell in cells)}</tr>"


def _lines(value: str | Sequence[str]) -> list[str]:
    return [_line(one) for one in ([value] if isinstance(value, str) else value) if one]


def _line(text: str) -> str:
    return escape_text(text, MAX_LINE)


def _cell(text: str) -> str:
    return escape_text(text, MAX_CELL)


def _html(text: str) -> str:
    return escape(escape_text(text, MAX_LINE))
