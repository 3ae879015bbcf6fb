"""Durable jobs: skipped and repeated shards, refused inputs, and files after a failure."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import time
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path

import dask
import dask.dataframe as dd
import numpy as np
import pyarrow as pa
import pyarrow.dataset as ds
import pyarrow.parquet as pq
import pytest
from distributed import Client, LocalCluster, Status

from dask_aesthetic import InputError, UnusableError, score_dataset
from dask_aesthetic.cluster import closed_in_time
from dask_aesthetic.errors import AestheticError, ColumnError, JobError, JobStoppedError
from dask_aesthetic.jobs import Pool, plan_dataset, run
from dask_aesthetic.jobs.runner import Timing
from dask_aesthetic.jobs.store import Store
from helpers import chaos, columns, commands


def command(*arguments: object) -> tuple[int, str]:
    """Exit status and output of the command inside this process; starting another takes seconds."""
    ended = commands.run("score", *arguments)
    return ended.status, ended.out + ended.err


def here(*arguments: object) -> str:
    """Standard output of a successful command."""
    return commands.printed("score", *arguments)


def write(path: Path, rows, **more) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    table = {
        "key": [f"{path.stem}-{at}" for at in range(len(rows))],
        **more,
        "image_embedding": columns.array(rows, "list"),
    }
    pq.write_table(pa.table(table), path, use_dictionary=False, compression="NONE")
    return path


@pytest.fixture
def source(tmp_path) -> Path:
    return chaos.write_shards(tmp_path / "in", shards=6, rows=200)


@pytest.fixture
def scored(source, tmp_path) -> Path:
    score_dataset(source, tmp_path / "out")
    return tmp_path / "out"


def rewritten(source: Path, output: Path, **options) -> list[str]:
    """The shards that another run writes again."""
    before = chaos.committed(output)
    score_dataset(source, output, **options)
    after = chaos.committed(output)
    return sorted(shard for shard in after if after[shard] != before.get(shard))


# Killed and resumed


def test_a_driver_killed_at_any_commit_resumes(tmp_path):
    source, calm = chaos.write_shards(tmp_path / "in", shards=3, rows=100), tmp_path / "calm"
    score_dataset(source, calm, threads=1)
    assert chaos.killed_at_every_commit(source, calm, tmp_path / "killed") == 2 * len(chaos.content(calm)) == 18


def test_a_driver_killed_at_random_resumes(source, tmp_path):
    score_dataset(source, tmp_path / "calm")
    assert chaos.killed_at_random(source, tmp_path / "calm", tmp_path / "killed", times=6, seed=1) > 0


def test_killed_workers_change_nothing(tmp_path):
    source, calm = chaos.write_shards(tmp_path / "in", shards=16, rows=2000), tmp_path / "calm"
    score_dataset(source, calm)
    assert chaos.workers_killed(source, calm, tmp_path / "killed", kills=2, seed=0) == 2


def test_workers_that_are_killed_while_they_start_are_replaced(source, tmp_path, caplog):
    score_dataset(source, tmp_path / "calm")
    with (
        dask.config.set({"distributed.deploy.lost-worker-timeout": "1s"}),
        closed_in_time(
            LocalCluster(n_workers=1, threads_per_worker=1, dashboard_address=":0", silence_logs=False)
        ) as cluster,
        Client(cluster, set_as_default=False) as client,
        ThreadPoolExecutor(1) as thread,
    ):
        (nanny,) = cluster.workers.values()

        def kill() -> None:
            while nanny.status in (Status.running, Status.init, Status.starting):
                if nanny.pid:
                    with suppress(ProcessLookupError):
                        os.kill(nanny.pid, signal.SIGKILL)
                time.sleep(0.01)

        killing = thread.submit(kill)
        plan = plan_dataset(source, tmp_path / "out")
        summary = run(plan, Pool(client), timing=Timing(no_workers=0.0))
        killing.result(60)
        assert nanny not in cluster.workers.values()
    chaos.check(tmp_path / "out", chaos.content(tmp_path / "calm"), 1200, summary)
    assert "there has been no worker for" in caplog.text


def test_a_lost_worker_after_its_commit_does_not_score_again(source, scored):
    plan = plan_dataset(source, scored)
    before = chaos.committed(scored)
    marker = plan.work(plan.shards[0])
    assert chaos.committed(scored) == before
    assert marker == plan.done[plan.shards[0].name]


def test_a_slow_task_leaves_the_commit_of_a_speculative_one(source, tmp_path):
    plan = plan_dataset(source, tmp_path / "out")
    plan.prepare()
    shard, meanwhile = plan.shards[0], []

    def another() -> bool:
        if not meanwhile:
            meanwhile.append(plan.work(shard))
            meanwhile.append(chaos.committed(tmp_path / "out"))
        return False

    assert plan.work(shard, another) == meanwhile[0]
    assert chaos.committed(tmp_path / "out") == meanwhile[1] != {}


def test_a_file_that_is_rewritten_while_it_is_scored_is_refused_and_scored_again(source, tmp_path):
    """Else the digest of the new bytes would stand beside the scores of the old ones, for ever."""
    plan = plan_dataset(source, tmp_path / "out")
    plan.prepare()
    shard = plan.shards[0]
    file = Path(shard.files[0].path)
    metadata = pq.read_metadata(file)
    (chunk,) = (one for one in map(metadata.row_group(0).column, range(metadata.num_columns)) if one.num_values > 768)
    content = bytearray(file.read_bytes())
    content[chunk.data_page_offset + chunk.total_compressed_size // 8 * 4] ^= 1

    def rewrite() -> bool:
        file.write_bytes(content)
        return False

    with pytest.raises(InputError, match=rf"{file.name} as it was when its rows were read, got another version"):
        plan.work(shard, rewrite)
    assert chaos.committed(tmp_path / "out") == {}
    score_dataset(source, tmp_path / "out")
    score_dataset(source, tmp_path / "calm")
    assert chaos.content(tmp_path / "out") == chaos.content(tmp_path / "calm")


def test_a_killed_run_leaves_no_temporary_files_for_ever(source, scored):
    left = [scored / ".dask-aesthetic-0123", scored / "_dask_aesthetic/markers/.dask-aesthetic-4567"]
    for path in left:
        path.write_bytes(b"half")
    calm = {name: data for name, data in chaos.content(scored).items() if ".dask-aesthetic-" not in name}
    (scored / "part-0003.parquet").unlink()
    score_dataset(source, scored)
    assert chaos.content(scored) == calm


@pytest.fixture(scope="module")
def many(tmp_path_factory):
    """So many rows that there is time to stop."""
    return chaos.write_shards(tmp_path_factory.mktemp("many") / "in", shards=60, rows=4000)


@pytest.mark.parametrize(
    ("executor", "number", "status"),
    [
        (["--threads", "1"], signal.SIGINT, 130),
        (["--threads", "1"], signal.SIGTERM, 143),
        (["--workers", "1"], signal.SIGINT, 130),
    ],
)
def test_signals_stop_in_order_and_say_how_to_resume(many, tmp_path, number, status, executor):
    output = tmp_path / "out"
    # A session of its own: Ctrl-C on a terminal reaches the workers of a cluster too.
    process = chaos.fork_server().Process(
        target=chaos.run_command,
        args=(["score", str(many), str(output), *executor], tmp_path / "stdout", tmp_path / "stderr"),
    )
    process.start()
    while len(chaos.committed(output)) < 2 and process.is_alive():
        time.sleep(0.005)
    os.killpg(process.pid, number) if number == signal.SIGINT else os.kill(process.pid, number)
    process.join(60)
    out, err = (tmp_path / "stdout").read_text(), (tmp_path / "stderr").read_text()
    assert process.exitcode == status, err
    assert "stopped after" in err
    assert "The same call resumes there" in err
    assert "Traceback" not in err
    assert out == ""
    assert not (output / "_SUCCESS").exists()
    done = chaos.committed(output)
    assert 0 < len(done) < 60
    summary = score_dataset(many, output)
    assert {shard: chaos.committed(output)[shard] for shard in done} == done
    assert summary.rows == 60 * 4000


# What is done again


def test_a_finished_job_does_nothing_more(source, scored):
    before = {path: path.stat().st_mtime_ns for path in scored.rglob("*") if path.name != "lock"}
    summary = score_dataset(source, scored)
    assert {path: path.stat().st_mtime_ns for path in scored.rglob("*") if path.name != "lock"} == before
    assert (summary.rows, summary.files, summary.failed) == (1200, 6, {"missing": 2})


def changed(file: Path, column: str) -> None:
    """Turn a bit of a value of a column, keeping the file's size."""
    names = pq.read_schema(file).names
    chunk = pq.read_metadata(file).row_group(0).column(names.index(column))
    at = chunk.data_page_offset + chunk.total_compressed_size - 2
    with file.open("r+b") as raw:
        raw.seek(at)
        byte = raw.read(1)[0]
        raw.seek(at)
        raw.write(bytes([byte ^ 1]))


