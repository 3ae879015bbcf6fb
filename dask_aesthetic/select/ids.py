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
from dask_aesthetic.io.formats import inspect_all
from dask_aesthetic.io.listing import Source, find_files, format_source

SHARD = "shard"  # Beside the key, it keeps tars with the same keys apart.


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


def read_ids(source: Source, options: Mapping[str, Any] | None, id_column: str | None, names: Sequence[str]) -> Ids:
    """Ids in Parquet files: a column of the id's name, or the only one; with ``shard``, where the scores have it too.

    Parameters
    ----------
    source, options
        As of `find_files`.
    id_column : str or None
        Column of the scores that identifies a row.
    names : list of str
        Columns of the scores.

    Raises
    ------
    ColumnError
        The scores or the files have no such column.
    """
    if id_column is None or id_column not in names:
        asked = "of ids (key, uid, url, hash, id, image_path)" if id_column is None else repr(id_column)
        raise ColumnError(f"expected a column {asked} beside the scores, got {', '.join(names)}: name it (--id-column)")
    files = [file for file, _ in find_files(source, ".parquet", options)]
    footers = inspect_all(files, parquet.read_footer)
    held = footers[0].schema.names
    if id_column not in held and len(held) != 1:
        raise ColumnError(f"expected a column {id_column!r} in {format_source(source)}, got {', '.join(held)}")
    by_shard = SHARD in held and SHARD in names and id_column in held and id_column != SHARD
    theirs = [*([SHARD] if by_shard else []), id_column if id_column in held else held[0]]
    schema = parquet.common_schema(zip(files, [footer.schema for footer in footers], strict=True), theirs)
    tables = [
        parquet.read_rows(file, schema, 0, footer.metadata.num_rows)
        for file, footer in zip(files, footers, strict=True)
    ]
    texts = pc.unique(_texts(pa.concat_tables(tables), theirs)).drop_null()
    columns = (SHARD, id_column) if by_shard else (id_column,)
    return Ids(columns, pd.Index(np.sort(texts.to_numpy(zero_copy_only=False)), dtype=object))


def _texts(table: Any, columns: Sequence[str]) -> pa.Array:
    """One text per row; null where a column is."""
    try:
        texts = [table.column(name).cast(pa.string()) for name in columns]
    except pa.ArrowException as error:
        raise ColumnError(f"expected ids, texts or numbers, in {', '.join(columns)}: {error}") from error
    joined = texts[0] if len(texts) == 1 else pc.binary_join_element_wise(*texts, "\0")
    return joined.combine_chunks() if isinstance(joined, pa.ChunkedArray) else joined
