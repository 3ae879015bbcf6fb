"""A data set that grows: the same command scores what is new, alone, and ends as if all had been there at once."""

from __future__ import annotations

import json

from dask_aesthetic import read_scores, score_dataset, select_dataset
from helpers import chaos, commands


def test_a_grown_folder_is_as_if_scored_at_once(tmp_path):
    source = chaos.write_shards(tmp_path / "in", shards=3, rows=60)
    (source / "part-0001.parquet").rename(tmp_path / "later.parquet")
    before = score_dataset(source, tmp_path / "out")
    distribution = read_scores(tmp_path / "out").aesthetic.distribution()
    done = chaos.committed(tmp_path / "out")
    (tmp_path / "later.parquet").rename(source / "part-0001.parquet")
    scored: list[str] = []
    after = score_dataset(source, tmp_path / "out", progress=lambda marker: scored.append(marker.shard))
    assert scored == ["part-0001"]
    assert done.items() <= chaos.committed(tmp_path / "out").items()
    once = score_dataset(source, tmp_path / "once")
    assert (before.rows, after.rows, once.rows) == (120, 180, 180)
    assert chaos.content(tmp_path / "out") == chaos.content(tmp_path / "once")
    new = read_scores(tmp_path / "out/part-0001.parquet").aesthetic.distribution()
    assert distribution + new == read_scores(tmp_path / "once").aesthetic.distribution()


def test_summaries_tell_what_is_new(tmp_path):
    source = chaos.write_shards(tmp_path / "in", shards=3, rows=60)
    (source / "part-0001.parquet").rename(tmp_path / "later.parquet")
    score_dataset(source, tmp_path / "out")
    assert select_dataset(tmp_path / "out", tmp_path / "kept", threshold=4).files_before == 0
    (tmp_path / "later.parquet").rename(source / "part-0001.parquet")
    printed = commands.printed("score", source, tmp_path / "out")
    assert "2 shards, 120 rows done by earlier runs" in printed
    assert json.loads(commands.printed("score", source, tmp_path / "out", "--json"))["shards_done_before"] == 3
    printed = commands.printed("select", tmp_path / "out", tmp_path / "kept", "--threshold", 4)
    assert "before  2 files done by earlier runs" in printed
    select_dataset(tmp_path / "out", tmp_path / "once", threshold=4)
    assert chaos.content(tmp_path / "kept") == chaos.content(tmp_path / "once")
