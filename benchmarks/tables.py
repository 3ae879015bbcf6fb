"""Results as Markdown."""

from __future__ import annotations

from typing import Any

import pandas as pd
from harness import medians
from targets import TARGETS

TITLES = {
    "kernel": "Scoring in memory",
    "verdicts": "Safety, prompts and similarity",
    "columns": "Parquet files and readers",
    "pipeline": "From Parquet files to scores",
    "disk": "From a disk, not the page cache",
    "gil": "The GIL, and what it leaves for more cores",
    "peers": "Peers, by their own code",
    "scale": "More rows, workers and shards",
    "crowd": "A hundred workers, and a thousand",
    "store": "Object stores",
    "import": "Importing",
    "gpu": "On a GPU",
}


def table(rows: pd.DataFrame) -> str:
    """Markdown table of a case: medians, and the range of single rounds."""
    summary = medians(rows)
    first = summary["way"].iloc[0]
    peaks = rows.dropna(subset=["peak"]).set_index("way")["peak"] if "peak" in rows else {}
    unit = _unit(summary["rows"].max())
    head = ["", "rows", unit[0], f"time per row over “{first}”", *(["peak memory"] if len(peaks) else [])]
    lines = [
        f"**{summary['case'].iloc[0]}** ({summary['rounds'].iloc[0]} rounds)",
        "",
        _row(head),
        _row(["---"] * len(head)),
    ]
    for one in summary.itertuples():
        cells = [one.way, f"{one.rows:,.0f}", unit[1](one), f"{one.ratio:.2f} ({one.low:.2f} to {one.high:.2f})"]
        if len(peaks):
            cells.append(f"{peaks[one.way] / 2**20:,.0f} MiB")
        lines.append(_row(cells))
    return "\n".join(lines) + "\n"


def _unit(rows: int):
    """Unit of speed and its format: milliseconds where rows mean nothing."""
    if rows < 1000:
        return "ms each", lambda one: f"{1e3 * one.seconds / one.rows:,.1f}"
    return "rows/s", lambda one: f"{one.rate:,.0f}"


def report(results: dict[str, dict[str, Any]]) -> str:
    """Markdown page of all results."""
    suites = {name: pd.DataFrame(summary["rows"]) for name, summary in results.items()}
    every = pd.concat(suites.values(), ignore_index=True)
    lines = [
        "# Results",
        "",
        "Printed by `make bench`, `make bench-peers` and `make bench-gpu` from results.json; two such "
        "files are compared by `python benchmarks/compare.py`. Ways of a case are run in turn, round by round; ratios "
        "are taken within a round; the tables show the median and the range of all rounds. Everything is read from the "
        "page cache. Peak memory is that of a process that does nothing else.",
        "",
        "## Targets",
        "",
        _row(["", "at most", "measured", "reached"]),
        _row(["---"] * 4),
    ]
    for target in TARGETS:
        found = target.reached(every)
        if found:
            median, low, high = found
            verdict = "yes" if median <= target.limit else "no"
            lines.append(_row([target.what, f"{target.limit:.2f}", f"{median:.2f} ({low:.2f} to {high:.2f})", verdict]))
    lines += _profile(every)
    for name, title in TITLES.items():
        if name not in suites:
            continue
        lines += ["", f"## {title}", "", results[name]["machine"], ""]
        lines += [table(rows) for _, rows in suites[name].groupby("case", sort=False)]
        lines += _peers(results[name].get("peers")) + _crowd(results[name].get("crowd"))
        lines += _gil(results[name].get("gil"))
    return "\n".join(lines).rstrip() + "\n"


def _profile(rows: pd.DataFrame) -> list[str]:
    """Text on where the time of scoring goes."""
    summary = medians(rows).set_index(["case", "way"])["ratio"]
    lines = []
    for threads in ("1 thread", "2 threads"):
        heads = summary.get(f"several heads, {threads}")
        if heads is not None:
            each = ", ".join(f"{way} {ratio:.2f}" for way, ratio in heads.drop("numpy max").items())
            lines += ["", f"In memory, {threads}, several heads in one pass over the rows: {each} of the bound."]
    case = summary.get("two threads")
    if case is not None:
        lines += [
            "",
            "From Parquet files, two threads: reading and scoring without a graph takes "
            f"{case['read and score, no graph']:.2f} of reading alone: the cost of scoring. `read_and_score` takes "
            f"{case['read_and_score']:.2f}: the rest is the graph, built and executed, the keys, and pandas frames of "
            f"it all. A job, which also takes a digest of what it reads and writes durably, takes {case['job']:.2f}.",
        ]
    return lines


def _peers(summary: dict[str, Any] | None) -> list[str]:
    if summary is None:
        return []
    each = [f"{one['version']} by {one['difference']:.0e}" for one in summary.values()]
    return [f"Scores differ from ours at most: {', '.join(each[1:])}.", ""]


def _crowd(summary: dict[str, Any] | None) -> list[str]:
    if summary is None:
        return []
    head = ["workers", "rows per file", "share of their time at work", "with the plan before", "rows/s"]
    lines = [
        f"**At work**: workers that sleep {1e3 * summary['shard']:.1f} ms per 25,000 rows, as long as one scores them, "
        "and the driver, which hands out tasks, collects markers and writes the manifest",
        "",
        _row(head),
        _row(["---"] * len(head)),
    ]
    names = ("workers", "rows_per_file", "running", "with_plan", "rows_per_second")
    return [*lines, *(_row([f"{one[name]:,}" for name in names]) for one in summary["runs"]), ""]


def _gil(summary: list[dict[str, Any]] | None) -> list[str]:
    if summary is None:
        return []
    head = ["", "s of the GIL per million rows", "s by the clock", "rows/s that the GIL allows", "rows/s on 16 cores"]
    lines = ["**The GIL**, and 16 cores as fast as these two, until it is never free", "", _row(head)]
    lines.append(_row(["---"] * len(head)))
    for one in summary:
        name = f"{one['case'].rpartition(', ')[2]}, {one['way']}"
        lines.append(_row([name, f"{one['gil']:.3f}", f"{one['wall']:.2f}", f"{one['most']:,}", f"{one['cores']:,}"]))
    return [*lines, ""]


def _row(cells: list[str]) -> str:
    return f"| {' | '.join(cells)} |"
