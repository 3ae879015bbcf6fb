"""The command where something is in its way: exit status, one line, and what can be typed next."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from concurrent.futures import Future
from functools import partial
from itertools import pairwise
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch

from dask_aesthetic import load_predictor, score_dataset
from dask_aesthetic.errors import InputError, JobError
from dask_aesthetic.jobs import plan_dataset, run
from dask_aesthetic.jobs.pool import Pool
from dask_aesthetic.jobs.runner import Timing
from dask_aesthetic.jobs.store import Store
from helpers import columns, commands


@pytest.fixture
def source(tmp_path, vectors) -> Path:
    (tmp_path / "in").mkdir()
    columns.frame(vectors[:40], "list").to_parquet(tmp_path / "in/a.parquet")
    return tmp_path / "in"


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--max-failed", "1.5"], "a share from 0.0 up to 1.0, got 1.5"),
        (["--max-failed", "200%"], "got 2.0"),
        (
            ["--workers", "2", "--threads", "2"],
            "expected one of --threads, --scheduler, --workers, got --threads and --workers",
        ),
        (["--scheduler", "tcp://a:1", "--workers", "2"], "got --scheduler and --workers"),
        (["--batch-size", "-2"], "1 or more, or -1 for the default, got -2"),
        (["--worker-timeout", "0"], "worker-timeout"),
        (["--image-extensions", "pic"], "expected embed=True (--embed) with --image-extensions"),
    ],
)
def test_bad_usage_is_exit_2_and_one_line(source, tmp_path, options, message):
    ended = commands.run("score", source, tmp_path / "out", *options)
    assert ended.status == 2
    assert message in ended.err.strip().splitlines()[-1]
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("text", ["none.json", "localhost", "{}", "[]", "{"])
def test_what_names_no_scheduler_ends_at_once(source, tmp_path, text):
    scheduler = tmp_path / "scheduler.json"
    scheduler.write_text(text)
    ended = commands.run("score", source, tmp_path / "out", "--scheduler", scheduler if text[0] in "{[" else text)
    assert ended.status == 2
    message = ended.err.strip().splitlines()[-1]
    assert message.startswith("Error: expected a Dask scheduler at ")
    assert ("neither a file nor an address as tcp://HOST:PORT" in message) == (text[0] not in "{[")


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (
            ["--batch-size", 0],
            "expected --batch-size to be a whole number of rows, 1 or more, or -1 for the default, got 0",
        ),
        (["--score-column", "key", "--columns", "key"], "expected --score-column 'key' to be a new column"),
        (["--columns", "batch_size"], "expected column 'batch_size' to pass through"),
    ],
)
def test_errors_of_the_command_name_its_options(source, tmp_path, options, said):
    ended = commands.run("score", source, tmp_path / "out", *options)
    assert (ended.status, ended.err.splitlines()[-1].startswith(f"Error: {said}")) == (2, True), ended.err


def test_a_file_names_the_scheduler(source, tmp_path, cluster):
    (tmp_path / "scheduler.json").write_text(json.dumps({"address": cluster.scheduler.address}))
    ended = commands.run("score", source, tmp_path / "out", "--scheduler", tmp_path / "scheduler.json", "--json")
    assert (ended.status, json.loads(ended.out)["rows"]) == (0, 40)


def test_no_failed_row_at_all_may_be_asked_for(source, tmp_path):
    assert commands.run("score", source, tmp_path / "out", "--max-failed", "0%", "--batch-size", "-1").status == 0


@pytest.mark.parametrize("argument", ["", "INPUT"])
def test_an_empty_path_is_bad_usage(source, tmp_path, argument):
    paths = ["", tmp_path / "out"] if argument else [source, ""]
    ended = commands.run("score", *paths)
    assert ended.status == 2
    assert "got an empty text: '.' is the working folder" in ended.err


@pytest.mark.parametrize("below", ["", "/out", "/out/more"])
def test_an_output_without_permission_is_one_line(source, tmp_path, below):
    (tmp_path / "shut").mkdir(mode=0o555)
    tmp_path.chmod(0o755)
    root = os.geteuid() == 0
    try:
        if root:  # It may write everywhere.
            os.seteuid(65534)
        with pytest.raises(InputError, match=r"to write to, got /.*: permission denied"):
            Store.of(f"{tmp_path / 'shut'}{below}")
    finally:
        if root:
            os.seteuid(0)


def test_a_job_of_no_rows_prints_no_nan(tmp_path):
    pq.write_table(pa.table({"key": pa.array([], pa.string()), "image_embedding": pa.nulls(0)}), tmp_path / "a.parquet")
    printed = commands.printed("score", tmp_path / "a.parquet", tmp_path / "out")
    assert "nan" not in printed
    assert "quantiles" not in printed
    assert "rows/s" not in printed


def test_a_rerun_has_no_rate(source, tmp_path):
    first = json.loads(commands.printed("score", source, tmp_path / "out", "--json"))
    again = json.loads(commands.printed("score", source, tmp_path / "out", "--json"))
    assert first["rows_per_second"] > 0
    assert again["rows_per_second"] is None
    assert "rows/s" not in commands.printed("score", source, tmp_path / "out")


def test_the_start_of_a_cluster_is_told_apart_from_scoring(source, tmp_path):
    ended = commands.run("score", source, tmp_path / "out", "--workers", "1")
    assert ended.status == 0
    assert "starting a local cluster, which takes some seconds; threads, the default, take less CPU time" in ended.err
    line = next(line for line in ended.out.splitlines() if "rows/s" in line)
    assert "to start workers" in line
    rate = int(line.partition("(")[2].partition(" ")[0].replace(",", ""))
    running = float(line.split()[1])
    assert rate == pytest.approx(40 / running, rel=0.05, abs=1)


# The same threshold, spelled in another way


@pytest.mark.parametrize(("first", "then"), [([], ["--threshold", "5"]), (["--threshold", "5.0"], [])])
def test_the_same_threshold_resumes_however_it_is_spelled(source, tmp_path, first, then):
    commands.printed("score", source, tmp_path / "out", *first)
    before = {path: path.read_bytes() for path in (tmp_path / "out").rglob("*") if path.is_file()}
    assert "1 shards, 40 rows done by earlier runs" in commands.printed("score", source, tmp_path / "out", *then)
    assert {path: path.read_bytes() for path in (tmp_path / "out").rglob("*") if path.is_file()} == before
    columns.frame(np.ones((3, 768), "f4"), "list").to_parquet(source / "b.parquet")
    commands.printed("score", source, tmp_path / "out", *then)
    names = [
        json.loads(pq.read_schema(tmp_path / f"out/{name}.parquet").metadata[b"dask_aesthetic"])["threshold"]["name"]
        for name in "ab"
    ]
    assert names == (["", ""] if first else ["standard", "standard"])
    assert commands.run("score", source, tmp_path / "out", "--threshold", "6").status == 2


# Checkpoints that do not say all


def checkpoint(path: Path, names: str) -> Path:
    torch.manual_seed(0)
    sizes = [768, 8, 1]
    state = {}
    for at, (before, after) in enumerate(pairwise(sizes)):
        state[names.format(2 * at) + ".weight"] = torch.randn(after, before)
        state[names.format(2 * at) + ".bias"] = torch.zeros(after)
    torch.save(state, path)
    return path


def test_an_activation_is_said_on_the_command_line(tmp_path, vectors, source):
    path = checkpoint(tmp_path / "n.pth", "scoring_head.{}")
    ended = commands.run("score", source, tmp_path / "out", "--predictor", path, "--threshold", "5")
    assert ended.status == 2
    assert f"say predictor=load_predictor({str(path)!r}, activation='relu')" in ended.err
    assert "--activation relu or none" in ended.err
    for activation in ("relu", "none"):
        asked = ["--predictor", path, "--activation", activation]
        output = tmp_path / activation
        commands.printed("score", source, output, *asked, "--threshold", "5")
        frame = columns.frame(vectors[:40], "list")
        loaded = load_predictor(path, activation=activation)
        expected = frame.aesthetic.score(predictor=loaded, threshold=5)["aesthetic_score"].to_numpy()
        got = pq.read_table(output)["aesthetic_score"].to_numpy()
        np.testing.assert_allclose(got, expected, atol=1e-6)
        assert commands.run("check", source, *asked).status in (0, 1)


def test_an_input_scale_is_said_on_the_command_line(tmp_path, source):
    torch.save({"linear.weight": torch.randn(1, 768), "linear.bias": torch.zeros(1)}, tmp_path / "l.pth")
    asked = ["score", source, tmp_path / "out", "--predictor", tmp_path / "l.pth", "--threshold", "5"]
    ended = commands.run(*asked)
    assert ended.status == 2
    assert "--input-scale 27.7128 or 1" in ended.err
    assert commands.run(*asked, "--input-scale", "27.7128").status == 0


def test_an_output_activation_is_said_on_the_command_line(tmp_path, source, vectors):
    weight, bias = 9 * torch.randn(1, 768), torch.randn(1)
    torch.save({"linear.weight": weight, "linear.bias": bias}, tmp_path / "l.pth")
    asked = ["--predictor", tmp_path / "l.pth", "--input-scale", "1"]
    commands.printed("score", source, tmp_path / "plain", *asked, "--no-threshold", "--output-activation", "none")
    commands.printed("score", source, tmp_path / "out", *asked, "--output-activation", "sigmoid", "--threshold", "0.5")
    logits = vectors[:40].astype(np.float64) @ weight.numpy()[0].astype(np.float64) + bias.item()
    plain, found = (pq.read_table(tmp_path / name)["aesthetic_score"].to_numpy() for name in ("plain", "out"))
    np.testing.assert_allclose(plain, logits, atol=1e-5)
    np.testing.assert_allclose(found, 1 / (1 + np.exp(-logits)), atol=1e-6)
    assert pq.read_table(tmp_path / "out")["keep"].to_pylist() == (found >= 0.5).tolist()
    loaded = load_predictor(tmp_path / "l.pth", input_scale=1, output_activation="sigmoid")
    frame = columns.frame(vectors[:40], "list").aesthetic.score(predictor=loaded, threshold=0.5)
    assert frame["aesthetic_score"].to_numpy().tobytes() == found.tobytes()
    assert commands.run("check", source, *asked, "--output-activation", "sigmoid").status in (0, 1)
    ended = commands.run("score", source, tmp_path / "b", "--predictor", "laion-v2", "--output-activation", "sigmoid")
    assert (ended.status, "--output-activation 'sigmoid'" in ended.err) == (2, True)


# Workers that never come


def test_a_job_without_workers_ends_after_its_time(source, tmp_path):
    class Nobody(Pool):
        """Pool without workers."""

        def capacity(self):
            return 0

        def submit(self, *_, **__):
            return Future()

    plan = plan_dataset(source, tmp_path / "out")
    message = r"expected workers, got none for .*--worker-timeout.*resumes"
    with Nobody(threads=1) as pool, pytest.raises(JobError, match=message):
        run(plan, pool, timing=Timing(tick=0.01, worker_timeout=0.1))
    assert score_dataset(source, tmp_path / "out").rows == 40


# Ctrl-C


def begin(*arguments: object) -> subprocess.Popen:
    """The command in a session of its own: Ctrl-C on a terminal reaches its workers, too."""
    command = [sys.executable, "-m", "dask_aesthetic", *map(str, arguments)]
    return start(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def start(command: list[str], **options) -> subprocess.Popen:
    """A process in a session of its own that takes Ctrl-C, also where a shell has these tests ignore it."""
    heed = partial(signal.signal, signal.SIGINT, signal.SIG_DFL)
    return subprocess.Popen(command, start_new_session=True, preexec_fn=heed, **options)


def wait_for_import(process: subprocess.Popen, library: str) -> None:
    """Wait until a process has mapped a library, so that it is in the middle of its imports."""
    for _ in range(3000):
        if library in Path(f"/proc/{process.pid}/maps").read_text():
            return
        time.sleep(0.005)
    raise AssertionError(f"expected {library} to be imported")


@pytest.mark.skipif(not Path("/proc/self/maps").exists(), reason="needs /proc")
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
@pytest.mark.parametrize("library", ["_multiarray_umath", "libtorch", "libarrow"])
def test_a_signal_while_libraries_are_imported_is_one_line(source, tmp_path, library, number):
    process = begin("score", source, tmp_path / "out")
    wait_for_import(process, library)
    os.killpg(process.pid, number)
    out, err = process.communicate(timeout=30)
    assert (process.returncode, out, err) == (128 + number, "", f"{number.name}: stopped\n")


def test_ctrl_c_while_a_cluster_starts_is_one_line(source, tmp_path):
    said = tmp_path / "stderr"
    command = [sys.executable, "-m", "dask_aesthetic", "score", str(source), str(tmp_path / "out"), "--workers", "1"]
    with said.open("w") as stderr:
        process = start(command, stderr=stderr)
    while "starting a local cluster" not in said.read_text():
        assert process.poll() is None
        time.sleep(0.01)
    time.sleep(0.3)
    os.killpg(process.pid, signal.SIGINT)
    assert process.wait(30) == 130
    time.sleep(0.5)  # For what the processes of workers would print.
    # Dask may have said that the port of its dashboard is in use.
    assert said.read_text().splitlines()[-1] == "SIGINT: stopped"
    assert "Traceback" not in said.read_text()
