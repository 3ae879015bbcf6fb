"""Count of a list column's values against the footer, which tells of damaged repetition levels.

A level that says by mistake that a row begins makes one row more. pyarrow reads as many rows as the footer has, so it
leaves the last values of the row group unread, and every row behind the damage holds another one's values. Checksums of
pages would tell, which most files do not have.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from dask_aesthetic.embeddings.axes import find_offsets, list_storage
from dask_aesthetic.errors import InputError


class LevelCount:
    """Values of list columns that were read of whole row groups, to compare with what the footer has.

    Parameters
    ----------
    source : pyarrow.parquet.ParquetFile
    groups : list of int
        Row groups that are read to their end.
    columns : list of str
        Columns that are read; only lists of plain values among them are counted.
    """

    def __init__(self, source: pq.ParquetFile, groups: list[int], columns: list[str]) -> None:
        self._counts: dict[str, int] = {}
        self._expected: dict[str, int] = {}
        for name in columns:
            leaf = _find_leaf(source, name)
            if leaf is not None:
                self._counts[name] = 0
                chunks = (source.metadata.row_group(group).column(leaf) for group in groups)
                self._expected[name] = sum(chunk.num_values for chunk in chunks)

    def add(self, batch: pa.RecordBatch) -> None:
        """Count the values of a batch; a null or empty list counts as one, as in a page."""
        for name in self._counts:
            lists: Any = batch.column(name)
            if len(lists):
                offsets = find_offsets(lists)
                lengths = offsets[1:] - offsets[:-1]
                if lists.null_count:
                    lengths[lists.is_null().to_numpy(zero_copy_only=False)] = 0
                self._counts[name] += int(np.maximum(lengths, 1).sum())

    def check(self, path: str) -> None:
        """Raise InputError if fewer values were read than the footer has."""
        for name, expected in self._expected.items():
            if self._counts[name] < expected:
                raise InputError(
                    f"expected {expected:,} values in the rows of column {name!r} of {path}, as its footer has, got "
                    f"{self._counts[name]:,}: its repetition levels are damaged, which moves values to other rows. "
                    "Write the file again"
                )


def _find_leaf(source: pq.ParquetFile, column: str) -> int | None:
    """Index of the leaf of a column of variable lists of plain values; None for other columns."""
    at = source.schema_arrow.get_field_index(column)
    dtype = source.schema_arrow.field(at).type if at >= 0 else None
    if dtype is None or not (pa.types.is_list(dtype) or pa.types.is_large_list(dtype)):
        return None
    if list_storage(dtype.value_type) is not None or pa.types.is_nested(dtype.value_type):
        return None
    leaves = [k for k in range(len(source.schema)) if f"{source.schema.column(k).path}.".startswith(f"{column}.")]
    return leaves[0] if len(leaves) == 1 else None
