"""Scores of a handful of image files, as a table on the terminal or in a file."""

from __future__ import annotations

import json
import os
import sys
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import click
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv
import pyarrow.parquet as pq
from tqdm import tqdm

from dask_aesthetic.cli.console import run_errors, usage_errors
from dask_aesthetic.cli.options import load_with
from dask_aesthetic.defaults import EMBEDDING_COLUMN, IMAGES_PER_SHARD, STYLES, WORKER_TIMEOUT
from dask_aesthetic.errors import ArgumentError, ColumnError, InputError, JobError
from dask_aesthetic.escape import escape_lines, escape_text
from dask_aesthetic.images import embed_images, score_images
from dask_aesthetic.io.formats import describe_left_out
from dask_aesthetic.io.image_shards import PATH, find_image_files
from dask_aesthetic.io.listing import ListedFile, format_source, list_files, match_suffix
from dask_aesthetic.io.storage import File, escape_undecodable
from dask_aesthetic.io.webdataset import SUFFIXES
from dask_aesthetic.jobs.image_scoring import ImageOptions, ImageSettings
from dask_aesthetic.jobs.runner import failures_allowed
from dask_aesthetic.jobs.settings import STATUS_COLUMN
from dask_aesthetic.jobs.store import Store
from dask_aesthetic.score_spec import ScoreSpec, refuse_replacing
from dask_aesthetic.status import ImageStatus

MOST = 1000  # Images of a table. More take minutes, after which nothing should be lost: a job.
FORMATS = (".csv", ".parquet", ".json")
_JOB = "dask-aesthetic score INPUT OUTPUT --embed scores a folder of any size into the folder OUTPUT, and resumes"
_DATA = (*SUFFIXES, ".parquet", ".npy", ".npz")  # Files of many images or embeddings.


def print_scores(
    paths: Sequence[str],
    *,
    file: str | None,
    threshold: str | float | None,
    max_failed: float | None,
    allow_unusable: bool,
    as_json: bool,
    quiet: bool,
    storage_options: Mapping[str, Any] | None,
    batch_size: int | None,
    overwrite: bool,
    **options: Any,
) -> None:
    """Score image files and print, or write, their paths, scores and statuses: the best first, failed ones last.

    Raises
    ------
    click.UsageError
        An argument is not usable, or there are too many images.
    click.ClickException
        More images have failed than may, or all.
    """
    with usage_errors():
        failures_allowed(max_failed, 0)
        store = None if file is None else _open_store(file, storage_options)
        spec = _score_spec(threshold, options)
        embed = ImageOptions(
            model=options["model"],
            pretrained=options["pretrained"],
            precision=options["precision"],
            exif_orientation=options["exif_orientation"],
        ).spec(spec, EMBEDDING_COLUMN, batch_size, storage_options, None, WORKER_TIMEOUT)
        images = _find_images(paths, storage_options)
        if store is not None and f"{store[0].url}/{store[1]}" in {image.path for image in images}:
            raise InputError(f"expected an output file apart from the images, got {file}, which is one of them")
        if store is not None:
            store[0].refuse_replacing(store[1], overwrite)
        weights = embed.encoder.weights()
        schema = pa.schema({PATH: pa.string()})
        settings = ImageSettings(
            spec, EMBEDDING_COLUMN, schema, False, IMAGES_PER_SHARD, None, embed.output_column, embed, weights
        )
    with run_errors():
        shown = tqdm(images, unit="image", disable=quiet or not sys.stderr.isatty(), leave=False)
        embeddings, status = embed_images((image.path for image in shown), embed)
        scores = score_images(embeddings, status, spec)
        table = _table([_shown_path(image) for image in images], scores, status.numpy(), settings)
        if store is not None:
            _write(table, *store)
    _print(table, spec, "" if store is None else f"{store[0].url}/{store[1]}", as_json, quiet)
    failed = dict(Counter(table[STATUS_COLUMN].filter(pc.is_null(table[spec.score_column])).to_pylist()))
    _end(failed, len(table), max_failed, allow_unusable)


def _score_spec(threshold: str | float | None, options: Mapping[str, Any]) -> ScoreSpec:
    name = STYLES.get(options["style"]) if options["score_column"] is None else options["score_column"]
    loaded = load_with(
        options["predictor"], options["activation"], options["input_scale"], options["output_activation"]
    )
    spec = ScoreSpec.of(
        EMBEDDING_COLUMN, loaded, threshold, options["scale"], name, options["keep_column"], "null", None, None, None
    )
    for role, column in spec.added.items():
        if column == STATUS_COLUMN:
            raise ColumnError.clash(role, column, "the column of statuses")
    refuse_replacing([PATH], spec.added, replace_columns=False)
    return spec


def _find_images(paths: Sequence[str], options: Mapping[str, Any] | None) -> list[File]:
    """Image files of some files, folders, globs and URLs.

    Raises
    ------
    InputError
        There are none, or too many, a path does not exist, or one is given twice.
    """
    found = [one for path in paths for one in _list(path, options)]
    data = next((one for one in found if one.explicit and match_suffix(one.name, _DATA)), None)
    if data is not None:
        raise InputError(f"expected image files for a table, got {data.file.path}: {_JOB}")
    images = _images(found, paths)
    if len(images) > MOST:
        raise InputError(f"expected at most {MOST:,} image files for a table, got {len(images):,}: {_JOB}")
    for note in describe_left_out(found, images):
        click.echo(f"caution: {escape_lines(note)}", err=True)
    return images


