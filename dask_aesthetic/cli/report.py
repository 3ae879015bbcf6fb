"""``dask-aesthetic report SCORED``."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click
import dask.dataframe as dd

from dask_aesthetic.cli.provenance import provenance, scale_of, threshold_of
from dask_aesthetic.errors import AestheticError, ArgumentError, ColumnError, InputError, ThresholdError
from dask_aesthetic.inputs.files import find_files
from dask_aesthetic.inputs.parquet import read_footer
from dask_aesthetic.report import write_report


@click.command()
@click.argument("scored")
@click.option(
    "--output", type=click.Path(path_type=Path, dir_okay=False), default=Path("report.html"), help="The page to write."
)
@click.option(
    "--threshold",
    default=None,
    metavar="NUMBER|PRESET",
    show_default="that of the run",
    help="Lowest score kept: a number, or permissive, standard, high, premium.",
)
@click.option(
    "--scale",
    type=click.Choice(["raw", "unit"]),
    default=None,
    show_default="that of the run",
    help="For files that do not say: raw: about 1..10; unit: raw / 10.",
)
@click.option("--by", default=None, metavar="COLUMN", help="Column of groups, such as the source.")
@click.option("--image-column", default=None, metavar="NAME", help="Pictures: encoded, or local paths.")
@click.option("--url-column", default=None, metavar="NAME", help="URLs, shown as links and not loaded.")
@click.option("--key-column", default=None, metavar="NAME", show_default="key, uid, id, hash, url or image_path")
@click.option("--score-column", default="aesthetic_score", metavar="NAME")
@click.option("--samples", type=click.IntRange(0, 24), default=6, help="Rows shown of each half point of raw score.")
@click.option("--seed", type=int, default=0, help="Another one draws other rows.")
@click.option("--title", default="Aesthetic scores", metavar="TEXT")
def report(scored: str, output: Path, threshold: str | None, scale: str | None, **options: Any) -> None:
    """Write a page of what the scores in SCORED look like: a folder of scored Parquet files, a file or a glob."""
    try:
        page = _report(scored, output, threshold, scale, **options)
    except (ArgumentError, ColumnError, InputError, ThresholdError) as error:
        raise click.UsageError(str(error)) from error
    except (AestheticError, OSError) as error:
        raise click.ClickException(str(error)) from error
    click.echo(f"{page}: {page.stat().st_size / 1000:,.0f} kB")


def _report(
    scored: str,
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
    files = [file for file, _ in find_files(scored, ".parquet")]
    schemas = [read_footer(file).schema for file in files]
    told = provenance(list(zip([file.path for file in files], schemas, strict=True)))
    scale = scale_of(scale, told)
    predictor = told.get("predictor", {})
    known = {"predictor": predictor["name"], "predictor_scale": predictor["scale"]} if predictor else {}
    status = "status" if all("status" in schema.names for schema in schemas) else None
    return write_report(
        dd.read_parquet([file.path for file in files], dtype_backend="pyarrow"),
        output,
        columns={**columns, "by": by, "status_column": status},
        threshold=threshold_of(threshold, told),
        known={"scale": scale, **known},
        samples=samples,
        seed=seed,
        title=title,
        provenance={**told, "files": f"{len(files):,} in {scored}"},
    )
