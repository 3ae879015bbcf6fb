"""Text and HTML of a check."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from html import escape
from textwrap import fill

from dask_aesthetic import tables
from dask_aesthetic.check.findings import NOTE, NOTHING, Finding
from dask_aesthetic.tables import Facts

MAX_COUNTS = 6


def format_text(title: str, facts: Facts, findings: Sequence[Finding]) -> str:
    """Text for a terminal: a table, and the findings with their advice."""
    lines = [tables.format_text(title, facts)]
    for finding in findings:
        mark = "-" if finding.level == NOTE else "!"
        lines.append(fill(f"{finding.level}: {finding.what}", 110, initial_indent=f"{mark} ", subsequent_indent="  "))
        if finding.do != NOTHING:
            lines.append(fill(f"do: {finding.do}", 110, initial_indent="  ", subsequent_indent="      "))
    return "\n".join(lines)


def format_html(title: str, facts: Facts, findings: Sequence[Finding]) -> str:
    """HTML table for a notebook, and a list of the findings with their advice."""
    items = "".join(
        f"<li><b>{escape(finding.level)}</b>: {escape(finding.what)}{_advice(finding)}</li>" for finding in findings
    )
    return f"{tables.format_html(title, facts)}<ul>{items}</ul>"


def format_counts(counts: Mapping[str, int]) -> str:
    """Names, the most frequent first, with their counts if there are two or more."""
    if len(counts) == 1:
        return next(iter(counts))
    ranked = sorted(counts.items(), key=lambda item: -item[1])
    more = f" and {len(ranked) - MAX_COUNTS:,} more" if len(ranked) > MAX_COUNTS else ""
    return ", ".join(f"{name} ({count:,})" for name, count in ranked[:MAX_COUNTS]) + more


def format_share(rows: int, whole: int) -> str:
    """Number of rows and their percentage."""
    return f"{rows:,} {'row' if rows == 1 else 'rows'} ({rows / whole:.1%})"


def format_duration(seconds: float) -> str:
    """Duration with three digits, in hours, minutes, s or ms."""
    for unit, length in (("hours", 3600), ("minutes", 60), ("s", 1)):
        if seconds >= 2 * length:
            return f"{seconds / length:.3g} {unit}"
    return f"{seconds * 1000:.3g} ms"


def _advice(finding: Finding) -> str:
    return "" if finding.do == NOTHING else f"<br>do: {escape(finding.do)}"
