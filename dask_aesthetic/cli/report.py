"""``dask-aesthetic report SCORES``."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from dask_aesthetic.cli import options
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
@click.option("--url-column", default=None, metavar="NAME", help="URLs, shown as links and not loaded.")
@click.option("--key-column", default=None, metavar="NAME", show_default="key, uid, id, hash, url or image_path")
@options.score_column
@click.option("--samples", type=click.IntRange(0, 24), default=6, help="Rows shown for each half point of raw score.")
@click.option("--seed", type=int, default=0, help="Seed of the sampling.")
@click.option("--title", default="Aesthetic scores", metavar="TEXT")
def command(scores: str, output: Path, threshold: str | None, scale: str | None, **settings: Any) -> None:
    """Write an HTML report of SCORES: a folder of scored Parquet files, a file or a glob."""
    try:
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
    **columns: str | None,
) -> Path:
    import dask.dataframe as dd

    from dask_aesthetic.cli.provenance import find_scale_of_run, find_threshold_of_run, read_provenance
    from dask_aesthetic.io.listing import find_files
    from dask_aesthetic.io.parquet import read_footer
    from dask_aesthetic.report import write_report

    files = [file for file, _ in find_files(scores, ".parquet")]
    schemas = [read_footer(file).schema for file in files]
    provenance = read_provenance(list(zip([file.path for file in files], schemas, strict=True)))
    scale = find_scale_of_run(scale, provenance)
    predictor = provenance.get("predictor", {})
    known = {"predictor": predictor["name"], "predictor_scale": predictor["scale"]} if predictor else {}
    status = "status" if all("status" in schema.names for schema in schemas) else None
    return write_report(
        dd.read_parquet([file.path for file in files], dtype_backend="pyarrow"),
        output,
        columns={**columns, "by": by, "status_column": status},
        threshold=find_threshold_of_run(threshold, provenance),
        known={"scale": scale, **known},
        samples=samples,
        seed=seed,
        title=title,
        provenance={**provenance, "files": f"{len(files):,} in {scores}"},
    )
