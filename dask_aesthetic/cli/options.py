"""Options that several commands share, and parsers of option values."""

from __future__ import annotations

import json
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

import click

from dask_aesthetic.choices import Activation, OutputActivation
from dask_aesthetic.defaults import (
    ACTIVATIONS,
    EMBEDDING_COLUMN,
    EMBEDDING_DTYPES,
    MATRIX_KEY,
    OUTPUT_ACTIVATIONS,
    PREDICTOR,
    PROGRESS,
)

embedding_column = click.option(
    "--embedding-column", default=EMBEDDING_COLUMN, metavar="NAME", help="Column with a list of floats per row."
)
embedding_dtype = click.option(
    "--embedding-dtype",
    type=click.Choice(EMBEDDING_DTYPES),
    default=None,
    help="The column holds packed floats of this dtype: bytes, which do not say it.",
)
zero_point = click.option(
    "--zero-point",
    "embedding_zero_point",
    type=click.IntRange(-128, 255),
    default=None,
    help="Zero point of embeddings of uint8 or int8: a value is a number less it.",
)
matrix_key = click.option(
    "--matrix-key",
    default=None,
    metavar="NAME",
    show_default=f"{MATRIX_KEY}; the only tensor",
    help="Matrix of DataComp's .npz files, or tensor of .safetensors and .pt files.",
)
predictor = click.option(
    "--predictor",
    multiple=True,
    default=(PREDICTOR,),
    show_default=PREDICTOR,
    metavar="[COLUMN=]NAME|PATH|ID",
    help="Catalog name, checkpoint or Hugging Face id@revision; several, each with the column of its scores.",
)
activation = click.option(
    "--activation",
    type=click.Choice(ACTIVATIONS),
    default=None,
    help="Activation between the layers of a checkpoint of yours, which does not say it.",
)
input_scale = click.option(
    "--input-scale",
    type=float,
    default=None,
    metavar="NUMBER",
    help="Factor of the unit vector that a checkpoint of yours takes.",
)
output_activation = click.option(
    "--output-activation",
    type=click.Choice(OUTPUT_ACTIVATIONS),
    default=None,
    help="Activation after the last layer of a checkpoint of yours; none if not given.",
)


def of_predictor(command: Any) -> Any:
    """Options that name a command's predictors, and say what the file of one does not."""
    for option in (output_activation, input_scale, activation, predictor):
        command = option(command)
    return command


score_column = click.option(
    "--score-column", default=None, metavar="NAME", show_default="that of the run, if it has one score"
)
overwrite = click.option(
    "--overwrite", is_flag=True, help="Replace outputs of other settings, and files of the same names."
)
allow_unfinished = click.option(
    "--allow-unfinished", is_flag=True, help="Take the files that are there of a job that is not finished."
)
progress = click.option(
    "--progress",
    type=click.Choice(PROGRESS),
    default="auto",
    help="Progress on standard error. auto: a bar on a terminal, lines of text elsewhere; json: an object a line.",
)
quiet = click.option("--quiet", is_flag=True, help="No table, and no progress unless --progress says how.")
json_summary = click.option("--json", "as_json", is_flag=True, help="Print the summary as one line of JSON.")


def _parse_rule(ctx: click.Context, param: click.Parameter, values: tuple[str, ...]) -> Any:
    if not values:
        return None
    from dask_aesthetic.errors import ArgumentError
    from dask_aesthetic.keep_rule import parse_rule

    try:
        return parse_rule(values)
    except ArgumentError as error:
        raise click.BadParameter(str(error), ctx, param) from error


keep_if = click.option(
    "--keep-if",
    "keep",
    multiple=True,
    metavar="CLAUSE",
    callback=_parse_rule,
    help='Keep rows with "unsafe<0.1", say; repeated: with all of these. Quote it for the shell.',
)
override_column = click.option(
    "--override-column", default=None, metavar="NAME", help="Column of true (keep), false (drop) or null (the rule)."
)


def scale_of_run(help: str) -> Any:  # noqa: A002
    """``--scale`` of scores that a run has written, which say it themselves as a rule."""
    return click.option(
        "--scale", type=click.Choice(["raw", "unit"]), default=None, show_default="that of the run", help=help
    )


def load_with(
    predictor: Sequence[str],
    activation: Activation | None,
    input_scale: float | None,
    output_activation: OutputActivation | None,
) -> Any:
    """The predictor's name, or the predictor that is loaded with what its file does not say; several by their columns.

    Raises
    ------
    PredictorError, ArgumentError
    """
    from dask_aesthetic.errors import ArgumentError

    pairs = [_split_column(text) for text in predictor]
    columns = [column for column, _ in pairs]
    if len(pairs) > 1 and (None in columns or len(set(columns)) < len(columns)):
        raise ArgumentError(
            f"expected each of several --predictor as COLUMN=NAME, with a column of its own, got {', '.join(predictor)}"
        )
    found: dict[str | None, Any] = dict(pairs)
    if (activation, input_scale, output_activation) != (None, None, None):
        if len(pairs) > 1:
            raise ArgumentError(
                "expected --activation, --input-scale and --output-activation with one --predictor, got several"
            )
        from dask_aesthetic.predictors import load_predictor

        said = partial(
            load_predictor, activation=activation, input_scale=input_scale, output_activation=output_activation
        )
        found = {column: said(name) for column, name in found.items()}
    return found.get(None, found)


def _split_column(text: str) -> tuple[str | None, str]:
    """Column and name of a predictor; the "=" of a path, as in a hive folder, is no sign of a column."""
    column, equals, name = text.partition("=")
    return (column, name) if equals and "/" not in column and not Path(text).exists() else (None, text)


def parse_json(ctx: click.Context, param: click.Parameter, value: str | None) -> dict[str, Any] | None:
    """JSON object of an option."""
    try:
        found = None if value is None else json.loads(value)
    except ValueError as error:
        raise click.BadParameter(f"expected a JSON object, got {value!r}: {error}", ctx, param) from error
    if found is not None and not isinstance(found, dict):
        raise click.BadParameter(f"expected a JSON object, got {value!r}", ctx, param)
    return found


def parse_count_or_share(ctx: click.Context, param: click.Parameter, value: str | None) -> float | None:
    """Number of rows as an int, or share of them as a float."""
    try:
        if value is None:
            return None
        if value.isdecimal():
            return int(value)
        return float(value[:-1]) / 100 if value.endswith("%") else float(value)
    except ValueError as error:
        raise click.BadParameter(
            f"expected a number of rows (1000) or a share of them (0.01, 1%), got {value!r}", ctx, param
        ) from error


def parse_threshold(text: str) -> str | float:
    """Threshold as a number, or the name of a preset."""
    try:
        return float(text)
    except ValueError:
        return text


def parse_part(ctx: click.Context, param: click.Parameter, value: str | None) -> tuple[int, int] | None:
    """Part of a job as (number, parts)."""
    if value is None:
        return None
    number, _, parts = value.partition("/")
    if not (number.isdecimal() and parts.isdecimal() and 1 <= int(number) <= int(parts)):
        raise click.BadParameter(f"expected K/N, part K of 1 to N, as in 3/64, got {value!r}", ctx, param)
    return int(number), int(parts)
