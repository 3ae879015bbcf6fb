"""Checks of a job's first rows: another width is an error before anything is written, another encoder a caution."""

from __future__ import annotations

from collections.abc import Sequence

import pyarrow as pa
import pyarrow.compute as pc

from dask_aesthetic.check import find_encoder_caution
from dask_aesthetic.embeddings.axes import drop_axes
from dask_aesthetic.errors import ColumnError
from dask_aesthetic.io.shard import first_of_each
from dask_aesthetic.io.shards import Shard
from dask_aesthetic.predictors import Predictor
from dask_aesthetic.score_spec import refuse_width, width_error
from dask_aesthetic.shard_texts import TextSide


def refuse_other_widths(shards: Sequence[Shard], predictor: Predictor, embedding_column: str) -> None:
    """Refuse shards whose embeddings have another width by their type.

    Raises
    ------
    ColumnError
        With the predictors that take that width.
    """
    for shard in first_of_each((one for one in shards if one.rows), lambda one: one.scored_type):
        refuse_width(shard.width, predictor, embedding_column, f" in shard {shard.name}")


def check_first_rows(
    shards: Sequence[Shard], predictor: Predictor, embedding_column: str, allow_unusable: bool
) -> str | None:
    """A caution if the first rows look like texts' embeddings or another encoder's; None if there is none.

    Raises
    ------
    ColumnError
        They all have another width than the predictor takes, and `allow_unusable` does not allow that.
    """
    first = next((shard for shard in shards if shard.rows and not pa.types.is_null(shard.scored_type)), None)
    if first is None:
        return None
    _, lists = next(iter(first.batches([], paged=True)))
    widths = [width for width in _lengths(lists) if width]
    if widths and predictor.width not in widths:
        if allow_unusable:
            return None
        raise width_error(widths, predictor, embedding_column, f" in shard {first.name}")
    caution = find_encoder_caution(lists, predictor)
    return caution and f"first {len(lists):,} rows of shard {first.name}: {caution}"


def check_first_texts(shards: Sequence[Shard], texts: TextSide) -> None:
    """Refuse shards whose first text embeddings all have another width than the images.

    Raises
    ------
    ColumnError
    """
    first = next((shard for shard in shards if shard.rows and not pa.types.is_null(texts.field_of(shard).type)), None)
    if first is None:
        return
    batch, _ = next(iter(first.batches([texts.column], paged=True)))
    widths = [width for width in _lengths(texts.lists(batch.column(texts.column))) if width]
    if widths and texts.width not in widths:
        raise ColumnError(f"{texts.other_width(', '.join(map(str, widths[:5])))} (in {first.files[0].path})")


def _lengths(lists: pa.Array) -> list[int]:
    """Distinct lengths of the lists that are not null."""
    return sorted(pc.unique(pc.list_value_length(drop_axes(lists))).drop_null().to_pylist())
