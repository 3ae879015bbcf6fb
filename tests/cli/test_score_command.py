"""``dask-aesthetic score`` as a user runs it: output, files, exit status."""

from __future__ import annotations

import fcntl
import json
import os
import pty
import struct
import subprocess
import sys
import termios
from contextlib import suppress
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from dask_aesthetic.jobs import score_dataset
from dask_aesthetic.synthetic import synthetic_embeddings
from helpers import columns, commands


def usage_error(*arguments: object) -> str:
    """Standard error of a command that is used in a wrong way."""
    ended = commands.run(*arguments)
    assert (ended.status, ended.out) == (2, "")
    assert ended.err.strip().splitlines()[-1].startswith("Error: ")
    return ended.err


def write(path: Path, vectors, kind: str = "list", dtype: str = "float32", **more) -> Path:
    table = {"key": [f"{path.stem}-{at}" for at in range(len(vectors))], **more}
    pq.write_table(pa.table({**table, "image_embedding": columns.array(vectors, kind, dtype)}), path)
    return path


def read(folder: Path) -> pa.Table:
    return pq.read_table(folder)


@pytest.fixture
def source(tmp_path, vectors) -> Path:
    folder = tmp_path / "in"
    folder.mkdir()
    for number, part in enumerate(np.array_split(vectors, 3)):
        write(folder / f"part-{number}.parquet", part, URL=["u"] * len(part), caption=["c"] * len(part))
    return folder


@pytest.mark.parametrize("kind", columns.ARROW)
@pytest.mark.parametrize("dtype", ["float16", "float32"])
def test_files_get_the_scores_that_a_frame_gets(tmp_path, vectors, kind, dtype):
    many = np.concatenate([vectors] * 9)  # More rows than a batch.
    file = write(tmp_path / "a.parquet", many, kind, dtype)
    summary = score_dataset(file, tmp_path / "out", threshold=5.2)
    expected = columns.frame(many, kind, dtype).aesthetic.score(threshold=5.2)
    table = read(tmp_path / "out")
    assert table.column_names == ["key", "aesthetic_score", "keep", "status"]
    assert table["aesthetic_score"].to_numpy().tobytes() == expected["aesthetic_score"].to_numpy().tobytes()
    assert table["keep"].to_pylist() == expected["keep"].tolist()
    assert (summary.rows, summary.scored, summary.kept) == (len(many), len(many), expected["keep"].sum())


def test_the_real_embeddings_through_the_command(tmp_path, verite, reference):
    write(tmp_path / "verite.parquet", verite)
    printed = commands.printed("score", tmp_path / "verite.parquet", tmp_path / "out")
    scores = read(tmp_path / "out")["aesthetic_score"].to_numpy()
    assert np.abs(scores - reference["sac+logos+ava1-l14-linearMSE"]).max() <= 2e-6
    assert f"kept  {(scores >= 5).sum()} (" in printed


def test_the_closing_table_counts_every_row_once(tmp_path, vectors):
    rows = [*vectors[:20], None, [], np.ones(512), np.full(768, np.nan), np.zeros(768), np.zeros(768)]
    write(tmp_path / "a.parquet", rows)
    printed = commands.printed("score", tmp_path / "a.parquet", tmp_path / "out", "--threshold", "1")
    for line in (
        "rows  26",
        "scored  20",
        "failed  2 missing, 1 wrong_width, 1 not_finite, 2 zero",
        "kept  20 (100.0% of the scored: raw score >= 1)",
        "laion-v2, for ViT-L-14-quickgelu (openai) embeddings",
    ):
        assert line in printed
    table = read(tmp_path / "out")
    assert table["status"].to_pylist()[20:] == ["missing", "missing", "wrong_width", "not_finite", "zero", "zero"]
    assert table["aesthetic_score"].null_count == 6
    assert not any(table["keep"].to_pylist()[20:])


def test_quantiles_are_those_of_the_scores(tmp_path):
    vectors = synthetic_embeddings(4000, seed=3)
    write(tmp_path / "a.parquet", vectors)
    summary = score_dataset(tmp_path / "a.parquet", tmp_path / "out", scale="unit", threshold=0.5)
    raw = columns.frame(vectors, "list").aesthetic.score()["aesthetic_score"]
    for q in (0.0, 0.01, 0.25, 0.5, 0.75, 0.99, 1.0):
        assert summary.quantile(q) == pytest.approx(raw.quantile(q, interpolation="lower"), abs=0.011)
    assert summary.kept == (raw >= 5).sum()


