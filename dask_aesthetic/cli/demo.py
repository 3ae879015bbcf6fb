"""``dask-aesthetic demo``."""

from __future__ import annotations

from pathlib import Path
from tempfile import TemporaryDirectory

import click


@click.command("demo")
@click.option("--rows", type=click.IntRange(min=16), default=20_000)
@click.option(
    "--output",
    type=click.Path(path_type=Path, file_okay=False),
    help="Folder for the files; a temporary one if not given.",
)
def command(rows: int, output: Path | None) -> None:
    """Write a small synthetic data set and score it."""
    import pyarrow.dataset as ds
    from dask.system import CPU_COUNT

    from dask_aesthetic.cli.job import run_job
    from dask_aesthetic.synthetic import NOTE, write_demo

    with TemporaryDirectory(prefix="dask-aesthetic-demo-") as temporary:
        folder = output or Path(temporary)
        click.echo(f"The data are {NOTE}.")
        source = write_demo(folder / "synthetic", rows)
        line = f"dask-aesthetic score {source} {folder / 'scored'} --threshold standard --threads {CPU_COUNT}"
        click.echo(f"$ {line}")
        run_job(str(source), str(folder / "scored"), threads=CPU_COUNT, threshold="standard", overwrite=True)
        scored = ds.dataset(folder / "scored").to_table()
        best = scored.sort_by([("aesthetic_score", "descending")]).slice(0, 3).to_pandas()
        failed = scored.filter(ds.field("status") != "ok").slice(0, 4).to_pandas()
        click.echo("\nThe three best rows:\n" + best.to_string(index=False))
        click.echo(
            "\nRows without a usable embedding have no score and are not kept:\n" + failed.to_string(index=False)
        )
