"""Rule for keep: conditions on scores and other columns, spelled as the filters of Dask and pyarrow."""

from __future__ import annotations

from dask_aesthetic.keep_rule.clause import Clause
from dask_aesthetic.keep_rule.masks import mask_of, type_of
from dask_aesthetic.keep_rule.override import Override, check_override
from dask_aesthetic.keep_rule.parse import parse_rule
from dask_aesthetic.keep_rule.rule import Keep, KeepRule, RuleCounts, add_rule_counts, both_error
from dask_aesthetic.keep_rule.spec import KeepSpec

__all__ = [
    "Clause",
    "Keep",
    "KeepRule",
    "KeepSpec",
    "Override",
    "RuleCounts",
    "add_rule_counts",
    "both_error",
    "check_override",
    "mask_of",
    "parse_rule",
    "type_of",
]
