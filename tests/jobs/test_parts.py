"""Parts of a job that share one output folder without a scheduler."""

from __future__ import annotations

import json
import signal
import time

import pytest

from dask_aesthetic import ArgumentError, InputError, score_dataset
from dask_aesthetic.jobs import Pool, plan_dataset, run
from dask_aesthetic.jobs.store import Store
from helpers import chaos, commands


@pytest.fixture
def source(tmp_path):
    return chaos.write_shards(tmp_path / "in", shards=7, rows=100)


@pytest.fixture
def calm(source, tmp_path):
    score_dataset(source, tmp_path / "calm")
    return chaos.content(tmp_path / "calm")


def test_parts_are_disjoint_and_the_whole_job_writes_the_manifest(source, calm, tmp_path):
    output, written = tmp_path / "out", []
    for part in (2, 3, 1):
        before = set(chaos.committed(output))
        summary = score_dataset(source, output, part=(part, 3))
        written.append(set(chaos.committed(output)) - before)
        assert summary.files == len(written[-1])
        assert not (output / "_SUCCESS").exists()
    assert [len(names) for names in written] == [2, 2, 3]
    assert len(set.union(*written)) == 7
    before = chaos.committed(output)
    assert score_dataset(source, output).rows == 700
    assert chaos.committed(output) == before
    assert chaos.content(output) == calm


def test_the_whole_job_scores_what_no_part_has(source, calm, tmp_path):
    score_dataset(source, tmp_path / "out", part=(1, 3))
    assert len(plan_dataset(source, tmp_path / "out").todo) == 4
    assert score_dataset(source, tmp_path / "out").rows == 700
    assert chaos.content(tmp_path / "out") == calm


def test_parts_run_side_by_side_and_the_same_part_only_once(source, tmp_path):
    output = tmp_path / "out"
    plan = plan_dataset(source, output, part=(1, 2))
    with plan.store.owned(), plan.store.temporary("mine.parquet") as mine:
        mine.write_bytes(b"being written")
        assert score_dataset(source, output, part=(2, 2)).rows == 300
        assert mine.exists()  # Another part removes its own temporary files alone.
        for part in ((1, 2), None):
            with pytest.raises(InputError, match="got another one at work"):
                score_dataset(source, output, part=part)
    with Store.of(output).owned(), pytest.raises(InputError, match="got another one at work"):
        score_dataset(source, output, part=(1, 2))


def test_a_part_whose_settings_another_has_changed_ends_with_an_error(source, tmp_path):
    output = tmp_path / "out"

    def change(_):
        if not output.joinpath("part-0001.parquet").exists():
            score_dataset(source, output, part=(2, 2), threshold=6, overwrite=True)

    with pytest.raises(InputError, match=r"got those of a run beside it: threshold was 5\.0 and now is 6\.0"):
        score_dataset(source, output, part=(1, 2), threshold=5, progress=change)
    score_dataset(source, tmp_path / "calm", threshold=6)
    calm = chaos.content(tmp_path / "calm")
    chaos.check(output, calm, 700, score_dataset(source, output, threshold=6))


def test_a_part_that_was_killed_is_completed_by_the_whole_job(source, calm, tmp_path):
    output, processes = tmp_path / "out", chaos.fork_server()
    score_dataset(source, output, part=(2, 2))
    killed = processes.Process(target=score_part_and_die, args=(source, output))
    killed.start()
    killed.join(120)
    assert killed.exitcode == -signal.SIGKILL
    assert 3 < len(chaos.committed(output)) < 7
    assert score_dataset(source, output).rows == 700
    assert chaos.content(output) == calm


def score_part_and_die(source, output) -> None:
    chaos.die(at=5, after=False)
    score_dataset(source, output, part=(1, 2), threads=1)


@pytest.mark.usefixtures("calm")
def test_parts_killed_at_random_write_no_shard_twice(source, tmp_path):
    assert chaos.parts_killed(source, tmp_path / "calm", tmp_path / "killed", times=2, seed=2) > 0


def test_a_part_that_is_done_does_nothing_more_and_keeps_the_manifest(source, tmp_path):
    score_dataset(source, tmp_path / "out")
    before = chaos.content(tmp_path / "out")
    time.sleep(0.01)
    assert score_dataset(source, tmp_path / "out", part=(1, 2)).files == 4
    assert chaos.content(tmp_path / "out") == before


def test_more_parts_than_shards(source, tmp_path):
    assert score_dataset(source, tmp_path / "out", part=(9, 9)).rows == 0
    assert score_dataset(source, tmp_path / "out", part=(7, 9)).rows == 100


@pytest.mark.parametrize("part", [(0, 2), (3, 2), "1/2", 3, (1,), (1.0, 2)])
def test_other_parts_are_refused(source, tmp_path, part):
    with pytest.raises(ArgumentError, match="expected part as"):
        score_dataset(source, tmp_path / "out", part=part)
    assert not (tmp_path / "out").exists()


def test_the_command_takes_parts(source, calm, tmp_path):
    output = tmp_path / "out"
    for part in ("1/2", "2/2"):
        summary = json.loads(commands.printed("score", source, output, "--part", part, "--json"))
        assert summary["shards"] in (3, 4)
    assert "the same command without --part" in commands.printed("score", source, output, "--part", "1/2")
    commands.printed("score", source, output)
    assert chaos.content(output) == calm
    for part in ("3/2", "0/2", "a", "1/"):
        ended = commands.run("score", source, output, "--part", part)
        assert ended.status == 2
        assert "as in 3/64" in ended.err


def test_parts_of_a_cluster(source, calm, tmp_path, cluster):
    for part in ((1, 2), (2, 2)):
        plan = plan_dataset(source, tmp_path / "out", part=part)
        with Pool(cluster) as pool:
            run(plan, pool)
    score_dataset(source, tmp_path / "out")
    assert chaos.content(tmp_path / "out") == calm
