"""Whether a column holds embeddings that can be scored, and what to do if not."""

from __future__ import annotations

from dask_aesthetic.check.caution import caution_of
from dask_aesthetic.check.facts import Facts, sum_facts
from dask_aesthetic.check.findings import Finding
from dask_aesthetic.check.measure import check_spec, facts_of
from dask_aesthetic.check.result import Check
from dask_aesthetic.check.sampling import check_sample, chosen_parts, pieces, rows_each

__all__ = [
    "Check",
    "Facts",
    "Finding",
    "caution_of",
    "check_sample",
    "check_spec",
    "chosen_parts",
    "facts_of",
    "pieces",
    "rows_each",
    "sum_facts",
]