def test_one_changed_byte_scores_exactly_its_shard_again(source, scored, tmp_path):
    changed(source / "part-0002.parquet", "image_embedding")
    assert rewritten(source, scored) == ["part-0002"]
    score_dataset(source, tmp_path / "calm")
    assert chaos.content(scored) == chaos.content(tmp_path / "calm")


def test_a_changed_byte_of_the_same_time_is_found_by_verify(source, scored):
    file = source / "part-0002.parquet"
    stat = file.stat()
    changed(file, "image_embedding")
    os.utime(file, ns=(stat.st_atime_ns, stat.st_mtime_ns))
    assert rewritten(source, scored) == []
    assert rewritten(source, scored, verify=True) == ["part-0002"]


def test_a_byte_that_is_not_read_and_a_new_time_stamp_score_nothing_again(source, scored):
    assert rewritten(source, scored, overwrite=True, columns=[]) == [f"part-{at:04d}" for at in range(6)]
    changed(source / "part-0002.parquet", "key")
    (source / "part-0003.parquet").touch()
    assert rewritten(source, scored, columns=[]) == []


def test_missing_and_changed_outputs_are_written_again(source, scored):
    calm = chaos.content(scored)
    (scored / "part-0001.parquet").unlink()
    (scored / "_failed.parquet/part-0005.rows").unlink()
    (scored / "_dask_aesthetic/markers/part-0002.json").write_bytes(b'{"half')
    with (scored / "part-0004.parquet").open("ab") as file:
        file.write(b"more")
    assert rewritten(source, scored) == ["part-0001", "part-0002", "part-0004", "part-0005"]
    with (scored / "part-0004.parquet").open("r+b") as file:
        file.write(b"XXXX")
    assert rewritten(source, scored) == []
    assert rewritten(source, scored, verify=True) == ["part-0004"]
    assert chaos.content(scored) == calm


