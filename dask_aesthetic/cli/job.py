"""Scoring job of ``dask-aesthetic score``: plan, cluster, run, summary."""

from __future__ import annotations

import json
import logging
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING, Any

import click

from dask_aesthetic.cli.console import Progress, run_errors, stop_on_signal, usage_errors
from dask_aesthetic.cluster import closed_in_time, local_cluster, usable_gpus
from dask_aesthetic.job import JobSummary, ScorePlan, open_executor, plan_dataset, run
from dask_aesthetic.job.image_scoring import ImageSettings
from dask_aesthetic.job.markers import FAILED

if TYPE_CHECKING:
    from distributed import Client

FEW = 1_000_000  # Rows that threads score before the workers of a cluster have started.
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
            return
        start = time.perf_counter()
        summary = _run(plan, remote, threads, scheduler, workers, max_failed, allow_unusable, quiet)
        seconds = time.perf_counter() - start
    if as_json:
        click.echo(_format_json(summary, plan, seconds))
    elif not quiet:
        click.echo(_format_table(summary, plan, seconds))


def _run(
    plan: ScorePlan,
    remote: Client | None,
    threads: int | None,
    scheduler: str | None,
    workers: int | None,
    max_failed: float | None,
    allow_unusable: bool,
    quiet: bool,
) -> JobSummary:
    with (
        run_errors(),
        _client(plan, remote, threads, scheduler, workers) as client,
        open_executor(client, threads or plan.settings.threads) as executor,
        Progress(plan, quiet) as progress,
        stop_on_signal(progress) as signals,
    ):
        return run(
            plan,
            executor,
            max_failed=max_failed,
            allow_unusable=allow_unusable,
            progress=progress.done,
            stop=lambda: bool(signals),
        )


@contextmanager
def _client(
    plan: ScorePlan, remote: Client | None, threads: int | None, scheduler: str | None, workers: int | None
) -> Iterator[Client | None]:
    """Client of the requested scheduler, or of a cluster that this run owns; None to score in threads."""
    embeds = isinstance(plan.settings, ImageSettings)
    # One process can keep a GPU, or all cores, busy with an encoder.
    small = usable_gpus() < 2 if embeds else plan.rows - plan.rows_done < FEW
    if threads is not None or not plan.todo or (small and scheduler is None and workers is None):
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


def _format_table(summary: JobSummary, plan: ScorePlan, seconds: float) -> str:
    spec, threshold = plan.settings.spec, plan.settings.spec.threshold
    share = summary.kept / summary.scored if summary.scored else 0.0
    now = summary.rows - plan.rows_done
    failed = ", ".join(f"{n:,} {reason}" for reason, n in summary.failed.items())
    rows = {
        "shards": f"{summary.files:,} -> {plan.store.url}",
        "before": f"{len(plan.done):,} shards, {plan.rows_done:,} rows done by earlier runs" if plan.done else "",
        "rows": f"{summary.rows:,}",
        "scored": f"{summary.scored:,}",
        "failed": f"{failed} (listed in {FAILED})" if failed else "0",
        "kept": f"{summary.kept:,} ({share:.1%} of the scored: {threshold.scale} score >= {threshold.value:g})",
        "raw score": ", ".join(f"{q:.0%} {summary.quantile(q):.2f}" for q in QUANTILES) + "  (quantiles)",
        "in place": f"{summary.in_place:,} rows scored where they lie in Parquet pages" if summary.in_place else "",
        "predictor": f"{spec.predictor.info.name}, for {spec.predictor.info.encoder} embeddings",
        "seconds": f"{seconds:.2f} ({now / max(seconds, 1e-9):,.0f} rows/s)",
    }
    return "\n".join(f"{name:>10}  {value}" for name, value in rows.items() if value)


def _format_json(summary: JobSummary, plan: ScorePlan, seconds: float) -> str:
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
            "rows_per_second": round((summary.rows - plan.rows_done) / max(seconds, 1e-9)),
            "settings": plan.settings.as_config(),
        }
    )
