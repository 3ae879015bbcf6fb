"""Rows to drop because another row has the same hash: exact, with a bit per row and a bounded number of hashes."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from dask_aesthetic.defaults import HASH_COLUMN
from dask_aesthetic.errors import ColumnError
from dask_aesthetic.io import parquet
from dask_aesthetic.score_files import ScoreFile, ScoreFiles

PASS_ROWS = 1 << 26  # Hashes that are held at a time: 0.5 GB.
PENDING_ROWS = 1 << 21  # Rows with repeated hashes that wait to be ranked.
Competing = Callable[[Any], np.ndarray]  # Whether each row of a batch may be the one that stays.


@dataclass(frozen=True)
class Duplicates:
    """Rows to drop.

    Attributes
    ----------
    bits : dict of int to numpy.ndarray
        A bit per row of a file, packed, by the number of the file; files without such rows are left out.
    """

    bits: Mapping[int, np.ndarray] = field(default_factory=dict, repr=False)

    def drops(self, number: int, first: int, rows: int) -> np.ndarray:
        """Whether to drop each of so many rows of a file, from row `first` on."""
        if number not in self.bits:
            return np.zeros(rows, bool)
        start = first // 8
        bits = np.unpackbits(self.bits[number][start : -(-(first + rows) // 8)])
        return bits[first - 8 * start :][:rows].astype(bool)

    @property
    def digest(self) -> str:
        """sha256, in hexadecimal, of the rows to drop."""
        state = hashlib.sha256()
        for number, bits in sorted(self.bits.items()):
            state.update(b"%d:%d:" % (number, len(bits)))
            state.update(bits.tobytes())
        return state.hexdigest()


def check_hashes(scores: ScoreFiles) -> None:
    """Refuse scores without a column of hashes.

    Raises
    ------
    ColumnError
    """
    names = scores.schema.names
    if HASH_COLUMN not in names:
        raise ColumnError(
            f"expected a column {HASH_COLUMN!r} beside the scores to drop duplicates by, got {', '.join(names)}: score "
            "with embedding_hash=True (--embedding-hash)"
        )
    dtype = scores.schema.field(HASH_COLUMN).type
    if not pa.types.is_uint64(dtype):
        raise ColumnError(f"expected hashes, a column of uint64, in {HASH_COLUMN!r}, got {dtype}")


def find_duplicates(
    files: Sequence[ScoreFile],
    id_column: str | None,
    competing: Competing,
    columns: Sequence[str],
    threads: int,
    pass_rows: int = PASS_ROWS,
) -> Duplicates:
    """Rows whose hash a row with a lower id has, or with the same or no id a row that comes first.

    Rows without an id come last, and rows without a hash stay. Each pass takes a share of the hashes: a first reading
    finds the repeated ones, a second one ranks the rows that have them.

    Parameters
    ----------
    files : list of ScoreFile
    id_column : str or None
    competing : callable
        Rows that it denies neither stay nor drop others.
    columns : list of str
        Columns that `competing` needs.
    threads : int
    pass_rows : int
        Hashes that are held at a time.
    """
    read = list(dict.fromkeys([HASH_COLUMN, *columns]))
    ranked = list(dict.fromkeys([*read, *([] if id_column is None else [id_column])]))
    passes = max(-(-sum(file.rows for file in files) // pass_rows), 1)
    bits: dict[int, np.ndarray] = {}
    with ThreadPoolExecutor(threads) as pool:
        for share in range(passes):
            parts = pool.map(lambda file: _hashes(file, read, competing, passes, share), files)  # noqa: B023
            repeated = _repeated(parts)
            if len(repeated):
                found = pool.map(
                    lambda at: _candidates(files[at], at, ranked, id_column, competing, repeated),  # noqa: B023
                    range(len(files)),
                )
                for number, dropped in _losers(found, files).items():
                    bits[number] = bits[number] | dropped if number in bits else dropped
    return Duplicates(bits)


def _batches(file: ScoreFile, columns: Sequence[str], competing: Competing) -> Iterator[tuple[int, Any, Any, Any]]:
    """Position of the first row of each batch, the batch, and the positions and hashes of its competing rows."""
    first = 0
    for batch in parquet.batches(file.file, list(columns), batch_rows=parquet.TABLE_BATCH_ROWS):
        hashes = batch.column(HASH_COLUMN)
        at = np.flatnonzero(competing(batch) & np.asarray(hashes.is_valid()))
        yield first, batch, at, hashes.fill_null(0).to_numpy(zero_copy_only=False)[at]
        first += len(batch)


def _hashes(file: ScoreFile, columns: Sequence[str], competing: Competing, passes: int, share: int) -> np.ndarray:
    parts = [hashes[hashes % np.uint64(passes) == share] for *_, hashes in _batches(file, columns, competing)]
    return np.concatenate([np.zeros(0, np.uint64), *parts])


def _repeated(parts: Iterable[np.ndarray]) -> np.ndarray:
    """Values that occur several times, rising."""
    hashes = np.concatenate([np.zeros(0, np.uint64), *parts])
    hashes.sort()
    return np.unique(hashes[1:][hashes[1:] == hashes[:-1]])


def _candidates(
    file: ScoreFile,
    number: int,
    columns: Sequence[str],
    id_column: str | None,
    competing: Competing,
    repeated: np.ndarray,
) -> list[pa.Table]:
    """Rows of a file with repeated hashes: hash, id, number of the file and position."""
    found = []
    for first, batch, at, hashes in _batches(file, columns, competing):
        has = repeated[np.minimum(np.searchsorted(repeated, hashes), len(repeated) - 1)] == hashes
        at = at[has]
        ids = pa.nulls(len(at), pa.int8()) if id_column is None else batch.column(id_column).take(pa.array(at))
        if pa.types.is_dictionary(ids.type):
            ids = ids.cast(ids.type.value_type)
        columns_ = [pa.array(hashes[has]), ids, pa.array(np.full(len(at), number)), pa.array(at + first)]
        found.append(pa.table(columns_, names=["hash", "id", "number", "row"]))
    return found


def _losers(found: Iterable[list[pa.Table]], files: Sequence[ScoreFile]) -> dict[int, np.ndarray]:
    """Packed bits of all candidates but the first of each hash, by the number of the file."""
    bits: dict[int, np.ndarray] = {}
    pending: list[pa.Table] = []
    waiting = ranked = 0
    for number, tables in enumerate(found):
        rows = np.concatenate([np.zeros(0, np.int64), *(table.column("row").to_numpy() for table in tables)])
        if not len(rows):
            continue
        mask = np.zeros(files[number].rows, bool)
        mask[rows] = True
        bits[number] = np.packbits(mask)
        pending += tables
        waiting += len(rows)
        if waiting > ranked + PENDING_ROWS:
            pending = [_first_of_each(pending)]
            waiting = ranked = len(pending[0])
    if not pending:
        return {}
    winners = _first_of_each(pending)
    numbers, rows = winners.column("number").to_numpy(), winners.column("row").to_numpy()
    order = np.argsort(numbers, kind="stable")
    numbers, rows = numbers[order], rows[order]
    edges = np.searchsorted(numbers, np.arange(len(files) + 1))
    for number in bits:
        kept = np.zeros(files[number].rows, bool)
        kept[rows[edges[number] : edges[number + 1]]] = True
        bits[number] = bits[number] & ~np.packbits(kept)
    return bits


def _first_of_each(tables: Sequence[pa.Table]) -> pa.Table:
    """The first row of each hash, by id and position."""
    table = pa.concat_tables(tables, promote_options="default")
    try:
        order = pc.sort_indices(table, [(name, "ascending") for name in ("hash", "id", "number", "row")])
    except pa.ArrowException as error:
        raise ColumnError(f"expected ids that can be sorted, such as texts or numbers: {error}") from error
    table = table.take(order)
    hashes = table.column("hash").to_numpy()
    return table.filter(pa.array(np.concatenate([[True], hashes[1:] != hashes[:-1]])))
