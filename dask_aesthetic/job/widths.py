"""A look at the first rows, so that another encoder's embeddings are refused before anything is written."""

from __future__ import annotations

from collections.abc import Sequence

import pyarrow as pa
import pyarrow.compute as pc

from dask_aesthetic.errors import ColumnError
from dask_aesthetic.inputs.shards import Shard
from dask_aesthetic.predictors import Predictor, catalogue


def refuse_other_widths(shards: Sequence[Shard], predictor: Predictor, embedding_column: str) -> None:
    """Refuse shards whose embeddings have another width by their type, or throughout the first rows.

    Raises
    ------
    ColumnError
        With the predictors that take that width.
    """
    for shard in shards:
        if shard.width is not None and shard.width != predictor.width and shard.rows:
            raise _error(shard, [shard.width], predictor, embedding_column)
    first = next((shard for shard in shards if shard.rows), None)
    if first is None:
        return
    _, lists = next(iter(first.batches([], access="paged")))
    widths = [width for width in _lengths(lists) if width]
    if widths and predictor.width not in widths:
        raise _error(first, widths, predictor, embedding_column)


def _lengths(lists: pa.Array) -> list[int]:
    """The different numbers of floats in rows that are not null."""
    storage = lists.storage if isinstance(lists, pa.ExtensionArray) else lists
    return sorted(pc.unique(pc.list_value_length(storage)).drop_null().to_pylist())


def _error(shard: Shard, widths: list[int], predictor: Predictor, embedding_column: str) -> ColumnError:
    told = ", ".join(map(str, widths[:5]))
    names = [name for name, info in catalogue().items() if info.width in widths]
    hint = f". Predictors that take {told}: {', '.join(names)}" if names else ""
    return ColumnError(
        f"expected {predictor.width} floats per row in {embedding_column!r} for {predictor.info.name}, got {told} in "
        f"shard {shard.name}{hint}"
    )
