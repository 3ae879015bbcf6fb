"""The best N rows are those of a full sort, ties included, on every partitioning and in bounded memory."""

from __future__ import annotations

from weakref import finalize

import dask.dataframe as dd
import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from dask_aesthetic import ArgumentError, ColumnError, ranking
from helpers.laziness import no_compute

ROWS = 5000


@pytest.fixture(scope="module")
def frame() -> pd.DataFrame:
    """Scores with many ties, nulls, infinities, zeros of both signs and negative ones; ids that repeat or are null."""
    rng = np.random.default_rng(0)
    scores = rng.normal(4.5, 1.5, ROWS).round(2).astype(np.float32)
    scores[rng.random(ROWS) < 0.05] = np.nan
    scores[:6] = [np.inf, -np.inf, 0.0, -0.0, -2.5, 1e-42]
    keys = [f"{key:04d}" for key in rng.integers(0, 900, ROWS)]
    keys = [None if at % 50 == 7 else key for at, key in enumerate(keys)]
    sources = rng.choice(["laion", "coyo", None, "cc3m"], ROWS, p=[0.6, 0.2, 0.19, 0.01])
    return pd.DataFrame({"key": keys, "source": sources, "aesthetic_score": scores, "row": np.arange(ROWS)})


def by_sort(frame: pd.DataFrame, n: int, by: str | None = None) -> list[int]:
    """Rows of the best by a sort of Python's own."""
    taken: dict[object, list[int]] = {}
    rows = [row for row in frame.itertuples() if np.isfinite(row.aesthetic_score)]
    for row in sorted(
        rows, key=lambda row: (-row.aesthetic_score, not isinstance(row.key, str), row.key or "", row.row)
    ):
        group = None if by is None or not isinstance(row.source, str) else row.source
        if len(taken.setdefault(group, [])) < n:
            taken[group].append(row.row)
    return sorted(row for rows in taken.values() for row in rows)


@pytest.mark.parametrize("by", [None, "source"])
@pytest.mark.parametrize("n", [1, 20, 777, 4600, 10_000])
@pytest.mark.parametrize("partitions", [0, 7])
def test_rows_are_those_of_a_full_sort(frame, n, by, partitions):
    given = dd.from_pandas(frame, npartitions=partitions) if partitions else frame
    got = given.aesthetic.top(n, by)
    if partitions:
        with no_compute():
            given.aesthetic.top(n, by)
        got = got.compute(scheduler="sync")
    assert got["row"].tolist() == by_sort(frame, n, by)
    assert got.dtypes.equals(given.dtypes)


def test_all_scores_may_be_equal_and_rows_may_have_no_id(frame):
    same = frame.assign(aesthetic_score=np.float32(5))
    for n in (1, 1234, ROWS):
        found = dd.from_pandas(same, npartitions=5).aesthetic.top(n).compute(scheduler="sync")
        assert found["row"].tolist() == by_sort(same, n)
        without = dd.from_pandas(same.drop(columns="key"), npartitions=5).aesthetic.top(n).compute(scheduler="sync")
        assert without["row"].tolist() == list(range(n))
    assert len(frame.iloc[:0].aesthetic.top(5)) == 0
    assert len(frame.assign(aesthetic_score=np.float32("nan")).aesthetic.top(5)) == 0


def test_small_parquet_partitions_that_dask_joins_do_not_move_rows(frame, tmp_path):
    """Dask reads several files in one task where few columns are read, so a row's partition has another number."""
    wide = frame.assign(aesthetic_score=np.float32(5), key="same", caption="text " * 50)
    for at in range(12):
        part = wide.iloc[400 * at : 400 * (at + 1)].assign(
            caption=lambda part: part["caption"] + part["row"].astype(str)
        )
        pq.write_table(pa.Table.from_pandas(part, preserve_index=False), tmp_path / f"{at:02d}.parquet")
    for columns in (None, ["key", "aesthetic_score", "row"], ["aesthetic_score", "row"]):
        read = dd.read_parquet(tmp_path, dtype_backend="pyarrow", columns=columns)
        got = read.aesthetic.top(1111)[["row"]].compute(scheduler="sync")
        assert got["row"].tolist() == list(range(1111)), columns


