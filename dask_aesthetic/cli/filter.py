"""``dask-aesthetic filter SCORED --tars IN --out OUT``."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

import click
import pyarrow as pa

from dask_aesthetic.cli.ending import planning, stopping, working
from dask_aesthetic.cli.progress import Progress
from dask_aesthetic.cli.provenance import provenance, scale_of, threshold_of
from dask_aesthetic.cli.score import json_options
from dask_aesthetic.filter import Copiers, FilterPlan, FilterSummary, plan_filter, summary
from dask_aesthetic.inputs import parquet
from dask_aesthetic.inputs.files import find_files
from dask_aesthetic.inputs.layouts import inspect_all
from dask_aesthetic.job.running import run_plan
from dask_aesthetic.thresholds import find_threshold


@click.command("filter")
@click.argument("scored")
@click.option("--tars", "source", required=True, metavar="IN", help="Tars that were scored: a folder, file or glob.")
@click.option("--out", "output", required=True, metavar="OUT", help="Folder for the tars of kept samples.")
@click.option("--where", default="keep", metavar="COLUMN", help="Column of SCORED that says what is kept.")
@click.option(
    "--threshold",
    default=None,
    metavar="NUMBER|PRESET",
    help="Keep by the score instead: a number, or permissive, standard, high, premium.",
)
@click.option(
    "--scale",
    type=click.Choice(["raw", "unit"]),
    default=None,
    show_default="that of the run",
    help="Of scores in files that do not say: raw: about 1..10; unit: raw / 10.",
)
@click.option("--score-column", default="aesthetic_score", metavar="NAME")
@click.option(
    "--samples-per-shard",
    type=click.IntRange(min=1),
    default=None,
    help="Write tars of so many samples; the shards stay as they are if not given.",
)
@click.option("--score-in-json", is_flag=True, help="Put the score into each sample's JSON sidecar too.")
@click.option("--allow-unmatched", is_flag=True, help="Go on where samples have no row, or rows to keep no sample.")
@click.option(
    "--storage-options", callback=json_options, metavar="JSON", help="For fsspec, where SCORED, IN or OUT is a URL."
)
@click.option("--threads", type=click.IntRange(min=1), default=None, help="Copy in so many threads; one per core.")
@click.option("--overwrite", is_flag=True, help="Replace what was made with other settings, and files in the way.")
@click.option("--dry-run", is_flag=True, help="List what would be kept; write nothing.")
@click.option("--json", "as_json", is_flag=True, help="Tell what came out as one line of JSON.")
@click.option("--quiet", is_flag=True, help="No progress and no table.")
def filter_tars(
    scored: str,
    source: str,
    output: str,
    threads: int | None,
    dry_run: bool,
    as_json: bool,
    quiet: bool,
    **options: Any,
) -> None:
    """Copy the samples that SCORED keeps out of the tars in IN into tars in OUT, byte for byte.

    SCORED is a folder of Parquet files, a file or a glob, with the columns key and aesthetic_score, and shard where the
    tars share keys. The same command goes on where an earlier one was stopped. Exit status: 0 done, 1 a failure on the
    way, 2 bad usage, 130 and 143 stopped by Ctrl-C and SIGTERM.
    """
    with planning():
        plan = _plan(scored, source, output, **options)
    if dry_run:
        click.echo(plan.table())
        return
    with working(), Copiers(threads) as executor, Progress(plan, quiet) as progress, stopping(progress) as stop:
        markers = run_plan(plan, executor, progress=progress.done, stop=lambda: bool(stop))
    done = summary(plan, markers)
    if as_json:
        click.echo(json.dumps(asdict(done)))
    elif not quiet:
        click.echo(_table(done))


def _plan(
    scored: str,
    source: str,
    output: str,
    *,
    where: str,
    threshold: str | None,
    scale: str | None,
    score_column: str,
    storage_options: Mapping[str, Any] | None,
    **options: Any,
) -> FilterPlan:
    files = [file for file, _ in find_files(scored, ".parquet", storage_options)]
    footers = inspect_all(files, parquet.read_footer)
    schemas = [footer.schema for footer in footers]
    told = provenance(list(zip([file.path for file in files], schemas, strict=True)))
    scale = scale_of(scale, told)
    cut = None
    if threshold is not None:
        predictor = told.get("predictor", {"scale": "unknown", "name": ""})
        cut = find_threshold(threshold_of(threshold, told), scale, predictor["scale"], predictor["name"])
    names = [*(["shard"] if "shard" in schemas[0].names else []), "key", score_column, *([] if cut else [where])]
    schema = parquet.common_schema(zip(files, schemas, strict=True), names)
    rows = [footer.metadata.num_rows for footer in footers]
    table = pa.concat_tables([parquet.read_rows(file, schema, 0, n) for file, n in zip(files, rows, strict=True)])
    return plan_filter(
        table,
        output,
        where,
        tars=source,
        threshold=cut,
        scale=scale,
        score_column=score_column,
        storage_options=storage_options,
        **options,
    )


def _table(done: FilterSummary) -> str:
    """A line per fact."""
    facts = {
        "shards": f"{done.shards:,} -> {done.output}",
        "samples": f"{done.samples:,}",
        "kept": f"{done.kept:,} ({done.kept / max(done.samples, 1):.1%}), {done.members:,} members",
        "bytes": f"{done.bytes:,}",
        "unscored": f"{done.unscored:,} samples without a row, not kept" if done.unscored else "",
        "missing": f"{done.missing:,} rows to keep without a sample" if done.missing else "",
        "left out": ", ".join(f"{count:,} {reason}" for reason, count in done.left_out.items()),
        "notes": ", ".join(f"{count:,} {note}" for note, count in done.notes.items()),
    }
    return "\n".join(f"{name:>10}  {fact}" for name, fact in facts.items() if fact)
