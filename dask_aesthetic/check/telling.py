"""Checks as text and as tables for people to read."""

from __future__ import annotations

from html import escape
from textwrap import fill
from typing import TYPE_CHECKING

from dask_aesthetic.check.findings import CAUTION, NOTE, NOTHING, Finding
from dask_aesthetic.distribution import ScoreDistribution

if TYPE_CHECKING:
    from dask_aesthetic.check.result import Check

QUANTILES = (0.01, 0.25, 0.5, 0.75, 0.99)
MOST_WIDTHS = 6


def as_text(check: Check) -> str:
    """The check for a terminal."""
    lines = [title(check), *(f"{name:>10}  {value}" for name, value in table(check).items())]
    for finding in check.findings:
        mark = "-" if finding.level == NOTE else "!"
        lines.append(fill(f"{finding.level}: {finding.what}", 110, initial_indent=f"{mark} ", subsequent_indent="  "))
        if finding.do != NOTHING:
            lines.append(fill(f"do: {finding.do}", 110, initial_indent="  ", subsequent_indent="      "))
    return "\n".join(lines)


def as_html(check: Check) -> str:
    """The check for a notebook."""
    cells = "".join(f"<tr><th>{escape(name)}</th><td>{escape(text)}</td></tr>" for name, text in table(check).items())
    items = "".join(
        f"<li><b>{escape(finding.level)}</b>: {escape(finding.what)}{_do(finding)}</li>" for finding in check.findings
    )
    return f"<table><caption>{escape(title(check))}</caption>{cells}</table><ul>{items}</ul>"


def title(check: Check) -> str:
    """What was checked, and how it came out."""
    cautions = sum(finding.level == CAUTION for finding in check.findings)
    counted = f", with {cautions} caution{'s' if cautions > 1 else ''}" if cautions else ""
    verdict = f"usable{counted}" if check.usable else "not usable"
    return f"Check of {check.embedding_column!r} for {check.predictor}: {verdict}"


def table(check: Check) -> dict[str, str]:
    """What there is to tell, by name."""
    about = "about " if check.rows_estimated else ""
    sample = f", of which {check.looked_at:,} were looked at" if check.sampled else ""
    rows = {"rows": f"{about}{check.rows:,}{sample}"}
    if not check.storage:
        return rows
    rows["column"] = f"{_counted(check.storage)} of {_counted(check.dtypes) or 'nothing'}"
    rows["copies"] = _copies(check)
    rows["widths"] = _counted({f"{width:,}": count for width, count in check.widths.items()}) or "none"
    odd = {name: getattr(check, name) for name in ("nulls", "empty", "not_lists", "not_finite", "zero")}
    odd["of nulls alone"] = check.missing - check.nulls - check.empty if check.status else 0
    rows["odd rows"] = (
        ", ".join(f"{count:,} {name.replace('_', ' ')}" for name, count in odd.items() if count) or "none"
    )
    rows["repeated"] = f"{check.repeated:.1%}"
    if check.norm_median is not None:
        ends = f"{check.norm_min:.4g} to {check.norm_max:.4g}, median {check.norm_median:.4g}"
        rows["norms"] = f"{ends}: {'' if check.normalized else 'not '}normalized"
    if check.ok:
        rows["scores"] = ", ".join(
            f"{name} {score:.2f}" for name, score in quantiles(check.scores).items() if score is not None
        )
        outside = check.below + check.above
        rows["scores"] += f"; {outside:,} outside 1..10"
    if check.ok and check.seconds is not None:
        rows["time"] = (
            f"about {_duration(check.seconds)} to score {about}{check.rows:,} rows on one core, reading aside"
        )
    return rows


def quantiles(scores: ScoreDistribution) -> dict[str, float | None]:
    """Ends and quantiles of scores by name; None where there are no scores."""
    found = {"min": scores.min, **{f"{q:.0%}": scores.quantile(q) for q in QUANTILES}, "max": scores.max}
    return {name: score if scores.count else None for name, score in found.items()}


def _do(finding: Finding) -> str:
    return "" if finding.do == NOTHING else f"<br>do: {escape(finding.do)}"


def _copies(check: Check) -> str:
    if not check.zero_copy:
        return "all rows, block by block"
    around = " but around rows of another width" if len(check.widths) > 1 else ""
    converted = "" if set(check.dtypes) == {"float32"} else ", converted to float32 block by block"
    return f"none{around}: read where they lie{converted}"


def _counted(counts: dict[str, int]) -> str:
    """Names, the most frequent first, with their counts where there are several."""
    if len(counts) == 1:
        return next(iter(counts))
    ranked = sorted(counts.items(), key=lambda item: -item[1])
    more = f" and {len(ranked) - MOST_WIDTHS:,} more" if len(ranked) > MOST_WIDTHS else ""
    return ", ".join(f"{name} ({count:,})" for name, count in ranked[:MOST_WIDTHS]) + more


def _duration(seconds: float) -> str:
    for unit, length in (("hours", 3600), ("minutes", 60), ("s", 1), ("ms", 1e-3)):
        if seconds >= 2 * length or unit == "ms":
            return f"{seconds / length:.3g} {unit}"
    raise AssertionError
