"""``dask-aesthetic check INPUT``."""

from __future__ import annotations

import warnings

import click
import pyarrow as pa
import pyarrow.parquet as pq

from dask_aesthetic.defaults import FORMATS
from dask_aesthetic.errors import AestheticError, InputError, first_line
from dask_aesthetic.inputs import read_frame
from dask_aesthetic.inputs.files import find_files


@click.command()
@click.argument("source", metavar="INPUT")
@click.option(
    "--embedding-column", default="image_embedding", metavar="NAME", help="Column with a list of floats per row."
)
@click.option(
    "--sample",
    type=click.IntRange(min=1),
    default=None,
    metavar="ROWS",
    help="About how many rows to look at; all if not given.",
)
@click.option(
    "--predictor",
    default="laion-v2",
    metavar="NAME|PATH|ID",
    help="Catalog name, checkpoint or Hugging Face id@revision.",
)
@click.option("--format", "kind", type=click.Choice(FORMATS), default="auto", help="What INPUT holds.")
@click.option("--json", "as_json", is_flag=True, help="One line of JSON.")
@click.pass_context
def check(
    context: click.Context,
    source: str,
    embedding_column: str,
    sample: int | None,
    predictor: str,
    kind: str,
    as_json: bool,
) -> None:
    """Tell whether the embeddings in INPUT can be scored, what is odd about them, and what to do about it.

    Exit status 0 if they can, 1 if not.
    """
    try:
        with warnings.catch_warnings(record=True) as caught:
            frame = read_frame(source, embedding_column=embedding_column, format=kind)
        for warning in caught:
            click.echo(f"caution: {warning.message}", err=True)
        found = frame.aesthetic.check(embedding_column, sample=sample, predictor=predictor)
    except AestheticError as error:
        raise click.UsageError(str(error)) from error
    except (OSError, pa.ArrowInvalid) as error:
        raise click.ClickException(f"{source}: {first_line(error)}") from error
    click.echo(found.to_json() if as_json else repr(found))
    advice = "" if as_json else layout_advice(source, embedding_column)
    if advice:
        click.echo(advice)
    context.exit(0 if found.usable else 1)


def layout_advice(source: str, column: str) -> str:
    """What would make the first Parquet file of an input faster to read; empty if nothing would."""
    try:
        file, _ = find_files(source, ".parquet")[0]
        with file.open() as stream:
            groups = pq.read_metadata(stream)
    except (InputError, pa.ArrowInvalid):
        return ""
    if not groups.num_row_groups:
        return ""
    chunks = [groups.row_group(0).column(at) for at in range(groups.num_columns)]
    leaves = [chunk for chunk in chunks if chunk.path_in_schema.split(".")[0] == column]
    if not any(leaf.has_dictionary_page and leaf.physical_type != "BYTE_ARRAY" for leaf in leaves):
        return ""
    return (
        "- note: the Parquet files keep a dictionary of the embeddings' floats, which makes them slower to read\n"
        "  do: write them with use_dictionary=False, or with use_dictionary=[...] of the columns that repeat"
    )
