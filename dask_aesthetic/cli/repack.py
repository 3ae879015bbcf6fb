"""``dask-aesthetic repack INPUT OUTPUT``."""

from __future__ import annotations

from typing import Any

import click

from dask_aesthetic.cli import options
from dask_aesthetic.defaults import LAYOUTS, PACKED


@click.command("repack")
@click.argument("source", metavar="INPUT")
@click.argument("output")
@options.embedding_column
@click.option(
    "--layout",
    type=click.Choice(LAYOUTS),
    default=PACKED,
    help="packed: fixed-size binary, the fastest; lists: plain lists; small: byte stream split and zstd.",
)
@options.embedding_dtype
@options.zero_point
@click.option(
    "--storage-options", callback=options.parse_json, metavar="JSON", help="For fsspec, where INPUT or OUTPUT is a URL."
)
@click.option("--threads", type=click.IntRange(min=1), default=None, help="Threads that write; one per core.")
@options.overwrite
@click.option("--dry-run", is_flag=True, help="List the files to write; write nothing.")
@options.json_summary
@options.progress
@options.quiet
def command(
    source: str,
    output: str,
    threads: int | None,
    dry_run: bool,
    as_json: bool,
    progress: str,
    quiet: bool,
    **settings: Any,
) -> None:
    """Rewrite the Parquet files of INPUT so that their embeddings read fastest, row for row.

    The same command resumes a stopped run. Exit status: 0 done, 1 the run failed, 2 bad usage, 130 and 143 stopped by
    Ctrl-C and SIGTERM.
    """
    from dask_aesthetic.cli.console import run_or_list, usage_errors
    from dask_aesthetic.repack import plan_repack, summary

    with usage_errors():
        plan = plan_repack(source, output, **settings)
    run_or_list(
        plan,
        summary,
        command="repack",
        threads=threads,
        dry_run=dry_run,
        as_json=as_json,
        progress=progress,
        quiet=quiet,
    )
