"""``dask-aesthetic demo``."""

from __future__ import annotations

import shlex
import shutil
import sys
from pathlib import Path

import click


@click.command("demo")
@click.option("--rows", type=click.IntRange(min=16), default=20_000)
@click.option(
    "--output",
    type=click.Path(path_type=Path, file_okay=False),
    default=Path("dask-aesthetic-demo"),
    help="Folder for the files.",
)
def command(rows: int, output: Path) -> None:
    """Write a small synthetic data set, score it, and write a report."""
    import pyarrow.dataset as ds
    from dask.system import CPU_COUNT

    from dask_aesthetic.cli.job import run_job
    from dask_aesthetic.synthetic import NOTE, write_demo

    click.echo(f"The data are {NOTE}.")
    try:
        source = write_demo(output / "synthetic", rows)
    except OSError as error:
        raise click.UsageError(f"expected to write into {output}, got: {error}. --output names another") from error
    scores = output / "scored"
    click.echo(f"$ {_line('score', source, scores, '--threshold', 'standard', '--threads', CPU_COUNT)}")
    run_job(str(source), str(scores), threads=CPU_COUNT, threshold="standard", overwrite=True)
    scored = ds.dataset(scores).to_table()
    best = scored.sort_by([("aesthetic_score", "descending")]).slice(0, 3).to_pandas()
    failed = scored.filter(ds.field("status") != "ok").slice(0, 4).to_pandas()
    click.echo("\nThe three best rows:\n" + best.to_string(index=False))
    click.echo("\nRows without a usable embedding have no score and are not kept:\n" + failed.to_string(index=False))
    click.echo(f"\n{_report(scores, output / 'report.html')}")
    chosen = output / "best"
    click.echo(
        "\nNext:\n"
        f"  {_line('check', source)}\n"
        f"  {_line('select', scores, chosen, '--keep-fraction', 0.1)}\n"
        f"  {_line('export', chosen, '--output', output / 'urls.parquet')}\n"
        f"  {_line('score', 'YOUR_EMBEDDINGS', 'scores', '--dry-run')}"
    )


def _report(scores: Path, page: Path) -> str:
    """Line with the address of a report of the scores, or with what it takes to get one."""
    from dask_aesthetic.errors import MissingDependencyError
    from dask_aesthetic.readers import read_scores

    try:
        read_scores(scores).aesthetic.report(page, url_column="url", title="Aesthetic scores of the demo set")
    except MissingDependencyError as error:
        return f"No report: {error}"
    return f"Report, to open in a browser: {page.resolve().as_uri()}"


def _line(*arguments: object) -> str:
    """Command line as a shell takes it here."""
    program = Path(sys.argv[0])
    if shutil.which("dask-aesthetic"):
        words = ["dask-aesthetic"]
    elif program.name == "dask-aesthetic":  # In an environment that is not activated.
        words = [str(program)]
    else:
        words = ["python", "-m", "dask_aesthetic"]
    return shlex.join([*words, *map(str, arguments)])
