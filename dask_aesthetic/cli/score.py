"""``dask-aesthetic score INPUT OUTPUT``."""

from __future__ import annotations

from typing import Any

import click

from dask_aesthetic.cli import options
from dask_aesthetic.defaults import (
    FORMATS,
    IMAGE_EXTENSIONS,
    IMAGE_FORMATS,
    IMAGES_PER_SHARD,
    MODEL,
    POOLING,
    PRECISIONS,
    PRETRAINED,
    ROWS_PER_SHARD,
    STYLE_NAMES,
    THRESHOLD,
    WORKER_TIMEOUT,
)


@click.command("score")
@click.argument("source", metavar="INPUT")
@click.argument("output")
@click.option(
    "--format",
    type=click.Choice([*FORMATS, *IMAGE_FORMATS[2:]]),
    default="auto",
    help="Format of INPUT; auto detects it.",
)
@options.embedding_column
@options.embedding_dtype
@click.option(
    "--embed", is_flag=True, help="INPUT holds images: tars, Parquet files or image files; embed them by open_clip."
)
@click.option("--image-column", metavar="NAME", show_default="image", help="Column of Parquet files with an image.")
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
    help="Precision of the encoder; auto: bfloat16 if all workers have GPUs, float32 if none has.",
)
@click.option(
    "--pooling",
    type=click.Choice(POOLING),
    help="Embedding of a row with a list of images; refused if not given.",
)
@click.option("--exif-orientation", is_flag=True, help="Rotate images by their EXIF orientation.")
@click.option(
    "--image-extensions",
    default=None,
    metavar="A,B",
    show_default=",".join(IMAGE_EXTENSIONS),
    help="Extensions of the images in tars.",
)
@click.option("--matrix-key", default="l14_img", metavar="NAME", help="Matrix of DataComp's .npz files.")
@options.predictor
@options.activation
@options.input_scale
@click.option(
    "--threshold",
    default=THRESHOLD,
    metavar="NUMBER|PRESET",
    help="Lowest score kept: a number, or permissive, standard, high, premium; default: the predictor's own. It "
    "concerns the first of several predictors.",
)
@options.keep_if
@options.override_column
@click.option("--no-threshold", is_flag=True, help="No column of what to keep: choose later, by select.")
@click.option("--scale", type=click.Choice(["raw", "unit"]), default="raw", help="raw: about 1..10; unit: raw / 10.")
@click.option(
    "--columns",
    default="ids",
    metavar="ids|all|A,B",
    help="Passthrough columns of INPUT; ids: key, uid, url, hash, id, image_path.",
)
@click.option("--style", type=click.Choice(STYLE_NAMES), default="default", help="Name the score as LAION or COYO do.")
@click.option("--score-column", default=None, metavar="NAME", help="Another name for the score.")
@click.option("--keep-column", default="keep", metavar="NAME")
@click.option("--replace-columns", is_flag=True, help="Replace columns of INPUT that have the names of added ones.")
@click.option("--keep-only", is_flag=True, help="Write only the rows to keep.")
@click.option(
    "--embedding-hash", is_flag=True, help="Add embedding_hash, by which select --drop-duplicates finds duplicates."
)
@click.option(
    "--on-invalid",
    type=click.Choice(["null", "raise"]),
    default="null",
    help="A row without a usable embedding gets no score, or ends the run.",
)
@click.option(
    "--max-failed",
    callback=options.parse_count_or_share,
    metavar="COUNT|SHARE",
    help="Exit with 1 when more rows than this have no usable embedding.",
)
@click.option("--allow-unusable", is_flag=True, help="Accept shards without any usable embedding.")
@click.option(
    "--batch-size", type=int, default=None, help="Most rows, or images, processed at a time; -1 for the default."
)
@click.option(
    "--rows-per-shard",
    type=click.IntRange(min=1),
    show_default=f"{ROWS_PER_SHARD}; {IMAGES_PER_SHARD} with --embed",
    help="Larger files are split between row groups.",
)
@click.option(
    "--storage-options", callback=options.parse_json, metavar="JSON", help="For fsspec, where INPUT or OUTPUT is a URL."
)
@click.option("--threads", type=click.IntRange(min=1), default=None, help="Score in so many threads of this process.")
@click.option("--scheduler", metavar="ADDRESS", default=None, help="Score on the Dask cluster of this scheduler.")
@click.option("--workers", type=click.IntRange(min=1), default=None, help="Score in so many processes of this machine.")
@click.option(
    "--worker-timeout",
    type=click.FloatRange(min=0, min_open=True),
    default=WORKER_TIMEOUT,
    metavar="SECONDS",
    help="End the run after so long without any worker of the cluster.",
)
@click.option(
    "--part",
    callback=options.parse_part,
    metavar="K/N",
    help="Score the K-th of N parts; the same command without it then completes the job.",
)
@options.overwrite
@click.option("--verify", is_flag=True, help="Verify checksums of inputs and outputs of finished shards.")
@click.option("--dry-run", is_flag=True, help="List shards, rows, what is done and the time to take; score nothing.")
@options.json_summary
@options.progress
@options.quiet
def command(
    threshold: str,
    no_threshold: bool,
    columns: str,
    image_extensions: str | None,
    threads: int | None,
    scheduler: str | None,
    workers: int | None,
    **settings: Any,
) -> None:
    """Score the embeddings in INPUT (a file, folder, glob or URL) into Parquet files of the same names in OUTPUT.

    It scores in a thread per core, unless --workers or --scheduler is given; images on several GPUs are scored by a
    local Dask cluster. Machines share OUTPUT by --part. The same command resumes a stopped run. Exit status: 0 done, 1
    the run failed, 2 bad usage, 130 and 143 stopped by Ctrl-C and SIGTERM.
    """
    from dask_aesthetic.cli.job import run_job

    said = {"--threads": threads, "--scheduler": scheduler, "--workers": workers}
    several = [name for name, value in said.items() if value is not None]
    if len(several) > 1:
        raise click.UsageError(f"expected one of {', '.join(said)}, got {' and '.join(several)}")
    if no_threshold and threshold != THRESHOLD:
        raise click.UsageError(
            f"expected --threshold or --no-threshold, got --threshold {threshold} and --no-threshold"
        )
    names: str | list[str] = columns if columns in ("ids", "all") else columns.split(",")
    run_job(
        threshold=None if no_threshold else options.parse_threshold(threshold),
        columns=names,
        image_extensions=None if image_extensions is None else image_extensions.split(","),
        threads=threads,
        scheduler=scheduler,
        workers=workers,
        **settings,
    )
