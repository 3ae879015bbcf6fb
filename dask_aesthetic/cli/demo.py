"""``dask-aesthetic demo``."""

from __future__ import annotations

from pathlib import Path
from tempfile import TemporaryDirectory

import click
import pyarrow.dataset as ds
from dask.system import CPU_COUNT

from dask_aesthetic.cli.run import run
from dask_aesthetic.synthetic import NOTE, write_demo


@click.command()
@click.option("--rows", type=click.IntRange(min=16), default=20_000)
@click.option(
    "--output",
    type=click.Path(path_type=Path, file_okay=False),
    help="Where to keep the files; a temporary folder if not given.",
)
def demo(rows: int, output: Path | None) -> None:
    """Make a small synthetic data set and score it."""
    with TemporaryDirectory(prefix="dask-aesthetic-demo-") as temporary:
        folder = output or Path(temporary)
        click.echo(f"The data are {NOTE}.")
        source = write_demo(folder / "synthetic", rows)
        command = f"dask-aesthetic score {source} {folder / 'scored'} --threshold standard --threads {CPU_COUNT}"
        click.echo(f"$ {command}")
        run(str(source), str(folder / "scored"), threads=CPU_COUNT, threshold="standard", overwrite=True)
        scored = ds.dataset(folder / "scored").to_table()
        best = scored.sort_by([("aesthetic_score", "descending")]).slice(0, 3).to_pandas()
        failed = scored.filter(ds.field("status") != "ok").slice(0, 4).to_pandas()
        click.echo("\nThe three best rows:\n" + best.to_string(index=False))
        click.echo(
            "\nRows without a usable embedding have no score and are not kept:\n" + failed.to_string(index=False)
        )
