"""Scores of jobs that are not finished, and outputs in each other: refused where they would be taken for whole ones."""

from __future__ import annotations

import json
from pathlib import Path

import fsspec
import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from dask_aesthetic import (
    ArgumentError,
    InputError,
    export_dataset,
    filter_dataset,
    read_scores,
    score_dataset,
    select_dataset,
)
from dask_aesthetic.errors import AestheticWarning
from dask_aesthetic.score_files import find_scores
from helpers import chaos, commands, tar_files

MISSING = r"expected the output of a finished job in .*part, got 2 files of one that has not written _SUCCESS"


@pytest.fixture(scope="module")
def source(tmp_path_factory) -> Path:
    return chaos.write_shards(tmp_path_factory.mktemp("unfinished") / "in", shards=4, rows=50)


@pytest.fixture(scope="module")
def part(source) -> Path:
    score_dataset(source, source.parent / "part", part=(1, 2))
    return source.parent / "part"


@pytest.fixture(scope="module")
def whole(source) -> Path:
    score_dataset(source, source.parent / "whole")
    return source.parent / "whole"


def test_scores_of_an_unfinished_job_are_refused_and_taken_where_allowed(part, tmp_path):
    tar = tar_files.write(tmp_path / "in/0.tar", *(tar_files.member(f"0000-{row}.jpg") for row in range(50)))
    for take in (
        read_scores,
        lambda scores, **allow: filter_dataset(scores, tmp_path / "kept", tars=tar, allow_unmatched=True, **allow),
        lambda scores, **allow: select_dataset(scores, tmp_path / "select", top=3, **allow),
        lambda scores, **allow: export_dataset(scores, tmp_path / "u.csv", url_column="key", **allow),
    ):
        with pytest.raises(InputError, match=MISSING + r".*without --part, completes them; or allow_unfinished=True"):
            take(part)
        with pytest.warns(AestheticWarning, match=r"has not written _SUCCESS, .*: only the rows that are there count"):
            take(part, allow_unfinished=True)
    assert pq.read_table(tmp_path / "select").num_rows == 100
    kept = pq.read_table(part / "part-0000.parquet", columns=["key", "keep"]).to_pandas()
    assert set(tar_files.content(tmp_path / "kept/0.tar")) == {f"{key}.jpg" for key in kept["key"][kept["keep"]]}
    with pytest.raises(ArgumentError, match="allow_unfinished=True with a folder of scores, got a frame"):
        filter_dataset(pq.read_table(part), tmp_path / "other", tars=tar, allow_unfinished=True)


def test_a_caution_says_that_parts_of_several_settings_keep_by_several_rules(source, tmp_path):
    score_dataset(source, tmp_path / "out", part=(1, 2))
    score_dataset(source, tmp_path / "out", part=(2, 2), threshold=6, overwrite=True)
    with pytest.raises(InputError, match="has not written _SUCCESS"):
        read_scores(tmp_path / "out")
    with pytest.warns(AestheticWarning, match="what they keep is by several rules: keep by score instead"):
        mixed = read_scores(tmp_path / "out", allow_unfinished=True).compute()
    assert mixed["aesthetic_score"][mixed["keep"]].min() < 6
    score_dataset(source, tmp_path / "out", threshold=6)
    whole = read_scores(tmp_path / "out").compute()
    assert whole["keep"].tolist() == (whole["aesthetic_score"] >= 6).fillna(False).tolist()


@pytest.mark.parametrize("arguments", [["select"], ["export"], ["report"], ["filter", "--where", "keep"]])
def test_commands_refuse_them_too(part, tmp_path, arguments):
    name, *more = arguments
    for scores in (part, part / "part-0000.parquet", part / "*.parquet"):
        places = {"select": [tmp_path / "out"], "filter": [tmp_path / "out", "--tars", tmp_path]}
        named = places.get(name, ["--output", tmp_path / "out.csv"])
        ended = commands.run(name, scores, *named, *more)
        assert ended.status == 2
        assert "has not written _SUCCESS, its last file. The command that wrote them, given again" in ended.err
        assert "(--allow-unfinished)" in ended.err
    assert list(tmp_path.iterdir()) == []
    if name == "select":
        ended = commands.run("select", part, tmp_path / "out", "--allow-unfinished", "--quiet")
        assert (ended.status, ended.err.count("caution: expected the output of a finished job")) == (0, 1)


