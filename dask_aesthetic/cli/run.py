"""A run from the command line, and who scores."""

from __future__ import annotations

import logging
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import click

from dask_aesthetic.cli.ending import planning, stopping, working
from dask_aesthetic.cli.progress import Progress
from dask_aesthetic.cli.summary import as_json, as_table
from dask_aesthetic.cluster import closed_in_time, local_cluster, usable_gpus
from dask_aesthetic.job import JobSummary, ScorePlan, open_executor, plan_dataset
from dask_aesthetic.job import run as score_plan
from dask_aesthetic.job.images import ImageSettings

FEW = 1_000_000  # Rows that are scored before workers have started.


def run(
    source: str,
    output: str,
    *,
    threads: int | None = None,
    scheduler: str | None = None,
    workers: int | None = None,
    max_failed: float | None = None,
    allow_unusable: bool = False,
    dry_run: bool = False,
    json: bool = False,
    quiet: bool = False,
    **options: Any,
) -> None:
    """ScorePlan a run, score, and tell what came out."""
    with planning():
        plan = plan_dataset(source, output, allow_unusable=allow_unusable, **options)
    if dry_run:
        click.echo(plan.table())
        return
    start = time.perf_counter()
    with (
        working(),
        _client(plan, threads, scheduler, workers) as client,
        open_executor(client, threads or plan.settings.threads) as executor,
        Progress(plan, quiet) as progress,
        stopping(progress) as stop,
    ):
        summary = score_plan(
            plan,
            executor,
            max_failed=max_failed,
            allow_unusable=allow_unusable,
            progress=progress.done,
            stop=lambda: bool(stop),
        )
    _tell(summary, plan, time.perf_counter() - start, json, quiet)


def _tell(summary: JobSummary, plan: ScorePlan, seconds: float, json: bool, quiet: bool) -> None:
    if json:
        click.echo(as_json(summary, plan, seconds))
    elif not quiet:
        click.echo(as_table(summary, plan, seconds))


@contextmanager
def _client(plan: ScorePlan, threads: int | None, scheduler: str | None, workers: int | None) -> Iterator[Any]:
    """A client of the cluster that scores: the one asked for, or one that is this run's own; None for threads."""
    embeds = isinstance(plan.settings, ImageSettings)
    # An encoder takes a GPU, or all cores, from one process.
    small = usable_gpus() < 2 if embeds else plan.rows - plan.rows_done < FEW
    if threads is not None or not plan.todo or (small and scheduler is None and workers is None):
        yield None
        return
    from distributed import Client

    if scheduler is not None:
        try:
            client = Client(scheduler, set_as_default=False, timeout=30)
        except (OSError, ValueError) as error:
            raise click.ClickException(f"expected a Dask scheduler at {scheduler}, got none: {error}") from error
        with client:
            click.echo(f"scheduler {scheduler} (dashboard {client.dashboard_link})", err=True)
            yield client
        return
    # What fails comes back as a value; what workers log besides is that they lose each other while the cluster closes.
    cluster = local_cluster(
        "auto" if embeds else "cpu",
        n_workers=workers,
        preload=["dask_aesthetic.cli.deaf"],
        silence_logs=logging.CRITICAL,
    )
    with closed_in_time(cluster), Client(cluster, set_as_default=False) as client:
        yield client
