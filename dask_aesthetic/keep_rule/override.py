"""Column of bool or null whose values win over what a rule or threshold keeps."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from dask_aesthetic.errors import ColumnError
from dask_aesthetic.keep_rule.clause import missing_column
from dask_aesthetic.keep_rule.masks import Mask, is_cudf, to_arrow, type_of


class Override(NamedTuple):
    """Rows to keep and rows to drop in any case; null rows are in neither."""

    keep: Mask
    drop: Mask

    @classmethod
    def nowhere(cls, rows: int) -> Override:
        """No override of so many rows, on the CPU."""
        return cls(np.zeros(rows, bool), np.zeros(rows, bool))

    @classmethod
    def of(cls, column: Any, name: str) -> Override:
        """Override by a column of bools.

        Raises
        ------
        ColumnError
            The column holds something else.
        """
        if is_cudf(column):
            check_override(name, {name: type_of(column.iloc[:0], name)})
            return cls(column.fillna(False).astype(bool), ~column.fillna(True).astype(bool))
        values = to_arrow(column, name)
        check_override(name, {name: values.type})
        flags = values.cast(pa.bool_())
        keep, drop = pc.fill_null(flags, False), pc.invert(pc.fill_null(flags, True))
        return cls(keep.to_numpy(zero_copy_only=False), drop.to_numpy(zero_copy_only=False))

    def apply(self, keep: Mask) -> Mask:
        """What is kept, with the override."""
        return (keep | self.keep) & ~self.drop


def check_override(name: str | None, types: Mapping[str, pa.DataType]) -> None:
    """Refuse an override column that does not exist, or whose type is not bool; null passes.

    Raises
    ------
    ColumnError
    """
    if name is None:
        return
    if name not in types:
        raise missing_column(f"override_column={name!r} to be a column", name, types)
    dtype = types[name]
    if not pa.types.is_boolean(dtype) and not pa.types.is_null(dtype):
        raise ColumnError(f"expected override_column, a column of true, false or null, in {name!r}, got {dtype}")
