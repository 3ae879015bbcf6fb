"""Scoring job of ``dask-aesthetic score``: plan, cluster, run, summary."""

from __future__ import annotations

import json
import logging
import math
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import click
from dask.system import CPU_COUNT

from dask_aesthetic.cli.console import Progress, run_errors, stop_on_signal, usage_errors
from dask_aesthetic.cluster import closed_in_time, local_cluster, usable_gpus
from dask_aesthetic.jobs import JobSummary, Pool, ScorePlan, plan_dataset, run
from dask_aesthetic.jobs.estimate import estimate
from dask_aesthetic.jobs.image_scoring import ImageSettings
from dask_aesthetic.jobs.state import FAILED

if TYPE_CHECKING:
    from distributed import Client

QUANTILES = (0.01, 0.25, 0.5, 0.75, 0.99)


def run_job(
    source: str,
    output: str,
    *,
    threads: int | None = None,
    scheduler: str | None = None,
    workers: int | None = None,
    max_failed: float | None = None,
    allow_unusable: bool = False,
    dry_run: bool = False,
    as_json: bool = False,
    quiet: bool = False,
    **options: Any,
) -> None:
    """Plan and run a scoring job, and print its summary."""
    with ExitStack() as stack:
        # A job over images is planned for the devices of its workers.
        remote = stack.enter_context(_connected(scheduler)) if scheduler and options.get("embed") else None
        with usage_errors():
            plan = plan_dataset(source, output, client=remote, allow_unusable=allow_unusable, **options)
        if dry_run:
            click.echo(plan.table())
            click.echo(_format_estimate(plan, threads))
            return
        start = time.perf_counter()
        summary, ready = _run(plan, remote, threads, scheduler, workers, max_failed, quiet)
        starting, seconds = ready - start, time.perf_counter() - ready
    if as_json:
        click.echo(_format_json(summary, plan, seconds, starting))
    elif not quiet:
        click.echo(_format_table(summary, plan, seconds, starting))


def _run(
    plan: ScorePlan,
    remote: Client | None,
    threads: int | None,
    scheduler: str | None,
    workers: int | None,
    max_failed: float | None,
    quiet: bool,
) -> tuple[JobSummary, float]:
    """Summary, and the time at which workers were there."""
    with (
        run_errors(),
        _client(plan, remote, threads, scheduler, workers) as client,
        Pool(client, threads or plan.settings.threads) as pool,
        Progress(plan, quiet) as progress,
        stop_on_signal(progress) as signals,
    ):
        ready = time.perf_counter()
        return (
            run(plan, pool, max_failed=max_failed, progress=progress.done, stop=lambda: bool(signals)),
            ready,
        )


@contextmanager
def _client(
    plan: ScorePlan, remote: Client | None, threads: int | None, scheduler: str | None, workers: int | None
) -> Iterator[Client | None]:
    """Client of the requested scheduler, or of a cluster that this run owns; None to score in threads."""
    embeds = isinstance(plan.settings, ImageSettings)
    if threads is not None or not plan.todo:
        yield None
        return
    # Threads keep all cores busy, and share what they load. One process can keep a GPU busy, too.
    if scheduler is None and workers is None and not (embeds and usable_gpus() > 1):
        yield None
        return
    if remote is not None:
        yield remote
        return
    if scheduler is not None:
        with _connected(scheduler) as client:
            yield client
        return
    from distributed import Client

    # Errors return as values; beside them, workers only log that they lose each other while the cluster closes.
    cluster = local_cluster(
        "auto" if embeds else "cpu",
        n_workers=workers,
        preload=["dask_aesthetic.cli.ignore_sigint"],
        silence_logs=logging.CRITICAL,
    )
    with closed_in_time(cluster), Client(cluster, set_as_default=False) as client:
        yield client


@contextmanager
def _connected(scheduler: str) -> Iterator[Client]:
    """Client of the scheduler at an address."""
    from distributed import Client

    try:
        client = Client(scheduler, set_as_default=False, timeout=30)
    except (OSError, ValueError) as error:
        raise click.ClickException(f"expected a Dask scheduler at {scheduler}, got none: {error}") from error
    with client:
        click.echo(f"scheduler {scheduler} (dashboard {client.dashboard_link})", err=True)
        yield client


def _format_estimate(plan: ScorePlan, threads: int | None) -> str:
    """What is not done takes, by the first rows."""
    found = estimate(plan)
    text = f"to read: up to {found.bytes / 1e9:,.2f} GB"
    if not found.rate:
        return text
    count = threads or plan.settings.threads or CPU_COUNT
    left = timedelta(seconds=math.ceil((plan.rows - plan.rows_done) / (found.rate * count)))
    return f"{text}; about {left} in {count} threads, at {found.rate:,.0f} rows/s in one (timed on the first rows)"


def _format_table(summary: JobSummary, plan: ScorePlan, seconds: float, starting: float) -> str:
    spec, threshold = plan.settings.spec, plan.settings.spec.threshold
    share = summary.kept / summary.scored if summary.scored else 0.0
    now = summary.rows - plan.rows_done
    failed = ", ".join(f"{n:,} {reason}" for reason, n in summary.failed.items())
    rows = {
        "part": f"{plan.store.part}: the same command without --part completes the job" if plan.is_part else "",
        "shards": f"{summary.files:,} -> {plan.store.url}",
        "before": f"{len(plan.done):,} shards, {plan.rows_done:,} rows done by earlier runs" if plan.done else "",
        "rows": f"{summary.rows:,}",
        "scored": f"{summary.scored:,}",
        "failed": f"{failed} (listed in {FAILED})" if failed else "0",
        "kept": f"{summary.kept:,} ({share:.1%} of the scored: {threshold.scale} score >= {threshold.value:g})",
        "raw score": ", ".join(f"{q:.0%} {summary.quantile(q):.2f}" for q in QUANTILES) + "  (quantiles)",
        "in place": f"{summary.in_place:,} rows scored where they lie in Parquet pages" if summary.in_place else "",
        "predictor": f"{spec.predictor.info.name}, for {spec.predictor.info.encoder} embeddings",
        "seconds": f"{seconds:.2f} ({now / max(seconds, 1e-9):,.0f} rows/s)"
        + (f", after {starting:.1f} for the start of workers" if starting >= 0.1 else ""),
    }
    return "\n".join(f"{name:>10}  {value}" for name, value in rows.items() if value)


def _format_json(summary: JobSummary, plan: ScorePlan, seconds: float, starting: float) -> str:
    return json.dumps(
        {
            "output": plan.store.url,
            "shards": summary.files,
            "shards_done_before": len(plan.done),
            "rows": summary.rows,
            "scored": summary.scored,
            "failed": summary.failed,
            "kept": summary.kept,
            "in_place": summary.in_place,
            "quantiles": {str(q): summary.quantile(q) for q in QUANTILES} if summary.scored else {},
            "notes": list(plan.notes),
            "seconds": round(seconds, 3),
            "seconds_to_start": round(starting, 3),
            "rows_per_second": round((summary.rows - plan.rows_done) / max(seconds, 1e-9)),
            "settings": plan.settings.as_config(),
        }
    )
