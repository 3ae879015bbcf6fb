"""Scoring job of ``dask-aesthetic score``: plan, cluster, run, summary."""

from __future__ import annotations

import json
import logging
import math
import os
import signal
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass, replace
from datetime import timedelta
from functools import partial
from multiprocessing import resource_tracker
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
from dask.system import CPU_COUNT

from dask_aesthetic.choices import Activation, OutputActivation
from dask_aesthetic.cli.console import run_errors, stop_on_signal, usage_errors
from dask_aesthetic.cli.options import load_with
from dask_aesthetic.cli.progress import Counts, Progress
from dask_aesthetic.cluster import closed_in_time, local_cluster, usable_gpus
from dask_aesthetic.defaults import PREDICTOR, WORKER_TIMEOUT
from dask_aesthetic.distribution import QUANTILES
from dask_aesthetic.jobs import JobSummary, Pool, ScorePlan, plan_dataset, run
from dask_aesthetic.jobs.estimate import estimate
from dask_aesthetic.jobs.image_scoring import ImageSettings
from dask_aesthetic.jobs.runner import Timing, failures_allowed
from dask_aesthetic.jobs.settings import ScoreSettings
from dask_aesthetic.jobs.state import FAILED
from dask_aesthetic.score_spec import ScoreSpec
from dask_aesthetic.tables import format_facts

if TYPE_CHECKING:
    from distributed import Client


def run_job(
    source: str,
    output: str,
    *,
    threads: int | None = None,
    scheduler: str | None = None,
    workers: int | None = None,
    worker_timeout: float = WORKER_TIMEOUT,
    max_failed: float | None = None,
    allow_unusable: bool = False,
    dry_run: bool = False,
    as_json: bool = False,
    progress: str = "auto",
    quiet: bool = False,
    predictor: Sequence[str] = (PREDICTOR,),
    activation: Activation | None = None,
    input_scale: float | None = None,
    output_activation: OutputActivation | None = None,
    **options: Any,
) -> None:
    """Plan and run a scoring job, and print its summary."""
    with ExitStack() as stack:
        # Workers read the inputs' footers, and a job over images is planned for their devices.
        remote = stack.enter_context(_connected(scheduler)) if scheduler is not None else None
        with usage_errors():
            failures_allowed(max_failed, 0)
            loaded = load_with(predictor, activation, input_scale, output_activation)
            plan = plan_dataset(
                source,
                output,
                client=remote,
                worker_timeout=worker_timeout,
                allow_unusable=allow_unusable,
                predictor=loaded,
                **options,
            )
        if dry_run:
            _print_plan(plan, threads, as_json)
            return
        times = _Times()
        summary = _run(plan, remote, threads, workers, worker_timeout, max_failed, progress, quiet, times)
    if as_json:
        click.echo(_format_json(summary, plan, times))
    elif not quiet:
        click.echo(_format_table(summary, plan, times))


@dataclass
class _Times:
    """Seconds that workers took to start, 0 without any, and seconds of the run itself."""

    starting: float = 0.0
    running: float = 0.0

    def rate(self, rows: int) -> int | None:
        """Rows of this run per second; None if it had none to score."""
        return round(rows / max(self.running, 1e-9)) if rows else None


def _run(
    plan: ScorePlan,
    remote: Client | None,
    threads: int | None,
    workers: int | None,
    worker_timeout: float,
    max_failed: float | None,
    progress: str,
    quiet: bool,
    times: _Times,
) -> JobSummary:
    begin = time.perf_counter()
    with (
        run_errors(),
        _client(plan, remote, threads, workers, quiet or progress == "json") as client,
        Pool(client, threads or plan.settings.threads) as pool,
        Progress(Counts.of("score", plan), progress, quiet) as shown,
        stop_on_signal(shown) as stop,
    ):
        started = time.perf_counter()
        times.starting = started - begin if client is not None else 0.0
        try:
            return run(
                replace(plan, encoder_caution=None) if quiet else plan,
                pool,
                max_failed=max_failed,
                progress=shown.done,
                stop=stop,
                timing=Timing(worker_timeout=worker_timeout),
            )
        finally:
            times.running = time.perf_counter() - started


