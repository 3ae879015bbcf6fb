"""A run with its progress bar, its closing table and its exit status."""

from __future__ import annotations

import os
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import click
from tqdm import tqdm

from dask_aesthetic.errors import AestheticError, ArgumentError, ColumnError, InputError, PredictorError, ThresholdError
from dask_aesthetic.job import Plan, Summary, plan_dataset

# What is found before the first row is read is bad usage: exit 2. What happens later is a failure: exit 1.
USAGE = (ArgumentError, ColumnError, InputError, PredictorError, ThresholdError)
QUANTILES = (0.01, 0.25, 0.5, 0.75, 0.99)


def run(
    source: str, output: str, *, threads: int | None, quiet: bool, threshold: str | float, **options: Any
) -> Summary:
    """Plan a run, score, and tell what came out."""
    try:
        plan = plan_dataset(source, output, threshold=_number_or_name(threshold), **options)
    except USAGE as error:
        raise click.UsageError(str(error)) from error
    start = time.perf_counter()
    bar = tqdm(total=plan.rows, unit="row", unit_scale=True, disable=quiet or not sys.stderr.isatty())
    try:
        with bar, ThreadPoolExecutor(threads or os.cpu_count()) as executor:
            summary = plan.run(executor, progress=lambda part: bar.update(part.rows))
    except (AestheticError, OSError) as error:
        raise click.ClickException(str(error)) from error
    if not quiet:
        click.echo(table(summary, plan, time.perf_counter() - start))
    return summary


def table(summary: Summary, plan: Plan, seconds: float) -> str:
    """What a run did, for people to read."""
    spec, cut = plan.spec, plan.spec.threshold
    share = summary.kept / summary.scored if summary.scored else 0.0
    rows = {
        "files": f"{summary.files:,} -> {plan.output}",
        "rows": f"{summary.rows:,}",
        "scored": f"{summary.scored:,}",
        "failed": ", ".join(f"{n:,} {reason}" for reason, n in summary.failed.items()) or "0",
        "kept": f"{summary.kept:,} ({share:.1%} of the scored: {cut.scale} score >= {cut.value:g})",
        "raw score": ", ".join(f"{q:.0%} {summary.quantile(q):.2f}" for q in QUANTILES) + "  (quantiles)",
        "predictor": f"{spec.predictor.info.name}, for {spec.predictor.info.encoder} embeddings",
        "seconds": f"{seconds:.2f} ({summary.rows / max(seconds, 1e-9):,.0f} rows/s)",
    }
    return "\n".join(f"{name:>10}  {value}" for name, value in rows.items())


def _number_or_name(text: str | float) -> str | float:
    try:
        return float(text)
    except ValueError:
        return text
