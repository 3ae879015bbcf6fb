"""Which samples of which tars are kept, by the rows that were scored."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc

from dask_aesthetic.errors import ColumnError, InputError
from dask_aesthetic.inputs.layouts import inspect_all
from dask_aesthetic.inputs.tar import read_index
from dask_aesthetic.inputs.tars import Tar

SHARD, KEY = "shard", "key"
_TOLD = 3  # Keys named in an error.


@dataclass(frozen=True)
class Piece:
    """Samples of a tar that are kept, in its order.

    Attributes
    ----------
    tar : Tar
    keys : pyarrow.Array of string
    scores : numpy.ndarray of float32
    """

    tar: Tar
    keys: pa.Array
    scores: np.ndarray

    def __len__(self) -> int:
        return len(self.keys)


@dataclass
class Counts:
    """How scored rows and samples meet.

    Attributes
    ----------
    samples : int
        In the tars.
    kept : int
        Of them.
    unscored : int
        Samples without a row, which are not kept.
    missing : int
        Rows to keep that no tar has a sample of.
    left_out : dict of str to int
        What cannot be copied, by `sample_status`: members that are part of no sample, and samples to keep whose members
        are there twice.
    """

    samples: int = 0
    kept: int = 0
    unscored: int = 0
    missing: int = 0
    left_out: dict[str, int] = field(default_factory=dict)


@dataclass(frozen=True)
class Scored:
    """Rows that say what is kept.

    Attributes
    ----------
    keys : pandas.Index of str
        No two are the same.
    scores : numpy.ndarray of float32
    keep : numpy.ndarray of bool
    """

    keys: pd.Index
    scores: np.ndarray
    keep: np.ndarray

    @classmethod
    def of(cls, table: pa.Table) -> Scored:
        """The rows of a table that have a key."""
        table = table.filter(pc.is_valid(table.column(KEY)))
        keys = pd.Index(table.column(KEY).to_numpy(), dtype=object)
        if not keys.is_unique:
            told = ", ".join(map(repr, keys[keys.duplicated()].unique()[:_TOLD]))
            raise InputError(
                f"expected a row per sample, got several of {told}: drop repeated rows; or, where tars share keys, "
                "score a frame of read_webdataset, whose column 'shard' keeps them apart"
            )
        scores = table.column("score").to_numpy().astype(np.float32)
        return cls(keys, scores, table.column("keep").to_numpy())


@dataclass(frozen=True)
class _Met:
    """A tar's samples beside the scored rows: the position of each one's row, or -1."""

    keys: list[str]
    rows: np.ndarray
    whole: np.ndarray
    faults: Counter[str]


def score_table(frame: Any, score_column: str, keep_column: str, cut: float | None) -> pa.Table:
    """The columns shard (where there is one), key, score and keep of a frame that holds its rows, or a table.

    Parameters
    ----------
    frame : pandas.DataFrame, cudf.DataFrame or pyarrow.Table
    score_column, keep_column : str
    cut : float or None
        The lowest score kept; what `keep_column` says if None.
    """
    names = [SHARD, KEY] if SHARD in _names(frame) else [KEY]
    asked = [*names, score_column, *([keep_column] if cut is None else [])]
    for name in asked:
        if name not in _names(frame):
            raise ColumnError(f"expected column {name!r} beside the scores, got {', '.join(map(str, _names(frame)))}")
    if isinstance(frame, pa.Table):
        table = frame.select(asked)
    elif hasattr(frame, "to_arrow"):  # cuDF
        table = frame[asked].to_arrow(preserve_index=False)
    else:
        table = pa.Table.from_pandas(frame[asked], preserve_index=False)
    texts = {name: _texts(table.column(name), name) for name in names}
    scores = _floats(table.column(score_column), score_column)
    if cut is None:
        keep = table.column(keep_column)
        if not pa.types.is_boolean(keep.type) and len(keep) != keep.null_count:
            raise ColumnError(f"expected True or False in column {keep_column!r}, got {keep.type}")
        kept = pc.fill_null(keep.cast(pa.bool_()), False)
    else:
        kept = pc.fill_null(pc.greater_equal(scores, pa.scalar(cut, pa.float32())), False)
    return pa.table({**texts, "score": scores, "keep": kept})


def meet(table: pa.Table, tars: Sequence[Tar]) -> tuple[list[Piece], Counts]:
    """Look every sample of the tars up among the scored rows; the headers of all tars are read.

    Raises
    ------
    InputError
        Tars are damaged, keys are ambiguous.
    """
    by_shard = SHARD in table.column_names
    parts = _by_shard(table, tars) if by_shard else {"": Scored.of(table)}
    met = inspect_all(tars, lambda tar: _meet(tar, parts[tar.name if by_shard else ""]))
    pieces, counts = [], Counts()
    used = {name: np.zeros(len(scored.keys), bool) for name, scored in parts.items()}
    for tar, its in zip(tars, met, strict=True):
        name = tar.name if by_shard else ""
        scored, found = parts[name], its.rows >= 0
        rows = its.rows[found]
        if used[name][rows].any():
            twice = scored.keys[rows[used[name][rows]][0]]
            raise InputError(
                f"expected each key in one tar, got {twice!r} in {tar.file.path} and in another: score a frame of "
                "read_webdataset, whose column 'shard' keeps them apart"
            )
        used[name][rows] = True
        asked = np.zeros(len(found), bool)
        asked[found] = scored.keep[rows]
        kept = asked & its.whole
        pieces.append(Piece(tar, pa.array(its.keys, pa.string()).filter(pa.array(kept)), scored.scores[its.rows[kept]]))
        counts.samples += len(found)
        counts.kept += int(kept.sum())
        counts.unscored += int((~found).sum())
        its.faults["duplicate_member"] += int((asked & ~its.whole).sum())
        counts.left_out = dict(+(Counter(counts.left_out) + its.faults))
    there = sum(int((scored.keep & used[name]).sum()) for name, scored in parts.items())
    counts.missing = pc.sum(table.column("keep").cast(pa.int64()), min_count=0).as_py() - there
    return pieces, counts


def _meet(tar: Tar, scored: Scored) -> _Met:
    index = read_index(tar.file)
    if index.damage is not None:
        raise InputError(f"expected a whole tar, got {tar.file.path}, which is damaged {index.damage}")
    samples = [sample for sample in index.samples if sample.key is not None]
    faults = Counter(sample.fault.status for sample in index.samples if sample.key is None and sample.fault)
    keys = [sample.key for sample in samples if sample.key is not None]
    rows = scored.keys.get_indexer(pd.Index(keys, dtype=object))
    return _Met(keys, rows, np.array([not sample.repeated for sample in samples], bool), faults)


def _by_shard(table: pa.Table, tars: Sequence[Tar]) -> dict[str, Scored]:
    """The rows of each tar, none where it has none."""
    shards = table.column(SHARD).combine_chunks().dictionary_encode()
    codes = pc.fill_null(shards.indices, -1).to_numpy(zero_copy_only=False)
    order = np.argsort(codes, kind="stable")
    names = shards.dictionary.to_pylist()
    edges = np.searchsorted(codes[order], np.arange(len(names) + 1))
    rows = {name: order[edges[at] : edges[at + 1]] for at, name in enumerate(names)}
    rest = table.drop_columns(SHARD).combine_chunks()
    none = np.zeros(0, np.int64)
    return {tar.name: Scored.of(rest.take(pa.array(rows.get(tar.name, none)))) for tar in tars}


def _names(frame: Any) -> list[Any]:
    return list(frame.column_names if isinstance(frame, pa.Table) else frame.columns)


def _texts(column: pa.ChunkedArray, name: str) -> pa.ChunkedArray:
    plain = column.type.value_type if pa.types.is_dictionary(column.type) else column.type
    if not (pa.types.is_string(plain) or pa.types.is_large_string(plain) or pa.types.is_null(plain)):
        raise ColumnError(f"expected strings in column {name!r}, got {column.type}")
    return column.cast(pa.string())


def _floats(column: pa.ChunkedArray, name: str) -> pa.ChunkedArray:
    if not (pa.types.is_floating(column.type) or pa.types.is_null(column.type)):
        raise ColumnError(f"expected scores, a column of floats, in {name!r}, got {column.type}")
    return column.cast(pa.float32(), safe=False)
