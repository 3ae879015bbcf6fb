"""Rows with the same hash: the first by id stays, as by a groupby of pandas."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from dask_aesthetic import ColumnError, select_dataset
from dask_aesthetic.score_files import find_scores
from dask_aesthetic.select.duplicates import find_duplicates
from helpers import chaos, commands

FILES, ROWS = 3, 500


@pytest.fixture
def scores(tmp_path) -> Path:
    """Scores whose hashes repeat within files and across them; some rows have no hash, some no id."""
    (tmp_path / "scores").mkdir()
    rng = np.random.default_rng(7)
    spread = rng.integers(0, 2**64, 400, dtype=np.uint64)
    for at in range(FILES):
        which = rng.integers(0, len(spread), ROWS)
        missing, no_id = rng.random(ROWS) < 0.05, rng.random(ROWS) < 0.2
        keys = [None if none else f"{key:04d}" for key, none in zip(rng.integers(0, 2000, ROWS), no_id, strict=True)]
        table = pa.table(
            {
                "key": pa.array(keys, pa.string()).dictionary_encode() if at == 0 else pa.array(keys, pa.string()),
                "embedding_hash": pa.array(spread[which], mask=missing),
                "aesthetic_score": pa.array((which % 60 / 10 + 1).astype(np.float32), mask=missing),
            }
        )
        table = table.set_column(0, "key", table["key"].cast(pa.string()))
        pq.write_table(table, tmp_path / f"scores/{at}.parquet", row_group_size=37)
    return tmp_path / "scores"


def rows(folder: Path) -> pd.DataFrame:
    return pa.concat_tables([pq.read_table(path) for path in sorted(folder.glob("*.parquet"))]).to_pandas(
        types_mapper=pd.ArrowDtype
    )


def first_of_each(frame: pd.DataFrame) -> pd.Index:
    """Positions of the rows that stay, by a sort."""
    hashed = frame[frame["embedding_hash"].notna()].assign(position=lambda part: np.arange(len(part)))
    ranked = hashed.sort_values(["key", "position"], na_position="last").drop_duplicates("embedding_hash")
    return ranked.index.union(frame.index[frame["embedding_hash"].isna()])


@pytest.mark.parametrize("pass_rows", [1 << 26, 200])
@pytest.mark.parametrize("pending", [1 << 21, 50])
def test_all_but_the_first_by_id_are_dropped(scores, monkeypatch, pass_rows, pending):
    monkeypatch.setattr("dask_aesthetic.select.duplicates.PENDING_ROWS", pending)
    files = find_scores(scores).files
    found = find_duplicates(files, "key", lambda batch: np.ones(len(batch), bool), [], 2, pass_rows)
    dropped = np.concatenate([found.drops(number, 0, ROWS) for number in range(FILES)])
    assert np.flatnonzero(~dropped).tolist() == first_of_each(rows(scores)).tolist()
    parts = [found.drops(0, first, 3) for first in range(0, 60, 3)]
    assert np.concatenate(parts).tolist() == dropped[:60].tolist()


@pytest.mark.parametrize("arguments", [{"threshold": 3}, {"top": 100}, {"keep_fraction": 0.5, "keep_only": True}])
def test_a_selection_has_each_hash_once(scores, tmp_path, arguments):
    before = rows(scores)
    once = before.loc[first_of_each(before)]
    done = select_dataset(scores, tmp_path / "out", drop_duplicates=True, **arguments)
    scored = once.dropna(subset="aesthetic_score").assign(position=lambda part: np.arange(len(part)))
    ranked = scored.sort_values(["aesthetic_score", "key", "position"], ascending=[False, True, True])
    n = {"top": 100, "keep_fraction": -(-len(ranked) // 2), "threshold": (ranked["aesthetic_score"] >= 3).sum()}
    expected = ranked.index[: n[next(iter(arguments))]]
    after = rows(tmp_path / "out")
    if "keep_only" in arguments:
        assert after["key"].astype(object).tolist() == before.loc[sorted(expected), "key"].astype(object).tolist()
    else:
        assert np.flatnonzero(after["keep"]).tolist() == sorted(expected)
    assert (done.kept, done.duplicates) == (len(expected), len(before) - len(once))


def test_excluded_rows_leave_their_place_to_the_next(scores, tmp_path):
    before = rows(scores)
    gone = before.loc[first_of_each(before)]["key"].dropna().iloc[:50]
    pq.write_table(pa.table({"key": gone.tolist()}), tmp_path / "gone.parquet")
    select_dataset(
        scores, tmp_path / "out", threshold=1, exclude=tmp_path / "gone.parquet", drop_duplicates=True, threads=1
    )
    rest = before[~before["key"].isin(gone)]
    expected = rest.loc[first_of_each(rest)].dropna(subset="aesthetic_score").index
    assert np.flatnonzero(rows(tmp_path / "out")["keep"]).tolist() == expected.tolist()


def test_the_command_does_the_same(scores, tmp_path):
    printed = commands.printed("select", scores, tmp_path / "out", "--threshold", 3, "--drop-duplicates")
    select_dataset(scores, tmp_path / "python", threshold=3, drop_duplicates=True)
    assert chaos.content(tmp_path / "out") == chaos.content(tmp_path / "python")
    assert "raw aesthetic_score >= 3, without duplicates" in printed
    assert "duplicates  1,0" in printed
    wrong = pq.read_table(scores / "0.parquet").drop_columns("embedding_hash")
    pq.write_table(wrong.append_column("embedding_hash", pa.array(["x"] * ROWS)), tmp_path / "wrong.parquet")
    with pytest.raises(ColumnError, match=r"expected hashes, a column of uint64, in 'embedding_hash', got string"):
        select_dataset(tmp_path / "wrong.parquet", tmp_path / "wrong", threshold=3, drop_duplicates=True)


def test_rows_that_a_rule_refuses_leave_their_place_to_the_next(tmp_path):
    table = {"key": ["a", "b", "c"], "embedding_hash": pa.array([7, 7, 7], pa.uint64()), "width": [100, 600, 700]}
    scores = pa.array([6.0, 6.0, 6.0], pa.float32())
    pq.write_table(pa.table({**table, "aesthetic_score": scores}), tmp_path / "scores.parquet")
    rule = [("width", ">=", 512)]
    done = select_dataset(tmp_path / "scores.parquet", tmp_path / "out", keep=rule, drop_duplicates=True)
    assert pq.read_table(tmp_path / "out/scores.parquet")["keep"].to_pylist() == [False, True, False]
    assert (done.kept, done.duplicates) == (1, 1)
