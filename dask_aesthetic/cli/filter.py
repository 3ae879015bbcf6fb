"""``dask-aesthetic filter SCORES OUTPUT --tars IN``, or ``--images IN``."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import click

from dask_aesthetic.cli import options

if TYPE_CHECKING:
    from dask_aesthetic.filter import FilterPlan


@click.command("filter")
@click.argument("scores")
@click.argument("output")
@click.option("--tars", default=None, metavar="IN", help="Tars that were scored: a folder, file or glob.")
@click.option("--images", default=None, metavar="IN", help="Image files that were scored, instead of tars.")
@click.option("--link", is_flag=True, help="Hard links of the images, on one disk, instead of copies.")
@click.option(
    "--where",
    default=None,
    metavar="COLUMN",
    show_default="that of the run, else keep",
    help="Boolean column of SCORES, True for rows to keep.",
)
@click.option(
    "--threshold",
    default=None,
    metavar="NUMBER|PRESET",
    help="Keep by the score instead: a number, or permissive, standard, high, premium.",
)
@options.scale_of_run("For files that do not name it: raw: about 1..10; unit: raw / 10.")
@options.score_column
@click.option(
    "--samples-per-shard",
    type=click.IntRange(min=1),
    default=None,
    help="Samples per tar in OUTPUT; shards keep their samples if not given.",
)
@click.option("--score-in-json", is_flag=True, help="Write the score into each sample's JSON sidecar too.")
@click.option("--allow-unmatched", is_flag=True, help="Accept samples without a row, and kept rows without a sample.")
@click.option("--skip-empty", is_flag=True, help="Write no tar where nothing is kept.")
@click.option(
    "--storage-options",
    callback=options.parse_json,
    metavar="JSON",
    help="For fsspec, where a path is a URL.",
)
@click.option("--threads", type=click.IntRange(min=1), default=None, help="Threads that copy; one per core.")
@options.allow_unfinished
@options.overwrite
@click.option("--dry-run", is_flag=True, help="List what is kept by shard; write nothing.")
@options.json_summary
@options.progress
@options.quiet
def command(
    scores: str,
    output: str,
    threads: int | None,
    dry_run: bool,
    as_json: bool,
    progress: str,
    quiet: bool,
    **settings: Any,
) -> None:
    """Copy the samples that SCORES keeps from the tars in IN into tars in OUTPUT, byte for byte; or image files.

    SCORES is a folder of Parquet files, a file or a glob, with the columns key and the score, and shard where the tars
    share keys; image_path for image files. The same command resumes a stopped run. Exit status: 0 done, 1 the run
    failed, 2 bad usage, 130 and 143 stopped by Ctrl-C and SIGTERM.
    """
    from dask_aesthetic.cli.console import cautions, run_or_list, usage_errors
    from dask_aesthetic.filter import summary

    with usage_errors(), cautions():
        plan = _plan(scores, output, **settings)
    run_or_list(
        plan,
        summary,
        command="filter",
        threads=threads,
        dry_run=dry_run,
        as_json=as_json,
        progress=progress,
        quiet=quiet,
    )


def _plan(
    scores: str,
    output: str,
    *,
    tars: str | None,
    images: str | None,
    link: bool,
    where: str | None,
    threshold: str | None,
    scale: str | None,
    score_column: str | None,
    allow_unfinished: bool,
    storage_options: Mapping[str, Any] | None,
    **settings: Any,
) -> FilterPlan:
    import pyarrow as pa

    from dask_aesthetic.defaults import KEEP_COLUMN
    from dask_aesthetic.filter import find_source, plan_filter
    from dask_aesthetic.jobs.store import Store, refuse_overlap
    from dask_aesthetic.provenance import Provenance, one_score
    from dask_aesthetic.score_files import find_scores

    def score_of(said: Provenance) -> str:
        return one_score(said.score_columns) if score_column is None else score_column

    def keep_of(said: Provenance) -> str:
        return said.columns.get("keep_column", KEEP_COLUMN) if where is None else where

    def choose(names: list[str], said: Provenance) -> list[str]:
        ids = ["image_path"] if images is not None else [*(["shard"] if "shard" in names else []), "key"]
        return list(dict.fromkeys([*ids, score_of(said), *([] if threshold else [keep_of(said)])]))

    find_source(tars, images, link)  # Before scores are read.
    found = find_scores(scores, storage_options, choose, allow_unfinished)
    said = found.provenance.of_score(score_of(found.provenance))
    refuse_overlap(scores, [one.file for one in found.files], Store.of(output, storage_options))
    known: Mapping[str, Any] = said.describe(scale)
    lowest = None if threshold is None else said.on_scores(options.parse_threshold(threshold), scale)
    table = pa.concat_tables([file.read(found.schema) for file in found.files])
    return plan_filter(
        table,
        output,
        keep_of(found.provenance),
        tars=tars,
        images=images,
        link=link,
        threshold=lowest,
        scale=known["scale"],
        score_column=score_of(found.provenance),
        storage_options=storage_options,
        **settings,
    )