@pytest.mark.parametrize(
    ("requested", "passthrough"),
    [
        ("ids", ["key", "URL"]),
        ("all", ["key", "URL", "caption"]),
        ("caption", ["caption"]),
        ("caption,key", ["caption", "key"]),
        ("key,image_embedding", ["key", "image_embedding"]),
    ],
)
def test_columns_choose_the_passthrough_columns(source, tmp_path, requested, passthrough):
    assert commands.printed("score", source, tmp_path / "out", "--columns", requested, "--quiet") == ""
    table = read(tmp_path / "out")
    assert table.column_names == [*passthrough, "aesthetic_score", "keep", "status"]
    assert sorted(file.name for file in (tmp_path / "out").glob("*.*")) == [f"part-{n}.parquet" for n in range(3)]
    if "key" in passthrough:
        assert table["key"].to_pylist() == read(source)["key"].to_pylist()


def test_provenance_stands_in_the_file(source, tmp_path):
    score_dataset(source, tmp_path / "out", threshold=0.6, scale="unit", predictor="laion-v2-ava")
    provenance = json.loads(pq.read_schema(tmp_path / "out/part-0.parquet").metadata[b"dask_aesthetic"])
    assert provenance["predictor"]["name"] == "laion-v2-ava"
    assert provenance["predictor"]["sha256"].startswith("390a3aaf")
    assert (provenance["scale"], provenance["threshold"]["value"]) == ("unit", 0.6)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--threshold", "0.5"], "did you mean 5, or scale='unit'"),
        (["--threshold", "great"], "permissive (3 raw)"),
        (["--predictor", "nobody"], "expected a predictor among laion-v2"),
        (["--predictor", "laion-v1-l14", "--threshold", "high"], "presets are set on laion-v2 scores"),
        (["--embedding-column", "emb"], "Columns that would do: 'image_embedding'"),
        (["--embedding-column", "caption"], "got string"),
        (["--columns", "nothing"], "expected column 'nothing'"),
        (["--scale", "percent"], "percent"),
        (["--batch-size", "0"], "1 or more, or -1 for the default, got 0"),
    ],
)
def test_bad_usage_is_one_clear_line_and_exit_2(source, tmp_path, options, message):
    assert message in usage_error("score", source, tmp_path / "out", *options)
    assert not (tmp_path / "out").exists()


def test_bad_usage_in_a_process_of_its_own_prints_no_traceback(source, tmp_path):
    command = [sys.executable, "-W", "error", "-m", "dask_aesthetic", "score", source, tmp_path / "out"]
    done = subprocess.run([*command, "--threshold", "0.5"], capture_output=True, text=True, timeout=120)
    assert done.returncode == 2
    assert "did you mean 5" in done.stderr
    assert "Traceback" not in done.stderr


def test_inputs_that_are_not_there_or_not_parquet_are_bad_usage(source, tmp_path):
    (tmp_path / "empty").mkdir()
    (source / "note.txt").write_text("not a Parquet file")
    (tmp_path / "text.parquet").write_text("not a Parquet file")
    for path, message in (
        (tmp_path / "nowhere", "does not exist"),
        (tmp_path / "empty", "got none"),
        (tmp_path / "text.parquet", "text.parquet"),
        (str(tmp_path / "*.nothing"), "got none"),
    ):
        assert message in usage_error("score", path, tmp_path / "out")
    assert score_dataset(source, tmp_path / "out").files == 3


def test_a_failed_run_is_exit_1_and_leaves_no_partial_file(tmp_path, vectors):
    write(tmp_path / "bad.parquet", [*vectors[:5], None])
    ended = commands.run("score", tmp_path / "bad.parquet", tmp_path / "out", "--on-invalid", "raise")
    assert ended.status == 1
    assert "shard bad, row 5 is missing" in ended.err
    assert not list((tmp_path / "out").glob("*.parquet"))


def test_an_output_in_the_way_is_bad_usage(source, tmp_path):
    (tmp_path / "file").write_text("in the way")
    assert "expected a folder to write to, got the file" in usage_error("score", source, tmp_path / "file/out")


def test_a_terminal_gets_a_progress_bar_and_a_pipe_gets_none(source, tmp_path):
    command = [sys.executable, "-m", "dask_aesthetic", "score", str(source), str(tmp_path / "a")]
    ours, theirs = pty.openpty()
    fcntl.ioctl(ours, termios.TIOCSWINSZ, struct.pack("HHHH", 24, 100, 0, 0))
    done = subprocess.run(command, stdout=subprocess.DEVNULL, stderr=theirs, timeout=120)
    os.close(theirs)
    shown = b""
    with suppress(OSError):  # Linux ends a terminal with an error.
        while part := os.read(ours, 4096):
            shown += part
    os.close(ours)
    assert done.returncode == 0
    assert b"100%" in shown
    assert b"300/300" in shown
    assert b"row/s" in shown
    assert commands.run("score", source, tmp_path / "b").err.count("\n") == 1  # A caution: these rows are random.
