"""What decides about a keep column: a rule, and a column that wins over it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pyarrow as pa

from dask_aesthetic.keep_rule.masks import mask_of
from dask_aesthetic.keep_rule.override import Override, check_override
from dask_aesthetic.keep_rule.rule import KeepRule, RuleCounts


@dataclass(frozen=True)
class KeepSpec:
    """Rule and override of a keep column.

    Attributes
    ----------
    rule : KeepRule
    override_column : str or None
    """

    rule: KeepRule
    override_column: str | None = None

    @property
    def columns(self) -> list[str]:
        """Names of the columns that decide."""
        names = [*self.rule.columns, *([] if self.override_column is None else [self.override_column])]
        return list(dict.fromkeys(names))

    def check(self, types: Mapping[str, pa.DataType]) -> None:
        """Refuse a rule or override that does not fit columns of these types, as of `KeepRule.check`.

        Raises
        ------
        ColumnError, ArgumentError
        """
        self.rule.check(types)
        check_override(self.override_column, types)

    def evaluate(self, columns: Mapping[str, Any]) -> tuple[np.ndarray, RuleCounts]:
        """Rows to keep, of Arrow or numpy columns, and what rule and override keep of them."""
        keep, counts = self.rule.evaluate(columns)
        if self.override_column is None:
            return keep, counts
        override = Override.of(columns[self.override_column], self.override_column)
        kept, dropped = int((override.keep & ~keep).sum()), int((override.drop & keep).sum())
        return override.apply(keep), replace(counts, override_kept=kept, override_dropped=dropped)

    def series(self, columns: Mapping[str, Any]) -> Any:
        """Bool Series of the rows to keep, of pandas or cuDF columns of one index."""
        mask = self.rule.mask(columns)
        if self.override_column is not None:
            mask = Override.of(columns[self.override_column], self.override_column).apply(mask)
        return mask_of(mask, columns[self.rule.columns[0]])
