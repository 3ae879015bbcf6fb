"""``dask-aesthetic export SCORES --output FILE``."""

from __future__ import annotations

import json
from contextlib import ExitStack
from dataclasses import asdict
from typing import Any

import click

from dask_aesthetic.cli import options


@click.command("export")
@click.argument("scores")
@click.option(
    "--output",
    required=True,
    metavar="FILE",
    help="urls.parquet, .csv or .txt for img2dataset; subset.npy for DataComp's resharder.",
)
@click.option("--all", "all_rows", is_flag=True, help="Every row, not only those to keep.")
@click.option("--metadata", default=None, metavar="IN", help="Parquet files with URLs and captions, joined by id.")
@click.option("--url-column", default=None, metavar="NAME", show_default="url")
@click.option("--caption-column", default=None, metavar="NAME", show_default="caption, text, alt_text or title")
@click.option("--id-column", default=None, metavar="NAME", show_default="key, uid, url, hash, id or image_path")
@click.option(
    "--storage-options", callback=options.parse_json, metavar="JSON", help="For fsspec, where a path is a URL."
)
@options.allow_unfinished
@click.option("--overwrite", is_flag=True, help="Replace a file of that name.")
@options.json_summary
@options.progress
@options.quiet
def command(scores: str, output: str, as_json: bool, progress: str, quiet: bool, **settings: Any) -> None:
    """Write the rows that SCORES keeps as a list for a downloader or resharder: one file, whole or absent."""
    from dask_aesthetic.cli.console import cautions, usage_errors
    from dask_aesthetic.cli.progress import Counts, Progress
    from dask_aesthetic.export import export_dataset

    with usage_errors(), cautions(), ExitStack() as stack:
        shown: list[Progress] = []  # One, from when the number of rows is known.

        def advance(read: int, rows: int) -> None:
            if not shown:
                shown.append(stack.enter_context(Progress(Counts("export", output, 1, rows), progress, quiet)))
            shown[0].advance(read)

        done = export_dataset(scores, output, progress=advance, **settings)
        shown[0].shard(output, done.rows, {})
    if as_json:
        click.echo(json.dumps(asdict(done)))
    elif not quiet:
        left_out = "".join(f", {count:,} left out: {reason}" for reason, count in done.left_out.items())
        click.echo(f"{done.output}: {done.rows:,} rows{left_out}")