class Alive:
    """Partitions in memory now, and the most at any time."""

    now = most = 0


def read_and_count(number: int, columns: list[str]) -> pd.DataFrame:
    part = pd.DataFrame({"aesthetic_score": np.linspace(3, 7, 50, dtype=np.float32) + np.float32(number) / 1000})
    Alive.now += 1
    Alive.most = max(Alive.most, Alive.now)
    finalize(part, lambda: setattr(Alive, "now", Alive.now - 1))
    return part[columns]


def test_no_more_partitions_are_in_memory_than_tasks_run():
    """All passes read the same columns here, by tasks whose names would be equal, and results shared."""
    meta = pd.DataFrame({"aesthetic_score": np.zeros(0, np.float32)})
    given = dd.from_map(read_and_count, range(100), meta=meta)
    assert len(given.aesthetic.top(100).compute(scheduler="sync")) == 100
    assert Alive.most <= 3


def test_keys_are_in_the_order_of_scores(frame):
    scores = np.concatenate([frame["aesthetic_score"].to_numpy(), np.float32([3.4e38, -3.4e38, 1e-45, -1e-45])])
    keys = ranking.score_keys(scores)
    finite = scores[np.isfinite(scores)]
    assert np.array_equal(np.argsort(keys[keys > 0], kind="stable"), np.argsort(finite, kind="stable"))
    assert (keys[~np.isfinite(scores)] == 0).all()
    chosen = ranking.Top({None: int(keys[10])})
    assert chosen.last() == scores[10]
    assert ranking.Top({None: int(keys[4])}).last() == -2.5


@pytest.mark.parametrize("by", [None, "source"])
def test_lower_scores_are_better_where_that_is_said(frame, by):
    negated = frame.assign(aesthetic_score=-frame["aesthetic_score"])
    for given in (frame, dd.from_pandas(frame, npartitions=4)):
        found = given.aesthetic.top(40, by=by, higher_is_better=False)
        found = found.compute() if isinstance(given, dd.DataFrame) else found
        pd.testing.assert_index_equal(found.index, negated.aesthetic.top(40, by=by).index)
    if by is None:
        scores = frame["aesthetic_score"].to_numpy()
        expected = np.sort(scores[np.isfinite(scores)])[:40]
        assert np.sort(found["aesthetic_score"].to_numpy()).tolist() == expected.tolist()
    unsafe = frame.rename(columns={"aesthetic_score": "unsafe_probability"})
    with pytest.raises(ArgumentError, match="expected higher_is_better with scores in 'unsafe_probability', got none"):
        unsafe.aesthetic.top(5, score_column="unsafe_probability")
    with pytest.raises(ArgumentError, match="higher_is_better to be True or False, got 1"):
        unsafe.aesthetic.top(5, score_column="unsafe_probability", higher_is_better=1)
    kept = unsafe.aesthetic.top(40, score_column="unsafe_probability", higher_is_better=True)
    pd.testing.assert_index_equal(kept.index, frame.aesthetic.top(40).index)


def test_last_scores_of_which_lower_ones_are_better_are_the_scores():
    scores = np.float32([-2.5, 0.0, -0.0, 1e-30, 0.3])
    for score, key in zip(scores, ranking.score_keys(scores, higher_is_better=False), strict=True):
        assert ranking.Top({None: int(key)}).last(higher_is_better=False) == score


def test_what_cannot_be_ranked_is_refused(frame):
    for n in (0, -1, 1.5, True, None):
        with pytest.raises(ArgumentError, match="expected n"):
            frame.aesthetic.top(n)
    with pytest.raises(ColumnError, match="expected id_column='uid' to be a column"):
        frame.aesthetic.top(5, id_column="uid")
    with pytest.raises(ColumnError, match="expected by='where' to be a column"):
        frame.aesthetic.top(5, by="where")
    with pytest.raises(ColumnError, match="expected scores, a column of floats"):
        frame.aesthetic.top(5, score_column="key")
    lists = frame.assign(key=[[row] for row in range(ROWS)], aesthetic_score=np.float32(1))
    with pytest.raises(ColumnError, match="expected ids that can be sorted"):
        lists.aesthetic.top(5)
