"""``dask-aesthetic score INPUT OUTPUT``."""

from __future__ import annotations

import json
from typing import Any

import click

from dask_aesthetic.cli.run import run
from dask_aesthetic.defaults import (
    FORMATS,
    IMAGE_FORMATS,
    IMAGES_PER_SHARD,
    MODEL,
    POOLING,
    PRECISIONS,
    PRETRAINED,
    ROWS_PER_SHARD,
    STYLES,
)


def _failures(ctx: click.Context, param: click.Parameter, value: str | None) -> float | None:
    try:
        if value is None:
            return None
        if value.isdecimal():
            return int(value)
        return float(value[:-1]) / 100 if value.endswith("%") else float(value)
    except ValueError as error:
        raise click.BadParameter(
            f"expected a number of rows (1000) or a share of them (0.01, 1%), got {value!r}", ctx, param
        ) from error


def _number_or_name(text: str) -> str | float:
    try:
        return float(text)
    except ValueError:
        return text


def json_options(ctx: click.Context, param: click.Parameter, value: str | None) -> dict[str, Any] | None:
    """An option that is a JSON object."""
    try:
        found = None if value is None else json.loads(value)
    except ValueError as error:
        raise click.BadParameter(f"expected a JSON object, got {value!r}: {error}", ctx, param) from error
    if found is not None and not isinstance(found, dict):
        raise click.BadParameter(f"expected a JSON object, got {value!r}", ctx, param)
    return found


@click.command()
@click.argument("source", metavar="INPUT")
@click.argument("output")
@click.option(
    "--format",
    type=click.Choice([*FORMATS, *IMAGE_FORMATS[2:]]),
    default="auto",
    help="What lies in INPUT; auto looks.",
)
@click.option(
    "--embedding-column", default="image_embedding", metavar="NAME", help="Column with a list of floats per row."
)
@click.option(
    "--embed", is_flag=True, help="INPUT holds pictures, in tars, Parquet files or loose; embed them by open_clip."
)
@click.option("--image-column", metavar="NAME", show_default="image", help="Column of Parquet files with a picture.")
@click.option("--model", metavar="NAME", show_default=MODEL, help="Encoder, as open_clip names it.")
@click.option(
    "--pretrained",
    metavar="TAG|PATH|ID",
    show_default=PRETRAINED,
    help="Its weights: a tag of open_clip, a checkpoint, or a Hugging Face id@revision.",
)
@click.option(
    "--precision",
    type=click.Choice(["auto", *PRECISIONS]),
    show_default="auto",
    help="What it computes in; auto: bfloat16 on GPUs, else float32.",
)
@click.option(
    "--pooling", type=click.Choice(POOLING), help="What stands for a row with a list of pictures; refused if not given."
)
@click.option("--exif-orientation", is_flag=True, help="Turn pictures as their EXIF says.")
@click.option("--matrix-key", default="l14_img", metavar="NAME", help="Matrix of DataComp's .npz files.")
@click.option(
    "--predictor",
    default="laion-v2",
    metavar="NAME|PATH|ID",
    help="Catalog name, checkpoint or Hugging Face id@revision.",
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
@click.option("--style", type=click.Choice(list(STYLES)), default="default", help="Name the score as LAION or COYO do.")
@click.option("--score-column", default=None, metavar="NAME", help="Another name for the score.")
@click.option("--keep-column", default="keep", metavar="NAME")
@click.option("--replace-columns", is_flag=True, help="Replace columns of INPUT that are called as added ones.")
@click.option("--keep-only", is_flag=True, help="Write the rows to keep alone.")
@click.option(
    "--on-invalid",
    type=click.Choice(["null", "raise"]),
    default="null",
    help="What a row without a usable embedding does.",
)
@click.option(
    "--max-failed",
    callback=_failures,
    metavar="COUNT|SHARE",
    help="End with exit 1 when more rows than this have no usable embedding.",
)
@click.option("--allow-unusable", is_flag=True, help="Let shards pass in which no row has a usable embedding.")
@click.option(
    "--batch-size", type=click.IntRange(min=1), default=None, help="Most rows, or pictures, worked on at a time."
)
@click.option(
    "--rows-per-shard",
    type=click.IntRange(min=1),
    show_default=f"{ROWS_PER_SHARD}; {IMAGES_PER_SHARD} with --embed",
    help="Larger files are cut between row groups.",
)
@click.option(
    "--storage-options", callback=json_options, metavar="JSON", help="For fsspec, where INPUT or OUTPUT is a URL."
)
@click.option("--threads", type=click.IntRange(min=1), default=None, help="Score in so many threads of this process.")
@click.option("--scheduler", metavar="ADDRESS", default=None, help="Score on the Dask cluster of this scheduler.")
@click.option("--workers", type=click.IntRange(min=1), default=None, help="Workers of the local cluster; one per core.")
@click.option("--overwrite", is_flag=True, help="Replace what was made with other settings, and files in the way.")
@click.option("--verify", is_flag=True, help="Read inputs and outputs of finished shards again.")
@click.option("--dry-run", is_flag=True, help="List shards, rows and what is done; score nothing.")
@click.option("--json", is_flag=True, help="Tell what came out as one line of JSON.")
@click.option("--quiet", is_flag=True, help="No progress and no table.")
def score(threshold: str, columns: str, threads: int | None, scheduler: str | None, **options: Any) -> None:
    """Score the embeddings in INPUT (a file, folder, glob or URL) into Parquet files of the same names in OUTPUT.

    A local Dask cluster scores, which this command starts and closes, unless --threads or --scheduler says otherwise;
    fewer than a million rows are scored in threads, and so are pictures unless there are several GPUs. The same command
    goes on where an earlier one was stopped. Exit status: 0 done, 1 a failure on the way, 2 bad usage, 130 and 143
    stopped by Ctrl-C and SIGTERM.
    """
    if threads is not None and scheduler is not None:
        raise click.UsageError("expected --threads or --scheduler, got both")
    names: str | list[str] = columns if columns in ("ids", "all") else columns.split(",")
    run(threshold=_number_or_name(threshold), columns=names, threads=threads, scheduler=scheduler, **options)
