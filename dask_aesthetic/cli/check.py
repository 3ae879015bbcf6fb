"""``dask-aesthetic check INPUT``."""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Sequence
from typing import Any

import click

from dask_aesthetic.choices import Activation, EmbeddingDtype
from dask_aesthetic.cli import options
from dask_aesthetic.defaults import FORMATS

GAIN = 1.2  # Times faster, or smaller, from which on repacking is worth a line.


@click.command("check")
@click.argument("source", metavar="INPUT")
@options.embedding_column
@options.embedding_dtype
@options.zero_point
@options.matrix_key
@click.option(
    "--sample",
    type=click.IntRange(min=1),
    default=None,
    metavar="ROWS",
    help="About how many rows to read; all if not given.",
)
@options.predictor
@options.activation
@options.input_scale
@click.option("--format", "kind", type=click.Choice(FORMATS), default="auto", help="Format of INPUT; auto detects it.")
@click.option("--json", "as_json", is_flag=True, help="One line of JSON.")
@click.pass_context
def command(
    context: click.Context,
    source: str,
    embedding_column: str,
    embedding_dtype: EmbeddingDtype | None,
    embedding_zero_point: int | None,
    matrix_key: str | None,
    sample: int | None,
    predictor: Sequence[str],
    activation: Activation | None,
    input_scale: float | None,
    kind: str,
    as_json: bool,
) -> None:
    """Check whether the embeddings in INPUT can be scored, and list problems with their fixes.

    Exit status 0 if they can, 1 if not.
    """
    from dask_aesthetic.check_dataset import check_dataset
    from dask_aesthetic.embeddings import check_embedding_dtype
    from dask_aesthetic.errors import AestheticError, AestheticWarning

    try:
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always", AestheticWarning)
            loaded = options.load_with(predictor, activation, input_scale)
            found = check_dataset(
                source,
                embedding_column,
                sample=sample,
                predictor=loaded,
                format=kind,
                embedding_dtype=embedding_dtype,
                embedding_zero_point=embedding_zero_point,
                matrix_key=matrix_key,
            )
        for warning in caught:
            click.echo(f"caution: {warning.message}", err=True)
    except AestheticError as error:
        raise click.UsageError(str(error)) from error
    click.echo(found.to_json() if as_json else repr(found))
    if not as_json:
        packed = check_embedding_dtype(embedding_dtype, None if embedding_dtype is None else embedding_zero_point)
        for line in _describe_layout(source, embedding_column, found.width, packed):
            click.echo(line)
        for line in _describe_gain(source, embedding_column, packed, loaded) if found.usable else ():
            click.echo(line)
    context.exit(0 if found.usable else 1)


def _describe_layout(source: str, column: str, width: int, packed: str | None = None) -> Iterator[str]:
    """Lines on how the first Parquet file of an input is read, and what would make that faster."""
    from dask_aesthetic.errors import InputError
    from dask_aesthetic.io.listing import find_files
    from dask_aesthetic.io.pages import count_supported
    from dask_aesthetic.io.parquet import read_footer

    try:
        file, _ = find_files(source, ".parquet")[0]
        metadata = read_footer(file).metadata
        supported, groups = count_supported(file, column, width, packed)
    except InputError:
        return
    if not groups:
        return
    yield (
        f"- note: {supported:,} of {groups:,} row groups of the first Parquet file can be scored where they lie in its "
        f"pages,\n  if all their rows have {width} floats without nulls; pyarrow reads others, more slowly"
    )
    paths = [metadata.schema.column(at).path for at in range(metadata.num_columns)]
    leaves = [metadata.row_group(0).column(at) for at, path in enumerate(paths) if path.split(".")[0] == column]
    if any(leaf.has_dictionary_page and leaf.physical_type != "BYTE_ARRAY" for leaf in leaves):
        yield (
            "- note: the Parquet files keep a dictionary of the embeddings' floats, which makes them slower to read\n"
            "  do: write them with use_dictionary=False, or with use_dictionary=[...] of the columns that repeat"
        )


def _describe_gain(source: str, column: str, embedding_dtype: str | None, predictor: Any) -> Iterator[str]:
    """Lines on what repacking would gain, measured on the first rows; none where it gains little."""
    from dask_aesthetic.defaults import LAYOUTS, SMALL
    from dask_aesthetic.errors import AestheticError
    from dask_aesthetic.io.listing import find_files
    from dask_aesthetic.predictors import load_predictors
    from dask_aesthetic.repack import measure_gain

    try:
        file, _ = find_files(source, ".parquet")[0]
        first = next(iter(load_predictors(predictor).values()))
        layouts = LAYOUTS if embedding_dtype is None else (SMALL,)
        gains = measure_gain(file, column, layouts, first, embedding_dtype) if file.is_local else []
    except AestheticError:
        return
    better = [gain for gain in gains if gain.rate > GAIN * gain.rate_before or gain.bytes * GAIN < gain.bytes_before]
    if better:
        yield (f"- note: dask-aesthetic repack would gain, by the first {better[0].rows:,} rows in one thread:")
        yield from (f"  {gain}" for gain in better)