def test_other_settings_are_refused_unless_they_overwrite(source, scored):
    calm = chaos.content(scored)
    for options, result in (
        ({"threshold": 6}, "threshold was 5.0 and now is 6.0"),
        ({"predictor": "laion-v2-ava"}, "predictor was 'laion-v2' and now is 'laion-v2-ava'"),
        ({"columns": "all", "score_column": "s"}, "score_column was 'aesthetic_score' and now is 's'"),
        ({"keep_only": True}, "keep_only was False and now is True"),
    ):
        with pytest.raises(InputError, match=result):
            score_dataset(source, scored, **options)
    assert chaos.content(scored) == calm
    assert len(rewritten(source, scored, threshold=6, overwrite=True)) == 6
    assert rewritten(source, scored, threshold=6, overwrite=True) == []
    assert rewritten(source, scored, threshold=6) == []


def test_an_overwriting_run_that_is_killed_resumes_without_mixing(source, tmp_path):
    calm = tmp_path / "calm"
    score_dataset(source, calm, threshold=6, threads=1)
    score_dataset(source, tmp_path / "out", threshold=4)
    shard = "part-0001"
    with Store.of(tmp_path / "out").owned():  # What the run does first; then it is killed.
        plan_dataset(source, tmp_path / "out", threshold=6, overwrite=True).prepare()
    assert chaos.committed(tmp_path / "out") == {}
    with pytest.raises(InputError, match=r"threshold was 6\.0 and now is 4\.0"):
        score_dataset(source, tmp_path / "out", threshold=4)
    assert shard in rewritten(source, tmp_path / "out", threshold=6)
    assert chaos.content(tmp_path / "out") == chaos.content(calm)


def test_files_in_the_way_are_not_replaced_unasked(source, tmp_path):
    (tmp_path / "out").mkdir()
    (tmp_path / "out/part-0001.parquet").write_text("somebody's")
    with pytest.raises(InputError, match=r"expected no part-0001\.parquet"):
        score_dataset(source, tmp_path / "out")
    assert score_dataset(source, tmp_path / "out", overwrite=True).rows == 1200


