"""``dask-aesthetic select SCORES OUTPUT``."""

from __future__ import annotations

from typing import Any

import click

from dask_aesthetic.cli import options


@click.command("select")
@click.argument("scores")
@click.argument("output")
@click.option(
    "--threshold",
    default=None,
    metavar="NUMBER|PRESET",
    show_default="that of the run",
    help="Lowest score kept: a number, or permissive, standard, high, premium.",
)
@options.scale_of_run("For files that do not name it: raw: about 1..10; unit: raw / 10.")
@options.keep_if
@options.override_column
@click.option("--top", type=click.IntRange(min=1), default=None, metavar="N", help="Keep the N best rows.")
@click.option(
    "--keep-fraction", type=float, default=None, metavar="SHARE", help="Keep this share of the scored rows, the best."
)
@click.option("--by", default=None, metavar="COLUMN", help="Column of groups: --top or --keep-fraction of each.")
@click.option("--exclude", default=None, metavar="IDS", help="Parquet files of ids: never keep these rows.")
@click.option("--include", default=None, metavar="IDS", help="Parquet files of ids: keep these rows, too.")
@click.option("--id-column", default=None, metavar="NAME", show_default="key, uid, url, hash, id or image_path")
@click.option(
    "--drop-duplicates", is_flag=True, help="Of rows with the same embedding_hash keep the one with the lowest id."
)
@click.option("--keep-only", is_flag=True, help="Write only the rows to keep.")
@click.option(
    "--storage-options", callback=options.parse_json, metavar="JSON", help="For fsspec, where a path is a URL."
)
@click.option("--threads", type=click.IntRange(min=1), default=None, help="Threads that select; one per core.")
@options.allow_unfinished
@options.overwrite
@click.option("--dry-run", is_flag=True, help="List the files, and what is done; write nothing.")
@options.json_summary
@options.progress
@options.quiet
def command(
    scores: str,
    output: str,
    threshold: str | None,
    threads: int | None,
    dry_run: bool,
    as_json: bool,
    progress: str,
    quiet: bool,
    **settings: Any,
) -> None:
    """Select again from SCORES, the output of a scoring job: the same rows with another keep, in OUTPUT.

    Nothing is scored again. Of equal scores --top keeps the lower id. The same command resumes a stopped run. Exit
    status: 0 done, 1 the run failed, 2 bad usage, 130 and 143 stopped by Ctrl-C and SIGTERM.
    """
    from dask_aesthetic.cli.console import cautions, run_or_list, usage_errors
    from dask_aesthetic.select import plan_select, summary

    lowest = None if threshold is None else options.parse_threshold(threshold)
    with usage_errors(), cautions():
        plan = plan_select(scores, output, threshold=lowest, threads=threads, **settings)
    run_or_list(
        plan,
        summary,
        command="select",
        threads=threads,
        dry_run=dry_run,
        as_json=as_json,
        progress=progress,
        quiet=quiet,
    )
