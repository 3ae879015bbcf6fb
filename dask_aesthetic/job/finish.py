"""The end of a run: the manifest that says that everything is there."""

from __future__ import annotations

import json

from dask_aesthetic.job.markers import Marker, output_name
from dask_aesthetic.job.plan import SUCCESS, Plan


def succeed(plan: Plan, markers: dict[str, Marker]) -> None:
    """Write the manifest, last of all.

    Raises
    ------
    AssertionError
        Rows are lost.
    """
    done = [markers[shard.name] for shard in plan.shards]
    rows = sum(marker.rows for marker in done)
    if rows != plan.rows:
        raise AssertionError(f"expected {plan.rows:,} rows in the output, got {rows:,}")
    manifest = {
        "settings": plan.settings.told(),
        "rows": rows,
        "scored": sum(marker.scored for marker in done),
        "kept": sum(marker.kept for marker in done),
        "shards": [
            {
                "name": output_name(marker.shard),
                "rows": marker.rows,
                "scored": marker.scored,
                "kept": marker.kept,
                "failed": marker.failed,
                **marker.output,
                "content": marker.content,
            }
            for marker in done
        ],
    }
    plan.store.write(SUCCESS, json.dumps(manifest, indent=1).encode())