def test_shards_that_are_no_longer_among_the_inputs_are_not_mixed_in(source, scored, tmp_path):
    (source / "part-0000.parquet").unlink()
    with pytest.raises(InputError, match="got 1 that are not: part-0000"):
        score_dataset(source, scored)
    score_dataset(source, scored, overwrite=True)
    score_dataset(source, tmp_path / "calm")
    assert chaos.content(scored) == chaos.content(tmp_path / "calm")


def test_new_inputs_are_added(source, scored):
    write(source / "part-0100.parquet", np.ones((3, 768)))
    assert rewritten(source, scored) == ["part-0100"]


def test_input_and_output_are_kept_apart(source, scored):
    with pytest.raises(InputError, match="outside of the input"):
        score_dataset(source, source / "scores")
    with pytest.raises(InputError, match="outside of the input"):
        score_dataset(source, source, overwrite=True)
    with pytest.raises(InputError, match="apart from the input"):
        score_dataset(source / "part-0000.parquet", source)


def test_a_second_driver_is_refused_while_the_first_is_at_work(source, scored, tmp_path):
    with Store.of(scored).owned():
        process = chaos.fork_server().Process(
            target=chaos.run_command,
            args=(["score", str(source), str(scored), "--threads", "1"], tmp_path / "stdout", tmp_path / "stderr"),
        )
        process.start()
        process.join(60)
        assert process.exitcode == 1
        assert "another one at work there" in (tmp_path / "stderr").read_text()
    assert command(source, scored, "--threads", 1)[0] == 0


# What goes wrong


def test_a_failed_shard_stops_no_other(source, tmp_path):
    file = source / "part-0003.parquet"
    chunk = pq.read_metadata(file).row_group(0).column(1)
    good = file.read_bytes()
    with file.open("r+b") as raw:
        raw.seek(chunk.data_page_offset)
        raw.write(b"\xff" * 4000)
    status, result = command(source, tmp_path / "out", "--threads", 2)
    assert status == 1
    assert "1 of 6 shards failed: part-0003" in result
    assert len(chaos.committed(tmp_path / "out")) == 5
    assert not (tmp_path / "out/_SUCCESS").exists()
    assert not (tmp_path / "out/part-0003.parquet").exists()
    file.write_bytes(good)
    assert rewritten(source, tmp_path / "out") == ["part-0003"]


