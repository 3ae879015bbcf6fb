"""``dask-aesthetic score INPUT OUTPUT``."""

from __future__ import annotations

from typing import Any

import click

from dask_aesthetic.cli.run import run


@click.command()
@click.argument("source", metavar="INPUT")
@click.argument("output")
@click.option(
    "--embedding-column", default="image_embedding", metavar="NAME", help="Column with a list of floats per row."
)
@click.option(
    "--predictor",
    default="laion-v2",
    metavar="NAME|PATH|ID",
    help="Catalogue name, checkpoint or Hugging Face id@revision.",
)
@click.option(
    "--threshold",
    default="standard",
    metavar="NUMBER|PRESET",
    help="Lowest score kept: a number, or permissive, standard, high, premium.",
)
@click.option("--scale", type=click.Choice(["raw", "unit"]), default="raw", help="raw: about 1..10; unit: raw / 10.")
@click.option(
    "--columns",
    default="ids",
    metavar="ids|all|A,B",
    help="What to carry over; ids: key, uid, url, hash, id, image_path.",
)
@click.option("--score-column", default="aesthetic_score", metavar="NAME")
@click.option("--keep-column", default="keep", metavar="NAME")
@click.option(
    "--on-invalid",
    type=click.Choice(["null", "raise"]),
    default="null",
    help="What a row without a usable embedding does.",
)
@click.option("--batch-size", type=click.IntRange(min=1), default=None, help="Most rows worked on at a time.")
@click.option(
    "--threads", type=click.IntRange(min=1), default=None, help="Files scored side by side; one per core if not given."
)
@click.option("--overwrite", is_flag=True, help="Write over files of an earlier run.")
@click.option("--quiet", is_flag=True, help="No progress bar and no table.")
def score(source: str, output: str, columns: str, threads: int | None, quiet: bool, **options: Any) -> None:
    """Score the Parquet files in INPUT (a file, a folder or a glob) into files of the same names in OUTPUT."""
    names: str | list[str] = columns if columns in ("ids", "all") else columns.split(",")
    run(source, output, threads=threads, quiet=quiet, columns=names, **options)