def test_finished_outputs_and_plain_files_are_taken(source, part, whole, tmp_path):
    assert len(read_scores(whole)) == len(read_scores(whole / "*.parquet")) == 200
    (tmp_path / "plain").mkdir()
    (part / "part-0000.parquet").rename(tmp_path / "plain/a.parquet")
    assert len(read_scores(tmp_path / "plain")) == 50
    (tmp_path / "plain/a.parquet").rename(part / "part-0000.parquet")
    runs = {name: pd.DataFrame({"aesthetic_score": [5.0], "keep": [True]}) for name in ("a", "b")}
    for name, frame in runs.items():
        (tmp_path / "runs" / name).mkdir(parents=True)
        frame.to_parquet(tmp_path / "runs" / name / "x.parquet")
    assert len(read_scores(tmp_path / "runs")) == 2
    (tmp_path / "runs/b/_dask_aesthetic").mkdir()
    (tmp_path / "runs/b/_dask_aesthetic/settings.json").write_text("{}")
    with pytest.raises(InputError, match=r"finished job in .*runs/b, got 1 files"):
        read_scores(tmp_path / "runs")


def test_files_that_the_manifest_lists_and_nobody_finds_are_an_error(source, tmp_path):
    score_dataset(source, tmp_path / "out")
    (tmp_path / "out/part-0002.parquet").unlink()
    with pytest.raises(
        InputError, match=r"expected the 4 files that .*out/_SUCCESS lists, got none for part-0002.parq"
    ):
        read_scores(tmp_path / "out")
    assert len(read_scores(tmp_path / "out/part-000[01].parquet")) == 100
    (tmp_path / "out/_SUCCESS").write_text("{")
    with pytest.raises(InputError, match=r"expected a manifest in .*out/_SUCCESS, got a damaged file"):
        read_scores(tmp_path / "out")


def test_jobs_behind_urls_are_known(source, part, whole):
    memory = fsspec.filesystem("memory")
    for folder in (part, whole):
        memory.put(f"{folder}/", f"/unfinished/{folder.name}/", recursive=True)
    try:
        assert len(find_scores("memory://unfinished/whole").files) == 4
        with pytest.raises(InputError, match="finished job in memory://unfinished/part, got 2 files"):
            find_scores("memory://unfinished/part/*.parquet")
        with pytest.raises(
            InputError, match=r"outside of other jobs' outputs, got memory:/+unfinished/whole/out in mem"
        ):
            score_dataset(source, "memory://unfinished/whole/out")
    finally:
        memory.rm("/unfinished", recursive=True)


def test_outputs_in_other_outputs_are_refused(source, whole, tmp_path):
    score_dataset(source, tmp_path / "a/b")
    before = chaos.content(tmp_path)
    for output in (tmp_path / "a/b/c", tmp_path / "a/b/c/d"):
        for run in (
            lambda: score_dataset(source, output),  # noqa: B023
            lambda: select_dataset(whole, output, top=1),  # noqa: B023
        ):
            with pytest.raises(
                InputError, match=rf"outside of other jobs' outputs, got {output} in {tmp_path}/a/b, to"
            ):
                run()
    with pytest.raises(InputError, match=r"got .*u.csv in .*a/b, to which a job writes"):
        export_dataset(whole, tmp_path / "a/b/u.csv", url_column="key")
    with pytest.raises(InputError, match=r"apart from other jobs' outputs, got .*a, which holds that in b: choose"):
        select_dataset(whole, tmp_path / "a", top=1)
    assert chaos.content(tmp_path) == before


def test_dry_runs_print_json(source, part, whole, tmp_path):
    plan = json.loads(commands.printed("score", source, part, "--dry-run", "--json"))
    assert [(shard["name"], shard["rows"], shard["reason"]) for shard in plan["shards"]] == [
        (f"part-{at:04d}", 50, "new" if at % 2 else None) for at in range(4)
    ]
    assert (plan["output"], plan["rows"], plan["rows_done"], plan["to_run"]) == (str(part), 200, 100, 2)
    assert plan["settings"]["predictor"] == "laion-v2"
    assert plan["estimate"]["bytes"] > 0
    plan = json.loads(commands.printed("select", whole, tmp_path / "out", "--top", 5, "--dry-run", "--json"))
    assert (plan["rows"], plan["to_run"], plan["settings"]["top"]) == (200, 4, 5)
    assert not (tmp_path / "out").exists()


def test_the_doubts_about_an_encoder_are_printed_once_and_not_where_nothing_is_scored(tmp_path):
    source = tmp_path / "noise"
    source.mkdir()
    for at in range(2):
        rows = np.random.default_rng(at).standard_normal((50, 768), np.float32)
        table = pa.table({"key": [f"{at}-{row}" for row in range(50)], "image_embedding": list(rows)})
        pq.write_table(table, source / f"part-{at:04d}.parquet")

    def err(*arguments: object) -> str:
        return commands.run("score", source, tmp_path / "out", *arguments).err

    assert "first 50 rows of shard part-0000" in err("--part", "1/2")
    assert "first 50 rows" not in err("--part", "2/2")
    assert "first 50 rows" not in err()
    assert commands.run("score", source, tmp_path / "quiet", "--quiet").err == ""