def test_what_cannot_be_read_is_refused_before_anything_is_written(source, tmp_path):
    whole = (source / "part-0001.parquet").read_bytes()
    (source / "part-0001.parquet").write_bytes(whole[: len(whole) // 2])
    (source / "part-0002.parquet").write_text("no Parquet")
    (source / "part-0004.parquet").write_bytes(b"")
    status, result = command(source, tmp_path / "out")
    assert status == 2
    for name in ("part-0001", "part-0002", "part-0004"):
        assert f"{name}.parquet" in result
    assert not (tmp_path / "out").exists()


def test_zero_rows_are_an_output_of_zero_rows_and_zero_files_are_refused(tmp_path):
    (tmp_path / "none").mkdir()
    assert command(tmp_path / "none", tmp_path / "out")[0] == 2
    write(tmp_path / "in/empty.parquet", np.empty((0, 768), np.float32))
    summary = score_dataset(tmp_path / "in", tmp_path / "out")
    assert (summary.rows, summary.files) == (0, 1)
    assert pq.read_table(tmp_path / "out/empty.parquet").num_rows == 0
    assert json.loads((tmp_path / "out/_SUCCESS").read_text())["rows"] == 0
    assert rewritten(tmp_path / "in", tmp_path / "out") == []


@pytest.fixture
def small_disk(tmp_path):
    """A folder on a file system of 400 KiB."""
    folder = tmp_path / "disk"
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=400k", "tmpfs", str(folder)]
    if os.geteuid() or subprocess.run(mount, capture_output=True).returncode:
        pytest.skip("needs the right to mount a file system")
    yield folder
    subprocess.run(["umount", "-l", str(folder)], check=True)


def test_a_full_disk_ends_the_run_and_a_larger_one_resumes_it(tmp_path, small_disk):
    source = chaos.write_shards(tmp_path / "in", shards=12, rows=3000)
    output = small_disk / "out"
    status, result = command(source, output, "--threads", 2)
    assert status == 1
    assert "No space left on device" in result
    assert not (output / "_SUCCESS").exists()
    for shard in output.glob("*.parquet"):
        pq.read_table(shard)  # What is there is whole.
    done = chaos.committed(output)
    assert 0 < len(done) < 12
    subprocess.run(["mount", "-o", "remount,size=40m", str(small_disk)], check=True)
    score_dataset(source, output)
    assert {shard: chaos.committed(output)[shard] for shard in done} == done
    score_dataset(source, tmp_path / "calm")
    assert chaos.content(output) == chaos.content(tmp_path / "calm")


def test_an_output_that_may_not_be_written_ends_the_run(source, scored, small_disk):
    subprocess.run(["mount", "-o", "remount,ro", str(small_disk)], check=True)
    status, result = command(source, small_disk / "out", "--threads", 1)
    assert status == 2
    assert "read-only file system" in result


def test_too_many_failures_end_the_run_and_keep_what_is_done(tmp_path, vectors):
    for at in range(10):
        write(tmp_path / f"in/part-{at}.parquet", [*vectors[:8], None, None])
    status, result = command(tmp_path / "in", tmp_path / "out", "--threads", 1, "--max-failed", "7")
    assert status == 1
    assert "expected at most 7 rows without a usable embedding, got" in result
    kept = chaos.committed(tmp_path / "out")
    assert 4 <= len(kept) < 10
    assert pq.read_table(tmp_path / "out/_failed.parquet").num_rows == 2 * len(kept)
    with pytest.raises(JobError, match=f"got {2 * len(kept)} after"):  # At once: they have failed already.
        score_dataset(tmp_path / "in", tmp_path / "out", max_failed=7)
    assert chaos.committed(tmp_path / "out") == kept
    with pytest.raises(JobError, match="expected at most 19 rows"):
        score_dataset(tmp_path / "in", tmp_path / "out", max_failed=0.199)
    assert score_dataset(tmp_path / "in", tmp_path / "out", max_failed=0.2).failed == {"missing": 20}


def test_a_shard_without_a_usable_row_ends_the_run_unless_allowed(tmp_path, vectors):
    write(tmp_path / "in/a.parquet", vectors[:5])
    write(tmp_path / "in/b.parquet", [None, np.zeros(768)])
    with pytest.raises(UnusableError, match=r"shard b, got none in 2 rows \(1 missing, 1 zero\)"):
        score_dataset(tmp_path / "in", tmp_path / "out")
    assert not (tmp_path / "out/b.parquet").exists()
    assert score_dataset(tmp_path / "in", tmp_path / "out", allow_unusable=True).failed == {"missing": 1, "zero": 1}


def test_another_width_is_refused_with_the_predictors_that_take_it(tmp_path):
    write(tmp_path / "in/a.parquet", np.ones((3, 512)))
    with pytest.raises(ColumnError, match=r"got 512 in shard a\. Predictors that take such: laion-v1-b32 \(512\)"):
        score_dataset(tmp_path / "in", tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_failed_rows_are_listed_with_shard_row_key_and_status(source, scored):
    table = pq.read_table(scored / "_failed.parquet")
    assert table.to_pydict() == {
        "shard": ["part-0000", "part-0005"],
        "row": [0, 5],
        "key": ["0000-0", "0005-5"],
        "status": ["missing", "missing"],
    }


def test_a_worker_that_hangs_is_named(source, tmp_path, cluster, caplog):
    pids = list(cluster.run(os.getpid).values())
    for pid in pids:
        os.kill(pid, signal.SIGSTOP)
    try:
        with caplog.at_level("WARNING", "dask_aesthetic"):
            deadline = time.monotonic() + 30
            with pytest.raises(AestheticError, match="stopped after at least 0 of 6"):
                run(
                    plan_dataset(source, tmp_path / "out"),
                    Pool(cluster),
                    timing=Timing(stuck=0.5),
                    stop=lambda: "has been running for" in caplog.text or time.monotonic() > deadline,
                )
    finally:
        for pid in pids:
            os.kill(pid, signal.SIGCONT)
    assert "has been running for" in caplog.text


def test_a_shard_whose_worker_hangs_is_scored_by_another(source, tmp_path, cluster):
    score_dataset(source, tmp_path / "calm")
    pid = next(iter(cluster.run(os.getpid).values()))
    os.kill(pid, signal.SIGSTOP)
    try:
        summary = run(plan_dataset(source, tmp_path / "out"), Pool(cluster), timing=Timing(stuck=1.0, usual=0.0))
        chaos.check(tmp_path / "out", chaos.content(tmp_path / "calm"), 1200, summary)
    finally:
        os.kill(pid, signal.SIGCONT)


def test_a_lost_result_is_retried(source, tmp_path):

    class Forgetful(Pool):
        """Scores the first shard, and loses its result."""

        lost = None

        def submit(self, run, shards, **names):
            future = super().submit(run, shards, **names)
            if self.lost is None:
                self.lost = shards.items[0].name
                return Future()
            return future

    score_dataset(source, tmp_path / "calm")
    with Forgetful(threads=2) as pool:
        summary = run(plan_dataset(source, tmp_path / "out"), pool, timing=Timing(stuck=0.5))
    chaos.check(tmp_path / "out", chaos.content(tmp_path / "calm"), 1200, summary)


@pytest.mark.timeout(60)
def test_a_failed_speculative_task_is_retried_while_the_first_hangs(source, tmp_path):
    submitted_names = []

    class Unlucky(Pool):
        """Never answers for the first shard at first, then cannot reach its file, then scores it."""

        def submit(self, run, shards, **names):
            submitted_names.append(shards.items[0].name)
            times = submitted_names.count(submitted_names[0]) if shards.items[0].name == submitted_names[0] else 3
            if times < 3:
                future = Future()
                if times == 2:
                    future.set_exception(OSError("out of reach"))
                return future
            return super().submit(run, shards, **names)

    score_dataset(source, tmp_path / "calm")
    with Unlucky(threads=2) as pool:
        summary = run(plan_dataset(source, tmp_path / "out"), pool, timing=Timing(stuck=0.5))
    chaos.check(tmp_path / "out", chaos.content(tmp_path / "calm"), 1200, summary)
    assert submitted_names.count(submitted_names[0]) == 3


@pytest.mark.timeout(60)
def test_a_run_of_threads_stops_with_shards_still_waiting(source, tmp_path):
    polls = iter([False])
    with Pool(threads=1) as pool, pytest.raises(JobStoppedError, match="of 6 shards done"):
        run(
            plan_dataset(source, tmp_path / "out"),
            pool,
            stop=lambda: next(polls, True),
            timing=Timing(in_flight=6),
        )
    assert score_dataset(source, tmp_path / "out").rows == 1200


@pytest.mark.timeout(60)
def test_shards_that_wait_for_a_worker_are_not_called_stuck(source, tmp_path, caplog):
    submitted = []

    class Nobody(Pool):
        """Executor without workers."""

        def capacity(self):
            return 0

        def submit(self, _, shards, **__):
            assert len(shards.items) == 1  # Workers that come one after another share the others.
            submitted.append(Future())
            return submitted[-1]

    with caplog.at_level("WARNING", "dask_aesthetic"), Nobody(threads=1) as pool, pytest.raises(JobStoppedError):
        run(
            plan_dataset(source, tmp_path / "out"),
            pool,
            stop=lambda: "there has been no worker" in caplog.text,
            timing=Timing(stuck=0.2, no_workers=0.6),
        )
    assert len(submitted) == 1
    assert "has been running" not in caplog.text


# What is written


def test_a_cluster_and_threads_write_the_same_bytes(source, scored, tmp_path, cluster):
    summary = score_dataset(source, tmp_path / "cluster", client=cluster)
    assert summary.rows == 1200
    assert chaos.content(tmp_path / "cluster") == chaos.content(scored)


def test_readers_of_the_output_see_the_scores_alone(scored):
    rows = 1200
    assert len(dd.read_parquet(scored)) == rows
    assert ds.dataset(scored).count_rows() == rows
    assert pq.read_table(scored).num_rows == rows
    assert (dd.read_parquet(scored).compute()["status"] == "missing").sum() == 2


def test_a_large_file_is_split_between_row_groups_into_the_same_rows(tmp_path, vectors):
    many = np.concatenate([vectors] * 10)
    table = pa.table({"key": [str(at) for at in range(3000)], "image_embedding": columns.array(many, "list")})
    (tmp_path / "in").mkdir()
    pq.write_table(table, tmp_path / "in/big.parquet", row_group_size=250)
    score_dataset(tmp_path / "in", tmp_path / "whole")
    score_dataset(tmp_path / "in", tmp_path / "split", rows_per_shard=1000)
    names = [f"big.{at:05d}-of-00003.parquet" for at in range(3)]
    assert sorted(path.name for path in (tmp_path / "split").glob("*.parquet")) == names
    together = pa.concat_tables([pq.read_table(tmp_path / "split" / name) for name in names])
    assert together.equals(pq.read_table(tmp_path / "whole/big.parquet"))


def test_hive_folders_are_kept(tmp_path, vectors):
    write(tmp_path / "in/lang=en/0.parquet", vectors[:3])
    write(tmp_path / "in/lang=de/0.parquet", vectors[3:5])
    score_dataset(tmp_path / "in", tmp_path / "out", columns="all")
    frame = dd.read_parquet(tmp_path / "out").compute()
    assert sorted(frame["lang"].astype(str)) == ["de"] * 2 + ["en"] * 3


def test_only_the_rows_to_keep(source, scored, tmp_path):
    everything = pq.read_table(scored)
    score_dataset(source, tmp_path / "kept", keep_only=True)
    kept = pq.read_table(tmp_path / "kept")
    assert kept.equals(everything.filter(everything["keep"]))
    assert 0 < kept.num_rows < everything.num_rows
    assert pq.read_table(tmp_path / "kept/_failed.parquet").equals(pq.read_table(scored / "_failed.parquet"))
    assert rewritten(source, tmp_path / "kept", keep_only=True) == []


@pytest.mark.parametrize(("style", "name"), [("laion", "aesthetic"), ("coyo", "aesthetic_score_laion_v2")])
def test_the_score_is_called_as_published_sets_call_it(source, scored, tmp_path, style, name):
    score_dataset(source, tmp_path / style, style=style)
    table = pq.read_table(tmp_path / style)
    assert table.column_names == ["key", name, "keep", "status"]
    assert table[name].equals(pq.read_table(scored)["aesthetic_score"])


def test_a_dry_run_lists_what_would_be_scored_and_writes_nothing(source, scored, tmp_path):
    (scored / "part-0001.parquet").unlink()
    changed(source / "part-0002.parquet", "image_embedding")
    before = chaos.content(scored)
    *lines, total, estimated = here(source, scored, "--dry-run").splitlines()
    states = {line.split()[-1]: " ".join(line.split()[1:-1]) for line in lines}
    assert states == {
        **{f"part-{at:04d}": "done" for at in range(6)},
        "part-0001": "output missing",
        "part-0002": "input changed",
    }
    assert total == "6 shards, 1,200 rows; to score: 2 shards, 400 rows"
    assert re.fullmatch(r"to read: up to 0\.00 GB; about 0:00:01 in \d+ threads, at [\d,]+ rows/s in one .*", estimated)
    assert chaos.content(scored) == before
    here(source, tmp_path / "new", "--dry-run")
    assert not (tmp_path / "new").exists()


def test_the_summary_as_json(source, tmp_path):
    result = json.loads(here(source, tmp_path / "out", "--json", "--threads", 1))
    assert (result["rows"], result["scored"], result["failed"], result["shards"]) == (1200, 1198, {"missing": 2}, 6)
    assert result["kept"] == sum(pq.read_table(tmp_path / "out")["keep"].to_pylist())
    assert result["shards_done_before"] == 0
    assert json.loads(here(source, tmp_path / "out", "--json"))["shards_done_before"] == 6


def test_the_manifest_lists_every_output(source, scored):
    import hashlib

    manifest = json.loads((scored / "_SUCCESS").read_text())
    assert (manifest["rows"], manifest["scored"], len(manifest["shards"])) == (1200, 1198, 6)
    for shard in manifest["shards"]:
        data = (scored / shard["name"]).read_bytes()
        assert (len(data), hashlib.sha256(data).hexdigest()) == (shard["bytes"], shard["sha256"])
        assert shard["rows"] == pq.read_metadata(scored / shard["name"]).num_rows
