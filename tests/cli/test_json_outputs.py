"""What commands print as JSON is JSON, where there is nothing to count as well: bare NaN is none."""

from __future__ import annotations

import json

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from helpers import tar_files
from helpers.commands import run

LISTS = pa.list_(pa.float32())
ROWS = {"no rows": [], "nulls": [None] * 5, "zeros": [np.zeros(768)] * 5, "one row": [np.ones(768), None]}
SEVERAL = ("--text-column", "text_embedding", "--predictor", "aesthetic_score=laion-v2", "--predictor")
SEVERAL += ("unsafe=nsfw-l14", "--keep-if", "unsafe<0.1")


def strict(text: str) -> dict:
    def refuse(constant: str) -> None:
        raise AssertionError(f"{constant} in {text}")

    return json.loads(text, parse_constant=refuse)


def values(command: tuple[object, ...]) -> dict:
    """Summary of a command, after each line of its progress and each of its files of JSON is read."""
    ended = run(*command, "--json", "--progress", "json", "--quiet")
    assert ended.status == 0, ended
    assert {strict(line)["event"] for line in ended.err.splitlines()} >= {"start", "finish"}
    return strict(ended.out)


@pytest.mark.parametrize("options", [(), SEVERAL], ids=["one score", "several scores"])
@pytest.mark.parametrize("kind", ROWS)
def test_no_command_prints_nan(tmp_path, kind, options):
    lists, keys = pa.array(ROWS[kind], LISTS), pa.array([f"{at:05d}" for at in range(len(ROWS[kind]))], pa.string())
    pq.write_table(
        pa.table({"key": keys, "url": keys, "image_embedding": lists, "text_embedding": lists}), tmp_path / "in.parquet"
    )
    tar_files.write(tmp_path / "tars/a.tar", *tar_files.samples(5))
    scores, tars = tmp_path / "scores", ("--tars", tmp_path / "tars", "--score-column")
    summary = values(("score", tmp_path / "in.parquet", scores, *options, "--allow-unusable"))
    scored = 1 if kind == "one row" else 0
    assert (summary["scored"], len(summary["quantiles"])) == (scored, 5 * scored)
    for name in ("unsafe", "similarity") if options else ():
        assert len(summary["more_quantiles"][name]) == 5 * scored
    first = "unsafe" if options else "aesthetic_score"
    values(("select", scores, tmp_path / "top", "--top", 3))
    values(("filter", scores, tmp_path / "kept", *tars, first, "--score-in-json", "--allow-unmatched"))
    values(("export", scores, "--output", tmp_path / "list.parquet", "--all"))
    for file in tmp_path.rglob("*"):
        if file.is_file() and (file.suffix == ".json" or file.name == "_SUCCESS"):
            strict(file.read_text())
