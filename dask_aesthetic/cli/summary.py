"""What a run did, for people and for programs."""

from __future__ import annotations

import json

from dask_aesthetic.job import JobSummary, ScorePlan
from dask_aesthetic.job.markers import FAILED

QUANTILES = (0.01, 0.25, 0.5, 0.75, 0.99)


def as_table(summary: JobSummary, plan: ScorePlan, seconds: float) -> str:
    """A line per fact."""
    spec, cut = plan.settings.spec, plan.settings.spec.threshold
    share = summary.kept / summary.scored if summary.scored else 0.0
    now = summary.rows - plan.rows_done
    failed = ", ".join(f"{n:,} {reason}" for reason, n in summary.failed.items())
    rows = {
        "shards": f"{summary.files:,} -> {plan.store.url}",
        "before": f"{len(plan.done):,} shards, {plan.rows_done:,} rows done by earlier runs" if plan.done else "",
        "rows": f"{summary.rows:,}",
        "scored": f"{summary.scored:,}",
        "failed": f"{failed} (listed in {FAILED})" if failed else "0",
        "kept": f"{summary.kept:,} ({share:.1%} of the scored: {cut.scale} score >= {cut.value:g})",
        "raw score": ", ".join(f"{q:.0%} {summary.quantile(q):.2f}" for q in QUANTILES) + "  (quantiles)",
        "predictor": f"{spec.predictor.info.name}, for {spec.predictor.info.encoder} embeddings",
        "seconds": f"{seconds:.2f} ({now / max(seconds, 1e-9):,.0f} rows/s)",
    }
    return "\n".join(f"{name:>10}  {value}" for name, value in rows.items() if value)


def as_json(summary: JobSummary, plan: ScorePlan, seconds: float) -> str:
    """One line."""
    told = {
        "output": plan.store.url,
        "shards": summary.files,
        "shards_done_before": len(plan.done),
        "rows": summary.rows,
        "scored": summary.scored,
        "failed": summary.failed,
        "kept": summary.kept,
        "quantiles": {str(q): summary.quantile(q) for q in QUANTILES} if summary.scored else {},
        "notes": list(plan.notes),
        "seconds": round(seconds, 3),
        "rows_per_second": round((summary.rows - plan.rows_done) / max(seconds, 1e-9)),
        "settings": plan.settings.as_config(),
    }
    return json.dumps(told)