def _list(path: str, options: Mapping[str, Any] | None) -> list[ListedFile]:
    found = list_files(path, options)
    if not found:  # A glob, or an empty folder: an image that was meant would be missing from the table.
        raise InputError(f"expected image files in {path!r}, got none: {_JOB}")
    return found


def _images(found: Iterable[ListedFile], paths: Sequence[str]) -> list[File]:
    try:
        return [one.file for one in find_image_files(found, list(paths))]
    except InputError as error:
        if not str(error).endswith("got none"):
            raise
        raise InputError(f"expected image files in {format_source(list(paths))}, got none: {_JOB}") from error


def _shown_path(file: File) -> str:
    """Path relative to the working folder, if it is in there, as filter takes it; else the whole path or the URL."""
    inside = file.path.removeprefix(os.path.join(os.getcwd(), "")) if file.is_local else file.path
    return escape_undecodable(inside)


def _table(paths: Sequence[str], scores: np.ndarray, status: np.ndarray, settings: ImageSettings) -> pa.Table:
    """Table with the columns of a job's output, the best first."""
    spec = settings.spec
    by_name = dict(zip(spec.score_columns, scores, strict=True))
    keep = {name: (status == ImageStatus.OK) & found for name, found in spec.keep(by_name).items()}
    columns = [
        pa.array(paths, pa.string()),
        *(pa.array(row, mask=~np.isfinite(row)) for row in scores),
        *map(pa.array, keep.values()),
        pa.DictionaryArray.from_arrays(pa.array(status.astype(np.int8)), pa.array(settings.statuses)),
    ]
    first = scores[0].astype(np.float64)
    rank = np.where(np.isfinite(first), -first if spec.predictor.info.higher_is_better else first, np.inf)
    return pa.table(columns, schema=settings.schema).take(pa.array(np.argsort(rank, kind="stable")))


def _print(table: pa.Table, spec: ScoreSpec, output: str, as_json: bool, quiet: bool) -> None:
    scored = len(table) - table[spec.score_column].null_count
    if as_json:
        failed = Counter(table[STATUS_COLUMN].filter(pc.is_null(table[spec.score_column])).to_pylist())
        counts = {"rows": len(table), "scored": scored, "failed": dict(failed)}
        click.echo(json.dumps({**({"output": output} if output else {}), **counts, "images": _records(table)}))
    elif output and not quiet:
        click.echo(f"{output}: {len(table):,} images, {scored:,} with a score")
    elif not quiet:
        click.echo(_format(table))


def _format(table: pa.Table) -> str:
    """Lines of the table, with the path last: names are of any length, and characters of any width."""
    names = [*table.column_names[1:], PATH]
    cells = [names, *([_cell(row[name]) for name in names] for row in table.to_pylist())]
    widths = [max(len(row[at]) for row in cells) for at in range(len(names) - 1)]
    numbers = [pa.types.is_floating(table.schema.field(name).type) for name in names]

    def line(row: Sequence[str]) -> str:
        padded = [
            text.rjust(width) if number else text.ljust(width)
            for text, width, number in zip(row, widths, numbers, strict=False)
        ]
        return "  ".join([*padded, row[-1]])

    return "\n".join(map(line, cells))


def _cell(value: Any) -> str:
    if value is None:
        return "-"
    if isinstance(value, bool):
        return "yes" if value else "no"
    return f"{value:.4f}" if isinstance(value, float) else escape_text(value, len(value) + 1)


def _records(table: pa.Table) -> list[dict[str, Any]]:
    """Rows as JSON values; a score is the shortest number that reads back as its float32."""
    return [
        {name: float(str(np.float32(value))) if isinstance(value, float) else value for name, value in row.items()}
        for row in table.to_pylist()
    ]


def _open_store(file: str, options: Mapping[str, Any] | None) -> tuple[Store, str]:
    """Folder and name of the file to write.

    Raises
    ------
    ArgumentError, InputError
    """
    folder, name = os.path.split(file)
    if Path(name).suffix.lower() not in FORMATS:
        raise ArgumentError(f"expected an output file with a suffix of {', '.join(FORMATS)}, got {file!r}")
    return Store.of(folder or ".", options), name


def _write(table: pa.Table, store: Store, name: str) -> None:
    suffix = Path(name).suffix.lower()
    with store.temporary(name) as path:
        if suffix == ".parquet":
            pq.write_table(table, path)
        elif suffix == ".json":
            path.write_text(json.dumps(_records(table), indent=1) + "\n")
        else:
            texts = table[STATUS_COLUMN].cast(pa.string())
            pyarrow.csv.write_csv(table.set_column(table.num_columns - 1, STATUS_COLUMN, texts), path)
        store.place(path, name)
    store.sync([name])


def _end(failed: Mapping[str, int], rows: int, max_failed: float | None, allow_unusable: bool) -> None:
    """Exit status 1 where a job would have it, after the table."""
    count = sum(failed.values())
    reasons = ", ".join(f"{number:,} {reason}" for reason, number in failed.items())
    with run_errors():
        if count == rows and not allow_unusable:
            raise JobError(
                f"expected usable images, got none in {rows:,} ({reasons}). --allow-unusable ends with status 0"
            )
        if count > failures_allowed(max_failed, rows):
            allowed = int(failures_allowed(max_failed, rows))
            raise JobError(
                f"expected at most {allowed:,} images without a score, got {count:,} of {rows:,} ({reasons})"
            )
