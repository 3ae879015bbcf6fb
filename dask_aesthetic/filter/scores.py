"""Join of scored rows with the samples of tars."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc

from dask_aesthetic.errors import ColumnError, InputError, did_you_mean
from dask_aesthetic.io.formats import inspect_all
from dask_aesthetic.io.tar import read_index
from dask_aesthetic.io.webdataset import Tar, names_in
from dask_aesthetic.thresholds import Threshold

SHARD, KEY = "shard", "key"
_SHOWN = 3  # Keys named in an error.
_SEVERAL = (
    "expected a row per sample, got several of {}: drop repeated rows; or, if tars share keys, scores need a column "
    "'shard' that keeps them apart, as read_webdataset gives it and score --columns key,shard passes it through"
)


@dataclass(frozen=True)
class KeptSamples:
    """Kept samples of a tar, in its order.

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
    """Counts of the join of scored rows and samples.

    Attributes
    ----------
    samples : int
        Samples in the tars.
    kept : int
        Samples to keep.
    unscored : int
        Samples without a row, which are not kept.
    missing : int
        Rows to keep without a sample in any tar.
    left_out : dict of str to int
        Members and samples that cannot be copied, by `sample_status`: members outside of samples, and samples to keep
        with duplicate members.
    """

    samples: int = 0
    kept: int = 0
    unscored: int = 0
    missing: int = 0
    left_out: dict[str, int] = field(default_factory=dict)


@dataclass(frozen=True)
class Scored:
    """Scored rows by key.

    Attributes
    ----------
    keys : pandas.Index of str
        Unique.
    scores : numpy.ndarray of float32
    keep : numpy.ndarray of bool
    """

    keys: pd.Index
    scores: np.ndarray
    keep: np.ndarray

    @classmethod
    def of(cls, table: pa.Table, several: str = _SEVERAL) -> Scored:
        """Scored rows of a table, without rows that have no key; `several` is the error about repeated keys."""
        table = table.filter(pc.is_valid(table.column(KEY)))
        keys = pd.Index(table.column(KEY).to_numpy(), dtype=object)
        if not keys.is_unique:
            duplicates = ", ".join(map(repr, keys[keys.duplicated()].unique()[:_SHOWN]))
            raise InputError(several.format(duplicates))
        scores = table.column("score").to_numpy().astype(np.float32)
        return cls(keys, scores, table.column("keep").to_numpy())


@dataclass(frozen=True)
class _JoinedTar:
    """Samples of a tar with the position of each one's scored row, -1 for none."""

    keys: list[str]
    rows: np.ndarray
    has_unique_members: np.ndarray
    faults: Counter[str]


def score_table(
    frame: Any, score_column: str, keep_column: str, threshold: Threshold | None, ids: Sequence[str]
) -> pa.Table:
    """Table of the ids, score and keep of scored rows.

    Parameters
    ----------
    frame : pandas.DataFrame, cudf.DataFrame or pyarrow.Table
    score_column, keep_column : str
    threshold : Threshold or None
        Of the scores; None to keep by `keep_column`.
    ids : list of str
        Columns of text that say which samples, or files, the rows are of.
    """
    asked = list(dict.fromkeys([*ids, score_column, *([keep_column] if threshold is None else [])]))
    known = frame_names(frame)
    for name in asked:
        if name not in known:
            held = ", ".join(map(str, known)) + did_you_mean(name, known)
            raise ColumnError(f"expected column {name!r} beside the scores, got {held}")
    if isinstance(frame, pa.Table):
        table = frame.select(asked)
    elif hasattr(frame, "to_arrow"):  # cuDF
        table = frame[asked].to_arrow(preserve_index=False)
    else:
        table = pa.Table.from_pandas(frame[asked], preserve_index=False)
    texts = {name: _texts(table.column(name), name) for name in ids}
    scores = _floats(table.column(score_column), score_column)
    if threshold is None:
        keep = table.column(keep_column)
        if not pa.types.is_boolean(keep.type) and len(keep) != keep.null_count:
            raise ColumnError(f"expected True or False in column {keep_column!r}, got {keep.type}")
        kept = pc.fill_null(keep.cast(pa.bool_()), False)
    else:
        kept = pa.array(threshold.keeps(scores.to_numpy()))
    return pa.table({**texts, "score": scores, "keep": kept})