@contextmanager
def _client(
    plan: ScorePlan,
    remote: Client | None,
    threads: int | None,
    workers: int | None,
    quiet: bool,
) -> Iterator[Client | None]:
    """The given client, or one of a cluster that this run owns; None to score in threads."""
    embeds = isinstance(plan.settings, ImageSettings)
    if threads is not None or not plan.todo:
        yield None
        return
    if remote is not None:
        yield remote
        return
    # Threads keep all cores busy, and share what they load. One process keeps a GPU busy, too.
    if workers is None and not (embeds and usable_gpus(embed=True) > 1):
        yield None
        return
    from distributed import Client

    if not quiet:
        less = "" if embeds else "; threads, the default, take less CPU time"
        click.echo(f"starting a local cluster, which takes some seconds{less}", err=True)
    # Errors return as values; beside them, workers only log that they lose each other while the cluster closes.
    cluster = _without_sigint(
        partial(
            local_cluster,
            "auto" if embeds else "cpu",
            n_workers=workers,
            embed=embeds,
            preload=["dask_aesthetic.cli.ignore_sigint"],
            silence_logs=logging.CRITICAL,
        )
    )
    with closed_in_time(cluster), Client(cluster, set_as_default=False) as client:
        yield client


def _start_resource_tracker() -> None:
    """Start the process that removes what a process that is gone has left, as is its purpose, without its warning."""
    before = os.environ.get("PYTHONWARNINGS")
    os.environ["PYTHONWARNINGS"] = ",".join([*([before] if before else []), "ignore:resource_tracker"])
    try:
        resource_tracker.ensure_running()
    finally:
        if before is None:
            del os.environ["PYTHONWARNINGS"]
        else:
            os.environ["PYTHONWARNINGS"] = before


def _without_sigint(make: Callable[[], Any]) -> Any:
    """Result of a function that starts processes, which a Ctrl-C on the terminal does not reach.

    They inherit the signal mask of the thread that starts them. This thread waits, and does get signals.
    """

    def start() -> Any:
        if hasattr(signal, "pthread_sigmask"):  # Not on Windows.
            _start_resource_tracker()  # Its start would unblock the signal.
            signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
        return make()

    with ThreadPoolExecutor(1) as thread:
        return thread.submit(start).result()


@contextmanager
def _connected(scheduler: str) -> Iterator[Client]:
    """Client of the scheduler at an address, or of that which a scheduler file names."""
    from distributed import Client

    try:
        client = Client(_find_address(scheduler), set_as_default=False, timeout=30)
    except (OSError, ValueError) as error:
        kind = click.UsageError if isinstance(error, ValueError) else click.ClickException
        raise kind(f"expected a Dask scheduler at {scheduler}, got none: {error}") from error
    with client:
        click.echo(f"scheduler {scheduler} (dashboard {client.dashboard_link})", err=True)
        yield client


def _find_address(scheduler: str) -> str:
    """The address of a scheduler, which may stand in a file as ``dask scheduler --scheduler-file`` writes it.

    A client that is made with another text ends a minute later, by an error of its own.
    """
    from distributed.comm.addressing import parse_address, parse_host_port

    if Path(scheduler).is_file():
        try:
            scheduler = str(json.loads(Path(scheduler).read_bytes())["address"])
        except (LookupError, TypeError) as error:
            raise ValueError("the file names no address") from error
    try:
        parse_host_port(parse_address(scheduler)[1])
    except ValueError as error:
        raise ValueError(f"neither a file nor an address as tcp://HOST:PORT ({error})") from error
    return scheduler


