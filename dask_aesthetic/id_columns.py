"""Names of columns that identify a row: one list for readers, jobs and reports."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from dask_aesthetic.defaults import HASH_COLUMN

ID_COLUMNS = ("key", "uid", "url", "hash", "id", "image_path")  # The most distinctive first.
LABEL_COLUMNS = ("key", "uid", "id", "hash", "url", "image_path")  # The same, the shortest to read first.


def repeating_columns(names: Iterable[str], score_columns: Iterable[str]) -> list[str]:
    """Names of the columns that Parquet files keep dictionaries of: ids, hashes and scores hardly repeat."""
    unique = {*ID_COLUMNS, HASH_COLUMN, *(name.lower() for name in score_columns)}
    return [name for name in names if name.lower() not in unique]


def find_id_column(names: Iterable[object], ranking: Sequence[str] = ID_COLUMNS) -> str | None:
    """Name of the column that identifies a row best, in any case; None if there is no such column.

    Examples
    --------
    >>> find_id_column(["URL", "id"]), find_id_column(["URL", "id"], LABEL_COLUMNS), find_id_column(["caption"])
    ('URL', 'id', None)
    """
    by_lower = {name.lower(): name for name in names if isinstance(name, str)}
    return next((by_lower[name] for name in ranking if name in by_lower), None)
