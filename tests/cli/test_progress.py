"""Progress on standard error: lines of JSON, lines of text, a bar, or nothing."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from datetime import datetime

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from safetensors.torch import save_file

from dask_aesthetic.cli.progress import Counts, Progress
from dask_aesthetic.jobs.markers import ShardMarker
from dask_aesthetic.synthetic import write_demo
from helpers import tar_files
from helpers.commands import run

ALWAYS = {
    "schema_version",
    "event",
    "time",
    "command",
    "output",
    "seconds",
    "shards_done",
    "shards_total",
    "rows_done",
    "rows_total",
    "rows_per_second",
    "seconds_left",
    "failed_rows",
}
MORE = {
    "start": set(),
    "progress": set(),
    "shard": {"shard", "rows", "failed"},
    "message": {"level", "message"},
    "finish": {"status", "error"},
}


@pytest.fixture
def source(tmp_path):
    return write_demo(tmp_path / "in", rows=400)


def read_until(stream, text):
    """Lines up to the first one with a text, which must come."""
    lines = []
    for line in stream:
        lines.append(line)
        if text in line:
            return lines
    pytest.fail("".join(lines))


def events(text):
    """Objects of all lines, which have the fields that the documentation lists."""
    found = [json.loads(line) for line in text.splitlines()]
    for one in found:
        assert one.keys() == ALWAYS | MORE[one["event"]], one
        assert one["schema_version"] == 1
        assert datetime.fromisoformat(one["time"]).utcoffset().total_seconds() == 0
    counted = [(one["shards_done"], one["rows_done"], one["seconds"]) for one in found]
    assert counted == sorted(counted)
    return found


def test_a_scoring_job_writes_an_object_per_shard(source, tmp_path):
    ended = run("score", source, tmp_path / "out", "--progress", "json", "--json")
    assert json.loads(ended.out)["rows"] == 400
    first, *shards, last = events(ended.err)
    assert (first["event"], first["rows_per_second"], first["seconds_left"]) == ("start", None, None)
    assert (first["command"], first["output"]) == ("score", str(tmp_path / "out"))
    assert (first["shards_total"], first["rows_total"]) == (4, 400)
    statuses = pq.read_table(tmp_path / "out").to_pandas()["status"].astype(str)
    assert {one["event"] for one in shards} == {"shard"}
    assert {one["shard"]: one["rows"] for one in shards} == {f"part-{at:04d}": 100 for at in range(4)}
    for status in ("missing", "wrong_width", "not_finite", "zero"):
        assert sum(one["failed"].get(status, 0) for one in shards) == (statuses == status).sum()
    assert (last["event"], last["status"], last["error"]) == ("finish", "done", None)
    assert (last["shards_done"], last["rows_done"], last["failed_rows"]) == (4, 400, (statuses != "ok").sum())
    assert last["rows_per_second"] == pytest.approx(400 / last["seconds"], rel=0.1)
    assert last["seconds_left"] == 0


def test_a_run_that_resumes_begins_with_what_is_done(source, tmp_path):
    assert run("score", source, tmp_path / "out", "--quiet").err == ""
    (tmp_path / "out/part-0002.parquet").unlink()
    first, shard, last = events(run("score", source, tmp_path / "out", "--progress", "json").err)
    assert (first["shards_done"], first["rows_done"]) == (3, 300)
    assert shard["shard"] == "part-0002"
    assert (last["rows_done"], last["failed_rows"]) == (400, 16)
    # The rate is that of this run.
    assert last["rows_per_second"] == pytest.approx(100 / last["seconds"], rel=0.1)


def test_other_jobs_write_the_same_events(source, tmp_path):
    run("score", source, tmp_path / "out", "--quiet")
    keys = pq.read_table(tmp_path / "out")["key"].to_pylist()
    members = [tar_files.member(f"{key}.jpg", b"x") for key in keys]
    tar_files.write(tmp_path / "tars/00000.tar", *members)
    commands = {
        "select": (tmp_path / "out", tmp_path / "select"),
        "repack": (source, tmp_path / "repack", "--layout", "lists"),
        "filter": (tmp_path / "out", tmp_path / "filter", "--tars", tmp_path / "tars"),
        "export": (tmp_path / "out", "--output", tmp_path / "export"),
    }
    kept = sum(pq.read_table(tmp_path / "out")["keep"].to_pylist())
    rows = {"select": 400, "repack": 400, "filter": kept, "export": 400}
    shards = {"select": 4, "repack": 4, "filter": 1, "export": 1}
    commands["export"] = (tmp_path / "out", "--output", tmp_path / "export.parquet")
    for name, arguments in commands.items():
        ended = run(name, *arguments, "--progress", "json", "--quiet")
        assert (ended.status, ended.out) == (0, ""), ended
        found = events(ended.err)
        assert {one["command"] for one in found} == {name}
        assert found[0]["event"] == "start"
        assert sum(one["event"] == "shard" for one in found) == shards[name]
        last = found[-1]
        assert (last["event"], last["status"]) == ("finish", "done")
        assert (last["rows_done"], last["rows_total"]) == (rows[name], rows[name]), name
        assert last["shards_done"] == last["shards_total"] == shards[name]


def test_a_run_that_fails_says_so_in_its_last_object(source, tmp_path):
    (source / "part-0001.parquet").write_bytes(b"PAR1" + bytes(100) + b"PAR1")
    assert run("score", source, tmp_path / "out", "--progress", "json").err.startswith("Usage:")  # Nothing has begun.
    (source / "part-0001.parquet").unlink()
    ended = run("score", source, tmp_path / "out", "--progress", "json", "--max-failed", "3", "--threads", "1")
    *lines, text = ended.err.splitlines()
    last = events("\n".join(lines))[-1]
    assert ended.status == 1
    assert (last["event"], last["status"]) == ("finish", "failed")
    assert last["error"].startswith("expected at most 3 rows without a usable embedding")
    assert text == f"Error: {last['error']}"


@pytest.mark.parametrize(("mode", "lines"), [("none", 0), ("auto", 0), ("text", 0)])
def test_short_runs_print_nothing_by_other_modes(source, tmp_path, mode, lines):
    ended = run("score", source, tmp_path / "out", "--progress", mode)
    assert len(ended.err.splitlines()) == lines
    assert "rows  400" in ended.out


def test_an_unknown_mode_is_refused(source, tmp_path):
    ended = run("score", source, tmp_path / "out", "--progress", "xml")
    assert ended.status == 2
    assert "'auto', 'text', 'json', 'none'" in ended.err


def marker(name, rows, failed):
    return ShardMarker(name, "", [], "", rows, rows - sum(failed.values()), 0, failed, {}, None, "")


def test_counts_come_while_no_shard_ends(capsys):
    for mode in ("json", "text"):
        with Progress(Counts("score", "out", 2, 100), mode, quiet=True, every=0.05) as shown:
            shown.tick()
            time.sleep(0.06)
            shown.tick()
            shown.done(marker('"\n\x1b<b>', 40, {"zero": 3}))
            time.sleep(0.06)
            shown.tick()
            shown.tick()
        text = capsys.readouterr().err
        if mode == "text":
            first, second = text.splitlines()
            assert "0 of 2 shards, 0 of 100 rows (0%), 0 rows/s, ? left" in first
            assert "1 of 2 shards, 40 of 100 rows (40%), " in second
            continue
        found = events(text)
        assert [one["event"] for one in found] == ["start", "progress", "shard", "progress", "finish"]
        assert (found[2]["shard"], found[2]["failed"]) == ('"\n\x1b<b>', {"zero": 3})
        assert [one["seconds_left"] for one in found[:2]] == [None, None]
        left = found[3]["seconds_left"]
        assert left == pytest.approx(60 / found[3]["rows_per_second"], abs=0.06)


def test_warnings_of_a_job_are_objects(capsys):
    import logging

    with Progress(Counts("score", "out", 1, 1), "json", quiet=False):
        logging.getLogger("dask_aesthetic.jobs").warning("shard %s is retried", "a")
    found = events(capsys.readouterr().err)[1]
    assert (found["event"], found["level"], found["message"]) == ("message", "warning", "shard a is retried")


@pytest.mark.skipif(not hasattr(os, "killpg"), reason="needs POSIX signals")
def test_a_run_that_is_stopped_says_so(tmp_path):
    (tmp_path / "in").mkdir()
    vectors = pa.FixedSizeListArray.from_arrays(np.random.default_rng(0).random(768 * 500, np.float32), 768)
    table = pa.table({"key": [str(at) for at in range(500)], "image_embedding": vectors})
    for at in range(4_000):
        os.link(tmp_path / "in/0.parquet", tmp_path / f"in/{at}.parquet") if at else pq.write_table(
            table, tmp_path / "in/0.parquet"
        )
    command = [sys.executable, "-m", "dask_aesthetic", "score", str(tmp_path / "in"), str(tmp_path / "out")]
    with subprocess.Popen([*command, "--progress", "json", "--threads", "1"], stderr=subprocess.PIPE, text=True) as job:
        lines = read_until(job.stderr, '"shard"')
        job.send_signal(signal.SIGTERM)
        lines += job.stderr.readlines()
        assert job.wait(60) == 143
    found = events("".join(line for line in lines if line.startswith("{")))
    assert (found[-1]["event"], found[-1]["status"]) == ("finish", "stopped")
    said = [one["message"] for one in found if one["event"] == "message"]
    assert said[-2] == "SIGTERM: stopping; once more to stop at once"
    assert said[-1].startswith("Error: stopped after ")
    assert 0 < found[-1]["shards_done"] < 4_000


@pytest.mark.skipif(not hasattr(os, "killpg"), reason="needs POSIX signals")
def test_a_second_signal_ends_a_run_at_once_while_a_network_computes(tmp_path):
    wide = [torch.nn.Linear(768, 2048), *(torch.nn.Linear(2048, 2048) for _ in range(3)), torch.nn.Linear(2048, 1)]
    layers = {
        f"{2 * at}.{name}": tensor for at, layer in enumerate(wide) for name, tensor in layer.state_dict().items()
    }
    save_file(layers, tmp_path / "wide.safetensors")
    rows = np.random.default_rng(0).random((100, 768), np.float32)  # Repeated: half a minute's work, of a small file.
    vectors = pa.FixedSizeListArray.from_arrays(np.tile(rows, (1_000, 1)).ravel(), 768)
    pq.write_table(pa.table({"image_embedding": vectors}), tmp_path / "in.parquet", compression="zstd")
    command = [sys.executable, "-m", "dask_aesthetic", "score", str(tmp_path / "in.parquet"), str(tmp_path / "out")]
    command += ["--predictor", str(tmp_path / "wide.safetensors"), "--activation", "relu"]
    with subprocess.Popen([*command, "--progress", "json", "--threads", "1"], stderr=subprocess.PIPE, text=True) as job:
        lines = read_until(job.stderr, '"start"')
        time.sleep(1)  # The network computes.
        job.send_signal(signal.SIGTERM)
        lines += read_until(job.stderr, "stopping; once more")
        time.sleep(0.2)  # The run waits for the thread.
        job.send_signal(signal.SIGTERM)
        lines += job.stderr.readlines()
        assert job.wait(60) == 143
    last = events("".join(line for line in lines if line.startswith("{")))[-1]
    assert (last["event"], last["status"], last["shards_done"]) == ("finish", "stopped", 0)
    assert lines[-1].startswith("{")
    assert "SIGTERM: stopped at once. The same call resumes the run" in lines[-2]