def _print_plan(plan: ScorePlan, threads: int | None, as_json: bool) -> None:
    """Print the plan, and what it takes by the first rows."""
    found = estimate(plan)
    # Further threads do not embed faster: one has all cores, or the GPU, to itself.
    count = 1 if isinstance(plan.settings, ImageSettings) else threads or CPU_COUNT
    seconds = math.ceil((plan.rows - plan.rows_done) / (found.rate * count)) if found.rate else None
    if as_json:
        takes = {"bytes": found.bytes, "seconds": seconds, "threads": count}
        click.echo(json.dumps({**plan.to_dict(), "estimate": takes}))
        return
    text = f"to read: up to {found.bytes / 1e9:,.2f} GB"
    if seconds is not None:
        text += (
            f"; about {timedelta(seconds=seconds)} in {count} threads, at {found.rate:,.0f} rows/s in one (timed on "
            "the first rows)"
        )
    click.echo(f"{plan.table()}\n{text}")


def _format_table(summary: JobSummary, plan: ScorePlan, times: _Times) -> str:
    spec = plan.settings.spec
    facts = {**summary.facts(spec.score_column), "shards": f"{summary.files:,} -> {plan.store.url}"}
    encoder = _encoder(plan.settings)
    names = ", ".join(predictor.info.name for predictor in spec.predictors)
    rate = times.rate(summary.rows - plan.rows_done)
    starting = f", after {times.starting:.2f} to start workers" if times.starting else ""
    rows = {
        "part": f"{plan.store.part}: the same command without --part completes the job" if plan.is_part else "",
        "shards": facts["shards"],
        "before": f"{len(plan.done):,} shards, {plan.rows_done:,} rows done by earlier runs" if plan.done else "",
        **facts,
        "failed": f"{facts['failed']} (listed in {FAILED})" if summary.failed else "0",
        "kept": _format_kept(summary, spec),
        "predictor": names + ("" if encoder else f", for {spec.predictor.info.encoder} embeddings"),
        "encoder": encoder,
        "seconds": f"{times.running:.2f}" + (f" ({rate:,} rows/s)" if rate is not None else "") + starting,
    }
    return format_facts(rows, 10)


def _format_kept(summary: JobSummary, spec: ScoreSpec) -> str:
    if summary.kept is None or not spec.has_keep:
        return f"no column {spec.keep_column!r}: {spec.why_no_keep}"
    share = summary.kept / summary.scored if summary.scored else 0.0
    return f"{summary.kept:,} ({share:.1%} of the scored: {spec.condition})"


def _encoder(settings: ScoreSettings) -> str:
    """Model and weights that embedded a job's images; empty for a job over embeddings."""
    if not isinstance(settings, ImageSettings):
        return ""
    encoder = settings.embed.encoder
    weights = f"{encoder.pretrained}, {settings.weights}" if encoder.kind == "file" else settings.weights
    return f"{encoder.model} with {weights}, in {encoder.precision}"


def _format_json(summary: JobSummary, plan: ScorePlan, times: _Times) -> str:
    more_quantiles = {
        name: {str(q): one.quantile(q) for q in QUANTILES} if one.count else {} for name, one in summary.others.items()
    }
    return json.dumps(
        {
            "output": plan.store.url,
            "shards": summary.files,
            "shards_done_before": len(plan.done),
            "rows": summary.rows,
            "scored": summary.scored,
            "failed": summary.failed,
            **({"text_failed": summary.text_failed} if plan.settings.texts is not None else {}),
            "kept": summary.kept,
            **({"rule_counts": asdict(summary.rule_counts)} if summary.rule_counts is not None else {}),
            "in_place": summary.in_place,
            "quantiles": {str(q): summary.quantile(q) for q in QUANTILES} if summary.scored else {},
            **({"more_quantiles": more_quantiles} if more_quantiles else {}),
            "notes": plan.cautions,
            "seconds": round(times.running, 3),
            "seconds_to_start": round(times.starting, 3),
            "rows_per_second": times.rate(summary.rows - plan.rows_done),
            "settings": plan.settings.as_config(),
        }
    )
