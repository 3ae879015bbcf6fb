"""Ids of rows to keep or to drop, from Parquet files."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
import xxhash

from dask_aesthetic.errors import ColumnError
from dask_aesthetic.io import parquet
from dask_aesthetic.io.empty_table import empty_table
from dask_aesthetic.io.formats import inspect_all
from dask_aesthetic.io.listing import Source, find_files, format_source
from dask_aesthetic.score_files import ScoreFiles

SHARD = "shard"  # Beside the key, it keeps tars with the same keys apart.
_DECIMAL = "^(0|-?[1-9][0-9]*)$"  # An integer as it is written by default.


@dataclass(frozen=True)
class Ids:
    """Distinct ids of rows, as text.

    Attributes
    ----------
    columns : tuple of str
        Columns of the scores that hold the id: its own, and perhaps the shard's before it.
    texts : pandas.Index
        Sorted.
    """

    columns: tuple[str, ...]
    texts: pd.Index = field(repr=False)

    def match(self, batch: Any) -> np.ndarray:
        """Whether each row of a table or batch with `columns` has one of the ids."""
        texts = pd.Index(_texts(batch, self.columns).to_numpy(zero_copy_only=False), dtype=object)
        return np.asarray(self.texts.get_indexer(texts) >= 0)

    @cached_property
    def digest(self) -> str:
        """xxh3_128, in hexadecimal, of the ids."""
        state = xxhash.xxh3_128()
        for text in self.texts:
            state.update(f"{len(text)}:{text}".encode())
        return state.hexdigest()


def read_ids(source: Source, options: Mapping[str, Any] | None, id_column: str | None, scores: ScoreFiles) -> Ids:
    """Ids in Parquet files, in the column of the scores' id; with ``shard``, where the scores have it too.

    Parameters
    ----------
    source, options
        As of `find_files`.
    id_column : str or None
        Column of the scores that identifies a row.
    scores : ScoreFiles

    Raises
    ------
    ColumnError
        The scores or the files have no such column, or the ids are of a type that cannot be compared with the scores'.
    """
    names = scores.schema.names
    if id_column is None or id_column not in names:
        asked = "of ids (key, uid, url, hash, id, image_path)" if id_column is None else repr(id_column)
        raise ColumnError(f"expected a column {asked} beside the scores, got {', '.join(names)}: name it (--id-column)")
    files = [file for file, _ in find_files(source, ".parquet", options)]
    footers = inspect_all(files, parquet.read_footer)
    held = footers[0].schema.names
    if id_column not in held:
        raise ColumnError(
            f"expected a column {id_column!r} in {format_source(source)}, got {', '.join(held)}: rename it, or say by "
            "which column to match (--id-column)"
        )
    by_shard = SHARD in held and SHARD in names and id_column != SHARD
    columns = (SHARD, id_column) if by_shard else (id_column,)
    schema = parquet.common_schema(zip(files, [footer.schema for footer in footers], strict=True), list(columns))
    table = pa.concat_tables(
        parquet.read_rows(file, schema, 0, footer.metadata.num_rows)
        for file, footer in zip(files, footers, strict=True)
    )
    first = _first_batch(scores, columns)
    where = format_source(source)
    spelled = pa.table({name: _spelled_as(first.column(name), table.column(name), name, where) for name in columns})
    texts = pc.unique(_texts(spelled, columns)).drop_null()
    return Ids(columns, pd.Index(np.sort(texts.to_numpy(zero_copy_only=False)), dtype=object))


def _first_batch(scores: ScoreFiles, columns: Sequence[str]) -> Any:
    """The first rows of the scores."""
    for file in scores.files:
        for batch in parquet.batches(file.file, list(columns), batch_rows=parquet.TABLE_BATCH_ROWS):
            return batch
    return empty_table(scores.columns(columns))


def _spelled_as(keys: Any, ids: Any, name: str, where: str) -> Any:
    """Ids as texts, as the keys of the scores are spelled.

    Raises
    ------
    ColumnError
        They may mean the same and be spelled otherwise, as 7 and "007".
    """
    ids, kinds = _decoded(ids), (_kind(_decoded(ids).type), _kind(_decoded(keys).type))
    if pa.types.is_null(ids.type) or ids.null_count == len(ids):
        return pa.nulls(len(ids), pa.string())
    if kinds[0] == "floats" and kinds[1] != "floats":  # Such as pandas makes of integers beside nulls.
        try:
            ids, kinds = ids.cast(pa.int64()), ("integers", kinds[1])
        except pa.ArrowException as error:
            raise _other_ids(keys, ids, name, where) from error
    texts = _texts(pa.table({name: ids}), [name])
    if kinds[0] == kinds[1] or pa.types.is_null(keys.type):
        return texts
    if set(kinds) != {"integers", "texts"}:
        raise _other_ids(keys, ids, name, where)
    spelled = texts if kinds[0] == "texts" else _decoded(keys).cast(pa.string())
    odd = spelled.filter(pc.invert(pc.match_substring_regex(spelled, _DECIMAL))).drop_null()
    if len(odd):
        raise _other_ids(keys, ids, name, where, f" such as {odd[0].as_py()!r}")
    return texts


def _other_ids(keys: Any, ids: Any, name: str, where: str, example: str = "") -> ColumnError:
    return ColumnError(
        f"expected ids of the scores' type, {_decoded(keys).type}, in column {name!r} of {where}, got "
        f"{_decoded(ids).type}, which cannot be matched one to one{example and ': one side has texts' + example}: "
        "write the ids as the scores have them"
    )


def _decoded(column: Any) -> Any:
    return column.cast(column.type.value_type) if pa.types.is_dictionary(column.type) else column


def _kind(dtype: pa.DataType) -> str:
    if pa.types.is_integer(dtype):
        return "integers"
    if pa.types.is_floating(dtype):
        return "floats"
    texts = (pa.types.is_string, pa.types.is_large_string, pa.types.is_binary, pa.types.is_large_binary)
    return "texts" if any(is_kind(dtype) for is_kind in texts) else str(dtype)


def _texts(table: Any, columns: Sequence[str]) -> pa.Array:
    """One text per row; null where a column is."""
    try:
        texts = [table.column(name).cast(pa.string()) for name in columns]
    except pa.ArrowException as error:
        raise ColumnError(f"expected ids, texts or numbers, in {', '.join(columns)}: {error}") from error
    joined = texts[0] if len(texts) == 1 else pc.binary_join_element_wise(*texts, "\0")
    return joined.combine_chunks() if isinstance(joined, pa.ChunkedArray) else joined
