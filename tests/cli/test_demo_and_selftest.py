"""``dask-aesthetic demo`` and ``dask-aesthetic selftest``."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pyarrow.dataset as ds
import pyarrow.parquet as pq
import pytest

from dask_aesthetic.synthetic import NOTE, write_demo
from helpers import commands


def test_demo_says_that_it_is_synthetic_and_spreads_like_laion(tmp_path):
    printed = commands.printed("demo", "--rows", "4000", "--output", tmp_path)
    assert "synthetic" in printed.splitlines()[0]
    assert "failed  4 missing, 4 wrong_width, 4 not_finite, 4 zero" in printed
    assert pq.read_schema(tmp_path / "synthetic/part-0000.parquet").metadata[b"note"].decode() == NOTE
    scores = ds.dataset(tmp_path / "scored").to_table()["aesthetic_score"].drop_null().to_numpy()
    assert np.median(scores) == pytest.approx(4.5, abs=0.05)
    assert (scores >= 5).mean() == pytest.approx(0.253, abs=0.03)


def test_demo_ends_with_a_report_and_commands_that_work(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    printed = commands.printed("demo", "--rows", "2000")
    page = re.search(r"^Report, to open in a browser: file://(.+)$", printed, re.MULTILINE)
    assert Path(page[1]) == tmp_path / "dask-aesthetic-demo/report.html"
    assert "</html>" in Path(page[1]).read_text()
    lines = printed.partition("\nNext:\n")[2].splitlines()
    arguments = [re.split(r"dask[-_]aesthetic ", line, maxsplit=1)[1].split() for line in lines]
    assert [words[0] for words in arguments] == ["check", "select", "export", "score"]
    for words in arguments[:3]:
        commands.printed(*words)
    assert len(pq.read_table("dask-aesthetic-demo/urls.parquet")) == 199  # A tenth of the 1,984 scored, rounded up.


def test_synthetic_data_are_the_same_on_every_run(tmp_path):
    write_demo(tmp_path / "a", rows=64)
    write_demo(tmp_path / "b", rows=64)
    for file in sorted((tmp_path / "a").iterdir()):
        assert file.read_bytes() == (tmp_path / "b" / file.name).read_bytes()


def test_selftest_prints_expected_and_got_for_every_predictor():
    printed = commands.printed("selftest")
    laion = ("laion-v2", "laion-v2-ava", "laion-v1-l14", "laion-v1-b32", "laion-v1-b16")
    for name in (*laion, "simulacra-l14", "nsfw-l14", "similarity"):
        assert f"ok  {name} on cpu" in printed
    assert printed.count("expected  ") == printed.count("got  ") == 10  # Predictors of one width score together, too.
    assert "10 of 10 checks passed" in printed
