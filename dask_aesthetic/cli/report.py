"""``dask-aesthetic report SCORES``."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import click

from dask_aesthetic.cli import options
from dask_aesthetic.defaults import IMAGE_EXTENSIONS
from dask_aesthetic.errors import AestheticError, ArgumentError, ColumnError, InputError, ThresholdError


@click.command("report")
@click.argument("scores")
@click.option(
    "--output", type=click.Path(path_type=Path, dir_okay=False), default=Path("report.html"), help="HTML file to write."
)
@click.option(
    "--threshold",
    default=None,
    metavar="NUMBER|PRESET",
    show_default="that of the run",
    help="Lowest score kept: a number, or permissive, standard, high, premium.",
)
@options.scale_of_run("For files that do not name it: raw: about 1..10; unit: raw / 10.")
@click.option("--by", default=None, metavar="COLUMN", help="Column of groups, such as the source.")
@click.option("--image-column", default=None, metavar="NAME", help="Images: encoded, or local paths.")
@click.option("--tars", default=None, metavar="IN", help="Tars that were scored, for their images.")
@click.option("--images", default=None, metavar="IN", help="Image files that were scored, for their images.")
@click.option(
    "--image-extensions",
    default=",".join(IMAGE_EXTENSIONS),
    metavar="A,B",
    help="Extensions of the images in tars.",
)
@click.option("--url-column", default=None, metavar="NAME", help="URLs, shown as links and not loaded.")
@click.option("--key-column", default=None, metavar="NAME", show_default="key, uid, id, hash, url or image_path")
@click.option("--score-column", default=None, metavar="NAME", show_default="the first of the run")
@click.option("--samples", type=click.IntRange(0, 24), default=6, help="Rows shown for each half point of raw score.")
@click.option("--seed", type=int, default=0, help="Seed of the sampling.")
@click.option(
    "--storage-options", callback=options.parse_json, metavar="JSON", help="For fsspec, where a path is a URL."
)
@options.allow_unfinished
@click.option("--title", default="Aesthetic scores", metavar="TEXT")
def command(scores: str, output: Path, threshold: str | None, scale: str | None, **settings: Any) -> None:
    """Write an HTML report of SCORES: a folder of scored Parquet files, a file or a glob."""
    from dask_aesthetic.cli.console import cautions

    try:
        with cautions():
            page = _report(scores, output, threshold, scale, **settings)
    except (ArgumentError, ColumnError, InputError, ThresholdError) as error:
        raise click.UsageError(str(error)) from error
    except (AestheticError, OSError) as error:
        raise click.ClickException(str(error)) from error
    click.echo(f"{page}: {page.stat().st_size / 1000:,.0f} kB")


def _report(
    scores: str,
    output: Path,
    threshold: str | None,
    scale: str | None,
    *,
    samples: int,
    seed: int,
    title: str,
    by: str | None,
    allow_unfinished: bool,
    tars: str | None,
    images: str | None,
    image_extensions: str,
    storage_options: Mapping[str, Any] | None,
    **columns: str | None,
) -> Path:
    from dask_aesthetic.provenance import Provenance
    from dask_aesthetic.readers import read_scores
    from dask_aesthetic.report import write_report

    frame = read_scores(scores, allow_unfinished=allow_unfinished, storage_options=storage_options)
    score_column = columns["score_column"] = columns["score_column"] or Provenance.first_score(frame)
    said = Provenance.of_frame(frame, score_column)
    requested = None if threshold is None else options.parse_threshold(threshold)
    return write_report(
        frame,
        output,
        columns={**columns, "by": by, "status_column": "status" if "status" in frame.columns else None},
        threshold=said.find_threshold(requested),
        known=said.describe(scale),
        samples=samples,
        seed=seed,
        title=title,
        provenance={**said.record, "files": f"{frame.npartitions:,} in {scores}"},
        tars=tars,
        images=images,
        image_extensions=image_extensions.split(","),
        storage_options=storage_options,
    )
