"""``dask-aesthetic score INPUT OUTPUT``, and ``dask-aesthetic score IMAGE... --embed``."""

from __future__ import annotations

import mimetypes
import os
from collections.abc import Collection, Sequence
from typing import Any

import click
from click.core import ParameterSource

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
    SIMILARITY_COLUMN,
    STYLE_NAMES,
    TEXT_KEY,
    THRESHOLD,
    WORKER_TIMEOUT,
)

# Options of a table of images; others are of a job.
_OF_TABLE = (
    *("embed", "file", "model", "pretrained", "precision", "exif_orientation", "batch_size", "storage_options"),
    *("predictor", "activation", "input_scale", "output_activation", "threshold", "no_threshold", "scale", "style"),
    *("score_column", "keep_column", "max_failed", "allow_unusable", "overwrite", "as_json", "quiet"),
)


@click.command("score")
@click.argument("source", metavar="INPUT")
@click.argument("others", metavar="OUTPUT", nargs=-1)
@click.option(
    "--output",
    "file",
    default=None,
    metavar="FILE",
    help="With image files alone: a .csv, .parquet or .json file for their table, instead of the terminal.",
)
@click.option(
    "--format",
    type=click.Choice([*FORMATS, *IMAGE_FORMATS[2:]]),
    default="auto",
    help="Format of INPUT; auto detects it.",
)
@options.embedding_column
@options.embedding_dtype
@options.zero_point
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
@options.matrix_key
@click.option(
    "--text-column",
    default=None,
    metavar="NAME",
    help="Column of text embeddings: add their similarity to the images. Of clip-retrieval (text_emb) and DataComp any "
    "name.",
)
@click.option("--text-key", default=TEXT_KEY, metavar="NAME", help="Matrix of the texts in DataComp's .npz files.")
@click.option("--similarity-column", default=SIMILARITY_COLUMN, metavar="NAME", help="Name of the similarity.")
@options.of_predictor
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
@click.option("--scheduler", metavar="ADDRESS|FILE", default=None, help="Score on the Dask cluster of this scheduler.")
@click.option(
    "--workers",
    type=click.IntRange(min=1),
    default=None,
    help="Score in so many processes of this machine; threads, the default, take less CPU time.",
)
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
    source: str,
    others: Sequence[str],
    file: str | None,
    embed: bool,
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

    Image files without OUTPUT, as in "score a.jpg b.jpg --embed", give a table of path, score and status on the
    terminal, or in the file of --output: the best first, and unusable ones last.
    """
    said = {"--threads": threads, "--scheduler": scheduler, "--workers": workers}
    several = [name for name, value in said.items() if value is not None]
    if len(several) > 1:
        raise click.UsageError(f"expected one of {', '.join(said)}, got {' and '.join(several)}")
    if no_threshold and threshold != THRESHOLD:
        raise click.UsageError(
            f"expected --threshold or --no-threshold, got --threshold {threshold} and --no-threshold"
        )
    if _is_table([source, *others], embed, file):
        from dask_aesthetic.cli.image_table import print_scores

        context = click.get_current_context()
        _refuse_others(context, _OF_TABLE)
        # A table has the column of what to keep if a threshold is asked for.
        lowest = options.parse_threshold(threshold) if _is_given(context, "threshold") else None
        print_scores([source, *others], file=file, threshold=lowest, **settings)
        return
    images_alone = not embed and all(map(_looks_like_image, [source, *others]))
    if len(others) != 1 or images_alone:
        got = others[0] if len(others) == 1 else f"{len(others)} of them" if others else "none"
        raise click.UsageError(
            f"expected INPUT and one OUTPUT, a folder to write to, got {got}{_hint([source, *others])}"
        )
    from dask_aesthetic.cli.job import run_job

    names: str | list[str] = columns if columns in ("ids", "all") else columns.split(",")
    run_job(
        source,
        others[0],
        embed=embed,
        threshold=None if no_threshold else options.parse_threshold(threshold),
        columns=names,
        image_extensions=None if image_extensions is None else image_extensions.split(","),
        threads=threads,
        scheduler=scheduler,
        workers=workers,
        **settings,
    )


def _is_table(paths: Sequence[str], embed: bool, file: str | None) -> bool:
    """Whether all paths are images for a table, so that the last one is no folder to write to."""
    if file is not None and not embed:
        raise click.UsageError(f"expected --embed and image files with --output, got --output {file}{_hint(paths)}")
    if not embed or file is not None:
        return embed
    return len(paths) != 2 or os.path.isfile(paths[1]) or (_looks_like_image(paths[0]) and _looks_like_image(paths[1]))


def _looks_like_image(path: str) -> bool:
    return (mimetypes.guess_type(path)[0] or "").startswith("image/") and not os.path.isdir(path)


def _hint(paths: Sequence[str]) -> str:
    if any(map(_looks_like_image, paths)):
        return ": image files need --embed, and then no OUTPUT"
    return ": as in dask-aesthetic score INPUT OUTPUT"


def _is_given(context: click.Context, name: str) -> bool:
    return context.get_parameter_source(name) not in (ParameterSource.DEFAULT, None)


def _refuse_others(context: click.Context, names: Collection[str]) -> None:
    """Refuse options of a job, which a table would ignore."""
    for option in context.command.params:
        if isinstance(option, click.Option) and option.name not in names and _is_given(context, str(option.name)):
            raise click.UsageError(
                f"expected {option.opts[0]} with INPUT and OUTPUT, got it with images alone, whose table it does not "
                "concern: leave it out, or name a folder to write to"
            )