def join_scores(table: pa.Table, tars: Sequence[Tar]) -> tuple[list[KeptSamples], Counts]:
    """Kept samples of each tar, and counts, by a join of the tars' samples with the scored rows.

    Raises
    ------
    InputError
        A tar is damaged, or a key is ambiguous.
    """
    by_shard = SHARD in table.column_names
    scored_by_tar = _by_shard(table, tars) if by_shard else {"": Scored.of(table)}
    joined = inspect_all(tars, lambda tar: _join_tar(tar, scored_by_tar[tar.name if by_shard else ""]))
    kept_samples, counts = [], Counts()
    used = {name: np.zeros(len(scored.keys), bool) for name, scored in scored_by_tar.items()}
    for tar, its in zip(tars, joined, strict=True):
        name = tar.name if by_shard else ""
        scored, found = scored_by_tar[name], its.rows >= 0
        rows = its.rows[found]
        if used[name][rows].any():
            duplicate = scored.keys[rows[used[name][rows]][0]]
            raise InputError(
                f"expected each key in one tar, got {duplicate!r} in {tar.file.path} and in another: score a frame of "
                "read_webdataset, whose column 'shard' keeps them apart"
            )
        used[name][rows] = True
        asked = np.zeros(len(found), bool)
        asked[found] = scored.keep[rows]
        kept = asked & its.has_unique_members
        kept_samples.append(
            KeptSamples(tar, pa.array(its.keys, pa.string()).filter(pa.array(kept)), scored.scores[its.rows[kept]])
        )
        counts.samples += len(found)
        counts.kept += int(kept.sum())
        counts.unscored += int((~found).sum())
        its.faults["duplicate_member"] += int((asked & ~its.has_unique_members).sum())
        counts.left_out = dict(+(Counter(counts.left_out) + its.faults))
    there = sum(int((scored.keep & used[name]).sum()) for name, scored in scored_by_tar.items())
    counts.missing = pc.sum(table.column("keep").cast(pa.int64()), min_count=0).as_py() - there
    return kept_samples, counts


def _join_tar(tar: Tar, scored: Scored) -> _JoinedTar:
    index = read_index(tar.file)
    if index.damage is not None:
        raise InputError(f"expected a whole tar, got {tar.file.path}, which is damaged {index.damage}")
    samples = [sample for sample in index.samples if sample.key is not None]
    faults = Counter(sample.fault.status for sample in index.samples if sample.key is None and sample.fault)
    keys = [sample.key for sample in samples if sample.key is not None]
    rows = scored.keys.get_indexer(pd.Index(keys, dtype=object))
    if any(row < 0 and "/" in key for row, key in zip(rows, keys, strict=True)):
        ends = list({key[at + 1 :] for key in keys for at in range(-1, len(key)) if at < 0 or key[at] == "/"})
        theirs = [end for end, row in zip(ends, scored.keys.get_indexer(pd.Index(ends)), strict=True) if row >= 0]
        names = names_in(pa.array(theirs, pa.string()), pa.array(keys, pa.string()))
        rows = scored.keys.get_indexer(pd.Index(names.to_pylist(), dtype=object))
    return _JoinedTar(keys, rows, np.array([not sample.repeated for sample in samples], bool), faults)


def _by_shard(table: pa.Table, tars: Sequence[Tar]) -> dict[str, Scored]:
    """Scored rows of each tar."""
    shards = table.column(SHARD).combine_chunks().dictionary_encode()
    codes = pc.fill_null(shards.indices, -1).to_numpy(zero_copy_only=False)
    order = np.argsort(codes, kind="stable")
    names = shards.dictionary.to_pylist()
    edges = np.searchsorted(codes[order], np.arange(len(names) + 1))
    rows = {name: order[edges[at] : edges[at + 1]] for at, name in enumerate(names)}
    rest = table.drop_columns(SHARD).combine_chunks()
    none = np.zeros(0, np.int64)
    return {tar.name: Scored.of(rest.take(pa.array(rows.get(tar.name, none)))) for tar in tars}


def frame_names(frame: Any) -> list[Any]:
    """Names of the columns of a frame or table."""
    return list(frame.column_names if isinstance(frame, pa.Table) else frame.columns)


def _texts(column: pa.ChunkedArray, name: str) -> pa.ChunkedArray:
    value_type = column.type.value_type if pa.types.is_dictionary(column.type) else column.type
    if not (pa.types.is_string(value_type) or pa.types.is_large_string(value_type) or pa.types.is_null(value_type)):
        raise ColumnError(f"expected strings in column {name!r}, got {column.type}")
    return column.cast(pa.string())


def _floats(column: pa.ChunkedArray, name: str) -> pa.ChunkedArray:
    if not (pa.types.is_floating(column.type) or pa.types.is_null(column.type)):
        raise ColumnError(f"expected scores, a column of floats, in {name!r}, got {column.type}")
    return column.cast(pa.float32(), safe=False)
